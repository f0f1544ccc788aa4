"""`read_tokenizer`: a tokenizer from whatever file a model comes with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from igrt.errors import InputError
from igrt.inputs.arrays import parse_json
from igrt.inputs.regular import printable_path, read_text, read_toml
from igrt.inputs.suggest import did_you_mean
from igrt.text.pieces import Pieces
from igrt.text.tokenizer import Tokenizer
from igrt.text.vocabulary import Vocabulary

_KEYS = [f.name for f in fields(Vocabulary)]

_WRITE = 'write a TOML file: level = "word" (or "character"), vocabulary = "FILE"'


def read_tokenizer(file: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer in a file, or ``"bytes"`` for the bytes of a text.

    Args:
        file: A `tokenizer.json`, which the package `tokenizers` reads, or a TOML or JSON file with
            the fields of a `Vocabulary`: ``level`` and what else it needs. Its ``vocabulary`` is a
            list of tokens in the order of their numbers, a table of numbers by token, or the name
            of a JSON or text file with one of these, beside it; ``FILE#KEY`` is one entry of an
            object. ``unknown``, ``padding``, ``start`` and ``end`` are tokens or their numbers.

    Raises:
        InputError: If it cannot be read, or says something that cannot be meant.
    """
    if file == "bytes":
        return Vocabulary("byte")
    path = Path(file)
    shown = f"`{printable_path(path)}`"
    if path.suffix.lower() not in (".json", ".toml"):
        raise InputError(
            f"cannot tell what kind of tokenizer {shown} is",
            hint=f'a tokenizer.json, "bytes" or a vocabulary file: {_WRITE}',
        )
    if path.suffix.lower() == ".toml":
        return _vocabulary(path, shown, read_toml(path))
    text = read_text(path)
    document = parse_json(shown, text)
    if not isinstance(document, dict):
        raise InputError(f"{shown} is a list and does not say of what", hint=_WRITE)
    if isinstance(document.get("model"), dict):
        return Pieces(text, document, shown)
    if "level" not in document:
        listed = ", ".join(f"`{k}`" for k in list(document)[:4])
        raise InputError(f"{shown} is no tokenizer: it holds {listed}, …", hint=_WRITE)
    return _vocabulary(path, shown, document)


def _vocabulary(path: Path, shown: str, table: Mapping[str, Any]) -> Vocabulary:
    for key in table:
        if key not in _KEYS:
            raise InputError(
                f"{shown} has the unknown key `{key}`",
                hint=did_you_mean(key, _KEYS, f"the keys are {', '.join(_KEYS)}"),
            )
    given = dict(table)
    for key, kind in (("level", str), ("split", str), ("lowercase", bool), ("offset", int)):
        if key in given and type(given[key]) is not kind:
            raise InputError(
                f"{shown}: `{key}` must be of the type {kind.__name__}, not {given[key]!r}"
            )
    if "level" not in given:
        raise InputError(f"{shown} does not say its `level`", hint=_WRITE)
    ids = _numbers(path, shown, given.get("vocabulary", {}))
    given["vocabulary"] = ids
    for key in ("unknown", "padding"):
        if key in given:
            given[key] = _number(shown, key, given[key], ids)
    for key in ("start", "end"):
        if key in given:
            listed = given[key] if isinstance(given[key], list) else [given[key]]
            given[key] = tuple(_number(shown, key, token, ids) for token in listed)
    return Vocabulary(**given)


def _number(shown: str, key: str, token: Any, ids: Mapping[str, int]) -> int:
    if isinstance(token, int) and not isinstance(token, bool):
        return token
    if isinstance(token, str) and token in ids:
        return ids[token]
    raise InputError(
        f"{shown}: `{key}` is {token!r}, which the vocabulary does not have",
        hint="give a token of the vocabulary, or its number",
    )


def _numbers(path: Path, shown: str, given: Any) -> dict[str, int]:
    """Numbers by token, from a list, a table, or the file that holds one."""
    if isinstance(given, str):
        name, _, key = given.partition("#")
        file = path.parent / name
        shown = f"`{printable_path(file)}`"
        text = read_text(file)
        given = parse_json(shown, text) if file.suffix.lower() == ".json" else text.splitlines()
        if key:
            if not isinstance(given, dict) or key not in given:
                raise InputError(f"{shown} has no `{key}`", hint=f"it is named in {path.name}")
            given = given[key]
    if isinstance(given, dict):
        if all(type(n) is int for n in given.values()):
            return dict(given)
    elif isinstance(given, list) and all(isinstance(t, str) for t in given):
        # empty entries are numbers that no text has
        numbers = {token: at for at, token in enumerate(given) if token}
        if len(numbers) == sum(map(bool, given)):
            return numbers
        twice = next(t for at, t in enumerate(given) if t and numbers[t] != at)
        raise InputError(f"{shown} has the token {twice!r} twice", hint="a token has one number")
    raise InputError(
        f"{shown} has no list of tokens, and no table of their numbers",
        hint=f'of an object with several, name one: vocabulary = "{path.name}#KEY"',
    )


__all__ = ["read_tokenizer"]
