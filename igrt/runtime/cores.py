"""Processor cores that this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path

from igrt.runtime.available import control_groups

_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def cores() -> int:
    """Cores that this process may use, at least one.

    Two threads of one core count once, and a share of time in its control groups as so many cores.
    """
    return max(1, min([_usable(), *map(ceil, _shares())]))


def _usable() -> int:
    try:
        usable = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
    try:
        return len({Path(_SIBLINGS.format(cpu)).read_text() for cpu in usable})
    except OSError:
        return len(usable)


def _shares() -> Iterator[float]:
    """Seconds of processor time per second that each group around this process allows."""
    second, first = control_groups("cpu")
    for folder in second:
        yield from _share(f"{folder}/cpu.max")
    for folder in first:
        yield from _share(f"{folder}/cpu.cfs_quota_us", f"{folder}/cpu.cfs_period_us")


def _share(*files: str) -> Iterator[float]:
    """Quota over period of one group, where it has a limit."""
    try:
        quota, period = map(int, " ".join(Path(f).read_text() for f in files).split())
    except (OSError, ValueError):  # no such group, or "max"
        return
    if quota > 0 and period > 0:  # version 1 writes -1 where there is no limit
        yield quota / period


__all__ = ["cores"]
