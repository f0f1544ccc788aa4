"""Which element of the output is explained, and the cotangent that picks it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, final

import numpy as np

from igrt.attribution import Index
from igrt.errors import TargetError
from igrt.specs import Array

Target = int | str | tuple[int, ...] | Sequence[Any] | None

_TOP = re.compile(r"top-?(\d+)", re.IGNORECASE)


@final
@dataclass(frozen=True, eq=False)
class Resolved:
    """One row per example and target.

    Args:
        example: Which example each row explains, [rows] int64.
        index: The explained element of each row's output.
        flat: The same as a position in the flattened output of one example, [rows] int64.
    """

    example: Array
    index: tuple[Index, ...]
    flat: Array

    def pick(self, outputs: Array) -> Array:
        """The explained elements of per-row outputs, [rows, ...] to [rows] float64."""
        rows = outputs.reshape(len(outputs), -1)
        return rows[np.arange(len(rows)), self.flat].astype(np.float64)

    def cotangents(self, shape: tuple[int, ...], dtype: str) -> Array:
        """One-hot cotangents, [rows, *shape]."""
        seed = np.zeros((len(self.flat), prod(shape)), dtype=dtype)
        seed[np.arange(len(self.flat)), self.flat] = 1
        return seed.reshape(len(self.flat), *shape)


def resolve(target: Target, outputs: Array) -> Resolved:
    """Turn what the user wrote into rows.

    Args:
        target: None (the only element, else the highest of each example), ``"topK"``, a class
            index, one index per output axis as a tuple, or a list with one of these per example.
            An index may be negative, counted from the end.
        outputs: The explained output, [examples, ...].

    Raises:
        TargetError: If an index does not exist, or several axes need one each.
    """
    examples, shape = len(outputs), outputs.shape[1:]
    if isinstance(target, np.ndarray):
        target = target.tolist()
    if isinstance(target, list):
        if len(target) != examples:
            raise TargetError(
                f"{len(target)} targets for {examples} examples",
                hint="give one target for all, or one per example",
            )
        rows = [resolve(t, outputs[i : i + 1]) for i, t in enumerate(target)]
        return Resolved(
            np.concatenate([r.example + i for i, r in enumerate(rows)]),
            tuple(t for r in rows for t in r.index),
            np.concatenate([r.flat for r in rows]),
        )
    if target is None or isinstance(target, str):
        return _resolve_top(1 if target is None else _count(target), outputs)
    flat, index = _position(target, shape)
    return Resolved(np.arange(examples), (index,) * examples, np.full(examples, flat))


def _resolve_top(count: int, outputs: Array) -> Resolved:
    examples, shape = len(outputs), outputs.shape[1:]
    wide = [d for d in shape if d != 1]
    if len(wide) > 1:
        raise TargetError(
            f"the output has the shape {list(shape)} per example: which element?",
            hint=f"give one index per axis, such as {[0] * len(shape)}",
        )
    scores = outputs.reshape(examples, -1)
    classes = scores.shape[1]
    if count > classes:
        raise TargetError(
            f"top{count} of an output with {classes} elements", hint=f"ask for top{classes}"
        )
    # stable: of equal scores the first class wins, the same on every machine
    order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :count]
    flat = order.reshape(-1)
    return Resolved(np.repeat(np.arange(examples), count), tuple(int(i) for i in flat), flat)


def _count(target: str) -> int:
    match = _TOP.fullmatch(target.strip())
    if match is None or int(match[1]) < 1:
        raise TargetError(
            f"unknown target {target!r}",
            hint="use a class index, `top1`, `topK`, a label together with labels, or [i,j,…]",
        )
    return int(match[1])


def _position(target: Any, shape: tuple[int, ...]) -> tuple[int, Index]:
    if isinstance(target, (int, np.integer)) and not isinstance(target, bool):
        wide = [d for d in shape if d != 1]
        if len(wide) > 1:
            raise TargetError(
                f"target {target} for an output of the shape {list(shape)} per example",
                hint=f"give one index per axis, such as {[0] * len(shape)}",
            )
        index = _within(int(target), wide[0] if wide else 1, shape)
        return index, index
    if isinstance(target, tuple) and all(
        isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in target
    ):
        if len(target) != len(shape):
            raise TargetError(
                f"target {list(target)} has {len(target)} indices; the output has the shape "
                f"{list(shape)} per example",
                hint=f"give one index per axis, such as {[0] * len(shape)}",
            )
        indices = tuple(_within(int(i), d, shape) for i, d in zip(target, shape, strict=True))
        return int(np.ravel_multi_index(indices, shape)) if shape else 0, indices
    raise TargetError(
        f"a target is a class index, `topK` or a tuple of indices, not {target!r}",
        hint="a list has one of these per example",
    )


def _within(index: int, size: int, shape: tuple[int, ...]) -> int:
    if not -size <= index < size:
        raise TargetError(
            f"target {index} is outside the output, which has the shape {list(shape)} per example",
            hint=f"the last index is {size - 1}",
        )
    return index % size


__all__ = ["Resolved", "Target", "resolve"]
