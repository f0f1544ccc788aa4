"""Integrals of the gradients of inner tensors along the paths of the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from igrt.quadrature import InnerPath, InnerScheme
from igrt.runtime.paths import Integrals, result_bytes
from igrt.runtime.plan import Keeping
from igrt.runtime.points import Points
from igrt.specs import Array

_MOST, _FEWEST = 511, 16
"""Most evaluations of an adaptive path, as for Integrated Gradients, and the fewest."""

_NODES = 15
"""Where an adaptive path begins."""

_BYTES = 8
"""Of a gradient and a value that are kept, per feature."""


def keeping(scheme: InnerScheme, features: int, paths: int, results: int) -> Keeping:
    """What `integrate_inside` keeps of some paths: at the least that of a single one."""
    fixed = scheme.steps
    if scheme.scheme is not None and scheme.tolerance is None:
        fixed = len(scheme.scheme.stages[0].alphas)
    one = _BYTES * features
    return Keeping(
        one * (fixed or _FEWEST),
        one * (fixed or _MOST) * paths,
        result_bytes(features, paths, results),
        paths * (fixed or _NODES),
    )


def integrate_inside(
    points: Points,
    ends: Points,
    names: Sequence[str],
    scheme: InnerScheme,
    *,
    complete: bool,
    keep_bytes: int,
) -> Integrals:
    """Integrate the gradients of inner tensors, or these over the changes of the tensors.

    Args:
        points: The augmented model, with the gradients of the inner tensors as outputs; for an
            integral over changes, with the tensors themselves behind them.
        ends: The model up to the inner tensors, for both ends of a path.
        names: Inner tensors, in the order of the outputs.
        scheme: What to integrate, and when to stop.
        complete: Whether all of the output depends through these tensors.
        keep_bytes: Memory for the gradients and values of the paths in work at a time.

    Raises:
        NonFiniteError: If a gradient is NaN or infinite.
        OutOfMemory: If not even one row fits.
        Cancelled, DeadlineExceeded: If the watch of the points says so.
    """
    tensors = dict(zip(names, points.outputs, strict=False))
    sizes = [t.size for t in tensors.values()]
    features = max(1, sum(sizes))
    most = max(_FEWEST, min(_MOST, keep_bytes // (_BYTES * features)))
    slots = max(1, keep_bytes // (_BYTES * features * most))
    count = len(points.paths)
    found = Integrals.empty(count, {n: t.shape for n, t in tensors.items()}, points.chunk)
    for start in range(0, count, slots):
        rows = list(range(start, min(start + slots, count)))
        work = _begun(ends, scheme, rows, sum(sizes), most, complete)
        while any(p.wanted for p in work.values()):
            _round(points, names, work, changes=scheme.changes)
        for row, path in work.items():
            parts = np.split(path.mean[np.newaxis], np.cumsum(sizes)[:-1], axis=1)
            found.store(np.asarray([row]), parts, path.error, path.evaluations)
    return replace(found, chunk=points.chunk)


def _begun(
    ends: Points,
    scheme: InnerScheme,
    rows: list[int],
    features: int,
    most: int,
    complete: bool,
) -> dict[int, InnerPath]:
    paths = ends.paths
    found = {r: [np.zeros(features), np.zeros(features)] for r in rows}
    if scheme.changes:
        row = np.repeat(rows, 2)
        alphas = np.tile([0.0, 1.0], len(rows))
        for part, lane in ends.run(row, paths.baseline[row], alphas):
            flats = np.concatenate(lane.read(), axis=1)
            for r, alpha, flat in zip(row[part], alphas[part], flats, strict=True):
                found[int(r)][int(alpha)] = flat
    change = paths.change if complete else [None] * len(paths)
    return {r: scheme.path(found[r][0], found[r][1], change[r], most) for r in rows}


def _round(
    points: Points, names: Sequence[str], work: dict[int, InnerPath], *, changes: bool
) -> None:
    """Evaluate whatever is wanted, of all paths together."""
    row = np.asarray([r for r, p in work.items() for _ in p.wanted], dtype=np.int64)
    alphas = np.asarray([a for p in work.values() for a in p.wanted])
    got: dict[int, list[Array]] = {r: [] for r in work}
    at: dict[int, list[Array]] = {r: [] for r in work}
    points.watch.planned += len(row)
    for part, lane in points.run(row, points.paths.baseline[row], alphas):
        here, made = row[part], lane.read()
        points.refuse_unbounded(names, None)
        # the lane's next run writes over what it gives
        gradients = np.concatenate(made[: len(names)], axis=1)
        inner = np.concatenate(made[len(names) :], axis=1) if changes else gradients
        for r, g, y in zip(here, gradients, inner, strict=True):
            got[int(r)].append(g)
            at[int(r)].append(y)
        points.watch.did(len(here))
    for r, path in work.items():
        if path.wanted:
            path.add(got[r], at[r] if changes else [])


__all__ = ["integrate_inside"]
