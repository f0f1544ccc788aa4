"""Whether rows that run together have what each has alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from igrt.runtime.session import Session
from igrt.specs import Array, Feeds

_SAME = 1e-3
"""Relative difference up to which a row gives the same output alone and in a batch: float32 sums
in another order differ by some 1e-6; a row that leaks into another differs by order one."""


def agree(found: Array, alone: Array) -> bool:
    """Whether rows that were run together have the outputs of each alone."""
    finite = np.isfinite(alone)
    if found.shape != alone.shape or not np.array_equal(finite, np.isfinite(found)):
        return False
    scale = float(np.abs(alone[finite]).max(initial=0.0))
    return bool(np.allclose(found[finite], alone[finite], rtol=_SAME, atol=_SAME * scale))


def rows_apart(session: Session, outputs: Sequence[str], probe: Feeds, shared: Feeds) -> bool:
    """Whether two rows of some tensors are in a batch what each is alone."""
    together, *alone = (
        session.run(list(outputs), {**shared, **{n: a[part] for n, a in probe.items()}})
        for part in (slice(0, 2), slice(0, 1), slice(1, 2))
    )
    return all(
        a.ndim and len(a) == 1 and agree(t, np.concatenate([a, b]))
        for t, a, b in zip(together, *alone, strict=True)
    )


__all__ = ["agree", "rows_apart"]
