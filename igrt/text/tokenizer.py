"""What every kind of tokenizer does: `Tokenizer`, and what it gives: `Encoded`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final

from igrt.specs import Token


@final
@dataclass(frozen=True)
class Encoded:
    """A text, or a pair of texts, as token numbers.

    Args:
        ids: Token numbers.
        tokens: The same as people read them.
        types: What models take that are told which text of a pair a token belongs to.
        cut: How many tokens were left out, because they were too many.
    """

    ids: tuple[int, ...]
    tokens: tuple[Token, ...]
    types: tuple[int, ...]
    cut: int = 0

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.ids)


class Tokenizer(Protocol):
    """Makes token numbers of texts."""

    @property
    def padding(self) -> int | None:
        """Number of the token that fills up short texts; None where there is none."""

    @property
    def size(self) -> int | None:
        """How many tokens a model needs rows for; None where a text may use a part of them."""

    @property
    def pads_left(self) -> bool:
        """Whether padding stands in front of the text rather than behind it."""

    def encode(self, text: str, pair: str | None, most: int | None) -> Encoded:
        """Token numbers of a text or a pair.

        Args:
            text: The text.
            pair: A second one, for models that compare two.
            most: Number of tokens that may not be exceeded; None for any.

        Raises:
            InputError: If the text cannot be encoded.
        """

    def number(self, token: str) -> int | None:
        """Number of a token; None where there is none of that text."""


__all__ = ["Encoded", "Tokenizer"]
