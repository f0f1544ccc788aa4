"""`Points`: a model evaluated at points of straight paths, chunk by chunk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from igrt.errors import OutOfMemory
from igrt.kernels import KernelSet
from igrt.runtime.lane import HostLane, Lane, LaneMaker, Output
from igrt.runtime.paths import Paths
from igrt.runtime.session import Session
from igrt.runtime.unbounded import refuse_unbounded
from igrt.runtime.watch import Watch
from igrt.specs import Array

_LEFT = 4 << 20
"""Bytes that small arrays beside the sums over a run may take."""


@final
@dataclass(frozen=True, eq=False)
class _Begun:
    """A run that has begun.

    Args:
        lane: Its buffers.
        path: Path of each of its points.
        alphas: Position of each on its path.
        under_way: The run in another thread; None where it is still to be made, in this one.
    """

    lane: Lane
    path: Array
    alphas: Array
    under_way: Future[None] | None


@final
class Points:
    """Runs a session at points b + α(x - b) of paths, as many at a time as memory allows.

    Several runs may be under way at once, each in a lane of its own. They end in the order in which
    they began, so that what is made of them does not depend on which is over first.

    Args:
        session: The augmented model.
        kernels: Path kernels.
        paths: Where the points lie; each is used with any of its baselines.
        outputs: What to evaluate.
        cotangent: Cotangent input of the model; None for one that has none.
        chunk: Points per run.
        watch: Counts the evaluations, and ends the work early.
        at_once: Runs under way at the same time.
        lanes: Makes lanes on the device of the session, where it can; else they are the host's.
        of_point: Input of a model that pulls several cotangents back from one point, with the row
            of each: points of paths that differ in the cotangent alone are best run together.
    """

    def __init__(
        self,
        session: Session,
        kernels: KernelSet,
        paths: Paths,
        outputs: Sequence[Output],
        *,
        cotangent: str | None,
        chunk: int,
        watch: Watch,
        at_once: int = 1,
        lanes: LaneMaker | None = None,
        of_point: str | None = None,
    ) -> None:
        self._session, self.kernels, self.paths = session, kernels, paths
        self.outputs, self._cotangent = list(outputs), cotangent
        self.watch, self._lanes, self._of_point = watch, lanes, of_point
        self.chunk = chunk if paths.batched and paths.output_batched else 1
        """Points per run: smaller than planned once memory ran out."""
        self.rows = self.distinct = 0
        """Most rows, and most different points, of a run so far."""
        self.at_once = at_once
        """Runs under way at the same time: fewer than planned once memory ran out."""
        self._open: Lane | None = None
        self._idle: list[Lane] = []
        self._begun: deque[_Begun] = deque()
        self._threads: ThreadPoolExecutor | None = None
        self._held: Array | None = None
        self._scarce = False
        self.path, self._alphas = np.zeros(0, np.int64), np.zeros(0)
        """Path of each point of the run that ended last, and its position."""

    @property
    def siblings(self) -> Array | None:
        """Number of the line that each path runs on, [paths]; None where none can be shared."""
        if self._of_point is None:
            return None
        ends = np.stack([self.paths.example, self.paths.baseline], axis=1)
        return np.unique(ends, axis=0, return_inverse=True)[1].reshape(-1)

    @property
    def lane(self) -> Lane:
        """The buffers, with the outputs of the run that ended last.

        Raises:
            OutOfMemory: If there is no room for those of one point.
        """
        while self._open is None:
            try:
                self._open = self._new_lane()
            except OutOfMemory:
                if not self._do_with_less(self.chunk):
                    raise
        return self._open

    @property
    def free(self) -> int:
        """Runs that may begin now."""
        return max(0, self.at_once - len(self._begun))

    def _new_lane(self) -> Lane:
        options: dict[str, Any] = {"cotangent": self._cotangent, "rows": self.chunk}
        lane = None if self._lanes is None else self._lanes(self.paths, self.outputs, **options)
        if lane is not None:
            return lane
        options["of_point"] = self._of_point
        return HostLane(self._session, self.kernels, self.paths, self.outputs, **options)

    def _take_lane(self) -> Lane | None:
        """A lane that no run is under way in; None where there is no room for another beside some.

        Raises:
            OutOfMemory: If there is no room for the buffers of one point.
        """
        if self._idle:
            return self._idle.pop()
        if self._begun and self._open is None:
            try:
                return self._new_lane()
            except OutOfMemory:
                self.at_once = len(self._begun)
                return None
        lane, self._open = self.lane, None
        return lane

    def begin(self, path: Array, baseline: Array, alphas: Array) -> int:
        """Begin to evaluate the model at the first of some points.

        Args:
            path: Path of each point, [points] int64.
            baseline: Row in the paths' baselines of each point, [points] int64.
            alphas: Position of each point, [points] float64.

        Returns:
            At how many: a chunk, or less where memory does not suffice for that. Where it does not
            suffice for another run at the same time, 0.

        Raises:
            OutOfMemory: If not even one point fits.
            Cancelled, DeadlineExceeded: If the watch says so.
        """
        while True:
            self.watch.check()
            lane = self._take_lane()  # first, as the chunk depends on what there is room for
            if lane is None:
                return 0
            count = min(self.chunk, len(alphas))
            try:
                lane.fill(path[:count], baseline[:count], alphas[:count])
            except OutOfMemory:
                del lane  # its buffers go before others come
                if not self._do_with_less(count):
                    raise
                continue
            self._hold_back()
            under_way = None if self.at_once == 1 else self._apart(lane)
            self._begun.append(_Begun(lane, path[:count], alphas[:count], under_way))
            return count

    def _apart(self, lane: Lane) -> Future[None]:
        """Begin a run in another thread."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.at_once, "igrt-run")
        return self._threads.submit(copy_context().run, lane.run)

    def end(self) -> int:
        """Wait for the run that began first; its outputs are in the lane then.

        Returns:
            Points that were evaluated: 0 where memory did not suffice. Then the runs that began
            after it are lost as well, and a run takes less from now on.

        Raises:
            OutOfMemory: If not even one point fits.
        """
        run = self._begun.popleft()
        try:
            if run.under_way is None:
                run.lane.run()
            else:
                run.under_way.result()
        except OutOfMemory:
            self.settle()
            if not self._do_with_less(len(run.alphas)):
                raise
            return 0
        if self._scarce:
            self._held = None
        if self._open is not None and self._open is not run.lane:
            self._idle.append(self._open)
        self._open, self.path, self._alphas = run.lane, run.path, run.alphas
        self.rows = max(self.rows, len(run.alphas))
        self.distinct = max(self.distinct, run.lane.distinct)
        return len(run.alphas)

    def _do_with_less(self, rows: int) -> bool:
        """Run fewer points at the same time; whether that can be.

        Args:
            rows: Points of a run that memory did not suffice for.
        """
        if self.at_once == rows == 1:
            return False
        if self.at_once > 1:
            self.at_once = 1
        else:
            self.chunk = max(1, rows // 2)
        self._open, self._held, self._scarce = None, None, True
        self._idle.clear()
        return True

    def settle(self) -> None:
        """Wait for all runs that are under way; nobody asks any more what they come to."""
        wait([b.under_way for b in self._begun if b.under_way is not None])
        self._begun.clear()

    def step(self, path: Array, baseline: Array, alphas: Array) -> int:
        """Evaluate the model at the first of some points, with nothing else under way.

        The arguments, and what it returns and raises, are those of `begin`.
        """
        while True:
            self.begin(path, baseline, alphas)
            count = self.end()
            if count:
                return count

    def _hold_back(self) -> None:
        """Keep a run from the memory that the sums over it need.

        onnxruntime takes what there is while chunks are too large, and gives nothing back.
        """
        size = _LEFT + 16 * sum(8 * o.size for o in self.outputs)
        while self._held is None and size >= _LEFT >> 4:
            with suppress(MemoryError):
                self._held = np.empty(size, np.uint8)
            size //= 2

    def run(self, path: Array, baseline: Array, alphas: Array) -> Iterator[tuple[slice, Lane]]:
        """Evaluate the model at all of some points, in order: which of them are in the lane now.

        The arguments are those of `begin`.
        """
        begun: deque[slice] = deque()
        start, stop = 0, len(alphas)
        try:
            while begun or start < stop:
                while self.free and start < stop:
                    rows = slice(start, start + -(-(stop - start) // self.free))
                    count = self.begin(path[rows], baseline[rows], alphas[rows])
                    if count:
                        begun.append(slice(start, start + count))
                        start += count
                part = begun.popleft()
                if self.end():
                    yield part, self.lane
                else:
                    start = part.start
                    begun.clear()
        finally:
            self.settle()

    def refuse_unbounded(
        self, names: Sequence[str], moves: Callable[[str, int], Array] | None
    ) -> None:
        """Raise where one of the first outputs of the last run is no ordinary number.

        Args:
            names: Tensors that the first outputs are the gradients of.
            moves: Features of a tensor that move at a point of the run, [features] bool; those that
                do not are attributed 0 whatever their gradient. None for all.

        Raises:
            NonFiniteError: If a gradient is NaN, infinite or huge where it counts.
        """
        lane = self.lane
        for k, name in enumerate(names):
            if not lane.bounded(k):
                moving = None if moves is None else lambda row, n=name: moves(n, row)
                flat = lane.read()[k]
                at = self.path, self._alphas
                refuse_unbounded(name, flat, self.paths, *at, lane.feeds(), moving)


__all__ = ["Points"]
