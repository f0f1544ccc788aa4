"""Interactions of pairs of features: as a matrix, and the strongest ones as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from igrt.render.facts import printable
from igrt.render.matrix.view import MOST, Matrix
from igrt.render.views import Bar, Bars, View
from igrt.render.words.view import tokens, visible
from igrt.specs import Array

if TYPE_CHECKING:
    from igrt.attribution import Attribution


def pair_views(attribution: Attribution, row: int, count: int) -> dict[str, View]:
    """What is drawn of the interactions of a row, by the name of its heading.

    Args:
        attribution: The result.
        row: Which row of it.
        count: Most pairs with a bar of their own; a matrix has the twice as many features that
            interact most, or all tokens of a text but padding.
    """
    found = attribution.interaction_row(row)
    if not found:
        return {}
    size = {n: np.abs(matrix).sum(axis=1) for n, matrix in found.items()}
    kept = {n: _kept(attribution, row, n, size[n], 2 * count) for n in found}
    ends = np.cumsum([len(matrix) for matrix in found.values()])
    starts = dict(zip(found, [0, *ends.tolist()], strict=False))
    names = [name for n, matrix in found.items() for name in _names(attribution, row, n, matrix)]
    whole = np.concatenate(list(found.values()))
    full = float(np.abs(whole - np.diag(np.diag(whole))).max()) or None
    columns = np.concatenate([starts[n] + kept[n] for n in found])
    columns = _largest(columns, np.concatenate(list(size.values())), MOST)
    drawn: dict[str, View] = {}
    for n, matrix in found.items():
        drawn[f"pairs of {n}"] = Matrix(
            tuple(names[starts[n] + i] for i in kept[n]),
            tuple(names[i] for i in columns),
            matrix[np.ix_(kept[n], columns)],
            _kind(len(kept[n]), len(matrix)),
            _kind(len(columns), len(names)),
            full,
        )
    bars = _strongest(whole, names, count)
    return drawn | ({"strongest pairs": bars} if bars.bars else {})


def _names(attribution: Attribution, row: int, name: str, matrix: Array) -> list[str]:
    """Names of the features of a tensor: tokens, columns of a table, or numbers."""
    count = len(matrix)
    text, features = tokens(attribution, row, name), attribution.display.features.get(name, ())
    if len(text) == count:
        return [visible(token.text) for token in text]
    if len(features) == count:
        return [printable(feature) for feature in features]
    return [f"{printable(name)}[{i}]" for i in range(count)]


def _kept(attribution: Attribution, row: int, name: str, size: Array, most: int) -> Array:
    """Features with a row of their own, in their order."""
    text = tokens(attribution, row, name)
    if len(text) != len(size):
        return _largest(np.arange(len(size)), size, most)
    return _largest(np.flatnonzero([t.kind != "padding" for t in text]), size, MOST)


def _largest(chosen: Array, size: Array, most: int) -> Array:
    """Those of the chosen features that interact most, in their order."""
    order = np.argsort(-size[chosen], kind="stable")[:most]
    return np.asarray(chosen[np.sort(order)])


def _kind(shown: int, of: int) -> str:
    return "features" if shown == of else f"of {of} features"


def _strongest(matrix: Array, names: list[str], count: int) -> Bars:
    """The strongest pairs of two features, each with both of its places in the matrix."""
    first, second = np.triu_indices(len(matrix), 1)
    values = matrix[first, second] + matrix[second, first]
    order = np.argsort(-np.abs(values), kind="stable")
    order = order[values[order] != 0]
    shown, rest = order[:count], order[count:]
    bars = [Bar(f"{names[first[k]]} x {names[second[k]]}", "", float(values[k])) for k in shown]
    if len(rest):
        bars.append(Bar(f"{len(rest):,} other pairs", "", float(values[rest].sum())))
    top = max((abs(b.value) for b in bars), default=0.0)
    return Bars(tuple(bars), top, float(values.sum()))


__all__ = ["pair_views"]
