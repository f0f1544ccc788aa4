"""What is known of the paths in work, kept on a device; a few numbers of it come back."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from typing import Any, final

import numpy as np

from igrt.errors import InternalError, OutOfMemory
from igrt.quadrature import AdaptivePath, Figures, Scheme
from igrt.quadrature.gaps import trapezoid
from igrt.quadrature.kept import doubted
from igrt.quadrature.scheme import patterson_nodes, patterson_weights
from igrt.runtime.device import Device, Ring
from igrt.runtime.device_lane import DeviceLane
from igrt.runtime.kept import MOST, Room, begun, store
from igrt.runtime.ledger import Ledger, Piece, refuse, settled
from igrt.runtime.paths import Integrals
from igrt.runtime.points import Points
from igrt.runtime.unbounded import UNBOUNDED
from igrt.specs import Array

_FIRST, _FEW = 15, 63
"""Evaluations that every adaptive path begins with, and those that it must be able to keep."""

_BESIDE = 3
"""What a path takes beside its gradients, as many as gradients would take the place of its
displacement in float64, and of what moves of it."""

_BLOCKS = 256
"""Blocks that add up over features: two for each multiprocessor of a large device."""
_SPLITS = 8
"""The same for the distance of two neighbours, of which there are as many as nodes."""


@final
class _Moves:
    """Which features of the paths in work move, on the device; a gradient counts where they do."""

    def __init__(self, points: Points, names: Sequence[str], device: Device, slots: int) -> None:
        self._points, self._names, self._device = points, names, device
        sizes = [o.size for o in points.outputs[: len(names)]]
        self.of = [device.empty((slots, f), np.uint8) for f in sizes]
        """[slots, features] uint8 by output."""

    def begin(self, slot: int, path: int) -> Array:
        """Take note of a path; its displacement, [all features] float64."""
        parts = []
        for name, of_slots in zip(self._names, self.of, strict=True):
            x, b = self._points.paths.flat_ends(name, path)
            parts.append(x.astype(np.float64) - b)
            moves = x != b
            if not self._points.paths.times_difference:
                moves = np.ones_like(moves)
            self._device.put(of_slots[slot], moves.astype(np.uint8))
        return np.concatenate(parts)


@final
class _Watched:
    """Counts what is no ordinary number in gradients, and says so when a path is looked at.

    Nothing of a chunk comes to the host, so a gradient that is not finite is found no sooner than
    the figures of its path.
    """

    def __init__(self, points: Points, names: Sequence[str], device: Device, places: int) -> None:
        self._points, self._names, self._device = points, names, device
        self.counts = device.empty((places,), np.int32)
        device.put(self.counts, np.zeros(places, np.int32))

    def check(self, path: int, alphas: Sequence[float], places: Sequence[int]) -> None:
        """Raise where a gradient of a path has elements that count and are not finite.

        Args:
            path: The path.
            alphas: Its nodes.
            places: Where the gradient at each is counted.
        """
        counts = self._device.get(self.counts)[list(places)]
        if not counts.any():
            return
        alpha = np.asarray([alphas[int(np.argmax(counts > 0))]], dtype=np.float64)
        points, number = self._points, np.asarray([path])
        points.step(number, points.paths.baseline[number], alpha)
        refuse(points, self._names, number, alpha)
        raise InternalError(
            f"a gradient on path {path} was not finite at alpha = {alpha[0]:.6g}, and then it was",
            hint="the model gives other results from run to run; report it with the model",
        )


@final
class _Pool:
    """Gradients of all paths in work, and the sums that are made of them.

    Args:
        device: Where.
        total: Room for so many gradients.
        features: Features of one, over all tensors.
        slots: Paths in work.
    """

    def __init__(self, device: Device, total: int, features: int, slots: int, dtype: Any) -> None:
        self.device, self.kept = device, device.empty((total, features), dtype)
        self.displacement = device.empty((slots, features), np.float64)
        self.free = list(range(total))
        self._means = device.empty((4, features), np.float64)
        self._figures = device.empty((_BLOCKS, 7), np.float64)
        self._steps = device.empty((MOST * _SPLITS,), np.float64)
        columns = {n: (np.int64, MOST) for n in ("order", "first", "second")}
        numbers = {"weights": (np.float64, 4 * MOST), "factors": (np.float64, MOST)}
        self._ring = Ring(device, columns | numbers)

    def weigh(
        self, slot: int, order: Array, weights: Array, factors: Array
    ) -> tuple[Array, list[float]]:
        """Figures of the estimates, and the distances of neighbours."""
        device, count = self.device, len(order)
        with device.lock:
            sent = self._ring.send(
                order=order, weights=weights, factors=factors, first=order[:-1], second=order[1:]
            )
            displacement, means = self.displacement[slot], self._means[: len(weights)]
            steps = self._steps[: (count - 1) * _SPLITS].reshape(count - 1, _SPLITS)
            device.kept.weigh(
                *(self.kept, sent["order"], sent["weights"], sent["factors"]),
                *(displacement, means, self._figures, device.stream),
            )
            device.kept.distances(
                *(self.kept, sent["first"], sent["second"], displacement, steps, device.stream)
            )
            self._ring.used()
            figures, apart = device.get(self._figures), device.get(steps)
        return figures.sum(axis=0), [float(s) for s in apart.sum(axis=1)]

    def size(self, slot: int, place: int) -> float:
        """Σ scale·|g| of one gradient."""
        device = self.device
        with device.lock:
            ends = {"first": np.asarray([place]), "second": np.asarray([-1])}
            sent, out = self._ring.send(**ends), self._steps[:_SPLITS].reshape(1, _SPLITS)
            device.kept.distances(
                *(self.kept, sent["first"], sent["second"], self.displacement[slot]),
                *(out, device.stream),
            )
            self._ring.used()
            return float(device.get(out).sum())

    def mean(self, rule: int) -> Array:
        """∫ g by a rule of the last estimates, [features] float64."""
        with self.device.lock:
            return self.device.get(self._means[rule])


@final
class DeviceGradients:
    """Gradients of one path on a device, see `igrt.quadrature.Gradients`.

    A gradient is told by its place in the pool.

    Args:
        pool: Where they are.
        slot: Place of the path among those in work.
    """

    def __init__(self, pool: _Pool, slot: int) -> None:
        self._pool, self._slot = pool, slot
        self._nodes: list[float] = []
        self.alphas: list[float] = []
        """Nodes, ascending."""
        self.steps: Sequence[float] = []
        """Σ scale·|Δ| between neighbouring nodes."""
        self.places: list[int] = []
        """Place of the gradient at each node, in the order in which they came."""
        self._sorted: list[int] = []

    def nested(self, gradients: Sequence[int]) -> tuple[Figures, Figures]:
        """Take those that complete a nested rule."""
        self.places += gradients
        count = len(self.places)
        nodes = patterson_nodes(count)
        order = np.argsort(nodes)
        self.alphas = [nodes[i] for i in order]
        self._sorted = [self.places[i] for i in order]
        rules = np.zeros((4, count))
        rules[0], factors = trapezoid(self.alphas)
        for rule, size in enumerate(((count + 1 >> k) - 1 for k in (2, 1, 0)), start=1):
            rules[rule] = patterson_weights(size, count)[order]
        found, self.steps = self._weigh(rules, factors)
        norm, total, near, far = (float(found[k]) for k in (3, 4, 5, 6))
        return _figures(found), Figures(norm, total, doubted(count, near, far, norm))

    def insert(self, alphas: Sequence[float], gradients: Sequence[int]) -> Figures:
        """Take those at further nodes; the nested rules are over."""
        self.places += gradients
        for alpha, place in zip(alphas, gradients, strict=True):
            at = bisect(self.alphas, alpha)
            self.alphas.insert(at, alpha)
            self._sorted.insert(at, place)
        weights, factors = trapezoid(self.alphas)
        found, self.steps = self._weigh(weights[np.newaxis], factors)
        return _figures(found)

    def size(self, node: int) -> float:
        """Σ scale·|g| of the gradient at a node."""
        return self._pool.size(self._slot, self._sorted[node])

    def mean(self, *, nested: bool) -> Array:
        """∫ g by one of the two rules, [features] float64; of the path looked at last."""
        return self._pool.mean(3 if nested else 0)

    def _weigh(self, weights: Array, factors: Array) -> tuple[Array, list[float]]:
        order = np.asarray(self._sorted, dtype=np.int64)
        return self._pool.weigh(self._slot, order, weights, factors)


def _figures(found: Array) -> Figures:
    return Figures(float(found[0]), float(found[1]), float(found[2]))


@final
class DeviceKept:
    """All gradients of the paths in work on a device, for paths that say where they go on.

    Args:
        points: The model, on the device.
        names: Attributed tensors, in the order of the outputs.
        scheme: When a path stops.
        found: Where results are stored.
        device: Where.
        total: Gradients that there is room for.
    """

    def __init__(
        self,
        points: Points,
        names: Sequence[str],
        scheme: Scheme,
        found: Integrals,
        device: Device,
        total: int,
    ) -> None:
        self._points, self._names, self._found = points, names, found
        self._scheme, self._device = scheme, device
        self.slots = max(1, min(len(points.paths), total // (_FIRST + _BESIDE)))
        room = total - _BESIDE * self.slots
        self._most = min(MOST, room)
        self._room = Room(room, self._most)
        dtype = np.result_type(*(o.dtype for o in points.outputs))
        features = sum(o.size for o in points.outputs)
        self._pool = _Pool(device, room, features, self.slots, dtype)
        self._moves = _Moves(points, names, device, self.slots)
        self._watched = _Watched(points, names, device, room)
        rows = points.chunk
        self._ring = Ring(device, {"slots": (np.int64, rows), "places": (np.int64, rows)})
        self._paths: dict[int, tuple[int, AdaptivePath, DeviceGradients]] = {}
        self._places: dict[int, list[int]] = {}

    def begin(self, slot: int, path: int) -> Piece:
        """Where a path is to be evaluated first."""
        with self._device.lock:
            self._device.put(self._pool.displacement[slot], self._moves.begin(slot, path))
        gradients = DeviceGradients(self._pool, slot)
        adaptive = begun(self._points, self._names, path, self._scheme, self._most, gradients)
        self._paths[slot] = path, adaptive, gradients
        return self._piece(slot)

    def grants(self, piece: Piece) -> bool:
        """Whether there is room for the gradients of a piece."""
        if not self._room.take(piece.slot, len(piece)):
            return False
        self._places[piece.slot] = [self._pool.free.pop() for _ in range(len(piece))]
        return True

    def add(self, pieces: Sequence[Piece]) -> None:
        """Keep the outputs of the last run, at the points of some pieces."""
        device, outputs = self._device, _outputs(self._points)
        slots, places = np.zeros(len(outputs[0]), np.int64), np.full(len(outputs[0]), -1)
        start = 0
        for piece in pieces:
            part = slice(start, start + len(piece))
            slots[part] = piece.slot
            places[part] = self._places[piece.slot][piece.place : piece.place + len(piece)]
            start = part.stop
        with device.lock:
            sent = self._ring.send(slots=slots, places=places)
            offset = 0
            for gradient, moves in zip(outputs, self._moves.of, strict=True):
                rows = gradient, sent["slots"], sent["places"], moves
                counts = self._watched.counts
                device.kept.count_unbounded(*rows, UNBOUNDED, counts, device.stream)
                device.kept.keep(*rows, self._pool.kept, offset, device.stream)
                offset += gradient.shape[1]
            self._ring.used()

    def next(self, slot: int) -> Piece | None:
        """Where the path is to be evaluated next, unless it is done."""
        number, path, gradients = self._paths[slot]
        places = self._places.pop(slot)
        self._watched.check(number, path.wanted, places)
        path.add(places)
        if path.wanted:
            return self._piece(slot)
        store(self._points, self._names, number, path, self._found)
        self._room.give_back(slot)
        self._pool.free += gradients.places
        del self._paths[slot]
        return None

    def _piece(self, slot: int) -> Piece:
        number, path, _ = self._paths[slot]
        return Piece(slot, number, np.asarray(path.wanted, dtype=np.float64))


@final
class DeviceSums:
    """Weighted sums on a device, for schemes whose nodes are known beforehand.

    The sums of a path come to the host after each stage: for a fixed number of steps once.

    Args:
        points: The model, on the device.
        names: Attributed tensors, in the order of the outputs.
        scheme: Where to evaluate, and when to stop.
        found: Where results are stored.
        device: Where.
        keep_bytes: Memory for the sums.
    """

    def __init__(
        self,
        points: Points,
        names: Sequence[str],
        scheme: Scheme,
        found: Integrals,
        device: Device,
        keep_bytes: int,
    ) -> None:
        self._points, self._names, self._scheme, self._found = points, names, scheme, found
        self._device, rules = device, scheme.rules
        sizes = [o.size for o in points.outputs]
        self.slots = max(1, min(len(points.paths), keep_bytes // (8 * rules * max(1, sum(sizes)))))
        self._sums = [device.empty((self.slots, rules, f), np.float64) for f in sizes]
        self._moves = _Moves(points, names, device, self.slots)
        self._nodes = max(len(s.alphas) for s in scheme.stages)
        self._watched = _Watched(points, names, device, self.slots * self._nodes)
        rows = points.chunk
        columns = {n: (np.int64, rows) for n in ("slots", "places")}
        self._ring = Ring(device, columns | {"weights": (np.float64, rules * rows)})
        self._path, self._stage = [0] * self.slots, [0] * self.slots

    def begin(self, slot: int, path: int) -> Piece:
        """Where a path is to be evaluated first."""
        with self._device.lock:
            for sums in self._sums:
                self._device.kept.clear(sums, slot, self._device.stream)
            self._moves.begin(slot, path)
        self._path[slot], self._stage[slot] = path, 0
        return self._piece(slot)

    def grants(self, piece: Piece) -> bool:
        """Always: the sums are there from the beginning."""
        return True

    def add(self, pieces: Sequence[Piece]) -> None:
        """Take the outputs of the last run, at the points of some pieces."""
        device, outputs = self._device, _outputs(self._points)
        rows = len(outputs[0])
        slots, places = np.zeros(rows, np.int64), np.full(rows, -1)
        weights = np.zeros((self._scheme.rules, rows))
        start = 0
        for piece in pieces:
            part = slice(start, start + len(piece))
            first = piece.slot * self._nodes + piece.place
            slots[part], places[part] = piece.slot, np.arange(first, first + len(piece))
            weights[:, part] = piece.weights
            start = part.stop
        with device.lock:
            sent = self._ring.send(slots=slots, places=places, weights=weights)
            for gradient, moves, sums in zip(outputs, self._moves.of, self._sums, strict=True):
                counted = gradient, sent["slots"], sent["places"], moves, UNBOUNDED
                device.kept.count_unbounded(*counted, self._watched.counts, device.stream)
                added = sums, gradient, sent["slots"], sent["weights"]
                device.kernels.accumulate(*added, device.stream)
            self._ring.used()

    def next(self, slot: int) -> Piece | None:
        """The nodes of the next stage, unless the path is done."""
        path, done = self._path[slot], self._stage[slot] + 1
        stage = self._scheme.stages[done - 1]
        first = slot * self._nodes
        places = range(first, first + len(stage.alphas))
        self._watched.check(path, stage.alphas.tolist(), places)
        with self._device.lock:
            sums = [self._device.get(s[slot]) for s in self._sums]
        if settled(self._points, self._names, self._scheme, path, done, sums, self._found):
            return None
        self._stage[slot] = done
        return self._piece(slot)

    def _piece(self, slot: int) -> Piece:
        stage = self._scheme.stages[self._stage[slot]]
        return Piece(slot, self._path[slot], stage.alphas, stage.weights)


def device_ledger(
    points: Points,
    names: Sequence[str],
    scheme: Scheme,
    found: Integrals,
    device: Device,
    keep_bytes: int,
) -> Ledger:
    """The ledger of a call on a device: gradients where they find room, else sums."""
    features = max(1, sum(o.size for o in points.outputs))
    width = max(o.dtype.itemsize for o in points.outputs)
    total = min(keep_bytes // (width * features), len(points.paths) * (MOST + _BESIDE))
    if scheme.tolerance is not None and total >= _FEW + _BESIDE:
        try:
            return DeviceKept(points, names, scheme, found, device, total)
        except OutOfMemory:  # the device is fuller than was thought: sums need less
            pass
    return DeviceSums(points, names, scheme, found, device, keep_bytes)


def _outputs(points: Points) -> list[Any]:
    lane = points.lane
    assert isinstance(lane, DeviceLane)
    return lane.outputs


__all__ = ["DeviceGradients", "DeviceKept", "DeviceSums", "device_ledger"]
