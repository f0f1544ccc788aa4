"""What a Scan or Loop node iterates, read from the node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import onnx

from igrt.graph import Graph
from igrt.graph.body import body_graph, own_inputs
from igrt.specs import Dim, TensorSpec
from igrt.vjp.pullback import Reach, reach


@final
@dataclass(frozen=True)
class Iteration:
    """A Scan or Loop node.

    Args:
        body: Its body as a graph.
        original: Its body as it stands in the model.
        operands: Index of the node's input per input of the body that has one.
        states: (input, output) of the body per state.
        reads: Inputs of the body that get one element of a stack per iteration: (name, axis,
            backwards).
        writes: Outputs of the body that are stacked, the same.
        changing: States that do not keep their shape, with the reason.
    """

    body: Graph
    original: onnx.GraphProto
    operands: dict[str, int]
    states: list[tuple[str, str]]
    reads: list[tuple[str, int, bool]]
    writes: list[tuple[str, int, bool]]
    changing: dict[str, str]

    @property
    def outputs(self) -> list[str]:
        """Output of the body per output of the node."""
        return [leaves for _, leaves in self.states] + [name for name, *_ in self.writes]

    def trace(self, varying: set[str]) -> tuple[set[str], Reach]:
        """Inputs of the body and captured tensors that vary in some iteration."""
        while True:
            found = reach(self.body, self.outputs, varying)
            more = {
                enters
                for enters, leaves in self.states
                if leaves in found.varying and enters not in varying
            }
            if not more:
                return varying, found
            varying = varying | more


def scan_of(graph: Graph, index: int) -> Iteration:
    """What the Scan node with this index iterates."""
    proto = graph.nodes[index]
    given = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    original: onnx.GraphProto = given["body"]
    reads = int(given["num_scan_inputs"])
    states = len(proto.input) - reads
    names, outputs = own_inputs(original), [o.name for o in original.output]
    writes = len(outputs) - states
    axes = given.get("scan_input_axes") or [0] * reads
    specs = []
    for i, name in enumerate(proto.input):
        spec = graph.spec(name)
        shape = spec.shape
        if i >= states and shape is not None:
            axis = axes[i - states] % len(shape)
            shape = shape[:axis] + shape[axis + 1 :]
        specs.append(TensorSpec(names[i], spec.dtype, shape))
    to = given.get("scan_output_axes") or [0] * writes
    forth = given.get("scan_input_directions") or [0] * reads
    back = given.get("scan_output_directions") or [0] * writes
    return Iteration(
        body_of(graph, index, "body", specs),
        original,
        {n: i for i, n in enumerate(names)},
        list(zip(names[:states], outputs[:states], strict=True)),
        [(n, a, bool(d)) for n, a, d in zip(names[states:], axes, forth, strict=True)],
        [(n, a, bool(d)) for n, a, d in zip(outputs[states:], to, back, strict=True)],
        {},
    )


def loop_of(graph: Graph, index: int) -> Iteration:
    """What the Loop node with this index iterates."""
    proto = graph.nodes[index]
    original = next(a.g for a in proto.attribute if a.name == "body")
    names, outputs = own_inputs(original), [o.name for o in original.output]
    states = list(zip(names[2:], outputs[1:], strict=False))
    first = [graph.spec(n) for n in proto.input[2:]]
    head = [TensorSpec(names[0], "int64", ()), TensorSpec(names[1], "bool", ())]
    specs, changing = list(first), dict[str, str]()
    while True:
        # an axis keeps its size if it does where all states keep theirs
        body = body_of(graph, index, "body", [*head, *specs])
        kept = []
        for (enters, leaves), spec in zip(states, specs, strict=True):
            shape, reason = _same(spec, body.spec(leaves))
            if spec.dtype in ("sequence", "optional"):
                reason = f"is a {spec.dtype}, of which no stack can be made"
            if reason:
                changing.setdefault(enters, f"state `{enters}` {reason}")
            kept.append(TensorSpec(spec.name, spec.dtype, shape))
        if kept == specs:
            break
        specs = kept
        del graph.bodies[index, "body"]
    return Iteration(
        body,
        original,
        {n: i + 2 for i, n in enumerate(names[2:])},
        states,
        [],
        [(n, 0, False) for n in outputs[1 + len(states) :]],
        changing,
    )


def _same(before: TensorSpec, after: TensorSpec) -> tuple[tuple[Dim, ...] | None, str]:
    """What an iteration certainly keeps of a state's shape, and why it cannot be stacked."""
    if before.shape is None or after.shape is None:
        return None, ""
    grows = len(before.shape) != len(after.shape) or any(
        isinstance(a, int) and isinstance(b, int) and a != b
        for a, b in zip(before.shape, after.shape, strict=False)
    )
    if grows:
        old, new = list(before.shape), list(after.shape)
        return None, f"changes its shape from {old} to {new}, so that no stack can be made"
    pairs = zip(before.shape, after.shape, strict=True)
    return tuple(a if a == b else None for a, b in pairs), ""


def body_of(
    graph: Graph,
    index: int,
    attribute: str,
    inputs: Sequence[TensorSpec],
) -> Graph:
    """A body of a node as a graph; made once."""
    key = (index, attribute)
    if key not in graph.bodies:
        original = next(a.g for a in graph.nodes[index].attribute if a.name == attribute)
        graph.bodies[key] = body_graph(graph, original, inputs)
    return graph.bodies[key]


__all__ = ["Iteration", "body_of", "loop_of", "scan_of"]
