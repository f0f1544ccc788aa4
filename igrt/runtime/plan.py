"""How many rows one run takes: the fastest number that a memory budget allows."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, final

from igrt.errors import InputError
from igrt.runtime.available import available_memory

log = logging.getLogger("igrt")

_SHARE = 0.5
"""Part of the available memory that an explanation may take by default."""

ONE_CHUNK = 16 << 20
"""Bytes of activations beyond which larger chunks only leave the processor's caches: per row,
SqueezeNet takes 20 ms alone and 46 ms in a chunk of 32 (benchmarks/chunks.py)."""

_MOST_ROWS = 256

_SLACK = 1.0625
"""Memory of a run over that of its tensors: some lies free between them (benchmarks/memory.py)."""

_BESIDE = 6 << 20
"""Bytes beside everything that is counted: stacks, onnxruntime's own work space, its profile."""

_KEEP_MOST = 512 << 20
"""Most bytes for what is known of the paths in work, however many there are."""

_PLENTY = 8
"""Memory over what an explanation can take, from which on nobody counts it anew at every call."""


@final
@dataclass(frozen=True)
class Keeping:
    """What is known of the paths while they are in work, and in the end, in bytes.

    Args:
        least: With as few paths in work as may be.
        most: As far as it is of use.
        result_bytes: What all paths come to.
        rows: Rows that there are to run at a time.
    """

    least: int
    most: int
    result_bytes: int
    rows: int


@final
@dataclass(frozen=True)
class Need:
    """What an explanation needs, in bytes.

    Args:
        row: For each row of a run: what the model holds at its peak, and the buffers.
        fixed: Whatever the number of rows.
        keep: For what is known of the paths.
        most_rows: Rows per run that the model allows; None for any number.
    """

    row: int
    fixed: int
    keep: Keeping
    most_rows: int | None = None

    @property
    def row_bytes(self) -> int:
        """Memory of a row."""
        return max(1, int(_SLACK * self.row))

    @property
    def fixed_bytes(self) -> int:
        """Memory whatever the number of rows."""
        return int(_SLACK * self.fixed) + _BESIDE

    @property
    def least(self) -> int:
        """Memory with a single row per run."""
        return self.fixed_bytes + self.row_bytes + self.keep.least

    @property
    def most(self) -> int:
        """Memory as far as it is of use."""
        rows = max(self.row_bytes, ONE_CHUNK)
        return self.fixed_bytes + rows + max(self.keep.least, min(self.keep.most, _KEEP_MOST))


@final
@dataclass(frozen=True)
class Plan:
    """What an explanation takes beside the loaded model.

    Args:
        chunk: Rows per run.
        row_bytes: Bytes of a row while it runs, its buffers included.
        fixed_bytes: Bytes whatever the number of rows.
        keep_bytes: Bytes for sums, or gradients kept, of the paths in work.
        budget: Bytes that all of this may take.
    """

    chunk: int
    row_bytes: int
    fixed_bytes: int
    keep_bytes: int
    budget: int

    @property
    def limit(self) -> int:
        """Bytes at the most: fixed + chunk · row + keep."""
        return self.peak(self.keep_bytes)

    def peak(self, kept: int) -> int:
        """Bytes with so many for sums or gradients: fixed + chunk · row + kept."""
        return self.fixed_bytes + self.chunk * self.row_bytes + kept

    def facts(self, kept: int | None = None) -> dict[str, Any]:
        """All of it by name.

        Args:
            kept: Bytes that sums or gradients came to; None for all that they may take. An adaptive
                rule keeps as many gradients as it needs, which nobody knows beforehand.
        """
        return {
            "chunk": self.chunk,
            "row_bytes": self.row_bytes,
            "fixed_bytes": self.fixed_bytes,
            "keep_bytes": self.keep_bytes,
            "budget": self.budget,
            "limit": self.limit,
            "peak": self.peak(self.keep_bytes if kept is None else kept),
        }


def plan(
    need: Need,
    *,
    memory: int | None = None,
    internal_batch_size: int | None = None,
    available: int | None = None,
    one_chunk: int = ONE_CHUNK,
) -> Plan:
    """Choose the chunk, and share out the budget.

    Half of what the budget leaves is for the chunk, half for what is known of the paths, and what
    one does not need the other may have.

    Args:
        need: What the explanation needs.
        memory: Byte budget, which is kept; a share of the available memory by default.
        internal_batch_size: Rows per run as the user wants it, in place of the fastest number; also
            beyond the default budget.
        available: Bytes that there are; those of this process by default.
        one_chunk: Bytes of activations beyond which larger chunks do not pay.

    Raises:
        InputError: If the budget or batch size is not positive, or the budget is too small for
            one row per run.
    """
    require_positive("memory", memory)
    require_positive("internal_batch_size", internal_batch_size)
    require_room(need, memory)
    if memory is None:
        if available is None:
            available = available_memory(plenty=_PLENTY * need.most)
        budget = _by_default(need, available)
    else:
        budget = memory
    keep, row, spare = need.keep, need.row_bytes, budget - need.fixed_bytes
    fits = max(1, (spare - max(keep.least, min(keep.most, spare // 2))) // row)
    chunk = min(max(1, one_chunk // row), _MOST_ROWS, max(1, keep.rows), fits)
    if internal_batch_size is not None:
        chunk = internal_batch_size if memory is None else min(internal_batch_size, fits)
    chunk = min(chunk, need.most_rows or chunk)
    kept = max(keep.least, min(keep.most, _KEEP_MOST, spare - chunk * row))
    return Plan(chunk, row, need.fixed_bytes, kept, budget)


def require_room(need: Need, memory: int | None) -> None:
    """Refuse a budget that does not suffice for one row per run.

    Raises:
        InputError: If it does not.
    """
    if memory is not None and memory < need.least:
        raise InputError(
            f"memory={memory} ({in_words(memory)}) is too small: with one row per run the "
            f"explanation takes {in_words(need.least)} beside the loaded model",
            hint=f"allow {need.least} bytes or more, or explain fewer examples at a time",
        )


def _by_default(need: Need, available: int) -> int:
    """A share of what there is, or what a single row takes: that is always tried."""
    if need.least > available:
        log.warning(
            "one row per run takes %s, and %s are free",
            in_words(need.least),
            in_words(available),
        )
    return max(int(available * _SHARE), need.least)


def require_positive(name: str, value: Any) -> None:
    """Refuse anything but a positive whole number, or None.

    Raises:
        InputError: If it is something else.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InputError(
            f"{name} must be a positive whole number, not {value!r}",
            hint="leave it out to have it chosen",
        )


def in_words(count: int) -> str:
    """A number of bytes as people write it."""
    size, unit = float(count), "bytes"
    for following in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, following
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"


__all__ = [
    "ONE_CHUNK",
    "Keeping",
    "Need",
    "Plan",
    "in_words",
    "plan",
    "require_positive",
    "require_room",
]
