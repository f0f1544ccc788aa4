"""Texts to the inputs of a model: which take token numbers, and what fills the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from igrt.errors import InputError, did_you_mean
from igrt.roles import role_of
from igrt.specs import Array, Lookup, TensorSpec, Token
from igrt.text.source import Source
from igrt.text.texts import Text

_MOST_LISTED = 5
"""Unknown tokens that a note lists."""


@final
@dataclass(frozen=True, eq=False)
class Part:
    """Examples of one length, as the model takes them.

    Args:
        rows: Which examples.
        feeds: Inputs by name.
        tokens: Tokens of each example by the name of what is attributed.
        fixed: Where paths do not move, bool [rows, positions] by the same names.
    """

    rows: tuple[int, ...]
    feeds: dict[str, Any]
    tokens: dict[str, tuple[tuple[Token, ...], ...]]
    fixed: dict[str, Array]


@final
@dataclass(frozen=True, eq=False)
class Filled:
    """Texts as a model takes them.

    Args:
        sources: Every text with the input that it is for.
        parts: Examples of one length stand together: nothing is padded where the model takes texts
            of any length, so no text changes what another one gets.
        notes: What people should know of it, in words.
        inputs: Names of the inputs that have an entry per token.
    """

    sources: tuple[Source, ...]
    parts: tuple[Part, ...]
    notes: tuple[str, ...]
    inputs: tuple[str, ...]


def holds_text(inputs: Any) -> bool:
    """Whether what a user gives as inputs has texts in it."""
    if isinstance(inputs, Mapping):
        return any(isinstance(value, Text) for value in inputs.values())
    return isinstance(inputs, Text)


def fill(
    inputs: Text | Mapping[str, Any], specs: Sequence[TensorSpec], lookups: Sequence[Lookup]
) -> Filled:
    """Inputs of a model from texts, and from arrays for what texts do not fill.

    Args:
        inputs: A text, or texts and arrays by input name. A text without a name, or under an empty
            one, is for the only input that looks up tokens.
        specs: Inputs of the model.
        lookups: What is looked up by them and attributed to.

    Raises:
        InputError: If a text does not fit the model, or an input is left that nothing fills.
    """
    listed = dict(inputs) if isinstance(inputs, Mapping) else {"": inputs}
    texts = {n or _only(specs, lookups): t for n, t in listed.items() if isinstance(t, Text)}
    given = {n: a for n, a in listed.items() if not isinstance(a, Text)}
    known = {s.name: s for s in specs}
    for name in (*texts, *given):
        if name not in known:
            raise InputError(f"the model has no input `{name}`", hint=did_you_mean(name, known))
    counts = {n: len(t) for n, t in texts.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"inputs have different numbers of texts: {counts}", hint="give as many")
    sources = tuple(
        Source.of(known[n], t, tuple(x for x in lookups if x.input == n)) for n, t in texts.items()
    )
    beside = {
        s.name: _beside(s, sources) for s in specs if s.name not in texts and s.name not in given
    }
    groups: dict[tuple[int, ...], list[int]] = {}
    for row in range(len(sources[0])):
        # without a batch axis every text runs alone
        alone = (row,) if any(s.spec.rank == 1 for s in sources) else ()
        groups.setdefault((*(s.length(row) for s in sources), *alone), []).append(row)
    parts = tuple(_part(tuple(rows), sources, beside, given, known) for rows in groups.values())
    notes = tuple(n for s in sources for n in _notes(s))
    return Filled(sources, parts, notes, (*texts, *beside))


def _only(specs: Sequence[TensorSpec], lookups: Sequence[Lookup]) -> str:
    """The input that a text without a name is for."""
    named = list(dict.fromkeys(x.input for x in lookups if not role_of(x.input)))
    if len(named) == 1:
        return named[0]
    if named:
        raise InputError(
            f"{len(named)} inputs of the model take token numbers: which one is the text for?",
            hint=f"name it, one of {', '.join(named)}: --text NAME=… or {{NAME: Text(…)}}",
        )
    raise InputError(
        "the model takes no text: no input selects rows of a table that are attributed to, of "
        + (", ".join(map(str, specs)) or "none"),
        hint="an input that takes token numbers all the same can be named: --text NAME=… or "
        "{NAME: Text(…)}",
    )


def _beside(spec: TensorSpec, sources: Sequence[Source]) -> tuple[Source, str]:
    """The text that an input stands beside, and what it is filled with."""
    role = role_of(spec.name)
    shared = [_common(spec.name, s.spec.name) for s in sources]
    owners = [s for s, n in zip(sources, shared, strict=True) if n == max(shared)]
    if not role or len(owners) > 1 or spec.rank != owners[0].spec.rank:
        raise InputError(
            f"input {spec} is not made of the text",
            hint=f"give it as a file, --input {spec.name}=FILE, or as an array beside the text",
        )
    return owners[0], role


def _common(name: str, other: str) -> int:
    """How many letters two names begin with alike, as decoder_mask and decoder_ids do."""
    differ = [a != b for a, b in zip(name, other, strict=False)]
    return differ.index(True) if True in differ else len(differ)


def _part(
    rows: tuple[int, ...],
    sources: Sequence[Source],
    beside: Mapping[str, tuple[Source, str]],
    given: Mapping[str, Any],
    known: Mapping[str, TensorSpec],
) -> Part:
    feeds: dict[str, Any] = {}
    tokens: dict[str, tuple[tuple[Token, ...], ...]] = {}
    fixed: dict[str, Array] = {}
    for source in sources:
        feeds[source.spec.name] = source.filled("ids", rows, source.spec)
        for lookup in source.lookups:
            tokens[lookup.tensor] = source.tokens(rows)
            fixed[lookup.tensor] = source.fixed(rows)
    for name, (source, role) in beside.items():
        feeds[name] = source.filled(role, rows, known[name])
    for name, array in given.items():
        each = _per_example(known[name], array, len(sources[0]))
        feeds[name] = np.asarray(array)[list(rows)] if each else array
    return Part(rows, feeds, tokens, fixed)


def _per_example(spec: TensorSpec, array: Any, count: int) -> bool:
    """Whether an array has an entry for each of several examples."""
    free = not spec.shape or not isinstance(spec.shape[0], int) or spec.shape[0] == 1
    rank = np.ndim(array) if spec.rank is None else spec.rank
    return free and count > 1 and np.ndim(array) == rank and np.shape(array)[0] == count


def _notes(source: Source) -> list[str]:
    """What people should know of the texts of an input."""
    notes = []
    for row, made in enumerate(source.encoded):
        if made.cut:
            notes.append(
                f"text {row + 1} has {len(made) + made.cut} tokens, of which `{source.spec.name}` "
                f"takes {len(made)}: the others are left out"
            )
    words = [t for e in source.encoded for t in e.tokens if t.kind in ("text", "unknown")]
    unknown = list(dict.fromkeys(t.text for t in words if t.kind == "unknown"))
    if unknown:
        listed = ", ".join(repr(t) for t in unknown[:_MOST_LISTED])
        more = ", …" if len(unknown) > _MOST_LISTED else ""
        count = sum(t.kind == "unknown" for t in words)
        notes.append(f"{count} of {len(words)} tokens are not in the vocabulary: {listed}{more}")
    return notes


__all__ = ["Filled", "Part", "fill", "holds_text"]
