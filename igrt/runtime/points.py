"""`Points`: a model evaluated at points of straight paths, chunk by chunk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import final

import numpy as np

from igrt.errors import DeadlineExceeded, InternalError, OutOfMemory
from igrt.kernels import KernelSet
from igrt.runtime.session import Session
from igrt.runtime.stream import UNBOUNDED, Paths, Progress, row_feeds, unbounded
from igrt.specs import Array, Feeds


@final
class Points:
    """Runs a session at points b + α(x - b) of paths, as many at a time as memory allows.

    Args:
        session: The augmented model.
        kernels: Path kernels.
        paths: Where the points lie; each is used with any of its baselines.
        cotangent: Cotangent input of the model; None for one that has none.
        chunk: Points per run.
        progress: Called after every run.
        deadline: `time.monotonic()` after which to give up.
    """

    def __init__(
        self,
        session: Session,
        kernels: KernelSet,
        paths: Paths,
        *,
        cotangent: str | None,
        chunk: int,
        progress: Progress | None = None,
        deadline: float | None = None,
    ) -> None:
        self._session, self._kernels, self._paths = session, kernels, paths
        self._cotangent, self._progress, self._deadline = cotangent, progress, deadline
        self.chunk = chunk if paths.batched and paths.output_batched else 1
        """Points per run: smaller than planned once memory ran out."""
        self._done = self._planned = 0

    def run(
        self, outputs: Sequence[str], path: Array, baseline: Array, alphas: Array
    ) -> Iterator[tuple[slice, list[Array], Feeds]]:
        """Outputs of the model at some points: which of them, their outputs, what was fed.

        Args:
            outputs: Names of outputs.
            path: Path of each point, [points] int64.
            baseline: Row in the paths' baselines of each point, [points] int64.
            alphas: Position of each point, [points] float64.

        Raises:
            OutOfMemory: If not even one point fits.
            DeadlineExceeded: If the deadline passed.
        """
        self._planned += len(alphas)
        start = 0
        while start < len(alphas):
            if self._deadline is not None and time.monotonic() > self._deadline:
                raise DeadlineExceeded(
                    f"the deadline passed after {self._done} of {self._planned} gradient "
                    "evaluations",
                    hint="allow more time, or ask for a larger tolerance or fewer draws or steps",
                )
            part = slice(start, min(start + self.chunk, len(alphas)))
            feeds = self._feeds(path[part], baseline[part], alphas[part])
            try:
                found = self._session.run(list(outputs), feeds)
            except OutOfMemory:
                if part.stop - start == 1:
                    raise
                self.chunk = max(1, (part.stop - start) // 2)
                continue
            yield part, found, feeds
            self._done += part.stop - start
            if self._progress is not None:
                self._progress(self._done, self._planned)
            start = part.stop

    def _feeds(self, path: Array, baseline: Array, alphas: Array) -> Feeds:
        paths, count = self._paths, len(path)
        example = paths.example[path]
        feeds: dict[str, Array] = dict(paths.shared)
        for name, (inputs, baselines) in paths.ends.items():
            x = np.ascontiguousarray(inputs[example].reshape(count, -1))
            b = np.ascontiguousarray(baselines[baseline].reshape(count, -1))
            out = np.empty_like(x)
            self._kernels.interpolate(b, x, np.arange(count), np.ascontiguousarray(alphas), out)
            shape = inputs.shape[1:]
            feeds[name] = out.reshape((count, *shape) if paths.batched else shape)
        for name, array in paths.others.items():
            feeds[name] = array[example] if paths.batched else array[example[0]]
        if self._cotangent is None:
            return feeds
        cotangents = paths.cotangents[path]
        feeds[self._cotangent] = cotangents if paths.output_batched else cotangents[0]
        return feeds


def flat_rows(name: str, gradient: Array, rows: int, size: int) -> Array:
    """A gradient as [rows, features]."""
    if gradient.size != rows * size:
        raise InternalError(
            f"the gradient of `{name}` has the shape {list(gradient.shape)} for {rows} rows of "
            f"{size} numbers"
        )
    return np.ascontiguousarray(gradient).reshape(rows, -1)


def refuse_unbounded(
    name: str,
    flat: Array,
    paths: Paths,
    path: Array,
    alphas: Array,
    feeds: Feeds,
    moves: Callable[[int], Array] | None = None,
) -> None:
    """Raise where a gradient is no ordinary number.

    Args:
        name: Tensor that it is the gradient of.
        flat: Gradient at each point, [points, features].
        paths: The paths.
        path: Path of each point.
        alphas: Position of each point.
        feeds: What the model was fed with.
        moves: Features of a point that move along its path, [features] bool; those that do not
            are attributed 0 whatever their gradient. None for all.
    """
    low, high = float(flat.min(initial=0)), float(flat.max(initial=0))
    if -UNBOUNDED < low and high < UNBOUNDED:  # NaN fails the comparison, too
        return
    for row, gradient in enumerate(flat):
        bad = ~(np.abs(gradient.astype(np.float64)) < UNBOUNDED)
        count = int((bad if moves is None else bad & moves(row)).sum())
        if count:
            example = int(paths.example[path[row]])
            raise unbounded(name, count, float(alphas[row]), example, row_feeds(paths, feeds, row))


__all__ = ["Points", "flat_rows", "refuse_unbounded"]
