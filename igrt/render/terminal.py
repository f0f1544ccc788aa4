"""Attributions as a few lines of text for a terminal or a log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from igrt.render import swarm, trace
from igrt.render.blocks import blocks, views
from igrt.render.cells import Paint, bars, cells, fit, left, right
from igrt.render.diagram import terminal as diagram
from igrt.render.diagram.view import Diagram
from igrt.render.facts import caution, facts, how, printable, shared_title, source, title, tops
from igrt.render.matrix import terminal as matrix
from igrt.render.matrix.view import Matrix
from igrt.render.signal import Signal
from igrt.render.views import Bars, Map, Picture
from igrt.render.words import terminal as words
from igrt.render.words.view import Words

if TYPE_CHECKING:
    from igrt.attribution import Attribution

BLOCKS = 16
"""Most blocks of rows with details of their own; the table has all rows up to a hundred."""

_LISTED = 100
_FEATURES = 10

_SHORT = {
    "score": "score",
    "baseline score": "baseline",
    "completeness gap": "gap",
    "relative gap": "relative",
    "estimated error": "error",
    "evaluations": "evals",
}
"""Headings of the table by the names of the facts."""


def text(attribution: Attribution, *, files: Sequence[str] = (), colours: int, width: int) -> str:
    """A summary of every row, without a line break at the end.

    Args:
        attribution: The result.
        files: Names of the files that were written.
        colours: How many the terminal has, as `igrt.render.cells.colours` tells; 0 for none, and
            no escape sequences. Nothing is said by colour alone.
        width: Columns of the terminal; lines are not longer, from 40 columns on.
    """
    width = max(40, width)
    paint = Paint(colours)
    said = " · ".join(value for _, value in how(attribution))
    lines = [paint("quiet", fit(said, width)), ""]
    lines += _numbers(attribution, width, paint)
    if len(attribution) > _LISTED:
        lines.append(f"and {len(attribution) - _LISTED:,} more rows")
    swarms = swarm.swarms(attribution, _FEATURES)
    for drawn in swarms:
        lines += ["", paint("strong", fit(drawn.target, width)), *swarm.lines(drawn, width, paint)]
    found = [] if swarms else blocks(attribution)
    for rows in found[:BLOCKS]:
        details = _details(attribution, rows, width, paint)
        if details:
            heading = paint("strong", fit(shared_title(attribution, rows), width))
            lines += ["", heading, *details] if len(found) > 1 else details
    if files:
        lines.append("")
        lines += [fit(f"wrote {printable(str(name))}", max(width, 200)) for name in files]
    return "\n".join(lines)


def _numbers(attribution: Attribution, width: int, paint: Paint) -> list[str]:
    """The numbers of one row as a list, those of several as a table if that is wide enough."""
    if len(attribution) > 1:
        for names in (tuple(_SHORT), tuple(n for n in _SHORT if n != "relative gap")):
            table = _table(attribution, names, width)
            if table:
                return [paint("quiet", table[0]), *table[1:]]
    label = max(map(cells, _SHORT))
    lines = []
    for row in range(min(len(attribution), _LISTED)):
        entries = [("target", title(attribution, row)), *facts(attribution, row)]
        origin = source(attribution, row)
        if origin:
            entries.insert(0, ("example", origin))
        lines += [""] * bool(row)
        lines += [
            f"{paint('quiet', left(name, label))}  {fit(value, width - label - 2)}"
            for name, value in entries
        ]
    return lines


def _table(attribution: Attribution, names: tuple[str, ...], width: int) -> list[str]:
    """A heading and one line per row; empty if names would be too short to be read."""
    rows = range(min(len(attribution), _LISTED))
    records = [dict(facts(attribution, row)) for row in rows]
    numbers = [_aligned([_SHORT[n], *(r[n] for r in records)], right) for n in names]
    words = [["target", *(title(attribution, row) for row in rows)]]
    origins = [source(attribution, row) for row in rows]
    if any(origins):
        words.insert(0, ["example", *origins])
    room = width - sum(cells(column[0]) + 2 for column in numbers) - 2 * (len(words) - 1)
    if room < 12 * len(words):
        return []
    wide = [max(map(cells, column)) for column in words]
    # the narrower column leaves its room to the other
    for left_over, at in enumerate(sorted(range(len(words)), key=wide.__getitem__)):
        wide[at] = min(wide[at], room // (len(words) - left_over))
        room -= wide[at]
    columns = [
        _aligned([fit(cell, most) for cell in column], left)
        for column, most in zip(words, wide, strict=True)
    ]
    return ["  ".join(line).rstrip() for line in zip(*columns, *numbers, strict=True)]


def _aligned(column: list[str], pad: Callable[[str, int], str]) -> list[str]:
    widest = max(map(cells, column))
    return [pad(cell, widest) for cell in column]


def _details(
    attribution: Attribution, rows: tuple[int, ...], width: int, paint: Paint
) -> list[str]:
    lines = []
    warning = caution(attribution, rows)
    if warning:
        lines += ["", paint("warn", fit(warning, max(width, 100)))]
    best = tops(attribution, rows[0])
    if best:
        names = [f"{b.label} ({b.index})" if b.label != str(b.index) else b.label for b in best]
        marks = ["<- explained" if b.explained else "" for b in best]
        entries = [(n, "", b.score, m) for n, b, m in zip(names, best, marks, strict=True)]
        lines += ["", paint("quiet", "top classes"), *bars(entries, width, paint, signed=False)]
    for name, drawn in views(attribution, rows, side=64, count=_FEATURES).items():
        drawing = _DRAWINGS[type(drawn)](drawn, width, paint)
        if drawing:
            heading = fit(f"attribution of {printable(name)}", width)
            lines += ["", paint("quiet", heading), *drawing]
    return lines


def _nothing(drawn: Picture, width: int, paint: Paint) -> list[str]:
    return []


def _bars(drawn: Bars, width: int, paint: Paint) -> list[str]:
    entries = [(b.name, b.given and f"= {b.given}", b.value, "") for b in drawn.bars]
    return bars(entries, width, paint, signed=True)


def _map(drawn: Map, width: int, paint: Paint) -> list[str]:
    return _bars(drawn.sums, width, paint) if drawn.sums else []


_DRAWINGS: Mapping[type, Callable[[Any, int, Paint], list[str]]] = {
    Picture: _nothing,
    Bars: _bars,
    Map: _map,
    Signal: trace.lines,
    Words: words.lines,
    Matrix: matrix.lines,
    Diagram: diagram.lines,
}
"""How each kind of view is drawn."""


__all__ = ["text"]
