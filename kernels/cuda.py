"""The kernels for CUDA devices, compiled by Numba (package `numba-cuda`).

Launchers with the arguments of `igrt.kernels.reference`, on device arrays, and a stream. They only
enqueue: the result is there once the stream has been synchronised. Every output element belongs to
one thread, which adds up in the order of rows, so results do not vary from run to run. A product
and a sum may be fused into one rounding here, so they may differ from the CPU's in the last bits.

Shapes and types are checked; the values in `rows` are not, since reading them would stall the
stream: a row that names no job is undefined behaviour. Turning pointers of other libraries into
device arrays is the caller's business; nothing here depends on it, and so all of this runs on
Numba's simulator.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda as _cuda

from .contract import (
    check_accumulate,
    check_interpolate,
    check_multiply_difference,
)

__all__ = [
    "accumulate",
    "available",
    "interpolate",
    "multiply_difference",
]

cuda: Any = _cuda  # what numba.cuda exports is made at run time, so type checkers see none of it

_THREADS = 256
# Enough blocks to fill any device; the kernels stride over what is left.
_BLOCKS = 65_535


def available() -> bool:
    """Whether Numba can use a CUDA device (true on the simulator)."""
    return bool(cuda.is_available())


def interpolate(
    baselines: Any, inputs: Any, rows: Any, alphas: Any, out: Any, stream: Any = 0
) -> None:
    """Write the points of straight paths; see `igrt.kernels.reference.interpolate`."""
    check_interpolate(baselines, inputs, rows, alphas, out)
    kernel = _interpolate_kernel(inputs.dtype == np.float64)
    launch(kernel, out.shape[0] * out.shape[1], stream, baselines, inputs, rows, alphas, out)


def accumulate(sums: Any, gradients: Any, rows: Any, weights: Any, stream: Any = 0) -> None:
    """Add weighted gradients to the sums of their jobs; see `igrt.kernels.reference.accumulate`."""
    check_accumulate(sums, gradients, rows, weights)
    launch(
        _accumulate_kernel(), rows.shape[0] * sums.shape[2], stream, sums, gradients, rows, weights
    )


def multiply_difference(
    mean_gradients: Any, inputs: Any, baselines: Any, out: Any, stream: Any = 0
) -> None:
    """Turn mean gradients into attributions; see `igrt.kernels.reference.multiply_difference`."""
    check_multiply_difference(mean_gradients, inputs, baselines, out)
    size = out.shape[0] * out.shape[1]
    launch(_multiply_difference_kernel(), size, stream, mean_gradients, inputs, baselines, out)


def launch(kernel: Any, size: int, stream: Any, *arguments: Any) -> None:
    """Enqueue a kernel that strides over `size` elements."""
    if size == 0:  # CUDA refuses an empty grid
        return
    threads = min(_THREADS, -(-size // 32) * 32)
    blocks = min(_BLOCKS, -(-size // threads))
    kernel[blocks, threads, stream](*arguments)


@functools.cache
def _interpolate_kernel(double: bool) -> Callable[..., Any]:
    # float16 is computed in float32 and rounded once, as in the reference.
    work = np.float64 if double else np.float32

    @cuda.jit
    def kernel(baselines, inputs, rows, alphas, out):  # type: ignore[no-untyped-def]  # for Numba
        features = out.shape[1]
        for i in range(cuda.grid(1), out.shape[0] * features, cuda.gridsize(1)):
            r = i // features
            f = i - r * features
            b = work(baselines[rows[r], f])
            x = work(inputs[rows[r], f])
            if alphas[r] == 1.0:
                out[r, f] = x
            elif alphas[r] == 0.0 or x == b:
                out[r, f] = b
            else:
                out[r, f] = b + work(alphas[r]) * (x - b)

    return kernel  # type: ignore[no-any-return]  # numba is untyped here


@functools.cache
def _accumulate_kernel() -> Callable[..., Any]:
    @cuda.jit
    def kernel(sums, gradients, rows, weights):  # type: ignore[no-untyped-def]  # for Numba
        features = sums.shape[2]
        for i in range(cuda.grid(1), rows.shape[0] * features, cuda.gridsize(1)):
            first = i // features
            f = i - first * features
            job = rows[first]
            # The first row of a job adds up all of its rows, so the cost is that of the chunk,
            # however many jobs there are.
            mine = True
            for r in range(first):
                if rows[r] == job:
                    mine = False
            if not mine:
                continue
            # One rule after the other keeps the sum in a register; the gradients come from the
            # cache again.
            for rule in range(sums.shape[1]):
                total = sums[job, rule, f]
                for r in range(first, rows.shape[0]):
                    weight = weights[rule, r]
                    if rows[r] == job and weight != 0.0:
                        total += weight * np.float64(gradients[r, f])
                sums[job, rule, f] = total

    return kernel  # type: ignore[no-any-return]  # numba is untyped here


@functools.cache
def _multiply_difference_kernel() -> Callable[..., Any]:
    @cuda.jit
    def kernel(mean_gradients, inputs, baselines, out):  # type: ignore[no-untyped-def]  # for Numba
        features = out.shape[1]
        for i in range(cuda.grid(1), out.shape[0] * features, cuda.gridsize(1)):
            job = i // features
            f = i - job * features
            x = np.float64(inputs[job, f])
            b = np.float64(baselines[job, f])
            out[job, f] = 0.0 if x == b else mean_gradients[job, f] * (x - b)

    return kernel  # type: ignore[no-any-return]  # numba is untyped here
