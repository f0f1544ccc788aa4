"""How many rows one run takes: the fastest number that a memory budget allows.

What an explanation takes beside the loaded model is counted in one way, wherever it is asked for:

    peak = max(fixed + runs · (rows · row + points · point) + kept, before)

- row, point: the tensors that are alive at once, which onnxruntime's allocator counts in a run of
  one row and of two (`igrt.runtime.usage`), and the buffers. Where several cotangents share a
  point, what runs once for all of them is the point's (`igrt.sharing`), else all is the row's.
- fixed: tensors of any run, ends of paths, results, and for a staged graph (`igrt.staged`) what is
  cut at the ends of paths and what runs on the sums.
- runs: those under way at the same time; a run's part of what is fixed counts for each.
- kept: sums, or gradients, of the paths in work.
- before: what ran and was given back before the first chunk: the model alone, a prologue.

More is taken for tensors than is alive (`_SLACK`), and something whatever the model (`BESIDE`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any, final

from igrt.errors import InputError
from igrt.runtime.available import available_memory
from igrt.runtime.usage import Usage

log = logging.getLogger("igrt")

_SHARE = 0.5
"""Part of the available memory that an explanation may take by default."""

ONE_CHUNK = 16 << 20
"""Bytes of activations beyond which larger chunks only leave the processor's caches: per row,
SqueezeNet takes 20 ms alone and 46 ms in a chunk of 32 (benchmarks/chunks.py)."""

_MOST_ROWS = 256

_SLACK = 1.0625
"""Memory of a run over that of its tensors: some lies free between them (benchmarks/memory.py)."""

BESIDE = 5 << 20
"""Bytes beside everything that is counted: stacks, onnxruntime's own work space, its profile."""

_KEEP_MOST = 512 << 20
"""Most bytes for what is known of the paths in work, however many there are."""

_ENOUGH = 2.0
"""Rows for each of several runs at the same time, from which on these are worth their threads."""

_TOO_LITTLE = 1 << 20
"""Bytes of a run's rows below which it is over before another thread has taken it up."""

_LARGE = 40 << 20
"""Bytes of a row from which on memory for another is worth more than the time it saves: its
operators keep all threads busy (docs/performance.md)."""

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
        usage: For what the model holds at its peak.
        buffers: For the buffers of each row of a run.
        beside: For ends of paths and results, whatever the number of rows.
        keep: For what is known of the paths.
        before: For the model alone, which has run, and has given that back, before anything else.
        most_rows: Rows per run that the model allows; None for any number.
    """

    usage: Usage
    buffers: int
    beside: int
    keep: Keeping
    before: int = 0
    most_rows: int | None = None

    @property
    def row_bytes(self) -> int:
        """Memory of a row with a point of its own."""
        return max(1, int(_SLACK * (self.usage.row + self.usage.point + self.buffers)))

    @property
    def point_bytes(self) -> int:
        """What of that a row does without that has no point of its own."""
        return int(_SLACK * self.usage.point)

    @property
    def fixed_bytes(self) -> int:
        """Memory whatever the number of rows."""
        return int(_SLACK * (self.usage.fixed + self.beside)) + BESIDE

    @property
    def run_bytes(self) -> int:
        """What of that each run takes for itself."""
        return int(_SLACK * self.usage.fixed)

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
        need: What it needs.
        chunk: Rows per run.
        keep_bytes: Bytes for sums, or gradients kept, of the paths in work.
        budget: Bytes that all of this may take.
        at_once: Runs at the same time, each in a thread of its own.
    """

    need: Need
    chunk: int
    keep_bytes: int
    budget: int
    at_once: int = 1
    chosen: bool = field(default=False, compare=False)
    """Whether the user or the model wants this number of rows."""

    @property
    def fits(self) -> int:
        """Rows per run that the budget has room for."""
        spare = self.budget - self.need.fixed_bytes - self.keep_bytes
        others = (self.at_once - 1) * self.need.run_bytes
        return (spare - others) // (self.at_once * self.need.row_bytes)

    @property
    def most(self) -> int:
        """Rows per run that there may be."""
        return self.chunk if self.chosen else max(self.chunk, self.fits)

    @property
    def limit(self) -> int:
        """Bytes at the most: fixed + runs · chunk · row + keep."""
        return self.peak(self.keep_bytes)

    def peak(self, kept: int, rows: int | None = None, points: int | None = None) -> int:
        """Bytes with so many for sums or gradients: fixed + runs · rows · row + kept.

        Args:
            kept: Bytes of the sums or gradients.
            rows: Rows of a run, at the most; None for a chunk.
            points: Different points in a run, at the most; a row may share one. None for all rows.
        """
        rows = self.chunk if rows is None else rows
        shared = 0 if points is None else rows - points
        run = rows * self.need.row_bytes - shared * self.need.point_bytes
        runs = self.at_once * run + (self.at_once - 1) * self.need.run_bytes
        return max(self.need.fixed_bytes + runs + kept, self.need.before + BESIDE)

    def instead(self, **changes: Any) -> Plan:
        """The plan for a graph that needs something else: no more rows than there is room for.

        Args:
            changes: Fields of `Need`.
        """
        found = replace(self, need=replace(self.need, **changes))
        # a number of rows that is beyond the budget is the user's own
        return found if self.limit > self.budget else found.with_rows(self.chunk)

    def with_rows(self, rows: int) -> Plan:
        """The same with so many rows per run, or as many as there is room for."""
        planned = self if self.fits >= 1 else replace(self, at_once=1)
        return replace(planned, chunk=max(1, min(rows, planned.fits)))

    def facts(
        self, kept: int | None = None, rows: int | None = None, points: int | None = None
    ) -> dict[str, Any]:
        """All of it by name.

        Args:
            kept: Bytes that sums or gradients came to; None for all that they may take. An adaptive
                rule keeps as many gradients as it needs, which nobody knows beforehand.
            rows: Rows of a run, as in `peak`.
            points: Points of a run, likewise.
        """
        return {
            "chunk": self.chunk,
            "at_once": self.at_once,
            "row_bytes": self.need.row_bytes,
            "fixed_bytes": self.need.fixed_bytes,
            "keep_bytes": self.keep_bytes,
            "budget": self.budget,
            "limit": self.limit,
            "peak": self.peak(self.keep_bytes if kept is None else kept, rows, points),
        }


def plan(
    need: Need,
    *,
    memory: int | None = None,
    internal_batch_size: int | None = None,
    available: int | None = None,
    one_chunk: int = ONE_CHUNK,
    cores: int = 1,
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
        cores: Runs that may be under way at the same time.

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
    chosen = internal_batch_size is not None or need.most_rows is not None
    runs = at_once(row, keep.rows, cores)
    each = chunk if chosen else max(1, chunk // runs)
    if runs * each > (spare - (runs - 1) * need.run_bytes - keep.least) // row:
        runs, each = 1, chunk
    taken = runs * each * row + (runs - 1) * need.run_bytes
    kept = max(keep.least, min(keep.most, _KEEP_MOST, spare - taken))
    return Plan(need, each, kept, budget, runs, chosen)


def at_once(row: int, rows: int, cores: int) -> int:
    """Runs at the same time, as many as there are cores or one.

    A run on one thread takes less than its share of the cores: nothing of it waits for the others,
    and what onnxruntime runs on one thread in any case no longer holds them up
    (benchmarks/at_once.py).

    Args:
        row: Bytes of a row while it runs.
        rows: Rows that there are to run.
        cores: Runs that may be under way at the same time.
    """
    each = min(rows, _MOST_ROWS) / cores
    pays = each >= _ENOUGH and each * row >= _TOO_LITTLE and row <= _LARGE
    return cores if pays else 1


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
    "BESIDE",
    "ONE_CHUNK",
    "Keeping",
    "Need",
    "Plan",
    "at_once",
    "in_words",
    "plan",
    "require_positive",
    "require_room",
]
