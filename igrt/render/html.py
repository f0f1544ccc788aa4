"""Attributions as one self-contained HTML page: no requests, no foreign script, no fonts."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from igrt.errors import InputError
from igrt.render.colour import paint
from igrt.render.facts import (
    CLIPPING,
    MEANING,
    caution,
    facts,
    heading,
    how,
    number,
    percent,
    printable,
    source,
    title,
    tops,
)
from igrt.render.page import page
from igrt.render.views import Bars, Map, Picture, View, describe, enlarge, heat, veil, view
from igrt.specs import Array

if TYPE_CHECKING:
    from igrt.attribution import Attribution

ROWS = 64
"""Most rows on one page: a browser holds every picture of it in memory."""

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
    rows = range(min(len(attribution), ROWS))
    first = title(attribution, 0)
    more = f" and {len(attribution) - 1} more" if len(attribution) > 1 else ""
    said = " · ".join(value for _, value in how(attribution))
    body = [
        "<header>",
        f"<h1>Attribution</h1>\n<p>{_text(said)}</p>",
        f'<p class="quiet">{_text(MEANING[:1].upper() + MEANING[1:])}.</p>',
        "</header>",
        _contents(attribution, rows) if len(rows) > 1 else "",
        "<main>",
        *(_row(attribution, row) for row in rows),
        "</main>",
        _record(attribution),
    ]
    return page(_text(f"{first}{more} · igrt"), "\n".join(part for part in body if part))


def _text(text: str) -> str:
    """Text that can stand anywhere in the page, also between double quotes."""
    return escape(printable(text), quote=True)


def _contents(attribution: Attribution, rows: range) -> str:
    links = "".join(
        f'<li><a href="#row-{row}"><bdi>{_text(title(attribution, row))}</bdi></a>'
        f' <span class="quiet"><bdi>{_text(source(attribution, row))}</bdi></span></li>\n'
        for row in rows
    )
    left_out = len(attribution) - len(rows)
    note = f"<p>{left_out} more rows are not shown.</p>" if left_out else ""
    return f'<nav aria-label="Rows"><ol>\n{links}</ol>{note}</nav>'


def _row(attribution: Attribution, row: int) -> str:
    name, index = heading(attribution, row)
    origin, warning = source(attribution, row), caution(attribution, row)
    listed = "".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>"
        for name, value in facts(attribution, row)
    )
    parts = [
        _part(attribution, row, at, tensor, view(attribution, row, tensor, side=_SIDE))
        for at, tensor in enumerate(attribution.values)
    ]
    classes = _classes(attribution, row)
    return (
        f'<section aria-labelledby="row-{row}">\n'
        f'<h2 id="row-{row}"><bdi>{_text(name)}</bdi>'
        + (f' <span class="quiet">{index}</span>' if index else "")
        + "</h2>\n"
        + (f'<p class="quiet"><bdi>{_text(origin)}</bdi></p>\n' if origin else "")
        + f'<dl class="facts">{listed}</dl>\n'
        + (f'<p class="caution">{_text(warning[:1].upper() + warning[1:])}.</p>' if warning else "")
        + f'<div class="parts">\n{"".join(parts)}{classes}</div>\n</section>'
    )


def _part(attribution: Attribution, row: int, at: int, name: str, drawn: View) -> str:
    named = f"<h3><bdi>{_text(name)}</bdi></h3>\n"
    if isinstance(drawn, Picture):
        origin = source(attribution, row)
        return f"<div>{named}{_picture(f'view-{row}-{at}', origin, drawn)}</div>\n"
    if isinstance(drawn, Bars):
        return f'<div class="wide">{named}{_bars(drawn, "attribution per feature")}</div>\n'
    sums = _bars(drawn.sums, "attribution per feature, summed over the rows") if drawn.sums else ""
    return f'<div class="wide">{named}{_map(drawn)}{sums}</div>\n'


def _picture(group: str, origin: str, drawn: Picture) -> str:
    high, wide = drawn.strength.shape
    factor = max(1, -(-_LEAST // max(high, wide)))
    size = f'width="{wide * factor}" height="{high * factor}"'
    told = f"Attribution of the picture, {number(drawn.total, signed=True)} in sum"

    def image(name: str, alt: str, pixels: Array) -> str:
        sharp = " sharp" if factor > 1 else ""
        return f'<img class="{name}{sharp}" {size} alt="{_text(alt)}" src="{_data(pixels)}">\n'

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
        f"{_scale(drawn.top)}</figure>\n"
    )


def _map(drawn: Map) -> str:
    high, wide = drawn.strength.shape
    tall, broad = max(1, min(20, 400 // high)), max(1, min(48, 640 // wide))
    # the axes behind summed ones are mostly rows and columns of a picture
    pixels = enlarge(heat(drawn.strength), tall, min(tall, broad) if drawn.summed else broad)
    told = f"Attribution map of {describe(drawn)}; {number(drawn.total, signed=True)} in sum"
    names = ""
    if drawn.names and len(drawn.names) <= 640 // 16:
        listed = "".join(f"<span><bdi>{_text(name)}</bdi></span>" for name in drawn.names)
        names = f'<div class="names" aria-hidden="true">{listed}</div>'
    return (
        f'<figure>\n<div class="named"><div class="stage">'
        f'<img alt="{_text(told)}" src="{_data(pixels)}"></div>{names}</div>\n'
        f'<p class="quiet">{_text(describe(drawn))}</p>{_scale(drawn.top)}</figure>\n'
    )


def _scale(top: float) -> str:
    if top == 0:
        return "<figcaption>The attribution is 0 everywhere.</figcaption>\n"
    gradient = paint(np.linspace(-1.0, 1.0, 255)[np.newaxis], 1.0)
    return (
        f'<div class="scale"><img alt="Colours from blue over white to red"'
        f' src="{_data(gradient)}"><span><span>{number(-top, signed=True)}</span><span>0</span>'
        f"<span>{number(top, signed=True)}</span></span></div>\n"
        f"<figcaption>{_text(MEANING)}; {_text(CLIPPING)}</figcaption>\n"
    )


def _bars(drawn: Bars, caption: str) -> str:
    given = any(bar.given for bar in drawn.bars)
    low = min(0.0, *(_share(b.value, drawn.top) for b in drawn.bars))
    high = max(0.0, *(_share(b.value, drawn.top) for b in drawn.bars))
    rows = "".join(
        f'<tr><th scope="row"><bdi>{_text(bar.name)}</bdi></th>'
        + (f'<td class="number"><bdi>{_text(bar.given)}</bdi></td>' if given else "")
        + f'<td class="number">{number(bar.value, signed=True)}</td>'
        + f'<td class="bar">{_bar(_share(bar.value, drawn.top), low, high)}</td></tr>\n'
        for bar in drawn.bars
    )
    return (
        f'<div class="scroll"><table>\n<caption>{caption[:1].upper() + caption[1:]},'
        f" {number(drawn.total, signed=True)} in sum</caption>\n"
        '<thead><tr><th scope="col">feature</th>'
        + ('<th scope="col" class="number">input</th>' if given else "")
        + '<th scope="col" class="number">attribution</th><td></td></tr></thead>\n'
        + f"<tbody>\n{rows}</tbody>\n</table></div>\n"
    )


def _share(value: float, top: float) -> float:
    return value / top if top and np.isfinite(value) else 0.0


def _bar(share: float, low: float, high: float, kind: str = "") -> str:
    """A bar from zero to `share` on an axis from `low` to `high`; the number stands beside it."""
    span = (high - low) or 1.0
    zero, end = -low / span * 1000, (share - low) / span * 1000
    kind = kind or ("raises" if share > 0 else "lowers")
    return (
        '<svg viewBox="0 0 1000 14" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="{kind}" x="{min(zero, end):.1f}" y="1" width="{abs(end - zero):.1f}"'
        f' height="12"/><line class="zero" x1="{zero:.1f}" y1="0" x2="{zero:.1f}" y2="14"/></svg>'
    )


def _classes(attribution: Attribution, row: int) -> str:
    best = tops(attribution, row)
    if not best:
        return ""
    top = max(abs(b.score) for b in best)
    shares = [_share(b.score, top) for b in best]
    low, high = min(0.0, *shares), max(0.0, *shares)
    rows = "".join(
        f"<tr{' class=' + chr(34) + 'explained' + chr(34) if b.explained else ''}>"
        f'<th scope="row"><bdi>{_text(b.label)}</bdi>'
        + (f' <span class="quiet">({b.index})</span>' if b.label != str(b.index) else "")
        + (' <span class="quiet">explained</span>' if b.explained else "")
        + f'</th><td class="number">{number(b.score)}</td>'
        f'<td class="bar">{_bar(share, low, high, "plain")}</td></tr>\n'
        for b, share in zip(best, shares, strict=True)
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
        f'<tr><th scope="row">{_text(name)}</th><td><bdi>{_text(value)}</bdi></td></tr>\n'
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
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            yield f"{prefix}{key}", text


def _data(pixels: Array) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


__all__ = ["ROWS", "document", "write"]
