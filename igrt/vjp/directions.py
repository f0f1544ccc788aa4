"""RNN, GRU and LSTM nodes direction by direction, with everything as [steps, batch, …]."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import final

import onnx

from igrt.graph import Emitter, Graph, Node, Value
from igrt.graph.body import pack
from igrt.graph.prune import empty
from igrt.specs import TensorSpec
from igrt.vjp.recurrence import Cell, GruCell, LstmCell, activations, cell_of, hidden_size

_END = 2**63 - 1
_NOTE = "igrt/inside"
_DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


@final
@dataclass(frozen=True)
class Direction:
    """One direction of a recurrent node; every tensor is [steps, batch, …] or [batch, …].

    Args:
        cell: Its equations.
        x: Sequence [steps, batch, features].
        w: Weights of the sequence [gates·hidden, features].
        product: x·Wᵀ + b.
        weights: What the cell reads beside it.
        first: Initial states.
        y: Every hidden state, 0 behind the end of a sequence.
        lengths: Length of each sequence [batch]; None where all have all steps.
        backwards: Whether it starts at the last step.
        ct: Cotangent of `y`.
        ends: Cotangents of the last states.
    """

    cell: Cell
    x: Value
    w: Value
    product: Value
    weights: Mapping[str, Value]
    first: Sequence[Value]
    y: Value
    lengths: Value | None
    backwards: bool
    ct: Value | None
    ends: Sequence[Value | None]

    @property
    def single(self) -> bool:
        """Whether there is one step only."""
        return self.x.shape is not None and self.x.shape[0] == 1

    def within(self, emit: Emitter, ahead: int) -> Value | None:
        """Whether a sequence has the step `ahead` of each step: bool [steps, batch, 1]."""
        if self.lengths is None:
            return None
        count = emit.Squeeze(emit.dims(self.x, 0, 1), [0])
        steps = emit.Unsqueeze(emit.Range(ahead, emit.Add(count, ahead), 1), [1, 2])
        lengths = emit.Unsqueeze(emit.cast(self.lengths, "int64"), [0, 2])
        return emit.Less(steps, lengths)

    def hidden(self, emit: Emitter) -> Value:
        """The hidden state in front of each step."""
        first = emit.Unsqueeze(self.first[0], [0])
        if self.single:
            return first
        if not self.backwards:
            return self._steps(emit.Concat(first, emit.Slice(self.y, [0], [-1], [0]), axis=0))
        before = self._steps(emit.Concat(emit.Slice(self.y, [1], [_END], [0]), first, axis=0))
        within = self.within(emit, 1)
        # a sequence that ended earlier begins here with the initial state, where y is 0
        return before if within is None else emit.Where(within, before, first)

    def cells(self, emit: Emitter, hidden: Value) -> list[Value]:
        """The cell state in front of each step, for an LSTM."""
        cell = self.cell
        if not isinstance(cell, LstmCell):
            return []
        if self.single:
            return [emit.Unsqueeze(self.first[1], [0])]
        total = self.product + emit.MatMul(hidden, self.weights["R"])
        inner = Emitter(Graph(empty(emit.graph.model)), outer=emit)
        c = element(inner, self.first[1], 0)
        mask = self.within(emit, 0)
        if "P_i" in self.weights:
            stacks = [total]
            reads = [element(inner, total, 1)]
            kept, change, *_ = cell.update(inner, reads[0], c, inside(inner, self.weights))
        else:
            stacks = list(cell.update(emit, total, None, self.weights)[:2])
            reads = [element(inner, s, 1) for s in stacks]
            kept, change = reads
        new = kept * c + change
        if mask is not None:
            stacks.append(mask)
            reads.append(element(inner, mask, 1))
            new = inner.Where(reads[-1], new, c)
        body = pack(inner, onnx.GraphProto(), [v.spec for v in (c, *reads)], [new, c])
        given = {
            "body": body,
            "num_scan_inputs": len(reads),
            "scan_input_directions": [int(self.backwards)] * len(reads),
            "scan_output_directions": [int(self.backwards)],
        }
        spec = self.first[1].spec
        steps = None if self.x.shape is None else self.x.shape[0]
        shape = None if spec.shape is None else (steps, *spec.shape)
        types = [(spec.dtype, spec.shape), (spec.dtype, shape)]
        return [emit.outputs("Scan", [self.first[1], *stacks], given, types)[1]]

    def _steps(self, value: Value) -> Value:
        """`value` with the number of steps that x has."""
        if value.shape is None or self.x.shape is None:
            return value
        return value.emit.typed(value, (self.x.shape[0], *value.shape[1:]))


def cells(node: Node) -> list[Cell]:
    """The cell of each direction of a node."""
    count = 2 if str(node.attr("direction", "forward")).lower() == "bidirectional" else 1
    return [cell_of(node, f) for f in activations(node, _DEFAULTS[node.op_type], count)]


def directions(emit: Emitter, node: Node, cts: Sequence[Value | None]) -> list[Direction]:
    """The directions of a node, with everything as [steps, batch, …]."""
    direction = str(node.attr("direction", "forward")).lower()
    kinds = cells(node)
    count = len(kinds)
    batchwise = bool(node.attr("layout", 0))

    def turned(value: Value | None, perm: Sequence[int]) -> Value | None:
        if value is None:
            return None
        value = emit.typed(value, (None,) * len(perm)) if value.shape is None else value
        return emit.Transpose(value, perm=list(perm)) if batchwise else value

    def part(value: Value, d: int, axis: int = 0) -> Value:
        return (
            emit.Squeeze(value, [axis])
            if count == 1
            else emit.Gather(value, emit.constant(d), axis=axis)
        )

    x = turned(node["X"], (1, 0, 2))
    assert x is not None and x.shape is not None
    y = turned(_hidden_states(emit, node), (1, 2, 0, 3))
    assert y is not None
    ct = turned(cts[0], (1, 2, 0, 3))
    ends = [turned(c, (1, 0, 2)) for c in (*cts[1:], None, None)]
    starts = [turned(node.get(n), (1, 0, 2)) for n in ("initial_h", "initial_c")]
    found = []
    for d, cell in enumerate(kinds):
        size = hidden_size(node)
        high = cell.gates * size
        w = part(emit.typed(node["W"], (count, high, None)), d)
        r = part(emit.typed(node["R"], (count, high, size)), d)
        product = emit.MatMul(x, emit.Transpose(w, perm=[1, 0]))
        weights = {}
        late = isinstance(cell, GruCell) and cell.late_reset
        across = emit.Transpose(r, perm=[1, 0])
        if isinstance(cell, GruCell):
            weights["R_zr"], weights["R_h"] = emit.node(
                "Split", [across, [2 * size, size]], {"axis": 1}, outputs=2
            )
        else:
            weights["R"] = across
        if node.get("B") is not None:
            b = part(emit.typed(node["B"], (count, 2 * high)), d)
            front, behind = emit.node("Split", [b, [high, high]], {"axis": 0}, outputs=2)
            if late:
                gates, weights["Rb"] = emit.node(
                    "Split", [behind, [2 * size, size]], {"axis": 0}, outputs=2
                )
                behind = emit.Concat(gates, emit.zeros_like(weights["Rb"]), axis=0)
            product = product + (front + behind)
        if node.op_type == "LSTM" and node.get("P") is not None:
            p = part(emit.typed(node["P"], (count, 3 * size)), d)
            peepholes = emit.node("Split", [p, [size] * 3], {"axis": 0}, outputs=3)
            weights |= dict(zip(("P_i", "P_o", "P_f"), peepholes, strict=True))
        first = []
        for start in starts[: 2 if node.op_type == "LSTM" else 1]:
            if start is None:
                shape = emit.vector(emit.dims(x, 1, 2), size)
                first.append(emit.Expand(emit.lift(0.0, x), shape))
            else:
                first.append(emit.typed(part(start, d), (x.shape[1], size)))
        found.append(
            Direction(
                cell=cell,
                x=x,
                w=w,
                product=product,
                weights=weights,
                first=first,
                y=part(y, d, 1),
                lengths=node.get("sequence_lens"),
                backwards=direction == "reverse" or d == 1,
                ct=None if ct is None else part(ct, d, 1),
                ends=[None if e is None else part(e, d) for e in ends[: len(first)]],
            )
        )
    return found


def _hidden_states(emit: Emitter, node: Node) -> Value:
    """The output Y, which the forward node is made to give if it does not yet."""
    if node.outputs[0] is not None:
        return node.outputs[0]
    index = emit.graph.producers[next(o for o in node.proto.output if o)]
    proto = emit.extend(index)
    if not proto.output[0]:
        proto.output[0] = emit.fresh("Y")
    return emit.known(TensorSpec(proto.output[0], node["X"].dtype, None))


@final
@dataclass(frozen=True)
class Steps:
    """Names in a gradient graph of what one direction of a recurrent node reads and computes.

    Args:
        product: x·Wᵀ + b.
        weights: What the cell reads beside it.
        first: Initial states.
        masks: Whether a sequence has each step; None where all have all steps.
        backwards: Whether it starts at the last step.
        inside: Stacks of what `step` appends to its `inside`, then of the states in front.
    """

    product: str
    weights: Mapping[str, str]
    first: Sequence[str]
    masks: str | None
    backwards: bool
    inside: Sequence[str]


def note(emit: Emitter, node: Node, steps: Sequence[Steps]) -> None:
    """Write into a recurrent node what computes its steps a second time, for `igrt.stage.lower`."""
    proto = emit.extend(emit.graph.producers[next(o for o in node.proto.output if o)])
    others = [p for p in proto.metadata_props if p.key != _NOTE]
    del proto.metadata_props[:]
    proto.metadata_props.extend(others)
    proto.metadata_props.add(key=_NOTE, value=json.dumps([asdict(s) for s in steps]))


def noted(node: onnx.NodeProto) -> list[Steps]:
    """What `note` has written into a node; nothing for any other."""
    found = [p.value for p in node.metadata_props if p.key == _NOTE]
    return [Steps(**given) for given in json.loads(found[0])] if found else []


def element(inner: Emitter, value: Value, axes: int) -> Value:
    """An input of a body for one element of a stack, or for a state (`axes` = 0)."""
    shape = None if value.shape is None else value.shape[axes:]
    return inner.feed("in", value.dtype, shape)


def inside(inner: Emitter, weights: Mapping[str, Value]) -> dict[str, Value]:
    """The weights as a body sees them."""
    return {n: inner.value(v.name) for n, v in weights.items()}


__all__ = ["Direction", "Steps", "cells", "directions", "element", "inside", "note", "noted"]
