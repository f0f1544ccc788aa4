"""Means over drawn points, with the standard error of the sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from igrt.quadrature import Sampling
from igrt.runtime.paths import Integrals, result_bytes
from igrt.runtime.plan import Keeping
from igrt.runtime.points import Points
from igrt.specs import Array

_SUMS = 3 * 8
"""Bytes of the sums of a row, per feature."""


class _Sums:
    """Sum of the draws of one row, and of the squared differences of neighbours.

    Two neighbouring strata are taken for one with two independent draws c and c'. Then
    (c - c')²/2 estimates the variance of each, and the variance of the mean of n draws is

        Σ over pairs (c - c')² / n²

    which expects no less than the true one: the means of the two strata differ, and that baselines
    are not drawn twice lowers the true one only (collapsed strata, Cochran, 1977, section 5A.12).
    The last of an odd number is paired with the one before it.
    """

    def __init__(self, features: int) -> None:
        self.total, self.squares = np.zeros(features), np.zeros(features)
        self._before: Array = np.zeros(features)
        self.count = self._in_run = 0

    def add(self, drawn: Array, last: bool) -> None:
        """Take a draw; `last` of its run, which may leave it without a partner."""
        self.total += drawn
        if self._in_run % 2 or (last and self.count):
            self.squares += (drawn - self._before) ** 2
        self._before = drawn
        self.count += 1
        self._in_run = 0 if last else self._in_run + 1

    @property
    def mean(self) -> Array:
        return self.total / self.count

    @property
    def error(self) -> float:
        """Standard errors of all features, summed up; NaN for a single draw."""
        return float(np.sqrt(self.squares).sum()) / self.count if self.count > 1 else np.nan


def keeping(sampling: Sampling, features: int, rows: int) -> Keeping:
    """What `sample` keeps of some rows: at the least the sums of a single one."""
    sums = _SUMS * features
    return Keeping(sums, sums * rows, result_bytes(features, rows, rows), rows * sampling.first)


def sample(
    points: Points, names: Sequence[str], sampling: Sampling, *, pool: Array, keep_bytes: int
) -> Integrals:
    """Mean of (x - b) · gradient over draws of a baseline b and a position on the path from it.

    Args:
        points: The model, whose outputs are the gradients of the attributed tensors.
        names: Attributed tensors, in the order of the outputs.
        sampling: What to draw, and when to stop.
        pool: Rows in the paths' baselines that each path may begin at, [paths, baselines] int64.
        keep_bytes: Memory for the sums of the rows in work at a time.

    Raises:
        NonFiniteError: If a gradient is NaN or infinite.
        OutOfMemory: If not even one row fits.
        Cancelled, DeadlineExceeded: If the watch of the points says so.
    """
    paths, sizes = points.paths, [o.size for o in points.outputs]
    features = max(1, sum(sizes))
    most = max(1, keep_bytes // (_SUMS * features))
    result = Integrals.empty(
        len(paths), {n: paths.inputs[n].shape[1:] for n in names}, points.chunk
    )
    for start in range(0, len(paths), most):
        rows = range(start, min(start + most, len(paths)))
        sums = {r: _Sums(features) for r in rows}
        active = list(rows)
        for runs in sampling.rounds(pool.shape[1]):
            _round(points, names, pool, sums, active, runs)
            active = [r for r in active if not _done(sums[r], sampling.tolerance)]
            if not active:
                break
        for r, found in sums.items():
            parts = np.split(found.mean[np.newaxis], np.cumsum(sizes)[:-1], axis=1)
            result.store(np.asarray([r]), parts, found.error, found.count)
    return replace(result, chunk=points.chunk)


def _done(sums: _Sums, tolerance: float | None) -> bool:
    return tolerance is not None and sums.error <= tolerance * float(np.abs(sums.mean).sum())


def _round(
    points: Points,
    names: Sequence[str],
    pool: Array,
    sums: dict[int, _Sums],
    active: list[int],
    runs: list[tuple[Array, Array]],
) -> None:
    """The same draws for every row in work."""
    drawn = np.concatenate([d for d, _ in runs])
    ends = np.cumsum([len(d) for d, _ in runs]) - 1
    path = np.repeat(np.asarray(active, dtype=np.int64), len(drawn))
    baseline = pool[active][:, drawn].reshape(-1)
    last = np.tile(np.isin(np.arange(len(drawn)), ends), len(active))
    where = np.tile(np.concatenate([a for _, a in runs]), len(active))
    points.watch.planned += len(path)
    for part, lane in points.run(path, baseline, where):
        made = _contributions(points, names, path[part], baseline[part], lane.read())
        for r, end, contribution in zip(path[part], last[part], made, strict=True):
            sums[int(r)].add(contribution, last=bool(end))
        points.watch.did(len(made))


def _contributions(
    points: Points,
    names: Sequence[str],
    path: Array,
    baseline: Array,
    gradients: list[Array],
) -> Array:
    """(x - b) · gradient at each point, [points, features] float64."""
    paths, parts, moves = points.paths, [], {}
    for name, gradient in zip(names, gradients, strict=True):
        x = paths.inputs[name][paths.example[path]].reshape(len(path), -1)
        b = paths.baselines[name][baseline].reshape(len(path), -1)
        moves[name] = x != b
        with np.errstate(invalid="ignore"):
            products = (x.astype(np.float64) - b) * gradient.astype(np.float64)
        parts.append(np.where(moves[name], products, 0.0))
    points.refuse_unbounded(names, lambda name, row: moves[name][row])
    return np.concatenate(parts, axis=1)


__all__ = ["sample"]
