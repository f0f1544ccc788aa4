"""Whether the gradient is the same everywhere on a path, so that one evaluation is exact.

On the ray z(α) = α·x every tensor of a piecewise linear network without biases is homogeneous,
t(α·x) = α^d·t(x) for α > 0, and so is its gradient, of degree 0. The degrees of all tensors of the
gradient graph follow from its operators; where one is not known, the gradient counts as varying.
For an affine model the gradient graph does not read the attributed tensors at all, and any path
will do.

Sizes deserve care: the shape of a tensor of unknown degree is constant only if no value on the way
decides it, as it does in NonZero or in a Reshape to a computed shape.
"""

from __future__ import annotations

from collections.abc import Collection
from math import isinf

import numpy as np
import onnx

from igrt.graph import Graph
from igrt.graph.onnx_types import elem_type
from igrt.graph.view import all_inputs, subgraphs

Degree = int | None
"""Degree of homogeneity along the path; 0 is constant, None unknown."""

_LINEAR = frozenset(
    "Abs AveragePool Col2Im Compress CumSum DepthToSpace Dropout Expand Flatten Gather "
    "GatherElements GatherND GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample Identity "
    "LeakyRelu LpPool MaxPool MaxRoiPool Neg PRelu ReduceL1 ReduceL2 ReduceMax ReduceMean "
    "ReduceMin ReduceSum Relu Reshape ReverseSequence RoiAlign Slice SpaceToDepth Split Squeeze "
    "Tile TopK Transpose Trilu Unsqueeze".split()
)
"""f(α·x) = α·f(x) in the first input for α > 0, while the others are constant."""

_PLACES = frozenset("Dropout MaxPool TopK".split())
"""The second output says where or whether, not how much: of degree 0."""

_PRODUCT = frozenset("Conv ConvTranspose Einsum Gemm MatMul Mul".split())
"""Degrees of the factors add up; a third input is added to the product."""

_ALIKE = frozenset("Add Concat Max Mean Min Sub Sum".split())
"""f(α·x, α·y) = α·f(x, y)."""

_COMPARED = frozenset("Equal Greater GreaterOrEqual Less LessOrEqual".split())
_SIGNS = frozenset("ArgMax ArgMin NonZero Sign".split())
_SIZES = frozenset("Shape Size".split())
_SCATTERS = frozenset("ScatterElements ScatterND".split())
_FIRST = _LINEAR - {"Compress"} | {"Cast", "Clip", "Pad", "Resize"}
"""The shape of the output follows from that of the first input and the values of the others."""
_SHAPES = (
    _PRODUCT
    | _ALIKE
    | _COMPARED
    | _SCATTERS
    | frozenset(
        "And BatchNormalization Div Elu Erf Exp Gelu HardSigmoid HardSwish LayerNormalization Log "
        "LogSoftmax Mish Not Or Pow Reciprocal Selu Sigmoid Sign Softmax Softplus Sqrt Tanh Where "
        "Xor".split()
    )
)
"""The shape of the output follows from those of the inputs."""
_RANDOM = frozenset(
    "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split()
)


def constant_gradient(
    model: onnx.ModelProto, wrt: Collection[str], *, from_zero: bool = False
) -> bool:
    """Whether the outputs of a gradient graph are the same at every point of a straight path.

    Args:
        model: The gradient graph; all its outputs count.
        wrt: Attributed inputs.
        from_zero: Whether the path begins at zero; else only affine models qualify.
    """
    graph = Graph(model)
    degrees: dict[str, Degree] = dict.fromkeys(wrt, 1 if from_zero else None)
    loose: set[str] = set()
    for node in graph.nodes:
        names = [n for n in all_inputs(node) if n]
        found = [degrees.get(n, 0) for n in names]
        degree = _degree(graph, node, names, found, loose)
        degrees.update(dict.fromkeys(node.output, degree))
        if degree is not None and node.op_type in _PLACES:
            degrees.update(dict.fromkeys(node.output[1:], 0))
        if degree is None and not _sized(node, found, any(n in loose for n in names)):
            loose |= set(node.output)
    return all(degrees.get(o.name, 0) == 0 for o in model.graph.output)


def _degree(
    graph: Graph, node: onnx.NodeProto, names: list[str], found: list[Degree], loose: set[str]
) -> Degree:
    op = node.op_type
    if not _standard(node) or _random(node):
        return None
    if op in _SIZES:
        return None if names[0] in loose else 0
    if all(d == 0 for d in found):
        return 0
    known = [d for d in found if d is not None]
    if len(known) < len(found) or any(True for _ in subgraphs(node)):
        return None
    if op in _LINEAR:
        return known[0] if not any(known[1:]) else None
    if op in _PRODUCT:
        total = sum(known[:2])
        if op == "Einsum":
            return sum(known)
        return total if len(names) < 3 or known[2] == total or _zero(graph, names[2]) else None
    if op in _ALIKE:
        return _same(graph, names, known)
    if op in _COMPARED:
        return 0 if _same(graph, names, known) is not None else None
    if op in _SIGNS:
        return 0
    return _by_attributes(graph, node, names, known)


def _by_attributes(
    graph: Graph, node: onnx.NodeProto, names: list[str], known: list[int]
) -> Degree:
    """Degree after an operator where it depends on attributes or on which inputs there are."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    linear = known[0] if not any(known[1:]) else None
    match node.op_type:
        case "BatchNormalization":
            # (x - mean)·scale/√(var + ε) + bias
            shifts = all(_zero(graph, n) for n in (node.input[2], node.input[3]))
            return linear if shifts and not attributes.get("training_mode", 0) else None
        case "Clip":
            return known[0] if _harmless(graph, names) else None
        case "Cast":
            floats = {elem_type(t) for t in ("float16", "float32", "float64", "bfloat16")}
            return known[0] if attributes["to"] in floats else None
        case "Div":
            return known[0] - known[1]
        case "Pad":
            filled = len(node.input) < 3 or not node.input[2] or _zero(graph, node.input[2])
            return linear if filled else None
        case "Resize":
            filled = attributes.get("extrapolation_value", 0.0) == 0.0
            return linear if filled else None
        case "ScatterElements" | "ScatterND":
            placed = known[1] == 0 and attributes.get("reduction", b"none") != b"mul"
            return _same(graph, names[::2], known[::2]) if placed else None
        case "Where":
            return _same(graph, names[1:], known[1:]) if known[0] == 0 else None
    return None


def _standard(node: onnx.NodeProto) -> bool:
    return node.domain in ("", "ai.onnx", "ai.onnx.ml")


def _random(node: onnx.NodeProto) -> bool:
    """Whether what a node gives may differ from run to run."""
    training = node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]
    inner = (n for body in subgraphs(node) for n in body.node)
    return (
        bool(training)
        or node.op_type in _RANDOM
        or any(_random(n) or not _standard(n) for n in inner)
    )


def _sized(node: onnx.NodeProto, found: list[Degree], loose: bool) -> bool:
    """Whether the shapes of a node's outputs are the same everywhere on the path."""
    if loose or not _standard(node):
        return False
    if node.op_type in _FIRST:
        return not any(d is None or d for d in found[1:])
    return node.op_type in _SHAPES


def _same(graph: Graph, names: list[str], degrees: list[int]) -> Degree:
    """The common degree of tensors that are added or compared; zeros have any."""
    found = {d for n, d in zip(names, degrees, strict=True) if not (d == 0 and _zero(graph, n))}
    return found.pop() if len(found) == 1 else None


def _zero(graph: Graph, name: str) -> bool:
    while (at := graph.producers.get(name)) is not None and graph.nodes[at].op_type == "Identity":
        name = graph.nodes[at].input[0]
    elements = graph.constant(name)
    return elements is not None and elements.dtype.kind in "fiu" and not elements.any()


def _harmless(graph: Graph, names: list[str]) -> bool:
    """Whether a Clip has no bounds but 0 and the ends of the finite range."""
    for name in names[1:]:
        elements = graph.constant(name)
        if elements is None or elements.dtype.kind != "f" or elements.size != 1:
            return False
        bound = abs(float(elements.reshape(())))
        if not (bound == 0 or isinf(bound) or bound == float(np.finfo(elements.dtype).max)):
            return False
    return True


__all__ = ["constant_gradient"]
