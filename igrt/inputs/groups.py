"""Columns that stand for one feature, such as those of a one-hot encoding."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from igrt.errors import InputError
from igrt.inputs.arrays import parse_json
from igrt.inputs.files import Loaded
from igrt.inputs.regular import printable_path, read_text, read_toml
from igrt.inputs.suggest import did_you_mean
from igrt.specs import Array

Groups = dict[str, dict[str, tuple[int, ...]]]
"""Per input: name of each group and the positions of its columns."""

AUTO = "auto"

_JOINT = re.compile("[=_]")
"""Between the name of a feature and a category: pandas and scikit-learn write `_`, others `=`."""

_TRANSFORMER = re.compile("[^_]+__")
"""scikit-learn's ColumnTransformer writes ``encoder__colour_red``."""


def read_groups(text: str, tables: Mapping[str, Loaded]) -> Groups:
    """Groups of columns: found by their names, or written in a TOML or JSON file.

    A file says ``colour = ["colour_red", "colour_green"]``, or ``colour = "colour_*"`` for all
    columns of such a name. ``auto`` finds what pandas' get_dummies and scikit-learn's OneHotEncoder
    make: neighbours named ``colour_red``, ``colour_green`` or ``colour=red``, ``colour=green``,
    which hold 0 and 1 alone and in no row more than one 1.

    Args:
        text: ``auto`` or the name of a file.
        tables: What was read for each input.

    Raises:
        InputError: If no column has a name, a column is unknown or in two groups, a group is empty
            or has the name of another column, or the file says something else.
    """
    named = {n: t for n, t in tables.items() if t.features}
    if not named:
        raise InputError(
            "columns are grouped by their names, and no input has any",
            hint="give a .csv file with a header",
        )
    if text == AUTO:
        return _automatic(named)
    return _written(Path(text), {n: t.features for n, t in named.items()})


def _written(path: Path, features: Mapping[str, tuple[str, ...]]) -> Groups:
    shown = f"`{printable_path(path)}`"
    places = {column: (n, at) for n, names in features.items() for at, column in enumerate(names)}
    found: Groups = {}
    owners: dict[str, str] = {}
    for group, said in _document(path, shown).items():
        columns = _columns(shown, group, said, list(places))
        for column in columns:
            if column in owners:
                raise InputError(
                    f"{shown}: column `{column}` is in the groups `{owners[column]}` and `{group}`",
                    hint="a column has one attribution: put it into one group",
                )
            owners[column] = group
        tensors = {places[c][0] for c in columns}
        if len(tensors) > 1:
            raise InputError(f"{shown}: the columns of `{group}` are of different inputs")
        found.setdefault(tensors.pop(), {})[group] = tuple(places[c][1] for c in columns)
    taken = [g for g in set(owners.values()) if g in places and owners.get(g) != g]
    if taken:
        raise InputError(
            f"{shown}: a group and a column outside of it are both named `{taken[0]}`",
            hint="give the group another name",
        )
    return found


def _document(path: Path, shown: str) -> dict[str, Any]:
    suffix = path.suffix.lower()
    if suffix not in (".toml", ".json"):
        raise InputError(
            f"cannot tell what the groups {shown} are", hint="use auto, or a .toml or .json file"
        )
    if suffix == ".json":
        document = parse_json(shown, read_text(path, limit=2**20))
    else:
        document = read_toml(path, limit=2**20)
    if not isinstance(document, dict) or not document:
        raise InputError(
            f"{shown} holds no groups", hint='write colour = ["colour_red", "colour_green"]'
        )
    return document


def _columns(shown: str, group: str, said: Any, known: list[str]) -> list[str]:
    """The columns that a group names one by one, or by a pattern with `*`."""
    if isinstance(said, str) and "*" in said:
        # brackets stand in names; of fnmatch's signs only the star is meant
        pattern = re.sub(r"[?[]", lambda m: f"[{m[0]}]", said)
        found = [c for c in known if fnmatch.fnmatchcase(c, pattern)]
        if not found:
            raise InputError(f"{shown}: no column is like `{said}`", hint=_listed(known))
        return found
    if not isinstance(said, list) or not said or not all(isinstance(c, str) for c in said):
        raise InputError(
            f"{shown}: `{group}` must be a list of columns, or a text with `*`",
            hint=f'write {group} = ["{group}_red", "{group}_green"] or {group} = "{group}_*"',
        )
    for column in said:
        if column not in known:
            hint = did_you_mean(column, known, _listed(known))
            raise InputError(f"{shown}: `{group}` names the unknown column `{column}`", hint=hint)
    return list(said)


def _listed(known: list[str]) -> str:
    more = ", ..." if len(known) > 12 else ""
    return f"the columns are {', '.join(f'`{c}`' for c in known[:12])}{more}"


def _automatic(tables: Mapping[str, Loaded]) -> Groups:
    found = {n: dict(_one_hot(t.features, t.array)) for n, t in tables.items()}
    if not any(found.values()):
        raise InputError(
            "no neighbouring columns of 0 and 1 have names that begin alike",
            hint='name the groups in a .toml file: colour = "colour_*"',
        )
    return {n: groups for n, groups in found.items() if groups}


def _one_hot(names: tuple[str, ...], array: Array) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Runs of columns that begin alike and are a one-hot encoding in every row."""
    table = array.reshape(-1, len(names))
    at = 0
    while at < len(names):
        for start in _starts(names[at]):
            end = at
            while end < len(names) and names[end].startswith(start):
                end += 1
            block = table[:, at:end]
            if end - at > 1 and np.isin(block, (0, 1)).all() and (block.sum(axis=1) <= 1).all():
                yield _common(names[at:end]), tuple(range(at, end))
                at = end
                break
        else:
            at += 1


def _starts(name: str) -> Iterator[str]:
    """What all columns of the group may begin with; the shortest first.

    A start that two encodings have in common does not make one encoding of them.
    """
    match = _TRANSFORMER.match(name)
    first = match.end() if match else 0
    for joint in _JOINT.finditer(name, first + 1):
        yield name[: joint.end()]


def _common(names: tuple[str, ...]) -> str:
    """What all of them begin with, up to the first `=` or else the last `_` of it."""
    starts = [s for s in _starts(names[0]) if all(n.startswith(s) for n in names)]
    return next((s for s in starts if s.endswith("=")), starts[-1])[:-1]


__all__ = ["AUTO", "Groups", "read_groups"]
