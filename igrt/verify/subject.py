"""`Subject`: one row of a `Case` in the form that the measures of faithfulness take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.specs import Array, Feeds
from igrt.verify.case import Case
from igrt.verify.evaluate import Attribute, Run, joined


@final
@dataclass(frozen=True, eq=False)
class Subject:
    """One example with its attribution, and what is needed to look at its surroundings.

    Args:
        x: The attributed tensors, [*shape] by name.
        baseline: Their baseline, likewise.
        values: The attribution, likewise.
        run: The explained score of each row of tensors.
        attribute: The attribution of each row of tensors, for the same target and baseline.
    """

    x: dict[str, Array]
    baseline: dict[str, Array]
    values: dict[str, Array]
    run: Run
    attribute: Attribute


def subject(case: Case, row: int) -> Subject:
    """One row of a case, attributed."""
    at = np.array([row])

    def run(points: Feeds) -> Array:
        z = joined(points, case.wrt)
        return case.score(z, np.full(len(z), row))

    def attribute(points: Feeds) -> dict[str, Array]:
        z = joined(points, case.wrt)
        begin = np.repeat(case.b[at], len(z), axis=0)
        found = case.attribute(z, begin, np.full(len(z), row)).values
        return parted(case, found)

    values = parted(case, case.attribute(case.x[at], case.b[at], at).values)
    x, baseline = case.tensors(case.x[at]), case.tensors(case.b[at])
    return Subject(_first(x), _first(baseline), _first(values), run, attribute)


def _first(rows: Feeds) -> dict[str, Array]:
    return {n: a[0] for n, a in rows.items()}


def parted(case: Case, values: Array) -> dict[str, Array]:
    """Flat attributions, [rows, features], by tensor, [rows, *shape] float64."""
    found, start = {}, 0
    for name, shape in case.shapes.items():
        size = int(np.prod(shape, dtype=np.int64))
        found[name] = values[:, start : start + size].reshape(len(values), *shape)
        start += size
    return found


__all__ = ["Subject", "parted", "subject"]
