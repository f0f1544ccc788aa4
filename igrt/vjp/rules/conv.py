"""VJP rules of the convolutions: Conv, ConvTranspose."""

import numpy as np

from igrt.graph import Emitter, Node, Value
from igrt.vjp.geometry import Window, transposed_window, window
from igrt.vjp.registry import vjp

_TO_THE_FRONT = int(np.iinfo(np.int64).min)


@vjp("Conv", "X")
def conv_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """y[p] = Σ_k w[k]·x[s·p + d·k - pad], hence x‾[q] = Σ w[k]·ȳ[p] over s·p + d·k - pad = q."""
    x, group = node["X"], node.attr("group", 1)
    sizes = emit.dims(x, 2)
    win = window(emit, node, sizes, emit.dims(node["W"], 2))
    pads, extent = win.pads, win.extent.constant
    ct, w = _scaled_kernel(emit, ct, node["W"])
    if all(s == 1 for s in win.strides) and pads is not None and extent is not None:
        mirrored = [*(extent - 1), *(extent - 1)] - np.asarray(pads)
        if w.static_shape is not None and (mirrored >= 0).all():
            # 0.6 to 1.0 times the forward Conv, where ConvTranspose takes 0.8 to 3.1 times
            return emit.Conv(
                ct,
                _flipped(emit, w, w.static_shape, group),
                pads=[int(p) for p in mirrored],
                dilations=list(win.dilations),
                group=group,
            )
    return _transposed(emit, ct, w, sizes, win, group)


@vjp("Conv", "W")
def conv_w(emit: Emitter, node: Node, ct: Value) -> Value:
    """w‾[k] = Σ_n,p x[s·p + d·k - pad]·ȳ[p]."""
    x, w = node["X"], node["W"]
    win = window(emit, node, emit.dims(x, 2), emit.dims(w, 2))
    return _correlate(emit, x, ct, win, node.attr("group", 1))


@vjp("Conv", "B")
@vjp("ConvTranspose", "B")
def bias(emit: Emitter, node: Node, ct: Value) -> Value:
    """b‾ = Σ ȳ over batch and space."""
    return emit.ReduceSum(ct, [0, *range(2, node["W"].rank)], keepdims=0)


@vjp("ConvTranspose", "X")
def conv_transpose_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """y[s·p + d·k - pad] += w[k]·x[p], hence x‾[p] = Σ_k w[k]·ȳ[s·p + d·k - pad]."""
    x, w = node["X"], node["W"]
    win = transposed_window(emit, node, emit.dims(x, 2), emit.dims(w, 2))
    ct, pads = _explicitly_padded(emit, ct, win)
    return emit.Conv(
        ct,
        w,
        pads=pads,
        strides=list(win.strides),
        dilations=list(win.dilations),
        group=node.attr("group", 1),
    )


@vjp("ConvTranspose", "W")
def conv_transpose_w(emit: Emitter, node: Node, ct: Value) -> Value:
    """w‾[k] = Σ_n,p ȳ[s·p + d·k - pad]·x[p]."""
    x, w = node["X"], node["W"]
    win = transposed_window(emit, node, emit.dims(x, 2), emit.dims(w, 2))
    return _correlate(emit, ct, x, win, node.attr("group", 1))


def _flipped(emit: Emitter, w: Value, shape: tuple[int, ...], group: int) -> Value:
    """The kernel reversed in space with its channels swapped in each group.

    [group·out, in, *k] becomes [group·in, out, *k]. onnxruntime folds it if w is stored.
    """
    out, inner, kernel = shape[0] // group, shape[1], shape[2:]
    if group == 1:
        w = emit.Transpose(w, perm=[1, 0, *range(2, len(shape))])
    elif out > 1 or inner > 1:
        w = emit.reshape(w, [group, out, inner, *kernel])
        w = emit.Transpose(w, perm=[0, 2, 1, *range(3, len(shape) + 1)])
        w = emit.reshape(w, [group * inner, out, *kernel])
    axes = [i + 2 for i, k in enumerate(kernel) if k > 1]
    if not axes:
        return w
    back = [-1] * len(axes)
    return emit.Slice(w, back, [_TO_THE_FRONT] * len(axes), axes, back)


def _scaled_kernel(emit: Emitter, ct: Value, w: Value) -> tuple[Value, Value]:
    """A factor per channel of the cotangent, as a BatchNormalization leaves it, moves into w."""
    factors = emit.factors(ct)
    if factors is None or factors[1].static_shape is None or w.static_shape is None:
        return ct, w
    plain, scale = factors
    if scale.static_shape != (w.static_shape[0], *[1] * (w.rank - 2)) or plain.shape != ct.shape:
        return ct, w
    return plain, w * emit.Unsqueeze(scale, [w.rank - 1])


def _transposed(emit: Emitter, ct: Value, w: Value, sizes: Value, win: Window, group: int) -> Value:
    """ConvTranspose of the cotangent, cut to the sizes of the forward input."""
    pads, step = win.pads, emit.constant(win.strides)
    covered = (emit.dims(ct, 2) - 1) * step + win.extent
    # what no window reaches behind the last one: less than a stride
    rest = (sizes + win.begin + win.end - covered).constant
    if pads is None:
        rest = None
    elif all(s == 1 for s in win.strides):
        rest = np.zeros(win.rank, np.int64)
    full = emit.ConvTranspose(
        ct,
        w,
        strides=list(win.strides),
        dilations=list(win.dilations),
        group=group,
        pads=pads,
        output_padding=[s - 1 for s in win.strides] if rest is None else [int(r) for r in rest],
    )
    if rest is not None:
        return full
    start = win.begin if pads is None else emit.constant([0] * win.rank)
    return emit.Slice(full, start, start + sizes, win.axes)


def _correlate(emit: Emitter, image: Value, signal: Value, win: Window, group: int) -> Value:
    """Σ_n,p image[n, i, s·p + d·k - pad]·signal[n, o, p] as [o, i, *k], within each group.

    It is a Conv in which batch and channels swap roles, and so do strides and dilations.
    """
    image, pads = _explicitly_padded(emit, image, win)
    swap = [1, 0, *win.axes]
    if group == 1:
        batched = emit.Transpose(image, perm=swap)
    else:  # [n, group·i, …] becomes [i, group·n, …]
        space = emit.dims(image, 2)
        head = emit.Concat(emit.dims(image, 0, 1), [group, -1], space, axis=0)
        split = emit.Reshape(image, head)
        moved = emit.Transpose(split, perm=[2, 1, 0, *(a + 1 for a in win.axes)])
        batched = emit.Reshape(moved, emit.Concat([0, -1], space, axis=0))
    sums = emit.Conv(
        batched,
        emit.Transpose(signal, perm=swap),
        pads=pads,
        strides=list(win.dilations),
        dilations=list(win.strides),
        group=group,
    )
    kernels = emit.Transpose(sums, perm=swap)
    if all(s == 1 for s in win.strides):
        return kernels
    return emit.Slice(kernels, [0] * win.rank, win.kernel, win.axes)


def _explicitly_padded(emit: Emitter, value: Value, win: Window) -> tuple[Value, list[int]]:
    """The value and the pads to use as an attribute; padded at run time if they depend on it."""
    if win.pads is not None:
        return value, win.pads
    both = emit.Concat(win.begin, win.end, axis=0)
    padded = emit.pad(value, both, 0.0, emit.constant(win.axes))
    return padded, [0] * (2 * win.rank)
