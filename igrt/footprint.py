"""`Footprint`: the memory that runs of a gradient graph take, estimated and counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import final

from igrt.derived import Derived
from igrt.gradient import GradientGraph, Shapes
from igrt.runtime.lane import buffer_bytes
from igrt.runtime.paths import Paths
from igrt.runtime.plan import ONE_CHUNK, Keeping, Need, require_room
from igrt.runtime.session import Arena, Session
from igrt.runtime.usage import Usage

_UNSEEN = 2.0
"""What a run takes in place of its estimate, where nobody counted: 1.1 to 2.0 times as much in six
networks (benchmarks/memory.py)."""

_SMALL = 16 << 10
"""Estimated bytes of a row up to which nobody counts: the largest chunk takes some 8 MiB."""


@final
class Footprint:
    """What runs of a gradient graph take, found out once for inputs of the same shapes.

    Args:
        graph: The gradient graph.
        opened: Its session; how it comes by its memory, and whether that is counted, is up to
            whoever asks first.
        most_rows: Rows per run that the model allows; None for any number.
    """

    def __init__(
        self,
        graph: GradientGraph,
        opened: Callable[[Arena, bool], Session],
        most_rows: int | None,
    ) -> None:
        self._graph, self._opened, self._most_rows = graph, opened, most_rows
        self._lock = threading.Lock()
        self._usages: dict[Shapes, tuple[int, Usage]] = {}

    def need(self, paths: Paths, keeping: Keeping, memory: int | None) -> Need:
        """What runs on some paths take.

        Args:
            paths: What to integrate over.
            keeping: What is known of the paths in work.
            memory: Byte budget; a share of the available memory by default.

        Raises:
            InputError: If the budget is known not to suffice for one row per run.
            OutOfMemory: If memory does not suffice for one row.
        """
        shapes = self._graph.shapes(paths)

        def need(usage: Usage) -> Need:
            return Need(
                row=usage.row + buffer_bytes(paths),
                fixed=usage.fixed + keeping.result_bytes + paths.end_bytes,
                keep=keeping,
                most_rows=self._most_rows if paths.batched and paths.output_batched else 1,
            )

        with self._lock:
            if shapes not in self._usages:
                estimate = row_bytes(self._graph.model, dict(shapes))
                # what is known to be too much is not tried
                require_room(need(Usage(estimate, 0)), memory)
                self._usages[shapes] = estimate, self._usage(paths, estimate, shapes)
            return need(self._usages[shapes][1])

    def _usage(self, paths: Paths, estimate: int, shapes: Shapes) -> Usage:
        """What a run takes: counted in a run of one row, and of two where chunks have more."""
        if estimate <= _SMALL:
            self._opened(Arena.PATTERN, False)
            return Usage(int(_UNSEEN * estimate), 0)
        graph, session = self._graph, self._opened(Arena.HELD, True)

        def count() -> tuple[int, int] | None:
            for rows in (1, 2):
                if rows == 1 or (self._most_rows is None and 2 * estimate <= ONE_CHUNK):
                    session.run(list(graph.gradients.values()), graph.repeated(paths, rows))
            peaks = session.peaks()
            if not peaks:
                return None
            usage = Usage.between(*peaks) if len(peaks) > 1 else Usage(peaks[0], 0)
            return usage.row, usage.fixed

        if self._usages:  # counting is over: another size takes more or less in proportion
            before, usage = next(iter(self._usages.values()))
            scale = estimate / before
            return Usage(int(scale * usage.row), int(scale * usage.fixed))
        found = graph.model.fact("usage", count, shapes=shapes, provider=session.provider)
        session.peaks()
        return Usage(int(_UNSEEN * estimate), 0) if found is None else Usage(*found)


def row_bytes(model: Derived, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Estimated bytes that a row takes."""

    def find() -> int:
        from igrt import stage

        return stage.row_bytes(model.proto, shapes)

    # shape inference of the whole model, so only once for inputs of the same shapes
    return int(model.fact("row_bytes", find, shapes=sorted(shapes.items())))


__all__ = ["Footprint", "row_bytes"]
