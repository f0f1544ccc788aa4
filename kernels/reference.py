"""The kernels in plain NumPy: the definition that every other implementation is tested against.

Written to be read, and to be safe where Numba is missing. All arrays are C-contiguous; features are
flattened to one axis `F`. `J` jobs, `R` rows (points on paths), `L` embedded quadrature rules.
Results go to the last argument (`interpolate`, `multiply_difference`), are added to the first
(`accumulate`) or go to the last three (`refine`). Overflow and invalid operations follow IEEE 754
without a warning: a non-finite gradient is data here, and its meaning is the caller's to judge.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .contract import (
    Array,
    check_accumulate,
    check_interpolate,
    check_multiply_difference,
    check_refine,
)

__all__ = [
    "accumulate",
    "interpolate",
    "multiply_difference",
    "refine",
]

_BLOCK = 1 << 15
"""Features of the rows that share a call into NumPy: a few small ones, of large ones each alone."""


def _blocks(rows: int, features: int) -> Iterator[slice]:
    """Rows, some at a time."""
    step = max(1, _BLOCK // max(1, features))
    return (slice(k, k + step) for k in range(0, rows, step))


def interpolate(baselines: Array, inputs: Array, rows: Array, alphas: Array, out: Array) -> None:
    """Write the points of straight paths.

    out[r, f] = b + alphas[r] (x - b)  with  b = baselines[rows[r], f],  x = inputs[rows[r], f]

    Exact at the ends, bit for bit: alpha = 0 gives b and alpha = 1 gives x. No single formula does
    both: b + 1 (x - b) rounds the difference and misses x; (1 - alpha) b + alpha x turns 0 times
    infinity into NaN and -0.0 into 0.0 at the other end. So the ends are copied, and the formula
    serves what lies between.

    Exact where nothing moves: x = b gives b at every alpha, at infinities too (where x - b is NaN):
    an additive attention mask of -inf stays a mask along the path.

    Arithmetic is in the arrays' own type (alpha is rounded to it), for float16 in float32, rounded
    once.

    Args:
        baselines: float16, float32 or float64 array [J, F].
        inputs: array [J, F] of the same type.
        rows: int64 array [R], the job of each row; 0 <= rows < J.
        alphas: float64 array [R], the position of each row on its path.
        out: array [R, F] of the type of `inputs`, overwritten.

    Raises:
        TypeError: an element type is none of the above.
        ValueError: a shape or a memory layout does not fit.
        IndexError: a row names no job.
    """
    check_interpolate(baselines, inputs, rows, alphas, out)
    work = np.dtype(np.float64 if inputs.dtype == np.float64 else np.float32)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for part in _blocks(*out.shape):
            b, x = baselines[rows[part]], inputs[rows[part]]
            wide, alpha = b.astype(work, copy=False), alphas[part, np.newaxis].astype(work)
            point = wide + alpha * (x.astype(work, copy=False) - wide)
            out[part] = np.where(x == b, wide, point)
        for end, of_jobs in ((0.0, baselines), (1.0, inputs)):
            at = np.flatnonzero(alphas == end)
            out[at] = of_jobs[rows[at]]


def accumulate(sums: Array, gradients: Array, rows: Array, weights: Array) -> None:
    """Add weighted gradients to the sums of their jobs, for several quadrature rules at once.

    sums[rows[r], l, f] += weights[l, r] gradients[r, f]  for r = 0, 1, ..., R - 1 in this order, in
    float64

    The order is part of the definition, so the result does not depend on the implementation or on
    the chunks' blocking, only on the order of rows. A weight of zero means "this rule has no node
    here": the gradient is skipped, not multiplied, so its inf or NaN cannot enter a rule that does
    not use it.

    Args:
        sums: float64 array [J, L, F], added to.
        gradients: float16, float32 or float64 array [R, F].
        rows: int64 array [R], the job of each row; 0 <= rows < J.
        weights: float64 array [L, R].

    Raises:
        TypeError: an element type is none of the above.
        ValueError: a shape or a memory layout does not fit.
        IndexError: a row names no job.
    """
    check_accumulate(sums, gradients, rows, weights)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for part in _blocks(*gradients.shape):
            wide = gradients[part].astype(np.float64, copy=False)
            for rule, of_rows in enumerate(weights[:, part]):
                products = of_rows[:, np.newaxis] * wide
                for job, weight, product in zip(rows[part], of_rows, products, strict=True):
                    if weight != 0.0:
                        sums[job, rule] += product


def multiply_difference(mean_gradients: Array, inputs: Array, baselines: Array, out: Array) -> None:
    """Turn mean gradients along the path into attributions.

    out[j, f] = mean_gradients[j, f] (inputs[j, f] - baselines[j, f])  in float64, the difference
    included

    A feature equal to its baseline gets exactly 0, even if its mean gradient is inf or NaN: it did
    not move, so it explains nothing.

    Args:
        mean_gradients: float64 array [J, F].
        inputs: float16, float32 or float64 array [J, F].
        baselines: array [J, F] of the type of `inputs`.
        out: float64 array [J, F], overwritten; may be `mean_gradients` itself.

    Raises:
        TypeError: an element type is none of the above.
        ValueError: a shape or a memory layout does not fit.
    """
    check_multiply_difference(mean_gradients, inputs, baselines, out)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        difference = inputs.astype(np.float64) - baselines.astype(np.float64)
        np.multiply(mean_gradients, difference, out=out)
    out[inputs == baselines] = 0.0


def refine(
    x0: Array,
    x1: Array,
    x2: Array,
    scale: Array,
    weights: Array,
    factors: Array,
    mean: Array,
    variance: Array,
    steps: Array,
) -> None:
    """Bring threes of neighbouring gradients of a path into its trapezoidal sum and its error.

    For each of M threes, one after the other,

    mean[f] += w0 x0 + w1 x1 + w2 x2
    variance[f] += c0 (x1 - x0)² + c1 (x2 - x1)² + c2 (x2 - x0)²
    steps = Σ_f scale[f] |x1 - x0|, Σ_f scale[f] |x2 - x1|

    with (w0, w1, w2) its weights and (c0, c1, c2) its factors, in float64. Sums are added up from
    left to right, products before, so that the result does not depend on the implementation, nor on
    how many come in one call. A node between two others replaces what their gap contributed, so
    weights and factors may be negative.

    Args:
        x0: float16, float32 or float64 array [M, F], and `x1`, `x2` arrays [M, F] of its type.
        x1: the second gradient of each three.
        x2: the third one; may be the same as another.
        scale: float64 array [F].
        weights: float64 array [M, 3].
        factors: float64 array [M, 3].
        mean: float64 array [F], added to.
        variance: float64 array [F], added to.
        steps: float64 array [M, 2], overwritten.

    Raises:
        TypeError: an element type is none of the above.
        ValueError: a shape or a memory layout does not fit.
    """
    check_refine(x0, x1, x2, scale, weights, factors, mean, variance, steps)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for three, w, of, to in zip(
            zip(x0, x1, x2, strict=True), weights, factors, steps, strict=True
        ):
            a, b, c = (x.astype(np.float64) for x in three)
            mean += w[0] * a + w[1] * b + w[2] * c
            one, two, both = b - a, c - b, c - a
            variance += of[0] * (one * one) + of[1] * (two * two) + of[2] * (both * both)
            for k, step in enumerate((one, two)):
                # one after the other; np.sum adds in pairs
                to[k] = np.cumsum(scale * np.abs(step))[-1] if len(step) else 0.0
