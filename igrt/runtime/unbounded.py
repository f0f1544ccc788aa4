"""What becomes of gradients that are no ordinary numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from igrt.errors import NonFiniteError
from igrt.runtime.paths import Paths
from igrt.specs import Array, Feeds

UNBOUNDED = 1e15
"""A gradient beyond this is taken as infinite. Rules give a huge finite slope at singular points
(1e22 for the square root at 0 in float32), so that masks behind them still work."""


def bounded(gradient: Array) -> bool:
    """Whether there is neither NaN nor anything beyond `UNBOUNDED`."""
    low, high = float(gradient.min(initial=0)), float(gradient.max(initial=0))
    return -UNBOUNDED < low and high < UNBOUNDED  # NaN fails the comparison


def refuse_unbounded(
    name: str,
    flat: Array,
    paths: Paths,
    path: Array,
    alphas: Array,
    feeds: Feeds,
    moves: Callable[[int], Array] | None,
) -> None:
    """Raise where a gradient is no ordinary number.

    Args:
        name: Tensor that it is the gradient of.
        flat: Gradient at each point, [points, features].
        paths: The paths.
        path: Path of each point.
        alphas: Position of each point.
        feeds: What the model was fed with.
        moves: Features of a point that move along its path, [features] bool; those that do not
            are attributed 0 whatever their gradient. None for all.
    """
    for row, gradient in enumerate(flat):
        bad = ~(np.abs(gradient.astype(np.float64)) < UNBOUNDED)
        count = int((bad if moves is None else bad & moves(row)).sum())
        if count:
            raise NonFiniteError(
                f"the gradient of `{name}` is NaN, infinite or beyond {UNBOUNDED:g} in {count} "
                f"elements at alpha = {float(alphas[row]):.6g} on the path of example "
                f"{int(paths.example[path[row]])}",
                hint="use a baseline from which the path avoids the singular point",
                feeds=_of_row(paths, feeds, row),
            )


def _of_row(paths: Paths, feeds: Feeds, row: int) -> Feeds:
    """What one row of a run was fed with, as a batch of its own."""
    if not paths.batched or not paths.output_batched:
        return {n: np.array(a) for n, a in feeds.items()}
    return {n: a if n in paths.shared else a[row : row + 1].copy() for n, a in feeds.items()}


__all__ = ["UNBOUNDED", "bounded", "refuse_unbounded"]
