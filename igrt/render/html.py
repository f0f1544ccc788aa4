"""Attributions as one self-contained HTML page: no requests, no foreign script, no fonts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from igrt.errors import InputError
from igrt.render import swarm, trace, waterfall
from igrt.render.blocks import blocks, views
from igrt.render.diagram import html as diagram
from igrt.render.diagram.view import Diagram
from igrt.render.facts import (
    MEANING,
    caution,
    facts,
    headline,
    how,
    number,
    percent,
    shared_facts,
    shared_title,
    source,
    title,
    tops,
)
from igrt.render.markup import address, bar, bar_table, safe, scale, share
from igrt.render.matrix import html as matrix
from igrt.render.matrix.view import Matrix
from igrt.render.page import page
from igrt.render.signal import Signal
from igrt.render.views import Bars, Map, Picture, View, describe, enlarge, heat, veil
from igrt.render.words import html as words
from igrt.render.words.view import Words
from igrt.specs import Array

if TYPE_CHECKING:
    from igrt.attribution import Attribution

BLOCKS = 64
"""Most blocks of rows on one page: a browser holds every picture of it in memory."""

_SIDE = 1024
_LEAST = 336


def write(attribution: Attribution, path: Path) -> None:
    """Writes `attribution` as an HTML file.

    Raises:
        InputError: If there is nothing to show.
    """
    path.write_text(document(attribution), encoding="utf-8")


def document(attribution: Attribution) -> str:
    """The page as text.

    Raises:
        InputError: If there is nothing to show.
    """
    if not len(attribution) or not attribution.values:
        raise InputError("the result has no rows, so there is nothing to show")
    found = blocks(attribution)
    shown = found[:BLOCKS]
    first = shared_title(attribution, found[0])
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    said = " · ".join(value for _, value in how(attribution))
    body = [
        "<header>",
        f"<h1>Attribution</h1>\n<p>{safe(said)}</p>",
        f'<p class="quiet">{safe(MEANING[:1].upper() + MEANING[1:])}.</p>',
        "</header>",
        "<main>",
        *map(swarm.section, swarm.swarms(attribution)),
        _contents(attribution, shown) if len(shown) > 1 else "",
        *(_block(attribution, rows) for rows in shown),
        "</main>",
        _record(attribution),
    ]
    return page(safe(f"{first}{more} · igrt"), "\n".join(part for part in body if part))


def _contents(attribution: Attribution, shown: list[tuple[int, ...]]) -> str:
    links = "".join(
        f'<li><a href="#row-{rows[0]}"><bdi>{safe(shared_title(attribution, rows))}</bdi></a>'
        f' <span class="quiet"><bdi>{safe(source(attribution, rows[0]))}</bdi></span></li>\n'
        for rows in shown
    )
    left_out = len(attribution) - sum(map(len, shown))
    note = f"<p>{left_out} more rows are not shown.</p>" if left_out else ""
    return f'<nav aria-label="Rows"><ol>\n{links}</ol>{note}</nav>'


def _block(attribution: Attribution, rows: tuple[int, ...]) -> str:
    name, index = headline(attribution, rows)
    origin, warning = source(attribution, rows[0]), caution(attribution, rows)
    listed = "".join(
        f"<div><dt>{safe(name)}</dt><dd>{safe(value)}</dd></div>"
        for name, value in shared_facts(attribution, rows)
    )
    parts = [
        _part(f"view-{rows[0]}-{at}", origin, tensor, drawn)
        for at, (tensor, drawn) in enumerate(views(attribution, rows, side=_SIDE).items())
    ]
    if len(rows) == 1:
        parts.insert(0, waterfall.figure(attribution, rows[0]))
    beside = _classes(attribution, rows[0]) if len(rows) == 1 else _outputs(attribution, rows)
    return (
        f'<section aria-labelledby="row-{rows[0]}">\n'
        f'<h2 id="row-{rows[0]}"><bdi>{safe(name)}</bdi>'
        + (f' <span class="quiet">{index}</span>' if index else "")
        + "</h2>\n"
        + (f'<p class="quiet"><bdi>{safe(origin)}</bdi></p>\n' if origin else "")
        + f'<dl class="facts">{listed}</dl>\n'
        + (f'<p class="caution">{safe(warning[:1].upper() + warning[1:])}.</p>' if warning else "")
        + f'<div class="parts">\n{"".join(parts)}{beside}</div>\n</section>'
    )


def _part(group: str, origin: str, name: str, drawn: View) -> str:
    named = f"<h3><bdi>{safe(name)}</bdi></h3>\n"
    if isinstance(drawn, Picture):
        return f"<div>{named}{_picture(group, origin, drawn)}</div>\n"
    return f'<div class="wide">{named}{_FIGURES[type(drawn)](drawn)}</div>\n'


def _outputs(attribution: Attribution, rows: tuple[int, ...]) -> str:
    """The numbers of the rows of a block, as a table that opens."""
    records = [facts(attribution, row) for row in rows]
    head = "".join(f'<th scope="col" class="number">{safe(name)}</th>' for name, _ in records[0])
    body = "".join(
        f'<tr><th scope="row"><bdi>{safe(title(attribution, row))}</bdi></th>'
        + "".join(f'<td class="number">{safe(value)}</td>' for _, value in record)
        + "</tr>\n"
        for row, record in zip(rows, records, strict=True)
    )
    return (
        "<details>\n<summary>Numbers of each output</summary>\n"
        '<div class="scroll"><table>\n<caption>Outputs in the order of the rows</caption>\n'
        f'<thead><tr><th scope="col">output</th>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div>\n</details>\n"
    )


def _picture(group: str, origin: str, drawn: Picture) -> str:
    high, wide = drawn.strength.shape
    factor = max(1, -(-_LEAST // max(high, wide)))
    size = f'width="{wide * factor}" height="{high * factor}"'
    told = f"Attribution of the picture, {number(drawn.total, signed=True)} in sum"

    def image(name: str, alt: str, pixels: Array) -> str:
        sharp = " sharp" if factor > 1 else ""
        return f'<img class="{name}{sharp}" {size} alt="{safe(alt)}" src="{address(pixels)}">\n'

    views = {"attribution": image("heat", f"{told}; as a map of colours", heat(drawn.strength))}
    controls = ""
    if drawn.original is not None:
        named = f"Original picture {origin}" if origin else "Original picture"
        views["original"] = image("original", named, drawn.original)
        views["overlay"] = image("veil", f"{told}; drawn over it", veil(drawn.smooth))
        controls = "".join(
            f'<input type="radio" class="show-{name}" id="{group}-{name}" name="{group}"'
            f"{' checked' if name == 'overlay' else ''}>"
            f'<label for="{group}-{name}">{name.capitalize()}</label>\n'
            for name in ("original", "attribution", "overlay")
        )
    slider = (
        f'<label class="slider">Strength of the {drawn.overlay_caption}'
        '<input type="range" min="0" max="100" step="5" value="100"></label>\n'
    )
    stage = "".join(views[name] for name in ("original", "overlay", "attribution") if name in views)
    return (
        f"<figure>\n<fieldset>\n<legend>View</legend>\n{controls}"
        f'<div class="stage">\n{stage}</div>\n{slider if controls else ""}</fieldset>\n'
        f"{scale(drawn.top)}</figure>\n"
    )


def _features(drawn: Bars) -> str:
    return bar_table(drawn, "attribution per feature")


def _map(drawn: Map) -> str:
    high, wide = drawn.strength.shape
    tall, broad = max(1, min(20, 400 // high)), max(1, min(48, 640 // wide))
    # the axes behind summed ones are mostly rows and columns of a picture
    pixels = enlarge(heat(drawn.strength), tall, min(tall, broad) if drawn.summed else broad)
    sums = (
        bar_table(drawn.sums, "attribution per feature, summed over the rows") if drawn.sums else ""
    )
    told = f"Attribution map of {describe(drawn)}; {number(drawn.total, signed=True)} in sum"
    names = ""
    if drawn.names and len(drawn.names) <= 640 // 16:
        listed = "".join(f"<span><bdi>{safe(name)}</bdi></span>" for name in drawn.names)
        names = f'<div class="names" aria-hidden="true">{listed}</div>'
    return (
        f'<figure>\n<div class="named"><div class="stage">'
        f'<img alt="{safe(told)}" src="{address(pixels)}"></div>{names}</div>\n'
        f'<p class="quiet">{safe(describe(drawn))}</p>{scale(drawn.top)}</figure>\n{sums}'
    )


_FIGURES: Mapping[type, Callable[[Any], str]] = {
    Bars: _features,
    Map: _map,
    Signal: trace.figure,
    Words: words.figure,
    Matrix: matrix.figure,
    Diagram: diagram.figure,
}
"""How each kind of view is drawn, but for pictures, which have views of their own."""


def _classes(attribution: Attribution, row: int) -> str:
    best = tops(attribution, row)
    if not best:
        return ""
    top = max(abs(b.score) for b in best)
    shares = [share(b.score, top) for b in best]
    low, high = min(0.0, *shares), max(0.0, *shares)
    rows = "".join(
        f"<tr{' class=' + chr(34) + 'explained' + chr(34) if b.explained else ''}>"
        f'<th scope="row"><bdi>{safe(b.label)}</bdi>'
        + (f' <span class="quiet">({b.index})</span>' if b.label != str(b.index) else "")
        + (' <span class="quiet">explained</span>' if b.explained else "")
        + f'</th><td class="number">{number(b.score)}</td>'
        f'<td class="bar">{bar(reach, low, high, "plain")}</td></tr>\n'
        for b, reach in zip(best, shares, strict=True)
    )
    return (
        '<div><table class="classes">\n<caption>Top classes</caption>\n'
        '<thead><tr><th scope="col">class</th><th scope="col" class="number">score</th><td></td>'
        f"</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )


def _record(attribution: Attribution) -> str:
    entries = dict(how(attribution))
    if attribution.tolerance is not None:
        entries["tolerance"] = percent(attribution.tolerance)
    entries.update(_flat(attribution.provenance))
    rows = "".join(
        f'<tr><th scope="row">{safe(name)}</th><td><bdi>{safe(value)}</bdi></td></tr>\n'
        for name, value in entries.items()
    )
    return (
        "<footer>\n<h2>Provenance</h2>\n"
        '<table class="record">\n<caption>What repeats this result</caption>\n'
        f"<tbody>\n{rows}</tbody>\n</table>\n</footer>"
    )


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key} ")
        else:
            yield (
                f"{prefix}{key}",
                value if isinstance(value, str) else json.dumps(value, default=str),
            )


__all__ = ["BLOCKS", "document", "write"]
