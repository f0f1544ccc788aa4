"""VJP rules of control flow: If, Scan, Loop, with what their bodies capture from outside."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from igrt.graph import Emitter, Graph, Node, Value
from igrt.graph.body import own_inputs, pack
from igrt.graph.normalize.vendor.lower import refusal
from igrt.graph.view import captured
from igrt.specs import Dim, TensorSpec
from igrt.vjp.iterate import Stack, State, add_ct, reverse, tape
from igrt.vjp.iteration import Iteration, body_of, loop_of, scan_of
from igrt.vjp.pullback import Reach, pullback, reach
from igrt.vjp.registry import CAPTURED, Edge, Traced, tracer, vjp

_EXPENSIVE = ("Conv", "ConvTranspose", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN")
"""What a Scan's forward pass saves for its pullback: the rest is cheaper to compute again."""

# -- If -------------------------------------------------------------------------------------------


@tracer("If")
def trace_if(graph: Graph, index: int, varies: set[str]) -> Traced:
    """An output varies if it does in one of the branches."""
    proto = graph.nodes[index]
    traced = Traced([], [], [], set())
    for name, branch in _branches(proto):
        body = body_of(graph, index, name, ())
        outputs = [o.name for o in branch.output]
        found = reach(body, outputs, _enter(graph, branch, varies, traced))
        traced.edges.extend(sorted(found.reached - set(traced.edges)))
        for outer, inner in zip(proto.output, outputs, strict=True):
            if inner in found.varying and outer and outer not in traced.varying:
                traced.varying.append(outer)
                _leave(body, inner, traced)
        _report(traced, body, found)
    return traced


@vjp("If", CAPTURED, joint=True)
def if_branches(
    emit: Emitter, node: Node, cts: list[Value | None], edges: Sequence[Edge]
) -> dict[Edge, Value]:
    """c‾ = If(cond; pullback of then_branch; pullback of else_branch), 0 where c is unused."""
    index = _index(emit.graph, node)
    names = [str(e) for e in edges]
    bodies = {}
    for attribute, branch in _branches(node.proto):
        body = body_of(emit.graph, index, attribute, ())
        inner = Emitter(body, outer=emit)
        given: dict[str, Value] = {}
        for output, ct in zip(branch.output, cts, strict=True):
            if ct is not None:
                # a branch that is not taken may disagree with the other one about the rank
                shape = body.spec(output.name).shape
                ours = inner.known(
                    TensorSpec(ct.name, ct.dtype, ct.shape if shape is None else shape)
                )
                add_ct(given, output.name, ours)
        gradients = pullback(inner, given, names, reach(body, list(given), names))
        outputs = [
            gradients[n] if n in gradients else inner.zeros_like(inner.value(n)) for n in names
        ]
        bodies[attribute] = pack(inner, branch, (), outputs)
    specs = [emit.value(n).spec for n in names]
    results = emit.outputs("If", [node["cond"]], bodies, [(s.dtype, s.shape) for s in specs])
    return dict(zip(edges, results, strict=True))


# -- Scan and Loop ---------------------------------------------------------------------------------


@tracer("Scan")
def trace_scan(graph: Graph, index: int, varies: set[str]) -> Traced:
    """A state varies if it does before the first iteration or after any."""
    return _trace(graph, index, varies, scan_of(graph, index))


@tracer("Loop")
def trace_loop(graph: Graph, index: int, varies: set[str]) -> Traced:
    """As for Scan; a state that varies has to keep its shape, so that it can be stacked."""
    return _trace(graph, index, varies, loop_of(graph, index))


def _trace(graph: Graph, index: int, varies: set[str], parts: Iteration) -> Traced:
    proto = graph.nodes[index]
    traced = Traced([], [], [], set())
    start = {n for n, i in parts.operands.items() if proto.input[i] in varies}
    traced.missing.extend(_WHOLE.format(n, "enters") for n in start if not _smooth(parts.body, n))
    start = {n for n in start if _smooth(parts.body, n)}
    varying, found = parts.trace(start | _enter(graph, parts.original, varies, traced))
    for name in sorted(found.reached):
        operand = parts.operands.get(name)
        if operand is None:
            if name in varies and name not in own_inputs(parts.original):
                traced.edges.append(name)
        elif proto.input[operand] in varies:
            traced.edges.append(operand)
    pairs = zip(proto.output, parts.outputs, strict=False)
    for outer, inner in pairs:
        if outer and inner in found.varying:
            traced.varying.append(outer)
            _leave(parts.body, inner, traced)
    _report(traced, parts.body, found)
    traced.missing.extend(parts.changing[n] for n in sorted(varying) if n in parts.changing)
    return traced


@vjp("Scan", "initial_state_and_scan_inputs", CAPTURED, variadic=True, joint=True)
def scan(
    emit: Emitter, node: Node, cts: list[Value | None], edges: Sequence[Edge]
) -> dict[Edge, Value]:
    """(s, y) = Scan(body; s, x, c), hence s‾, x‾, c‾ by a Scan of the body's pullback."""
    index = _index(emit.graph, node)
    parts = scan_of(emit.graph, index)
    kept = [
        n.output[0]
        for n in parts.body.nodes
        if n.op_type in _EXPENSIVE and n.domain in ("", "ai.onnx") and n.output[0]
    ]
    first, axis, _ = parts.reads[0]
    stack = emit.value(node.proto.input[parts.operands[first]])
    steps = None if stack.shape is None else stack.shape[axis]
    return _reversed(emit, node, cts, edges, parts, index, steps, kept)


@vjp("Loop", "v_initial", CAPTURED, variadic=True, joint=True)
def loop(
    emit: Emitter, node: Node, cts: list[Value | None], edges: Sequence[Edge]
) -> dict[Edge, Value]:
    """As for Scan; the forward Loop saves its states, so their number is that of its iterations."""
    index = _index(emit.graph, node)
    return _reversed(emit, node, cts, edges, loop_of(emit.graph, index), index, None, [])


def _reversed(
    emit: Emitter,
    node: Node,
    cts: list[Value | None],
    edges: Sequence[Edge],
    parts: Iteration,
    index: int,
    steps: Dim,
    kept: Sequence[str],
) -> dict[Edge, Value]:
    inside = {i: n for n, i in parts.operands.items()}
    names = {e: e if isinstance(e, str) else inside[e] for e in edges}
    varying, _ = parts.trace(set(names.values()))
    count = len(parts.states)
    padded = [*cts, *[None] * (len(parts.outputs) - len(cts))]
    states = [
        State(enters, leaves, emit.value(node.proto.input[parts.operands[enters]]), ct)
        for (enters, leaves), ct in zip(parts.states, padded[:count], strict=True)
        if enters in varying
    ]
    writes = [
        Stack(name, ct, axis, backwards)
        for (name, axis, backwards), ct in zip(parts.writes, padded[count:], strict=True)
        if ct is not None
    ]
    reads = [
        Stack(name, emit.value(node.proto.input[parts.operands[name]]), axis, backwards)
        for name, axis, backwards in parts.reads
    ]
    entering = {s.enters for s in states}

    def saved(wanted: list[str]) -> list[Stack]:
        return tape(emit, index, parts.body, wanted, steps)

    gradients = reverse(
        emit,
        parts.body,
        parts.original,
        states=states,
        reads=reads,
        writes=writes,
        wrt=[n for n in names.values() if n not in entering],
        saved=saved,
        cheap=kept,
        counted=not parts.reads,
    )
    return {e: gradients[n] for e, n in names.items() if n in gradients}


def _branches(proto: onnx.NodeProto) -> list[tuple[str, onnx.GraphProto]]:
    return [(a.name, a.g) for a in proto.attribute if a.name in ("then_branch", "else_branch")]


def _index(graph: Graph, node: Node) -> int:
    return graph.producers[next(o for o in node.proto.output if o)]


def _smooth(body: Graph, name: str) -> bool:
    spec = body.spec(name)
    return spec.is_float or spec.dtype in ("unknown", "sequence", "optional")


_WHOLE = "`{}`, whole numbers in steps that differ or are not known, {} its body"


def _enter(graph: Graph, body: onnx.GraphProto, varies: set[str], traced: Traced) -> set[str]:
    """Captured tensors that vary, without whole numbers: their steps are outside."""
    names = captured(body) & varies
    smooth = {n for n in names if _smooth(graph, n)}
    traced.missing.extend(_WHOLE.format(n, "enters") for n in sorted(names - smooth))
    return smooth


def _leave(body: Graph, name: str, traced: Traced) -> None:
    """Whole numbers that leave a body have their steps in it."""
    if not _smooth(body, name):
        traced.missing.append(_WHOLE.format(name, "leaves"))


def _report(traced: Traced, body: Graph, found: Reach) -> None:
    """Pass on what has no rule in a body."""
    for index, formals in found.missing.items():
        proto = body.nodes[index]
        line = f"{proto.op_type} ({', '.join(sorted(set(formals)))}) in its body"
        reason = refusal(body, proto)
        line = f"{line}: {reason}" if reason else line
        if line not in traced.missing:
            traced.missing.append(line)
        traced.operators.update(found.within.get(index, set()))
        traced.operators.add(("" if proto.domain == "ai.onnx" else proto.domain, proto.op_type))


__all__: list[str] = []
