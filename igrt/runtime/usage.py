"""`Usage`: what runs of a session take, as onnxruntime's allocator counted it.

onnxruntime's profile says of every node what its allocator holds in use behind it, and the most so
far. These are sums of sizes: the same in every process, whatever else the machine does.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

_RUN = re.compile(r'"name" :"model_run"')
_COUNTS = {
    "peak": re.compile(r'"mem_in_use_peak" : "(-?\d+)"'),
    "held": re.compile(r'"mem_bytes_in_use" : "(-?\d+)"'),
    "change": re.compile(r'"mem_in_use_delta" : "(-?\d+)"'),
}


@final
@dataclass(frozen=True)
class Usage:
    """Bytes that a run takes beside the weights: fixed + rows · row.

    Args:
        row: Bytes of a row.
        fixed: Bytes whatever the number of rows.
    """

    row: int
    fixed: int

    @staticmethod
    def between(one: int, two: int) -> Usage:
        """The line through what one row takes, and two."""
        row = max(0, two - one)
        return Usage(row, max(0, one - row))


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

    def peaks(self, session: Any) -> list[int]:
        """Most bytes that each run so far had in use beside the weights; ends the recording.

        Empty where this onnxruntime does not count them.
        """
        try:
            return peaks(Path(session.end_profiling()).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):  # a full disk; do with the estimate
            return []
        finally:
            self._remove()


def peaks(profile: str) -> list[int]:
    """Most bytes in use beside the weights, per run of a profile, in order."""
    runs = _RUN.split(profile)[:-1]
    found = [{n: _numbers(c, run) for n, c in _COUNTS.items()} for run in runs]
    if not found or not all(run["held"] and run["change"] for run in found):
        return []
    weights = found[0]["held"][0] - found[0]["change"][0]
    most, before = [], found[0]["peak"][0]
    for run in found:
        # the peak never falls, so it tells of this run only where it has risen; it may have been
        # higher while the session was made
        highest = max(run["held"])
        if run["peak"][-1] > before:
            highest = max(highest, run["peak"][-1])
        before = run["peak"][-1]
        most.append(highest - weights)
    return most


def _numbers(pattern: re.Pattern[str], text: str) -> Sequence[int]:
    return [int(n) for n in pattern.findall(text)]


__all__ = ["Recorder", "Usage", "peaks"]
