"""Means over drawn points, with the standard error of the sampling."""

from __future__ import annotations

import numpy as np

from igrt.quadrature import Sampling
from igrt.runtime.points import Points, flat_rows, refuse_unbounded
from igrt.runtime.stream import Integrals, Paths
from igrt.specs import Array, Feeds

_SUMS_BYTES = 256 << 20
"""Memory for the sums of the rows in work at a time."""


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


def sample(
    points: Points, paths: Paths, pool: Array, sampling: Sampling, gradients: dict[str, str]
) -> Integrals:
    """Mean of (x - b) · gradient over draws of a baseline b and a position on the path from it.

    Args:
        points: The model.
        paths: One per row; each may begin at any of its baselines.
        pool: Rows in the paths' baselines that each row may begin at, [rows, baselines] int64.
        sampling: What to draw, and when to stop.
        gradients: Gradient output of the model per attributed input.

    Raises:
        NonFiniteError: If a gradient is NaN or infinite.
        OutOfMemory: If not even one row fits.
        DeadlineExceeded: If the deadline passed.
    """
    sizes = {n: int(np.prod(paths.inputs[n].shape[1:], dtype=np.int64)) for n in gradients}
    features = max(1, sum(sizes.values()))
    most = max(1, _SUMS_BYTES // (3 * 8 * features))
    values = {n: np.zeros((len(paths), *paths.inputs[n].shape[1:])) for n in gradients}
    error, evaluations = np.zeros(len(paths)), np.zeros(len(paths), dtype=np.int64)
    for start in range(0, len(paths), most):
        rows = range(start, min(start + most, len(paths)))
        sums = {r: _Sums(features) for r in rows}
        active = list(rows)
        for runs in sampling.rounds(pool.shape[1]):
            _round(points, paths, pool, gradients, sums, active, runs)
            active = [r for r in active if not _done(sums[r], sampling.tolerance)]
            if not active:
                break
        for r, found in sums.items():
            parts = np.split(found.mean, np.cumsum(list(sizes.values()))[:-1])
            for name, part in zip(gradients, parts, strict=True):
                values[name][r] = part.reshape(values[name].shape[1:])
            error[r], evaluations[r] = found.error, found.count
    return Integrals(values, error, evaluations, points.chunk)


def _done(sums: _Sums, tolerance: float | None) -> bool:
    return tolerance is not None and sums.error <= tolerance * float(np.abs(sums.mean).sum())


def _round(
    points: Points,
    paths: Paths,
    pool: Array,
    gradients: dict[str, str],
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
    for part, found, feeds in points.run(list(gradients.values()), path, baseline, where):
        made = _contributions(
            paths, gradients, path[part], baseline[part], where[part], found, feeds
        )
        for r, end, contribution in zip(path[part], last[part], made, strict=True):
            sums[int(r)].add(contribution, last=bool(end))


def _contributions(
    paths: Paths,
    gradients: dict[str, str],
    path: Array,
    baseline: Array,
    alphas: Array,
    found: list[Array],
    feeds: Feeds,
) -> Array:
    """(x - b) · gradient at each point, [points, features] float64."""
    parts = []
    for name, gradient in zip(gradients, found, strict=True):
        x = paths.inputs[name][paths.example[path]].reshape(len(path), -1)
        b = paths.baselines[name][baseline].reshape(len(path), -1)
        flat = flat_rows(name, gradient, *x.shape)
        moves = x != b
        refuse_unbounded(name, flat, paths, path, alphas, feeds, moves.__getitem__)
        with np.errstate(invalid="ignore"):
            products = (x.astype(np.float64) - b) * flat.astype(np.float64)
        parts.append(np.where(moves, products, 0.0))
    return np.concatenate(parts, axis=1)


__all__ = ["sample"]
