"""The reverse sweep: cotangents from the explained output back to the attributed tensors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from igrt.errors import InternalError
from igrt.graph import Emitter, Graph, Node, Value
from igrt.graph.value import formal_inputs
from igrt.graph.view import all_inputs
from igrt.vjp.broadcast import sum_to
from igrt.vjp.registry import Rule, Zero, lookup


@dataclass(frozen=True)
class Reach:
    """What lies between the attributed tensors and the explained output.

    Args:
        edges: For each node on a differentiable path, which of its inputs carry the gradient.
        missing: Nodes on the way with an input that has neither rule nor declaration.
        blocked: Nodes where a path ends because the output is locally constant in the input.
        reached: Attributed tensors that a gradient gets back to.
    """

    edges: dict[int, list[int]] = field(default_factory=dict)
    missing: dict[int, list[str]] = field(default_factory=dict)
    blocked: dict[int, list[str]] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)


def reach(graph: Graph, of: str, wrt: Iterable[str]) -> Reach:
    """Mark the nodes between `wrt` and `of`, without building anything.

    Forward: a tensor varies if it is attributed or computed from one that varies through an input
    with a rule (or a missing one). Backward: only what `of` depends on counts.
    """
    found = Reach()
    wrt = set(wrt)
    varies = set(wrt)
    useful = graph.ancestors([of])
    carriers: dict[int, list[int]] = {}
    for index in sorted(useful):
        proto = graph.nodes[index]
        inputs = [i for i, name in enumerate(proto.input) if name in varies]
        if not inputs:
            if any(name in varies for name in all_inputs(proto)):
                # varies through what a body captures: no operand of its own to point at
                found.missing[index] = ["captured by its body"]
                varies.update(o for o in proto.output if o)
            continue
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        opset = graph.opsets.get(domain, 1)
        formals = formal_inputs(proto, opset)
        smooth = [o for o in proto.output if o and _differentiable(graph, o)]
        for i in inputs:
            entry = lookup(domain, proto.op_type, formals[i], opset)
            if isinstance(entry, Zero) or not smooth:
                found.blocked.setdefault(index, []).append(formals[i])
                continue
            if entry is None:
                found.missing.setdefault(index, []).append(formals[i])
            carriers.setdefault(index, []).append(i)
        if index in carriers or index in found.missing:
            varies.update(smooth)
    wanted = {of}
    for index in sorted(useful, reverse=True):
        proto = graph.nodes[index]
        if not wanted.intersection(proto.output):
            found.missing.pop(index, None)
            continue
        if index in carriers:
            found.edges[index] = carriers[index]
            wanted.update(proto.input[i] for i in carriers[index])
    found.reached.update(wrt & wanted if of in varies else ())
    return found


def _differentiable(graph: Graph, name: str) -> bool:
    spec = graph.spec(name)
    return spec.is_float or spec.dtype in ("unknown", "sequence", "optional")


def pullback(
    emit: Emitter, of: str, ct: Value, wrt: Sequence[str], found: Reach
) -> dict[str, Value]:
    """Gradient of ⟨ct, of⟩ with respect to each of the attributed tensors that it reaches.

    x‾ = Σ over uses of x of rule(ȳ): contributions of several uses are added, broadcast axes are
    summed, and inputs that need nothing are skipped.

    Args:
        emit: Where nodes go; its graph is the forward graph.
        of: Explained output.
        ct: Cotangent in the shape of `of`.
        wrt: Attributed tensors.
        found: What `reach` found for the same `of` and `wrt`, with nothing missing.
    """
    pending: dict[str, list[Value]] = defaultdict(list, {of: [ct]})
    gradients: dict[str, Value] = {}
    for index in sorted(found.edges, reverse=True):
        node = emit.bind(index)
        cts = [_total(emit, pending, o.name) if o else None for o in node.outputs]
        for output, total in zip(node.outputs, cts, strict=True):
            if output is not None and output.name in wrt and total is not None:
                gradients[output.name] = total
        if all(c is None for c in cts):
            continue
        for i in found.edges[index]:
            gradient = _apply(emit, node, cts, i)
            if gradient is not None:
                pending[node.proto.input[i]].append(gradient)
    for name in wrt:
        total = _total(emit, pending, name)
        if total is not None:
            gradients[name] = total
    return gradients


def _total(emit: Emitter, pending: dict[str, list[Value]], name: str) -> Value | None:
    contributions = pending.pop(name, None)
    if not contributions:
        return None
    total = contributions[0]
    for contribution in contributions[1:]:
        total = total + contribution
    return emit.typed(total, emit.value(name).shape)


def _apply(emit: Emitter, node: Node, cts: list[Value | None], i: int) -> Value | None:
    rule = lookup(node.domain, node.op_type, node.formals[i], node.opset)
    primal = node.inputs[i]
    if not isinstance(rule, Rule) or primal is None:
        raise InternalError(f"no rule for {node.op_type}.{node.formals[i]} ({node.name})")
    if not rule.every_output and cts[0] is None:
        return None
    extra = (i,) if rule.variadic else ()
    gradient = rule.function(emit, node, cts if rule.every_output else cts[0], *extra)
    if gradient is None:
        return None
    if rule.broadcast:
        others = [v for j, v in enumerate(node.inputs) if v is not None and j != i]
        gradient = sum_to(emit, gradient, primal, others)
    if gradient.dtype != primal.dtype:
        raise InternalError(
            f"the rule for {node.op_type}.{node.formals[i]} gives {gradient.dtype}, "
            f"not {primal.dtype} ({node.name})"
        )
    return emit.typed(gradient, primal.shape)


__all__ = ["Reach", "pullback", "reach"]
