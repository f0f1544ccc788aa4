"""`Clock`: how long the model itself runs within a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Self, final

_CURRENT: ContextVar[Clock | None] = ContextVar("igrt_clock", default=None)


@final
class Clock:
    """Times the runs of sessions for a call, for as long as it is entered.

    Where several are under way at the same time, that time counts once.
    """

    def __init__(self) -> None:
        self._token: Token[Clock | None] | None = None
        self._lock = threading.Lock()
        self._running, self._start, self._over = 0, 0.0, 0.0

    @property
    def total(self) -> float:
        """Seconds so far during which at least one run was under way."""
        with self._lock:
            return self._over + (time.perf_counter() - self._start if self._running else 0.0)

    def __enter__(self) -> Self:
        self._token = _CURRENT.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _CURRENT.reset(self._token)

    @contextmanager
    def running(self) -> Iterator[None]:
        """While a run is under way."""
        with self._lock:
            if not self._running:
                self._start = time.perf_counter()
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    self._over += time.perf_counter() - self._start


@contextmanager
def timed() -> Iterator[None]:
    """A run of a session, which the clock of this call takes note of."""
    clock = _CURRENT.get()
    if clock is None:
        yield
        return
    with clock.running():
        yield


__all__ = ["Clock", "timed"]
