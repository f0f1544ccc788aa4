"""The one loop: fill a chunk, run it, add it up; memory does not grow with the number of steps."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from igrt.errors import DeadlineExceeded, InternalError, NonFiniteError, OutOfMemory
from igrt.kernels import KernelSet
from igrt.quadrature import AdaptivePath, HostGradients, Scheme
from igrt.runtime.session import Session
from igrt.specs import Array, Feeds

Progress = Callable[[int, int], None]
"""Called with the gradient evaluations done and those planned so far."""

UNBOUNDED = 1e15
"""A gradient beyond this is taken as infinite. Rules give a huge finite slope at singular points
(1e22 for the square root at 0 in float32), so that masks behind them still work."""

_SUMS_BYTES = 256 << 20
"""Memory for the sums, or the gradients kept, of the paths in work at a time."""

_BYTES = 4
"""Of a gradient that is kept, per feature."""

_CLOSEST = 2.0**-40
"""Distance from an end of a path, where it begins at zero, that is not approached further."""
_FAR = 2.0**-10
"""Distance that refinement may always go to."""

_NOTHING: Array = np.zeros(0)
_MOST_KEPT, _FEW_KEPT = 511, 63
"""Most evaluations of an adaptive path, which keeps all its gradients. Where memory does not hold
the second number of them, nested rules up to `MAX_EVALUATIONS` do with sums."""


@final
@dataclass(frozen=True, eq=False)
class Paths:
    """Straight paths to integrate over.

    Args:
        inputs: Attributed inputs, [examples, *shape] by name.
        baselines: Their baselines, [all baselines, *shape] by name.
        example: Example of each path, [paths] int64.
        baseline: Row in `baselines` of each path, [paths] int64.
        cotangents: One per path, [paths, *output shape].
        others: Further inputs of the model that have a row per example, by name.
        shared: Further inputs without a batch axis, fed as they are, by name.
        batched: Whether the model's inputs have a batch axis; without, a run takes a single row.
        output_batched: Whether the explained output has one; without, likewise.
        change: F(x) - F(x') per path, [paths] float64.
        references: Input of the model that is fed with the baseline, per attributed input.
        times_difference: Whether gradients are multiplied by x - x'.
        moving: What the model is fed with along the path where that is not the attributed inputs:
            values at the inputs, [examples, *shape] by name. A step graph begins at such tensors.
        moving_baselines: The same at the baselines, [all baselines, *shape] by name.
    """

    inputs: Mapping[str, Array]
    baselines: Mapping[str, Array]
    example: Array
    baseline: Array
    cotangents: Array
    others: Mapping[str, Array]
    shared: Mapping[str, Array]
    batched: bool
    output_batched: bool
    change: Array
    references: Mapping[str, str] = field(default_factory=dict)
    times_difference: bool = True
    moving: Mapping[str, Array] | None = None
    moving_baselines: Mapping[str, Array] | None = None

    @property
    def ends(self) -> dict[str, tuple[Array, Array]]:
        """Inputs and baselines of what the model is fed with along the path."""
        at, begin = self.moving, self.moving_baselines
        if at is None or begin is None:
            at, begin = self.inputs, self.baselines
        return {n: (x, begin[n]) for n, x in at.items()}

    def __len__(self) -> int:
        return len(self.example)


@final
@dataclass(frozen=True, eq=False)
class Integrals:
    """What the paths integrate to.

    Args:
        values: (x - x') · ∫ gradient, [paths, *shape] float64 by name.
        error: Estimated absolute quadrature error of the values in the L1 norm, [paths]; NaN where
            the rule gives no estimate.
        evaluations: Gradient evaluations spent, [paths] int64.
        chunk: Rows per run at the end: smaller than planned if memory ran out.
    """

    values: dict[str, Array]
    error: Array
    evaluations: Array
    chunk: int


@dataclass
class _Slot:
    """A path in work."""

    path: int
    stage: int = 0
    pending: int = 0
    adaptive: AdaptivePath | None = None
    found: list[Array] = field(default_factory=list)


@dataclass(frozen=True)
class _Row:
    slot: int
    alpha: float
    place: int
    weights: Array | None


@dataclass
class _State:
    free: list[int]
    busy: dict[int, _Slot] = field(default_factory=dict)
    waiting: deque[int] = field(default_factory=deque)
    queue: deque[_Row] = field(default_factory=deque)
    done: int = 0
    planned: int = 0


def integrate(
    session: Session,
    kernels: KernelSet,
    paths: Paths,
    scheme: Scheme,
    *,
    gradients: Mapping[str, str],
    cotangent: str,
    chunk: int,
    progress: Progress | None = None,
    deadline: float | None = None,
) -> Integrals:
    """Integrate the gradient along every path.

    Rows of different paths share chunks: while one path waits for its last evaluations, the chunk
    is filled with those of others.

    Args:
        session: The augmented model.
        kernels: Path and accumulation kernels.
        paths: What to integrate over.
        scheme: Where to evaluate, and when to stop.
        gradients: Gradient output of the model per attributed input.
        cotangent: Cotangent input of the model.
        chunk: Rows per run.
        progress: Called after every run.
        deadline: `time.monotonic()` after which to give up.

    Raises:
        NonFiniteError: If a gradient is NaN or infinite.
        OutOfMemory: If not even one row fits.
        DeadlineExceeded: If the deadline passed.
    """
    work = _Work(session, kernels, paths, scheme, gradients, cotangent)
    state = _State(free=list(range(work.slots)), waiting=deque(range(len(paths))))
    first = scheme.stages[0].alphas
    state.planned = len(paths) * len(first)
    chunk = chunk if paths.batched and paths.output_batched else 1
    while state.waiting or state.busy:
        while state.waiting and state.free and len(state.queue) < chunk:
            _admit(work, state)
        rows = [state.queue.popleft() for _ in range(min(chunk, len(state.queue)))]
        if deadline is not None and time.monotonic() > deadline:
            raise DeadlineExceeded(
                f"the deadline passed after {state.done} of {state.planned} gradient evaluations",
                hint="allow more time, or ask for a larger tolerance or fewer steps",
            )
        try:
            work.run(rows, state.busy)
        except OutOfMemory:
            if len(rows) == 1:
                raise
            chunk = max(1, len(rows) // 2)
            state.queue.extendleft(reversed(rows))
            continue
        state.done += len(rows)
        for row in rows:
            state.busy[row.slot].pending -= 1
        for index in sorted({row.slot for row in rows}):
            if state.busy[index].pending == 0:
                _advance(work, state, index)
        if progress is not None:
            progress(state.done, state.planned)
    return Integrals(work.values, work.error, work.evaluations, chunk)


def _admit(work: _Work, state: _State) -> None:
    path, index = state.waiting.popleft(), state.free.pop()
    state.busy[index] = _Slot(path, adaptive=work.load(index, path))
    _enqueue(work, state, index)


def _enqueue(work: _Work, state: _State, index: int) -> None:
    slot = state.busy[index]
    if slot.adaptive is not None:
        rows = [_Row(index, a, k, None) for k, a in enumerate(slot.adaptive.wanted)]
        slot.found = [_NOTHING] * len(rows)
    else:
        stage = work.scheme.stages[slot.stage]
        pairs = zip(stage.alphas.tolist(), stage.weights.T, strict=True)
        rows = [_Row(index, a, k, w) for k, (a, w) in enumerate(pairs)]
    slot.pending = len(rows)
    state.queue.extend(rows)


def _advance(work: _Work, state: _State, index: int) -> None:
    """All that was asked for is there: stop, or go on with the next nodes."""
    slot = state.busy[index]
    if work.settle(index, slot):
        del state.busy[index]
        state.free.append(index)
        return
    slot.stage += 1
    _enqueue(work, state, index)
    state.planned += slot.pending


class _Work:
    """Buffers and sums of the paths in work."""

    def __init__(
        self,
        session: Session,
        kernels: KernelSet,
        paths: Paths,
        scheme: Scheme,
        gradients: Mapping[str, str],
        cotangent: str,
    ) -> None:
        self.session, self.kernels, self.paths, self.scheme = session, kernels, paths, scheme
        self.gradients, self.cotangent = gradients, cotangent
        self.names = list(gradients)
        self.sizes = {
            n: int(np.prod(paths.inputs[n].shape[1:], dtype=np.int64)) for n in self.names
        }
        features = max(1, sum(self.sizes.values()))
        self.most = min(_MOST_KEPT, _SUMS_BYTES // (_BYTES * features))
        self.adaptive = scheme.tolerance is not None and self.most >= _FEW_KEPT
        rules = 0 if self.adaptive else scheme.rules
        per_slot = features * (_BYTES * self.most if self.adaptive else 8 * rules)
        self.slots = max(1, min(len(paths), _SUMS_BYTES // per_slot))
        self.sums = {n: np.zeros((self.slots, rules, f)) for n, f in self.sizes.items()}
        dtype = {n: paths.inputs[n].dtype for n in self.names}
        self.x = {n: np.zeros((self.slots, f), dtype[n]) for n, f in self.sizes.items()}
        self.b = {n: np.zeros((self.slots, f), dtype[n]) for n, f in self.sizes.items()}
        self.moving = {n: (self.x[n], self.b[n]) for n in self.names}
        if paths.moving is not None:
            room = {
                n: np.zeros((2, self.slots, x[0].size), x.dtype) for n, x in paths.moving.items()
            }
            self.moving = {n: (r[0], r[1]) for n, r in room.items()}
        self.points: dict[str, Array] = {}
        self.values = {n: np.zeros((len(paths), *paths.inputs[n].shape[1:])) for n in self.names}
        self.error = np.zeros(len(paths))
        self.evaluations = np.zeros(len(paths), dtype=np.int64)

    def load(self, index: int, path: int) -> AdaptivePath | None:
        """Bring a path into a slot."""
        paths = self.paths
        for name in self.names:
            self.x[name][index] = paths.inputs[name][paths.example[path]].reshape(-1)
            self.b[name][index] = paths.baselines[name][paths.baseline[path]].reshape(-1)
            self.sums[name][index] = 0.0
        if paths.moving is not None:
            for name, (x, b) in paths.ends.items():
                of_x, of_b = self.moving[name]
                of_x[index] = x[paths.example[path]].reshape(-1)
                of_b[index] = b[paths.baseline[path]].reshape(-1)
        tolerance = self.scheme.tolerance
        if not self.adaptive or tolerance is None:
            return None
        ends = [(self.x[n][index].astype(np.float64), self.b[n][index]) for n in self.names]
        displacement = np.concatenate([x - b for x, b in ends])
        spacing = float(max(np.finfo(self.b[n].dtype).eps for n in self.names))
        of_ends = (np.concatenate([e[k].astype(np.float64) for e in ends]) for k in (1, 0))
        low, high = (_finest(end, displacement, spacing) for end in of_ends)
        change = float(paths.change[path])
        gradients = HostGradients(displacement, self.kernels)
        return AdaptivePath(tolerance, gradients, change, self.most, (low, high))

    def run(self, rows: Sequence[_Row], busy: Mapping[int, _Slot]) -> None:
        """Evaluate the gradient at some points and add it to the sums."""
        slots = np.fromiter((r.slot for r in rows), dtype=np.int64, count=len(rows))
        alphas = np.fromiter((r.alpha for r in rows), dtype=np.float64, count=len(rows))
        feeds = self._feeds(rows, slots, alphas, busy)
        found = self.session.run([self.gradients[n] for n in self.names], feeds)
        flats = []
        for name, gradient in zip(self.names, found, strict=True):
            if gradient.size != len(rows) * self.sizes[name]:
                raise InternalError(
                    f"the gradient of `{name}` has the shape {list(gradient.shape)} for "
                    f"{len(rows)} rows of {list(self.paths.inputs[name].shape[1:])}"
                )
            flat = np.ascontiguousarray(gradient).reshape(len(rows), -1)
            # NaN fails the comparison, too
            low, high = float(flat.min(initial=0)), float(flat.max(initial=0))
            if not (-UNBOUNDED < low and high < UNBOUNDED):
                self._refuse_unbounded(name, flat, rows, busy, feeds)
            flats.append(flat)
        if self.adaptive:
            kept = flats[0] if len(flats) == 1 else np.concatenate(flats, axis=1)
            for row, gradient in zip(rows, kept, strict=True):
                busy[row.slot].found[row.place] = gradient
            return
        weights = np.ascontiguousarray(
            np.stack([r.weights for r in rows if r.weights is not None], axis=1)
        )
        for name, flat in zip(self.names, flats, strict=True):
            self.kernels.accumulate(self.sums[name], flat, slots, weights)

    def _feeds(
        self, rows: Sequence[_Row], slots: Array, alphas: Array, busy: Mapping[int, _Slot]
    ) -> Feeds:
        paths, count = self.paths, len(rows)
        feeds: dict[str, Array] = dict(paths.shared)
        ends = paths.ends
        for name, (x, b) in self.moving.items():
            points = self.points.get(name)
            if points is None or len(points) < count:
                points = np.empty((count, x.shape[1]), x.dtype)
                self.points[name] = points
            points = points[:count]
            self.kernels.interpolate(b, x, slots, alphas, points)
            shape = ends[name][0].shape[1:]
            feeds[name] = points.reshape((count, *shape) if paths.batched else shape)
        of_row = np.fromiter((busy[r.slot].path for r in rows), dtype=np.int64, count=count)
        for name, array in paths.others.items():
            picked = array[paths.example[of_row]]
            feeds[name] = picked if paths.batched else picked[0]
        for name, reference in paths.references.items():
            picked = paths.baselines[name][paths.baseline[of_row]]
            picked = picked.astype(paths.inputs[name].dtype, copy=False)
            feeds[reference] = picked if paths.batched else picked[0]
        picked = paths.cotangents[of_row]
        feeds[self.cotangent] = picked if paths.output_batched else picked[0]
        return feeds

    def settle(self, index: int, slot: _Slot) -> bool:
        """Whether the path is done after its stage; if so, its results are stored."""
        if slot.adaptive is not None:
            return self._settle_adaptive(index, slot, slot.adaptive)
        stage = self.scheme.stages[slot.stage]
        error = norm = 0.0
        values = {}
        for name in self.names:
            x, b = self.x[name][index : index + 1], self.b[name][index : index + 1]
            sums = self.sums[name][index]
            values[name] = self._times_difference(sums[stage.fine : stage.fine + 1], x, b)
            norm += float(np.abs(values[name]).sum())
            if stage.coarse is None:
                error = np.nan
            else:
                gap = (sums[stage.fine] - sums[stage.coarse])[np.newaxis]
                error += float(np.abs(self._times_difference(gap, x, b)).sum())
        last = slot.stage + 1 == len(self.scheme.stages)
        tolerance = self.scheme.tolerance
        if tolerance is not None:
            total = sum(float(v.sum()) for v in values.values())
            error = max(error, abs(total - float(self.paths.change[slot.path])))
            if error > tolerance * norm and not last:
                return False
        for name in self.names:
            target = self.values[name]
            target[slot.path] = values[name].reshape(target.shape[1:])
        self.error[slot.path] = error
        done = self.scheme.stages[: slot.stage + 1]
        self.evaluations[slot.path] = sum(len(s.alphas) for s in done)
        return True

    def _settle_adaptive(self, index: int, slot: _Slot, path: AdaptivePath) -> bool:
        path.add(slot.found)
        slot.found = []
        if path.wanted:
            return False
        start = 0
        for name, size in self.sizes.items():
            mean = path.mean[np.newaxis, start : start + size]
            x, b = self.x[name][index : index + 1], self.b[name][index : index + 1]
            target = self.values[name]
            target[slot.path] = self._times_difference(mean, x, b).reshape(target.shape[1:])
            start += size
        self.error[slot.path], self.evaluations[slot.path] = path.error, path.evaluations
        return True

    def _times_difference(self, mean: Array, x: Array, b: Array) -> Array:
        if not self.paths.times_difference:
            return np.asarray(mean, dtype=np.float64)
        out = np.empty(mean.shape)
        self.kernels.multiply_difference(np.ascontiguousarray(mean), x, b, out)
        return out

    def _refuse_unbounded(
        self,
        name: str,
        flat: Array,
        rows: Sequence[_Row],
        busy: Mapping[int, _Slot],
        feeds: Feeds,
    ) -> None:
        """Raise unless it is only where a factor of 0 makes the attribution 0."""
        for place, (row, gradient) in enumerate(zip(rows, flat, strict=True)):
            moves = self.x[name][row.slot] != self.b[name][row.slot]
            if not self.paths.times_difference:
                moves = np.ones_like(moves)
            count = int((moves & ~(np.abs(gradient.astype(np.float64)) < UNBOUNDED)).sum())
            if count:
                example = int(self.paths.example[busy[row.slot].path])
                fed = row_feeds(self.paths, feeds, place)
                raise unbounded(name, count, row.alpha, example, fed)


def _finest(end: Array, displacement: Array, spacing: float) -> float:
    """Distance from an end of the path at which rounding still tells most features from it."""
    moves = displacement != 0
    size = float(np.abs(displacement[moves]).sum())
    relative = float(np.abs(end[moves]).sum()) / size if size else 0.0
    return min(max(2 * spacing * relative, _CLOSEST), _FAR)


def row_feeds(paths: Paths, feeds: Feeds, row: int) -> Feeds:
    """What one row of a run was fed with, as a batch of its own."""
    if not paths.batched or not paths.output_batched:
        return {n: np.array(a) for n, a in feeds.items()}
    return {n: a if n in paths.shared else a[row : row + 1].copy() for n, a in feeds.items()}


def unbounded(name: str, count: int, alpha: float, example: int, feeds: Feeds) -> NonFiniteError:
    """The error for a gradient that is no ordinary number."""
    return NonFiniteError(
        f"the gradient of `{name}` is NaN, infinite or beyond {UNBOUNDED:g} in {count} elements "
        f"at alpha = {alpha:.6g} on the path of example {example}",
        hint="use a baseline from which the path avoids the singular point",
        feeds=feeds,
    )


__all__ = [
    "UNBOUNDED",
    "Integrals",
    "Paths",
    "Progress",
    "integrate",
    "row_feeds",
    "unbounded",
]
