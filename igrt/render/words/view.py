"""A text whose tokens have the sum of the attribution of their position."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, final

import numpy as np

from igrt.render.facts import number, printable
from igrt.specs import Array, Token

if TYPE_CHECKING:
    from igrt.attribution import Attribution

_SCALING = "full colour at the largest |attribution| of a token"
"""How the colours of a text are scaled; drawn with every text."""

UNKNOWN = "not in the vocabulary"
"""What an underlined token is."""


@final
@dataclass(frozen=True)
class Piece:
    """One token of a text and its attribution.

    Args:
        text: What is shown of it, printable.
        kind: ``text``, ``unknown`` or ``special``.
        glued: Whether it continues the piece before it.
        value: Attribution, summed over all axes but that of the positions.
    """

    text: str
    kind: str
    glued: bool
    value: float

    @property
    def name(self) -> str:
        """The text where it stands alone."""
        return visible(self.text)


@final
@dataclass(frozen=True)
class Words:
    """A text, or a pair of texts, without its padding.

    Args:
        texts: The pieces of each text, in the order in which the model reads them.
        padding: How many positions of padding are left out.
        padded: Sum of their attribution.
        total: Sum of the attribution, with that of the padding.
    """

    texts: tuple[tuple[Piece, ...], ...]
    padding: int
    padded: float
    total: float

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """All pieces of all texts."""
        return tuple(piece for text in self.texts for piece in text)

    @cached_property
    def top(self) -> float:
        """Magnitude drawn in full colour: the largest of a token."""
        return max((abs(p.value) for p in self.pieces if math.isfinite(p.value)), default=0.0)

    def strength(self, piece: Piece) -> float:
        """Attribution relative to `top`, -1 ... 1, or NaN."""
        if not math.isfinite(piece.value):
            return math.nan
        return piece.value / self.top if self.top else 0.0

    @property
    def underlined(self) -> bool:
        """Whether a token is not in the vocabulary."""
        return any(piece.kind == "unknown" for piece in self.pieces)

    @property
    def note(self) -> str:
        """How the colours are scaled, and what is underlined."""
        return _SCALING + (f"; underlined: {UNKNOWN}" if self.underlined else "")

    @property
    def caption(self) -> str:
        """How many tokens there are, what they add up to, and what is left out."""
        count = len(self.pieces)
        said = f"{count:,} token{'s' * (count != 1)}, {number(self.total, signed=True)} in sum"
        if self.padding:
            said += f"; padding of {self.padding:,} left out"
            said += f", which adds {number(self.padded, signed=True)}" if self.padded else ""
        return said

    @property
    def told(self) -> str:
        """The same and the strongest tokens, for people who do not see the colours."""
        order = sorted((p for p in self.pieces if p.value), key=lambda p: -abs(p.value))[:5]
        listed = ", ".join(f"{p.name} {number(p.value, signed=True)}" for p in order)
        return self.caption + (f"; strongest: {listed}" if listed else "")


def tokens(attribution: Attribution, row: int, name: str) -> tuple[Token, ...]:
    """The tokens behind a tensor in one row; none where it is no text.

    Those of another tensor are taken where they are the only text of the result, such as those of
    the identifiers for an embedding.
    """
    known = attribution.display.tokens
    texts = known.get(name, next(iter(known.values())) if len(known) == 1 else ())
    example = int(attribution.example[row])
    shape = np.shape(attribution.row(row)[name])
    found = texts[example] if 0 <= example < len(texts) else ()
    return found if shape and len(found) == shape[0] else ()


def visible(text: str) -> str:
    """A token that stands alone: blanks can be seen."""
    return printable(text) if text.strip() else "␣" * max(1, len(text))


def joined(text: tuple[Piece, ...]) -> list[list[Piece]]:
    """The words: pieces that are glued together."""
    found: list[list[Piece]] = []
    for piece in text:
        if piece.glued:
            found[-1].append(piece)
        else:
            found.append([piece])
    return found


def sums(values: Array) -> Array:
    """Attribution per position, summed over the other axes, [positions] float64."""
    flat = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    return np.asarray(flat.sum(axis=1))


def words(values: Array, text: tuple[Token, ...]) -> Words:
    """The view of a text.

    Args:
        values: Attribution, [positions, ...].
        text: One token per position.
    """
    totals = sums(values)
    texts: list[list[Piece]] = []
    segment: int | None = None
    for token, value in zip(text, totals, strict=True):
        if token.kind == "padding":
            continue
        if token.segment != segment:
            texts.append([])
            segment = token.segment
        glued = token.glued and bool(texts[-1])
        texts[-1].append(Piece(printable(token.text), token.kind, glued, float(value)))
    padding = [at for at, token in enumerate(text) if token.kind == "padding"]
    return Words(
        tuple(map(tuple, texts)), len(padding), float(totals[padding].sum()), float(totals.sum())
    )


__all__ = ["UNKNOWN", "Piece", "Words", "joined", "sums", "tokens", "visible", "words"]
