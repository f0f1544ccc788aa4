"""Processor cores that this process may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
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
        yield from _share(lambda folder=folder: Path(f"{folder}/cpu.max").read_text().split())
    for folder in first:
        names = (f"{folder}/cpu.cfs_quota_us", f"{folder}/cpu.cfs_period_us")
        yield from _share(lambda names=names: [Path(n).read_text() for n in names])


def _share(read: Callable[[], list[str]]) -> Iterator[float]:
    try:
        quota, period = map(int, read())
    except (OSError, ValueError):  # no such group, or "max"
        return
    if quota > 0 and period > 0:  # version 1 writes -1 where there is no limit
        yield quota / period


__all__ = ["cores"]
