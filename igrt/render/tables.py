"""Which results are tables: every attributed tensor is a row of features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from igrt.render.bars import Bar, entries
from igrt.render.signal import time_axis

if TYPE_CHECKING:
    from igrt.attribution import Attribution


def is_table(attribution: Attribution) -> bool:
    """Whether each attributed tensor has one number per feature: no text, signal or graph."""
    display = attribution.display
    return not display.graphs and all(
        v.ndim < 2
        and n not in display.tokens
        and time_axis(v.shape, display.layouts.get(n, "")) is None
        for n, v in attribution.row(0).items()
    )


def bars_of(attribution: Attribution, row: int) -> list[Bar]:
    """One bar for each feature of all attributed tensors; none if the result is no table."""
    if not is_table(attribution):
        return []
    given = attribution.input_row(row)
    found: list[Bar] = []
    for name, values in attribution.row(row).items():
        flat = np.asarray(values, dtype=np.float64).reshape(-1)
        inputs = given.get(name)
        fits = inputs is not None and inputs.shape == values.shape
        x = inputs.reshape(-1) if inputs is not None and fits else None
        found += entries(attribution.display, name, flat, x)
    return found


__all__ = ["bars_of", "is_table"]
