"""Attributions as a few lines of text for a terminal or a log."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from igrt.render.facts import caution, facts, how, number, printable, source, title, tops
from igrt.render.views import Bars, view

if TYPE_CHECKING:
    from igrt.attribution import Attribution

ROWS = 16
"""Most rows with details of their own; the table has all up to a hundred."""

_LISTED = 100
_FEATURES = 10
_BAR = "█"

_SHORT = {
    "score": "score",
    "baseline score": "baseline",
    "completeness gap": "gap",
    "relative gap": "relative",
    "estimated error": "error",
    "evaluations": "evals",
}
"""Headings of the table by the names of the facts."""

_CODES = {"red": "31", "blue": "34", "quiet": "2", "strong": "1", "warn": "33"}


def text(attribution: Attribution, *, files: Sequence[str] = (), colour: bool, width: int) -> str:
    """A summary of every row, without a line break at the end.

    Args:
        attribution: The result.
        files: Names of the files that were written.
        colour: Whether escape sequences for colours are used; nothing is said by colour alone.
        width: Columns of the terminal; lines are not longer, from 40 columns on.
    """
    width = max(40, width)
    paint = _Paint(colour)
    said = " · ".join(value for _, value in how(attribution))
    lines = [paint("quiet", _fit(said, width)), ""]
    lines += _numbers(attribution, width, paint)
    if len(attribution) > _LISTED:
        lines.append(f"and {len(attribution) - _LISTED:,} more rows")
    for row in range(min(len(attribution), ROWS)):
        details = _details(attribution, row, width, paint)
        if details:
            heading = _fit(title(attribution, row), width)
            lines += ["", paint("strong", heading), *details] if len(attribution) > 1 else details
    if files:
        lines.append("")
        lines += [_fit(f"wrote {printable(str(name))}", max(width, 200)) for name in files]
    return "\n".join(lines)


class _Paint:
    """Wraps text in escape sequences, or leaves it alone."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, style: str, text: str) -> str:
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self._colour and text.strip() else text


def _numbers(attribution: Attribution, width: int, paint: _Paint) -> list[str]:
    """The numbers of one row as a list, those of several as a table if that is wide enough."""
    if len(attribution) > 1:
        for names in (tuple(_SHORT), tuple(n for n in _SHORT if n != "relative gap")):
            table = _table(attribution, names, width)
            if table:
                return [paint("quiet", table[0]), *table[1:]]
    label = max(map(_cells, _SHORT))
    lines = []
    for row in range(min(len(attribution), _LISTED)):
        entries = [("target", title(attribution, row)), *facts(attribution, row)]
        origin = source(attribution, row)
        if origin:
            entries.insert(0, ("example", origin))
        lines += [""] * bool(row)
        lines += [
            f"{paint('quiet', _left(name, label))}  {_fit(value, width - label - 2)}"
            for name, value in entries
        ]
    return lines


def _table(attribution: Attribution, names: tuple[str, ...], width: int) -> list[str]:
    """A heading and one line per row; empty if names would be too short to be read."""
    rows = range(min(len(attribution), _LISTED))
    records = [dict(facts(attribution, row)) for row in rows]
    numbers = [_aligned([_SHORT[n], *(r[n] for r in records)], _right) for n in names]
    words = [["target", *(title(attribution, row) for row in rows)]]
    origins = [source(attribution, row) for row in rows]
    if any(origins):
        words.insert(0, ["example", *origins])
    room = (width - sum(_cells(column[0]) + 2 for column in numbers)) // len(words) - 1
    if room < 12:
        return []
    columns = [_aligned([_fit(cell, room) for cell in column], _left) for column in words]
    return ["  ".join(cells).rstrip() for cells in zip(*columns, *numbers, strict=True)]


def _aligned(cells: list[str], pad: Callable[[str, int], str]) -> list[str]:
    widest = max(map(_cells, cells))
    return [pad(cell, widest) for cell in cells]


def _details(attribution: Attribution, row: int, width: int, paint: _Paint) -> list[str]:
    lines = []
    warning = caution(attribution, row)
    if warning:
        lines += ["", paint("warn", _fit(warning, max(width, 100)))]
    best = tops(attribution, row)
    if best:
        names = [f"{b.label} ({b.index})" if b.label != str(b.index) else b.label for b in best]
        marks = ["<- explained" if b.explained else "" for b in best]
        cells = [(n, "", b.score, m) for n, b, m in zip(names, best, marks, strict=True)]
        lines += ["", paint("quiet", "top classes"), *_bars(cells, width, paint, signed=False)]
    for name in attribution.values:
        drawn = view(attribution, row, name, side=64, count=_FEATURES)
        bars = drawn if isinstance(drawn, Bars) else getattr(drawn, "sums", None)
        if bars is not None:
            heading = _fit(f"attribution of {printable(name)}", width)
            features = [(b.name, b.given and f"= {b.given}", b.value, "") for b in bars.bars]
            lines += ["", paint("quiet", heading), *_bars(features, width, paint, signed=True)]
    return lines


def _bars(
    entries: Sequence[tuple[str, str, float, str]], width: int, paint: _Paint, *, signed: bool
) -> list[str]:
    """Lines of name, input, number, bar and mark; bars run to the right, the sign is written."""
    numbers = [number(value, signed=signed) for _, _, value, _ in entries]
    given = min(16, max(_cells(g) for _, g, _, _ in entries))
    widest = max(map(_cells, numbers))
    marks = max(_cells(m) for _, _, _, m in entries)
    fixed = 2 + given + bool(given) + 2 + widest + 2 + (marks + 1 if marks else 0)
    name = min(max(_cells(n) for n, _, _, _ in entries), max(8, (width - fixed) * 2 // 3))
    reach = min(30, max(0, width - fixed - name))
    top = max((abs(v) for _, _, v, _ in entries if abs(v) < float("inf")), default=0.0)
    lines = []
    for (label, value_in, value, mark), shown in zip(entries, numbers, strict=True):
        # without a written sign, a bar means more than nothing
        length = abs(value) if signed else max(value, 0.0)
        share = length / top if top and length <= top else 0.0
        bar = _BAR * round(share * reach)
        style = "quiet" if not signed else "red" if value > 0 else "blue"
        line = f"  {_left(_fit(label, name), name)} "
        line += f"{_left(_fit(value_in, given), given)} " if given else ""
        line += f" {_right(shown, widest)}  {paint(style, bar)}"
        line += f"{' ' * (reach - len(bar))} {mark}" if mark else ""
        lines.append(line.rstrip())
    return lines


def _cells(text: str) -> int:
    """Columns that a terminal takes for a text: none for accents, two for Chinese characters."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _fit(text: str, width: int) -> str:
    if _cells(text) <= width:
        return text
    kept = ""
    for letter in text:
        if _cells(kept + letter) > width - 1:
            break
        kept += letter
    return kept.rstrip() + "…"


def _left(text: str, width: int) -> str:
    return text + " " * (width - _cells(text))


def _right(text: str, width: int) -> str:
    return " " * (width - _cells(text)) + text


__all__ = ["text"]
