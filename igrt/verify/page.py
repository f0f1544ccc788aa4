"""A verification as one self-contained HTML page: the table, the curves, what repeats it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from igrt.render.chart import Band, Line, chart
from igrt.render.facts import number, percent, printable
from igrt.render.page import page
from igrt.verify.check import Check, Verification
from igrt.verify.curves import Curves
from igrt.verify.evaluate import CHANCE
from igrt.verify.faithfulness import Faithfulness
from igrt.verify.infidelity import Infidelity
from igrt.verify.randomisation import LIMIT, Randomisation

ROWS = 16
"""Most rows whose curves are shown."""

_MARKS = {True: "✓", False: "✗", None: "–"}


def document(verification: Verification) -> str:
    """The page as text.

    Of `verification.extras`, ``faithfulness`` (a sequence of `Faithfulness`, one per row) and
    ``randomisation`` (a `Randomisation`) are drawn where they are there.
    """
    measured: Sequence[Faithfulness] = verification.extras.get("faithfulness", ())
    cascade: Randomisation | None = verification.extras.get("randomisation")
    said = [verification.model, verification.method, verification.inputs]
    said.append(f"{verification.seconds:.3g} s")
    parts = [
        "<header>",
        f"<h1>Verification</h1>\n<p>{_text(' · '.join(s for s in said if s))}</p>",
        "</header>",
        "<main>",
        _summary(verification),
        *(_row(found, row, len(measured)) for row, found in enumerate(measured[:ROWS])),
        _more(len(measured)),
        _cascade(cascade) if cascade is not None and cascade.layers else "",
        "</main>",
        _record(verification),
    ]
    title = _text(f"{verification.model}: {_verdict(verification)} · igrt verify")
    return page(title, "\n".join(part for part in parts if part))


def _text(text: str) -> str:
    return escape(printable(text), quote=True)


def _verdict(verification: Verification) -> str:
    made = [c for c in verification.checks if c.holds is not None]
    failed = len(verification.failed)
    if not made:
        return "no check could be made"
    if failed:
        verb = "does" if failed == 1 else "do"
        return f"{failed} of {len(made)} checks {verb} not hold"
    return f"all {len(made)} checks hold" if len(made) > 1 else "the check holds"


def _summary(verification: Verification) -> str:
    said = _verdict(verification)
    left_out = sum(c.holds is None for c in verification.checks)
    note = f'<p class="quiet">{left_out} could not be made.</p>\n' if left_out else ""
    rows = "".join(_check(c) for c in verification.checks)
    return (
        f'<section aria-labelledby="checks">\n<h2 id="checks">{said[:1].upper() + said[1:]}</h2>\n'
        f'{note}<div class="scroll"><table class="checks">\n'
        "<caption>Each figure against its limit</caption>\n"
        '<thead><tr><th scope="col">check</th><th scope="col" class="number">figure</th>'
        '<th scope="col" class="number">limit</th><th scope="col">verdict</th>'
        f'<th scope="col" class="detail">what it is</th></tr></thead>\n<tbody>\n{rows}</tbody>\n'
        "</table></div>\n</section>"
    )


def _check(check: Check) -> str:
    figure, limit = ("–" if v is None else number(v) for v in (check.figure, check.limit))
    kind = {True: "holds", False: "fails", None: "quiet"}[check.holds]
    return (
        f'<tr><th scope="row">{_text(check.name)}</th><td class="number">{figure}</td>'
        f'<td class="number">{limit}</td>'
        f'<td class="verdict {kind}">{_MARKS[check.holds]} {check.verdict}</td>'
        f'<td class="detail">{_text(check.detail)}</td></tr>\n'
    )


def _row(found: Faithfulness, row: int, rows: int) -> str:
    of = f" of row {row}" if rows > 1 else ""
    return (
        f'<section aria-labelledby="row-{row}">\n<h2 id="row-{row}">Faithfulness{of}</h2>\n'
        f'<div class="parts">\n<div>\n<h3>Insertion and deletion</h3>\n{_curves(found.curves)}'
        f"</div>\n<div>\n<h3>Infidelity</h3>\n{_infidelities(found)}</div>\n</div>\n</section>"
    )


def _more(rows: int) -> str:
    return f"<p>The curves of {rows - ROWS} more rows are not shown.</p>" if rows > ROWS else ""


def _curves(found: Curves) -> str:
    areas = found.random_areas
    low, high = np.quantile(found.random, [CHANCE, 1 - CHANCE], axis=0)
    kept = percent(1 - 2 * CHANCE)
    lines = [
        Line("insertion", found.insertion, "first", _area(found.insertion_area)),
        Line("deletion", found.deletion, "second", _area(found.deletion_area)),
        Line("insertion at random", found.random.mean(axis=0), "control", _area(areas.mean())),
    ]
    told = (
        f"Score while features are put into the baseline, area {number(found.insertion_area)},"
        f" and taken out of the input, area {number(found.deletion_area)}; in random orders"
        f" {number(areas.mean())}"
    )
    return chart(
        found.share,
        lines,
        told=told,
        x_name="share of the features put in or taken out, highest attribution first",
        y_name="score",
        band=Band(f"{kept} of {len(areas)} random orders", low, high),
        marks=[(s, percent(s)) for s in (0.0, 0.25, 0.5, 0.75, 1.0)],
    )


def _area(value: float) -> str:
    return f"area {number(value)}"


def _infidelities(found: Faithfulness) -> str:
    columns = (found.noise, found.removal)

    def line(name: str, of: Any) -> str:
        cells = "".join(f'<td class="number">{number(of(c))}</td>' for c in columns)
        return f'<tr><th scope="row">{name}</th>{cells}</tr>\n'

    def shuffled(one: Infidelity) -> float:
        return float(np.median([_best(p, one.change) for p in one.shuffled]))

    return (
        '<div class="scroll"><table>\n<caption>Mean squared error of the changes of the score that'
        " the attribution foretells</caption>\n"
        '<thead><tr><th scope="col"></th><th scope="col" class="number">noise</th>'
        '<th scope="col" class="number">removal</th></tr></thead>\n<tbody>\n'
        + line("attribution Φ", lambda c: c.plain)
        + line("best scaled, β·Φ", lambda c: c.normalised)
        + line("β", lambda c: c.scale)
        + line("zero attribution", lambda c: c.of_zero)
        + line("its numbers in random places, best scaled", shuffled)
        + "</tbody>\n</table></div>\n"
        + f'<p class="quiet">Sensitivity-max {number(found.sensitivity.largest)}: the largest'
        f" relative change of Φ at {len(found.sensitivity.ratios)} points near the input.</p>\n"
    )


def _best(foretold: Any, change: Any) -> float:
    return Infidelity(foretold, change, foretold[:0], ()).normalised


def _cascade(found: Randomisation) -> str:
    magnitude, signed = (np.abs(a).mean(axis=1) for a in (found.magnitude, found.signed))
    steps = np.arange(len(found.layers) + 1)
    first, second = (np.concatenate([[1.0], y]) for y in (magnitude, signed))
    limit = found.checks[0].limit if found.checks else LIMIT
    lines = [
        Line("|attribution|", first, "first", f"ends at {number(first[-1])}"),
        Line("attribution, with its sign", second, "second", f"ends at {number(second[-1])}"),
        Line("limit for the lower one at the last step", np.full(len(steps), limit), "limit"),
    ]
    drawn = chart(
        steps,
        lines,
        told=f"Rank correlation with the original attribution, from 1 to {number(first[-1])}",
        x_name="steps of the cascade, from the trained model to all layers random",
        y_name="|rank correlation|",
        marks=[(int(s), str(s)) for s in steps],
        y_range=(0.0, 1.05),
        dots=True,
    )
    rows = "".join(
        f'<tr><th scope="row" class="number">{k}</th><td><bdi>{_text(name)}</bdi></td>'
        f'<td class="number">{magnitude[k - 1]:.2f}</td><td class="number">{signed[k - 1]:.2f}</td>'
        "</tr>\n"
        for k, name in enumerate(found.layers, 1)
    )
    return (
        '<section aria-labelledby="randomisation">\n'
        '<h2 id="randomisation">Weight randomisation</h2>\n'
        f'<div class="parts">\n<div>\n{drawn}</div>\n<div class="scroll"><table>\n'
        "<caption>Mean |rank correlation| with the original attribution</caption>\n"
        '<thead><tr><th scope="col" class="number">step</th><th scope="col">random down to</th>'
        '<th scope="col" class="number">|a|</th><th scope="col" class="number">a</th></tr></thead>'
        f"\n<tbody>\n{rows}</tbody>\n</table></div>\n</div>\n</section>"
    )


def _record(verification: Verification) -> str:
    entries = {"method": verification.method, "target": list(verification.target)}
    entries |= dict(verification.provenance)
    rows = "".join(
        f'<tr><th scope="row">{_text(name)}</th><td><bdi>'
        f"{_text(value if isinstance(value, str) else json.dumps(value, default=str))}"
        "</bdi></td></tr>\n"
        for name, value in entries.items()
    )
    return (
        '<footer>\n<h2>Provenance</h2>\n<table class="record">\n'
        f"<caption>What repeats this result</caption>\n<tbody>\n{rows}</tbody>\n</table>\n</footer>"
    )


__all__ = ["ROWS", "document"]
