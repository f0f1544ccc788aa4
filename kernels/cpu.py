"""The kernels for the CPU, compiled by Numba.

Same results as `igrt.kernels.reference`, bit for bit: the same operations in the same order,
without contraction into fused multiply-adds. What makes them faster is one pass over memory instead
of one per operation, in blocks of features that stay in the first-level cache. All of them beat the
best NumPy formulation in `benchmarks/kernels.py`, for `accumulate` the float64 matrix product of
BLAS included. A check for finite values was within a quarter of `np.isfinite(a).all()` either way,
and so is left to NumPy.

float16 arrays go to the reference, since Numba has no float16 arithmetic on the CPU.

Arguments are checked inside the compiled code, where it costs nothing; only when it refuses does
`igrt.kernels.contract` find the words. Compiled at the first call, per element type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import contract, reference
from .contract import Array
from .jit import Lazy

__all__ = ["accumulate", "interpolate", "multiply_difference", "refine"]

_COMPILED = ("f", "d")


def interpolate(baselines: Array, inputs: Array, rows: Array, alphas: Array, out: Array) -> None:
    """Write the points of straight paths; see `igrt.kernels.reference.interpolate`."""
    if inputs.dtype.char not in _COMPILED:
        reference.interpolate(baselines, inputs, rows, alphas, out)
        return
    kernel = _INTERPOLATE.get(inputs.dtype.char)
    _run(kernel, contract.check_interpolate, baselines, inputs, rows, alphas, out)


def accumulate(sums: Array, gradients: Array, rows: Array, weights: Array) -> None:
    """Add weighted gradients to the sums of their jobs; see `igrt.kernels.reference.accumulate`."""
    if gradients.dtype.char not in _COMPILED:
        reference.accumulate(sums, gradients, rows, weights)
        return
    kernel = _ACCUMULATE.get(gradients.dtype.char)
    _run(kernel, contract.check_accumulate, sums, gradients, rows, weights)


def multiply_difference(mean_gradients: Array, inputs: Array, baselines: Array, out: Array) -> None:
    """Turn mean gradients into attributions; see `igrt.kernels.reference.multiply_difference`."""
    if inputs.dtype.char not in _COMPILED:
        reference.multiply_difference(mean_gradients, inputs, baselines, out)
        return
    kernel = _MULTIPLY_DIFFERENCE.get(inputs.dtype.char)
    _run(kernel, contract.check_multiply_difference, mean_gradients, inputs, baselines, out)


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
    """Bring threes of gradients into sum and error; see `igrt.kernels.reference.refine`."""
    arguments = x0, x1, x2, scale, weights, factors, mean, variance, steps
    if x0.dtype.char not in _COMPILED:
        reference.refine(*arguments)
        return
    _run(_REFINE.get(x0.dtype.char), contract.check_refine, *arguments)


def _run(kernel: Callable[..., bool], check: Callable[..., None], *arguments: Any) -> None:
    try:
        fitted = kernel(*arguments)
    except TypeError:  # an element type or a layout that the signature does not have
        check(*arguments)
        raise
    if not fitted:
        check(*arguments)
        raise ValueError("kernel refused its arguments")  # unreachable while the two checks agree


# Below: what Numba compiles. Slices of one row rather than two-dimensional indices in the inner
# loops: with `out[r, f]` LLVM has to allow for negative indices and does not vectorise (four times
# slower, measured).


def _interpolate(baselines, inputs, rows, alphas, out):  # type: ignore[no-untyped-def]  # for Numba
    jobs, features = inputs.shape
    count = rows.shape[0]
    if baselines.shape != inputs.shape or out.shape != (count, features):
        return False
    if alphas.shape[0] != count:
        return False
    for r in range(count):
        if rows[r] < 0 or rows[r] >= jobs:
            return False
    # 4,096 float32 of baseline, input and out are 48 KB; consecutive rows of a job find the first
    # two in cache.
    block = 4096
    for low in range(0, features, block):
        high = min(low + block, features)
        for r in range(count):
            b = baselines[rows[r], low:high]
            x = inputs[rows[r], low:high]
            point = out[r, low:high]
            # Loops, as `point[:] = b` takes Numba ten times as long to compile (3.7 s, not 0.4).
            if alphas[r] == 0.0:
                for f in range(high - low):
                    point[f] = b[f]
            elif alphas[r] == 1.0:
                for f in range(high - low):
                    point[f] = x[f]
            else:
                alpha = inputs.dtype.type(alphas[r])
                for f in range(high - low):
                    moved = b[f] + alpha * (x[f] - b[f])
                    point[f] = b[f] if x[f] == b[f] else moved
    return True


def _accumulate(sums, gradients, rows, weights):  # type: ignore[no-untyped-def]  # for Numba
    jobs, rules, features = sums.shape
    count = rows.shape[0]
    if gradients.shape != (count, features) or weights.shape != (rules, count):
        return False
    for r in range(count):
        if rows[r] < 0 or rows[r] >= jobs:
            return False
    used = np.empty(count, np.int64)  # the rows of the current run that the current rule uses
    # 2,048 float64 sums are 16 KB: they stay in the first-level cache while the rows stream past.
    block = 2048
    for low in range(0, features, block):
        high = min(low + block, features)
        start = 0
        while start < count:
            job = rows[start]
            end = start + 1
            while end < count and rows[end] == job:
                end += 1
            for rule in range(rules):
                total = sums[job, rule, low:high]
                n = 0
                for r in range(start, end):
                    if weights[rule, r] != 0.0:
                        used[n] = r
                        n += 1
                # Four rows at a time: one load and store of the sum for four additions, made in the
                # order of the rows, so that the result is the same to the last bit.
                i = 0
                while i + 4 <= n:
                    r0, r1, r2, r3 = used[i], used[i + 1], used[i + 2], used[i + 3]
                    g0, g1 = gradients[r0, low:high], gradients[r1, low:high]
                    g2, g3 = gradients[r2, low:high], gradients[r3, low:high]
                    w0, w1 = weights[rule, r0], weights[rule, r1]
                    w2, w3 = weights[rule, r2], weights[rule, r3]
                    for f in range(high - low):
                        two = (total[f] + w0 * g0[f]) + w1 * g1[f]
                        total[f] = (two + w2 * g2[f]) + w3 * g3[f]
                    i += 4
                while i < n:
                    g0 = gradients[used[i], low:high]
                    w0 = weights[rule, used[i]]
                    for f in range(high - low):
                        total[f] += w0 * g0[f]
                    i += 1
            start = end
    return True


def _multiply_difference(mean_gradients, inputs, baselines, out):  # type: ignore[no-untyped-def]  # for Numba
    if mean_gradients.shape != inputs.shape or baselines.shape != inputs.shape:
        return False
    if out.shape != inputs.shape:
        return False
    for job in range(inputs.shape[0]):
        mean, x, b, attribution = mean_gradients[job], inputs[job], baselines[job], out[job]
        for f in range(inputs.shape[1]):
            product = mean[f] * (np.float64(x[f]) - np.float64(b[f]))
            attribution[f] = 0.0 if x[f] == b[f] else product
    return True


def _refine(x0, x1, x2, scale, weights, factors, mean, variance, steps):  # type: ignore[no-untyped-def]  # for Numba
    count, features = x0.shape
    if x1.shape != x0.shape or x2.shape != x0.shape or scale.shape[0] != features:
        return False
    if mean.shape[0] != features or variance.shape[0] != features:
        return False
    if weights.shape != (count, 3) or factors.shape != (count, 3) or steps.shape != (count, 2):
        return False
    # The sums over features have one order, so they cannot be vectorised; in blocks that stay in
    # the first-level cache the rest can.
    block = 1024
    for m in range(count):
        w0, w1, w2 = weights[m, 0], weights[m, 1], weights[m, 2]
        c0, c1, c2 = factors[m, 0], factors[m, 1], factors[m, 2]
        first = second = 0.0
        for low in range(0, features, block):
            high = min(low + block, features)
            a, b, c = x0[m, low:high], x1[m, low:high], x2[m, low:high]
            total, spread, near = mean[low:high], variance[low:high], scale[low:high]
            for f in range(high - low):
                p, q, r = np.float64(a[f]), np.float64(b[f]), np.float64(c[f])
                total[f] += (w0 * p + w1 * q) + w2 * r
                one, two, both = q - p, r - q, r - p
                spread[f] += (c0 * (one * one) + c1 * (two * two)) + c2 * (both * both)
            for f in range(high - low):
                first += near[f] * abs(np.float64(b[f]) - np.float64(a[f]))
                second += near[f] * abs(np.float64(c[f]) - np.float64(b[f]))
        steps[m, 0], steps[m, 1] = first, second
    return True


_INTERPOLATE = Lazy(_interpolate, "T2 T2 q1 d1 T2!")
_ACCUMULATE = Lazy(_accumulate, "d3! T2 q1 d2")
_MULTIPLY_DIFFERENCE = Lazy(_multiply_difference, "d2 T2 T2 d2!")
_REFINE = Lazy(_refine, "T2 T2 T2 d1 d2 d2 d1! d1! d2!")
