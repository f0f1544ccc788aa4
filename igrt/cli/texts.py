"""Options of `igrt explain` for texts, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from igrt.cli.options import named
from igrt.errors import InputError

if TYPE_CHECKING:
    from igrt.explainer import Explainer
    from igrt.text import Text

TEXT = click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="[NAME=]TEXT",
    help="Text to explain, for a model that takes token numbers; again for more examples. NAME is "
    "the input that takes them, where there are several.",
)
TEXTS = click.option(
    "--texts",
    "text_files",
    multiple=True,
    metavar="[NAME=]FILE",
    help="The same, one text per line; a tab stands between the texts of a pair.",
)
PAIR = click.option(
    "--text-pair",
    "pairs",
    multiple=True,
    metavar="TEXT",
    help="Second text of a pair, for models that compare two; as often as --text.",
)
TOKENIZER = click.option(
    "--tokenizer",
    "tokenizers",
    multiple=True,
    metavar="[NAME=]FILE",
    help="What makes token numbers of texts: tokenizer.json, a vocabulary in TOML or JSON "
    "(docs/guides/text.md), or bytes.",
)
SPECIAL = click.option(
    "--special",
    is_flag=True,
    help="Let special tokens, such as [CLS], take part; by default their attribution is 0.",
)
MOST = click.option(
    "--max-tokens", "most", type=int, metavar="N", help="Cut longer texts to N tokens."
)


def read_texts(explainer: Explainer, options: Mapping[str, Any]) -> dict[str, Text]:
    """The texts by the input that takes them; an empty name is for the only one.

    Args:
        explainer: Knows the model's inputs.
        options: ``texts text_files pairs tokenizers special most``, as they were given.
    """
    from igrt.inputs import read_pairs
    from igrt.text import Text

    names = [s.name for s in explainer.inputs]
    first: dict[str, list[str]] = {}
    second: dict[str, list[str]] = {}
    for given in options["texts"]:
        name, text = named(given, names)
        first.setdefault(name, []).append(text)
    for given in options["text_files"]:
        name, file = named(given, names)
        texts, pairs = read_pairs(Path(file))
        first.setdefault(name, []).extend(texts)
        second.setdefault(name, []).extend(pairs)
    tokenizers = dict(named(given, names) for given in options["tokenizers"])
    if options["pairs"]:
        second.setdefault(next(iter(first), ""), []).extend(options["pairs"])
    if not first:
        if second or tokenizers:
            raise InputError("there is no text", hint='give one, --text "…" or --texts FILE')
        return {}
    found = {}
    for name, texts in first.items():
        tokenizer = tokenizers.get(name) or tokenizers.get("")
        if tokenizer is None:
            raise InputError(
                "texts need a tokenizer",
                hint="--tokenizer tokenizer.json; docs/guides/text.md says what else there is",
            )
        found[name] = Text(
            texts, tokenizer, second.get(name) or None, options["special"], options["most"]
        )
    return found


__all__ = ["MOST", "PAIR", "SPECIAL", "TEXT", "TEXTS", "TOKENIZER", "read_texts"]
