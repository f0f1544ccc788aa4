"""Bytes that this process may still take: of the machine, its control groups, its own limits."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

_LEAST = 64 << 20
"""Left to try with where a limit is about reached: most explanations need less."""

_UNKNOWN = 2 << 30
"""Assumed where a system says nothing."""

_FRESH = 1.0
"""Seconds for which a reading may serve again: it takes a dozen files, a third of what a call on a
network of microseconds takes around its runs (benchmarks/overhead.py)."""

_Files: TypeAlias = tuple[str, str, str]
_V2: _Files = ("memory.max", "memory.current", "inactive_file ")
_V1: _Files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
"""Limit, use, and the part of the use that is given up when asked for: files that were read."""


_last: tuple[float, int] | None = None
"""When the last reading was, and what it gave."""


def available_memory(*, plenty: int | None = None) -> int:
    """Bytes that this process may still take, at least 64 MiB.

    The least of what the machine has free, what each control group around the process leaves of its
    limit, and what the limit of its address space (``ulimit -v``) leaves.

    Args:
        plenty: With so many bytes it does not matter how many there are: then a reading of the last
            second serves again. None to read anew.
    """
    global _last
    now = time.monotonic()
    if plenty is not None and _last is not None:
        then, before = _last
        if now - then < _FRESH and before >= plenty:
            return before
    left = _read()
    _last = now, left
    return left


def give_back() -> None:
    """Have glibc give back what is free in the middle of its heap; others do so by themselves."""
    with suppress(OSError, TypeError, AttributeError):  # another C library, or Windows
        ctypes.CDLL(None).malloc_trim(0)


def _read() -> int:
    found = [_machine(), _address_space(), *_control_groups()]
    known = [f for f in found if f is not None]
    return max(min(known), _LEAST) if known else _physical()


def _machine() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _address_space() -> int | None:
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit == resource.RLIM_INFINITY:
            return None
        taken = int(Path("/proc/self/statm").read_text().split()[0])
        return limit - taken * resource.getpagesize()
    except (ImportError, AttributeError, OSError, ValueError, IndexError):  # not on every system
        return None


def _control_groups() -> Iterator[int]:
    """What each group around this process leaves: a limit may stand at any of its parents."""
    for folders, files in zip(control_groups("memory"), (_V2, _V1), strict=True):
        for folder in folders:
            left = _left(folder, files)
            if left is not None:
                yield left


def control_groups(controller: str) -> tuple[list[str], list[str]]:
    """Folders of the groups around this process, in version 2 and in version 1.

    Args:
        controller: What the groups share out, by its name in version 1.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    second, first = "/sys/fs/cgroup", f"/sys/fs/cgroup/{controller}"
    within = {second: ["/"], first: ["/"]}
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if not controllers:
            within[second].append(place)
        elif controller in controllers.split(","):
            within[first].append(place)
    # in a container the process may see its own group as the root, whatever its place is called
    found = [
        sorted({root + "/".join(parts) for p in places for parts in _parents(p)})
        for root, places in within.items()
    ]
    return found[0], found[1]


def _parents(place: str) -> Iterator[list[str]]:
    parts = place.rstrip("/").split("/")
    return (parts[:k] for k in range(1, len(parts) + 1))


def _left(folder: str, files: _Files) -> int | None:
    limit, current, inactive = files
    try:
        left = int(Path(f"{folder}/{limit}").read_text())
        left -= int(Path(f"{folder}/{current}").read_text())
    except (OSError, ValueError):  # no such group, or "max"
        return None
    try:
        for line in Path(f"{folder}/memory.stat").read_text().splitlines():
            if line.startswith(inactive):
                left += int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return left


def _physical() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return _UNKNOWN


__all__ = ["available_memory", "control_groups", "give_back"]
