"""`Vocabulary`: characters, bytes or words as token numbers, by a small TOML or JSON file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

from igrt.errors import InputError
from igrt.specs import Token
from igrt.text.tokenizer import Encoded

LEVELS = ("byte", "character", "word")


@final
@dataclass(frozen=True)
class Vocabulary:
    """Token numbers of the bytes, characters or words of a text.

    Args:
        level: ``byte`` of the UTF-8 text, ``character`` or ``word``.
        vocabulary: Number of each token; empty for bytes, whose number is their value.
        offset: Added to the value of a byte.
        lowercase: Whether the text is put into small letters first.
        split: Regular expression of a word; what it does not match is left out. By default words
            stand between blanks.
        unknown: Number for what the vocabulary lacks; None refuses it.
        padding: Number that fills up short texts; None where there is none.
        start: Numbers in front of a text.
        end: Numbers behind it, and between the texts of a pair.

    Raises:
        InputError: If a field cannot be meant.
    """

    level: str
    vocabulary: Mapping[str, int] = field(default_factory=dict)
    offset: int = 0
    lowercase: bool = False
    split: str = r"\S+"
    unknown: int | None = None
    padding: int | None = None
    start: tuple[int, ...] = ()
    end: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise InputError(
                f"the `level` of a vocabulary must be {', '.join(LEVELS)}, not {self.level!r}",
                hint='write level = "character", for instance',
            )
        if (self.level == "byte") == bool(self.vocabulary):
            raise InputError(
                f"a vocabulary of the level {self.level} "
                + ("takes no `vocabulary`" if self.vocabulary else "has no `vocabulary`"),
                hint="bytes are their own numbers; characters and words need a list, or a file",
            )
        if self.offset and self.level != "byte":
            raise InputError("`offset` is for bytes", hint="write the numbers into `vocabulary`")
        numbers = [*self.vocabulary.values(), *self.start, *self.end, self.offset]
        numbers += [n for n in (self.unknown, self.padding) if n is not None]
        if min(numbers) < 0:
            raise InputError("token numbers are whole and begin at 0", hint="check the vocabulary")
        try:
            re.compile(self.split)
        except re.error as error:
            raise InputError(
                f"`split` is no regular expression: {error}", hint=r"such as '\w+|[^\w\s]'"
            ) from None

    @property
    def size(self) -> int | None:
        """How many tokens a model needs rows for; a text may do with some of the bytes."""
        return max(self.vocabulary.values()) + 1 if self.vocabulary else None

    @property
    def pads_left(self) -> bool:
        """Whether padding stands in front of the text."""
        return False

    def number(self, token: str) -> int | None:
        """Number of a token; None where there is none of that text."""
        return self.vocabulary.get(token)

    def encode(self, text: str, pair: str | None, most: int | None) -> Encoded:
        """Token numbers of a text or a pair; see `Tokenizer.encode`."""
        texts = [text] if pair is None else [text, pair]
        parts = [self._numbers(t, segment) for segment, t in enumerate(texts)]
        around = len(self.start) + len(self.end) * len(parts)
        if most is not None and most <= around:
            raise InputError(
                f"a text cannot be cut to {most} tokens", hint="the special tokens must have room"
            )
        whole = sum(map(len, parts)) + around
        for _ in range(0 if most is None else whole - most):
            max(parts, key=len).pop()
        numbered = self._marks(self.start, 0)
        for segment, part in enumerate(parts):
            numbered += [*part, *self._marks(self.end, segment)]
        ids, tokens = zip(*numbered, strict=True) if numbered else ((), ())
        return Encoded(ids, tokens, tuple(t.segment for t in tokens), whole - len(ids))

    @cached_property
    def _names(self) -> dict[int, str]:
        """Tokens by number."""
        return {n: t for t, n in self.vocabulary.items()}

    def _marks(self, numbers: Sequence[int], segment: int) -> list[tuple[int, Token]]:
        return [
            (n, Token(self._names.get(n, "") or f"[{n}]", "special", segment=segment))
            for n in numbers
        ]

    def _numbers(self, text: str, segment: int) -> list[tuple[int, Token]]:
        text = text.lower() if self.lowercase else text
        if self.level == "byte":
            data = text.encode()
            return [
                (b + self.offset, Token(_shown(b), "text", at > 0, segment))
                for at, b in enumerate(data)
            ]
        word = re.compile(self.split if self.level == "word" else r"(?s).")
        found, last = list[tuple[int, Token]](), -1
        for match in word.finditer(text):
            piece = match[0]
            number = self.vocabulary.get(piece, self.unknown)
            if number is None:
                raise InputError(
                    f"the vocabulary has no {piece!r}, and no `unknown` to stand for it",
                    hint='name a token for it, such as unknown = "[UNK]", or leave it out',
                )
            kind = "text" if piece in self.vocabulary else "unknown"
            if piece:
                found.append((number, Token(piece, kind, match.start() == last, segment)))
                last = match.end()
        return found


def _shown(byte: int) -> str:
    """A byte as people read it: an ASCII sign, or its value."""
    return chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}"


__all__ = ["LEVELS", "Vocabulary"]
