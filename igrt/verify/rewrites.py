"""Other models for the same function."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from igrt.errors import IgrtError
from igrt.graph import Graph, load, serialise
from igrt.graph.normalize import normalize
from igrt.graph.normalize.inline import inline_operators
from igrt.graph.normalize.opset import pin_ir_version
from igrt.graph.onnx_types import value_info
from igrt.runtime.session import save_optimised
from igrt.specs import Array

Rewrite = Callable[[onnx.ModelProto], onnx.ModelProto | None]
"""From a model to an equivalent one with other nodes; None where it would be the same."""

_PREFIX = "igrt/verify/"


def optimise(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """What onnxruntime makes of the model: constants folded, nodes fused (its level EXTENDED)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "optimised.onnx"
        save_optimised(serialise(model), file)
        made = load(file).model
    same = [n.op_type for n in made.graph.node] == [n.op_type for n in model.graph.node]
    return None if same else made


def expand_functions(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Operators that ONNX defines by others replaced by their definitions."""
    plain = normalize(model)
    kept = {(n.domain, n.op_type) for n in plain.graph.node}
    chosen = {(d, o) for d, o in kept if d in ("", "ai.onnx") and _has_body(o, Graph(plain).opset)}
    made = inline_operators(plain, chosen) if chosen else None
    if made is not None:
        pin_ir_version(made)
    return made


def _has_body(operator: str, opset: int) -> bool:
    schema: Any  # the stubs of OpSchema lack the functions
    try:
        schema = onnx.defs.get_schema(operator, opset, "")
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def respell(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The same formulas in other operators.

    relu(x) = x where x > 0, else 0;  σ(x) = ½ + ½ tanh(x/2);  tanh(x) = 2σ(2x) − 1;
    Gemm with a bias = Gemm + bias.  No gradient changes anywhere, ReLU′(0) = 0 included.
    """
    plain = normalize(model)
    graph, nodes = Graph(plain), list[onnx.NodeProto]()
    made = onnx.ModelProto()
    made.CopyFrom(plain)
    for node in graph.nodes:
        spelled = _spell(made, graph, node)
        nodes += [node] if spelled is None else spelled
    if len(nodes) == len(graph.nodes):
        return None
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    pin_ir_version(made)
    return made


def _spell(
    model: onnx.ModelProto, graph: Graph, node: onnx.NodeProto
) -> list[onnx.NodeProto] | None:
    if node.domain not in ("", "ai.onnx"):
        return None
    dtype = graph.spec(node.output[0]).dtype
    if dtype not in ("float16", "float32", "float64"):
        return None
    inner = [f"{_PREFIX}{node.output[0]}/{k}" for k in range(2)]
    made = helper.make_node

    def number(value: float) -> str:
        name = f"{_PREFIX}{dtype}/{value:g}"
        if all(t.name != name for t in model.graph.initializer):
            array = np.asarray(value, dtype=dtype)
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    y = [node.output[0]]
    match node.op_type:
        case "Relu":
            x = node.input[0]
            return [
                made("Greater", [x, number(0)], inner[:1]),
                made("Where", [inner[0], x, number(0)], y),
            ]
        case "Sigmoid":
            half = number(0.5)
            return [
                made("Mul", [node.input[0], half], inner[:1]),
                made("Tanh", inner[:1], inner[1:]),
                made("Mul", [inner[1], half], [f"{inner[1]}/scaled"]),
                made("Add", [f"{inner[1]}/scaled", half], y),
            ]
        case "Tanh":
            two = number(2)
            return [
                made("Mul", [node.input[0], two], inner[:1]),
                made("Sigmoid", inner[:1], inner[1:]),
                made("Mul", [inner[1], two], [f"{inner[1]}/scaled"]),
                made("Sub", [f"{inner[1]}/scaled", number(1)], y),
            ]
        case "Gemm" if len(node.input) > 2 and node.input[2] and not _scales(node):
            without = onnx.NodeProto()
            without.CopyFrom(node)
            del without.input[2:]
            without.output[0] = inner[0]
            return [without, made("Add", [inner[0], node.input[2]], y)]
    return None


def _scales(node: onnx.NodeProto) -> bool:
    return any(a.name == "beta" and a.f != 1 for a in node.attribute)


REWRITES: dict[str, Rewrite] = {
    "optimised by onnxruntime": optimise,
    "functions expanded": expand_functions,
    "respelled": respell,
}
"""Every rewrite by what it does."""


def equivalents(model: onnx.ModelProto) -> tuple[dict[str, onnx.ModelProto], list[str]]:
    """Models for the same function, by what was done; and why others could not be made."""
    found, lacking = {}, []
    for name, rewrite in REWRITES.items():
        try:
            made = rewrite(model)
        except (IgrtError, RuntimeError, ValueError) as error:  # RuntimeError is ONNX's inliner
            lacking.append(f"{name}: {str(error).splitlines()[0]}")
            continue
        if made is None:
            lacking.append(f"{name}: changes nothing")
        else:
            found[name] = made
    return found, lacking


def weighted_sum(
    model: onnx.ModelProto, of: str, weights: Array, *, batched: bool
) -> tuple[onnx.ModelProto, str]:
    """The model with ⟨weights, of⟩ of every example as its only output, and its name.

    Args:
        model: The model.
        of: Explained output.
        weights: In the shape of one example's output.
        batched: Whether the output has a batch axis in front.
    """
    spec = Graph(model).spec(of)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    stored, product, total = (f"{_PREFIX}{word}" for word in ("weights", "product", "sum"))
    factor = weights.astype(spec.dtype)
    factor = factor[np.newaxis] if batched else factor
    axes = np.arange(int(batched), factor.ndim)
    copy.graph.initializer.append(numpy_helper.from_array(factor, stored))
    copy.graph.node.append(helper.make_node("Mul", [of, stored], [product]))
    copy.graph.node.append(_sum(copy, product, total, axes))
    del copy.graph.output[:]
    # without a shape: what inference finds is right, whatever the axes
    info = value_info(spec)
    info.name = total
    info.type.tensor_type.ClearField("shape")
    copy.graph.output.append(info)
    return copy, total


def _sum(model: onnx.ModelProto, product: str, total: str, axes: Array) -> onnx.NodeProto:
    opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if not len(axes):
        return helper.make_node("Identity", [product], [total])
    if opset < 13:
        return helper.make_node("ReduceSum", [product], [total], axes=axes.tolist(), keepdims=1)
    name = f"{_PREFIX}axes"
    model.graph.initializer.append(numpy_helper.from_array(axes.astype(np.int64), name))
    return helper.make_node("ReduceSum", [product, name], [total], keepdims=1)


__all__ = ["REWRITES", "Rewrite", "equivalents", "weighted_sum"]
