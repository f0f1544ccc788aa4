"""The same from an equivalent model, linearity, and symmetry."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import onnx

from igrt.derived import Derived
from igrt.engine import Engine
from igrt.errors import IgrtError
from igrt.specs import Array
from igrt.verify.case import Case
from igrt.verify.check import Check
from igrt.verify.rewrites import equivalents, weighted_sum

_SAME = 1e-4
"""Relative difference of scores that may be rounding: an equivalent model adds up otherwise."""

_SYMMETRY = 1e-3
"""Two exchangeable features have the same gradient but for rounding."""

_ROUNDINGS = 16
"""Rounding errors that a score may have; a change that is none is 16 times as large at least."""

_WEIGHTS = (2.0, -0.5)
_PAIRS = 256
_SHOWN = 4


def implementation_invariance(case: Case) -> Check:
    """Equivalent models get the same attributions, whatever operators they are made of.

    Σᵢ |aᵢ − a′ᵢ| / Σᵢ |aᵢ|

    against models rewritten by onnxruntime's optimiser, with ONNX functions expanded, with
    activations in other operators, and those that the user says are equal. That they compute the
    same is checked at points of the path.

    Reference: Sundararajan, Taly and Yan, 2017, section 2.2.
    """
    name = "implementation invariance"
    made, lacking = equivalents(case.model)
    made |= case.equals
    here = case.attributed.values
    worst, checked = 0.0, list[str]()
    for what, model in made.items():
        if not _same_function(case, model):
            lacking.append(f"{what}: it computes something else")
            continue
        try:
            there = case.attribute(case.x, case.b, case.rows, model=model).values
        except IgrtError as error:
            lacking.append(f"{what}: {error.message.splitlines()[0]}")
            continue
        apart = _relative(np.abs(there - here).sum(axis=1), np.abs(here).sum(axis=1))
        checked.append(f"{what} ({apart:.1g})")
        worst = max(worst, apart)
    lacked = f"; not made: {'; '.join(lacking)}" if lacking else ""
    if not checked:
        return Check.skipped(name, f"no equivalent model{lacked}")
    detail = f"Σ|a − a′| / Σ|a| against the model {', '.join(checked)}{lacked}"
    # two attributions, each with an error of its own
    return Check.at_most(name, worst, 2 * case.tolerance, detail)


def _same_function(case: Case, model: onnx.ModelProto) -> bool:
    """Whether a model gives the same output at points of the paths."""
    engine = case.forward
    z, row = case.on(np.array([0.0, 0.31, 0.77, 1.0]), case.rows[:4])
    twin = Engine(
        Derived.of(model),
        engine.of,
        engine.wrt,
        engine.session,
        engine.note,
        batched=engine.batched,
        output_batched=engine.output_batched,
        most_rows=engine.most_rows,
    )
    try:
        there = twin.forward(case.tensors(z), case.others, case.shared, row)
    except IgrtError:
        return False
    here = case.outputs(z, row)
    return bool(np.abs(there - here).max() <= _SAME * max(float(np.abs(here).max()), 1e-30))


def linearity(case: Case) -> Check:
    """The attribution of a weighted sum of two outputs is the weighted sum of theirs.

    a(2·F₁ − ½·F₂) = 2·a(F₁) − ½·a(F₂)

    The sum is a model with two more nodes. F₁ is what is explained and F₂ the highest other element
    at the input; where there is no other, the model's output times two has twice its attribution.
    The figure is relative to 2·Σ|a(F₁)| + ½·Σ|a(F₂)|.

    Reference: Sundararajan, Taly and Yan, 2017, section 3, "Linearity".
    """
    name = "linearity"
    row = case.rows[:1]
    z, b = case.x[:1], case.b[:1]
    output = case.outputs(z, row)
    first = case.picked.rows(row)
    second = _second(output, first.picked[0].flat)
    mask = _WEIGHTS[0] * first.cotangents(output.shape[1:], "float64").reshape(-1)
    if second is not None:
        mask[second] += _WEIGHTS[1]
    batched = case.forward.output_batched
    model, total = weighted_sum(
        case.model, case.of, mask.reshape(output.shape[1:]), batched=batched
    )
    joint = case.attribute(z, b, row, model=model, of=total, target=[None]).values
    parts = _WEIGHTS[0] * case.attributed.values[:1]
    size = np.abs(parts).sum()
    if second is not None:
        at = tuple(int(i) for i in np.unravel_index(second, output.shape[1:]))
        other = case.attribute(z, b, row, target=[at]).values
        parts = parts + _WEIGHTS[1] * other
        size += np.abs(_WEIGHTS[1] * other).sum()
    figure = _relative(np.abs(joint - parts).sum(keepdims=True), np.array([size]))
    explained = first.index[0]
    detail = (
        f"a(2·F₁ − ½·F₂) against 2·a(F₁) − ½·a(F₂), elements {explained} and {second} of the output"
        if second is not None
        else "a(2·F) against 2·a(F), as the output has no other element"
    )
    # three attributions, each with an error of its own
    return Check.at_most(name, figure, 2 * case.tolerance, detail)


def _second(output: Array, first: Array) -> int | None:
    """The highest element of the output but for some."""
    scores = output[0].reshape(-1).astype(np.float64)
    if scores.size == len(first):
        return None
    scores[first] = -np.inf
    return int(np.argmax(scores))


def symmetry(case: Case) -> Check:
    """Swapping exchangeable features swaps their attributions.

    Features i and j, or two inputs of the same shape, are exchangeable where swapping their values
    leaves the score as it is, at random points and at points of the path; 256 pairs are tried.
    Then aᵢ(x) = aⱼ(s(x)), s the swap in input and baseline. Where values are equal this is the
    paper's axiom, aᵢ = aⱼ. Taking other values keeps off the path where both are the maximum of a
    pool: there is no gradient there. The figure is |aᵢ(x) − aⱼ(s(x))| relative to max|a|.

    Reference: Sundararajan, Taly and Yan, 2017, section 4.1, "Symmetry-Preserving".
    """
    name = "symmetry"
    pairs = _pairs(case)
    if not pairs:
        return Check.skipped(name, "there is one feature only")
    z, row = _trial_points(case)
    before = case.score(z, row)
    alike = _alike(case, z[:1], row[:1], before[:1], pairs)
    # a pair that plays no part is exchangeable as well, but shows nothing
    found = [p for p in alike if _exchangeable(case, z, row, before, *p)][:_SHOWN]
    if not found:
        return Check.skipped(
            name, f"no two features are exchangeable, {len(pairs)} of their pairs tried"
        )
    here, row = case.attributed.values[:1], case.rows[:1]
    worst = 0.0
    for i, j in found:
        there = case.attribute(_swapped(case.x[:1], i, j), _swapped(case.b[:1], i, j), row).values
        apart = np.abs(_swapped(there, i, j) - here)[:, np.concatenate([i, j])].max(axis=1)
        worst = max(worst, _relative(apart, np.abs(here).max(axis=1)))
    first = ", ".join(case.name_of(int(k[0])) for k in found[0])
    whole = " and what follows" if len(found[0][0]) > 1 else ""
    detail = (
        f"|aᵢ(x) − aⱼ(s(x))| / max|a|, s a swap, {len(found)} exchangeable "
        f"pair{'s' * (len(found) > 1)}, such as {first}{whole}"
    )
    return Check.at_most(name, worst, _SYMMETRY, detail)


def _pairs(case: Case) -> list[tuple[Array, Array]]:
    """Pairs of places to swap: whole inputs of the same shape, then single features."""
    spans, start = {}, 0
    for name, shape in case.shapes.items():
        size = int(np.prod(shape, dtype=np.int64))
        spans[name] = np.arange(start, start + size)
        start += size
    whole = [
        (spans[a], spans[b])
        for a, b in combinations(case.shapes, 2)
        if case.shapes[a] == case.shapes[b] and len(spans[a]) > 1
    ]
    count = case.features
    if count * (count - 1) // 2 <= _PAIRS:
        singles = list(combinations(range(count), 2))
    else:
        draw = np.random.default_rng(case.seed)
        near = [(i, i + 1) for i in draw.choice(count - 1, min(count - 1, _PAIRS // 4), False)]
        far = [tuple(draw.choice(count, 2, replace=False)) for _ in range(_PAIRS - len(near))]
        singles = [*near, *far]
    return whole + [(np.array([i]), np.array([j])) for i, j in singles]


def _trial_points(case: Case) -> tuple[Array, Array]:
    """Points of the path and as many with their values in random places, all of the first row."""
    z, row = case.on(np.array([0.23, 0.61, 1.0]), case.rows[:1])
    draw = np.random.default_rng(case.seed)
    mixed = np.stack([draw.permutation(p) for p in z])
    size = np.abs(case.x[0] - case.b[0]).mean() or 1.0
    noisy = z + size * draw.standard_normal(z.shape)
    return np.concatenate([z, mixed, noisy]), np.concatenate([row, row, row])


def _alike(
    case: Case, z: Array, row: Array, before: Array, pairs: list[tuple[Array, Array]]
) -> list[tuple[Array, Array]]:
    """The pairs whose swap leaves the score at one point."""
    swapped = np.concatenate([_swapped(z, i, j) for i, j in pairs])
    apart = np.abs(case.score(swapped, np.repeat(row, len(pairs))) - before)
    return [p for p, a in zip(pairs, apart, strict=True) if a <= _rounding(case, before)]


def _exchangeable(case: Case, z: Array, row: Array, before: Array, i: Array, j: Array) -> bool:
    """Whether a swap leaves all scores, while another change of the same places does not."""
    moved, least = z.copy(), _rounding(case, before)
    moved[:, i] = z[:, j]
    apart = np.abs(case.score(_swapped(z, i, j), row) - before)
    changed = np.abs(case.score(moved, row) - before)
    return float(apart.max()) <= least and float(changed.max()) > _ROUNDINGS * least


def _rounding(case: Case, scores: Array) -> float:
    eps = max(float(np.finfo(d).eps) for d in case.dtypes.values())
    return _ROUNDINGS * eps * max(float(np.abs(scores).max()), 1e-30)


def _swapped(z: Array, i: Array, j: Array) -> Array:
    made = z.copy()
    made[:, i], made[:, j] = z[:, j], z[:, i]
    return made


def _relative(apart: Array, size: Array) -> float:
    """The largest ratio; 0 where both vanish."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(apart == 0, 0.0, apart / size)
    return float(ratio.max())


__all__ = ["implementation_invariance", "linearity", "symmetry"]
