"""Where in a model NaN or infinity first appears."""

from __future__ import annotations

from igrt.derived import Derived
from igrt.errors import GaveUp, IgrtError, NonFiniteError
from igrt.runtime.unbounded import UNBOUNDED
from igrt.sharing import SessionMaker


def located(error: NonFiniteError, model: Derived, session: SessionMaker) -> NonFiniteError:
    """The error with the first tensor that is not finite; runs its one row once more."""
    if error.feeds is None:
        return error
    from igrt.graph.emit import PREFIX
    from igrt.graph.nonfinite import watch

    try:
        seen = watch(model.proto, apart=PREFIX, bound=UNBOUNDED)
        names = [n for pair in seen.outputs for n in pair]
        counts = session(Derived.of(seen.model)).run(names, error.feeds)
    except GaveUp:
        raise
    except IgrtError:  # the message must not fail with another one
        return error
    found = seen.first(counts)
    if found is None:
        return error
    where = f"{error.message}\n  first tensor where it appears: {found}"
    return NonFiniteError(where, hint=error.hint, feeds=error.feeds)


__all__ = ["located"]
