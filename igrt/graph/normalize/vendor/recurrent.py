"""Linear attention: a recurrence over the tokens, as a Scan."""

from __future__ import annotations

import onnx

from igrt.errors import UnsupportedOperator
from igrt.graph.body import pack
from igrt.graph.emit import Emitter
from igrt.graph.normalize.vendor.table import lowering
from igrt.graph.onnx_types import value_info
from igrt.graph.prune import empty
from igrt.graph.value import Node, Value
from igrt.graph.view import Graph
from igrt.specs import TensorSpec

_RULES = ("linear", "gated", "delta", "gated_delta")


@lowering("LinearAttention")
def linear_attention(
    emit: Emitter,
    node: Node,
    query: Value,
    key: Value,
    value: Value,
    past: Value | None,
    decay: Value | None,
    beta: Value | None,
) -> tuple[Value, Value]:
    """S_t = e^g·S + k·(β·(v - (e^g·S)ᵀk))ᵀ, y_t = s·S_tᵀq; some rules lack g or what follows v."""
    rule = node.attr("update_rule", "gated_delta")
    if rule not in _RULES or node.attr("state_window", 0):
        raise UnsupportedOperator("its update_rule is not known, or its state_window is set")
    if query.dtype != "float32" or (past is not None and past.dtype != "float32"):
        raise UnsupportedOperator("its tensors are not all float32")
    queries, heads = node.attr("q_num_heads"), node.attr("kv_num_heads")
    q, k, v = (_heads(emit, t, n) for t, n in ((query, queries), (key, heads), (value, heads)))
    size, wide = k.shape[-1] if k.shape else None, v.shape[-1] if v.shape else None
    if not isinstance(size, int) or not isinstance(wide, int):
        raise UnsupportedOperator("the sizes of its heads are not known")
    given = {"k": emit.Unsqueeze(k, [3]), "v": emit.Unsqueeze(v, [3])}
    given["q"] = _grouped(emit, q, queries, heads)
    if "gated" in rule:
        if decay is None:
            raise UnsupportedOperator("it has no decay")
        given["g"] = emit.Unsqueeze(_heads(emit, decay, heads), [4])
    if "delta" in rule:
        if beta is None:
            raise UnsupportedOperator("it has no beta")
        given["b"] = emit.Unsqueeze(_steps(emit, beta), [3, 4])
    batch = emit.dims(query, 0, 1)
    first = past
    if first is None:
        first = emit.Expand(emit.lift(0.0, query), emit.vector(batch, heads, size, wide))
    scale = node.attr("scale", 0.0) or size**-0.5
    y, last = _scan(emit, first, given, scale)
    rows = emit.Transpose(y, perm=[1, 0, 2, 3, 4])
    return emit.Reshape(rows, [0, 0, -1]), last


def _steps(emit: Emitter, x: Value) -> Value:
    """[B, T, …] as [T, B, …]."""
    return emit.Transpose(x, perm=[1, 0, 2])


def _heads(emit: Emitter, x: Value, heads: int) -> Value:
    """[B, T, H·D] as [T, B, H, D]."""
    width = x.shape[-1] if x.shape else None
    if not isinstance(width, int):
        raise UnsupportedOperator("the sizes of its heads are not known")
    return emit.Reshape(_steps(emit, x), [0, 0, heads, width // heads])


def _grouped(emit: Emitter, q: Value, queries: int, heads: int) -> Value:
    """Queries by the head of keys that they share, [T, B, H, G, D]."""
    if queries >= heads:
        return emit.Reshape(q, [0, 0, heads, queries // heads, -1])
    spread = emit.Tile(emit.Unsqueeze(q, [3]), [1, 1, 1, heads // queries, 1])
    return emit.Reshape(spread, [0, 0, heads, 1, -1])


def _scan(
    emit: Emitter, first: Value, given: dict[str, Value], scale: float
) -> tuple[Value, Value]:
    """What the queries read, [T, B, H, G, D'], and the last state."""
    names = {n: emit.fresh(n) for n in ("s", *given)}
    specs = [TensorSpec(names["s"], first.dtype, first.shape)]
    specs += [TensorSpec(names[n], v.dtype, (v.shape or ())[1:]) for n, v in given.items()]
    original = onnx.GraphProto(name=emit.fresh("body"))
    original.input.extend(value_info(s) for s in specs)
    model = empty(emit.graph.model)
    model.graph.CopyFrom(original)
    inner = Emitter(Graph(model), outer=emit)
    at = {n: inner.value(name) for n, name in names.items()}
    state, update = at["s"], at["v"]
    if "g" in at:
        state = inner.Exp(at["g"]) * state
    if "b" in at:
        update = at["b"] * (update - inner.MatMul(at["k"], state))
    state = state + inner.MatMul(inner.Transpose(at["k"], perm=[0, 1, 3, 2]), update)
    read = inner.MatMul(at["q"] * scale, state)
    body = pack(inner, original, specs, [state, read])
    steps = given["q"].shape[0] if given["q"].shape else None
    types = [(first.dtype, first.shape), (read.dtype, (steps, *(read.shape or ())))]
    last, y = emit.outputs(
        "Scan", [first, *given.values()], {"body": body, "num_scan_inputs": len(given)}, types
    )
    return y, last


__all__ = ["linear_attention"]
