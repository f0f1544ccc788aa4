"""Completeness and both sensitivity axioms."""

from __future__ import annotations

import numpy as np

from igrt.graph import Graph
from igrt.graph.prune import prune
from igrt.specs import Array
from igrt.verify.case import Case
from igrt.verify.check import Check

_ROUNDING = 1e-4
"""Change of the score, relative to its size, below which it may be rounding."""

_NOTHING = 1e-6
"""Share of the change of the score below which an attribution counts as none."""

_MOST_GAP = 0.1
"""Relative gap above which a sum does not count as complete, whatever cancels."""

_CANCELLED = 1.05
"""Σ|a| relative to the change of the score from which on that is worth a word."""

_PROBES = 4
_TRIED = 4
"""Rows whose features are tried for playing no part."""

_CANDIDATES = 64


def completeness(case: Case) -> Check:
    """Attributions sum to the change of the score.

    |Σᵢ aᵢ − (F(x) − F(x′))| / |F(x) − F(x′)|

    The tolerance bounds the error relative to Σ|aᵢ|. Where attributions of both signs cancel, that
    is more than |F(x) − F(x′)|, and the limit is as many times the tolerance. A gap within it, but
    above a tenth of the change of the score, decides nothing.

    Reference: Sundararajan, Taly and Yan, 2017, proposition 1.
    """
    name = "completeness"
    found = case.attributed
    ends = case.score(case.x, case.rows), case.score(case.b, case.rows)
    change = ends[0] - ends[1]
    known = np.abs(change) > _ROUNDING * np.maximum(np.abs(ends[0]), np.abs(ends[1]))
    if not known.any():
        return Check.skipped(name, "the score at the input is that at the baseline")
    change, values = change[known], found.values[known]
    gap = np.abs(values.sum(axis=1) - change) / np.abs(change)
    cancelled = np.abs(values).sum(axis=1) / np.abs(change)
    limit = np.maximum(case.tolerance * cancelled, case.tolerance)
    fails, most = ~(gap <= limit), max(case.tolerance, _MOST_GAP)
    decided = fails | (gap <= most)
    if not decided.any():
        return Check.skipped(
            name,
            f"attributions of both signs cancel, Σ|a| is {cancelled.min():.2g} times the change of "
            "the score: take a smaller tolerance",
        )
    worst = int(np.argmax(np.where(decided, np.nan_to_num(gap / limit, nan=np.inf), -1.0)))
    rows = f"the worst of {int(decided.sum())} rows" if decided.sum() > 1 else "one row"
    detail = f"|Σ a − (F(x) − F(x′))| / |F(x) − F(x′)|, {rows}"
    if cancelled[worst] > _CANCELLED:
        detail += f"; Σ|a| is {cancelled[worst]:.2g} times |F(x) − F(x′)|, hence the limit"
    error = found.error[known][worst]
    if fails[worst] and np.isfinite(error) and error > 0:
        detail += f"; the method reports an error of {error:.1g} there"
    bound = limit[worst] if fails[worst] else min(limit[worst], most)
    return Check.at_most(name, gap[worst], bound, detail)


def sensitivity_a(case: Case) -> Check:
    """A feature that alone changes the score gets an attribution.

    aᵢ ≠ 0 for every probe: an input that differs from its baseline in feature i only, and in score.
    There are two kinds: the baseline with one feature of the input, and the input with a baseline
    that lacks one feature of it. The figure counts the probes with none.

    Reference: Sundararajan, Taly and Yan, 2017, section 2.1.
    """
    name = "sensitivity (a)"
    z, b, row, feature = _probes(case)
    if not len(z):
        return Check.skipped(name, "the input differs from the baseline in no feature")
    ends = case.score(z, row), case.score(b, row)
    change = np.abs(ends[0] - ends[1])
    moved = change > _ROUNDING * np.maximum(np.abs(ends[0]), np.abs(ends[1]))
    if not moved.any():
        return Check.skipped(
            name, f"none of {len(z)} probes of one feature changes the score beyond rounding"
        )
    z, b, row, feature, change = z[moved], b[moved], row[moved], feature[moved], change[moved]
    found = case.attribute(z, b, row).values[np.arange(len(z)), feature]
    none = np.abs(found) <= _NOTHING * change
    detail = f"probes of one feature that change the score and get none, of {len(z)}"
    if none.any():
        first = int(np.argmax(none))
        detail += f"; the first is {case.name_of(int(feature[first]))}"
    return Check.at_most(name, int(none.sum()), 0, detail)


def _probes(case: Case) -> tuple[Array, Array, Array, Array]:
    """Input, baseline, row and feature of probes that differ in that feature only."""
    draw = np.random.default_rng(case.seed)
    made: list[tuple[Array, Array, int, int]] = []
    # features with a large displacement first: they are likelier to change the score
    for r in range(len(case)):
        moves = np.abs(case.x[r] - case.b[r])
        live = np.flatnonzero(moves)
        if not len(live):
            continue
        share = moves[live] / moves[live].sum()
        count = min(len(live), max(1, _PROBES // len(case)))
        for i in draw.choice(live, count, replace=False, p=share):
            raised, lacking = case.b[r].copy(), case.x[r].copy()
            raised[i], lacking[i] = case.x[r, i], case.b[r, i]
            made += [(raised, case.b[r], r, int(i)), (case.x[r], lacking, r, int(i))]
    made = made[: 2 * _PROBES]
    if not made:
        empty = np.empty((0, case.features))
        return empty, empty, np.empty(0, np.int64), np.empty(0, np.int64)
    z, b, row, feature = zip(*made, strict=True)
    return np.stack(z), np.stack(b), np.array(row), np.array(feature)


def sensitivity_b(case: Case) -> Check:
    """A feature that the score does not depend on gets exactly none.

    Such features are found in the graph (inputs that no path leads from) and by trial: up to 64
    features take their baseline and random values at points of the path. One that seems to play
    no part but gets an attribution is tried at 129 points more before it counts.

    Reference: Sundararajan, Taly and Yan, 2017, section 2.1 (b).
    """
    name = "sensitivity (b)"
    unused, tried = _unused(case), _candidates(case)
    deaf = [i for i in tried if i not in unused]
    deaf = [i for i in deaf if not _acts(case, i, np.array([0.0, 0.37, 0.71, 1.0]))]
    if not len(unused) and not deaf:
        return Check.skipped(
            name, f"the score depends on every input, and on all {len(tried)} features tried"
        )
    found = np.abs(case.attributed.values[:_TRIED]).max(axis=0)
    real = [i for i in deaf if not found[i] or not _acts(case, i, np.linspace(0, 1, 129))]
    features = np.array([*unused, *real], dtype=np.int64)
    if not len(features):
        return Check.skipped(name, f"the score depends on all {len(tried)} features tried")
    detail = (
        f"largest attribution of {len(features)} features that play no part, "
        f"{len(unused)} by the graph and {len(real)} by trial"
    )
    worst = int(np.argmax(found[features]))
    if found[features[worst]] > 0:
        detail += f"; it is that of {case.name_of(int(features[worst]))}"
    return Check.at_most(name, found[features].max(), 0, detail)


def _unused(case: Case) -> set[int]:
    """Features of the inputs that no path leads from."""
    part = prune(case.engine.part.proto, [case.of], keep_inputs=False)
    needed = {i.name for i in Graph(part).inputs}
    found, start = set[int](), 0
    for name, shape in case.shapes.items():
        size = int(np.prod(shape, dtype=np.int64))
        if name not in needed:
            found.update(range(start, start + size))
        start += size
    return found


def _candidates(case: Case) -> list[int]:
    draw = np.random.default_rng(case.seed)
    count = min(case.features, _CANDIDATES)
    return sorted(int(i) for i in draw.choice(case.features, count, replace=False))


def _acts(case: Case, feature: int, alphas: Array) -> bool:
    """Whether other values of a feature change the score at some point of the path, by any bit."""
    draw = np.random.default_rng((case.seed, feature))
    z, row = case.on(alphas, case.rows[:_TRIED])
    before = case.score(z, row)
    size = max(float(np.abs(case.x).max()), float(np.abs(case.b).max()), 1e-3)
    ends = case.b[row, feature], case.x[row, feature]
    for values in (*ends, draw.uniform(-size, size, len(z)), draw.uniform(-size, size, len(z))):
        moved = z.copy()
        moved[:, feature] = values
        if not np.array_equal(case.score(moved, row), before):
            return True
    return False


__all__ = ["completeness", "sensitivity_a", "sensitivity_b"]
