"""A graph as lines, discs and words: molecules as chemists draw them, other graphs as circles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.render.canvas import GRAY, INK, text_width
from igrt.render.colour import hexadecimal, ink, rgb
from igrt.render.diagram.strokes import Disc, Line, Shape, Word
from igrt.render.diagram.view import PAIRS, Diagram, node_names
from igrt.render.facts import number, printable
from igrt.specs import Array

_MARGIN = 30.0
_BOND, _EDGE = 46.0, 96.0
"""Longest bond of a molecule and edge of another graph, in units."""

_PALE = "#b4bac3"
_FAINTEST = 0.03
"""Strength below which a line cannot be told from white."""

_SYMBOL = re.compile(r"([A-Z][a-z]?)(H\d*)?")


@final
@dataclass(frozen=True, eq=False)
class Drawing:
    """Shapes, the lowest first, and the room that they take."""

    shapes: list[Shape]
    width: float
    height: float


def structure(drawn: Diagram, width: float, height: float) -> Drawing:
    """Nodes and edges in the colours of their attribution, within some room."""
    at = _Frame.around(drawn, width, height)
    if drawn.graph.molecule:
        shapes = [*_halo(drawn, at), *_bonds(drawn, at, INK), *_symbols(drawn, at, plain=False)]
    else:
        shapes = [*_links(drawn, at), *_circles(drawn, at, plain=False)]
    return Drawing(shapes, at.width, at.height)


def apart(drawn: Diagram, width: float, height: float) -> Drawing:
    """Pairs without an edge in the colours of their attribution, under the graph in gray."""
    at = _Frame.around(drawn, width, height)
    pairs = np.zeros(0) if drawn.pairs is None else drawn.pairs
    shown = sorted(drawn.others, key=lambda pair: abs(pairs[pair]))[-PAIRS:]
    names = node_names(drawn.graph)
    lines: list[Shape] = []
    for i, j in shown:
        power = float(drawn.strengths(pairs[i, j]))
        told = f"{names[i]} … {names[j]}: {number(pairs[i, j], signed=True)}"
        if i != j and abs(power) >= _FAINTEST:
            thick = 0.8 + 4 * abs(power)
            lines.append(Line(at.places[i], at.places[j], thick, hexadecimal(power), told=told))
    if drawn.graph.molecule:
        under = [*_bonds(drawn, at, _PALE)]
        over = [*_symbols(drawn, at, plain=True)]
    else:
        under = [Line(at.places[i], at.places[j], 1.0, _PALE) for i, j in drawn.edges]
        over = [*_circles(drawn, at, plain=True)]
    return Drawing([*lines, *under, *over], at.width, at.height)


@final
@dataclass(frozen=True, eq=False)
class _Frame:
    """Places of the nodes in units, y downwards, and the length of an edge."""

    places: list[tuple[float, float]]
    edge: float
    width: float
    height: float

    @property
    def letters(self) -> float:
        """Size of the symbols of atoms."""
        return min(17.0, max(6.0, 0.42 * self.edge))

    @classmethod
    def around(cls, drawn: Diagram, width: float, height: float) -> _Frame:
        low, high = drawn.places.min(axis=0), drawn.places.max(axis=0)
        extent = np.maximum(high - low, 1e-6)
        most = _BOND if drawn.graph.molecule else _EDGE
        room = np.array([width, height]) - 2 * _MARGIN
        edge = float(min(most, *(room / extent)))
        taken = float(extent[1] * edge + 2 * _MARGIN)
        centred = (drawn.places - (low + high) / 2) * [edge, -edge] + [width / 2, taken / 2]
        return cls([(float(x), float(y)) for x, y in centred], edge, width, taken)


def _halo(drawn: Diagram, at: _Frame) -> Iterator[Shape]:
    """Bonds and atoms as broad colours, under the formula."""
    names, neighbours = node_names(drawn.graph), drawn.neighbours
    if drawn.pairs is not None:
        for i, j in drawn.edges:
            colour = hexadecimal(float(drawn.strengths(drawn.pairs[i, j])))
            told = f"{names[i]}-{names[j]}: {number(drawn.pairs[i, j], signed=True)}"
            yield Line(at.places[i], at.places[j], 0.3 * at.edge, colour, told=told)
    if drawn.nodes is not None:
        for i, value in enumerate(drawn.nodes):
            colour = hexadecimal(float(drawn.strengths(value)))
            told = f"{names[i]}: {number(value, signed=True)}"
            x, y = at.places[i]
            _, shift = _written(drawn, at, i, neighbours[i])
            if shift:  # hydrogens stand beside the atom, and are coloured with it
                end = (x + 2 * shift, y)
                yield Line((x, y), end, 0.72 * at.edge, "#ffffff")
                yield Line((x, y), end, 0.66 * at.edge, colour, told=told)
                continue
            # a rim of white keeps an atom apart from its bonds
            yield Disc((x, y), 0.36 * at.edge, "#ffffff")
            yield Disc((x, y), 0.33 * at.edge, colour, told)


def _bonds(drawn: Diagram, at: _Frame, colour: str) -> Iterator[Shape]:
    places = np.array(at.places)
    kinds = drawn.graph.kinds or ("",) * len(drawn.graph.edges)
    neighbours = drawn.neighbours
    thick = max(1.1, 0.042 * at.edge)
    for (i, j), kind in zip(drawn.graph.edges, kinds, strict=True):
        along = places[j] - places[i]
        long = float(np.hypot(*along))
        if i == j or long == 0:
            continue
        across = np.array([-along[1], along[0]]) / long * 0.13 * at.edge
        near = [places[k] for k in neighbours[i] | neighbours[j] if k not in (i, j)]
        inwards = sum(float((p - (places[i] + places[j]) / 2) @ across) for p in near)
        if inwards < 0:
            across = -across
        ends = [places[i], places[j]]
        for end, (node, sign) in enumerate(((i, 1), (j, -1))):
            if _written(drawn, at, node, neighbours[node])[0]:
                ends[end] = ends[end] + sign * along / long * 0.27 * at.edge
        inner = [ends[0] + along * 0.12 + across, ends[1] - along * 0.12 + across]
        terminal = min(len(neighbours[i]), len(neighbours[j])) == 1
        if kind == "double" and terminal:
            parts = [[e + 0.5 * across for e in ends], [e - 0.5 * across for e in ends]]
        elif kind == "triple":
            parts = [ends, [e + across for e in ends], [e - across for e in ends]]
        else:
            parts = [ends, inner] if kind in ("double", "aromatic") else [ends]
        for number_, (a, b) in enumerate(parts):
            dash = 0.09 * at.edge if kind == "aromatic" and number_ else 0.0
            yield Line(_pair(a), _pair(b), thick, colour, dash)


def _symbols(drawn: Diagram, at: _Frame, *, plain: bool) -> Iterator[Shape]:
    """Symbols of the atoms but for carbon within a molecule, and small numbers beside all."""
    neighbours = drawn.neighbours
    for i, (x, y) in enumerate(at.places):
        text, shift = _written(drawn, at, i, neighbours[i])
        if text:
            yield Word((x + shift, y), text, at.letters, GRAY if plain else _ink(drawn, i))
        if not plain and at.edge >= 20:
            away = (0.0, -1.0) if shift else _free_direction(at, i, neighbours[i])
            where = (x + 0.5 * at.edge * away[0], y + 0.5 * at.edge * away[1])
            yield Word(where, str(i), min(9.0, 0.24 * at.edge), GRAY)


def _links(drawn: Diagram, at: _Frame) -> Iterator[Shape]:
    names = node_names(drawn.graph)
    for i, j in drawn.edges:
        yield Line(at.places[i], at.places[j], 1.2, _PALE)
        if drawn.pairs is not None:
            power = float(drawn.strengths(drawn.pairs[i, j]))
            told = f"{names[i]}-{names[j]}: {number(drawn.pairs[i, j], signed=True)}"
            thick = 1.2 + 5 * abs(power)
            yield Line(at.places[i], at.places[j], thick, hexadecimal(power), told=told)


def _circles(drawn: Diagram, at: _Frame, *, plain: bool) -> Iterator[Shape]:
    count = len(drawn.graph.nodes)
    radius = 14.0 if count <= 30 else 9.0 if count <= 100 else 5.0
    radius = max(2.0, min(radius, 0.4 * at.edge))
    for i, name in enumerate(node_names(drawn.graph)):
        power = 0.0 if drawn.nodes is None or plain else float(drawn.strengths(drawn.nodes[i]))
        told = name
        if drawn.nodes is not None:
            told += f": {number(drawn.nodes[i], signed=True)}"
        yield Disc(at.places[i], radius, _PALE)
        yield Disc(at.places[i], radius - 1, hexadecimal(power), told)
        x, y = at.places[i]
        if text_width(name[:20], 10) <= 2 * radius - 3:
            yield Word((x, y), name, 10, GRAY if plain else _ink(drawn, i))
        elif radius >= 9:
            yield Word((x, y + radius + 7), name[:20], 9, GRAY)


def _ink(drawn: Diagram, node: int) -> str:
    """A colour that can be read on that of a node."""
    power = 0.0 if drawn.nodes is None else float(drawn.strengths(drawn.nodes[node]))
    return ink(rgb(power)) if power else INK


def _written(drawn: Diagram, at: _Frame, node: int, neighbours: set[int]) -> tuple[str, float]:
    """The symbol of an atom and how far its middle is from it; none of carbon within a molecule.

    Hydrogens are on the side that is free.
    """
    name = printable(drawn.graph.nodes[node])
    if name == "C" and neighbours:
        return "", 0.0
    match = _SYMBOL.fullmatch(name)
    if not match or not match[2]:
        return name, 0.0
    shift = text_width(match[2], at.letters) / 2
    right = sum(at.places[k][0] - at.places[node][0] for k in neighbours)
    return (match[2] + match[1], -shift) if right > 0.2 * at.edge else (name, shift)


def _free_direction(at: _Frame, node: int, neighbours: set[int]) -> tuple[float, float]:
    """The middle of the widest angle between the edges of a node, as a vector of length 1."""
    if not neighbours:
        return 0.0, -1.0
    own = np.array(at.places[node])
    angles = np.sort([np.arctan2(*(np.array(at.places[k]) - own)[::-1]) for k in neighbours])
    gaps = np.diff([*angles, angles[0] + 2 * np.pi])
    widest = int(np.argmax(gaps))
    middle = angles[widest] + gaps[widest] / 2
    return float(np.cos(middle)), float(np.sin(middle))


def _pair(point: Array) -> tuple[float, float]:
    return float(point[0]), float(point[1])


__all__ = ["Drawing", "apart", "structure"]
