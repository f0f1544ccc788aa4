"""A product of whole numbers and the Cast to float behind it, taken together."""

from __future__ import annotations

from collections import Counter

import onnx

from igrt.graph.normalize.quantised.policy import JOINED
from igrt.graph.view import all_inputs


def join_casts(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Make one node of a product of whole numbers and the Cast to float that alone uses it.

    Returns:
        The two nodes, by the name of the tensor that the one makes now.
    """
    products = {
        n.output[0]: n
        for n in graph.node
        if n.op_type in ("ConvInteger", "MatMulInteger")
        and n.domain in ("", "ai.onnx")
        and len(n.output) == 1
    }
    uses = Counter(name for n in graph.node for name in all_inputs(n))
    uses.update(o.name for o in graph.output)
    joined: dict[str, list[onnx.NodeProto]] = {}
    gone = set()
    for index, node in enumerate(graph.node):
        product = products.get(node.input[0]) if node.op_type == "Cast" and node.input else None
        if product is None or uses[node.input[0]] != 1:
            continue
        if [a.i for a in node.attribute if a.name == "to"] != [onnx.TensorProto.FLOAT]:
            continue
        pair = [onnx.NodeProto.FromString(n.SerializeToString()) for n in (product, node)]
        joined[node.output[0]] = pair
        product.output[0], product.domain = node.output[0], JOINED
        gone.add(index)
    if gone:
        kept = [n for i, n in enumerate(graph.node) if i not in gone]
        kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in kept]
        del graph.node[:]
        graph.node.extend(kept)
    return joined


__all__ = ["join_casts"]
