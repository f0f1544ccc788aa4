"""`Text`: texts in place of the arrays of a model that takes token numbers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from igrt.errors import InputError
from igrt.text.reading import read_tokenizer
from igrt.text.tokenizer import Encoded, Tokenizer


@final
@dataclass(frozen=True, eq=False)
class Text:
    """Texts to explain, in place of the arrays of token numbers that a model takes.

    Args:
        texts: One text, or one per example.
        tokenizer: A `tokenizer.json`, a vocabulary file or ``"bytes"``, as `read_tokenizer` takes
            them; or what it gave.
        pairs: The second text of each example, for models that compare two.
        special: Whether special tokens, such as [CLS], take part. By default the path leaves them
            and padding as they are, so that their attribution is 0.
        most: Most tokens of an example; longer texts are cut, which the result says.

    Raises:
        InputError: If there is no text, or one is empty or no Unicode.
    """

    texts: str | Sequence[str]
    tokenizer: str | os.PathLike[str] | Tokenizer
    pairs: str | Sequence[str] | None = None
    special: bool = False
    most: int | None = None
    reads: Tokenizer = field(init=False, repr=False)
    """The tokenizer, read."""

    def __post_init__(self) -> None:
        for name in ("texts", "pairs"):
            given = getattr(self, name)
            listed = [given] if isinstance(given, str) else list(given or ())
            object.__setattr__(self, name, tuple(_checked(t, i) for i, t in enumerate(listed)))
        if not self.texts:
            raise InputError("there is no text", hint="give one text, or one per example")
        if self.pairs and len(self.pairs) != len(self.texts):
            raise InputError(
                f"{len(self.texts)} texts and {len(self.pairs)} second ones do not make pairs",
                hint="give each text one",
            )
        given = self.tokenizer
        reads = read_tokenizer(given) if isinstance(given, (str, os.PathLike)) else given
        object.__setattr__(self, "reads", reads)

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.texts)

    def encoded(self, most: int | None) -> list[Encoded]:
        """Every example as token numbers.

        Args:
            most: Number of tokens that the model takes; None for any.

        Raises:
            InputError: If a text cannot be encoded, or holds nothing but special tokens.
        """
        limits = [n for n in (most, self.most) if n is not None]
        limit = min(limits) if limits else None
        made = []
        for at, text in enumerate(self.texts):
            pair = self.pairs[at] if self.pairs else None
            found = self.reads.encode(text, pair, limit)
            if all(t.kind == "special" for t in found.tokens):
                raise InputError(
                    f"text {at + 1} has no token: {text[:60]!r}", hint="give at least one word"
                )
            made.append(found)
        return made


def _checked(text: object, at: int) -> str:
    if not isinstance(text, str):
        raise InputError(f"text {at + 1} is no text but {type(text).__name__}", hint="give str")
    if not text.strip():
        raise InputError(f"text {at + 1} is empty", hint="give at least one word")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"text {at + 1} is not UTF-8: it breaks off at letter {error.start + 1}",
            hint="write it in UTF-8",
        ) from None
    return text


__all__ = ["Text"]
