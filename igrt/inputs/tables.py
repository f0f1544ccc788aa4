"""Tables of numbers in `.csv` files."""

from __future__ import annotations

import csv
import io
import re
from array import array as Buffer
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from igrt.errors import InputError
from igrt.inputs.conform import fit_shape
from igrt.inputs.regular import printable_path, read_text
from igrt.inputs.suggest import did_you_mean
from igrt.specs import Array, TensorSpec

_DELIMITERS = "\t;,"
"""Tried in this order: commas also stand in numbers, and in names before tabs and semicolons."""

_LOOK = 20
"""Rows looked at to find the delimiter."""


def read_columns(path: Path, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """A table as the inputs of a model that takes each column as an input of its own.

    Pipelines of scikit-learn that were fitted on a data frame are exported so. Columns belong to
    inputs by their names; others are left out.

    Args:
        path: A table with a header.
        specs: Inputs of one number or text per example.

    Raises:
        InputError: If a column is missing, twice there, or does not fit its input.
    """
    shown = f"`{printable_path(path)}`"
    wide = [s for s in specs if s.rank not in (1, 2) or (s.shape or (0,))[1:] not in ((), (1,))]
    if wide:
        raise InputError(
            f"{shown} is a table for a model with one input per column, but `{wide[0]}` takes more",
            hint=f"give each input a file of its own: --input {wide[0].name}=FILE",
        )
    text = read_text(path)
    rows = _rows(shown, text, _delimiter(text))
    names = tuple(cell.strip() for cell in rows[0][1])
    for line, cells in rows[1:]:
        _check_length(shown, line, len(cells), len(names))
    if not rows[1:]:
        raise InputError(f"{shown} has a header and no rows")
    return {s.name: _column(shown, names, rows[1:], s) for s in specs}


def _column(
    shown: str, names: tuple[str, ...], rows: list[tuple[int, list[str]]], spec: TensorSpec
) -> Array:
    places = [at for at, name in enumerate(names) if name == spec.name] or [
        # exporters write `a b` as `a_b`
        at
        for at, name in enumerate(names)
        if re.sub(r"\W", "_", name) == spec.name
    ]
    if len(places) != 1:
        raise InputError(
            f"{shown} has {'two columns' if places else 'no column'} for the input `{spec.name}`",
            hint="" if places else did_you_mean(spec.name, names, "name columns like the inputs"),
        )
    at = places[0]
    if spec.dtype == "string":
        return np.array([cells[at].strip() for _, cells in rows], dtype=np.str_)[:, np.newaxis]
    numbers = [_number(shown, line, at, names, cells[at]) for line, cells in rows]
    return np.array(numbers)[:, np.newaxis]


def read_csv(path: Path, spec: TensorSpec) -> tuple[Array, tuple[str, ...]]:
    """The numbers of a table [rows, columns] and the names in its header, if it has one.

    Cells are separated by tabs, semicolons or commas. The first row is a header if none of its
    cells is a number. Every column must be a feature: igrt does not guess which one is a label.

    Raises:
        InputError: If a cell is no finite number, rows differ in length, or the table does not fit
            `spec`; with the row and the column.
    """
    shown = f"`{printable_path(path)}`"
    if spec.dtype == "string":
        raise InputError(
            f"{shown} is a table of numbers, but `{spec}` takes text", hint="use a .json list"
        )
    text = read_text(path)
    rows = _rows(shown, text, _delimiter(text))
    names = _header(rows[0][1])
    if names:
        rows = rows[1:]
    if not rows:
        raise InputError(f"{shown} has a header and no rows")
    _check_width(shown, len(rows[0][1]), names, spec)
    numbers = Buffer("d")
    for line, cells in rows:
        _check_length(shown, line, len(cells), len(rows[0][1]))
        for column, cell in enumerate(cells):
            numbers.append(_number(shown, line, column, names, cell))
    values: Array = np.frombuffer(numbers, dtype=np.float64).reshape(len(rows), -1)
    if spec.rank == 1 and 1 in values.shape:
        values = values.reshape(-1)
    fit_shape(shown, values.shape, spec)
    return values, names


def _check_length(shown: str, line: int, got: int, expected: int) -> None:
    if got != expected:
        raise InputError(f"{shown}, line {line}: {got} columns, where the first row has {expected}")


def _rows(shown: str, text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Rows that are not blank, each with the number of its line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, cells) for cells in reader if any(c.strip() for c in cells)]
    except csv.Error as error:
        raise InputError(f"{shown}, line {reader.line_num}: {error}") from None
    if not rows:
        raise InputError(f"{shown} has no rows")
    return rows


def _delimiter(text: str) -> str:
    """The first delimiter that splits all of the first rows alike, into more than one cell."""
    head = [line for _, line in zip(range(_LOOK), io.StringIO(text), strict=False) if line.strip()]
    for delimiter in _DELIMITERS:
        try:
            widths = {len(cells) for cells in csv.reader(head, delimiter=delimiter) if cells}
        except csv.Error:
            continue
        if len(widths) == 1 and widths != {1}:
            return delimiter
    return ","


def _header(cells: list[str]) -> tuple[str, ...]:
    return () if any(_parse(c) is not None for c in cells) else tuple(c.strip() for c in cells)


def _parse(cell: str) -> float | None:
    # Python reads 1_000 as a thousand; in a table it is more likely a name
    if "_" in cell:
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def _number(shown: str, line: int, column: int, names: tuple[str, ...], cell: str) -> float:
    value = _parse(cell)
    if value is not None and np.isfinite(value):
        return value
    title = f" (`{names[column]}`)" if column < len(names) and names[column] else ""
    place = f"{shown}, line {line}, column {column + 1}{title}"
    if not cell.strip():
        raise InputError(f"{place} is empty", hint="fill in or drop what is missing")
    short = cell.strip()[:40]
    if value is not None:
        raise InputError(f"{place}: `{short}` is not finite", hint="replace or drop such entries")
    decimal = _parse(cell.replace(",", ".", 1)) is not None
    raise InputError(
        f"{place}: `{short}` is not a number",
        hint="write decimals with a point"
        if decimal
        else "keep only the model's features, as numbers; a header has no numbers in it",
    )


def _check_width(shown: str, width: int, names: tuple[str, ...], spec: TensorSpec) -> None:
    """Refuses too many or too few columns by their names, before any cell is looked at."""
    expected = spec.shape[-1] if spec.shape else None
    if not isinstance(expected, int) or width == expected or spec.rank == 1:
        return
    listed = ", ".join(f"`{n}`" for n in names[:12]) + (", ..." if len(names) > 12 else "")
    if names and not names[0]:
        hint = "the first column has no name: a row index? Write the table without it"
    elif width > expected:
        hint = f"keep the {expected} columns that are features; drop labels and row numbers"
    else:
        hint = f"give all {expected} features, in the model's order"
    raise InputError(
        f"{shown} has {width} columns{f' ({listed})' if names else ''},"
        f" but `{spec}` takes {expected} features",
        hint=hint,
    )


__all__ = ["read_columns", "read_csv"]
