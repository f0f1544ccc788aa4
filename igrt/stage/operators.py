"""How operators behave along a straight path: tables and predicates that the analyses share."""

from __future__ import annotations

from collections.abc import Collection
from math import isinf
from typing import Any

import numpy as np
import onnx

from igrt.graph import Graph
from igrt.graph.onnx_types import elem_type
from igrt.graph.view import subgraphs

LINEAR = frozenset(
    "AveragePool CenterCropPad Col2Im Compress CumSum DFT DepthToSpace Dropout Expand Flatten "
    "Gather GatherElements GatherND GlobalAveragePool GridSample Identity Neg ReduceMean ReduceSum "
    "Reshape ReverseSequence STFT Slice SpaceToDepth Split Squeeze Tile Transpose Trilu "
    "Unsqueeze".split()
)
"""f(a·x + c·y) = a·f(x) + c·f(y) in the first input, while the others are constant."""

PRODUCT = frozenset("Conv ConvTranspose Einsum Gemm MatMul Mul".split())
"""Linear in each factor; a third input, but of Einsum, is added to the product."""

ALIKE = frozenset("Add Concat Mean Sub Sum".split())
"""f(a·x + c·y, a·x' + c·y') = a·f(x, x') + c·f(y, y')."""

PLACES = frozenset("Dropout MaxPool TopK".split())
"""The second output says where or whether, not how much."""

SIZES = frozenset("Shape Size".split())
SCATTERS = frozenset("ScatterElements ScatterND".split())

_FIRST = LINEAR - {"Compress", "DFT", "STFT"} | frozenset(
    "Abs Cast Clip GlobalLpPool GlobalMaxPool LeakyRelu LpPool MaxPool MaxRoiPool PRelu Pad "
    "ReduceL1 ReduceL2 ReduceMax ReduceMin Relu Resize RoiAlign TopK".split()
)
"""The shape of the output follows from that of the first input and the values of the others."""

_SHAPES = (
    PRODUCT
    | ALIKE
    | SCATTERS
    | frozenset(
        "And BatchNormalization Div Elu Equal Erf Exp Gelu Greater GreaterOrEqual HardSigmoid "
        "HardSwish LayerNormalization Less LessOrEqual Log LogSoftmax Max Min Mish Not Or Pow "
        "Reciprocal Selu Sigmoid Sign Softmax Softplus Sqrt Tanh Where Xor".split()
    )
)
"""The shape of the output follows from those of the inputs."""

_RANDOM = frozenset(
    "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split()
)

_OF_ZERO = frozenset("Cast Expand Identity Reshape Squeeze Tile Transpose Unsqueeze".split())
"""Zero where their first input is."""


def standard(node: onnx.NodeProto) -> bool:
    """Whether what a node computes is known."""
    return node.domain in ("", "ai.onnx", "ai.onnx.ml")


def random(node: onnx.NodeProto) -> bool:
    """Whether what a node gives may differ from run to run."""
    training = node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]
    inner = (n for body in subgraphs(node) for n in body.node)
    return (
        bool(training)
        or node.op_type in _RANDOM
        or any(random(n) or not standard(n) for n in inner)
    )


def sized(node: onnx.NodeProto, others_constant: bool) -> bool:
    """Whether the shapes of a node's outputs follow from the shapes of its inputs.

    Args:
        node: The node.
        others_constant: Whether all inputs but the first are the same everywhere on the path.
    """
    if not standard(node):
        return False
    return node.op_type in _SHAPES or (node.op_type in _FIRST and others_constant)


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes of a node by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def zero(graph: Graph, name: str) -> bool:
    """Whether a tensor is known to be zero."""
    while (at := graph.producers.get(name)) is not None:
        node = graph.nodes[at]
        if node.op_type == "ConstantOfShape":
            filled = [onnx.numpy_helper.to_array(a.t) for a in node.attribute]
            return not any(f.any() for f in filled)
        if node.op_type not in _OF_ZERO:
            break
        name = node.input[0]
    elements = graph.constant(name)
    return elements is not None and elements.dtype.kind in "fiu" and not elements.any()


def keeps_scale(graph: Graph, bounds: Collection[str]) -> bool:
    """Whether a Clip has no bounds but 0 and the ends of the finite range."""
    for name in bounds:
        elements = graph.constant(name)
        if elements is None or elements.dtype.kind != "f" or elements.size != 1:
            return False
        bound = abs(float(elements.reshape(())))
        if not (bound == 0 or isinf(bound) or bound == float(np.finfo(elements.dtype).max)):
            return False
    return True


FLOATS = frozenset(elem_type(t) for t in ("float16", "float32", "float64", "bfloat16"))
"""Element types that a Cast keeps real numbers in."""


__all__ = [
    "ALIKE",
    "FLOATS",
    "LINEAR",
    "PLACES",
    "PRODUCT",
    "SCATTERS",
    "SIZES",
    "attributes_of",
    "keeps_scale",
    "random",
    "sized",
    "standard",
    "zero",
]
