"""`Footprint`: the memory that runs of a gradient graph take, estimated and counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, final

from igrt.derived import Derived
from igrt.gradient import GradientGraph, Shapes
from igrt.runtime.lane import buffer_bytes
from igrt.runtime.paths import Paths
from igrt.runtime.plan import ONE_CHUNK, Keeping, Need, at_once, require_room
from igrt.runtime.session import Arena, Session
from igrt.runtime.usage import Usage

_UNSEEN = 2.0
"""What a run takes in place of its estimate, where nobody counted: 1.1 to 2.0 times as much in six
networks (benchmarks/memory.py)."""

_SMALL = 16 << 10
"""Estimated bytes of a row up to which nobody counts: the largest chunk takes some 8 MiB."""

_NOW_AND_THEN = 32, 4 << 20
"""Rows of a run of something else than the gradient graph: as many as the first, unless by estimate
they take more bytes than the second."""

_OF_SCORES = 4
"""Arrays of the size of the cotangents: the output at the inputs and at the baselines, by example
and by row."""


@final
class Footprint:
    """What runs of a gradient graph take, found out once for inputs of the same shapes.

    Args:
        graph: The gradient graph.
        opened: Its session; how it comes by its memory, and whether that is counted, is up to
            whoever asks first. The last argument says whether it has one thread.
        most_rows: Rows per run that the model allows; None for any number.
    """

    def __init__(
        self,
        graph: GradientGraph,
        opened: Callable[[Arena, bool, bool], Session],
        most_rows: int | None,
    ) -> None:
        self._graph, self._opened, self._most_rows = graph, opened, most_rows
        self._lock = threading.Lock()
        self._usages: dict[Shapes, tuple[int, Usage]] = {}

    def need(
        self, paths: Paths, keeping: Keeping, memory: int | None, before: int, cores: int
    ) -> Need:
        """What runs on some paths take.

        Args:
            paths: What to integrate over.
            keeping: What is known of the paths in work.
            memory: Byte budget; a share of the available memory by default.
            before: What the model alone took.
            cores: Runs that may be under way at the same time.

        Raises:
            InputError: If the budget is known not to suffice for one row per run.
            OutOfMemory: If memory does not suffice for one row.
        """
        shapes = self._graph.shapes(paths)
        beside = keeping.result_bytes + paths.end_bytes + _OF_SCORES * paths.cotangents.nbytes

        # written in place once the first run has had room for them of its own
        gradients = sum(x[0].nbytes for x in paths.inputs.values())

        def need(usage: Usage) -> Need:
            return Need(
                usage=usage,
                buffers=buffer_bytes(paths) + gradients,
                beside=beside,
                keep=keeping,
                before=before,
                most_rows=self._most_rows if paths.batched and paths.output_batched else 1,
            )

        with self._lock:
            if shapes not in self._usages:
                estimate = row_bytes(self._graph.model, dict(shapes))
                # what is known to be too much is not tried
                require_room(need(Usage(estimate, 0)), memory)
                two = need(Usage(2 * int(_UNSEEN * estimate), 0)).least
                several = self._most_rows is None and (memory is None or two <= memory)
                alone = at_once(int(_UNSEEN * estimate), keeping.rows, cores) > 1
                usage = self._usage(paths, estimate, shapes, several, alone)
                self._usages[shapes] = estimate, usage
            return need(self._usages[shapes][1])

    def _usage(
        self, paths: Paths, estimate: int, shapes: Shapes, several: bool, alone: bool
    ) -> Usage:
        """What a run takes: counted in a run of one row, and of two where chunks have more."""
        unseen = Usage(int(_UNSEEN * estimate), 0)
        if is_small(estimate):
            self._opened(Arena.PATTERN, False, alone)
            return unseen
        # only the first session that is opened counts
        graph, session = self._graph, self._opened(Arena.HELD, not self._usages, alone)
        if self._usages:  # another size takes more or less in proportion
            before, usage = next(iter(self._usages.values()))
            scale = estimate / before
            return Usage(int(scale * usage.row), int(scale * usage.fixed))

        def run(rows: int) -> None:
            names = list(graph.gradients.values())
            session.run(names, graph.repeated(paths, rows), release=True)

        rows = (1, 2) if several and 2 * estimate <= ONE_CHUNK else (1,)
        return rows_usage(graph.model, session, run, rows, unseen, shapes=shapes)


def is_small(estimate: int) -> bool:
    """Whether nobody counts what runs take, with so many bytes of a row by estimate."""
    return estimate <= _SMALL


def rows_usage(
    model: Derived,
    session: Session,
    run: Callable[[int], None],
    rows: Sequence[int],
    otherwise: Usage,
    **key: Any,
) -> Usage:
    """What a run takes, counted in runs of one row, and of two where chunks have more.

    Args:
        model: The graph.
        session: A session of it that counts until now.
        run: Runs it on some rows.
        rows: One, or one and two.
        otherwise: What it takes where nobody can count.
        key: What the count depends on beside the graph: JSON values.
    """
    found = counted(model, session, [partial(run, r) for r in rows], rows=list(rows), **key)
    if found is None:
        return otherwise
    peaks, left = found
    usage = Usage.between(*peaks) if len(peaks) > 1 else Usage(peaks[0], 0)
    return replace(usage, fixed=usage.fixed + left)


def counted(
    model: Derived, session: Session, runs: Sequence[Callable[[], object]], **key: Any
) -> tuple[list[int], int] | None:
    """Most bytes that each of some runs holds beside the weights, and what counting them takes.

    None where nobody can count.

    Args:
        model: The graph.
        session: A session of it that counts until now.
        runs: The runs; not made where the graph is known from before.
        key: What the count depends on beside the graph: JSON values.
    """

    def count() -> list[Any] | None:
        for run in runs:
            run()
        peaks, left = session.peaks()
        return [peaks, left] if len(peaks) == len(runs) else None

    found = model.fact("usage", count, provider=session.provider, **key)
    session.peaks()
    return None if found is None else (found[0], found[1])


@final
class NowAndThen:
    """How many rows go into a run of a model that runs now and then, outside of the chunks.

    Args:
        model: The model.
    """

    def __init__(self, model: Derived) -> None:
        self._model = model
        self._estimates: dict[Shapes, int] = {}

    def rows(
        self, shapes: Mapping[str, tuple[int, ...]], room: int | None = None
    ) -> tuple[int, int]:
        """Rows per run, and what each takes.

        Args:
            shapes: Shape of each input, with a batch of one row.
            room: Bytes that a run may take; None for any number.
        """
        key = tuple(sorted(shapes.items()))
        if key not in self._estimates:
            self._estimates[key] = max(1, row_bytes(self._model, shapes))
        estimate, (most, enough) = self._estimates[key], _NOW_AND_THEN
        each = int(_UNSEEN * estimate)
        rows = min(most, enough // estimate, most if room is None else room // each)
        return max(1, rows), each


def row_bytes(model: Derived, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Estimated bytes that a row takes."""

    def find() -> int:
        from igrt import stage

        return stage.row_bytes(model.proto, shapes)

    # shape inference of the whole model, so only once for inputs of the same shapes
    return int(model.fact("row_bytes", find, shapes=sorted(shapes.items())))


__all__ = [
    "Footprint",
    "NowAndThen",
    "counted",
    "is_small",
    "row_bytes",
    "rows_usage",
]
