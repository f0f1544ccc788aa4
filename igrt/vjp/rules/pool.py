"""VJP rules of the pooling operators."""

from __future__ import annotations

import numpy as np

from igrt.errors import UnsupportedOperator
from igrt.graph import Emitter, Node, Value
from igrt.vjp.geometry import Window, along, fit, identity, window
from igrt.vjp.maxima import spread_maxima
from igrt.vjp.registry import vjp


@vjp("AveragePool", "X")
def average_pool(emit: Emitter, node: Node, ct: Value) -> Value:
    """y[p] = Σ_k x[s·p + d·k - pad]/count[p], hence x‾[q] = Σ ȳ[p]/count[p] over windows p ∋ q."""
    _refuse_mispadded(node)
    x = node["X"]
    win = window(emit, node, emit.dims(x, 2))
    kernel, pads = win.kernel.constant, win.pads
    assert kernel is not None  # an attribute
    size, plain = float(kernel.prod()), win.dilations == (1,) * win.rank and pads is not None
    if plain and pads is not None and win.strides == (1,) * win.rank:
        return _box_sums(emit, node, ct, win, [int(k) for k in kernel], pads)
    if (
        plain
        and win.strides == tuple(kernel)
        and not any(pads or ())
        and not node.attr("ceil_mode")
    ):
        return _repeated(emit, ct / size, x, win)
    for i, axis in enumerate(win.axes):
        ct = along(emit, _responses(emit, node, "AveragePool", axis, i), ct, axis)
    return ct


@vjp("GlobalAveragePool", "X")
def global_average_pool(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ/n everywhere, n elements per channel."""
    x = node["X"]
    sizes = emit.dims(x, 2)
    known = sizes.constant
    if known is not None:
        return emit.Expand(ct / float(known.prod()), emit.shape(x))
    return emit.Expand(ct / emit.cast(emit.ReduceProd(sizes, keepdims=0), ct.dtype), emit.shape(x))


@vjp("GlobalLpPool", "X")
def global_lp_pool(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = (Σ|x|ᵖ)^(1/p), hence x‾ = ȳ·y^(1-p)·sign(x)·|x|^(p-1)."""
    return _per_norm(emit, node, ct) * _slope(emit, node["X"], node.attr("p", 2))


@vjp("GlobalMaxPool", "X")
def global_max_pool(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ where x is the maximum; several maxima share it equally."""
    x = node["X"]
    largest = emit.Equal(x, node.output)
    count = emit.ReduceSum(emit.cast(largest, ct.dtype), list(range(2, x.rank)), keepdims=1)
    return emit.Where(largest, ct / count, 0.0)


@vjp("LpPool", "X")
def lp_pool(emit: Emitter, node: Node, ct: Value) -> Value:
    """y[p] = (Σ|x|ᵖ)^(1/p), x‾[q] = sign(x)·|x|^(p-1)·Σ ȳ[p]·y[p]^(1-p) over windows p ∋ q."""
    _refuse_mispadded(node)
    spread = _per_norm(emit, node, ct)
    for i in range(node["X"].rank - 2):
        spread = along(emit, _responses(emit, node, "LpPool", i + 2, i), spread, i + 2)
    return spread * _slope(emit, node["X"], node.attr("p", 2))


@vjp("MaxPool", "X")
def max_pool(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾[q] = Σ ȳ[p] over windows p whose first maximum in row-major order is x[q].

    Asking the MaxPool for its Indices would make it 6 to 54 times slower in onnxruntime.
    """
    _refuse_mispadded(node)
    x, y = node["X"], node.output
    if emit.rectifies(x):  # x > 0 where y > 0, and y is the smaller one
        ct = emit.masked(ct, emit.Greater(y, 0.0))
        return emit.rectified(spread_maxima(emit, node, ct), x)
    return spread_maxima(emit, node, ct)


def _refuse_mispadded(node: Node) -> None:
    """Dilated windows with `auto_pad` SAME: their number in onnxruntime is not what ONNX infers."""
    kernel, mode = node.attr("kernel_shape"), node.attr("auto_pad", "NOTSET")
    dilations = node.attr("dilations") or [1] * len(kernel)
    spread = any(d != 1 and k != 1 for d, k in zip(dilations, kernel, strict=True))
    if spread and mode.startswith("SAME"):
        raise UnsupportedOperator(
            f"`auto_pad` is {mode} and windows are dilated: onnxruntime pads less than ONNX says",
            hint="write the padding into `pads`",
        )


def _box_sums(
    emit: Emitter, node: Node, ct: Value, win: Window, kernel: list[int], pads: list[int]
) -> Value:
    """Spread of an average with stride 1: sums of windows of the cotangent.

    An average over every window, padding included, is such a sum divided by the window's size.
    """
    whole = {"kernel_shape": kernel, "count_include_pad": 1}
    if any(pads) and not node.attr("count_include_pad", 0):
        ones = emit.Expand(emit.lift(1.0, ct), emit.Concat([1, 1], emit.dims(node["X"], 2), axis=0))
        ct = ct / emit.AveragePool(ones, pads=pads, **whole)
    mirrored = [k - 1 - p for k, p in zip([*kernel, *kernel], pads, strict=True)]
    return emit.AveragePool(ct, pads=mirrored, **whole)


def _repeated(emit: Emitter, ct: Value, x: Value, win: Window) -> Value:
    """Spread of an average over blocks: every element repeated, zeros behind the last block."""
    scales = np.asarray([1, 1, *win.strides], dtype=np.float32)
    repeated = emit.Resize(
        ct,
        None,
        scales,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    for i, axis in enumerate(win.axes):
        size = emit.dims(x, axis, axis + 1)
        repeated = fit(emit, repeated, axis, 0, size, 0.0, win.strides[i] - 1)
    return repeated


def _responses(emit: Emitter, node: Node, op_type: str, axis: int, i: int) -> Value:
    """The matrix [in, out] of a pooling along one axis: what the kernel makes of unit vectors.

    The divisors of overhanging windows are products over the axes, so each axis can be asked by
    itself, and no rule about them has to be repeated here.
    """
    x = node["X"]
    rank = x.rank - 2
    units = emit.Unsqueeze(identity(emit, emit.dims(x, axis, axis + 1), x), [1])
    given = {
        name: [node.attr(name)[i]]
        for name in ("kernel_shape", "strides", "dilations")
        if node.attr(name)
    }
    if node.attr("pads"):
        given["pads"] = [node.attr("pads")[i], node.attr("pads")[rank + i]]
    given |= {n: node.attr(n) for n in ("auto_pad", "ceil_mode") if node.attr(n)}
    # of unit vectors, the 1-norm is the sum
    own = {"p": 1} if op_type == "LpPool" else {"count_include_pad": node.attr("count_include_pad")}
    return emit.Squeeze(emit.node(op_type, [units], given | own)[0], [1])


def _per_norm(emit: Emitter, node: Node, ct: Value) -> Value:
    """ȳ·y^(1-p); 0 where y is 0, as the norm has no derivative there."""
    p, y = node.attr("p", 2), node.output
    if p == 1:
        return ct
    some = emit.Greater(y, 0.0)
    safe = emit.Where(some, y, 1.0)
    return emit.Where(some, ct / (safe if p == 2 else safe ** float(p - 1)), 0.0)


def _slope(emit: Emitter, x: Value, p: int) -> Value:
    """sign(x)·|x|^(p-1)."""
    if p == 1:
        return emit.Sign(x)
    return x if p == 2 else emit.Sign(x) * emit.Abs(x) ** float(p - 1)
