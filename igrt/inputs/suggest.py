"""Did-you-mean for everything that people type."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(text: str, candidates: Iterable[str], count: int = 3) -> list[str]:
    """The candidates that look most like `text`, best first, whatever their case."""
    by_folded = {c.casefold(): c for c in candidates}
    return [by_folded[m] for m in difflib.get_close_matches(text.casefold(), by_folded, count)]


def did_you_mean(text: str, candidates: Iterable[str], otherwise: str = "") -> str:
    """A hint that names what was probably meant, or `otherwise` where nothing looks like it."""
    found = closest(text, candidates)
    return f"did you mean {' or '.join(f'`{c}`' for c in found)}?" if found else otherwise


__all__ = ["closest", "did_you_mean"]
