"""`Lane`: the buffers of one chunk of points, and its run, on one device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol, final

import numpy as np

from igrt.errors import InternalError, OutOfMemory
from igrt.kernels import KernelSet
from igrt.runtime.paths import Paths
from igrt.runtime.session import Session
from igrt.runtime.unbounded import bounded
from igrt.specs import Array, Feeds


@final
@dataclass(frozen=True, eq=False)
class Output:
    """What the model gives for one row.

    Args:
        name: Output of the model.
        shape: Its shape without the batch axis.
        dtype: Its element type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def size(self) -> int:
        """Numbers in a row."""
        return prod(self.shape)


class Lane(Protocol):
    """Room for a chunk of points b + α(x - b), and the run that evaluates the model there.

    A lane belongs to one call, and so to one thread. What is bound to a device stays at its place
    from run to run.
    """

    @property
    def rows(self) -> int:
        """Most points per run."""
        ...

    @property
    def distinct(self) -> int:
        """Points in the last run without those that are there already, where rows share them."""
        ...

    def fill(self, path: Array, baseline: Array, alphas: Array) -> None:
        """Bring points into the buffers.

        Args:
            path: Path of each, [points] int64.
            baseline: Row in the paths' baselines that it begins at, [points] int64.
            alphas: Position of each on its path, [points] float64.
        """
        ...

    def run(self) -> None:
        """Evaluate the model at the points."""
        ...

    def read(self) -> list[Array]:
        """The outputs of the last run, [points, features] each; overwritten by the next run."""
        ...

    def bounded(self, output: int) -> bool:
        """Whether an output of the last run holds ordinary numbers only."""
        ...

    def feeds(self) -> Feeds:
        """What the model was fed with in the last run, in the memory of the host."""
        ...


class LaneMaker(Protocol):
    """Makes the lanes of a session on its device."""

    def __call__(
        self, paths: Paths, outputs: Sequence[Output], *, cotangent: str | None, rows: int
    ) -> Lane | None:
        """A lane; None where the points can only come from the host."""
        ...


@final
class HostLane:
    """A lane in the memory of the host.

    The model reads and writes NumPy arrays in place where onnxruntime lets it: not for texts, and
    not where an output has another shape than one row per point.

    Where the model pulls several cotangents back from one point (`igrt.stage.several`), points that
    differ in nothing else share a row of all that it is fed with beside the cotangents.

    Args:
        session: The model.
        kernels: Path kernels of the host.
        paths: Where the points lie; each is used with any of its baselines.
        outputs: What to evaluate.
        cotangent: Cotangent input of the model; None for one that has none.
        rows: Most points per run.
        of_point: Input of the model that says which row each cotangent belongs to; None where each
            has a row of its own.

    Raises:
        OutOfMemory: If memory does not suffice for the buffers.
    """

    def __init__(
        self,
        session: Session,
        kernels: KernelSet,
        paths: Paths,
        outputs: Sequence[Output],
        *,
        cotangent: str | None,
        rows: int,
        of_point: str | None = None,
    ) -> None:
        self._session, self._kernels, self._paths = session, kernels, paths
        self._outputs, self._cotangent, self._of_point = outputs, cotangent, of_point
        self.rows = rows
        self._ends = {
            n: (np.ascontiguousarray(x).reshape(len(x), -1), b.reshape(len(b), -1))
            for n, (x, b) in paths.ends.items()
        }
        try:
            self._buffers = {n: _room(rows, a) for n, a in self._fed().items()}
            self._row = np.arange(rows)
            self._table = _Table(self._ends, rows)
            self._made = {o.name: np.empty((rows, *o.shape), o.dtype) for o in outputs}
        except MemoryError:
            raise OutOfMemory(
                f"out of memory for the buffers of {rows} rows",
                hint="use a smaller internal_batch_size or memory budget",
            ) from None
        self._path, self._example = np.full(rows, -1), np.full(rows, -1)
        self._baseline = np.full(rows, -1)
        self._count = self.distinct = 0
        """Points in the last run, and how many of them differ, where rows share them."""
        self._steady: tuple[int, int] | None = None
        """Path and baseline of all rows of the last run, where it had one of each."""
        self._steady_slots = self._row[:0]
        self._found: list[Array] = []
        self._runs: dict[tuple[int, int], Callable[[], None] | None] = {}
        self._seen: set[tuple[int, int]] = set()
        self._binds = True

    def fill(self, path: Array, baseline: Array, alphas: Array) -> None:
        """Bring points into the buffers."""
        paths, count = self._paths, len(path)
        self._count = self.distinct = count
        same = int(path[0]), int(baseline[0])
        alone = self._of_point is None and _constant(path) and _constant(baseline)
        if alone and same == self._steady and count <= len(self._steady_slots):
            self._interpolate(self._steady_slots[:count], alphas)
            return
        self._steady = None
        example = paths.example[path]
        # what does not move along a path is there already where the row had the same path before
        new = np.flatnonzero(path != self._path[:count])
        if len(new) and self._cotangent is not None:
            self._path[new] = path[new]
            self._buffers[self._cotangent][new] = paths.cotangents[path[new]]
        if self._of_point is not None:
            first, self._row[:count] = _distinct(example, baseline, alphas)
            example, baseline, alphas = example[first], baseline[first], alphas[first]
            self.distinct = count = len(first)
        slots = self._table.slots(example, baseline)
        self._interpolate(slots, alphas)
        new = np.flatnonzero(example != self._example[:count])
        if len(new):
            self._example[new] = example[new]
            for name, array in paths.others.items():
                self._buffers[name][new] = array[example[new]]
        if paths.references:
            new = np.flatnonzero(baseline != self._baseline[:count])
            self._baseline[new] = baseline[new]
            for name, reference in paths.references.items():
                self._buffers[reference][new] = paths.baselines[name][baseline[new]]
        if alone:
            self._steady, self._steady_slots = same, slots

    def _interpolate(self, slots: Array, alphas: Array) -> None:
        count, alphas = len(slots), np.ascontiguousarray(alphas)
        for name, (x, b) in self._table.ends.items():
            points = self._buffers[name][:count].reshape(count, -1)
            self._kernels.interpolate(b, x, slots, alphas, points)

    def run(self) -> None:
        """Evaluate the model at the points.

        Raises:
            OutOfMemory: If memory does not suffice.
            InternalError: If an output does not have one row per point.
        """
        count = self._count
        bound = self._bound() if self._binds else None
        if bound is not None:
            try:
                bound()
            except InternalError:  # another shape than expected, or a failure that comes again
                self._binds = False
            else:
                self._found = [self._made[o.name][:count].reshape(count, -1) for o in self._outputs]
                return
        names = [o.name for o in self._outputs]
        found = self._session.run(names, self._fed_now())
        self._found = [_flat(o, a, count) for o, a in zip(self._outputs, found, strict=True)]

    def read(self) -> list[Array]:
        """The outputs of the last run, [points, features] each; overwritten by the next run."""
        return self._found

    def bounded(self, output: int) -> bool:
        """Whether an output of the last run holds ordinary numbers only."""
        return bounded(self._found[output])

    def feeds(self) -> Feeds:
        """What the model was fed with in the last run, a row per point."""
        feeds = dict(self._fed_now())
        if self._of_point is not None:
            row = feeds.pop(self._of_point)
            own = {self._cotangent, *self._paths.shared}
            feeds |= {n: a[row] for n, a in feeds.items() if n not in own}
        return feeds

    def _fed_now(self) -> Feeds:
        feeds = {n: np.asarray(a) for n, a in self._paths.shared.items()}
        for name, buffer in self._buffers.items():
            own = name == self._cotangent
            batched = self._paths.output_batched if own else self._paths.batched
            feeds[name] = self._view(buffer, self._count if own else self.distinct, batched)
        if self._of_point is not None:
            feeds[self._of_point] = self._row[: self._count]
        return feeds

    def _fed(self) -> dict[str, Array]:
        """Arrays with what the model is fed with in each row, by input."""
        paths = self._paths
        fed = {n: x for n, (x, _) in paths.ends.items()} | dict(paths.others)
        fed |= {r: paths.inputs[n] for n, r in paths.references.items()}
        return fed if self._cotangent is None else fed | {self._cotangent: paths.cotangents}

    def _bound(self) -> Callable[[], None] | None:
        """The run of so many points in place; only for their second time does that pay."""
        count = self._count, self.distinct
        if count not in self._seen:
            self._seen.add(count)
            return None
        if count not in self._runs:
            batched = self._paths.batched
            made = {n: self._view(a, self._count, batched) for n, a in self._made.items()}
            self._runs[count] = self._session.bind(self._fed_now(), made)
        return self._runs[count]

    @staticmethod
    def _view(buffer: Array, count: int, batched: bool) -> Array:
        return buffer[:count] if batched else buffer.reshape(buffer.shape[1:])


def buffer_bytes(paths: Paths) -> int:
    """Bytes of the buffers of a lane per row, beside the outputs: see `HostLane`."""
    ends = sum(3 * x[0].nbytes for x, _ in paths.ends.values())  # points, and both ends
    references = sum(paths.inputs[n][0].nbytes for n in paths.references)
    others = sum(a[0].nbytes for a in paths.others.values())
    return int(ends + references + others + paths.cotangents[0].nbytes)


class _Table:
    """Ends of the paths that points lie on, gathered once for as long as they are needed.

    Args:
        ends: Inputs and baselines, [examples, features] and [all baselines, features] by name.
        rows: Most points at a time.
    """

    def __init__(self, ends: Mapping[str, tuple[Array, Array]], rows: int) -> None:
        self._from = ends
        self.ends = {
            n: (np.empty((rows, x.shape[1]), x.dtype), np.empty((rows, x.shape[1]), x.dtype))
            for n, (x, _) in ends.items()
        }
        """The same for each slot, [slots, features]."""
        self._free = list(range(rows))
        self._slots: dict[tuple[int, int], int] = {}

    def slots(self, example: Array, baseline: Array) -> Array:
        """Where the ends of each point are, [points] int64."""
        # points of one path come together: each path is looked up once
        other = (example[1:] != example[:-1]) | (baseline[1:] != baseline[:-1])
        first = np.append(0, other.nonzero()[0] + 1)
        pairs = list(zip(example[first].tolist(), baseline[first].tolist(), strict=True))
        wanted = dict.fromkeys(pairs)
        missing = [p for p in wanted if p not in self._slots]
        if len(missing) > len(self._free):
            for pair in [p for p in self._slots if p not in wanted]:
                self._free.append(self._slots.pop(pair))
        for pair in missing:
            slot = self._slots[pair] = self._free.pop()
            for name, (x, b) in self.ends.items():
                of_x, of_b = self._from[name]
                x[slot], b[slot] = of_x[pair[0]], of_b[pair[1]]
        points = np.diff(first, append=len(example))
        return np.repeat([self._slots[p] for p in pairs], points)


def _constant(numbers: Array) -> bool:
    return bool((numbers == numbers[0]).all())


def _distinct(example: Array, baseline: Array, alphas: Array) -> tuple[Array, Array]:
    """The first of each point there is, and which of these each one is."""
    places: dict[tuple[int, int, float], int] = {}
    first: list[int] = []
    row: list[int] = []
    points = zip(example.tolist(), baseline.tolist(), alphas.tolist(), strict=True)
    for k, point in enumerate(points):
        if point not in places:
            places[point] = len(first)
            first.append(k)
        row.append(places[point])
    return np.asarray(first), np.asarray(row)


def _room(rows: int, array: Array) -> Array:
    return np.empty((rows, *array.shape[1:]), array.dtype)


def _flat(output: Output, found: Array, rows: int) -> Array:
    if found.size != rows * output.size:
        raise InternalError(
            f"the output `{output.name}` has the shape {list(found.shape)} for {rows} rows of "
            f"{list(output.shape)}"
        )
    return np.ascontiguousarray(found).reshape(rows, -1)


__all__ = ["HostLane", "Lane", "LaneMaker", "Output", "buffer_bytes"]
