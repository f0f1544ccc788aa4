"""`Ledger`: what is known of the paths in work, as sums or as the gradients themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np

from igrt.quadrature import Scheme, Stage
from igrt.runtime.paths import Integrals
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

    def next(self, slot: int) -> Piece | None:
        """Where a path is to be evaluated next; None where it is done, with its results stored."""
        ...


Pullback = Callable[[int, Sequence[Array]], list[Array]]
"""From sums of what the model gives along a path, [n, features] per output, to those of the
gradients, [n, features] per attributed tensor; linear."""


@final
class Stages:
    """At which stage of a scheme each path in work is.

    Args:
        scheme: Where to evaluate.
        slots: Most paths in work at a time.
    """

    def __init__(self, scheme: Scheme, slots: int) -> None:
        self._stages = scheme.stages
        self._path, self._stage = [0] * slots, [0] * slots
        self.first = len(scheme.stages[0].alphas)
        """Points that every path begins with."""

    def begin(self, slot: int, path: int) -> Piece:
        """The nodes of the first stage."""
        self._path[slot], self._stage[slot] = path, 0
        return self._piece(slot)

    def done(self, slot: int) -> tuple[int, int]:
        """The path, and how many stages are complete once the points asked for last are there."""
        return self._path[slot], self._stage[slot] + 1

    def next(self, slot: int) -> Piece:
        """The nodes of the stage after that."""
        self._stage[slot] += 1
        return self._piece(slot)

    def _piece(self, slot: int) -> Piece:
        stage = self._stages[self._stage[slot]]
        return Piece(slot, self._path[slot], stage.alphas, stage.weights)


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
        per_slot = 8 * scheme.rules * max(1, sum(sizes))
        self.slots = max(1, min(len(points.paths), keep_bytes // per_slot))
        self._sums = [np.zeros((self.slots, scheme.rules, f)) for f in sizes]
        self._stages = Stages(scheme, self.slots)
        self.first = self._stages.first

    def begin(self, slot: int, path: int) -> Piece:
        """Where a path is to be evaluated first."""
        for sums in self._sums:
            sums[slot] = 0.0
        return self._stages.begin(slot, path)

    def grants(self, piece: Piece) -> bool:
        """Always: the sums are there from the beginning."""
        return True

    def add(self, pieces: Sequence[Piece]) -> None:
        """Take the outputs of the last run, at the points of some pieces."""
        if self._pullback is None:
            refuse(self._points, self._names, *of_pieces(pieces))
        else:  # what it makes of a number that is none, it cannot undo
            names = [o.name for o in self._points.outputs]
            self._points.refuse_unbounded(names, *of_pieces(pieces), None)
        slots = np.repeat([p.slot for p in pieces], [len(p) for p in pieces])
        parts = [p.weights for p in pieces if p.weights is not None]
        weights = np.ascontiguousarray(np.concatenate(parts, axis=1))
        for sums, flat in zip(self._sums, self._points.lane.read(), strict=True):
            self._points.kernels.accumulate(sums, flat, slots, weights)

    def next(self, slot: int) -> Piece | None:
        """The nodes of the next stage, unless the path is done."""
        path, done = self._stages.done(slot)
        sums = [of_slots[slot] for of_slots in self._sums]
        if self._pullback is not None:
            sums = _pulled_back(self._pullback, path, self._scheme.stages[done - 1], sums)
        if settled(self._points, self._names, self._scheme, path, done, sums, self._found):
            return None
        return self._stages.next(slot)


def _pulled_back(pullback: Pullback, path: int, stage: Stage, sums: Sequence[Array]) -> list[Array]:
    """Sums of gradients by the rules that a stage ends with, [rules, features] each."""
    used = [stage.fine] if stage.coarse is None else [stage.fine, stage.coarse]
    # the difference of two rules itself, which would drown in the rounding of both
    rows = [np.stack([s[used[0]], *(s[used[0]] - s[k] for k in used[1:])]) for s in sums]
    found = []
    for pulled in pullback(path, rows):
        of_rules = np.zeros((len(sums[0]), pulled.shape[1]))
        of_rules[used[0]] = pulled[0]
        for k, gap in zip(used[1:], pulled[1:], strict=True):
            of_rules[k] = of_rules[used[0]] - gap
        found.append(of_rules)
    return found


def settled(
    points: Points,
    names: Sequence[str],
    scheme: Scheme,
    path: int,
    done: int,
    sums: Sequence[Array],
    found: Integrals,
) -> bool:
    """Whether a path is done after some stages of a scheme; if so, its results are stored.

    Args:
        points: The model.
        names: Attributed tensors.
        scheme: Where to evaluate, and when to stop.
        path: The path.
        done: Stages that are complete.
        sums: Sum of each rule by tensor, [rules, features] each.
        found: Where results are stored.
    """
    stage = scheme.stages[done - 1]
    error = norm = 0.0
    values = []
    for name, of_rules in zip(names, sums, strict=True):
        values.append(times_difference(points, name, path, of_rules[stage.fine]))
        norm += float(np.abs(values[-1]).sum())
        if stage.coarse is None:
            error = np.nan
        else:
            gap = of_rules[stage.fine] - of_rules[stage.coarse]
            error += float(np.abs(times_difference(points, name, path, gap)).sum())
    if scheme.tolerance is not None:
        total = sum(float(v.sum()) for v in values)
        error = max(error, abs(total - float(points.paths.change[path])))
        if error > scheme.tolerance * norm and done < len(scheme.stages):
            return False
    found.store(path, values, error, sum(len(s.alphas) for s in scheme.stages[:done]))
    return True


def refuse(points: Points, names: Sequence[str], path: Array, alphas: Array) -> None:
    """Raise where a gradient of the last run is no ordinary number and counts.

    Args:
        points: The model.
        names: Attributed tensors.
        path: Path of each point of the last run.
        alphas: Its position.
    """
    paths = points.paths

    def moves(name: str, row: int) -> Array:
        x, b = paths.flat_ends(name, path[row])
        return np.asarray(x != b)

    points.refuse_unbounded(names, path, alphas, moves if paths.times_difference else None)


def times_difference(points: Points, name: str, path: int, mean: Array) -> Array:
    """(x - x')·mean for a path, [features] float64; the mean itself where that is wanted."""
    paths = points.paths
    if not paths.times_difference:
        return np.array(mean, dtype=np.float64)
    x, b = paths.flat_ends(name, path)
    out = np.array(mean, dtype=np.float64)
    row = out[np.newaxis]
    points.kernels.multiply_difference(row, x[np.newaxis], b[np.newaxis], row)
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
