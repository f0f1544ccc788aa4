"""Texts of different lengths: explained in groups of one length, given back as one result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from igrt.attribution import Attribution
from igrt.baselines import as_list
from igrt.errors import InputError, InternalError
from igrt.specs import Array, Token
from igrt.text import PADDING, Filled, Part
from igrt.token_baselines import token_of


def explain(
    filled: Filled,
    baselines: Any,
    explained: Callable[[Part, Any], Attribution],
    runs: Callable[[Mapping[str, Any]], bool],
) -> Attribution:
    """The result of all texts.

    Args:
        filled: The texts as the model takes them.
        baselines: Where paths begin, as `Explainer.explain` takes it.
        explained: The result of one part, from its baselines.
        runs: Whether the model runs with some inputs.

    Raises:
        InputError: If a baseline fits no text, or a text is longer than the model allows.
    """
    start, begin = time.monotonic(), _numbered(baselines, filled)
    results = []
    for part in filled.parts:
        try:
            results.append(_by_row(explained(part, begin), part))
        except (InputError, InternalError) as error:
            most = 0 if runs(part.feeds) else _longest(part, filled.inputs, runs)
            if not most:
                raise
            row = part.rows[0]
            raise InputError(
                f"text {row + 1} has {filled.sources[0].length(row)} tokens, and the model runs "
                f"with {most} at most: {error.message.splitlines()[0]}",
                hint=f"cut the texts: most={most}",
            ) from None
    return _joined(results, filled, time.monotonic() - start)


def _by_row(result: Attribution, part: Part) -> Attribution:
    """The result of a part with one row per text, also where the model took all as one example.

    Raises:
        InputError: If several texts became one example.
    """
    shapes = {n: fixed.shape for n, fixed in part.fixed.items()}
    if result.batched or any(result.values[n].shape[:2] != k for n, k in shapes.items()):
        return result
    if len(part.rows) > 1:
        raise InputError(
            "the model has no batch axis, and several texts would be one example",
            hint="explain one text at a time",
        )
    return replace(result, batched=True)


def _joined(results: Sequence[Attribution], filled: Filled, seconds: float) -> Attribution:
    """Results of the parts as one, in the order of the texts.

    Attributions behind the end of a text are 0, scores of positions that it does not have NaN.

    Args:
        results: One per part.
        filled: The texts.
        seconds: That the whole took.
    """
    first, rows = results[0], [row for part in filled.parts for row in part.rows]
    provenance = _told([r.provenance for r in results])
    if filled.notes:
        provenance["notes"] = list(filled.notes)
    if len(results) == 1:
        return replace(first, provenance=provenance, seconds=seconds)
    example = np.concatenate(
        [np.asarray(p.rows)[r.example] for p, r in zip(filled.parts, results, strict=True)]
    )
    order = np.argsort(example, kind="stable")

    def of_all(name: str, fill: float = 0.0) -> Array:
        return _stacked([getattr(r, name) for r in results], fill)[order]

    def by_name(name: str) -> dict[str, Array]:
        found = [{n: _batched(a, r) for n, a in getattr(r, name).items()} for r in results]
        return {n: _stacked([f[n] for f in found])[order] for n in found[0]}

    targets = [t for r in results for t in r.target]
    tokens = {
        name: _aligned([t for r in results for t in r.display.tokens[name]], rows)
        for name in first.display.tokens
    }
    return replace(
        first,
        values=by_name("values"),
        inputs=by_name("inputs"),
        interactions={n: m[order] for n, m in _pairs(results).items()},
        scores=of_all("scores", np.nan),
        target=tuple(targets[row] for row in order),
        output=of_all("output"),
        baseline_output=of_all("baseline_output"),
        delta=of_all("delta"),
        error=of_all("error"),
        evaluations=of_all("evaluations"),
        example=example[order],
        seconds=seconds,
        provenance=provenance,
        batched=True,
        display=replace(first.display, tokens=tokens),
    )


def _longest(part: Part, inputs: Sequence[str], runs: Callable[[Mapping[str, Any]], bool]) -> int:
    """How many tokens of a text a model runs with; 0 if the length is not what it fails at.

    Args:
        part: A text that it does not run with.
        inputs: Names of the inputs that have one entry per token.
        runs: Whether it runs with some inputs.
    """

    def fits(count: int) -> bool:
        short = {n: part.feeds[n][..., :count] for n in inputs}
        return runs({**part.feeds, **short})

    good, bad = 0, min(np.shape(part.feeds[n])[-1] for n in inputs)
    while bad - good > 1:
        tried = (good + bad) // 2
        good, bad = (tried, bad) if fits(tried) else (good, tried)
    return good


def _numbered(baselines: Any, filled: Filled) -> Any:
    """Baselines with a token's number in place of its text, ``"token:[PAD]"``."""
    listed = [_one(b, filled) for b in as_list(baselines)]
    values = [v for b in listed for v in (b.values() if isinstance(b, Mapping) else [b])]
    if len(filled.parts) > 1 and any(np.ndim(v) for v in values if v is not None):
        raise InputError(
            "an array as baseline fits texts of one length alone",
            hint='give "token:ID", a number, or texts of one length at a time',
        )
    return listed[0] if len(listed) == 1 else listed


def _one(baseline: Any, filled: Filled) -> Any:
    """One baseline; the same token may have another number in each tokenizer."""
    if isinstance(baseline, Mapping):
        owners = {n: s for s in filled.sources for n in (s.spec.name, *s.tensors)}
        return {n: owners[n].numbered(b) if n in owners else b for n, b in baseline.items()}
    token = token_of(baseline)
    if token is None or token.isdecimal():
        return baseline
    made = {s.spec.name: s.numbered(baseline) for s in filled.sources if s.lookups}
    return next(iter(made.values())) if len(made) == 1 else made or baseline


def _told(provenances: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is told of all parts; where they differ, of each."""
    told = {}
    for key, value in provenances[0].items():
        values = [p.get(key) for p in provenances]
        told[key] = value if all(v == value for v in values) else values
    return told


def _batched(array: Array, result: Attribution) -> Array:
    return array if result.batched else array[np.newaxis]


def _pairs(results: Sequence[Attribution]) -> dict[str, Array]:
    """Interactions of all parts, with 0 behind the end of a text."""
    found = [{n: _batched(m, r) for n, m in r.interactions.items()} for r in results]
    longest = [max(f[n].shape[1] for f in found) for n in found[0]]
    parts = []
    for matrices in found:
        ends = np.cumsum([m.shape[1] for m in matrices.values()])[:-1]
        wide = {}
        for name, matrix in matrices.items():
            columns = np.split(matrix, ends, axis=2)
            room = [
                np.pad(c, [(0, 0), (0, 0), (0, most - c.shape[2])])
                for c, most in zip(columns, longest, strict=True)
            ]
            wide[name] = np.concatenate(room, axis=2)
        parts.append(wide)
    return {n: _stacked([p[n] for p in parts]) for n in found[0]}


def _stacked(arrays: Sequence[Array], fill: float = 0.0) -> Array:
    """Rows of arrays one below the other, filled up to the longest along every other axis."""
    shape = np.max([a.shape[1:] for a in arrays], axis=0, initial=0)
    made = [
        np.pad(
            a,
            [(0, 0), *((0, int(n - k)) for n, k in zip(shape, a.shape[1:], strict=True))],
            constant_values=fill,
        )
        for a in arrays
    ]
    return np.concatenate(made)


def _aligned(
    texts: Sequence[tuple[Token, ...]], rows: Sequence[int]
) -> tuple[tuple[Token, ...], ...]:
    """Texts in the order of the examples, filled up to the longest."""
    most = max(map(len, texts))
    by_row = dict(zip(rows, texts, strict=True))
    return tuple(by_row[r] + (PADDING,) * (most - len(by_row[r])) for r in sorted(by_row))


__all__ = ["explain"]
