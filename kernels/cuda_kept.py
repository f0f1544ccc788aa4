"""What a CUDA device does with the gradients that it keeps; see `igrt.kernels.reference_kept`.

Launchers as in `igrt.kernels.cuda`. Sums over features are split over blocks; each block adds up
what its threads found in the order of the threads, so results do not vary from run to run.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .contract import (
    FIGURES,
    check_clear,
    check_count_unbounded,
    check_distances,
    check_keep,
    check_take,
    check_weigh,
)
from .cuda import cuda, launch

__all__ = ["clear", "count_unbounded", "distances", "keep", "take", "weigh"]

# Threads of a block that add up together.
_REDUCING = 128


def take(source: Any, rows: Any, out: Any, stream: Any = 0) -> None:
    """Copy the rows of jobs; see `igrt.kernels.reference_kept.take`."""
    check_take(source, rows, out)
    launch(_take_kernel(), out.shape[0] * out.shape[1], stream, source, rows, out)


def count_unbounded(
    gradients: Any,
    rows: Any,
    places: Any,
    moves: Any,
    bound: float,
    counts: Any,
    stream: Any = 0,
) -> None:
    """Count what is no ordinary number; see `igrt.kernels.reference_kept.count_unbounded`."""
    check_count_unbounded(gradients, rows, places, moves, counts)
    size = gradients.shape[0] * gradients.shape[1]
    arguments = gradients, rows, places, moves, np.float64(bound), counts
    launch(_count_unbounded_kernel(), size, stream, *arguments)


def keep(
    gradients: Any,
    rows: Any,
    places: Any,
    moves: Any,
    kept: Any,
    offset: int,
    stream: Any = 0,
) -> None:
    """Put gradients where they are kept; see `igrt.kernels.reference_kept.keep`."""
    check_keep(gradients, rows, places, moves, kept, offset)
    size = gradients.shape[0] * gradients.shape[1]
    launch(_keep_kernel(), size, stream, gradients, rows, places, moves, kept, np.int64(offset))


def clear(sums: Any, job: int, stream: Any = 0) -> None:
    """Begin the sums of a job; see `igrt.kernels.reference_kept.clear`."""
    check_clear(sums, job)
    launch(_clear_kernel(), sums.shape[1] * sums.shape[2], stream, sums, np.int64(job))


def weigh(
    kept: Any,
    order: Any,
    weights: Any,
    factors: Any,
    displacement: Any,
    means: Any,
    figures: Any,
    stream: Any = 0,
) -> None:
    """Add up the gradients of one job by several rules; see `igrt.kernels.reference_kept.weigh`.

    Each block adds up what its threads found in the order of the threads.
    """
    check_weigh(kept, order, weights, factors, displacement, means, figures)
    kernel = _weigh_kernel(_REDUCING)
    arguments = kept, order, weights, factors, displacement, means, figures
    kernel[figures.shape[0], _REDUCING, stream](*arguments)


def distances(
    kept: Any, first: Any, second: Any, displacement: Any, out: Any, stream: Any = 0
) -> None:
    """How far gradients of one job are apart; see `igrt.kernels.reference_kept.distances`."""
    check_distances(kept, first, second, displacement, out)
    if out.shape[0] == 0:
        return
    grid = out.shape[1], out.shape[0]
    _distances_kernel(_REDUCING)[grid, _REDUCING, stream](kept, first, second, displacement, out)


@functools.cache
def _take_kernel() -> Any:
    @cuda.jit
    def kernel(source, rows, out):  # type: ignore[no-untyped-def]  # for Numba
        size = out.shape[1]
        for i in range(cuda.grid(1), out.shape[0] * size, cuda.gridsize(1)):
            r = i // size
            k = i - r * size
            out[r, k] = source[rows[r], k]

    return kernel


@functools.cache
def _count_unbounded_kernel() -> Any:
    @cuda.jit
    def kernel(gradients, rows, places, moves, bound, counts):  # type: ignore[no-untyped-def]  # for Numba
        features = gradients.shape[1]
        for i in range(cuda.grid(1), gradients.shape[0] * features, cuda.gridsize(1)):
            r = i // features
            f = i - r * features
            if places[r] >= 0 and moves[rows[r], f] != 0:
                g = np.float64(gradients[r, f])
                # NaN fails both comparisons
                if not (-bound < g and g < bound):
                    cuda.atomic.add(counts, places[r], 1)

    return kernel


@functools.cache
def _keep_kernel() -> Any:
    @cuda.jit
    def kernel(gradients, rows, places, moves, kept, offset):  # type: ignore[no-untyped-def]  # for Numba
        features = gradients.shape[1]
        for i in range(cuda.grid(1), gradients.shape[0] * features, cuda.gridsize(1)):
            r = i // features
            f = i - r * features
            if places[r] >= 0:
                g = np.float64(gradients[r, f])
                if moves[rows[r], f] == 0 and not math.isfinite(g):
                    kept[places[r], offset + f] = 0.0
                else:
                    kept[places[r], offset + f] = g

    return kernel


@functools.cache
def _clear_kernel() -> Any:
    @cuda.jit
    def kernel(sums, job):  # type: ignore[no-untyped-def]  # for Numba
        features = sums.shape[2]
        for i in range(cuda.grid(1), sums.shape[1] * features, cuda.gridsize(1)):
            rule = i // features
            sums[job, rule, i - rule * features] = 0.0

    return kernel


@functools.cache
def _weigh_kernel(threads: int) -> Any:
    @cuda.jit
    def kernel(kept, order, weights, factors, displacement, means, figures):  # type: ignore[no-untyped-def]  # for Numba
        found = cuda.shared.array((FIGURES, threads), np.float64)
        thread = cuda.threadIdx.x
        for q in range(FIGURES):
            found[q, thread] = 0.0
        rules, nodes = weights.shape
        for f in range(cuda.grid(1), kept.shape[1], cuda.gridsize(1)):
            d = displacement[f]
            scale = abs(d)
            trapezoid = coarse = middle = fine = variance = 0.0
            before = np.float64(kept[order[0], f])
            for k in range(nodes):
                g = np.float64(kept[order[k], f])
                trapezoid += weights[0, k] * g
                if k > 0:
                    variance += factors[k - 1] * ((g - before) * (g - before))
                before = g
                if rules > 1:
                    coarse += weights[1, k] * g
                    middle += weights[2, k] * g
                    fine += weights[3, k] * g
            means[0, f] = trapezoid
            found[0, thread] += scale * abs(trapezoid)
            found[1, thread] += d * trapezoid
            found[2, thread] += scale * math.sqrt(max(variance, 0.0))
            if rules > 1:
                means[1, f], means[2, f], means[3, f] = coarse, middle, fine
                found[3, thread] += scale * abs(fine)
                found[4, thread] += d * fine
                found[5, thread] += scale * abs(fine - middle)
                found[6, thread] += scale * abs(middle - coarse)
        cuda.syncthreads()
        for q in range(thread, FIGURES, threads):
            total = 0.0
            for t in range(threads):
                total += found[q, t]
            figures[cuda.blockIdx.x, q] = total

    return kernel


@functools.cache
def _distances_kernel(threads: int) -> Any:
    @cuda.jit
    def kernel(kept, first, second, displacement, out):  # type: ignore[no-untyped-def]  # for Numba
        found = cuda.shared.array(threads, np.float64)
        thread = cuda.threadIdx.x
        block = cuda.blockIdx.x
        pair = cuda.blockIdx.y
        a, b = first[pair], second[pair]
        total = 0.0
        for f in range(block * threads + thread, kept.shape[1], cuda.gridDim.x * threads):
            other = 0.0
            if b >= 0:
                other = np.float64(kept[b, f])
            total += abs(displacement[f]) * abs(other - np.float64(kept[a, f]))
        found[thread] = total
        cuda.syncthreads()
        if thread == 0:
            total = 0.0
            for t in range(threads):
                total += found[t]
            out[pair, block] = total

    return kernel
