"""A table of colours whose rows and columns have names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.errors import InternalError
from igrt.render.colour import limit, strength
from igrt.render.facts import CLIPPING, number, printable
from igrt.specs import Array

MOST = 160
"""Most names along a side; a larger table is a `Map`."""

_NUMBERED = 10
"""Most rows and columns of a matrix whose cells have their numbers in them."""


PAIRED = "full colour from the largest |interaction| of two features"
"""How the colours are scaled where they are scaled to the pairs."""


@final
@dataclass(frozen=True, eq=False)
class Matrix:
    """Values by row and column: outputs by tokens, or pairs of features.

    Args:
        rows: Names of the rows, at most `MOST`.
        columns: Names of the columns, at most `MOST`.
        values: The values, [rows, columns] float64.
        down: What the rows are, such as ``outputs``.
        across: What the columns are, such as ``tokens``.
        full: Value drawn in full colour: that of the largest pair, where main effects on the
            diagonal would leave no colour for pairs. None for a percentile of all.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: Array
    down: str
    across: str
    full: float | None = None

    def __post_init__(self) -> None:
        shape = (len(self.rows), len(self.columns))
        if self.values.shape != shape or not 0 < min(shape) <= max(shape) <= MOST:
            raise InternalError(
                f"a matrix of {list(self.values.shape)} values with {shape[0]} and {shape[1]} names"
            )
        for names in ("rows", "columns"):
            object.__setattr__(self, names, tuple(map(printable, getattr(self, names))))

    @property
    def top(self) -> float:
        """Value drawn in full colour."""
        return limit(self.values) if self.full is None else self.full

    @property
    def note(self) -> str:
        """How the colours are scaled."""
        return CLIPPING if self.full is None else PAIRED

    @property
    def strength(self) -> Array:
        """Values relative to `top`, -1 ... 1, or NaN, [rows, columns]."""
        return np.where(np.isfinite(self.values), strength(self.values, self.top), np.nan)

    @property
    def numbered(self) -> bool:
        """Whether it is so small that its numbers stand in its cells."""
        return max(len(self.rows), len(self.columns)) <= _NUMBERED

    @property
    def caption(self) -> str:
        """What the sides are, and what the values add up to."""
        rows, columns = self.values.shape
        return (
            f"{rows} {self.down} by {columns} {self.across},"
            f" {number(float(np.sum(self.values)), signed=True)} in sum"
        )


def cell(value: float) -> str:
    """A value short enough for a cell: two significant digits."""
    return number(float(f"{value:.1e}"), signed=True)


__all__ = ["MOST", "Matrix", "cell"]
