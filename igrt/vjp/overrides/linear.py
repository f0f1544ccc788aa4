"""Which nodes are linear in what depends on the attributed tensors, and which have no rule.

A method that hands on *differences* (DeepLIFT) or *relevance* (LRP) is right only if it knows about
every nonlinear operator on the way, also where the derivative is zero: a condition, a rounding, an
index. So everything that the values of the attributed tensors get to counts here, not only what a
gradient gets back through.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import NoReturn

import onnx

from igrt.errors import UnsupportedOperator
from igrt.graph import Graph
from igrt.graph.onnx_types import elem_type
from igrt.graph.view import all_inputs, subgraphs
from igrt.specs import FLOAT_TYPES

_SIZES = frozenset({"Shape", "Size"})

_JOINTLY = frozenset("Add Concat Identity Mean Neg Sub Sum".split())
"""Linear in all operands together."""

_FIRST = frozenset(
    "AveragePool CumSum DepthToSpace Expand Flatten Gather GatherElements GatherND "
    "GlobalAveragePool Pad ReduceMean ReduceSum Reshape Resize ReverseSequence Slice SpaceToDepth "
    "Split Squeeze Tile Transpose Trilu Unsqueeze".split()
)
"""Linear in the first operand, while the others do not depend on the attributed tensors."""

_PRODUCTS = frozenset("Conv ConvTranspose Gemm MatMul Mul".split())
"""Linear in either of the first two operands, not in both; a third is added."""

Judge = Callable[[Graph, onnx.NodeProto, frozenset[int]], str]
"""Why a nonlinear node of ``ai.onnx`` has no rule, given the positions of the operands that depend
on the attributed tensors; empty if it has one."""


def dependent(
    graph: Graph, of: str, wrt: Collection[str]
) -> Iterator[tuple[int, frozenset[int], bool]]:
    """Nodes between `wrt` and `of` that the values of `wrt` get to, in order.

    Yields the node's index, the positions of its operands that depend on `wrt`, and whether a body
    of its reads such a tensor. Sizes do not depend on values.
    """
    depends = set(wrt)
    for index in sorted(graph.ancestors([of])):
        node = graph.nodes[index]
        if node.op_type in _SIZES or depends.isdisjoint(all_inputs(node)):
            continue
        at = frozenset(i for i, name in enumerate(node.input) if name in depends)
        depends.update(o for o in node.output if o)
        yield index, at, any(True for _ in subgraphs(node))


def refuse_unknown(graph: Graph, of: str, wrt: Collection[str], method: str, judge: Judge) -> None:
    """Raise one error that names every node that is neither linear nor known to the method.

    Args:
        graph: The forward graph.
        of: Explained output.
        wrt: Attributed tensors.
        method: The method, in words.
        judge: What the method says of nodes that are not linear.
    """
    lines = []
    for index, at, has_body in dependent(graph, of, wrt):
        node = graph.nodes[index]
        reason = why_not_linear(graph, node, at)
        if has_body:
            reason = "the method has no rules inside of bodies"
        elif reason == NO_RULE:
            reason = judge(graph, node, at)
        if reason:
            domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}."
            lines.append(f"  {domain}{node.op_type} (`{node.name}`): {reason}")
    if lines:
        _refuse(method, of, wrt, lines)


def _refuse(method: str, of: str, wrt: Collection[str], lines: list[str]) -> NoReturn:
    nodes = "1 node" if len(lines) == 1 else f"{len(lines)} nodes"
    shown = lines[:12] + ([f"  and {len(lines) - 12} more"] if len(lines) > 12 else [])
    raise UnsupportedOperator(
        "\n".join(
            [f"{method} has no rule for {nodes} between `{', '.join(wrt)}` and `{of}`", *shown]
        ),
        hint="integrated_gradients needs no such rules; or explain an earlier output (of), such as "
        "the logits, or attribute to a later tensor (wrt), so that these are not on the way",
    )


def why_not_linear(graph: Graph, node: onnx.NodeProto, at: frozenset[int]) -> str:
    """Why a node is not linear in the operands at these positions; empty if it is."""
    op = node.op_type
    if node.domain == "ai.onnx.ml":
        return "" if op == "Scaler" else "the method has no rules for its domain"
    if node.domain not in ("", "ai.onnx"):
        return "the method has no rules for its domain"
    if op in _JOINTLY:
        return ""
    if op in _FIRST:
        return "" if at == {0} else CHOICE
    if op in _PRODUCTS:
        return PRODUCT if {0, 1} <= at else ""
    match op:
        case "Einsum":
            return "" if len(at) == 1 else PRODUCT
        case "Div":
            return "" if at == {0} else "it divides by what depends on the input"
        case "Where":
            return "" if 0 not in at else CHOICE
        case "Cast":
            to = next(a.i for a in node.attribute if a.name == "to")
            return "" if to in {elem_type(t) for t in FLOAT_TYPES} else "it rounds"
        case "ScatterElements" | "ScatterND":
            adds = _text(node, "reduction", "none") in ("none", "add")
            return "" if 1 not in at and adds else CHOICE
        case "BatchNormalization":
            training = any(a.name == "training_mode" and a.i for a in node.attribute)
            return "" if at == {0} and not training else "it uses the statistics of the input"
        case "Dropout":
            return "" if _at_inference(graph, node) and at == {0} else "it is in training mode"
    return NO_RULE


NO_RULE = "it is not linear, and the method has no rule for it"
PRODUCT = "it multiplies two tensors that depend on the input"
CHOICE = "the input decides what it chooses"


def _at_inference(graph: Graph, node: onnx.NodeProto) -> bool:
    if len(node.input) < 3 or not node.input[2]:
        return True
    mode = graph.constant(node.input[2])
    return mode is not None and not mode.any()


def _text(node: onnx.NodeProto, name: str, default: str) -> str:
    return next((a.s.decode() for a in node.attribute if a.name == name), default)


__all__ = ["NO_RULE", "PRODUCT", "Judge", "dependent", "refuse_unknown", "why_not_linear"]
