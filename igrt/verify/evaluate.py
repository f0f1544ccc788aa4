"""What the measures of faithfulness share: calling the model, checking what they are given.

Every measure looks at one example, [*shape] by tensor, and calls the model through `run`, which
turns rows, [rows, *shape] by tensor, into the explained score of each, [rows].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from igrt.errors import InputError, NonFiniteError
from igrt.specs import Array, Feeds

Run = Callable[[dict[str, Array]], Array]
"""The explained score of each row."""

Attribute = Callable[[dict[str, Array]], Feeds]
"""The attribution of each row, [rows, *shape] by tensor."""

CHANCE = 0.05
"""What is no better than chance passes about so often: the limit is a quantile of the controls."""

ROUNDING = 1e-5
"""Relative difference that is none: scores are float32, sums of some hundred terms."""

_CHUNK_BYTES = 128 << 20
"""Of float64 copies of the rows of a chunk, at most, unless a single row takes more."""

CONTROLS = 20
"""Random orders or places that an attribution is compared with, by default."""


def scores_of(run: Run, points: Iterator[dict[str, Array]]) -> Array:
    """The score of every row of some chunks, [rows] float64.

    Raises:
        InputError: If there is not one score per row.
        NonFiniteError: If a score is NaN or infinite.
    """
    found = []
    for rows in points:
        count = len(next(iter(rows.values())))
        scores = np.asarray(run(rows), dtype=np.float64)
        if scores.size != count:
            raise InputError(
                f"`run` gave the shape {list(scores.shape)} for {count} rows",
                hint="it returns one score per row",
            )
        if not np.isfinite(scores).all():
            raise NonFiniteError(
                "the score of a changed input is NaN or infinite",
                hint="give a baseline that the model can run with",
            )
        found.append(scores.reshape(-1))
    return np.concatenate(found)


def flat(tensors: Feeds, names: Iterable[str]) -> Array:
    """All elements of one example as one float64 vector."""
    return np.concatenate([np.asarray(tensors[n], dtype=np.float64).reshape(-1) for n in names])


def joined(rows: Feeds, names: Iterable[str]) -> Array:
    """All elements of each row as one float64 vector, [rows, elements]."""
    parts = [np.asarray(rows[n], dtype=np.float64) for n in names]
    return np.concatenate([p.reshape(len(p), -1) for p in parts], axis=1)


def stacked(examples: Iterable[Feeds]) -> dict[str, Array]:
    """Examples, [*shape] by tensor, as rows, [rows, *shape]."""
    rows = list(examples)
    return {n: np.stack([r[n] for r in rows]) for n in rows[0]}


def rows_within(chunk: int, x: Feeds) -> int:
    """Rows to work on at a time: `chunk`, or fewer where an example is large."""
    features = sum(np.size(a) for a in x.values())
    return max(1, min(chunk, _CHUNK_BYTES // (8 * max(features, 1))))


def check_positive(**numbers: float) -> None:
    """Raise InputError for the first number that is not positive."""
    for name, value in numbers.items():
        if not value > 0:
            raise InputError(f"{name} must be positive, not {value!r}")


def check_arrays(x: Feeds, **others: Feeds) -> None:
    """Raise where other tensors of an example do not fit its shapes, or are not finite."""
    for what, tensors in others.items():
        for name, array in x.items():
            if name not in tensors or np.shape(tensors[name]) != np.shape(array):
                got = list(np.shape(tensors[name])) if name in tensors else "nothing"
                raise InputError(
                    f"{what} of `{name}`: expected the shape {list(np.shape(array))}, got {got}",
                    hint="give one example, without a batch axis",
                )
            if not np.isfinite(tensors[name]).all():
                raise NonFiniteError(f"the {what} of `{name}` are NaN or infinite")


__all__ = [
    "CHANCE",
    "CONTROLS",
    "ROUNDING",
    "Attribute",
    "Run",
    "check_arrays",
    "check_positive",
    "flat",
    "joined",
    "rows_within",
    "scores_of",
    "stacked",
]
