"""`Pieces`: a `tokenizer.json`, read by the `tokenizers` package."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any, final

from igrt.errors import InputError
from igrt.specs import Token
from igrt.text.tokenizer import Encoded

_PADDING = ("[PAD]", "<pad>", "<PAD>", "<|pad|>", "<|padding|>")
"""Names of the padding token that models are published with."""

_SPACES = " Ġ▁"
"""A blank, and how vocabularies write it."""

_BLANK, _INSIDE = "␣", "�"
"""How a blank is shown, and what is within a letter."""


@final
class Pieces:
    """A tokenizer of the `tokenizers` package.

    Args:
        text: Contents of a `tokenizer.json`.
        document: The same, parsed.
        shown: What the file is called in errors.

    Raises:
        InputError: If the package is missing, or the file is none of its tokenizers.
    """

    def __init__(self, text: str, document: Mapping[str, Any], shown: str) -> None:
        try:
            import tokenizers
        except ImportError:
            raise InputError(
                f"{shown} is read by the package `tokenizers`, which is not installed",
                hint='pip install "igrt[text]"',
            ) from None
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the package raises nothing more specific
            raise InputError(
                f"{shown} is no tokenizer that the package `tokenizers` {tokenizers.__version__} "
                f"reads: {error}",
                hint="it reads the tokenizer.json of a model, not its vocabulary alone",
            ) from None
        self._shown, self._lock = shown, threading.Lock()
        self._cutting = document.get("truncation") or {}
        padding = document.get("padding") or {}
        added = [t for t in document.get("added_tokens") or () if t.get("special")]
        model = document["model"]
        named = [self.number(name) for name in _PADDING]
        self.padding: int | None = padding.get(
            "pad_id", next((n for n in named if n is not None), None)
        )
        # models may lack rows for tokens that were added afterwards and are never used
        self.size: int | None = self._tokenizer.get_vocab_size(with_added_tokens=False)
        self.pads_left: bool = padding.get("direction") == "Left"
        unknown = model.get("unk_token")
        self._unknown = model.get("unk_id") if unknown is None else self.number(unknown)
        self._special = frozenset(int(t["id"]) for t in added)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def number(self, token: str) -> int | None:
        """Number of a token; None where there is none of that text."""
        found = self._tokenizer.token_to_id(token)
        return None if found is None else int(found)

    def encode(self, text: str, pair: str | None, most: int | None) -> Encoded:
        """Token numbers of a text or a pair; see `Tokenizer.encode`."""
        limits = [n for n in (most, self._cutting.get("max_length")) if n is not None]
        with self._lock:
            made = self._made(text, pair)
            whole = len(made.ids)
            if limits and whole > min(limits):
                made = self._truncated(text, pair, min(limits))
            if limits and len(made.ids) > min(limits):
                raise InputError(
                    f"{self._shown} cannot cut a text to {min(limits)} tokens",
                    hint="the special tokens must have room",
                )
        tokens = tuple(self._tokens(made, (text, pair or "")))
        return Encoded(tuple(made.ids), tokens, tuple(made.type_ids), whole - len(made.ids))

    def _made(self, text: str, pair: str | None) -> Any:
        try:
            return self._tokenizer.encode(text, pair)
        except Exception as error:  # the package raises nothing more specific
            raise InputError(
                f"{self._shown} cannot encode {text[:60]!r}: {error}",
                hint="its vocabulary may lack a token for what is unknown",
            ) from None

    def _truncated(self, text: str, pair: str | None, most: int) -> Any:
        strategy = re.sub(r"(?<!^)(?=[A-Z])", "_", self._cutting.get("strategy", "LongestFirst"))
        direction = self._cutting.get("direction", "Right")
        self._tokenizer.enable_truncation(
            most, strategy=strategy.lower(), direction=direction.lower()
        )
        try:
            return self._made(text, pair)
        finally:
            self._tokenizer.no_truncation()

    def _tokens(self, made: Any, texts: tuple[str, str]) -> Iterator[Token]:
        """The tokens as people read them: as the text has them, not the normalised one."""
        ends = {0: -1, 1: -1}
        segment = 0
        for number, name, marked, part, (start, end) in zip(
            made.ids,
            made.tokens,
            made.special_tokens_mask,
            made.sequence_ids,
            made.offsets,
            strict=True,
        ):
            segment = segment if part is None else part
            if marked:
                yield Token(name, "special", segment=segment)
                continue
            whole = texts[segment][start:end]
            start += len(whole) - len(whole.lstrip())
            last, ends[segment] = ends[segment], end
            piece = texts[segment][max(start, last) : end].strip()
            if number == self._unknown:
                kind = "unknown"
            else:
                kind = "special" if number in self._special else "text"
            # blanks can be tokens, and so can single bytes of a letter
            shown = piece or (_INSIDE if name.strip(_SPACES) else _BLANK)
            yield Token(shown, kind, start <= last, segment)


__all__ = ["Pieces"]
