"""The reverse sweep: cotangents from the explained output back to the attributed tensors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx

from igrt.errors import InternalError, UnsupportedOperator
from igrt.graph import Emitter, Graph, Node, Value
from igrt.graph.value import formal_inputs
from igrt.graph.view import all_inputs, subgraphs
from igrt.vjp.broadcast import sum_to
from igrt.vjp.movement import joined
from igrt.vjp.overrides import Overrides
from igrt.vjp.registry import CAPTURED, Edge, Rule, Traced, Zero, lookup, tracer_of

STAND_FOR_REALS = frozenset({"DynamicQuantizeLinear", "QuantizeLinear"})
"""Operators whose whole numbers stand for real ones: they carry the cotangents of these."""


@dataclass(frozen=True)
class Reach:
    """What lies between the attributed tensors and the explained outputs.

    Args:
        edges: For each node on a differentiable path, which of its inputs and of the tensors that
            its bodies capture carry the gradient.
        missing: Nodes on the way with an input that has neither rule nor declaration.
        within: (domain, operator) pairs without a rule in the bodies of those nodes.
        blocked: Nodes where a path ends because the output is locally constant in the input.
        reached: Attributed tensors that a gradient gets back to.
        varying: Explained outputs that vary.
    """

    edges: dict[int, list[Edge]] = field(default_factory=dict)
    missing: dict[int, list[str]] = field(default_factory=dict)
    within: dict[int, set[tuple[str, str]]] = field(default_factory=dict)
    blocked: dict[int, list[str]] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)
    varying: set[str] = field(default_factory=set)


def reach(graph: Graph, of: str | Iterable[str], wrt: Iterable[str]) -> Reach:
    """Mark the nodes between `wrt` and `of`, without building anything.

    Forward: a tensor varies if it is attributed or computed from one that varies through an input
    with a rule (or a missing one). Backward: only what `of` depends on counts.
    """
    found = Reach()
    of = {of} if isinstance(of, str) else set(of)
    wrt = set(wrt)
    varies = set(wrt)
    useful = graph.ancestors(of)
    counts = set[str]()
    stops: dict[str, tuple[int, str]] = {}
    carriers: dict[int, list[Edge]] = {}
    for index in sorted(useful):
        proto = graph.nodes[index]
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        _stop(found, stops, all_inputs(proto))
        if any(True for _ in subgraphs(proto)):
            traced = _trace(graph, index, varies)
            if traced.missing:
                found.missing[index] = traced.missing
                found.within[index] = traced.operators
            elif not traced.edges and not varies.isdisjoint(all_inputs(proto)):
                found.blocked[index] = [CAPTURED]
            if traced.edges:
                carriers[index] = traced.edges
            varies.update(traced.varying)
            continue
        inputs = [i for i, name in enumerate(proto.input) if name in varies]
        if not inputs:
            continue
        opset = graph.opsets.get(domain, 1)
        formals = formal_inputs(proto, opset)
        stands = proto.op_type in STAND_FOR_REALS
        smooth = [o for o in proto.output if o and (stands or _differentiable(graph, o))]
        for i in inputs:
            entry = lookup(domain, proto.op_type, formals[i], opset)
            whole = proto.input[i] in counts and proto.op_type != "DequantizeLinear"
            if whole and not isinstance(entry, Zero):
                # what it makes stands for real numbers as well, and nothing says for which
                found.missing.setdefault(index, []).append(formals[i])
                carriers.setdefault(index, []).append(i)
                counts.update(o for o in proto.output if o)
                varies.update(o for o in proto.output if o)
                continue
            if _is_flat(entry, proto) or not smooth:
                found.blocked.setdefault(index, []).append(formals[i])
                continue
            if entry is None:
                found.missing.setdefault(index, []).append(formals[i])
            carriers.setdefault(index, []).append(i)
        if index in carriers or index in found.missing:
            varies.update(smooth)
            others = set(proto.output).difference(smooth, [""])
            stops |= {o: (index, formals[inputs[0]]) for o in others}
            counts.update(smooth[:1] if stands else ())
    _stop(found, stops, of)
    found.varying.update(of & varies)
    wanted = set(of)
    for index in sorted(useful, reverse=True):
        proto = graph.nodes[index]
        if not wanted.intersection(proto.output):
            found.missing.pop(index, None)
            found.within.pop(index, None)
            continue
        if index in carriers:
            found.edges[index] = carriers[index]
            wanted.update(_tensor(proto, e) for e in carriers[index])
    found.reached.update(wrt & wanted if found.varying else ())
    return found


def _stop(found: Reach, stops: Mapping[str, tuple[int, str]], names: Iterable[str]) -> None:
    """Note that paths end where whole numbers that come with floats are read: TopK's indices."""
    for name in names:
        if name in stops:
            index, formal = stops[name]
            if formal not in found.blocked.setdefault(index, []):
                found.blocked[index].append(formal)


def _trace(graph: Graph, index: int, varies: set[str]) -> Traced:
    """What a node with bodies does with tensors that vary."""
    proto = graph.nodes[index]
    if varies.isdisjoint(all_inputs(proto)):
        return Traced([], [], [], set())
    trace = tracer_of("" if proto.domain == "ai.onnx" else proto.domain, proto.op_type)
    if trace is not None:
        return trace(graph, index, varies)
    return Traced([], [o for o in proto.output if o], ["its body"], set())


def _tensor(proto: onnx.NodeProto, edge: Edge) -> str:
    return edge if isinstance(edge, str) else proto.input[edge]


def _is_flat(entry: Rule | Zero | None, proto: onnx.NodeProto) -> bool:
    """Whether a node is locally constant in an input: by its operator, or by its attributes."""
    if isinstance(entry, Rule):
        return entry.flat is not None and entry.flat(proto)
    return isinstance(entry, Zero)


def _differentiable(graph: Graph, name: str) -> bool:
    spec = graph.spec(name)
    return spec.is_float or spec.dtype in ("unknown", "sequence", "optional")


def pullback(
    emit: Emitter,
    cts: Mapping[str, Value],
    wrt: Sequence[str],
    found: Reach,
    overrides: Overrides | None = None,
) -> dict[str, Value]:
    """Gradient of Σ ⟨ct, of⟩ with respect to each of the attributed tensors that it reaches.

    x‾ = Σ over uses of x of rule(ȳ): contributions of several uses are added, broadcast axes are
    summed, and inputs that need nothing are skipped.

    Args:
        emit: Where nodes go; its graph is the forward graph.
        cts: Cotangent in its shape per explained output.
        wrt: Attributed tensors.
        found: What `reach` found for the same outputs and `wrt`, with nothing missing.
        overrides: Rules that take the place of some of the registered ones.
    """
    pending: dict[str, list[Value]] = defaultdict(list, {n: [ct] for n, ct in cts.items()})
    gradients: dict[str, Value] = {}
    emit.wanted = frozenset(wrt)
    if overrides is not None:
        emit.overridden = overrides.operators
    for index in sorted(found.edges, reverse=True):
        node = emit.bind(index)
        totals = [_total(emit, pending, o.name) if o else None for o in node.outputs]
        for output, total in zip(node.outputs, totals, strict=True):
            if output is not None and output.name in wrt and total is not None:
                gradients[output.name] = total
        if all(c is None for c in totals):
            continue
        try:
            for name, gradient in _apply(emit, node, totals, found.edges[index], overrides):
                pending[name].append(gradient)
        except UnsupportedOperator as error:
            raise _placed(error, node) from None
    for name in wrt:
        total = _total(emit, pending, name)
        if total is not None:
            gradients[name] = total
    return gradients


def _placed(error: UnsupportedOperator, node: Node) -> UnsupportedOperator:
    """The error of a rule, with the node that it was for."""
    if node.name in error.message:
        return error
    where = f"{node.op_type}-{node.opset} (`{node.name}`)"
    message = f"{where} cannot be differentiated: {error.message}"
    return UnsupportedOperator(message, hint=error.hint)


def _total(emit: Emitter, pending: dict[str, list[Value]], name: str) -> Value | None:
    contributions = pending.pop(name, None)
    if not contributions:
        return None
    contributions = joined(emit, contributions)
    total = contributions[0]
    for contribution in contributions[1:]:
        total = total + contribution
    return emit.typed(total, emit.value(name).shape)


def _apply(
    emit: Emitter,
    node: Node,
    cts: list[Value | None],
    edges: Sequence[Edge],
    overrides: Overrides | None,
) -> Iterator[tuple[str, Value]]:
    """Name and cotangent of each tensor that a node passes its cotangents on to."""
    together: dict[Edge, Rule] = {}
    for edge in edges:
        rule = _rule(node, edge)
        if overrides is not None:
            rule = overrides.rule(node, rule)
        if rule.joint:
            together[edge] = rule
        elif isinstance(edge, int):
            gradient = _single(emit, node, cts, edge, rule)
            if gradient is not None:
                yield node.proto.input[edge], gradient
    if together:
        rule = next(iter(together.values()))
        for edge, gradient in rule.function(emit, node, cts, list(together)).items():
            primal = emit.value(_tensor(node.proto, edge))
            yield primal.name, _checked(emit, node, edge, gradient, primal)


def _rule(node: Node, edge: Edge) -> Rule:
    formal = CAPTURED if isinstance(edge, str) else node.formals[edge]
    rule = lookup(node.domain, node.op_type, formal, node.opset)
    if not isinstance(rule, Rule):
        raise InternalError(f"no rule for {node.op_type}.{formal} ({node.name})")
    return rule


def _single(emit: Emitter, node: Node, cts: list[Value | None], i: int, rule: Rule) -> Value | None:
    primal = node.inputs[i]
    if primal is None or (not rule.every_output and cts[0] is None):
        return None
    extra = (i,) if rule.variadic else ()
    gradient = rule.function(emit, node, cts if rule.every_output else cts[0], *extra)
    if gradient is None:
        return None
    if rule.broadcast:
        others = [v for j, v in enumerate(node.inputs) if v is not None and j != i]
        gradient = sum_to(emit, gradient, primal, others)
    return _checked(emit, node, i, gradient, primal)


def _checked(emit: Emitter, node: Node, edge: Edge, gradient: Value, primal: Value) -> Value:
    if gradient.dtype != primal.dtype and (primal.spec.is_float or not gradient.spec.is_float):
        formal = node.formals[edge] if isinstance(edge, int) else edge
        raise InternalError(
            f"the rule for {node.op_type}.{formal} gives {gradient.dtype}, "
            f"not {primal.dtype} ({node.name})"
        )
    return emit.typed(gradient, primal.shape)


__all__ = ["Reach", "pullback", "reach"]
