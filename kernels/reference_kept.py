"""What a device does with the gradients that it keeps, in plain NumPy: the definition.

The host needs none of these: there gradients are arrays in Python's hands, and a path adds them up
with `refine`. On a device nothing but a few numbers of each path comes back. Conventions as in
`igrt.kernels.reference`.
"""

from __future__ import annotations

import numpy as np

from .contract import (
    FIGURES,
    Array,
    check_clear,
    check_count_unbounded,
    check_distances,
    check_keep,
    check_take,
    check_weigh,
)

__all__ = ["clear", "count_unbounded", "distances", "keep", "take", "weigh"]


def take(source: Array, rows: Array, out: Array) -> None:
    """Copy the rows of jobs, whatever they hold: out[r] = source[rows[r]].

    Args:
        source: uint8 array [J, B].
        rows: int64 array [R], the job of each row; 0 <= rows < J.
        out: uint8 array [R, B], overwritten.

    Raises:
        TypeError: an element type is none of the above.
        ValueError: a shape or a memory layout does not fit.
        IndexError: a row names no job.
    """
    check_take(source, rows, out)
    out[:] = source[rows]


def count_unbounded(
    gradients: Array, rows: Array, places: Array, moves: Array, bound: float, counts: Array
) -> None:
    """Count the elements of each gradient that are no ordinary numbers, where it matters.

    counts[places[r]] += number of f with moves[rows[r], f] and not |gradients[r, f]| < bound

    Args:
        gradients: float16, float32 or float64 array [R, F].
        rows: int64 array [R], the job of each row; 0 <= rows < J.
        places: int64 array [R], the place of each row, below P; rows with a negative one are
            padding and are skipped.
        moves: uint8 array [J, F], 1 for features that count.
        bound: what an element must lie below, both ways; NaN does not.
        counts: int32 array [P], added to.

    Raises:
        TypeError: an element type is none of the above.
        ValueError: a shape or a memory layout does not fit.
        IndexError: a row names no job.
    """
    check_count_unbounded(gradients, rows, places, moves, counts)
    for r in np.flatnonzero(places >= 0):
        bad = ~(np.abs(gradients[r].astype(np.float64)) < bound)
        counts[places[r]] += np.count_nonzero(bad & (moves[rows[r]] != 0))


def keep(
    gradients: Array, rows: Array, places: Array, moves: Array, kept: Array, offset: int
) -> None:
    """Put gradients where they are kept.

    kept[places[r], offset + f] = gradients[r, f], or 0 where it is not finite and
    moves[rows[r], f] is 0: what does not move counts for nothing.

    Args:
        gradients: float16, float32 or float64 array [R, F].
        rows: int64 array [R], the job of each row; 0 <= rows < J.
        places: int64 array [R], see `count_unbounded`.
        moves: uint8 array [J, F].
        kept: float16, float32 or float64 array [P, at least offset + F], written to.
        offset: where the features begin in `kept`.

    Raises:
        TypeError: an element type is none of the above.
        ValueError: a shape or a memory layout does not fit.
        IndexError: a row names no job.
    """
    check_keep(gradients, rows, places, moves, kept, offset)
    for r in np.flatnonzero(places >= 0):
        lost = ~np.isfinite(gradients[r]) & (moves[rows[r]] == 0)
        kept[places[r], offset : offset + gradients.shape[1]] = np.where(lost, 0, gradients[r])


def clear(sums: Array, job: int) -> None:
    """Begin the sums of a job: sums[job] = 0.

    Args:
        sums: float64 array [J, L, F], written to.
        job: 0 <= job < J.

    Raises:
        TypeError: an element type is none of the above.
        ValueError: a shape or a memory layout does not fit.
        IndexError: there is no such job.
    """
    check_clear(sums, job)
    sums[job] = 0.0


def weigh(
    kept: Array,
    order: Array,
    weights: Array,
    factors: Array,
    displacement: Array,
    means: Array,
    figures: Array,
) -> None:
    """Add up the gradients of one job by one or four rules, and say how far these are apart.

    With g_k = kept[order[k]], s = |displacement| and the first rule the trapezoidal one:

    means[l, f] = Σ_k weights[l, k] g_k[f]
    variance[f] = Σ_k factors[k] (g_{k+1}[f] - g_k[f])²

    Summed over the first axis, `figures` are Σ_f of

    s |means[0]|,  displacement means[0],  s √max(variance, 0),

    and with four rules, the others nested from coarse to fine,

    s |means[3]|,  displacement means[3],  s |means[3] - means[2]|,  s |means[2] - means[1]|;

    else 0. In float64. How the sums are split over the first axis is the implementation's.

    Args:
        kept: float16, float32 or float64 array [P, F].
        order: int64 array [N], places of the gradients by ascending node, N > 1.
        weights: float64 array [1 or 4, N].
        factors: float64 array [N - 1].
        displacement: float64 array [F].
        means: float64 array [1 or 4, F], overwritten.
        figures: float64 array [blocks, 7], overwritten.

    Raises:
        TypeError: an element type is none of the above.
        ValueError: a shape or a memory layout does not fit.
    """
    check_weigh(kept, order, weights, factors, displacement, means, figures)
    scale = np.abs(displacement)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        g = kept[order].astype(np.float64)
        means[:] = weights @ g
        variance = factors @ np.square(np.diff(g, axis=0))
        parts = [
            *(scale * np.abs(means[0]), displacement * means[0]),
            scale * np.sqrt(np.maximum(variance, 0)),
        ]
        if len(means) > 1:
            _, coarse, middle, fine = means
            parts += [scale * np.abs(fine), displacement * fine]
            parts += [scale * np.abs(fine - middle), scale * np.abs(middle - coarse)]
    figures[:] = 0.0
    figures[0, : len(parts)] = [p.sum() for p in parts]
    assert figures.shape[1] == FIGURES


def distances(kept: Array, first: Array, second: Array, displacement: Array, out: Array) -> None:
    """How far gradients of one job are apart, in the L1 norm of their attributions.

    Summed over the last axis, out[n] = Σ_f |displacement[f]| |h - g| with g = kept[first[n], f] and
    h = kept[second[n], f], in float64; a negative `second` stands for a gradient of zeros.

    Args:
        kept: float16, float32 or float64 array [P, F].
        first: int64 array [N], places.
        second: int64 array [N], places.
        displacement: float64 array [F].
        out: float64 array [N, blocks], overwritten.

    Raises:
        TypeError: an element type is none of the above.
        ValueError: a shape or a memory layout does not fit.
    """
    check_distances(kept, first, second, displacement, out)
    out[:] = 0.0
    scale = np.abs(displacement)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for n, (a, b) in enumerate(zip(first, second, strict=True)):
            other = kept[b].astype(np.float64) if b >= 0 else 0.0
            out[n, 0] = (scale * np.abs(other - kept[a].astype(np.float64))).sum()
