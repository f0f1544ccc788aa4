"""Token numbers where no text is known: each stands for itself."""

from __future__ import annotations

from collections.abc import Iterable

from igrt.specs import Array, Display, Feeds, Lookup, Token

_Texts = dict[str, tuple[tuple[Token, ...], ...]]


def numbers_as_tokens(lookups: Iterable[Lookup], feeds: Feeds, display: Display) -> _Texts:
    """The tokens of what is looked up: those that are known, and else the numbers that were fed.

    Args:
        lookups: Of the model.
        feeds: Its inputs that have a batch axis, by name.
        display: What is known.
    """
    found = {
        x.tensor: _tokens(feeds[x.input])
        for x in lookups
        if x.input not in display.tokens and x.input in feeds and feeds[x.input].ndim == 2
    }
    return {**found, **display.tokens}


def _tokens(numbers: Array) -> tuple[tuple[Token, ...], ...]:
    return tuple(tuple(Token(f"{n:g}") for n in row) for row in numbers.tolist())


__all__ = ["numbers_as_tokens"]
