"""`Kept`: the gradients of adaptive paths in work, within a memory budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast, final

import numpy as np

from igrt.quadrature import AdaptivePath, Gradients, HostGradients, Scheme, first_nodes
from igrt.runtime.ledger import Piece, refuse, times_difference
from igrt.runtime.paths import Integrals
from igrt.runtime.points import Points
from igrt.specs import Array

_BYTES = 4
"""Of a gradient that is kept, per feature."""

MOST, FEW = 511, 63
"""Most evaluations of a path, and the fewest that it must be able to keep: where memory does not
hold these, nested rules up to `MAX_EVALUATIONS` do with sums."""

_SHARE = 0.5
"""Part of the memory that a single path may take, so that others can fill the chunks as well."""

_BESIDE = 16
"""Arrays of a path beside its gradients, as many as gradients would take their place: eight in
float64."""

_CLOSEST = 2.0**-40
"""Distance from an end of a path, where it begins at zero, that is not approached further."""
_FAR = 2.0**-10
"""Distance that refinement may always go to."""


@final
class Room:
    """Shares out room for gradients so that every path ends.

    The path longest in work may always have as much as any can need, so it comes to its end and
    gives back what it has. The others share what is beyond that.

    Args:
        total: Gradients that there is room for.
        most: Those that one path may need.
    """

    def __init__(self, total: int, most: int) -> None:
        self._most, self._free = most, total
        self.held = 0
        """Gradients that room was taken for at the most."""
        self._total = total
        self._taken: dict[int, int] = {}  # in the order in which the paths began

    def take(self, slot: int, gradients: int) -> bool:
        """Whether a path may have room for so many more; if so, it has."""
        first = next(iter(self._taken), slot)
        if slot != first and self._free - gradients + self._taken[first] < self._most:
            return False
        self._taken[slot] = self._taken.get(slot, 0) + gradients
        self._free -= gradients
        self.held = max(self.held, self._total - self._free)
        return True

    def give_back(self, slot: int) -> None:
        """Take note that a path has ended."""
        self._free += self._taken.pop(slot)


@final
class Kept:
    """All gradients of the paths in work, for paths that say themselves where they go on.

    Args:
        points: The model, whose outputs are the gradients of the attributed tensors.
        names: Attributed tensors, in the order of the outputs.
        scheme: When a path stops.
        found: Where results are stored.
        keep_bytes: Memory for the gradients.
    """

    def __init__(
        self,
        points: Points,
        names: Sequence[str],
        scheme: Scheme,
        found: Integrals,
        keep_bytes: int,
    ) -> None:
        self._points, self._names, self._found = points, names, found
        self._scheme = scheme
        self.slots, self.first = len(points.paths), first_nodes(smooth=scheme.smooth)
        total = _room(points, keep_bytes)
        self._most = min(MOST, int(_SHARE * total))
        self._room = Room(total, self._most + _BESIDE)
        self._features = sum(o.size for o in points.outputs)
        self._dtype = np.result_type(*(o.dtype for o in points.outputs))
        self._paths: dict[int, tuple[int, AdaptivePath]] = {}
        self._gradients: dict[int, Array] = {}  # those at the points asked for last, [points, …]

    @property
    def held(self) -> int:
        """Bytes that gradients took at the most."""
        return self._room.held * _BYTES * self._features

    def begin(self, slot: int, path: int) -> Piece:
        """Where a path is to be evaluated first."""
        self._paths[slot] = path, self._adaptive(path)
        return self._piece(slot)

    def grants(self, piece: Piece) -> bool:
        """Whether there is room for the gradients of a piece, and of a path that begins."""
        beside = 0 if self._paths[piece.slot][1].evaluations else _BESIDE
        return self._room.take(piece.slot, len(piece) + beside)

    def add(self, pieces: Sequence[Piece]) -> None:
        """Keep the outputs of the last run, at the points of some pieces."""
        refuse(self._points, self._names)
        outputs = self._points.lane.read()
        start = 0
        for piece in pieces:
            stop, last = start + len(piece), piece.place + len(piece)
            np.concatenate(
                [o[start:stop] for o in outputs],
                axis=1,
                out=self._gradients[piece.slot][piece.place : last],
            )
            start = stop

    def next(self, slots: Sequence[int]) -> list[Piece | None]:
        """Where paths are to be evaluated next, but for those that are done."""
        return [self._next(s) for s in slots]

    def _next(self, slot: int) -> Piece | None:
        number, path = self._paths[slot]
        path.add(cast("Sequence[Array]", self._gradients[slot]))  # rows of one array
        if path.wanted:
            return self._piece(slot)
        store(self._points, self._names, number, path, self._found)
        self._room.give_back(slot)
        del self._paths[slot], self._gradients[slot]
        return None

    def _piece(self, slot: int) -> Piece:
        number, path = self._paths[slot]
        self._gradients[slot] = np.empty((len(path.wanted), self._features), self._dtype)
        return Piece(slot, number, np.asarray(path.wanted, dtype=np.float64))

    def _adaptive(self, path: int) -> AdaptivePath:
        def keep(displacement: Array) -> HostGradients:
            return HostGradients(displacement, self._points.kernels)

        return begun(self._points, self._names, path, self._scheme, self._most, keep)


def begun(
    points: Points,
    names: Sequence[str],
    path: int,
    scheme: Scheme,
    most: int,
    keep: Callable[[Array], Gradients],
) -> AdaptivePath:
    """A path before its first evaluation.

    Args:
        points: The model.
        names: Attributed tensors.
        path: The path.
        scheme: When it stops, at a tolerance.
        most: Most evaluations.
        keep: Makes what keeps its gradients, by its displacement.
    """
    ends = [points.paths.flat_ends(n, path) for n in names]
    x, b = (np.concatenate([e[k].astype(np.float64) for e in ends]) for k in range(2))
    spacing = float(max(np.finfo(e[0].dtype).eps for e in ends))
    displacement = x - b
    finest = _finest(b, displacement, spacing), _finest(x, displacement, spacing)
    assert scheme.tolerance is not None
    change = float(points.paths.change[path])
    gradients = keep(displacement)
    return AdaptivePath(scheme.tolerance, gradients, change, most, finest, scheme.smooth)


def store(
    points: Points, names: Sequence[str], path: int, adaptive: AdaptivePath, found: Integrals
) -> None:
    """Write down what a path came to."""
    row, mean = np.asarray([path]), adaptive.mean[np.newaxis]
    start, values = 0, []
    for name, output in zip(names, points.outputs, strict=True):
        part = mean[:, start : start + output.size]
        values.append(times_difference(points, name, row, part))
        start += output.size
    found.store(row, values, adaptive.error, adaptive.evaluations)


def most_bytes(features: int, paths: int) -> int:
    """Bytes that gradients of some paths can come to, as far as that is of use."""
    return _BYTES * features * max(int(MOST / _SHARE), paths * (MOST + _BESIDE))


def keeps(points: Points, scheme: Scheme, keep_bytes: int) -> bool:
    """Whether paths are adaptive, and memory holds enough gradients for that."""
    return scheme.tolerance is not None and int(_SHARE * _room(points, keep_bytes)) >= FEW


def _room(points: Points, keep_bytes: int) -> int:
    """How many gradients memory holds."""
    return keep_bytes // (_BYTES * max(1, sum(o.size for o in points.outputs)))


def _finest(end: Array, displacement: Array, spacing: float) -> float:
    """Distance from an end of the path at which rounding still tells most features from it."""
    moves = displacement != 0
    size = float(np.abs(displacement[moves]).sum())
    relative = float(np.abs(end[moves]).sum()) / size if size else 0.0
    return min(max(2 * spacing * relative, _CLOSEST), _FAR)


__all__ = ["FEW", "MOST", "Kept", "Room", "begun", "keeps", "most_bytes", "store"]
