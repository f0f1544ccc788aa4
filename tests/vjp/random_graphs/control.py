"""Recurrences and control flow for random graphs, and the pool of all operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from arithmetic import (
    binary,
    clip,
    einsum,
    gemm,
    kinked,
    layer_norm,
    matmul,
    positive,
    reduce,
    smooth,
    softmax,
    where,
)
from maker import Maker, far
from onnx import TensorProto, helper
from shapes import (
    concat,
    convolve,
    gather,
    pad,
    pool,
    repeat,
    reshape,
    scan_along,
    scatter,
    slice_,
    split,
    squeeze,
    transpose,
)

# -- recurrence and control flow ------------------------------------------------------------------


def recurrent(m: Maker) -> None:
    x = m.pick(lambda v: v.ndim == 3 and v.shape[0] <= 4)
    if not x:
        return
    op_type, gates = m.choose([("RNN", 1), ("GRU", 3), ("LSTM", 4)])
    width, hidden = m.values[x].shape[2], 2
    w, r = m.floats(1, gates * hidden, width), m.floats(1, gates * hidden, hidden)
    y = m.add(op_type, [x, w, r, m.floats(1, 2 * gates * hidden)], hidden_size=hidden)
    if y:
        m.add("Squeeze", [y, m.ints(1)])


def finished(inner: Maker, state: str) -> str:
    """A tensor in the shape of a state, made of it and of what was made last."""
    last = list(inner.own)[-1]
    mean = (
        inner.add("ReduceMean", [last], keepdims=0) if inner.own[last].dtype.kind == "f" else None
    )
    total = inner.add("Add", [state, mean or state])
    made = inner.add("Tanh", [total or state])
    assert made is not None
    return made


def grow(m: Maker, makers: Sequence[Callable[[Maker], None]], nodes: int) -> None:
    for _ in range(4 * nodes):
        if len(m.nodes) >= nodes:
            return
        m.choose(makers)(m)


def info(
    name: str, array: np.ndarray | None, elem: int = TensorProto.DOUBLE
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, elem, None if array is None else array.shape)


def if_(m: Maker) -> None:
    x = m.pick(lambda v: v.size > 0)
    if not x:
        return
    total = m.add("ReduceSum", [x], keepdims=0)
    if not total or not far(m.values[total]):
        return
    condition = m.add("Less", [total, m.const(np.float64(0.0))])
    branches = []
    for _ in range(2):
        inner = Maker(m.rng, outer=m)
        grow(inner, EVERYWHERE, 2)
        if not inner.own:
            inner.add("Sin", [x])
        out = finished(inner, x)
        outputs = [info(out, m.values[x])]
        branches.append(helper.make_graph(inner.nodes, "branch", [], outputs))
    if condition:
        m.add("If", [condition], then_branch=branches[0], else_branch=branches[1])


def loop(m: Maker) -> None:
    x = m.pick(lambda v: v.size > 0)
    if not x:
        return
    inner = Maker(m.rng, outer=m)
    number, going, state = m.fresh(), m.fresh(), m.fresh()
    inner.own[state] = m.values[x]
    inner.add("Sin", [state])
    grow(inner, EVERYWHERE, 3)
    row = list(inner.own)[-1]
    row = row if inner.own[row].dtype.kind == "f" else state
    out = finished(inner, state)
    # the reference stacks rows of rank 1 rightly, and others not
    flat, again = inner.add("Reshape", [row, inner.ints(-1)]), m.fresh()
    assert flat is not None
    inner.nodes.append(helper.make_node("Identity", [going], [again]))
    inputs = [info(number, np.array(0), TensorProto.INT64)]
    inputs += [info(going, np.array(True), TensorProto.BOOL), info(state, m.values[x])]
    outputs = [info(again, np.array(True), TensorProto.BOOL), info(out, m.values[x])]
    outputs.append(info(flat, inner.values[flat]))
    graph = helper.make_graph(inner.nodes, "body", inputs, outputs)
    trips = m.const(np.int64(m.choose([1, 2, 3])))
    m.add("Loop", [trips, m.const(np.array(True)), x], 2, body=graph)


def scan(m: Maker) -> None:
    x = m.pick(lambda v: v.ndim > 1 and v.shape[0] <= 4)
    if not x:
        return
    values = m.values[x]
    inner = Maker(m.rng, outer=m)
    state, element = m.fresh(), m.fresh()
    first = m.pick(lambda v: v.shape == values.shape[1:]) or m.floats(*values.shape[1:])
    inner.own[state], inner.own[element] = m.values[first], values[0]
    inner.add("Mul", [state, element])
    grow(inner, EVERYWHERE, 3)
    out = finished(inner, state)
    copy = m.fresh()
    inner.nodes.append(helper.make_node("Identity", [out], [copy]))
    inputs = [info(state, values[0]), info(element, values[0])]
    outputs = [info(out, values[0]), info(copy, values[0])]
    graph = helper.make_graph(inner.nodes, "body", inputs, outputs)
    m.add("Scan", [first, x], 2, body=graph, num_scan_inputs=1)


EVERYWHERE = [smooth, smooth, binary, matmul, transpose, reduce, softmax, slice_, reshape]
"""For bodies, in which the arguments of the first iteration only are known: nothing with kinks."""

ANYWHERE = [
    *(smooth, smooth, smooth, binary, binary, binary, positive, kinked, clip, where, matmul, gemm),
    *(einsum, transpose, reshape, squeeze, concat, split, slice_, pad, gather, repeat, scatter),
    *(scan_along, reduce, reduce, softmax, layer_norm, convolve, convolve, pool, recurrent),
    *(if_, loop, scan),
]
