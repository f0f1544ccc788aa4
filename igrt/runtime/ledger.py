"""`Ledger`: what is known of the paths in work, as sums or as the gradients themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np

from igrt.quadrature import Scheme
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


class Ledger(Protocol):
    """What is known of the paths in work. Each has a slot of its own until it is done."""

    @property
    def slots(self) -> int:
        """Most paths in work at a time."""
        ...

    def begin(self, slot: int, path: int) -> Piece:
        """Where a path is to be evaluated first."""
        ...

    def grants(self, piece: Piece) -> bool:
        """Whether memory allows to evaluate a piece now; if so, its share is taken."""
        ...

    def add(self, pieces: Sequence[Piece]) -> None:
        """Take the outputs of the last run, at the points of some pieces."""
        ...

    def next(self, slot: int) -> Piece | None:
        """Where a path is to be evaluated next; None where it is done, with its results stored."""
        ...


@final
class Sums:
    """Weighted sums, for schemes whose nodes are known beforehand.

    Args:
        points: The model, whose outputs are the gradients of the attributed tensors.
        names: Attributed tensors, in the order of the outputs.
        scheme: Where to evaluate, and when to stop.
        found: Where results are stored.
        keep_bytes: Memory for the sums.
    """

    def __init__(
        self,
        points: Points,
        names: Sequence[str],
        scheme: Scheme,
        found: Integrals,
        keep_bytes: int,
    ) -> None:
        self._points, self._names, self._scheme, self._found = points, names, scheme, found
        sizes = [o.size for o in points.outputs]
        per_slot = 8 * scheme.rules * max(1, sum(sizes))
        self.slots = max(1, min(len(points.paths), keep_bytes // per_slot))
        self._sums = [np.zeros((self.slots, scheme.rules, f)) for f in sizes]
        self._path, self._stage = [0] * self.slots, [0] * self.slots

    def begin(self, slot: int, path: int) -> Piece:
        """Where a path is to be evaluated first."""
        for sums in self._sums:
            sums[slot] = 0.0
        self._path[slot], self._stage[slot] = path, 0
        return self._piece(slot)

    def grants(self, piece: Piece) -> bool:
        """Always: the sums are there from the beginning."""
        return True

    def add(self, pieces: Sequence[Piece]) -> None:
        """Take the outputs of the last run, at the points of some pieces."""
        slots = np.repeat([p.slot for p in pieces], [len(p) for p in pieces])
        parts = [p.weights for p in pieces if p.weights is not None]
        weights = np.ascontiguousarray(np.concatenate(parts, axis=1))
        for sums, flat in zip(self._sums, self._points.lane.read(), strict=True):
            self._points.kernels.accumulate(sums, flat, slots, weights)

    def next(self, slot: int) -> Piece | None:
        """The nodes of the next stage, unless the path is done."""
        path, stage = self._path[slot], self._scheme.stages[self._stage[slot]]
        error = norm = 0.0
        values = []
        for name, of_slots in zip(self._names, self._sums, strict=True):
            sums = of_slots[slot]
            values.append(times_difference(self._points, name, path, sums[stage.fine]))
            norm += float(np.abs(values[-1]).sum())
            if stage.coarse is None:
                error = np.nan
            else:
                gap = sums[stage.fine] - sums[stage.coarse]
                error += float(np.abs(times_difference(self._points, name, path, gap)).sum())
        done = self._stage[slot] + 1
        tolerance = self._scheme.tolerance
        if tolerance is not None:
            total = sum(float(v.sum()) for v in values)
            error = max(error, abs(total - float(self._points.paths.change[path])))
            if error > tolerance * norm and done < len(self._scheme.stages):
                self._stage[slot] = done
                return self._piece(slot)
        evaluations = sum(len(s.alphas) for s in self._scheme.stages[:done])
        self._found.store(path, values, error, evaluations)
        return None

    def _piece(self, slot: int) -> Piece:
        stage = self._scheme.stages[self._stage[slot]]
        return Piece(slot, self._path[slot], stage.alphas, stage.weights)


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


__all__ = ["Ledger", "Piece", "Sums", "times_difference"]
