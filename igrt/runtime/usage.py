"""`Usage`: what runs of a session take, as onnxruntime's allocator counted it.

onnxruntime's profile says of every node what its allocator holds in use behind it, and the most so
far. These are sums of sizes: the same in every process, whatever else the machine does.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

_RUN = '"name" :"model_run"'
"""The event behind those of the nodes of a run."""

_EVENT = 2240
"""Bytes of an event of a profile in memory: some 9 MiB for 4,000 of them."""

_COUNTS = [
    re.compile(rf'"{name}" : "(-?\d+)"')
    for name in ("mem_bytes_in_use", "mem_in_use_delta", "mem_in_use_peak")
]


@final
@dataclass(frozen=True)
class Usage:
    """Bytes that a run takes beside the weights: fixed + rows · row + points · point.

    Args:
        row: Bytes of a row.
        fixed: Bytes whatever the number of rows.
        point: Bytes of a point, where rows may share one (`igrt.stage.several`).
    """

    row: int
    fixed: int
    point: int = 0

    @staticmethod
    def between(one: int, two: int) -> Usage:
        """The line through what one row takes, and two."""
        row = max(0, two - one)
        return Usage(row, max(0, one - row))


@final
@dataclass(frozen=True)
class SharedUsage:
    """What runs take whose rows share points, by a row with a point of its own and some of one.

    Args:
        alone: Bytes of one row at one point.
        together: Bytes of some rows at one point.
        rows: How many these are.
        fixed: Bytes beside.
    """

    alone: int
    together: int
    rows: int
    fixed: int = 0

    def of(self, most: int) -> Usage:
        """What no run exceeds with so many rows per point, at the most.

        At any moment of a run tensors take so much per row and so much per point, and the most of a
        sum is no more than the sum of the most: runs are put together of those that were counted.
        """
        if most > self.rows:
            row = -(-self.together // self.rows)
        else:
            row = -(-max(0, self.together - self.alone) // max(1, self.rows - 1))
        return Usage(row, self.fixed, max(0, self.alone - row))


@final
class Recorder:
    """Has onnxruntime write down what the runs of a session take.

    Args:
        options: Options of the session to be made.
    """

    def __init__(self, options: Any) -> None:
        folder = tempfile.mkdtemp(prefix="igrt-")
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "runs"))
        self.left = 0
        """Bytes that the record took, which onnxruntime holds as long as the session."""

    def peaks(self, session: Any) -> list[int]:
        """Most bytes that each run so far had in use beside the weights; ends the recording.

        Empty where this onnxruntime does not count them.
        """
        try:
            with Path(session.end_profiling()).open(encoding="utf-8") as profile:
                return peaks(self._events(profile))
        except (OSError, UnicodeDecodeError):  # a full disk; do with the estimate
            return []
        finally:
            self._remove()

    def _events(self, profile: Iterable[str]) -> Iterator[str]:
        for line in profile:
            self.left += _EVENT
            yield line


def peaks(profile: Iterable[str]) -> list[int]:
    """Most bytes in use beside the weights, per run of a profile, in order.

    Args:
        profile: Its lines, an event each.
    """
    weights: int | None = None
    most: list[int] = []
    held, highest, before = 0, 0, 0
    for line in profile:
        counts = [pattern.search(line) for pattern in _COUNTS]
        if _RUN in line and weights is not None:
            # the peak never falls, so it tells of this run only where it has risen; it may have
            # been higher while the session was made
            most.append(max(held, highest if highest > before else 0) - weights)
            held, before = 0, highest
        elif all(counts):
            in_use, change, peak = (int(c[1]) for c in counts if c)
            if weights is None:
                weights, before = in_use - change, peak
            held, highest = max(held, in_use), peak
    return most


__all__ = ["Recorder", "SharedUsage", "Usage", "peaks"]
