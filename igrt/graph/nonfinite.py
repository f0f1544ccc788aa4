"""Where in a model the first number is that is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import onnx
from onnx import helper

from igrt.graph.onnx_types import elem_type
from igrt.graph.prune import needed_names
from igrt.graph.view import Graph, all_inputs
from igrt.specs import Array

_PREFIX = "igrt/nonfinite"
_BOUND = f"{_PREFIX}/bound"
_WIDE = ("float32", "float64")
"""Types that onnxruntime counts in; others are cast to the first."""

_MOST_NAMED = 2


@final
@dataclass(frozen=True)
class Watch:
    """A model that counts the NaN and the infinite elements of its float tensors.

    Args:
        model: Its only outputs are the counts, so it takes no more memory than the model itself.
        tensors: The tensors, stored ones first, then in topological order.
        outputs: Name of the count of NaN, and of NaN or infinite elements, per tensor.
        graph: The model that is watched.
        apart: Prefix of the names in the gradient graph; empty where there is none.
    """

    model: onnx.ModelProto
    tensors: tuple[str, ...]
    outputs: tuple[tuple[str, str], ...]
    graph: Graph
    apart: str

    def first(self, counts: Sequence[Array]) -> str | None:
        """The first tensor where NaN or infinity comes from finite numbers, in words.

        An infinite element is not the cause where it was read from another tensor, as an attention
        mask is; nor is NaN that was read. Where nothing qualifies, the first of all is named, which
        may be a stored tensor.

        Args:
            counts: The outputs of `model`, in the order of `outputs`.
        """
        flat = [int(c) for c in counts]
        found = dict(zip(self.tensors, zip(flat[::2], flat[1::2], strict=True), strict=True))
        bad = [t for t, (_, unbounded) in found.items() if unbounded]
        for name in bad:
            producer = self.graph.producers.get(name)
            if producer is None or self.graph.nodes[producer].op_type == "Constant":
                continue
            read = [found.get(n, (0, 0)) for n in all_inputs(self.graph.nodes[producer])]
            nan = found[name][0] and not any(n for n, _ in read)
            if nan or not any(u for _, u in read):
                return self._described(name)
        return self._described(bad[0]) if bad else None

    def _described(self, name: str) -> str:
        nodes, producer = self.graph.nodes, self.graph.producers.get(name)
        if producer is None:
            reader = next((n for n in nodes if name in all_inputs(n)), None)
            read = f", read by {_called(reader)}" if reader is not None else ""
            return f"`{name}` (stored in the model{read})"
        of = self._beside(name) if name.startswith(self.apart) and self.apart else []
        where = f" in the gradient graph, at {', '.join(of)}" if of else ""
        return f"`{name}` ({_called(nodes[producer])}{where})"

    def _beside(self, name: str) -> list[str]:
        """Tensors of the forward pass that a tensor of the gradient graph is computed from."""
        found, wanted, seen = list[str](), [name], set[str]()
        while wanted:
            current = wanted.pop(0)
            producer = self.graph.producers.get(current)
            if current in seen or producer is None:
                continue
            seen.add(current)
            if not current.startswith(self.apart):
                found.append(f"`{current}` ({_called(self.graph.nodes[producer])})")
            else:
                wanted.extend(all_inputs(self.graph.nodes[producer]))
            if len(found) == _MOST_NAMED:
                break
        return found


def _called(node: onnx.NodeProto) -> str:
    named = node.name and node.name not in node.output
    return f"{node.op_type} `{node.name}`" if named else str(node.op_type)


def watch(model: onnx.ModelProto, *, apart: str, bound: float) -> Watch:
    """A model that counts what is not finite in each float tensor on the way to its outputs.

    Args:
        model: Model with its nodes in topological order.
        apart: Prefix of the names in the gradient graph.
        bound: Magnitude from which on a gradient counts as infinite.
    """
    graph = Graph(model)
    needed = needed_names(graph.nodes, [o.name for o in model.graph.output])
    made = [o for node in graph.nodes for o in node.output if o]
    names = [n for n in (*graph.initializers, *made) if n in needed and graph.spec(n).is_float]
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    outputs = []
    for k, name in enumerate(names):
        limited = name.startswith(apart) and name not in graph.initializers
        pair = (f"{_PREFIX}/{k}/nan", f"{_PREFIX}/{k}/unbounded")
        watched.graph.node.extend(_counting(name, graph.spec(name).dtype, limited, pair, k))
        watched.graph.output.extend(
            helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, []) for n in pair
        )
        outputs.append(pair)
    watched.graph.initializer.extend(
        helper.make_tensor(f"{_BOUND}/{d}", elem_type(d), [], [bound]) for d in _WIDE
    )
    return Watch(watched, tuple(names), tuple(outputs), graph, apart)


def _counting(
    name: str, dtype: str, limited: bool, outputs: tuple[str, str], k: int
) -> list[onnx.NodeProto]:
    at = f"{_PREFIX}/{k}"
    nodes = []
    wide = name
    if dtype not in _WIDE:
        wide, dtype = f"{at}/wide", "float32"
        nodes.append(helper.make_node("Cast", [name], [wide], to=onnx.TensorProto.FLOAT))
    nodes.append(helper.make_node("IsNaN", [wide], [f"{at}/is_nan"]))
    if not limited:
        nodes.append(helper.make_node("IsInf", [wide], [f"{at}/is_inf"]))
        nodes.append(helper.make_node("Or", [f"{at}/is_nan", f"{at}/is_inf"], [f"{at}/is_bad"]))
    else:
        nodes.append(helper.make_node("Abs", [wide], [f"{at}/abs"]))
        nodes.append(
            helper.make_node("Less", [f"{at}/abs", f"{_BOUND}/{dtype}"], [f"{at}/is_good"])
        )
        nodes.append(helper.make_node("Not", [f"{at}/is_good"], [f"{at}/is_bad"]))
    for flag, output in zip(("is_nan", "is_bad"), outputs, strict=True):
        count = f"{at}/{flag}/count"
        nodes.append(helper.make_node("Cast", [f"{at}/{flag}"], [count], to=onnx.TensorProto.FLOAT))
        nodes.append(helper.make_node("ReduceSum", [count], [output], keepdims=0))
    return nodes


__all__ = ["Watch", "watch"]
