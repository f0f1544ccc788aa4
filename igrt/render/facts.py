"""What every rendering says in words and numbers, so that PNG, HTML and terminal say the same."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from igrt.render.colour import PERCENTILE

if TYPE_CHECKING:
    from igrt.attribution import Attribution

MEANING = "red raises the score, blue lowers it"
"""What the two colours mean; drawn with every picture."""

CLIPPING = f"full colour from the {PERCENTILE:g}th percentile of |attribution|"
"""How the colours of maps are scaled; drawn with every map."""

_MARKS = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_JOINERS = "\u200c\u200d"
"""Invisible, and needed to write Persian, Hindi and emoji; they reorder nothing."""


@final
@dataclass(frozen=True)
class Top:
    """One of the highest scores: class, its name, its score, whether it is the explained one."""

    index: int
    label: str
    score: float
    explained: bool


def printable(text: str) -> str:
    """Text as one line that cannot steer a terminal or reorder the text around it.

    Control characters, line breaks, direction overrides and lone surrogates (from file names) are
    written as escapes.
    """
    return "".join(
        c if c in _JOINERS or unicodedata.category(c) not in _MARKS else ascii(c)[1:-1]
        for c in text
    )


def number(value: float, *, signed: bool = False) -> str:
    """A number with four significant digits; with its sign if `signed`, except for 0."""
    value = float(value)
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    text = f"{value:+.4g}" if signed and value != 0 else f"{value:.4g}"
    return "0" if float(text) == 0 else text.replace("e-0", "e-").replace("e+0", "e+")


def percent(value: float) -> str:
    """A fraction in per cent with two significant digits; magnitudes only."""
    value = abs(float(value))
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else "undefined"
    scaled = 100 * value
    if 0 < scaled < 0.001:
        return "< 0.001 %"
    return f"{scaled:.0f} %" if scaled >= 10 else f"{scaled:.2g} %"


def heading(attribution: Attribution, row: int) -> tuple[str, str]:
    """What is explained: name and index (``tabby cat``, ``(281)``) or ``class 281`` alone."""
    target, label = attribution.target[row], attribution.label(row)
    if isinstance(target, tuple):
        return f"output {printable(label)}", ""
    if isinstance(target, str):
        return printable(label), ""
    if label != str(target):
        return printable(label), f"({target})"
    return (f"class {target}" if np.size(attribution.scores[row]) > 1 else "output"), ""


def title(attribution: Attribution, row: int) -> str:
    """What is explained, in one: ``tabby cat (281)``."""
    return shared_title(attribution, (row,))


def headline(attribution: Attribution, rows: tuple[int, ...]) -> tuple[str, str]:
    """What a block of rows explains, as `heading` says it of one row."""
    if len(rows) == 1:
        return heading(attribution, rows[0])
    return f"{len(rows)} outputs", f"of example {int(attribution.example[rows[0]])}"


def shared_title(attribution: Attribution, rows: tuple[int, ...]) -> str:
    """The headline in one line."""
    return " ".join(part for part in headline(attribution, rows) if part)


def source(attribution: Attribution, row: int) -> str:
    """Where the example of a row came from; empty if unknown."""
    example, sources = int(attribution.example[row]), attribution.display.sources
    return printable(sources[example]) if 0 <= example < len(sources) else ""


def facts(attribution: Attribution, row: int) -> list[tuple[str, str]]:
    """Names and values of the numbers by which a row is judged."""
    error = percent(attribution.error[row])
    given = _softplus(attribution).get("output", [])
    return [
        ("score", number(attribution.output[row])),
        *([("unsmoothed score", number(given[row]))] if given else []),
        ("baseline score", number(attribution.baseline_output[row])),
        ("completeness gap", number(attribution.delta[row], signed=True)),
        ("relative gap", percent(attribution.relative_delta[row])),
        ("estimated error", "no path" if attribution.rule == "none" else error),
        ("evaluations", f"{int(attribution.evaluations[row]):,}"),
    ]


def _softplus(attribution: Attribution) -> Mapping[str, Any]:
    """What was smoothed; nothing where the parts of a result differ in what they scored before."""
    said = attribution.provenance.get("softplus", {})
    return said if isinstance(said, Mapping) else {}


def shared_facts(attribution: Attribution, rows: tuple[int, ...]) -> list[tuple[str, str]]:
    """Names and values of the numbers by which a block of rows is judged."""
    if len(rows) == 1:
        return facts(attribution, rows[0])
    chosen = list(rows)
    return [
        ("largest completeness gap", number(np.abs(attribution.delta[chosen]).max())),
        ("largest relative gap", percent(np.abs(attribution.relative_delta[chosen]).max())),
        ("largest estimated error", percent(attribution.error[chosen].max())),
        ("evaluations", f"{int(attribution.evaluations[chosen].sum()):,}"),
    ]


def how(attribution: Attribution) -> list[tuple[str, str]]:
    """Names and values of what all rows have in common."""
    policy = attribution.provenance.get("quantised", "")
    beta = _softplus(attribution).get("beta")
    return [
        ("method", printable(attribution.method)),
        ("rule", printable(attribution.rule)),
        *([("quantised", printable(str(policy)))] if policy else []),
        *([("softplus", f"softplus {number(beta)}")] if beta else []),
        ("provider", printable(attribution.provider)),
        ("time", f"{attribution.seconds:.3g} s"),
    ]


def caution(attribution: Attribution, rows: tuple[int, ...]) -> str:
    """Says so where the error of a row is above the tolerance; else empty."""
    missed = [row for row in rows if not attribution.converged[row]]
    if attribution.tolerance is None or not missed:
        return ""
    which = f"{len(missed)} of {len(rows)} outputs " if len(rows) > 1 else ""
    return (
        f"{which}not converged: the estimated error of {percent(attribution.error[missed].max())}"
        f" is above the tolerance of {percent(attribution.tolerance)}"
    )


def tops(attribution: Attribution, row: int, count: int = 5) -> list[Top]:
    """The highest scores of a row; none where the output is no list of classes."""
    scores = np.asarray(attribution.scores[row])
    if scores.ndim != 1 or scores.size < 2:
        return []
    target = attribution.target[row]
    return [
        Top(index, printable(attribution.display.label(index)), score, target in (index, (index,)))
        for index, score in attribution.top(row, count)
    ]


__all__ = [
    "CLIPPING",
    "MEANING",
    "Top",
    "caution",
    "facts",
    "heading",
    "headline",
    "how",
    "number",
    "percent",
    "printable",
    "shared_facts",
    "shared_title",
    "source",
    "title",
    "tops",
]
