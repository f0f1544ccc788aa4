"""Operations in the matrix products of a graph, and how many the machine makes a second."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper

from igrt.graph.learn import exposing
from igrt.graph.view import subgraphs
from igrt.runtime.session import OrtSession, Session
from igrt.specs import Feeds

Shape = tuple[int, ...]

_SIZE = 1024
"""Rows and columns of the matrices: 4 MiB each, from where on the rate stays the same."""

_ROUNDS = 7


def product_flops(
    model: onnx.ModelProto, feeds: Feeds, session: Callable[[onnx.ModelProto], Session]
) -> int | None:
    """Floating-point operations of the matrix products and convolutions of one run.

    A product of m x k and k x n counts 2·m·k·n, a convolution likewise; nothing else counts.

    Args:
        model: The model.
        feeds: What it is fed with.
        session: Loads a model.

    Returns:
        None where the graph has a loop or branches, since they run as often as the data say.
    """
    if any(True for node in model.graph.node for _ in subgraphs(node)):
        return None
    counted = [n for n in model.graph.node if n.op_type in _OPERATIONS]
    # inference gives up where sizes are computed, as the heads of attention are
    sizes = _sizes_of(
        model, {n for c in counted for n in (*c.input[:2], c.output[0])}, feeds, session
    )
    return sum(
        _OPERATIONS[n.op_type](n, sizes[n.input[0]], sizes[n.input[1]], sizes[n.output[0]])
        for n in counted
    )


def _sizes_of(
    model: onnx.ModelProto,
    names: set[str],
    feeds: Feeds,
    session: Callable[[onnx.ModelProto], Session],
) -> dict[str, Shape]:
    """Shapes of tensors in a run; an output left out counts as empty."""
    asked = {n: f"igrt/size/{k}" for k, n in enumerate(sorted(names - {""}))}
    copy = exposing(model, list(asked.values()))
    copy.graph.node.extend(helper.make_node("Shape", [n], [o]) for n, o in asked.items())
    found = session(copy).run(list(asked.values()), feeds)
    return {"": (), **{n: tuple(a.tolist()) for n, a in zip(asked, found, strict=True)}}


def _attribute(node: onnx.NodeProto, name: str, otherwise: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), otherwise)


def _matmul(node: onnx.NodeProto, a: Shape, b: Shape, y: Shape) -> int:
    inner = a[-2] if _attribute(node, "transA", 0) and len(a) > 1 else a[-1]
    return 2 * inner * prod(y)


def _conv(node: onnx.NodeProto, x: Shape, w: Shape, y: Shape) -> int:
    return 2 * prod(w[1:]) * prod(y)


def _conv_transpose(node: onnx.NodeProto, x: Shape, w: Shape, y: Shape) -> int:
    return 2 * prod(w[1:]) * prod(x)


def _recurrence(node: onnx.NodeProto, x: Shape, w: Shape, y: Shape) -> int:
    directions, gates, width = w
    hidden = _attribute(node, "hidden_size", 0)
    return 2 * x[0] * x[1] * directions * gates * (width + hidden)


_OPERATIONS: dict[str, Callable[[onnx.NodeProto, Shape, Shape, Shape], int]] = {
    "MatMul": _matmul,
    "FusedMatMul": _matmul,
    "Gemm": _matmul,
    "Conv": _conv,
    "FusedConv": _conv,
    "ConvTranspose": _conv_transpose,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrence),
}


def product_rate(*, provider: str, threads: int | None) -> float:
    """Operations a second of a large float32 matrix product, by onnxruntime's own kernel.

    Args:
        provider: Execution provider.
        threads: Threads within the operator; None leaves it to onnxruntime.
    """
    kinds = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, [_SIZE, _SIZE]) for n in "aby"}
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["y"])],
        "product",
        [*kinds.values()][:2],
        [kinds["y"]],
    )
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, ir_version=9, opset_imports=opsets)
    session = OrtSession(model.SerializeToString(), provider=provider, threads=threads)
    draw = np.random.default_rng(0)
    feeds = {n: draw.standard_normal((_SIZE, _SIZE), dtype=np.float32) for n in "ab"}
    taken = []
    for _ in range(_ROUNDS + 1):
        start = time.perf_counter()
        session.run(["y"], feeds)
        taken.append(time.perf_counter() - start)
    return 2 * _SIZE**3 / statistics.median(taken[1:])


__all__ = ["product_flops", "product_rate"]
