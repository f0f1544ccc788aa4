"""Which rows of a result are shown together, and as what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from igrt.render.bars import ranked
from igrt.render.diagram.view import diagram, graph_of, tensors_of
from igrt.render.matrix.view import MOST, Matrix
from igrt.render.tables import bars_of, is_table
from igrt.render.views import View, view
from igrt.render.words.view import sums, tokens, visible
from igrt.selection import class_axis

if TYPE_CHECKING:
    from igrt.attribution import Attribution


def blocks(attribution: Attribution) -> list[tuple[int, ...]]:
    """Rows that are shown together, in their order.

    Rows of one example that explain positions of its output are one block where every attributed
    tensor is a text: they are drawn as a matrix. Every other row is a block of its own.
    """
    found: list[list[int]] = []
    for row in range(len(attribution)):
        if found and _positioned(attribution, row) and _joins(attribution, found[-1], row):
            found[-1].append(row)
        else:
            found.append([row])
    return [tuple(rows) for rows in found]


def views(
    attribution: Attribution, rows: tuple[int, ...], *, side: int, count: int = 20
) -> dict[str, View]:
    """What is drawn of a block, by the name of its heading.

    All tensors of a graph are one drawing, in the place of the first; those of a table are bars on
    one scale.

    Args:
        attribution: The result.
        rows: One of `blocks`.
        side: Most pixels of a side; what is larger is averaged.
        count: Most features with a bar of their own.
    """
    if len(rows) > 1:
        return {name: _matrix(attribution, rows, name) for name in attribution.values}
    row, graph = rows[0], graph_of(attribution, rows[0])
    if len(attribution.values) > 1 and is_table(attribution):
        return {"all inputs": ranked(bars_of(attribution, row), count)}  # on one scale
    tensors = tensors_of(attribution, row, graph) if graph else {}
    found: dict[str, View] = {}
    for name in attribution.values:
        if name not in tensors:
            found[name] = view(attribution, row, name, side=side, count=count)
        elif graph and name == next(iter(tensors)):
            found[", ".join(tensors)] = diagram(attribution, row, graph, tensors)
    return found


def _joins(attribution: Attribution, block: list[int], row: int) -> bool:
    return (
        attribution.example[block[0]] == attribution.example[row]
        and _positioned(attribution, block[0])
        and len(block) < MOST
    )


def _positioned(attribution: Attribution, row: int) -> bool:
    """Whether a row explains a position of the output, by tokens that have a place in a matrix."""
    target = attribution.target[row]
    return (
        isinstance(target, tuple)
        and len(target) > 1
        and all(0 < len(_columns(attribution, row, name)) <= MOST for name in attribution.values)
    )


def _columns(attribution: Attribution, row: int, name: str) -> list[int]:
    """Positions of a text that are no padding."""
    text = tokens(attribution, row, name)
    return [at for at, token in enumerate(text) if token.kind != "padding"]


def _output(attribution: Attribution, row: int) -> str:
    """The class of a target with one position, such as a word of a translation."""
    target, labels = attribution.target[row], attribution.display.labels
    axis = class_axis(attribution.scores.shape[1:], len(labels))
    if axis is None or not isinstance(target, tuple) or len(target) != 2:
        return attribution.label(row)
    return labels[target[axis]]


def _matrix(attribution: Attribution, rows: tuple[int, ...], name: str) -> Matrix:
    text = tokens(attribution, rows[0], name)
    columns = _columns(attribution, rows[0], name)
    return Matrix(
        rows=tuple(_output(attribution, row) for row in rows),
        columns=tuple(visible(text[at].text) for at in columns),
        values=np.stack([sums(attribution.row(row)[name])[columns] for row in rows]),
        down="outputs",
        across="tokens",
    )


__all__ = ["blocks", "views"]
