"""VJP rules of the Fourier transforms."""

from __future__ import annotations

import numpy as np

from igrt.graph import Emitter, Node, Value
from igrt.vjp.movement import collect, surround
from igrt.vjp.registry import vjp


@vjp("DFT", "input")
def dft(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = F·x, hence x‾ = Fᴴ·ȳ: the inverse transform without its 1/n; Fᴴ/n of the inverse.

    Half a spectrum is filled up with zeros before, and cut off behind; there every coefficient but
    the first and the middle one stands for two.
    """
    x, axis, length = node["input"], _axis(emit, node), node.get("dft_length")
    size = emit.sizes(x, axis)
    inverse, onesided = bool(node.attr("inverse", 0)), bool(node.attr("onesided", 0))
    if inverse and onesided:
        count = emit.sizes(ct, axis)
        back = _transform(emit, ct, axis, onesided=True) * _weights(emit, count, axis, ct)
        return _fit(emit, back, axis, size)
    if length is not None:
        count = emit.reshape(emit.cast(length, "int64"), [1])
    else:
        count = size
    n = emit.cast(count, ct.dtype)
    if inverse:
        back = _transform(emit, ct, axis) / n
    else:
        back = _transform(emit, ct, axis, inverse=True, count=count if onesided else None) * n
    back = _real(emit, back, x)
    return back if length is None else _fit(emit, back, axis, size)


def _weights(emit: Emitter, count: Value, axis: Value, like: Value) -> Value:
    """For how much of 1/n each coefficient of half a spectrum stands, along the axis.

    The first, and with an even n the last, has no mirror image.
    """
    half = count / 2 + 1
    number = emit.Range(0, emit.Squeeze(half, [0]), 1)
    alone = emit.Equal(emit.Mod(number * 2, count), 0)
    weights = emit.Where(alone, emit.lift(1.0, like), emit.lift(2.0, like))
    shape = emit.Where(emit.Equal(np.arange(like.rank), axis), half, 1)
    return emit.Reshape(weights / emit.cast(count, like.dtype), shape)


@vjp("STFT", "signal")
def stft_signal(emit: Emitter, node: Node, ct: Value) -> Value:
    """Y = F·(w·frames(x)), hence x‾ = framesᵀ(w·Fᴴ·Ȳ): frames are added where they came from."""
    x = node["signal"]
    frames = _frames_cotangent(emit, node, ct)
    window = node.get("window")
    if window is not None:
        frames = frames * emit.Unsqueeze(window, [-1])
    return collect(emit, frames, emit.dims(x, 1, 2), _frames(emit, node, ct), 1)


@vjp("STFT", "window")
def stft_window(emit: Emitter, node: Node, ct: Value) -> Value:
    """Y = F·(w·frames(x)), hence w‾ = Σ frames(x)·Fᴴ·Ȳ."""
    framed = emit.Gather(node["signal"], _frames(emit, node, ct), axis=1)
    product = framed * _frames_cotangent(emit, node, ct)
    return emit.ReduceSum(product, [0, 1, 3], keepdims=0)


def _frames(emit: Emitter, node: Node, ct: Value) -> Value:
    """Where in the signal each frame lies, int64 [frames, length]."""
    step = emit.cast(node["frame_step"], "int64")
    count, length = emit.dims(_ranked(emit, ct, 4), 1, 2), _frame_length(emit, node)
    sizes = [count.constant, length.constant, step.constant]
    if all(s is not None for s in sizes):
        frames, size, stride = (int(np.ravel(s)[0]) for s in sizes if s is not None)
        return emit.constant(np.arange(frames)[:, None] * stride + np.arange(size))
    starts = emit.Range(0, emit.Squeeze(count, [0]), 1) * emit.reshape(step, [1])
    return emit.Unsqueeze(starts, [1]) + emit.Range(0, emit.Squeeze(length, [0]), 1)


def _frame_length(emit: Emitter, node: Node) -> Value:
    length, window = node.get("frame_length"), node.get("window")
    if length is not None:
        return emit.reshape(emit.cast(length, "int64"), [1])
    if window is not None:
        return emit.dims(window, 0, 1)
    return emit.dims(node["signal"], 1, 2)


def _frames_cotangent(emit: Emitter, node: Node, ct: Value) -> Value:
    """Fᴴ·Ȳ, [batch, frames, length, 1 or 2]."""
    ct, length = _ranked(emit, ct, 4), _frame_length(emit, node)
    count = length if node.attr("onesided", 1) else None
    back = _transform(emit, ct, emit.constant([2]), inverse=True, count=count)
    return _real(emit, back * emit.cast(length, ct.dtype), node["signal"])


def _transform(
    emit: Emitter,
    value: Value,
    axis: Value,
    *,
    inverse: bool = False,
    onesided: bool = False,
    count: Value | None = None,
) -> Value:
    """The DFT of `value`, filled up with zeros to `count`, along an axis.

    The axis went from an attribute to an input at opset 20.
    """
    length = None if count is None else emit.Squeeze(count, [0])
    given = {"inverse": int(inverse), "onesided": int(onesided)}
    if emit.graph.opset >= 20:
        made = emit.DFT(value, length, emit.Squeeze(axis, [0]), **given)
    else:
        assert axis.constant is not None  # an attribute
        made = emit.DFT(value, length, axis=axis.constant.item(), **given)
    return _ranked(emit, made, value.rank)


def _ranked(emit: Emitter, value: Value, rank: int) -> Value:
    """The same value; ONNX's inference gives up where a size is known at run time only."""
    return emit.typed(value, (None,) * rank) if value.shape is None else value


def _real(emit: Emitter, value: Value, primal: Value) -> Value:
    """The real part of complex numbers if the primal's are real."""
    last = primal.shape[-1] if primal.shape else None
    if last == 2:
        return value
    end = emit.constant([last]) if isinstance(last, int) else emit.dims(primal, primal.rank - 1)
    return emit.Slice(value, [0], end, [-1])


def _fit(emit: Emitter, value: Value, axis: Value, size: Value) -> Value:
    """`value` cut off at, or with zeros up to, a size along an axis."""
    return surround(emit, value, emit.constant([0]), size - emit.sizes(value, axis), axis)


def _axis(emit: Emitter, node: Node) -> Value:
    x, given = node["input"], node.get("axis")
    if given is None:
        default = 1 if node.opset < 20 else -2
        return emit.constant([emit.axis(node.attr("axis", default), x)])
    if given.constant is not None:
        return emit.constant([emit.axis(int(given.constant.item()), x)])
    axis = emit.reshape(emit.cast(given, "int64"), [1])
    return emit.Where(emit.Less(axis, 0), axis + x.rank, axis)
