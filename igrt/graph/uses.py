"""Ranks that only the uses of a tensor tell: an If whose branches disagree leaves its own open.

PyTorch exports `squeeze` as an If on the size of the axis, with a Squeeze in one branch and an
Identity in the other. What follows says which of them is meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

_ALIKE = frozenset(
    "Abs BatchNormalization Cast Clip Dropout Elu Erf Exp Gelu HardSigmoid HardSwish Identity "
    "LayerNormalization LeakyRelu Log LogSoftmax Neg Pad Relu Sigmoid Softmax Softplus Split Sqrt "
    "Tanh".split()
)
"""Operators whose first input has the rank of their first output."""

_OF_WEIGHT = frozenset(["Conv", "ConvInteger", "ConvTranspose"])
"""Operators whose first input has the rank of their second."""

_FIXED = {"GRU": 3, "Gemm": 2, "LSTM": 3, "RNN": 3}


def ranks_of_uses(
    nodes: Sequence[onnx.NodeProto], ranks: Mapping[str, int], names: set[str]
) -> dict[str, int]:
    """Ranks of some of the tensors `names`, from the operators that read them.

    Args:
        nodes: Nodes of a graph in topological order.
        ranks: Ranks that are known.
        names: Tensors of unknown rank.
    """
    found = dict(ranks)
    for node in reversed(nodes):
        if not node.input or node.input[0] in found:
            continue
        rank = None
        if node.op_type in _OF_WEIGHT:
            rank = found.get(node.input[1])
        elif node.op_type in _ALIKE:
            rank = found.get(node.output[0])
        elif node.op_type == "Transpose":
            perm = next((a.ints for a in node.attribute if a.name == "perm"), None)
            rank = found.get(node.output[0]) if perm is None else len(perm)
        else:
            rank = _FIXED.get(node.op_type)
        if rank is not None:
            found[node.input[0]] = rank
    return {n: found[n] for n in names if n in found}


__all__ = ["ranks_of_uses"]
