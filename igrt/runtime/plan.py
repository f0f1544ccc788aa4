"""How many rows one run takes: the most that a memory budget allows, up to what still pays."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import final

from igrt.errors import InputError

_SHARE = 0.5
"""Part of the available memory that a run may take by default."""

_WORTHWHILE = 16 << 20
"""Bytes of activations beyond which larger chunks only leave the processor's caches: per row,
SqueezeNet takes 20 ms alone and 46 ms in a chunk of 32 (benchmarks/chunks.py)."""

_MOST_ROWS = 256


@final
@dataclass(frozen=True)
class Plan:
    """Rows per run.

    Args:
        chunk: Rows per run.
        row_bytes: Estimated bytes that one row needs while it runs.
        budget: Bytes that a run may take.
    """

    chunk: int
    row_bytes: int
    budget: int


def plan(
    *, row_bytes: int, memory: int | None, internal_batch_size: int | None, most_rows: int | None
) -> Plan:
    """Choose the chunk.

    Args:
        row_bytes: Estimated bytes that one row needs.
        memory: Byte budget; a share of the available memory by default.
        internal_batch_size: Rows per run as the user wants it; overrides the estimate.
        most_rows: What the model allows: 1 for a model whose batch is fixed.

    Raises:
        InputError: If the budget or batch size is not positive.
    """
    for name, value in (("memory", memory), ("internal_batch_size", internal_batch_size)):
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or value < 1
        ):
            raise InputError(
                f"{name} must be a positive whole number, not {value!r}",
                hint="leave it out to have it chosen",
            )
    budget = int(available_memory() * _SHARE) if memory is None else memory
    rows = min(budget, _WORTHWHILE) // max(row_bytes, 1)
    chunk = internal_batch_size or max(1, min(rows, _MOST_ROWS))
    return Plan(min(chunk, most_rows or chunk), row_bytes, budget)


def available_memory() -> int:
    """Bytes that this process may still take: of the machine, and of its control group."""
    free = [_meminfo(), _cgroup("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current")]
    free.append(
        _cgroup(
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        )
    )
    known = [f for f in free if f is not None]
    return max(min(known), 64 << 20) if known else _physical()


def _meminfo() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _cgroup(limit: str, current: str) -> int | None:
    try:
        return int(Path(limit).read_text()) - int(Path(current).read_text())
    except (OSError, ValueError):  # no control group, or "max"
        return None


def _physical() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return 2 << 30


__all__ = ["Plan", "available_memory", "plan"]
