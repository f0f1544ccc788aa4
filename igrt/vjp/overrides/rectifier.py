"""Other rules for Relu: DeconvNet and guided back-propagation.

Only the operator Relu is overridden, as Captum overrides `torch.nn.ReLU` only: LeakyRelu,
Clip(0, 6) and smooth activations keep their derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, final

import onnx

from igrt.errors import UnsupportedOperator
from igrt.graph import Emitter, Graph, Node, Value
from igrt.graph.view import all_graphs, subgraphs
from igrt.vjp.registry import Rule

_RECURRENT = ("RNN", "GRU", "LSTM")


@final
@dataclass(frozen=True)
class Deconvolution:
    """x‾ = max(ȳ, 0) at Relu, whatever x is.

    Reference: Zeiler and Fergus, 2014, "Visualizing and Understanding Convolutional Networks".
    """

    operators: ClassVar[frozenset[str]] = frozenset({"Relu"})

    def prepare(self, graph: Graph, of: str, wrt: list[str]) -> tuple[Graph, dict[str, str]]:
        """The graph as it is; a Relu where the rule cannot reach is refused."""
        return _refuse_inner_relu(graph, of), {}

    def seed(self, emit: Emitter, ct: Value, of: str) -> Value:
        """The cotangent as it is."""
        return ct

    def rule(self, node: Node, rule: Rule) -> Rule:
        """The rule above for Relu, the given one for all others."""
        return replace(rule, function=_deconvolve) if _is_relu(node.proto) else rule


@final
@dataclass(frozen=True)
class GuidedBackprop:
    """x‾ = max(ȳ, 0) where x > 0, else 0, at Relu.

    Reference: Springenberg, Dosovitskiy, Brox and Riedmiller, 2015, "Striving for Simplicity: The
    All Convolutional Net".
    """

    operators: ClassVar[frozenset[str]] = frozenset({"Relu"})

    def prepare(self, graph: Graph, of: str, wrt: list[str]) -> tuple[Graph, dict[str, str]]:
        """The graph as it is; a Relu where the rule cannot reach is refused."""
        return _refuse_inner_relu(graph, of), {}

    def seed(self, emit: Emitter, ct: Value, of: str) -> Value:
        """The cotangent as it is."""
        return ct

    def rule(self, node: Node, rule: Rule) -> Rule:
        """The rule above for Relu, the given one for all others."""
        return replace(rule, function=_guide) if _is_relu(node.proto) else rule


def _deconvolve(emit: Emitter, node: Node, ct: Value) -> Value:
    return emit.Relu(ct)


def _guide(emit: Emitter, node: Node, ct: Value) -> Value:
    return emit.masked(emit.Relu(ct), emit.Greater(node.output, 0.0))


def _is_relu(node: onnx.NodeProto) -> bool:
    return node.op_type == "Relu" and node.domain in ("", "ai.onnx")


def _refuse_inner_relu(graph: Graph, of: str) -> Graph:
    """The graph, unless a body or a recurrent operator on the way rectifies.

    Their gradients are made inside, where the set of rules does not reach.
    """
    inside = [
        f"  {node.op_type} (`{node.name}`)"
        for node in (graph.nodes[i] for i in sorted(graph.ancestors([of])))
        if _rectifies_inside(node)
    ]
    if inside:
        raise UnsupportedOperator(
            "\n".join(["Relu inside of these nodes has only its derivative as a rule", *inside]),
            hint="use integrated_gradients or gradients, or explain a tensor behind them (wrt)",
        )
    return graph


def _rectifies_inside(node: onnx.NodeProto) -> bool:
    if node.op_type in _RECURRENT:
        given = [a for a in node.attribute if a.name == "activations"]
        return any(text.lower() == b"relu" for a in given for text in a.strings)
    return any(
        _is_relu(inner) or _rectifies_inside(inner)
        for body in subgraphs(node)
        for graph in all_graphs(body)
        for inner in graph.node
    )


__all__ = ["Deconvolution", "GuidedBackprop"]
