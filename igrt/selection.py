"""The small language of targets: `3`, `top2`, `[:, top1]`, `sum[:, 5]`, `mask:roi.npy`, a label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, final

import numpy as np

from igrt.errors import InputError, TargetError
from igrt.inputs.arrays import read_npy
from igrt.inputs.labels import find_label
from igrt.specs import Array, TensorSpec, as_native

Index: TypeAlias = int | tuple[int, ...] | str
"""What is explained of an example's output: a class; one index per output axis; or, as text, a sum
or a mask."""

_NUMBER = re.compile(r"[+-]?\d+")
_SLICE = re.compile(r"([+-]?\d+)?\s*:\s*([+-]?\d+)?(?:\s*:\s*([+-]?\d+)?)?")
_TOP = re.compile(r"top-?(\d+)", re.IGNORECASE)
_BRACKETS = re.compile(r"(sum)?\s*\[(.*)\]", re.DOTALL)
_COMMA = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')
"""A comma with an even number of quotes behind it; others are part of a label."""

_MASK = "mask:"

_HINT = (
    "use an index, topK, [i,j,…], sum[…] or mask:FILE.npy; for a label, give --labels or a Display"
)


@final
@dataclass(frozen=True)
class Top:
    """The elements of highest score, along an axis or of all classes."""

    count: int

    def __str__(self) -> str:
        return f"top{self.count}"


@final
@dataclass(frozen=True)
class Label:
    """The class that a label names, as an item of the class axis.

    Args:
        index: The class.
        count: How many labels there are, by which the axis is known.
    """

    index: int
    count: int

    def __str__(self) -> str:
        return str(self.index)


Item: TypeAlias = int | slice | Top | Label
"""What is chosen of one axis."""


@final
@dataclass(frozen=True)
class Select:
    """Elements of an output, by one item per axis.

    Args:
        items: What is chosen of each axis; the batch axis is not counted.
        summed: Whether the sum of the elements is explained, in one row, instead of each in a row.
    """

    items: tuple[Item, ...]
    summed: bool = False

    def __str__(self) -> str:
        return f"{'sum' * self.summed}[{', '.join(map(_written, self.items))}]"


@final
@dataclass(frozen=True, eq=False)
class Mask:
    """A weighted sum of the output: F(x) = Σ weights · output(x).

    Args:
        weights: One per element of the output, in its shape without the batch axis.
        name: What stands for it in `Attribution.target`.

    Raises:
        TargetError: If the weights are no finite numbers.
    """

    weights: Array
    name: str = "mask"

    def __post_init__(self) -> None:
        try:
            given = as_native(self.name, self.weights)
        except InputError as error:
            raise TargetError(error.message, hint=error.hint) from None
        if given.dtype.kind not in "biuf":
            raise TargetError(
                f"the mask `{self.name}` holds {given.dtype}, not numbers",
                hint="save one weight per element of the output",
            )
        weights = given.astype(np.float64)
        if not np.isfinite(weights).all():
            raise TargetError(
                f"the mask `{self.name}` has weights that are NaN or infinite",
                hint="put 0 where an element does not count",
            )
        object.__setattr__(self, "weights", weights)


def parse(text: str, labels: Sequence[str] = ()) -> int | Top | Select | Mask:
    """What a target says as text.

    Args:
        text: A class index, ``topK``, a label, ``[…]`` with an item per axis (an index, a slice,
            ``topK`` or a label), ``sum[…]`` or ``mask:FILE.npy``.
        labels: Names of the classes.

    Raises:
        TargetError: If it says nothing of that kind, or names no class.
        InputError: If a file cannot be read.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return int(text)
    if _TOP.fullmatch(text):
        return _top(text)
    brackets = _BRACKETS.fullmatch(text)
    if text in labels:
        return find_label(labels, text)
    if brackets:
        return Select(tuple(item(part, labels) for part in _split(brackets[2])), bool(brackets[1]))
    if text.startswith(_MASK):
        path = Path(text.removeprefix(_MASK))
        return Mask(read_npy(path, TensorSpec("mask", "float64", None)), text)
    if labels:
        return find_label(labels, text)
    raise TargetError(f"unknown target {text!r}", hint=_HINT)


def item(text: str, labels: Sequence[str]) -> Item:
    """What an item of brackets says."""
    if _NUMBER.fullmatch(text):
        return int(text)
    if _TOP.fullmatch(text):
        return _top(text)
    found = _SLICE.fullmatch(text)
    if found:
        start, stop, step = (None if part is None else int(part) for part in found.groups())
        return slice(start, stop, step)
    if labels and text:
        return Label(find_label(labels, text.strip('"')), len(labels))
    raise TargetError(
        f"unknown item {text!r} of a target",
        hint="use an index, a slice such as 3:6, or topK; for a label, give --labels or a Display",
    )


def written(index: Index, shape: Sequence[int], labels: Sequence[str]) -> str:
    """What is explained, with a label for the class.

    Args:
        index: What `Attribution.target` has.
        shape: Of the output, without the batch axis.
        labels: Names of the classes.
    """
    if isinstance(index, int):
        return labels[index] if 0 <= index < len(labels) else str(index)
    if isinstance(index, tuple):
        axis = class_axis(shape, len(labels))
        names = [labels[i] if k == axis else str(i) for k, i in enumerate(index)]
        return names[0] if axis == 0 and len(index) == 1 else f"[{', '.join(names)}]"
    brackets = _BRACKETS.fullmatch(index)
    if brackets is None:
        return index
    items = _split(brackets[2])
    axis = class_axis(shape, len(labels))
    if axis is not None and len(items) == len(shape) and _NUMBER.fullmatch(items[axis]):
        items[axis] = labels[int(items[axis])]
    return f"sum[{', '.join(items)}]"


def class_axis(shape: Sequence[int], labels: int) -> int | None:
    """The axis that has one element per label: the last one if several have; None where none has.

    Args:
        shape: Of the output, without the batch axis.
        labels: How many labels there are.
    """
    axes = [axis for axis, size in enumerate(shape) if size == labels]
    return axes[-1] if labels and axes else None


def _split(inside: str) -> list[str]:
    """Items between brackets."""
    return [part.strip() for part in _COMMA.split(inside)] if inside.strip() else []


def _top(text: str) -> Top:
    match = _TOP.fullmatch(text)
    if match is None or int(match[1]) < 1:
        raise TargetError(f"unknown target {text!r}", hint="the highest class is top1")
    return Top(int(match[1]))


def _written(of: Item) -> str:
    if not isinstance(of, slice):
        return str(of)
    ends = [of.start, of.stop] if of.step is None else [of.start, of.stop, of.step]
    return ":".join("" if end is None else str(end) for end in ends)


__all__ = [
    "Index",
    "Item",
    "Label",
    "Mask",
    "Select",
    "Top",
    "class_axis",
    "parse",
    "written",
]
