"""Integrals of second derivatives along paths, for all pairs of features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from igrt.quadrature import PairScheme
from igrt.runtime.directions import Directions, Jobs
from igrt.runtime.paths import Integrals, Paths, result_bytes
from igrt.runtime.plan import Keeping
from igrt.runtime.points import Points
from igrt.specs import Array


def keeping(scheme: PairScheme, directions: Directions, paths: Paths) -> Keeping:
    """What `integrate_pairs` keeps of some paths: at the least that of a single one."""
    blocks, count = directions.blocks, len(paths)
    one = _bytes_per_path(scheme, directions, paths)
    results = result_bytes(len(blocks.feature_of) + blocks.features**2, count, count // 2)
    rows = count * blocks.features * len(scheme.plain.stages[0].alphas)
    return Keeping(one, one * count, results, rows)


def integrate_pairs(
    paths: Paths,
    directions: Directions,
    scheme: PairScheme,
    opened: Callable[[Paths], Points],
    *,
    keep_bytes: int,
) -> Integrals:
    """Integrate the Hessian along every path, with the weight -ln t.

    Args:
        paths: The paths.
        directions: How the graph is fed.
        scheme: Where to evaluate, and when to stop.
        opened: A graph on some paths: its first outputs are H·v of the attributed tensors, then
            come their gradients.
        keep_bytes: Memory for the sums of the paths in work at a time.

    Raises:
        NonFiniteError: If a product or a gradient is NaN or infinite.
        OutOfMemory: If not even one row fits.
        Cancelled, DeadlineExceeded: If the watch of the points says so.
    """
    blocks, count, chunk = directions.blocks, len(paths), 1
    group = max(1, keep_bytes // _bytes_per_path(scheme, directions, paths))
    if paths.batched and not paths.output_batched:
        group = 1
    found = Integrals.empty(count, {n: paths.inputs[n].shape[1:] for n in blocks.counts}, chunk)
    for name, features in blocks.counts.items():
        found.interactions[name] = np.zeros((count, features, blocks.features))
    for start in range(0, count, group):
        rows = range(start, min(start + group, count))
        jobs = directions.jobs(paths, rows)
        if len(jobs.paths):
            points = opened(jobs.paths)
            _Work(points, jobs, directions, scheme, paths.change[start:]).run(rows, found)
            chunk = points.chunk
    return replace(found, chunk=chunk)


class _Work:
    """Sums of the paths in work, for each of the nested rules.

    Args:
        points: The graph on a path for each feature.
        jobs: What these are.
        directions: How the graph is fed.
        scheme: Where to evaluate, and when to stop.
        change: F(x) - F(x') of the paths in work.
    """

    def __init__(
        self,
        points: Points,
        jobs: Jobs,
        directions: Directions,
        scheme: PairScheme,
        change: Array,
    ) -> None:
        self._points, self._jobs, self._scheme, self._change = points, jobs, scheme, change
        self._blocks = directions.blocks
        count, elements = jobs.displacement.shape
        rules = scheme.plain.rules
        self._pairs = np.zeros((len(jobs.owner), rules, self._blocks.features))
        self._products, self._slopes, self._gradients = (
            np.zeros((count, rules, elements)) for _ in range(3)
        )
        self._nodes = 0
        # the gradient is the same on the paths of all features
        self._first = np.concatenate([[True], np.diff(jobs.owner) > 0])

    def run(self, rows: Sequence[int], found: Integrals) -> None:
        """Evaluate until every path is done; its results are stored.

        Args:
            rows: Numbers of the paths among all of the call.
            found: Where results are stored.
        """
        scheme, active = self._scheme, np.unique(self._jobs.owner)
        for plain, weighed in zip(scheme.plain.stages, scheme.logarithmic.stages, strict=True):
            self._evaluate(active, plain.alphas, weighed.weights, plain.weights)
            self._nodes += len(plain.alphas)
            last = plain is scheme.plain.stages[-1]
            settled = [self._settled(a, plain.fine, plain.coarse, last) for a in active.tolist()]
            for at, result in zip(active.tolist(), settled, strict=True):
                if result is not None:
                    self._store(rows[at], at, *result, found)
            active = active[[r is None for r in settled]]
            if not len(active):
                break

    def _evaluate(self, active: Array, alphas: Array, weighed: Array, plain: Array) -> None:
        """Add the nodes of a stage to the sums of the paths that are not done."""
        points, jobs, blocks = self._points, self._jobs, self._blocks
        accumulate = points.kernels.accumulate
        chosen = np.flatnonzero(np.isin(jobs.owner, active))
        job, node = np.repeat(chosen, len(alphas)), np.tile(np.arange(len(alphas)), len(chosen))
        points.watch.planned += len(job)
        tensors = list(blocks.counts)
        for part, lane in points.run(job, job, alphas[node]):
            here, at = job[part], node[part]
            owner, moved = jobs.owner[here], jobs.displacement[jobs.owner[here]]

            def moves(name: str, row: int, moved: Array = moved) -> Array:
                return np.asarray(moved[row, blocks.parts[name]] != 0)

            points.refuse_unbounded([*tensors, *tensors], moves)
            made = lane.read()
            products = _times(moved, made[: len(tensors)])
            weights = np.ascontiguousarray(weighed[:, at])
            accumulate(self._pairs, blocks.summed(products), here, weights * alphas[at])
            accumulate(self._products, products, owner, weights * alphas[at])
            once = self._first[here]
            if once.any():
                slopes = _times(moved[once], [m[once] for m in made[len(tensors) :]])
                of, nodes = owner[once], at[once]
                accumulate(self._slopes, slopes, of, np.ascontiguousarray(weighed[:, nodes]))
                accumulate(self._gradients, slopes, of, np.ascontiguousarray(plain[:, nodes]))
            points.watch.did(len(here))

    def _settled(
        self, at: int, fine: int, coarse: int | None, last: bool
    ) -> tuple[Array, Array, float] | None:
        """Γ, its row sums and their error where a path is done; None where it goes on."""
        matrix, values = self._of_rule(at, fine)
        if coarse is None:
            return matrix, values, np.nan
        before, values_before = self._of_rule(at, coarse)
        size, norm = float(np.abs(matrix).sum()), float(np.abs(values).sum())
        # the exact one is symmetric: what is not so is rounding
        apart = max(np.abs(matrix - before).sum(), np.abs(matrix - matrix.T).sum() / 2)
        gap = max(
            np.abs(values - values_before).sum(),
            np.abs(values - self._gradients[at, fine]).sum(),
            abs(values.sum() - self._change[at]),
        )
        error = max(float(gap), norm * _ratio(float(apart), size))
        tolerance = self._scheme.tolerance
        if last or (tolerance is not None and error <= tolerance * norm):
            return matrix, values, error
        return None

    def _of_rule(self, at: int, rule: int) -> tuple[Array, Array]:
        """Γ, [features, features], and its row sums per element, by one of the rules."""
        matrix = np.zeros((self._blocks.features,) * 2)
        chosen = np.flatnonzero(self._jobs.owner == at)
        matrix[:, self._jobs.feature[chosen]] = self._pairs[chosen, rule].T
        slopes = self._slopes[at, rule]
        matrix[np.diag_indices_from(matrix)] += self._blocks.summed(slopes[np.newaxis])[0]
        return matrix, self._products[at, rule] + slopes

    def _store(
        self, row: int, at: int, matrix: Array, values: Array, error: float, found: Integrals
    ) -> None:
        parts = [values[part][np.newaxis] for part in self._blocks.parts.values()]
        products = self._nodes * int((self._jobs.owner == at).sum())
        found.store(np.asarray([row]), parts, error, products)
        for name, rows in self._blocks.by_tensor(matrix).items():
            found.interactions[name][row] = rows


def _bytes_per_path(scheme: PairScheme, directions: Directions, paths: Paths) -> int:
    """What a path takes while it is in work: sums of each rule, and what it is fed with."""
    features, elements = directions.blocks.features, len(directions.blocks.feature_of)
    sums = scheme.plain.rules * (features**2 + 3 * elements) + 3 * features**2
    return 8 * sums + directions.bytes_per_path(paths)


def _times(moved: Array, made: Sequence[Array]) -> Array:
    """(x - x') times what the graph gives, [rows, elements] float64; 0 where nothing moves."""
    flat = np.concatenate([np.asarray(m, dtype=np.float64) for m in made], axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(moved == 0, 0.0, moved * flat)


def _ratio(part: float, whole: float) -> float:
    return 0.0 if part == 0 else part / whole if whole else np.inf


__all__ = ["integrate_pairs", "keeping"]
