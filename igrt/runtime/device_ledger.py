"""What is known of the paths in work, kept on a device; a few numbers of it come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np

from igrt.errors import InternalError, OutOfMemory
from igrt.quadrature import AdaptivePath, Scheme, first_nodes
from igrt.runtime.device import Device, Ring
from igrt.runtime.device_lane import DeviceLane
from igrt.runtime.device_pool import DeviceGradients, Pool
from igrt.runtime.kept import FEW, MOST, Room, begun, store
from igrt.runtime.ledger import Ledger, Piece, Stages, refuse, settled
from igrt.runtime.paths import Integrals
from igrt.runtime.points import Points
from igrt.runtime.unbounded import UNBOUNDED
from igrt.specs import Array

_BESIDE = 3
"""What a path takes beside its gradients, as many as gradients would take the place of its
displacement in float64, and of what moves of it."""


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
        refuse(points, self._names)
        raise InternalError(
            f"a gradient on path {path} was not finite at alpha = {alpha[0]:.6g}, and then it was",
            hint="the model gives other results from run to run; report it with the model",
        )


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
        self.first = first_nodes(smooth=scheme.smooth)
        self.slots = max(1, min(len(points.paths), total // (self.first + _BESIDE)))
        room = total - _BESIDE * self.slots
        self._most = min(MOST, room)
        self._room = Room(room, self._most)
        dtype = np.result_type(*(o.dtype for o in points.outputs))
        features = sum(o.size for o in points.outputs)
        self._pool = Pool(device, room, features, self.slots, dtype)
        self._moves = _Moves(points, names, device, self.slots)
        self._watched = _Watched(points, names, device, room)
        rows = points.chunk
        self._ring = Ring(device, {"slots": (np.int64, rows), "places": (np.int64, rows)})
        self._paths: dict[int, tuple[int, AdaptivePath, DeviceGradients]] = {}
        self._places: dict[int, list[int]] = {}

    @property
    def held(self) -> None:
        """What was planned: the device has room for it from the beginning."""
        return None

    def begin(self, slot: int, path: int) -> Piece:
        """Where a path is to be evaluated first."""
        with self._device.lock:
            self._device.put(self._pool.displacement[slot], self._moves.begin(slot, path))
        gradients = DeviceGradients(self._pool, slot)
        most = self._most
        adaptive = begun(self._points, self._names, path, self._scheme, most, lambda _: gradients)
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

    def next(self, slots: Sequence[int]) -> list[Piece | None]:
        """Where paths are to be evaluated next, but for those that are done."""
        return [self._next(s) for s in slots]

    def _next(self, slot: int) -> Piece | None:
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
        self._stages = Stages(scheme, self.slots)
        self.first = self._stages.first

    @property
    def held(self) -> None:
        """What was planned: the device has room for it from the beginning."""
        return None

    def begin(self, slot: int, path: int) -> Piece:
        """Where a path is to be evaluated first."""
        with self._device.lock:
            for sums in self._sums:
                self._device.kept.clear(sums, slot, self._device.stream)
            self._moves.begin(slot, path)
        return self._stages.begin(slot, path)

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

    def next(self, slots: Sequence[int]) -> list[Piece | None]:
        """The nodes of the next stage, but for paths that are done."""
        following: dict[int, Piece | None] = {}
        for done, (slot,) in self._stages.alike(slots, 1):
            following[slot] = None if self._settled(done, slot) else self._stages.next(slot)
        return [following[s] for s in slots]

    def _settled(self, done: int, slot: int) -> bool:
        """Whether a path is done after so many stages."""
        path = self._stages.path[[slot]]
        stage = self._scheme.stages[done - 1]
        first = slot * self._nodes
        places = range(first, first + len(stage.alphas))
        self._watched.check(int(path[0]), stage.alphas.tolist(), places)
        with self._device.lock:
            sums = [self._device.get(s[slot])[np.newaxis] for s in self._sums]
        ends = settled(self._points, self._names, self._scheme, path, done, sums, self._found)
        return bool(ends[0])


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
    if scheme.tolerance is not None and total >= FEW + _BESIDE:
        try:
            return DeviceKept(points, names, scheme, found, device, total)
        except OutOfMemory:  # the device is fuller than was thought: sums need less
            pass
    return DeviceSums(points, names, scheme, found, device, keep_bytes)


def _outputs(points: Points) -> list[Any]:
    lane = points.lane
    assert isinstance(lane, DeviceLane)
    return lane.outputs


__all__ = ["DeviceKept", "DeviceSums", "device_ledger"]
