"""What of the output is explained, and the cotangent that picks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, final

import numpy as np

from igrt.errors import TargetError
from igrt.selection import Index, Item, Label, Mask, Select, Top, class_axis, item, parse
from igrt.specs import Array

Target = int | str | tuple[Any, ...] | Mask | Sequence[Any] | None

_MOST_BYTES = 1 << 30
"""Of all cotangents together: `[:, :]` of a segmentation map has as many as it has pixels."""


@final
@dataclass(frozen=True, eq=False)
class Picked:
    """The explained score of a row, F(x) = ⟨cotangent, output(x)⟩, as a sparse cotangent.

    Args:
        index: What people call it: a class, one index per axis, or the text of a sum or mask.
        flat: Elements that count, as positions in the flattened output of one example, int64.
        weights: Their weights, float64.
    """

    index: Index
    flat: Array
    weights: Array


@final
@dataclass(frozen=True, eq=False)
class Resolved:
    """One row per example and target.

    Args:
        example: Which example each row explains, [rows] int64.
        picked: The explained score of each row.
    """

    example: Array
    picked: tuple[Picked, ...]

    @property
    def index(self) -> tuple[Index, ...]:
        """What is explained in each row, for people and for JSON."""
        return tuple(p.index for p in self.picked)

    def pick(self, outputs: Array) -> Array:
        """The explained scores of per-row outputs, [rows, ...] to [rows] float64."""
        rows = outputs.reshape(len(outputs), -1)
        scores = [p.weights @ r[p.flat] for p, r in zip(self.picked, rows, strict=True)]
        return np.asarray(scores, dtype=np.float64)

    def cotangents(self, shape: tuple[int, ...], dtype: str) -> Array:
        """The gradient of each row's score by the output, [rows, *shape]."""
        seed = np.zeros((len(self.picked), prod(shape)), dtype=dtype)
        for row, p in zip(seed, self.picked, strict=True):
            row[p.flat] = p.weights
        return seed.reshape(len(seed), *shape)

    def masks(self, shape: tuple[int, ...]) -> list[Any]:
        """A target for each row that says the same whatever the scores are."""
        dense = self.cotangents(shape, "float64")
        return [
            Mask(m, p.index) if isinstance(p.index, str) else p.index
            for m, p in zip(dense, self.picked, strict=True)
        ]

    def rows(self, chosen: Array) -> Resolved:
        """Some rows."""
        return Resolved(self.example[chosen], tuple(self.picked[r] for r in chosen))


def resolve(target: Target, outputs: Array, labels: Sequence[str] = ()) -> Resolved:
    """Turn what the user wrote into rows.

    Args:
        target: None (the only element, else the highest of each example), a class index, text as
            `igrt.selection.parse` takes it, a tuple with an item per output axis (an index, a
            slice, ``"topK"`` or a label), a `Mask`, or a list with one of these per example. An
            index may be negative, counted from the end.
        outputs: The explained output, [examples, ...].
        labels: Names of the classes.

    Raises:
        TargetError: If an index does not exist, nothing is selected, or several axes need an item
            each.
        InputError: If the file of a mask cannot be read.
    """
    each = listed(target, len(outputs))
    if each is None:
        targets = [_understood(target, labels)] * len(outputs)
    else:
        targets = [_understood(t, labels) for t in each]
    found = [_of_example(t, o) for t, o in zip(targets, outputs, strict=True)]
    rows = sum(map(len, found))
    if rows * outputs[0].nbytes > _MOST_BYTES:
        raise TargetError(
            f"{rows} rows of the shape {list(outputs.shape[1:])} are too many at a time",
            hint="select fewer elements, or their sum: sum[…]",
        )
    return Resolved(
        np.repeat(np.arange(len(found)), [len(f) for f in found]),
        tuple(p for of_example in found for p in of_example),
    )


def listed(target: Target, count: int) -> list[Any] | None:
    """The target of each of `count` examples; None where there is one for all.

    Raises:
        TargetError: If there are more or fewer than examples.
    """
    given = target.tolist() if isinstance(target, np.ndarray) else target
    if not isinstance(given, list):
        return None
    if len(given) != count:
        raise TargetError(
            f"{len(given)} targets for {count} examples",
            hint="give one target for all, or one per example",
        )
    return given


def _understood(target: Any, labels: Sequence[str]) -> int | Top | Select | Mask:
    """What the user wrote for an example."""
    if isinstance(target, np.ndarray):  # of no axes: others are lists of targets
        target = target.tolist()
    if target is None:
        return Top(1)
    if isinstance(target, str):
        return parse(target, labels)
    if isinstance(target, (Top, Select, Mask)):
        return target
    if _whole(target):
        return int(target)
    if isinstance(target, tuple) and all(
        _whole(i) or isinstance(i, (str, slice, Top, Label)) for i in target
    ):
        return Select(tuple(_item(i, labels) for i in target))
    raise TargetError(
        f"a target is a class index, text, a tuple of indices or a Mask, not {target!r}",
        hint="a list has one of these per example",
    )


def _whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _item(value: Any, labels: Sequence[str]) -> Item:
    if isinstance(value, str):
        return item(value.strip(), labels)
    return int(value) if _whole(value) else value


def _of_example(target: int | Top | Select | Mask, output: Array) -> list[Picked]:
    if isinstance(target, Mask):
        return [_masked(target, output)]
    if isinstance(target, Select):
        return _selected(target, output)
    wide = [d for d in output.shape if d != 1]
    if len(wide) > 1:
        which = f"target {target} for" if isinstance(target, int) else "which element of"
        raise TargetError(
            f"{which} an output of the shape {list(output.shape)} per example",
            hint=_example(output),
        )
    if isinstance(target, int):
        at = _within(target, output.size, output.shape)
        return [_single(at, at)]
    if target.count > output.size:
        raise TargetError(
            f"{target} of an output with {output.size} elements", hint=f"ask for top{output.size}"
        )
    return [_single(int(i), int(i)) for i in _highest(output.reshape(-1), 0, target.count)]


def _selected(select: Select, output: Array) -> list[Picked]:
    """The elements of each row: one each, or all of them in one."""
    shape, items = output.shape, select.items
    if len(items) != len(shape):
        few = f"{len(items)} {'index' if len(items) == 1 else 'indices'}"
        raise TargetError(
            f"target {select} has {few}; the output has the shape {list(shape)} per example",
            hint=_example(output),
        )
    tops = {axis: of_axis.count for axis, of_axis in enumerate(items) if isinstance(of_axis, Top)}
    if len(tops) > 1:
        raise TargetError(
            f"target {select} has topK on {len(tops)} axes",
            hint="one axis can have it; give the others an index or a slice",
        )
    axes = [_chosen(of_axis, axis, shape) for axis, of_axis in enumerate(items)]
    if not all(map(len, axes)):
        raise TargetError(
            f"target {select} selects nothing of an output of the shape {list(shape)} per example",
            hint="an end of a slice is not part of it",
        )
    places = np.arange(output.size).reshape(shape)[np.ix_(*axes)]
    for axis, count in tops.items():
        best = _highest(output.reshape(-1)[places], axis, count)
        places = np.take_along_axis(places, best, axis)
    flat = places.reshape(-1)
    if select.summed:
        return [Picked(str(select), flat, np.ones(len(flat)))]
    indices = np.stack(np.unravel_index(flat, shape), axis=1) if shape else np.empty((1, 0), int)
    return [_single(int(at), tuple(i)) for at, i in zip(flat, indices.tolist(), strict=True)]


def _chosen(of_axis: Item, axis: int, shape: tuple[int, ...]) -> Array:
    """Indices of an axis."""
    size = shape[axis]
    if isinstance(of_axis, slice):
        if of_axis.step == 0:
            raise TargetError("a slice with the step 0", hint="leave the step out")
        return np.arange(size)[of_axis]
    if isinstance(of_axis, Top):
        if of_axis.count > size:
            raise TargetError(
                f"{of_axis} of an axis with {size} elements", hint=f"ask for top{size}"
            )
        return np.arange(size)
    if isinstance(of_axis, Label):
        known = class_axis(shape, of_axis.count)
        if axis != (len(shape) - 1 if known is None else known):
            raise TargetError(
                f"a label for axis {axis} of an output of the shape {list(shape)} per example",
                hint=f"labels are for the axis with {of_axis.count} elements, or else the last one",
            )
        return np.array([_within(of_axis.index, size, shape)])
    return np.array([_within(of_axis, size, shape)])


def _masked(mask: Mask, output: Array) -> Picked:
    if mask.weights.shape != output.shape:
        raise TargetError(
            f"the mask `{mask.name}` has the shape {list(mask.weights.shape)}; the output has "
            f"{list(output.shape)} per example",
            hint="give one weight per element, without a batch axis",
        )
    with np.errstate(over="ignore"):
        # the gradient graph sees it in its own element type
        rounded = mask.weights.astype(output.dtype).astype(np.float64).reshape(-1)
    if not np.isfinite(rounded).all():
        raise TargetError(
            f"the mask `{mask.name}` has weights beyond the range of {output.dtype}",
            hint="scale it down",
        )
    flat = np.flatnonzero(rounded)
    if not len(flat):
        raise TargetError(
            f"the mask `{mask.name}` selects nothing: all its weights are 0",
            hint="give weights to what is to be explained",
        )
    return Picked(mask.name, flat, rounded[flat])


def _single(flat: int, index: Index) -> Picked:
    return Picked(index, np.array([flat]), np.ones(1))


def _highest(scores: Array, axis: int, count: int) -> Array:
    """Where the highest scores are along an axis, highest first."""
    # stable: of equal scores the first wins, the same on every machine
    order = np.argsort(-scores.astype(np.float64), axis=axis, kind="stable")
    return np.take(order, np.arange(count), axis=axis)


def _within(index: int, size: int, shape: tuple[int, ...]) -> int:
    if not -size <= index < size:
        raise TargetError(
            f"target {index} is outside the output, which has the shape {list(shape)} per example",
            hint=f"the last index is {size - 1}",
        )
    return index % size


def _example(output: Array) -> str:
    """How one would write it."""
    zeros = [0] * output.ndim
    every = ", ".join([*[":"] * (output.ndim - 1), "top1"])
    return f"give one index per axis, such as {zeros}, [{every}] for every position, or sum[…]"


__all__ = ["Picked", "Resolved", "Target", "listed", "resolve"]
