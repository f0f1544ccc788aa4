"""`open_engine`: how rows go into a model, found out by trying."""

from __future__ import annotations

from typing import Any

import numpy as np

from igrt.apart import agree
from igrt.derived import Derived
from igrt.engine import Engine
from igrt.errors import GaveUp, IgrtError, InputError, InternalError
from igrt.rows import Batching, NotRows
from igrt.sessions import Sessions
from igrt.sharing import SessionMaker
from igrt.specs import Array, Feeds


def open_engine(
    part: Derived,
    of: str,
    wrt: tuple[str, ...],
    sessions: Sessions,
    layout: Batching,
    probe: Feeds,
    shared: Feeds,
    also: tuple[str, ...] = (),
) -> Engine:
    """An engine that gives each row what it gets alone, found out by trying.

    Args:
        part: The model from the attributed tensors to the explained output.
        of: Explained output.
        wrt: Attributed tensors.
        sessions: Opens what is made of the model.
        layout: Which inputs have a batch axis.
        probe: Two different rows of every input that has a batch axis, [2, …] by name.
        shared: The inputs that have none, by name.
        also: Further tensors that the gradient session gives.

    Raises:
        NotRows: If a row alone does not run.
    """
    first = {**shared, **{n: a[:1] if layout.batched else a[0] for n, a in probe.items()}}
    part = _ranked(part, sessions.open, first)

    def made(model: Derived, note: str) -> Engine:
        options: dict[str, Any] = {"gradient_session": sessions.gradient}
        options |= {"memory": sessions.resources.memory, "cores": sessions.cores}
        return Engine(model, of, wrt, sessions.open, note, also=also, **options)

    if not layout.batched:
        single = made(part, "there is no batch axis, so examples run one by one")
        single.batched = single.output_batched = False
        return single
    alone = made(part, "the batch is fixed at 1, so rows run one by one")
    try:
        rows = [
            alone.run_forward({**shared, **{n: a[r : r + 1] for n, a in probe.items()}})
            for r in range(2)
        ]
    except (InputError, InternalError) as error:
        raise NotRows(error.message, hint=error.hint) from error
    if rows[0].ndim == 0 or len(rows[0]) != 1:
        alone.note = "the output has no batch axis, so rows run one by one"
        alone.output_batched = False
        return alone
    together, note = alone, "independent"
    if layout.fixed:
        freed = part.then("freed", names=sorted(probe))
        note += ", after making the fixed batch free"
        together = made(freed, note)
    else:
        alone.note = "dependent on each other, so run one by one"
    if not _agree(together, {**shared, **probe}, np.concatenate(rows)):
        return alone
    together.note, together.most_rows = note, None
    return together


def _ranked(part: Derived, session: SessionMaker, feeds: Feeds) -> Derived:
    """The part with the numbers of axes that its gradient needs and inference does not find."""
    open_ends = part.fact("unranked", lambda: _unranked(part))
    if not open_ends:
        return part

    def ranks() -> dict[str, list[Any]]:
        try:
            made = session(part.then("exposing", names=open_ends)).run(open_ends, feeds)
        except GaveUp:
            raise
        except IgrtError:  # a tensor that is no array, such as a sequence: do with what is known
            return {}
        return {
            n: [a.dtype.name, a.ndim]
            for n, a in zip(open_ends, made, strict=True)
            if a.dtype.kind not in "OUS"
        }

    shapes = sorted((n, a.dtype.name, a.shape) for n, a in feeds.items())
    found = part.fact("ranks", ranks, shapes=shapes)
    return part.then("ranked", ranks=found) if found else part


def _unranked(part: Derived) -> list[str]:
    from igrt.graph import Graph
    from igrt.graph.learn import unranked

    return unranked(Graph(part.proto))


def _agree(together: Engine, feeds: Feeds, alone: Array) -> bool:
    try:
        return agree(together.run_forward(feeds), alone)
    except GaveUp:
        raise
    except IgrtError:  # does not load or run with two rows: not that way
        return False


__all__ = ["open_engine"]
