"""`Clock`: how long the model itself runs within a call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Self, final

_CURRENT: ContextVar[Clock | None] = ContextVar("igrt_clock", default=None)


@final
class Clock:
    """Times the runs of sessions in its thread, for as long as it is entered."""

    def __init__(self) -> None:
        self._token: Token[Clock | None] | None = None
        self.total = 0.0
        """Seconds of all runs."""
        self.last = 0.0
        """Seconds of the last run."""

    def __enter__(self) -> Self:
        self._token = _CURRENT.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _CURRENT.reset(self._token)

    def took(self, seconds: float) -> None:
        """Take note of a run."""
        self.total, self.last = self.total + seconds, seconds


@contextmanager
def timed() -> Iterator[None]:
    """A run of a session, which the clock of this thread takes note of."""
    clock, start = _CURRENT.get(), time.perf_counter()
    try:
        yield
    finally:
        if clock is not None:
            clock.took(time.perf_counter() - start)


__all__ = ["Clock", "timed"]
