"""NumPy's kernels until Numba's are worth waiting for.

Importing Numba and loading a compiled kernel take about a second, more than a small explanation as
a whole (`python benchmarks/startup.py`). Until the kernels of this process have taken `PRICE`
seconds in NumPy, that is not spent; from then on Numba does the rest. As nobody knows what is still
to come, buying when the rent has reached the price is at most twice as dear as the best that could
have been done (Karlin, Manasse, Rudolph and Sleator, 1988, "Competitive snoopy caching"). Both give
the same numbers to the last bit, so when it happens shows in the time alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, final

from . import KernelSet, select

__all__ = ["PRICE", "Patient", "patient", "settle"]

PRICE = 0.5
"""Seconds of the processor in NumPy before Numba is loaded."""


@final
class Patient:
    """Calls the kernels of one set, and of another one when the first has taken long enough.

    Args:
        now: The set to begin with.
        later: Loads the other one.
    """

    def __init__(self, now: KernelSet, later: Callable[[], KernelSet]) -> None:
        """Begin with the first set."""
        self._chosen, self._later, self._left = now, later, PRICE
        self._lock = threading.Lock()

    def kernels(self) -> KernelSet:
        """The kernels: whichever set it is at the time of the call."""

        def call(name: str) -> Callable[..., None]:
            return lambda *arguments: self._call(name, arguments)

        return KernelSet(
            name="auto",
            interpolate=call("interpolate"),
            accumulate=call("accumulate"),
            multiply_difference=call("multiply_difference"),
            refine=call("refine"),
        )

    def settle(self) -> None:
        """Change to the other set now."""
        with self._lock:
            if self._left > 0:
                self._left, self._chosen = 0.0, self._later()

    def _call(self, name: str, arguments: tuple[Any, ...]) -> None:
        start = time.thread_time()
        getattr(self._chosen, name)(*arguments)
        if self._left > 0:
            with self._lock:
                self._left -= time.thread_time() - start
                if self._left <= 0:
                    # without the memory for Numba go on in NumPy
                    with suppress(MemoryError, OSError, ImportError):
                        self._chosen = self._later()


_OF_THE_PROCESS = Patient(select("reference"), lambda: select("cpu"))


def settle() -> None:
    """Load Numba's kernels now: for whoever measures what long work takes."""
    _OF_THE_PROCESS.settle()


def patient() -> KernelSet:
    """The kernels that the whole process shares its patience with."""
    return _OF_THE_PROCESS.kernels()
