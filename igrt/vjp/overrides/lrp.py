"""Layer-wise relevance propagation, epsilon rule, with relevance = multiplier · value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, final

import numpy as np
import onnx

from igrt.errors import InternalError
from igrt.graph import Emitter, Graph, Node, Value
from igrt.vjp.overrides.linear import NO_RULE, refuse_unknown
from igrt.vjp.registry import Rule

_THROUGH_ZERO = frozenset(
    "Abs Asin Asinh Atan Atanh Celu Elu Erf Gelu HardSwish LeakyRelu Mish PRelu Relu Selu Shrink "
    "Sin Sinh Softsign Swish Tan Tanh ThresholdedRelu".split()
)
"""y = f(x) element by element with f(0) = 0."""

_SOMETIMES = frozenset({"Clip", "Pow"})
"""The same for some values of the other operands."""

_EITHER = frozenset({"Max", "Min"})
"""The same in one operand for some values of the others; or, where several depend, one wins."""

_WINNERS = frozenset("GlobalMaxPool MaxPool ReduceMax ReduceMin".split())
"""One of several elements: it takes all the relevance, as its derivative says."""

_REASONS = {
    "Softmax": "its scores compete: explain the logits in front of it (of)",
    "LogSoftmax": "its scores compete: explain the logits in front of it (of)",
}
_NOT_ZERO = "it is not 0 at 0, so relevance would be divided by a vanishing number"


@final
class Relevance:
    """The epsilon rule R_i = Σ_j x_i·w_ij·R_j/(z_j + ε·sign z_j), z_j = Σ_i x_i·w_ij + b_j.

    With R = multiplier · value, this is a reverse sweep in which y = f(z) has the slope
    f(z)/(z + ε·sign z) in place of f′(z), with sign 0 = 1, and everything else its derivative:

    - Linear operators that follow each other without a nonlinear one in between are one layer, with
      one stabiliser where its z goes into a nonlinear operator, or comes out as the explained
      output. A layer is whatever is linear: convolutions, sums, averages, normalisation by stored
      numbers.
    - Biases, and stored numbers that are added, take their share of the relevance; it ends there.
    - A maximum hands all its relevance to the winner.

    Reference: Bach et al., 2015, "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by
    Layer-Wise Relevance Propagation", eq. 58; as a modified gradient: Ancona, Ceolini, Öztireli and
    Gross, 2018, "Towards Better Understanding of Gradient-based Attribution Methods", prop. 1.

    Args:
        epsilon: The stabiliser ε.
    """

    operators = _THROUGH_ZERO | _SOMETIMES | _EITHER

    def __init__(self, epsilon: float) -> None:
        self._epsilon = epsilon

    def prepare(self, graph: Graph, of: str, wrt: list[str]) -> tuple[Graph, dict[str, str]]:
        """The graph as it is."""
        refuse_unknown(graph, of, wrt, "LRP", _judge)
        return graph, {}

    def seed(self, emit: Emitter, ct: Value, of: str) -> Value:
        """The relevance of the output over its stabilised value, where no slope does that."""
        producer = emit.graph.producers.get(of)
        if producer is not None and self._has_slope(emit.bind(producer)):
            return ct
        y = emit.value(of)
        return ct * (y / self._stable(emit, y))

    def rule(self, node: Node, rule: Rule) -> Rule:
        """The slope above for y = f(x), the given rule for all others."""
        if not self._has_slope(node):
            return rule

        def function(emit: Emitter, node: Node, ct: Value, *extra: Any) -> Value:
            z = node.inputs[extra[0] if extra else 0]
            if z is None:
                raise InternalError(f"{node} has no operand")
            return ct * (node.output / self._stable(emit, z))

        return replace(rule, function=function)

    def _has_slope(self, node: Node) -> bool:
        """Whether a node is y = f(z); a Max or Min is where all but one operand are stored."""
        if node.domain or node.op_type not in self.operators:
            return False
        open_ends = [v for v in node.inputs if v is not None and v.constant is None]
        return node.op_type not in _EITHER or len(open_ends) == 1

    def _stable(self, emit: Emitter, z: Value) -> Value:
        return emit.Where(emit.GreaterOrEqual(z, 0.0), z + self._epsilon, z - self._epsilon)


def _judge(graph: Graph, node: onnx.NodeProto, at: frozenset[int]) -> str:
    op = node.op_type
    if (op in _EITHER and len(at) > 1) or (op in _WINNERS and at == {0}):
        return ""
    if op in _EITHER or (op in _SOMETIMES and at == {0}):
        return "" if _zero_at_zero(graph, node, at) else _NOT_ZERO
    if op in _THROUGH_ZERO and at == {0}:
        return ""
    if at == {0} and op in ("Cos", "Cosh", "Exp", "HardSigmoid", "Log", "Sigmoid", "Softplus"):
        return _NOT_ZERO
    return _REASONS.get(op, NO_RULE)


def _zero_at_zero(graph: Graph, node: onnx.NodeProto, at: frozenset[int]) -> bool:
    """Whether f(0) = 0, as far as the other operands are stored."""
    others = [n for i, n in enumerate(node.input) if i not in at]
    known = [graph.constant(n) if n else np.zeros(0) for n in others]
    bounds = [k for k in known if k is not None]
    if len(bounds) < len(known):
        return False
    match node.op_type:
        case "Pow":
            return bool((bounds[0] >= 1).all())
        case "Max":
            return all((b <= 0).all() for b in bounds)
        case "Min":
            return all((b >= 0).all() for b in bounds)
    return all((b <= 0).all() for b in bounds[:1]) and all((b >= 0).all() for b in bounds[1:])


__all__ = ["Relevance"]
