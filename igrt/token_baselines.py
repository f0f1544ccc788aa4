"""Baselines of token models: what one token looks up, and positions at which no path moves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from igrt.errors import InputError
from igrt.roles import role_of
from igrt.specs import Array, Feeds, Lookup, as_native

_TOKEN = "token:"


def token_of(baseline: Any) -> str | None:
    """Which token a text such as ``"token:0"`` means; None for any other baseline."""
    if not isinstance(baseline, str) or not baseline.strip().lower().startswith(_TOKEN):
        return None
    return baseline.strip()[len(_TOKEN) :]


def numbers(baseline: Any, lookups: Iterable[Lookup], feeds: Feeds) -> dict[Lookup, Array]:
    """The token numbers that a baseline has for each lookup; empty where it has none.

    Args:
        baseline: ``"token:ID"``, which is for all tokens but not for positions and the texts of a
            pair; or a mapping from an input or from what it looks up to such a text, and from an
            input to an array of token numbers.
        lookups: Of the model.
        feeds: The model's inputs by name.

    Returns:
        In the shape and element type of the input.

    Raises:
        InputError: If what is named is no number, or the table has no such row.
    """
    if isinstance(baseline, Mapping):
        named = {x: baseline[n] for x in lookups for n in (x.tensor, x.input) if n in baseline}
    else:
        named = {x: baseline for x in lookups if not role_of(x.input)}
    found = {}
    for lookup, value in named.items():
        if token_of(value) is not None:
            value = _number(value)
        elif not isinstance(baseline, Mapping) or lookup.input not in baseline:
            continue
        found[lookup] = _in_table(value, lookup, feeds[lookup.input])
    return found


def held(baseline: Array, x: Array, fixed: Array) -> Array:
    """A baseline that is the input itself where the path does not move.

    Args:
        baseline: [examples, positions, …], or with one more axis in front for all as one example.
        x: The input, in the same shape.
        fixed: Where it does not move, bool [examples, positions].
    """
    where = fixed if x.shape[: fixed.ndim] == fixed.shape else fixed[np.newaxis]
    return np.where(where.reshape(where.shape + (1,) * (x.ndim - where.ndim)), x, baseline)


def _number(baseline: str) -> int:
    named = token_of(baseline) or ""
    if not named.isascii() or not named.isdecimal():
        raise InputError(
            f"baseline {baseline!r}: {named!r} is no token number",
            hint="a token is known by its text where a tokenizer comes with the texts",
        )
    return int(named)


def _in_table(value: Any, lookup: Lookup, x: Array) -> Array:
    """Token numbers of a baseline, in the shape and element type of the input."""
    name = f"the baseline of `{lookup.input}`"
    ids = as_native(name, value)
    if ids.dtype.kind not in "iu":
        raise InputError(
            f"{name} is not made of token numbers: {ids.dtype}",
            hint='write "token:ID", or give whole numbers',
        )
    if ids.shape not in (x.shape, (), x.shape[1:], (1, *x.shape[1:])):
        raise InputError(
            f"{name} has the shape {list(ids.shape)}, the input {list(x.shape)}",
            hint="give one number, one example, or as many examples as the input has",
        )
    last = None if lookup.ids is None else lookup.ids - 1
    if ids.min() < 0 or (last is not None and ids.max() > last):
        most = "" if last is None else f" to {last}"
        raise InputError(
            f"{name} is token {ids.max() if ids.min() >= 0 else ids.min()}; there are 0{most}",
            hint="the number of the padding or mask token stands in the vocabulary",
        )
    return np.broadcast_to(ids, x.shape).astype(x.dtype)


__all__ = ["held", "numbers", "token_of"]
