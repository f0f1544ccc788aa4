"""`Ledger`: what is known of the paths in work, as sums or as the gradients themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np

from igrt.quadrature import Scheme, Stage
from igrt.runtime.paths import Integrals, rows_of
from igrt.runtime.points import Points
from igrt.specs import Array


@final
@dataclass(frozen=True, eq=False)
class Piece:
    """Points of one path that are evaluated one after the other.

    Args:
        slot: Place of the path among those in work.
        path: The path.
        alphas: Positions of the points, [points] float64.
        weights: What they contribute to each rule of a scheme, [rules, points] float64; None where
            gradients are kept.
        place: Number of the first among all points that were asked for together.
    """

    slot: int
    path: int
    alphas: Array
    weights: Array | None = None
    place: int = 0

    def __len__(self) -> int:
        return len(self.alphas)

    def split(self, count: int) -> tuple[Piece, Piece]:
        """The first points, and the others."""
        heads, tails = slice(count), slice(count, None)
        weights = self.weights
        return (
            Piece(
                self.slot,
                self.path,
                self.alphas[heads],
                None if weights is None else weights[:, heads],
                self.place,
            ),
            Piece(
                self.slot,
                self.path,
                self.alphas[tails],
                None if weights is None else weights[:, tails],
                self.place + count,
            ),
        )


def of_pieces(pieces: Sequence[Piece]) -> tuple[Array, Array]:
    """Path and position of each point of some pieces."""
    if len(pieces) == 1:
        return np.full(len(pieces[0]), pieces[0].path), pieces[0].alphas
    path = np.repeat([p.path for p in pieces], [len(p) for p in pieces])
    return path, np.concatenate([p.alphas for p in pieces])


class Ledger(Protocol):
    """What is known of the paths in work. Each has a slot of its own until it is done."""

    @property
    def slots(self) -> int:
        """Most paths in work at a time."""
        ...

    @property
    def first(self) -> int:
        """Points that every path begins with."""
        ...

    @property
    def held(self) -> int | None:
        """Bytes that sums or gradients took at the most; None for all that they may take."""
        ...

    def begin(self, slot: int, path: int) -> Piece:
        """Where a path is to be evaluated first."""
        ...

    def grants(self, piece: Piece) -> bool:
        """Whether memory allows to evaluate a piece now; if so, its share is taken."""
        ...

    def add(self, pieces: Sequence[Piece]) -> None:
        """Take the outputs of the last run, at the points of some pieces.

        Raises:
            NonFiniteError: If a gradient is NaN or infinite; here, or in `next`.
        """
        ...

    def next(self, slots: Sequence[int]) -> list[Piece | None]:
        """Where paths are to be evaluated next; None for those done, with their results stored."""
        ...


Pullback = Callable[[Array, Sequence[Array]], list[Array]]
"""From sums of what the model gives along some paths, [paths, n, features] per output, to those of
the gradients, [paths, n, features] per attributed tensor; linear."""

_AT_ONCE = 1 << 16
"""Features of all the paths that are settled at once: small ones share the calls into NumPy."""


@final
class Stages:
    """At which stage of a scheme each path in work is.

    Args:
        scheme: Where to evaluate.
        slots: Most paths in work at a time.
    """

    def __init__(self, scheme: Scheme, slots: int) -> None:
        self._stages = scheme.stages
        self._stage = [0] * slots
        self.path = np.zeros(slots, dtype=np.int64)
        """Path of each slot."""
        self.first = len(scheme.stages[0].alphas)
        """Points that every path begins with."""

    def begin(self, slot: int, path: int) -> Piece:
        """The nodes of the first stage."""
        self.path[slot], self._stage[slot] = path, 0
        return self._piece(slot)

    def alike(self, slots: Sequence[int], most: int) -> Iterator[tuple[int, list[int]]]:
        """Slots that are at the same stage, and how many stages are complete by now.

        Args:
            slots: Slots where the points asked for last are there.
            most: Slots at a time.
        """
        for stage in sorted({self._stage[s] for s in slots}):
            same = [s for s in slots if self._stage[s] == stage]
            for start in range(0, len(same), most):
                yield stage + 1, same[start : start + most]

    def next(self, slot: int) -> Piece:
        """The nodes of the stage after that."""
        self._stage[slot] += 1
        return self._piece(slot)

    def _piece(self, slot: int) -> Piece:
        stage = self._stages[self._stage[slot]]
        return Piece(slot, int(self.path[slot]), stage.alphas, stage.weights)


@final
class Sums:
    """Weighted sums, for schemes whose nodes are known beforehand.

    Args:
        points: The model, whose outputs are the gradients of the attributed tensors.
        names: Attributed tensors, in the order of the outputs.
        scheme: Where to evaluate, and when to stop.
        found: Where results are stored.
        keep_bytes: Memory for the sums.
        pullback: What makes sums of gradients of the sums of what the model gives, where that is
            something else.
    """

    def __init__(
        self,
        points: Points,
        names: Sequence[str],
        scheme: Scheme,
        found: Integrals,
        keep_bytes: int,
        pullback: Pullback | None = None,
    ) -> None:
        self._pullback = pullback
        self._points, self._names, self._scheme, self._found = points, names, scheme, found
        sizes = [o.size for o in points.outputs]
        features = max(1, sum(sizes))
        self._per_slot = 8 * scheme.rules * features
        self._at_once = max(1, _AT_ONCE // max(features, found.features))
        self.slots = max(1, min(len(points.paths), keep_bytes // self._per_slot))
        self._sums = [np.zeros((self.slots, scheme.rules, f)) for f in sizes]
        self._used: set[int] = set()
        self._stages = Stages(scheme, self.slots)
        self.first = self._stages.first

    @property
    def held(self) -> int:
        """Bytes of the sums of all slots that were in use: zeros take memory once written to."""
        return len(self._used) * self._per_slot

    def begin(self, slot: int, path: int) -> Piece:
        """Where a path is to be evaluated first."""
        self._used.add(slot)
        for sums in self._sums:
            sums[slot] = 0.0
        return self._stages.begin(slot, path)

    def grants(self, piece: Piece) -> bool:
        """Always: the sums are there from the beginning."""
        return True

    def add(self, pieces: Sequence[Piece]) -> None:
        """Take the outputs of the last run, at the points of some pieces."""
        if self._pullback is None:
            refuse(self._points, self._names)
        else:  # what it makes of a number that is none, it cannot undo
            self._points.refuse_unbounded([o.name for o in self._points.outputs], None)
        slots, weights = _weighed(pieces)
        for sums, flat in zip(self._sums, self._points.lane.read(), strict=True):
            self._points.kernels.accumulate(sums, flat, slots, weights)

    def next(self, slots: Sequence[int]) -> list[Piece | None]:
        """The nodes of the next stage, but for paths that are done."""
        following: dict[int, Piece | None] = {}
        for done, together in self._stages.alike(slots, self._at_once):
            ends = self._settled(done, together)
            for slot, over in zip(together, ends.tolist(), strict=True):
                following[slot] = None if over else self._stages.next(slot)
        return [following[s] for s in slots]

    def _settled(self, done: int, slots: Sequence[int]) -> Array:
        """Which of some paths are done after so many stages, [slots] bool."""
        path, index = self._stages.path[slots], np.asarray(slots)
        sums = [rows_of(of_slots, index) for of_slots in self._sums]
        if self._pullback is not None:
            sums = _pulled_back(self._pullback, path, self._scheme.stages[done - 1], sums)
        return settled(self._points, self._names, self._scheme, path, done, sums, self._found)


def _weighed(pieces: Sequence[Piece]) -> tuple[Array, Array]:
    """Slot of each point, [points] int64, and what it contributes, [rules, points]."""
    parts = [p.weights for p in pieces if p.weights is not None]
    if len(pieces) == 1:
        return np.full(len(pieces[0]), pieces[0].slot), np.ascontiguousarray(parts[0])
    slots = np.repeat([p.slot for p in pieces], [len(p) for p in pieces])
    return slots, np.ascontiguousarray(np.concatenate(parts, axis=1))


def _pulled_back(
    pullback: Pullback, path: Array, stage: Stage, sums: Sequence[Array]
) -> list[Array]:
    """Sums of gradients by the rules that a stage ends with, [paths, rules, features] each."""
    used = [stage.fine] if stage.coarse is None else [stage.fine, stage.coarse]
    # the difference of two rules itself, which would drown in the rounding of both
    rows = [
        np.stack([s[:, used[0]], *(s[:, used[0]] - s[:, k] for k in used[1:])], axis=1)
        for s in sums
    ]
    found = []
    for pulled in pullback(path, rows):
        of_rules = np.zeros((*sums[0].shape[:2], pulled.shape[2]))
        of_rules[:, used[0]] = pulled[:, 0]
        for place, k in enumerate(used[1:], start=1):
            of_rules[:, k] = of_rules[:, used[0]] - pulled[:, place]
        found.append(of_rules)
    return found


def settled(
    points: Points,
    names: Sequence[str],
    scheme: Scheme,
    path: Array,
    done: int,
    sums: Sequence[Array],
    found: Integrals,
) -> Array:
    """Which paths are done after some stages of a scheme, [paths] bool; their results are stored.

    Args:
        points: The model.
        names: Attributed tensors.
        scheme: Where to evaluate, and when to stop.
        path: The paths, [paths] int64.
        done: Stages that are complete.
        sums: Sum of each rule by tensor, [paths, rules, features] each.
        found: Where results are stored.
    """
    stage = scheme.stages[done - 1]
    error, norm, total = np.zeros((3, len(path)))
    values = []
    for name, of_rules in zip(names, sums, strict=True):
        values.append(times_difference(points, name, path, of_rules[:, stage.fine]))
        norm += np.abs(values[-1]).sum(axis=1)
        total += values[-1].sum(axis=1)
        if stage.coarse is None:
            error[:] = np.nan
        else:
            gap = of_rules[:, stage.fine] - of_rules[:, stage.coarse]
            error += np.abs(times_difference(points, name, path, gap)).sum(axis=1)
    ends = np.ones(len(path), dtype=bool)
    if scheme.tolerance is not None:
        error = np.maximum(error, np.abs(total - points.paths.change[path]))
        if done < len(scheme.stages):
            ends = error <= scheme.tolerance * norm
    evaluations = sum(len(s.alphas) for s in scheme.stages[:done])
    stored: Array | slice = slice(None) if ends.all() else ends
    found.store(path[stored], [v[stored] for v in values], error[stored], evaluations)
    return ends


def refuse(points: Points, names: Sequence[str]) -> None:
    """Raise where a gradient of the last run is no ordinary number and counts.

    Args:
        points: The model.
        names: Attributed tensors.
    """
    paths = points.paths

    def moves(name: str, row: int) -> Array:
        x, b = paths.flat_ends(name, points.path[row])
        return np.asarray(x != b)

    points.refuse_unbounded(names, moves if paths.times_difference else None)


def times_difference(points: Points, name: str, path: Array, mean: Array) -> Array:
    """(x - x')·mean of each path, [paths, features] float64; or the mean where that is wanted."""
    out = np.array(mean, dtype=np.float64, order="C")
    if points.paths.times_difference:
        x, b = points.paths.ends_of(name, path)
        points.kernels.multiply_difference(out, x, b, out)
    return out


__all__ = [
    "Ledger",
    "Piece",
    "Pullback",
    "Stages",
    "Sums",
    "of_pieces",
    "refuse",
    "settled",
    "times_difference",
]
