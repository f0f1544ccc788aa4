"""A matrix as a table of the HTML page, whose cells are colours."""

from __future__ import annotations

from igrt.render.facts import number
from igrt.render.markup import safe, scale, shade
from igrt.render.matrix.view import Matrix, cell


def figure(drawn: Matrix) -> str:
    """The table, and its legend; each cell tells its row, its column and its number."""
    head = "".join(
        f'<th scope="col"><span><bdi>{safe(name)}</bdi></span></th>' for name in drawn.columns
    )
    strengths = drawn.strength
    body = "".join(
        f'<tr><th scope="row"><bdi>{safe(name)}</bdi></th>'
        + "".join(
            _cell(f"{name}, {column}", float(value), float(at), drawn.numbered)
            for column, value, at in zip(drawn.columns, values, shares, strict=True)
        )
        + "</tr>\n"
        for name, values, shares in zip(drawn.rows, drawn.values, strengths, strict=True)
    )
    kind = "matrix numbered" if drawn.numbered else "matrix"
    return (
        f'<figure>\n<div class="scroll"><table class="{kind}">\n'
        f"<caption>{safe(drawn.caption[:1].upper() + drawn.caption[1:])}</caption>\n"
        f"<thead><tr><td></td>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n"
        f"{scale(drawn.top, drawn.note)}</figure>\n"
    )


def _cell(place: str, value: float, at: float, numbered: bool) -> str:
    said = number(value, signed=True)
    told = "" if numbered else f' aria-label="{said}"'
    return (
        f'<td class="{shade(at)}" title="{safe(place)}: {said}"{told}>'
        f"{cell(value) if numbered else ''}</td>"
    )


__all__ = ["figure"]
