"""The shell of the HTML page: its head, its style, and the few lines of script."""

from __future__ import annotations

import base64
import hashlib
import math

from igrt.render.colour import hexadecimal, ink, rgb
from igrt.render.views import PALENESS

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --card: #f6f7f9; --ink: #1f2328; --quiet: #5c636d; --line: #d9dde3;
  --warn: #8a4500; --warn-back: #fff4e5; --accent: #0b57d0;
  --raises: RAISES; --lowers: LOWERS;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --card: #1d2126; --ink: #e8eaed; --quiet: #a5acb6; --line: #363c45;
    --warn: #ffc27a; --warn-back: #36291a; --accent: #8ab4f8;
    --raises: PALE_RAISES; --lowers: PALE_LOWERS;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 68rem; padding: 2rem 1.5rem 3rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: anywhere;
}
h1, h2, h3 { line-height: 1.25; font-weight: 600; margin: 0; }
h1 { font-size: 1.1rem; color: var(--quiet); }
h2 { font-size: 1.7rem; }
footer h2 { font-size: 1.3rem; }
h3 { font-size: 1.1rem; margin: 0 0 .6rem; }
p { margin: .25rem 0; }
a { color: var(--accent); }
.quiet, caption, th, figcaption, dt { color: var(--quiet); font-weight: 400; }
header, nav, section, footer { margin-bottom: 2rem; }
section, footer { border-top: 1px solid var(--line); padding-top: 1.5rem; }
nav ol { margin: 0; padding-left: 1.5rem; columns: 18rem; }
.facts { display: flex; flex-wrap: wrap; gap: .75rem 2rem; margin: 1rem 0 1.5rem; }
.facts dt { font-size: .85rem; }
.facts dd { margin: 0; font-size: 1.2rem; }
dd, td.number { font-variant-numeric: tabular-nums; }
.caution {
  background: var(--warn-back); color: var(--warn); border-radius: 6px; padding: .5rem .75rem;
  margin: 0 0 1.5rem;
}
.parts { display: flex; flex-wrap: wrap; gap: 2rem 2.5rem; align-items: flex-start; }
.parts > * { flex: 1 1 18rem; min-width: 0; }
.parts > .wide { flex: 2 1 32rem; }
.parts > details { flex: 1 1 100%; }
details th[scope="row"] { min-width: 7rem; }
figure { margin: 0; }
fieldset { border: 0; margin: 0; padding: 0; min-width: 0; }
legend { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
fieldset > input { position: absolute; opacity: 0; }
fieldset > input + label {
  display: inline-block; padding: .25rem .9rem; border: 1px solid var(--line);
  border-radius: 99px; margin: 0 .25rem .75rem 0; cursor: pointer;
}
fieldset > input:checked + label { background: var(--ink); color: var(--page); }
:focus-visible, fieldset > input:focus-visible + label {
  outline: 3px solid var(--accent); outline-offset: 2px;
}
.stage { display: grid; width: fit-content; max-width: 100%; background: #fff; line-height: 0;
  outline: 1px solid var(--line); }
.stage img { grid-area: 1 / 1; max-width: 100%; height: auto; }
.named { width: fit-content; max-width: 100%; }
figure + .scroll { margin-top: 1.5rem; }
.names { display: flex; max-height: 9rem; }
.names span {
  flex: 1 1 0; min-width: 0; writing-mode: vertical-rl; padding-top: .3rem; line-height: 1;
  display: flex; align-items: center; overflow: hidden; white-space: nowrap;
  font-size: .8rem; color: var(--quiet);
}
.sharp { image-rendering: pixelated; }
.show-original:checked ~ .stage :is(.heat, .veil),
.show-attribution:checked ~ .stage :is(.original, .veil),
.show-overlay:checked ~ .stage .heat { display: none; }
.show-overlay:checked ~ .stage .original { filter: grayscale(1); opacity: OPACITY; }
.veil { opacity: var(--opacity, 1); }
.slider { display: none; margin-top: .75rem; }
.script .show-overlay:checked ~ .slider { display: flex; gap: .75rem; align-items: center; }
.slider input { accent-color: var(--accent); }
.scale { width: 14rem; max-width: 100%; margin: 1rem 0 .25rem; font-size: .85rem; }
.scale img { display: block; width: 100%; height: 10px; outline: 1px solid var(--line); }
.scale span { display: flex; justify-content: space-between; }
figcaption { font-size: .9rem; max-width: 40rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; padding-bottom: .4rem; }
.classes { max-width: 34rem; }
.classes caption { color: var(--ink); font-size: 1.1rem; font-weight: 600; line-height: 1.25; }
th { text-align: left; font-size: .85rem; }
td, th { padding: .2rem .75rem .2rem 0; vertical-align: middle; }
td.number, th.number { text-align: right; white-space: nowrap; }
tbody th { font-size: 1rem; color: var(--ink); }
tr.explained th { font-weight: 600; }
td.bar { width: 40%; min-width: 8rem; padding-right: 0; }
svg { display: block; width: 100%; height: 14px; }
.raises { fill: var(--raises); }
.lowers { fill: var(--lowers); }
.plain { fill: var(--quiet); }
.zero { stroke: var(--quiet); stroke-width: 1; vector-effect: non-scaling-stroke; }
.plot svg { height: auto; max-width: 48rem; overflow: visible; }
.chart { max-width: 40rem; }
.chart svg { height: auto; overflow: visible; }
.chart text { fill: var(--quiet); font-size: 12.5px; }
.chart .grid { stroke: var(--line); }
.chart .axis { stroke: var(--quiet); }
.graph svg { height: auto; }
.graph .stage { width: 100%; }
.graph .parts { gap: 1rem; }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.curve.first { stroke: var(--raises); stroke-width: 2.5; }
.curve.second { stroke: var(--lowers); stroke-width: 2.5; stroke-dasharray: 7 3; }
.curve.control { stroke: var(--quiet); stroke-dasharray: 2 3; }
.curve.limit { stroke: var(--warn); stroke-width: 1.5; stroke-dasharray: 10 4 2 4; }
.dot.first { fill: var(--raises); }
.dot.second { fill: var(--lowers); }
.band { fill: var(--quiet); fill-opacity: .18; }
.legend { list-style: none; margin: .5rem 0 0; padding: 0; display: flex; flex-wrap: wrap;
  gap: .25rem 1.25rem; color: var(--ink); }
.legend li { display: flex; gap: .5rem; align-items: center; }
.legend svg { width: 28px; height: 10px; flex: none; }
.checks td, .checks th { vertical-align: baseline; }
.checks tbody th, .verdict { white-space: nowrap; }
.checks .detail { font-size: .9rem; width: 60%; color: var(--quiet); }
@media (max-width: 44rem) {
  .checks tr { display: grid; grid-template-columns: 1fr 4.5rem 4.5rem 8rem; }
  .checks .detail { grid-column: 1 / -1; width: auto; padding-bottom: .75rem; }
  .checks thead .detail { display: none; }
  .checks tbody th { white-space: normal; }
}
h2 + .parts { margin-top: 1rem; }
.words { background: #fff; color: #000; outline: 1px solid var(--line); border-radius: 6px;
  padding: .75rem 1rem; font-size: 1.15rem; line-height: 1.9; margin-bottom: .5rem; }
.words p { margin: 0; white-space: pre-wrap; }
.words .quiet { color: #5c636d; font-size: .8rem; }
.words p > * { padding: .15em .2em; border-radius: 4px; box-decoration-break: clone;
  -webkit-box-decoration-break: clone; }
.words .special { font-size: .7em; }
.words .special.zero { color: #5c636d; }
.words .unknown { text-decoration: underline dotted; text-underline-offset: .2em; }
.words .glued { padding-inline-start: 0; border-start-start-radius: 0; border-end-start-radius: 0; }
.words .goes-on { padding-inline-end: 0; border-start-end-radius: 0; border-end-end-radius: 0; }
summary { cursor: pointer; color: var(--quiet); margin: .75rem 0 .5rem; }
.matrix { border-collapse: separate; border-spacing: 0; width: auto; }
.matrix td { border: 1px solid #dfe2e6; border-width: 1px 0 0 1px; padding: 0; min-width: 1.5rem;
  height: 1.5rem; text-align: center; font-size: .8rem; font-variant-numeric: tabular-nums; }
.matrix tbody td:last-child { border-right-width: 1px; }
.matrix tr:last-child td { border-bottom-width: 1px; }
.matrix thead td { border: 0; }
.matrix.numbered td { min-width: 3.6rem; }
.matrix th { color: var(--ink); font-size: .9rem; white-space: nowrap; }
.matrix tbody th { text-align: right; padding: 0 .5rem 0 0; max-width: 16rem; overflow: hidden;
  text-overflow: ellipsis; }
.matrix thead th { vertical-align: bottom; padding: 0 0 .35rem; }
.matrix thead span { display: block; margin: 0 auto; writing-mode: vertical-rl; line-height: 1.2;
  transform: rotate(180deg); max-height: 11rem; overflow: hidden; }
.matrix.numbered thead span { writing-mode: horizontal-tb; transform: none; text-align: center;
  max-width: 8rem; text-overflow: ellipsis; padding: 0 .3rem; }
.verdict.fails { color: var(--warn); font-weight: 600; }
.record th { width: 14rem; vertical-align: top; color: var(--quiet); font-size: .9rem; }
.record td { font: .9rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
@media print {
  fieldset > input + label, .slider, nav { display: none !important; }
  .show-overlay:checked ~ .stage :is(.original, .veil) { print-color-adjust: exact; }
  section { break-inside: avoid; }
}
"""

SHADES = 32
"""Colours on each side of zero that have a class of their own."""

_SCRIPT = """
document.documentElement.classList.add("script");
for (const slider of document.querySelectorAll(".slider input")) {
  const stage = slider.closest("fieldset").querySelector(".stage");
  const show = () => {
    stage.style.setProperty("--opacity", slider.value / 100);
    slider.setAttribute("aria-valuetext", slider.value + " %");
  };
  slider.addEventListener("input", show);
  show();
}
"""


def page(title: str, body: str) -> str:
    """A whole document that can load nothing and run nothing but its own style and script.

    Args:
        title: Title, escaped.
        body: What is in the body, as HTML.
    """
    style = _STYLE
    for word, at in (
        ("PALE_RAISES", 0.6),
        ("PALE_LOWERS", -0.6),
        ("RAISES", 0.85),
        ("LOWERS", -0.85),
    ):
        style = style.replace(word, hexadecimal(at))
    style = style.replace("OPACITY", f"{1 - PALENESS:g}") + _shades()
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}';"
        f" script-src '{_digest(_SCRIPT)}'; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{title}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n{body}\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _shades() -> str:
    """Classes of the colours, with the ink that is read on them."""
    named = {f"plus-{step}": step / SHADES for step in range(1, SHADES + 1)}
    named |= {f"minus-{step}": -step / SHADES for step in range(1, SHADES + 1)}
    return "".join(
        f".{name} {{ background: {hexadecimal(at)}; color: {ink(rgb(at))}; }}\n"
        for name, at in (named | {"zero": 0.0, "nan": math.nan}).items()
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


__all__ = ["page"]
