"""Integrals of the gradients of inner tensors along the paths of the inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from igrt.quadrature import InnerPath, InnerScheme
from igrt.runtime.points import Points, flat_rows, refuse_unbounded
from igrt.runtime.stream import Integrals, Paths
from igrt.specs import Array

_KEPT_BYTES = 256 << 20
"""Memory for the gradients and values kept of the paths in work at a time."""

_MOST = 511
"""Most evaluations of a path, as for Integrated Gradients."""

_BYTES = 8
"""Of a gradient and a value that are kept, per feature."""


def integrate_inside(
    points: Points,
    ends: Points,
    paths: Paths,
    scheme: InnerScheme,
    *,
    gradients: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    complete: bool,
) -> Integrals:
    """Integrate the gradients of inner tensors, or these over the changes of the tensors.

    Args:
        points: The augmented model, with the inner tensors as outputs as well.
        ends: The model up to the inner tensors, for both ends of a path.
        paths: Paths of the inputs.
        scheme: What to integrate, and when to stop.
        gradients: Gradient output per inner tensor.
        shapes: Shape of each inner tensor for one example.
        complete: Whether all of the output depends through these tensors.

    Raises:
        NonFiniteError: If a gradient is NaN or infinite.
        OutOfMemory: If not even one row fits.
        DeadlineExceeded: If the deadline passed.
    """
    names = list(gradients)
    sizes = {n: int(np.prod(shapes[n], dtype=np.int64)) for n in names}
    features = max(1, sum(sizes.values()))
    most = max(16, min(_MOST, _KEPT_BYTES // (_BYTES * features)))
    slots = max(1, _KEPT_BYTES // (_BYTES * features * most))
    count = len(paths)
    values = {n: np.zeros((count, *shapes[n])) for n in names}
    error, evaluations = np.zeros(count), np.zeros(count, dtype=np.int64)
    for start in range(0, count, slots):
        rows = list(range(start, min(start + slots, count)))
        work = _begun(ends, paths, scheme, rows, sizes, most, complete)
        while any(p.wanted for p in work.values()):
            _round(points, paths, work, gradients, sizes, changes=scheme.changes)
        for row, path in work.items():
            parts = np.split(path.mean, np.cumsum(list(sizes.values()))[:-1])
            for name, part in zip(names, parts, strict=True):
                values[name][row] = part.reshape(shapes[name])
            error[row], evaluations[row] = path.error, path.evaluations
    return Integrals(values, error, evaluations, points.chunk)


def _begun(
    ends: Points,
    paths: Paths,
    scheme: InnerScheme,
    rows: list[int],
    sizes: Mapping[str, int],
    most: int,
    complete: bool,
) -> dict[int, InnerPath]:
    features = sum(sizes.values())
    found = {r: [np.zeros(features), np.zeros(features)] for r in rows}
    if scheme.changes:
        row = np.repeat(rows, 2)
        alphas = np.tile([0.0, 1.0], len(rows))
        for part, made, _ in ends.run(list(sizes), row, paths.baseline[row], alphas):
            flats = _flat(made, sizes, len(row[part]))
            for r, alpha, flat in zip(row[part], alphas[part], flats, strict=True):
                found[int(r)][int(alpha)] = flat
    change = paths.change if complete else [None] * len(paths)
    return {r: scheme.path(found[r][0], found[r][1], change[r], most) for r in rows}


def _round(
    points: Points,
    paths: Paths,
    work: dict[int, InnerPath],
    gradients: Mapping[str, str],
    sizes: Mapping[str, int],
    *,
    changes: bool,
) -> None:
    """Evaluate whatever is wanted, of all paths together."""
    row = np.asarray([r for r, p in work.items() for _ in p.wanted], dtype=np.int64)
    alphas = np.asarray([a for p in work.values() for a in p.wanted])
    outputs = [*gradients.values(), *(sizes if changes else ())]
    got: dict[int, list[Array]] = {r: [] for r in work}
    at: dict[int, list[Array]] = {r: [] for r in work}
    for part, made, feeds in points.run(outputs, row, paths.baseline[row], alphas):
        here = row[part]
        for name, gradient in zip(gradients, made, strict=False):
            flat = flat_rows(name, gradient, len(here), sizes[name])
            refuse_unbounded(name, flat, paths, here, alphas[part], feeds)
        flats = _flat(made[: len(sizes)], sizes, len(here))
        inner = _flat(made[len(sizes) :], sizes, len(here)) if changes else flats
        for r, g, y in zip(here, flats, inner, strict=True):
            got[int(r)].append(g)
            at[int(r)].append(y)
    for r, path in work.items():
        if path.wanted:
            path.add(got[r], at[r] if changes else [])


def _flat(made: list[Array], sizes: Mapping[str, int], rows: int) -> Array:
    """Tensors side by side, [rows, features]."""
    parts = [flat_rows(n, a, rows, sizes[n]) for n, a in zip(sizes, made, strict=True)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


__all__ = ["integrate_inside"]
