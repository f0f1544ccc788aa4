"""A matrix as lines of a terminal: colours or signs, with the names of the columns downwards."""

from __future__ import annotations

from igrt.render.cells import Paint, cells, fit, left, legend, letters, right, sign
from igrt.render.matrix.view import Matrix, cell

_TALLEST = 12
"""Most lines for the names of the columns."""


def lines(drawn: Matrix, width: int, paint: Paint) -> list[str]:
    """The cells in as many blocks of columns as the width asks for, and their legend."""
    name = min(max(map(cells, drawn.rows)), width // 3)
    numbers = [[cell(float(value)) for value in values] for values in drawn.values]
    if drawn.numbered:
        wide = max(6, *(len(said) for row in numbers for said in row)) + 2
        if name + 3 + wide * len(drawn.columns) <= width:
            return [*_numbered(drawn, numbers, name, wide, paint), *legend(drawn.top, width, paint)]
    wide = 2 if paint.shades else 3
    each = (width - name - 3) // wide
    shown = ["  " + fit(drawn.caption, width - 2)]
    for start in range(0, len(drawn.columns), each):
        columns = range(start, min(start + each, len(drawn.columns)))
        shown += ["", *_names(drawn, columns, name, wide)]
        for row, strengths in enumerate(drawn.strength):
            line = "".join(_shaded(float(strengths[c]), wide, paint) for c in columns)
            shown.append(f"  {right(fit(drawn.rows[row], name), name)} {line}".rstrip())
    return [*shown, "", *legend(drawn.top, width, paint)]


def _numbered(
    drawn: Matrix, numbers: list[list[str]], name: int, wide: int, paint: Paint
) -> list[str]:
    head = "".join(right(fit(column, wide - 1), wide) for column in drawn.columns)
    shown = [f"  {' ' * name} {head}"]
    for row, (said, strengths) in enumerate(zip(numbers, drawn.strength, strict=True)):
        line = "".join(
            paint.shade(float(at), right(text, wide))
            for text, at in zip(said, strengths, strict=True)
        )
        shown.append(f"  {right(fit(drawn.rows[row], name), name)} {line}")
    return shown


def _names(drawn: Matrix, columns: range, name: int, wide: int) -> list[str]:
    """Names of columns from above downwards, ending at the cells."""
    parts = [letters(drawn.columns[c]) for c in columns]
    parts = [p if len(p) <= _TALLEST else [*p[: _TALLEST - 1], "…"] for p in parts]
    tallest = max(map(len, parts))
    return [
        f"  {' ' * name} "
        + "".join(
            left(p[at - tallest + len(p)] if at >= tallest - len(p) else "", wide) for p in parts
        ).rstrip()
        for at in range(tallest)
    ]


def _shaded(at: float, wide: int, paint: Paint) -> str:
    return paint.shade(at, " " * wide if paint.shades else left(sign(at), wide))


__all__ = ["lines"]
