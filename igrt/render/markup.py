"""Pieces of the HTML page that several views have: text, pictures, the legend, bars in a table."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np

from igrt.render.colour import paint
from igrt.render.facts import CLIPPING, MEANING, number, printable
from igrt.render.page import SHADES
from igrt.render.views import Bars
from igrt.specs import Array


def safe(raw: str) -> str:
    """Text that can stand anywhere in the page, also between double quotes."""
    return escape(printable(raw), quote=True)


def address(pixels: Array) -> str:
    """uint8 [height, width, channels] as the address of a picture."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def scale(top: float, note: str = CLIPPING) -> str:
    """The colours, their ends and what they mean.

    Args:
        top: Attribution drawn in full colour.
        note: How the colours are scaled.
    """
    if top == 0:
        return "<figcaption>The attribution is 0 everywhere.</figcaption>\n"
    gradient = paint(np.linspace(-1.0, 1.0, 255)[np.newaxis], 1.0)
    return (
        f'<div class="scale"><img alt="Colours from blue over white to red"'
        f' src="{address(gradient)}"><span><span>{number(-top, signed=True)}</span><span>0</span>'
        f"<span>{number(top, signed=True)}</span></span></div>\n"
        f"<figcaption>{safe(MEANING)}; {safe(note)}</figcaption>\n"
    )


def shade(at: float) -> str:
    """Class of the colour of a strength -1 ... 1, or of NaN; inline styles are not allowed."""
    if not np.isfinite(at):
        return "nan"
    step = round(SHADES * at)
    return f"{'plus' if step > 0 else 'minus'}-{abs(step)}" if step else "zero"


def bar_table(drawn: Bars, caption: str, name: str = "feature", given: str = "input") -> str:
    """A table of names, inputs, numbers and bars.

    Args:
        drawn: The bars.
        caption: What they are.
        name: What has the names.
        given: What stands beside the names.
    """
    second = any(b.given for b in drawn.bars)
    shares = [0.0, *(share(b.value, drawn.top) for b in drawn.bars)]
    low, high = min(shares), max(shares)
    rows = "".join(
        f'<tr><th scope="row"><bdi>{safe(b.name)}</bdi></th>'
        + (f'<td class="number"><bdi>{safe(b.given)}</bdi></td>' if second else "")
        + f'<td class="number">{number(b.value, signed=True)}</td>'
        + f'<td class="bar">{bar(share(b.value, drawn.top), low, high)}</td></tr>\n'
        for b in drawn.bars
    )
    return (
        f'<div class="scroll"><table>\n<caption>{caption[:1].upper() + caption[1:]},'
        f" {number(drawn.total, signed=True)} in sum</caption>\n"
        f'<thead><tr><th scope="col">{name}</th>'
        + (f'<th scope="col" class="number">{given}</th>' if second else "")
        + '<th scope="col" class="number">attribution</th><td></td></tr></thead>\n'
        + f"<tbody>\n{rows}</tbody>\n</table></div>\n"
    )


def share(value: float, top: float) -> float:
    """A value relative to `top`; 0 where there is none."""
    return value / top if top and np.isfinite(value) else 0.0


def bar(reach: float, low: float, high: float, kind: str = "") -> str:
    """A bar from zero to `reach` on an axis from `low` to `high`; the number stands beside it."""
    span = (high - low) or 1.0
    zero, end = -low / span * 1000, (reach - low) / span * 1000
    kind = kind or ("raises" if reach > 0 else "lowers")
    return (
        '<svg viewBox="0 0 1000 14" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="{kind}" x="{min(zero, end):.1f}" y="1" width="{abs(end - zero):.1f}"'
        f' height="12"/><line class="zero" x1="{zero:.1f}" y1="0" x2="{zero:.1f}" y2="14"/></svg>'
    )


__all__ = ["address", "bar", "bar_table", "safe", "scale", "shade", "share"]
