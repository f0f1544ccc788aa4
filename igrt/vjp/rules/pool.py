"""VJP rules of the pooling operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.errors import UnsupportedOperator
from igrt.graph import Emitter, Node, Value
from igrt.vjp.geometry import Window, along, fit, identity, window
from igrt.vjp.registry import vjp

_PAST_END = 2**63 - 1
"""An `ends` that no axis reaches."""

_SHORT = 24
"""Elements in a row up to which it pays to compute a window more and shift all rows at once."""


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

    The maximum is taken axis by axis, the last one first, which keeps the order and needs k + l
    comparisons instead of k·l. Asking the MaxPool for its Indices would make it 6 to 54 times
    slower in onnxruntime.
    """
    _refuse_mispadded(node)
    x, y = node["X"], node.output
    if emit.rectifies(x):  # x > 0 where y > 0, and y is the smaller one
        ct = emit.masked(ct, emit.Greater(y, 0.0))
        return emit.rectified(_spread_maxima(emit, node, ct), x)
    return _spread_maxima(emit, node, ct)


def _spread_maxima(emit: Emitter, node: Node, ct: Value) -> Value:
    x, counts = node["X"], emit.dims(node.output, 2)
    sizes = emit.dims(x, 2)
    win = window(emit, node, sizes)
    axes, none = emit.constant(win.axes), emit.constant([0] * win.rank)
    begin = win.begin if win.pads is None else none
    whole = sizes if win.pads is not None else win.begin + sizes + win.end
    lines = [_line(emit, win, i, whole, counts) for i in range(win.rank)]
    # whole strides of x, and as many windows: those behind the last one have no cotangent
    windows = emit.vector(*(line.windows for line in lines))
    longer = emit.vector(*(line.length for line in lines)) * emit.constant(win.strides)
    largest = _extended(emit, x, begin, longer - sizes - begin, axes, -np.inf)
    backward: list[Callable[[Value], Value]] = []
    for line in reversed(lines):
        largest, pull = _max_along(emit, largest, line)
        backward.append(pull)
    ct = _extended(emit, ct, none, windows - counts, axes, 0.0)
    for pull in reversed(backward):
        ct = pull(ct)
    made, wanted = emit.dims(ct, 2).constant, whole.constant
    if win.pads is not None and made is not None and wanted is not None:
        if (made == wanted).all():
            return ct
    return emit.Slice(ct, begin, begin + sizes, axes)


@final
@dataclass(frozen=True)
class _Line:
    """The windows along one axis.

    x_o[p] = x[s·p + d·o - pad] are the candidates for o = 0, 1, …; phase f of x is x[s·j + f], so
    x_o is phase f = (d·o - pad) mod s, shifted by q = (d·o - pad) div s.

    Args:
        axis: Which axis.
        stride: s.
        places: (q, f) of each candidate.
        length: Elements of a phase, an int64 vector of one element.
        windows: Number of windows computed, those behind the last one included, the same.
        margin: Elements that a shifted phase is at most short of, where sizes are not known.
        free: Whether enough windows are computed to shift all rows at once: what comes out of one
            row at its end and into the next has no effect there.
    """

    axis: int
    stride: int
    places: list[tuple[int, int]]
    length: Value
    windows: Value
    margin: int
    free: bool


def _line(emit: Emitter, win: Window, i: int, sizes: Value, counts: Value) -> _Line:
    kernel, pads = win.kernel.constant, win.pads
    assert kernel is not None
    k, s, d = int(kernel[i]), win.strides[i], win.dilations[i]
    before, behind = (pads[i], pads[win.rank + i]) if pads else (0, 0)
    places = [divmod(d * o - before, s) for o in range(k)]
    size, count = emit.Gather(sizes, [i]), emit.Gather(counts, [i])
    length = (size + (s - 1)) / emit.constant([s])
    windows = emit.Max(length, count)
    margin = behind // s + d * (k - 1) // s + 2
    sizes_known, counts_known = sizes.constant, counts.constant
    if sizes_known is not None and counts_known is not None:
        n, rows, least = int(sizes_known[i]), int(counts_known[i]), -(-int(sizes_known[i]) // s)
        ample = max(least, rows, *(rows + q if q > 0 else -(-(n - f) // s) - q for q, f in places))
        # short rows cost more than what they hold, to Pad and to Slice: 4 times at 8, little at 56
        if ample == least or (n <= _SHORT * s and sizes_known[i:].prod() <= _SHORT**2 * s):
            enough = emit.constant([ample])
            return _Line(i + 2, s, places, enough, enough, margin, free=True)
    return _Line(i + 2, s, places, length, windows, margin, free=False)


def _extended(
    emit: Emitter, value: Value, begin: Value, end: Value, axes: Value, fill: float
) -> Value:
    """`value` with some amounts of a number in front and behind; nothing is emitted for 0."""
    pads = emit.Concat(begin, end, axis=0)
    if pads.constant is not None and not pads.constant.any():
        return value
    return emit.pad(value, pads, fill, axes)


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


def _max_along(emit: Emitter, x: Value, line: _Line) -> tuple[Value, Callable[[Value], Value]]:
    """Maximum of the windows along one axis, and its pullback; the size is a multiple of s."""
    axis, s = line.axis, line.stride
    if s == 1 and line.places == [(0, 0)]:
        return x, lambda ct: ct
    phases = _phases(emit, x, axis, s)
    candidates = [
        _shifted(emit, phases[f], line, -q, line.windows, -np.inf) for q, f in line.places
    ]
    largest, later = candidates[0], []
    for candidate in candidates[1:]:  # a later one wins only if it is larger: the first wins ties
        later.append(emit.Less(largest, candidate))
        largest = emit.Max(largest, candidate)

    def pull(ct: Value) -> Value:
        shares = []
        for wins in reversed(later):
            # Where would keep an infinite cotangent from making NaN of 0 here, at 4 times the time
            shares.append(ct * emit.cast(wins, ct.dtype))
            ct = ct - shares[-1]
        shares.append(ct)
        sums: list[Value | None] = [None] * s
        for (q, f), share in zip(line.places, reversed(shares), strict=True):
            moved, sofar = _shifted(emit, share, line, q, line.length, 0.0), sums[f]
            sums[f] = moved if sofar is None else sofar + moved
        return _merged(emit, sums, axis)

    return largest, pull


def _shifted(
    emit: Emitter, value: Value, line: _Line, begin: int, size: Value, fill: float
) -> Value:
    """y[j] = x[j - begin] along an axis, else `fill`; where `line` allows, of all rows in one."""
    known = emit.dims(value, line.axis).constant
    if begin == 0 or not line.free or known is None:
        return fit(emit, value, line.axis, begin, size, fill, line.margin)
    amount = abs(begin) * int(known[1:].prod())
    pads, part = ([amount, 0], [0, -amount]) if begin > 0 else ([0, amount], [amount, _PAST_END])
    # not of one axis: ONNX's data propagation takes that for a shape, at 140 bytes a number
    axis = emit.constant([1])
    flat = emit.pad(emit.reshape(value, [1, -1]), emit.constant(pads), fill, axis)
    moved = emit.Slice(flat, part[:1], part[1:], axis)
    return emit.reshape_like(moved, value)


def _phases(emit: Emitter, x: Value, axis: int, s: int) -> list[Value]:
    """x[f], x[s + f], x[2·s + f], … for f = 0 … s - 1; the size has to be a multiple of s."""
    if s == 1:
        return [x]
    split = _split_axis(emit, x, axis, s)
    return [emit.Squeeze(emit.Slice(split, [f], [f + 1], [axis + 1]), [axis + 1]) for f in range(s)]


def _merged(emit: Emitter, phases: list[Value | None], axis: int) -> Value:
    """The inverse of `_phases`; None stands for zeros."""
    some = next(p for p in phases if p is not None)
    if len(phases) == 1:
        return some
    full = [emit.Unsqueeze(emit.zeros_like(some) if p is None else p, [axis + 1]) for p in phases]
    joined = emit.Concat(*full, axis=axis + 1)
    known = joined.static_shape
    if known is not None:
        return emit.reshape(joined, [*known[:axis], known[axis] * len(phases), *known[axis + 2 :]])
    return emit.Reshape(joined, _joined_shape(emit, some, axis))


def _split_axis(emit: Emitter, x: Value, axis: int, s: int) -> Value:
    known = x.static_shape
    if known is not None:
        return emit.reshape(x, [*known[:axis], known[axis] // s, s, *known[axis + 1 :]])
    tail = emit.dims(x, axis + 1) if axis + 1 < x.rank else None
    parts = [[0] * axis, [-1, s], *([tail] if tail is not None else [])]
    return emit.Reshape(x, emit.Concat(*parts, axis=0))


def _joined_shape(emit: Emitter, phase: Value, axis: int) -> Value:
    tail = emit.dims(phase, axis + 1) if axis + 1 < phase.rank else None
    return emit.Concat([0] * axis, [-1], *([tail] if tail is not None else []), axis=0)


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
