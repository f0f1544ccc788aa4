"""`Points`: a model evaluated at points of straight paths, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
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
class Points:
    """Runs a session at points b + α(x - b) of paths, as many at a time as memory allows.

    Args:
        session: The augmented model.
        kernels: Path kernels.
        paths: Where the points lie; each is used with any of its baselines.
        outputs: What to evaluate.
        cotangent: Cotangent input of the model; None for one that has none.
        chunk: Points per run.
        watch: Counts the evaluations, and ends the work early.
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
        self._open: Lane | None = None
        self._held: Array | None = None
        self._scarce = False
        self.path, self._alphas = np.zeros(0, np.int64), np.zeros(0)
        """Path of each point of the last run, and its position."""

    @property
    def siblings(self) -> Array | None:
        """Number of the line that each path runs on, [paths]; None where none can be shared."""
        if self._of_point is None:
            return None
        ends = np.stack([self.paths.example, self.paths.baseline], axis=1)
        return np.unique(ends, axis=0, return_inverse=True)[1].reshape(-1)

    @property
    def lane(self) -> Lane:
        """The buffers, with the outputs of the last run.

        Raises:
            OutOfMemory: If there is no room for those of one point.
        """
        while self._open is None:
            try:
                self._open = self._new_lane()
            except OutOfMemory:
                if self.chunk == 1:
                    raise
                self.chunk //= 2
        return self._open

    def _new_lane(self) -> Lane:
        options: dict[str, Any] = {"cotangent": self._cotangent, "rows": self.chunk}
        lane = None if self._lanes is None else self._lanes(self.paths, self.outputs, **options)
        if lane is not None:
            return lane
        options["of_point"] = self._of_point
        return HostLane(self._session, self.kernels, self.paths, self.outputs, **options)

    def step(self, path: Array, baseline: Array, alphas: Array) -> int:
        """Evaluate the model at the first of some points.

        Args:
            path: Path of each point, [points] int64.
            baseline: Row in the paths' baselines of each point, [points] int64.
            alphas: Position of each point, [points] float64.

        Returns:
            At how many: a chunk, or less where memory does not suffice for that.

        Raises:
            OutOfMemory: If not even one point fits.
            Cancelled, DeadlineExceeded: If the watch says so.
        """
        while True:
            self.watch.check()
            lane = self.lane  # first, as the chunk depends on what there is room for
            count = min(self.chunk, len(alphas))
            try:
                lane.fill(path[:count], baseline[:count], alphas[:count])
                self._hold_back()
                lane.run()
            except OutOfMemory:
                if count == 1:
                    raise
                del lane  # its buffers go before others come
                self.chunk, self._open = max(1, count // 2), None
                self._scarce, self._held = True, None
                continue
            if self._scarce:
                self._held = None
            self.path, self._alphas = path[:count], alphas[:count]
            self.rows = max(self.rows, count)
            self.distinct = max(self.distinct, lane.distinct)
            return count

    def _hold_back(self) -> None:
        """Keep a run from the memory that the sums over it need.

        onnxruntime takes what there is while chunks are too large, and gives nothing back.
        """
        if self._held is None:
            with suppress(MemoryError):
                self._held = np.empty(_LEFT + 16 * sum(8 * o.size for o in self.outputs), np.uint8)

    def run(self, path: Array, baseline: Array, alphas: Array) -> Iterator[tuple[slice, Lane]]:
        """Evaluate the model at all of some points: which of them are in the lane now.

        The arguments are those of `step`.
        """
        start = 0
        while start < len(alphas):
            count = self.step(path[start:], baseline[start:], alphas[start:])
            part = slice(start, start + count)
            yield part, self.lane
            start = part.stop

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
