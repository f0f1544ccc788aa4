"""Attribution of named features, strongest first: what bars and waterfalls show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.features import Feature, features_of
from igrt.render.facts import number, printable
from igrt.specs import Array, Display


@final
@dataclass(frozen=True)
class Bar:
    """Attribution of one feature, or of all the others together: its name, input and value."""

    name: str
    given: str
    value: float


@final
@dataclass(frozen=True)
class Bars:
    """Attribution of named features, strongest first; `top` is the largest magnitude."""

    bars: tuple[Bar, ...]
    top: float
    total: float


def entries(display: Display, tensor: str, values: Array, given: Array | None) -> list[Bar]:
    """One bar for each feature of a row, in the order of the columns.

    Args:
        display: Names and groups of the columns.
        tensor: Name of the tensor, for columns without names.
        values: Attribution, [columns].
        given: What the model was given, [columns].
    """
    return [
        Bar(f.name, "" if given is None else _given(f, given), float(f.summed(values)))
        for f in printable_features(display, tensor, len(values))
    ]


def printable_features(display: Display, tensor: str, width: int) -> tuple[Feature, ...]:
    """Features of a tensor with names that can be shown; ``x[3]`` where a column has none."""
    found = features_of(display, tensor, width)
    if found:
        return tuple(
            Feature(printable(f.name), f.columns, tuple(map(printable, f.words))) for f in found
        )
    tensor = printable(tensor)
    return tuple(Feature(f"{tensor}[{i}]" if width > 1 else tensor, (i,)) for i in range(width))


def ranked(bars: Sequence[Bar], count: int) -> Bars:
    """The strongest `count` bars, and one for what the others add up to."""
    values = np.array([b.value for b in bars])
    order = np.argsort(-np.abs(values), kind="stable")
    # "1 other" would take the place of that one
    first = order if len(order) <= count + 1 else order[:count]
    shown = [bars[i] for i in first]
    if len(first) < len(order):
        rest = order[len(first) :]
        shown.append(Bar(f"{len(rest):,} others", "", float(values[rest].sum())))
    finite = [abs(b.value) for b in shown if np.isfinite(b.value)]
    return Bars(tuple(shown), max(finite, default=0.0), float(values.sum()))


def _given(feature: Feature, given: Array) -> str:
    if feature.words:
        return feature.word(given)
    value = given[feature.columns[0]]
    return printable(str(value)) if isinstance(value, np.str_) else number(float(value))


__all__ = ["Bar", "Bars", "entries", "printable_features", "ranked"]
