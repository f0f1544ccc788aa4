"""Interactions of pairs of features: as a matrix, and the strongest ones as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from igrt.features import Feature
from igrt.render.bars import Bar, printable_features, ranked
from igrt.render.matrix.view import MOST, Matrix
from igrt.render.views import View
from igrt.render.words.view import tokens, visible
from igrt.specs import Array

if TYPE_CHECKING:
    from igrt.attribution import Attribution


def pair_views(attribution: Attribution, row: int, count: int) -> dict[str, View]:
    """What is drawn of the interactions of a row, by the name of its heading.

    Args:
        attribution: The result.
        row: Which row of it.
        count: Most pairs with a bar of their own; a matrix has twice as many features, those that
            interact most, or all tokens of a text but padding.
    """
    found = attribution.interaction_row(row)
    if not found:
        return {}
    features = {n: _features(attribution, row, n, len(matrix)) for n, matrix in found.items()}
    listed = [f for of_tensor in features.values() for f in of_tensor]
    whole = _grouped(list(found.values()), list(features.values()))
    size = np.abs(whole).sum(axis=1)
    kept, start = {}, 0
    for name, of_tensor in features.items():
        rows, most = start + np.arange(len(of_tensor)), 2 * count
        text = tokens(attribution, row, name)
        if len(text) == len(of_tensor):
            rows, most = rows[[t.kind != "padding" for t in text]], MOST
        kept[name] = _largest(rows, size, most)
        start += len(of_tensor)
    columns = _largest(np.concatenate(list(kept.values())), size, MOST)
    full = float(np.abs(whole - np.diag(np.diag(whole))).max()) or None
    drawn: dict[str, View] = {
        f"pairs of {name}": Matrix(
            tuple(listed[i].name for i in rows),
            tuple(listed[i].name for i in columns),
            whole[np.ix_(rows, columns)],
            _kind(len(rows), len(features[name])),
            _kind(len(columns), len(listed)),
            full,
        )
        for name, rows in kept.items()
        if len(rows)
    }
    first, second = np.triu_indices(len(whole), 1)
    both = whole[first, second] + whole[second, first]  # a pair has two places
    bars = [
        Bar(f"{listed[first[k]].name} x {listed[second[k]].name}", "", float(both[k]))
        for k in np.flatnonzero(both)
    ]
    return drawn | ({"strongest pairs": ranked(bars, count)} if bars else {})


def _features(attribution: Attribution, row: int, name: str, count: int) -> tuple[Feature, ...]:
    """Features of a tensor that have a row: tokens, columns of a table, or groups of these."""
    text = tokens(attribution, row, name)
    if len(text) == count:
        return tuple(Feature(visible(token.text), (i,)) for i, token in enumerate(text))
    return printable_features(attribution.display, name, count)


def _grouped(matrices: list[Array], features: list[tuple[Feature, ...]]) -> Array:
    """Interactions of the features of all tensors, summed over the columns of each."""
    total = matrices[0].shape[1]
    members = np.zeros((sum(map(len, features)), total))
    at = start = 0
    for matrix, of_tensor in zip(matrices, features, strict=True):
        for feature in of_tensor:
            members[at, [start + column for column in feature.columns]] = 1.0
            at += 1
        start += len(matrix)
    return np.asarray(members @ np.concatenate(matrices) @ members.T)


def _largest(chosen: Array, size: Array, most: int) -> Array:
    """Those of the chosen features that interact most, in their order."""
    order = np.argsort(-size[chosen], kind="stable")[:most]
    return np.asarray(chosen[np.sort(order)])


def _kind(shown: int, of: int) -> str:
    return "features" if shown == of else f"of {of} features"


__all__ = ["pair_views"]
