"""Insertion and deletion as lines of blocks, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from igrt.render.cells import blocks
from igrt.render.facts import number
from igrt.specs import Array
from igrt.verify.faithfulness import Faithfulness

_ROWS, _CELLS = 4, 32


def sparks(measured: Sequence[Faithfulness]) -> list[str]:
    """The curves of the first rows, all of a row in the same heights, from 0 to 100 % moved."""
    lines = []
    for row, found in enumerate(measured[:_ROWS]):
        curves = found.curves
        drawn = {
            "insertion": (curves.insertion, curves.insertion_area),
            "deletion": (curves.deletion, curves.deletion_area),
            "random": (curves.random.mean(axis=0), float(curves.random_areas.mean())),
        }
        every = np.concatenate([curve for curve, _ in drawn.values()])
        low, high = float(every.min()), float(every.max())
        lines.append(f"row {row}: score from {number(low)} (▁) to {number(high)} (█)")
        lines += [
            f"  {name:9}  {spark(curves.share, curve, low, high)}  area {number(area)}"
            for name, (curve, area) in drawn.items()
        ]
    if len(measured) > _ROWS:
        lines.append(f"… {len(measured) - _ROWS} more rows")
    return lines


def spark(share: Array, curve: Array, low: float, high: float) -> str:
    """A curve over 0 … 1 as one line of blocks between two heights."""
    return blocks(np.interp(np.linspace(0.0, 1.0, _CELLS), share, curve), low, high)


__all__ = ["spark", "sparks"]
