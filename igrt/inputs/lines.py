"""Texts in a file, one per line."""

from __future__ import annotations

from pathlib import Path

from igrt.errors import InputError
from igrt.inputs.regular import printable_path, read_text


def read_pairs(path: Path) -> tuple[list[str], list[str]]:
    """The text of every line; where there is a tab, what stands before it, and what behind.

    Blank lines at the end are left out.

    Raises:
        InputError: If the file cannot be read, a line is blank, or some lines are pairs and some
            are not.
    """
    shown = f"`{printable_path(path)}`"
    lines = read_text(path).rstrip().split("\n")
    for at, line in enumerate(lines, start=1):
        if not line.strip():
            raise InputError(f"{shown}, line {at} is blank", hint="give every line a text")
    parts = [line.rstrip("\r").split("\t") for line in lines]
    counts = {len(part) for part in parts}
    if counts == {1}:
        return [part[0] for part in parts], []
    if counts == {2}:
        return [part[0] for part in parts], [part[1] for part in parts]
    raise InputError(
        f"{shown} has lines with {min(counts)} to {max(counts)} texts between tabs",
        hint="a line is one text, or the two texts of a pair with a tab between them",
    )


__all__ = ["read_pairs"]
