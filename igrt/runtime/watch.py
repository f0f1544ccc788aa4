"""`Watch`: how far one call is, and whether it is to end early."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from functools import cache
from typing import Any, Self, final

from igrt.errors import Cancelled, DeadlineExceeded, IgrtError
from igrt.runtime.ort import onnxruntime

Progress = Callable[[int, int], None]
"""Called with the gradient evaluations done and those planned so far."""

_LOOK = 0.02
"""Seconds between two looks at whether a call was cancelled, while the model runs."""

_CURRENT: ContextVar[Watch | None] = ContextVar("igrt_watch", default=None)


@final
class Watch:
    """Counts gradient evaluations, and ends runs of the model that would last too long.

    As a context it stands for all runs of sessions in its thread, within what a watch around it
    allows. Only with a deadline or something to cancel by does a second thread look at the clock,
    from the first run on: it makes onnxruntime stop after the node that it is at.

    Args:
        progress: Told of the evaluations done and planned after every run.
        deadline: `time.monotonic()` after which to give up.
        cancel: Set, from any thread, to give up.
    """

    def __init__(
        self,
        *,
        progress: Progress | None = None,
        deadline: float | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        self._progress, self._deadline, self._cancel = progress, deadline, cancel
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._options: dict[tuple[tuple[str, str], ...], Any] = {}
        self._stops: list[Callable[[], None]] = []
        self._ended = False
        self._token: Token[Watch | None] | None = None
        self._outer: Watch | None = None
        self._thread: threading.Thread | None = None
        self.done = 0
        """Gradient evaluations so far."""
        self.planned = 0
        """Gradient evaluations that are known to be needed so far."""

    def did(self, evaluations: int) -> None:
        """Take note of evaluations."""
        self.done += evaluations
        if self._progress is not None:
            self._progress(self.done, self.planned)

    def check(self) -> None:
        """Go on only where nothing speaks against it.

        Raises:
            Cancelled: If the call was cancelled.
            DeadlineExceeded: If the deadline passed.
        """
        error = self._reason()
        if error is not None:
            raise error

    def run_options(self, entries: Mapping[str, str]) -> Any:
        """Options of onnxruntime for runs of this call; None where they would say nothing.

        Args:
            entries: What else they say.
        """
        key = tuple(entries.items())
        if not self._looks:
            return _unwatched(key) if key else None
        with self._lock:
            self._begin_to_look()
            if key not in self._options:
                options = _run_options(key)
                options.terminate = self._ended
                self._options[key] = options
            return self._options[key]

    @contextmanager
    def ending(self, stop: Callable[[], None]) -> Iterator[None]:
        """Where something else than a run can be ended early, and how."""
        with self._lock:
            self._begin_to_look()
            self._stops.append(stop)
            if self._ended:
                stop()
        try:
            yield
        finally:
            with self._lock:
                self._stops.remove(stop)

    def _begin_to_look(self) -> None:
        if self._thread is None and self._looks:
            self._thread = threading.Thread(target=self._look, name="igrt-watch", daemon=True)
            self._thread.start()

    @property
    def _looks(self) -> bool:
        """Whether there is anything to look at while the model runs."""
        own = self._deadline is not None or self._cancel is not None
        return own or (self._outer is not None and self._outer._looks)

    def __enter__(self) -> Self:
        self._outer = _CURRENT.get()
        self._token = _CURRENT.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._token is not None:
            _CURRENT.reset(self._token)

    def _look(self) -> None:
        while not self._over.wait(self._pause()):
            if self._reason() is not None:
                with self._lock:
                    self._ended = True
                    for options in self._options.values():
                        options.terminate = True
                    for stop in self._stops:
                        stop()
                return

    def _pause(self) -> float:
        polled = self._cancel is not None or self._outer is not None
        left = float("inf") if self._deadline is None else self._deadline - time.monotonic()
        return max(0.0, min(left, _LOOK if polled else threading.TIMEOUT_MAX))

    def _reason(self) -> IgrtError | None:
        if self._cancel is not None and self._cancel.is_set():
            return Cancelled(f"cancelled {self._place}", hint="the explainer may be used again")
        if self._deadline is not None and time.monotonic() > self._deadline:
            return DeadlineExceeded(
                f"the deadline passed {self._place}",
                hint="allow more time, or ask for a larger tolerance, or fewer draws or steps",
            )
        return None if self._outer is None else self._outer._reason()

    @property
    def _place(self) -> str:
        if not self.planned:
            return "before the first gradient evaluation"
        return f"after {self.done} of {self.planned} gradient evaluations"


def _run_options(entries: tuple[tuple[str, str], ...]) -> Any:
    options = onnxruntime().RunOptions()
    options.log_severity_level = 4
    for name, value in entries:
        options.add_run_config_entry(name, value)
    return options


@cache
def _unwatched(entries: tuple[tuple[str, str], ...]) -> Any:
    """Options of runs that nothing ends: they never change, so that all calls share them."""
    return _run_options(entries)


def current_watch() -> Watch | None:
    """The watch of the call that this thread works for."""
    return _CURRENT.get()


__all__ = ["Progress", "Watch", "current_watch"]
