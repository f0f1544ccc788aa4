"""DeepLIFT's rescale rule: slopes between the baseline and the input in place of derivatives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, final

import onnx

from igrt.errors import InternalError
from igrt.graph import Emitter, Graph, Node, Value
from igrt.graph.emit import PREFIX
from igrt.graph.onnx_types import value_info
from igrt.specs import TensorSpec
from igrt.vjp.overrides.linear import NO_RULE, dependent, refuse_unknown
from igrt.vjp.registry import Rule

_UNARY = frozenset(
    "Abs Acos Acosh Asin Asinh Atan Atanh Celu Clip Cos Cosh Elu Erf Exp Gelu HardSigmoid "
    "HardSwish LeakyRelu Log Mish PRelu Pow Reciprocal Relu Selu Shrink Sigmoid Sin Sinh Softplus "
    "Softsign Sqrt Swish Tan Tanh ThresholdedRelu".split()
)
"""y = f(x) element by element in the first operand."""

_EITHER = frozenset({"Max", "Min"})
"""y = f(x) element by element where one operand depends on the input, whichever that is."""

_WINNERS = frozenset({"GlobalMaxPool", "MaxPool", "ReduceMax"})
"""The largest of several elements."""

_REASONS = {
    "Softmax": "its scores compete: explain the logits in front of it (of)",
    "LogSoftmax": "its scores compete: explain the logits in front of it (of)",
    "Max": "it compares several tensors that depend on the input",
    "Min": "it compares several tensors that depend on the input",
}


@final
class Rescale:
    """Multipliers m with Σᵢ m(xᵢ)·Δxᵢ = Δy at every operator; Δ is input minus baseline.

    - linear: the operator's own derivative
    - y = f(x), element by element: x‾ = ȳ·Δy/Δx, and ȳ·f′(x) where |Δx| ≤ epsilon
    - maxima: with M = max(y, y'), the largest element at the input is given ȳ·(M - y') and the
      largest at the baseline ȳ·(y - M), each divided by its own Δx

    The forward graph stands in the model twice, the second time for the baseline.

    Reference: Shrikumar, Greenside and Kundaje, 2017, "Learning Important Features Through
    Propagating Activation Differences", section 3.5.1; maxima as in Captum's DeepLift.

    Args:
        epsilon: |Δx| up to which the derivative is used.
    """

    operators = _UNARY | _EITHER | _WINNERS

    def __init__(self, epsilon: float) -> None:
        self._epsilon = epsilon
        self._names: dict[str, str] = {}

    def prepare(self, graph: Graph, of: str, wrt: list[str]) -> tuple[Graph, dict[str, str]]:
        """The graph with a second copy of what depends on `wrt`, which are inputs."""
        refuse_unknown(graph, of, wrt, "DeepLIFT", _judge)
        copy, self._names = with_reference(graph, of, wrt)
        return copy, {n: self._names[n] for n in wrt}

    def seed(self, emit: Emitter, ct: Value, of: str) -> Value:
        """The cotangent as it is."""
        return ct

    def rule(self, node: Node, rule: Rule) -> Rule:
        """The rules above; the given one where the node is linear."""
        if node.domain or node.op_type not in self.operators:
            return rule

        def function(emit: Emitter, node: Node, ct: Value, *extra: Any) -> Value:
            at_baseline = self._reference(emit, node)
            i = extra[0] if extra else 0
            x, x0 = _operand(node, i), _operand(at_baseline, i)
            derivative: Value = rule.function(emit, node, ct, *extra)
            if node.op_type in _WINNERS:
                most = emit.Max(node.output, at_baseline.output)
                now = rule.function(emit, node, ct * (most - at_baseline.output))
                before = rule.function(emit, at_baseline, ct * (node.output - most))
                return self._quotient(emit, now + before, x - x0, derivative)
            change = ct * (node.output - at_baseline.output)
            return self._quotient(emit, change, x - x0, derivative)

        return replace(rule, function=function)

    def _reference(self, emit: Emitter, node: Node) -> Node:
        """The same operator application at the baseline."""
        return emit.bind(emit.graph.producers[self._names[node.output.name]])

    def _quotient(self, emit: Emitter, change: Value, dx: Value, derivative: Value) -> Value:
        tiny = emit.LessOrEqual(emit.Abs(dx), self._epsilon)
        return emit.Where(tiny, derivative, change / emit.Where(tiny, 1.0, dx))


def _operand(node: Node, i: int) -> Value:
    value = node.inputs[i]
    if value is None:
        raise InternalError(f"{node} has no operand {i}")
    return value


def _judge(graph: Graph, node: onnx.NodeProto, at: frozenset[int]) -> str:
    op = node.op_type
    if (op in _UNARY or op in _WINNERS) and at == {0}:
        return ""
    if op in _EITHER and len(at) == 1:
        return ""
    return _REASONS.get(op, NO_RULE)


def with_reference(graph: Graph, of: str, wrt: list[str]) -> tuple[Graph, dict[str, str]]:
    """A graph with copies, behind all nodes, of those that depend on `wrt`, and their inputs.

    Returns:
        The graph, and the name in the copy of each tensor that depends on `wrt`.
    """
    names = {n: f"{PREFIX}baseline/{n}" for n in wrt}
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    for name in wrt:
        if name in graph.producers:
            raise InternalError(f"`{name}` is no input")
        spec = graph.spec(name)
        model.graph.input.append(value_info(TensorSpec(names[name], spec.dtype, spec.shape)))
    for index, _, _ in dependent(graph, of, wrt):
        copy = model.graph.node.add()
        copy.CopyFrom(graph.nodes[index])
        copy.name = f"{PREFIX}baseline/{copy.name}"
        names |= {o: f"{PREFIX}baseline/{o}" for o in copy.output if o}
        copy.input[:] = [names.get(n, n) for n in copy.input]
        copy.output[:] = [names.get(n, n) for n in copy.output]
    declared = {v.name: v for v in (*graph.model.graph.value_info, *graph.model.graph.output)}
    for name in names.keys() & declared.keys():
        info = model.graph.value_info.add()
        info.CopyFrom(declared[name])
        info.name = names[name]
    return Graph(model), names


__all__ = ["Rescale", "with_reference"]
