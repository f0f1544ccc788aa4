"""Checks as lines of text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from igrt.verify.check import Check

_HEAD = ("check", "figure", "limit", "verdict")


def table(checks: Sequence[Check], width: int = 100) -> list[str]:
    """Figure, limit and verdict of each check, and what the figure is in the lines below it."""
    rows = [(c.name, number(c.figure), number(c.limit), c.verdict) for c in checks]
    sizes = [max(len(r[k]) for r in [_HEAD, *rows]) for k in range(4)]
    lines = [_line(_HEAD, sizes)]
    for check, row in zip(checks, rows, strict=True):
        lines.append(_line(row, sizes))
        lines += textwrap.wrap(
            check.detail, max(width, 40), initial_indent="    ", subsequent_indent="    "
        )
    return lines


def number(value: float | None) -> str:
    """Two digits of a figure; a dash where there is none."""
    return "–" if value is None else f"{value:.2g}"


def _line(cells: tuple[str, ...], sizes: list[int]) -> str:
    name, figure, limit, verdict = cells
    return (
        f"{name:<{sizes[0]}}  {figure:>{sizes[1]}}  {limit:>{sizes[2]}}  {verdict:<{sizes[3]}}"
    ).rstrip()


__all__ = ["number", "table"]
