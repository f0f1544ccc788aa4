"""Token numbers where no text is known: each stands for itself."""

from __future__ import annotations

from collections.abc import Iterable

from igrt.specs import Array, Display, Feeds, Lookup, Token

_Texts = dict[str, tuple[tuple[Token, ...], ...]]


def numbers_as_tokens(lookups: Iterable[Lookup], feeds: Feeds, display: Display) -> _Texts:
    """The tokens of what is looked up: those that are known, and else the numbers that were fed.

    Args:
        lookups: Of the model.
        feeds: Inputs with a batch axis of the part behind what is looked up, by name.
        display: What is known.
    """
    found = {
        x.tensor: _tokens(feeds[x.input])
        for x in lookups
        if x.tensor not in display.tokens and x.input in feeds and _numbered(feeds[x.input])
    }
    return {**found, **display.tokens}


def _numbered(fed: Array) -> bool:
    """Whether an input has one number per position: models may make numbers of words themselves."""
    return fed.ndim == 2 and fed.dtype.kind in "biuf"


def _tokens(numbers: Array) -> tuple[tuple[Token, ...], ...]:
    # all digits of whole numbers, also where the input is a float
    return tuple(tuple(Token(f"{n:.15g}") for n in row) for row in numbers.tolist())


__all__ = ["numbers_as_tokens"]
