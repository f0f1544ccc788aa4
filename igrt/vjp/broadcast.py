"""Undoing ONNX's multidirectional broadcasting in cotangents."""

from __future__ import annotations

from collections.abc import Sequence

from igrt.graph import Emitter, Value
from igrt.specs import Dim


def sum_to(emit: Emitter, ct: Value, primal: Value, others: Sequence[Value] = ()) -> Value:
    """Sum a cotangent over the axes along which `primal` was broadcast.

    x‾ = Σ ȳ over every axis where x has size 1 and y has not.

    Args:
        emit: Where nodes go.
        ct: Cotangent in the broadcast shape.
        primal: The operand that was broadcast; the result gets its shape.
        others: The operands it was broadcast against. They prove axes unbroadcast where sizes are
            symbols or unknown.
    """
    unknown = not others or any(o.shape is None for o in others)
    if primal.shape is None or (ct.shape is None and unknown):
        return _sum_to_unknown(emit, ct, primal)
    ranks = [len(v.shape) for v in (primal, ct, *others) if v.shape is not None]
    rank = max(ranks)
    if len(primal.shape) == rank and rank == 0:
        return ct
    ours = _padded(primal.shape, rank)
    against = [_padded(o.shape, rank) for o in others if o.shape is not None]
    known_others = len(against) == len(others) and bool(others)
    seen = _padded(ct.shape, rank) if ct.shape is not None else None
    axes = []
    for axis in range(rank):
        verdict = _is_broadcast(
            ours[axis],
            [s[axis] for s in against] if known_others else None,
            seen[axis] if seen else None,
        )
        if verdict is None:
            return _sum_to_unknown(emit, ct, primal)
        if verdict:
            axes.append(axis)
    extra = rank - len(primal.shape)
    if axes and axes == list(range(extra)):
        return emit.ReduceSum(ct, axes, keepdims=0)
    summed = emit.ReduceSum(ct, axes, keepdims=1) if axes else ct
    return emit.Squeeze(summed, list(range(extra))) if extra else summed


def _is_broadcast(ours: Dim, others: list[Dim] | None, seen: Dim) -> bool | None:
    """Whether an axis of ours was stretched; None if that is known at run time only."""
    if isinstance(ours, int):
        if ours != 1 or (others is not None and all(d == 1 for d in others)) or seen == 1:
            return False
        return True
    # the same symbol is the same size; and an axis that all others have at 1 keeps ours
    if ours is not None and seen == ours:
        return False
    if others is not None and all(d == 1 or (d is not None and d == ours) for d in others):
        return False
    return None


def _padded(shape: tuple[Dim, ...], rank: int) -> tuple[Dim, ...]:
    return (1,) * (rank - len(shape)) + shape


def _sum_to_unknown(emit: Emitter, ct: Value, primal: Value) -> Value:
    """The same where sizes are known at run time only.

    The primal's shape, padded with ones to the cotangent's rank, says at its ones where to sum;
    summing an axis that has size 1 in both is harmless.
    """
    shape, rank = emit.Shape(primal), emit.Shape(emit.Shape(ct))
    missing = emit.Sub(rank, emit.Shape(shape))
    ones = emit.Expand(1, missing)
    padded = emit.Concat(ones, shape, axis=0)
    axes = emit.Squeeze(emit.NonZero(emit.Equal(padded, 1)), [0])
    # without the flag, an empty list of axes sums over all of them
    summed = emit.ReduceSum(ct, axes, keepdims=1, noop_with_empty_axes=1)
    return emit.typed(emit.reshape(summed, shape), primal.shape)


__all__ = ["sum_to"]
