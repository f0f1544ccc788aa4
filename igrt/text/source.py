"""`Source`: a text and the input of the model that it is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from igrt.errors import InputError
from igrt.specs import Array, Lookup, TensorSpec, Token
from igrt.text.texts import Text
from igrt.text.tokenizer import Encoded
from igrt.token_baselines import token_of

PADDING = Token("[PAD]", "padding")
"""What stands behind the end of a text."""


@final
@dataclass(frozen=True, eq=False)
class Source:
    """Texts as token numbers of one input.

    Args:
        spec: The input.
        text: The texts.
        lookups: What the input looks up of what is attributed to.
        encoded: Every text as token numbers.
        size: How many tokens the input takes; None for any number.
    """

    spec: TensorSpec
    text: Text
    lookups: tuple[Lookup, ...]
    encoded: tuple[Encoded, ...]
    size: int | None

    @classmethod
    def of(cls, spec: TensorSpec, text: Text, lookups: tuple[Lookup, ...]) -> Source:
        """The texts as the input takes them.

        Raises:
            InputError: If they do not fit it.
        """
        if spec.rank not in (1, 2, None) or spec.dtype in ("string", "bool", "unknown"):
            raise InputError(
                f"input {spec} takes no token numbers of a text",
                hint="they are whole numbers with an axis of tokens, and one of examples in front",
            )
        last = spec.shape[-1] if spec.shape else None
        size = last if isinstance(last, int) else None
        source = cls(spec, text, lookups, tuple(text.encoded(size)), size)
        source._check_numbers()
        return source

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.encoded)

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of what is looked up."""
        return tuple(x.tensor for x in self.lookups)

    def numbered(self, baseline: Any) -> Any:
        """A baseline with the number of a token in place of its text, ``"token:[PAD]"``.

        Raises:
            InputError: If the tokenizer has no such token.
        """
        token = token_of(baseline)
        if token is None or token.isdecimal():
            return baseline
        number = self.text.reads.number(token)
        if number is None:
            raise InputError(
                f"baseline {baseline!r}: the tokenizer has no token {token!r}",
                hint="a token is written as the vocabulary has it, such as token:[PAD]; token:ID "
                "is its number",
            )
        return f"token:{number}"

    def length(self, row: int) -> int:
        """Number of tokens of an example, with padding."""
        return self.size or len(self.encoded[row])

    def filled(self, what: str, rows: Sequence[int], spec: TensorSpec) -> Array:
        """What an input is filled with.

        Args:
            what: ``ids``, or what stands beside them: ``mask``, ``types`` or ``positions``.
            rows: Which examples, of one length.
            spec: The input.
        """
        made = []
        for row in rows:
            found, before, behind = self._padded(row)
            values = {
                "ids": found.ids,
                "mask": (1,) * len(found),
                "types": found.types,
                "positions": range(len(found)),
            }[what]
            fill = (self.text.reads.padding or 0) if what == "ids" else 0
            made.append([fill] * before + list(values) + [fill] * behind)
        array = np.asarray(made).astype("float32" if spec.dtype == "bfloat16" else spec.dtype)
        return array[0] if spec.rank == 1 else array

    def tokens(self, rows: Sequence[int]) -> tuple[tuple[Token, ...], ...]:
        """The tokens of some examples, padding included."""
        padded = [self._padded(row) for row in rows]
        return tuple((PADDING,) * a + e.tokens + (PADDING,) * b for e, a, b in padded)

    def fixed(self, rows: Sequence[int]) -> Array:
        """Where paths do not move: padding, and special tokens unless they take part."""
        still = {"padding"} if self.text.special else {"padding", "special"}
        return np.array([[t.kind in still for t in tokens] for tokens in self.tokens(rows)])

    def _padded(self, row: int) -> tuple[Encoded, int, int]:
        """An example, and how much padding stands before and behind it."""
        found = self.encoded[row]
        lacks = self.length(row) - len(found)
        return (found, lacks, 0) if self.text.reads.pads_left else (found, 0, lacks)

    def _check_numbers(self) -> None:
        tables = [x.ids for x in self.lookups if x.ids is not None]
        size = self.text.reads.size
        if size is not None and tables and size > min(tables):
            raise InputError(
                f"the tokenizer does not fit the model: it has {size} tokens, and "
                f"`{self.spec.name}` looks up one of {min(tables)}",
                hint="take the tokenizer that the model was trained with",
            )
        for row, found in enumerate(self.encoded):
            if self._padded(row)[1:] != (0, 0) and self.text.reads.padding is None:
                raise InputError(
                    f"`{self.spec.name}` takes {self.size} tokens and text {row + 1} has "
                    f"{len(found)}, but the tokenizer has no padding token",
                    hint="name one in the file of the tokenizer, such as padding = 0",
                )
            for number, token in zip(found.ids, found.tokens, strict=True):
                if tables and number >= min(tables):
                    raise InputError(
                        f"the tokenizer does not fit the model: {token.text!r} of text {row + 1} "
                        f"is token {number}, and `{self.spec.name}` takes 0 to {min(tables) - 1}",
                        hint="take the tokenizer that the model was trained with",
                    )


__all__ = ["PADDING", "Source"]
