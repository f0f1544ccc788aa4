"""Names of the classes: read them from a file, find one of them by what someone typed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from igrt.errors import InputError, TargetError
from igrt.inputs.arrays import parse_json
from igrt.inputs.regular import printable_path, read_text
from igrt.inputs.suggest import closest

_SYNSET = re.compile(r"n\d{8}\s+")
_NUMBERED = re.compile(r"(\d{1,9})\s*[:,\t]\s*(.*)")
_HEADER = re.compile(r"(index|id|class|class_id|number)\s*[:,\t]", re.IGNORECASE)
_MARK = re.compile(r"\s*\[[^\W\d]\w*\]")
"""The first word of a vocabulary, such as [PAD]: no JSON begins so."""

_MOST = 1_000_000
"""Most classes: one line with a huge number must not become a huge list."""


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Class names in the order of the classes.

    Text files have one name per line; WordNet ids before names (``n01440764 tench``) are dropped,
    and ``0: tench`` or ``0,tench`` on every line says which class it is. JSON files hold a list, a
    mapping from numbers to names or to ``["n01440764", "tench"]``, or one from names to numbers.
    Classes without a name are named by their number.

    Raises:
        InputError: If the file cannot be read or holds no such list.
    """
    path = Path(path)
    shown = f"`{printable_path(path)}`"
    text = read_text(path)
    as_json = text.lstrip()[:1] in ("{", "[") and not _MARK.match(text)
    if path.suffix.lower() == ".json" or as_json:
        return _from_json(shown, parse_json(shown, text))
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if not lines:
        raise InputError(f"{shown} holds no labels")
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if _HEADER.match(lines[0]):
        numbered = numbered[1:]
    if numbered and all(numbered):
        return _by_number(shown, [(int(m[1]), _unquote(m[2])) for m in numbered if m])
    for at, line in enumerate(lines, start=1):
        if not line:
            raise InputError(
                f"{shown}, line {at} is blank, so the classes after it would be off by one",
                hint="remove the line, or name the class",
            )
    if all(_SYNSET.match(line) for line in lines):
        lines = [_SYNSET.sub("", line, count=1) for line in lines]
    return tuple(lines)


def find_label(labels: Sequence[str], text: str) -> int:
    """Index of the class that `text` names.

    The name as written wins, then in any case, then the first of synonyms separated by commas
    (``tench`` for ``tench, Tinca tinca``), then any of them.

    Raises:
        TargetError: If no class or several classes have that name.
    """
    wanted = text.strip().casefold()
    ways: tuple[Callable[[str], bool], ...] = (
        lambda label: label == text,
        lambda label: label.strip().casefold() == wanted,
        lambda label: _synonyms(label)[0] == wanted,
        lambda label: wanted in _synonyms(label),
    )
    for means in ways:
        found = [index for index, label in enumerate(labels) if means(label)]
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(f"{i} ({labels[i]})" for i in found[:10])
            more = f" and {len(found) - 10} more" if len(found) > 10 else ""
            raise TargetError(
                f"`{text}` names {len(found)} classes: {listed}{more}", hint="give the index"
            )
    if not labels:
        raise TargetError(
            f"there is no class `{text}`: no labels are known", hint="give the index, or labels"
        )
    names = {name: label for label in labels for name in (label.casefold(), *_synonyms(label))}
    near = list(dict.fromkeys(names[n] for n in closest(wanted, names)))
    raise TargetError(
        f"there is no class `{text}` among {len(labels)} labels",
        hint=f"did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else "give the index",
    )


def _synonyms(label: str) -> list[str]:
    return [part.strip() for part in label.casefold().split(",")]


def _unquote(name: str) -> str:
    quoted = len(name) > 1 and name[0] == name[-1] and name[0] in "\"'"
    return _SYNSET.sub("", name[1:-1] if quoted else name, count=1).strip()


def _from_json(shown: str, document: Any) -> tuple[str, ...]:
    if isinstance(document, list):
        return _by_number(shown, list(enumerate(map(_name, document))))
    if not isinstance(document, dict):
        raise InputError(f"{shown} holds no list of labels")
    if all(isinstance(v, int) and not isinstance(v, bool) for v in document.values()):
        return _by_number(shown, [(number, name) for name, number in document.items()])
    return _from_mapping(shown, document)


def _from_mapping(shown: str, document: Mapping[str, Any]) -> tuple[str, ...]:
    strange = [key for key in document if not re.fullmatch(r"[0-9]{1,9}", key)]
    if strange:
        raise InputError(
            f"{shown} maps `{strange[0][:40]}`, which is no class number, to a label",
            hint='write {"0": "tench", "1": "goldfish"}',
        )
    return _by_number(shown, [(int(key), _name(value)) for key, value in document.items()])


def _name(value: Any) -> str | None:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list) and len(value) > 1 and all(isinstance(v, str) for v in value):
        return str(value[-1]).strip()  # ImageNet's class index: WordNet id and name
    return None


def _by_number(shown: str, pairs: Sequence[tuple[int, str | None]]) -> tuple[str, ...]:
    if not pairs:
        raise InputError(f"{shown} holds no labels")
    names: dict[int, str] = {}
    for number, name in pairs:
        if not name:
            raise InputError(f"{shown} has no name for class {number}")
        if number in names:
            raise InputError(f"{shown} names class {number} twice")
        if not 0 <= number < _MOST:
            raise InputError(f"{shown} names class {number}, and classes are 0 to {_MOST - 1:,}")
        names[number] = name
    return tuple(names.get(i, str(i)) for i in range(max(names) + 1))


__all__ = ["find_label", "read_labels"]
