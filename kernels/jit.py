"""Compile functions with Numba when they are first needed, cached where that is possible."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, final

import numba
from numba import types

# Letters of NumPy's dtype.char and of the argument descriptions below.
_TYPES = {"f": types.float32, "d": types.float64, "q": types.int64}


@final
class Lazy:
    """A function compiled at its first use, once per element type.

    Serial and without the GIL (`nogil=True`), so that igrt's own threads run it side by side. Not
    `parallel=True`: Numba's fallback threading layer aborts the process when two Python threads
    meet in it. Not `fastmath`: it assumes away NaN and infinity and reorders sums.

    The signature is given rather than inferred: arrays with another type or layout are refused
    instead of compiled for anew, and read-only arrays share the machine code of writable ones.

    Args:
        function: the Python function to compile; returns whether its arguments fitted.
        arguments: one description per argument: element type (`T` stands for the one asked for, `d`
            float64, `q` int64), number of axes, and `!` if it is written to; for example `T2 q1
            d3!`.
    """

    def __init__(self, function: Callable[..., bool], arguments: str) -> None:
        """Remember the function; nothing is compiled yet."""
        self._function = function
        self._arguments = arguments.split()
        self._built: dict[str, Callable[..., bool]] = {}
        self._lock = threading.Lock()

    def get(self, char: str) -> Callable[..., bool]:
        """Return the function compiled for the element type `f` (float32) or `d` (float64)."""
        built = self._built.get(char)
        if built is None:
            with self._lock:
                built = self._built.get(char) or self._build(char)
                self._built[char] = built
        return built

    def _build(self, char: str) -> Callable[..., bool]:
        signature = types.boolean(*(_array(text, char) for text in self._arguments))
        try:
            return self._compile(signature, cache=True)
        except Exception:
            # No directory to cache in (a read-only installation without a home), a full or a
            # damaged one. What is wrong with the code itself fails again below.
            return self._compile(signature, cache=False)

    def _compile(self, signature: Any, cache: bool) -> Callable[..., bool]:
        decorate = numba.njit(signature, nogil=True, cache=cache)
        compiled: Callable[..., bool] = decorate(self._function)
        return compiled


def _array(text: str, char: str) -> Any:
    element, axes, written = text[0], int(text[1]), text.endswith("!")
    dtype = _TYPES[char if element == "T" else element]
    return types.Array(dtype, axes, "C", readonly=not written)
