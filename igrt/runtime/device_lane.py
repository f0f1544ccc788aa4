"""`DeviceLane`: a chunk of points on a CUDA device, from the path to the gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, final

import numpy as np

from igrt.runtime.device import Device, Ring
from igrt.runtime.lane import Output
from igrt.runtime.paths import Paths
from igrt.runtime.unbounded import bounded
from igrt.specs import Array, Feeds


class Bound(Protocol):
    """Buffers of a model on a device, which stay at their places, and runs on their first rows."""

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Inputs with a row per point, [rows, bytes of a row] uint8 device arrays by name."""
        ...

    @property
    def outputs(self) -> Sequence[Any]:
        """Outputs, [rows, features] device arrays in their own element type."""
        ...

    def run(self, rows: int) -> None:
        """Queue a run on the first rows."""
        ...


@final
class DeviceLane:
    """A lane whose buffers the model and our kernels share on a device.

    Per chunk a few numbers per point go to the device, and nothing comes back. What a path needs
    goes there once, when it first turns up in a chunk. Runs are of few sizes, the powers of two up
    to the chunk, the last rows of one padded: algorithms are chosen, and CUDA graphs captured, by
    shape.

    Args:
        device: Where.
        bound: The model, with room for `rows` points.
        paths: Where the points lie; each is used with any of its baselines.
        outputs: What to evaluate.
        cotangent: Cotangent input of the model; None for one that has none.
        rows: Most points per run.

    Raises:
        OutOfMemory: If the device has no room for the buffers.
    """

    def __init__(
        self,
        device: Device,
        bound: Bound,
        paths: Paths,
        outputs: Sequence[Output],
        *,
        cotangent: str | None,
        rows: int,
    ) -> None:
        self.device, self._bound, self._paths = device, bound, paths
        self._specs, self._cotangent = outputs, cotangent
        self.rows = rows
        self._sizes = sorted({rows} | {1 << k for k in range(rows.bit_length()) if 1 << k < rows})
        self._table = _Table(device, paths, cotangent, rows)
        self._ring = Ring(device, {"slots": (np.int64, rows), "alphas": (np.float64, rows)})
        self._count = self._size = 0
        self._held: tuple[list[int], int] | None = None
        self._found: list[Array] | None = None

    @property
    def distinct(self) -> int:
        """Points in the last run: no two rows share one."""
        return self._count

    def fill(self, path: Array, baseline: Array, alphas: Array) -> None:
        """Bring points into the buffers."""
        device, self._count = self.device, len(path)
        self._size = size = next(s for s in self._sizes if s >= self._count)
        self._found = None
        with device.lock:
            slots = np.zeros(size, dtype=np.int64)
            slots[: self._count] = self._table.slots(path, baseline)
            slots[self._count :] = slots[0]
            padded = np.zeros(size)
            padded[: self._count] = alphas
            sent = self._ring.send(slots=slots, alphas=padded)
            for name, (x, b) in self._table.moving.items():
                points = self._bound.inputs[name].view(x.dtype)[:size]
                arguments = b, x, sent["slots"], sent["alphas"], points
                device.kernels.interpolate(*arguments, device.stream)
            # what does not move is there already where all rows have the paths that they had
            held = slots.tolist(), self._table.uploads
            if held != self._held:
                for name, of_slots in self._table.still.items():
                    target = self._bound.inputs[name][:size]
                    device.kept.take(of_slots, sent["slots"], target, device.stream)
                self._held = held
            self._ring.used()

    def run(self) -> None:
        """Queue the model on the points."""
        with self.device.lock:
            self._bound.run(self._size)

    @property
    def outputs(self) -> list[Any]:
        """The outputs of the last run on the device, padded: [points or more, features] each."""
        return [o[: self._size] for o in self._bound.outputs]

    def read(self) -> list[Array]:
        """The outputs of the last run, [points, features] each, in the memory of the host."""
        if self._found is None:
            with self.device.lock:
                found = [self.device.get(o) for o in self.outputs]
            self._found = [f[: self._count] for f in found]
        return self._found

    def bounded(self, output: int) -> bool:
        """Whether an output of the last run holds ordinary numbers only."""
        return bounded(self.read()[output])

    def feeds(self) -> Feeds:
        """What the model was fed with in the last run, in the memory of the host."""
        feeds: dict[str, Array] = dict(self._paths.shared)
        for name, (shape, dtype) in self._table.rows_of.items():
            with self.device.lock:
                held = self.device.get(self._bound.inputs[name][: self._count])
            batched = self._paths.batched if name != self._cotangent else self._paths.output_batched
            feeds[name] = held.view(dtype).reshape((self._count, *shape) if batched else shape)
        return feeds


def fed(paths: Paths, cotangent: str | None) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and element type of a row of each input that has one per point."""
    arrays = {n: x for n, (x, _) in paths.ends.items()} | dict(paths.others)
    arrays |= {r: paths.inputs[n] for n, r in paths.references.items()}
    if cotangent is not None:
        arrays[cotangent] = paths.cotangents
    return {n: (a.shape[1:], a.dtype) for n, a in arrays.items()}


class _Table:
    """What the paths in the chunks at hand need, on the device once for as long as that is.

    Args:
        device: Where.
        paths: The paths.
        cotangent: Cotangent input.
        rows: Most points at a time.
    """

    def __init__(self, device: Device, paths: Paths, cotangent: str | None, rows: int) -> None:
        self._device, self._paths, self._cotangent = device, paths, cotangent
        self.rows_of = fed(paths, cotangent)
        self.moving = {
            n: tuple(device.empty((rows, x[0].size), x.dtype) for _ in range(2))
            for n, (x, _) in paths.ends.items()
        }
        """Inputs and baselines of what moves, [slots, features] by input."""
        self.still = {
            n: device.empty((rows, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize), np.uint8)
            for n, (shape, dtype) in self.rows_of.items()
            if n not in self.moving
        }
        """The rest, [slots, bytes] by input."""
        self._free = list(range(rows))
        self._slots: dict[tuple[int, int], int] = {}
        self.uploads = 0
        """How often a slot was filled."""

    def slots(self, path: Array, baseline: Array) -> Array:
        """Where what each point needs is, [points] int64."""
        pairs = list(zip(path.tolist(), baseline.tolist(), strict=True))
        wanted = dict.fromkeys(pairs)
        missing = [p for p in wanted if p not in self._slots]
        if len(missing) > len(self._free):
            for pair in [p for p in self._slots if p not in wanted]:
                self._free.append(self._slots.pop(pair))
        for pair in missing:
            slot = self._slots[pair] = self._free.pop()
            self._upload(slot, *pair)
        return np.asarray([self._slots[p] for p in pairs], dtype=np.int64)

    def _upload(self, slot: int, path: int, baseline: int) -> None:
        paths, put = self._paths, self._device.put
        self.uploads += 1
        example = int(paths.example[path])
        for name, (x, b) in paths.ends.items():
            of_x, of_b = self.moving[name]
            put(of_x[slot], x[example].reshape(-1))
            put(of_b[slot], b[baseline].astype(x.dtype, copy=False).reshape(-1))
        still = {n: a[example] for n, a in paths.others.items()}
        for name, reference in paths.references.items():
            still[reference] = paths.baselines[name][baseline].astype(paths.inputs[name].dtype)
        if self._cotangent is not None:
            still[self._cotangent] = paths.cotangents[path]
        for name, row in still.items():
            put(self.still[name][slot], np.ascontiguousarray(row).reshape(-1).view(np.uint8))


__all__ = ["Bound", "DeviceLane", "fed"]
