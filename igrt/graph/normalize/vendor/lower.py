"""The pass that puts standard operators in place of vendor ones."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Sequence

import onnx

from igrt.errors import InternalError, UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.normalize.quantised.pointwise import MOVING, counted, moved
from igrt.graph.normalize.quantised.policy import JOINED
from igrt.graph.normalize.vendor.table import LAID_OUT, REFUSED, VENDOR, Lowering, find
from igrt.graph.onnx_types import value_info
from igrt.graph.valid import why_unknown
from igrt.graph.value import Node, Value
from igrt.graph.view import Graph, all_inputs
from igrt.specs import TensorSpec

UNLISTED = frozenset(
    {
        "Affine",
        "Crop",
        "ImageScaler",
        "LayerNormalization",
        "ParametricSoftplus",
        "Scale",
        "ScaledTanh",
        "SimplifiedLayerNormalization",
        "ThresholdedRelu",
    }
)
"""Operators that onnxruntime runs in the default domain although ONNX defines none, or not yet."""

_SAME_TYPE = frozenset({"Inverse"})
"""Operators that stay, with a rule of their own: the output's type is the input's."""


def claim_vendor(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with onnxruntime's additions to the default domain moved to onnxruntime's own.

    Nothing that reads ONNX knows them where they are: neither its inference nor its converter.
    """
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    claimed = [
        n
        for n in model.graph.node
        if n.domain in ("", "ai.onnx")
        and n.op_type in UNLISTED
        and not onnx.defs.has(n.op_type, version, "")
    ]
    for node in claimed:
        node.domain = VENDOR
    if claimed and all(o.domain != VENDOR for o in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(VENDOR, 1))
    return model


def lower_vendor(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with vendor operators, and those on whole numbers, written in standard ones.

    What cannot be stays: it matters only where it lies between the attributed tensors and the
    output, and is refused there.

    Args:
        model: A model with its nodes in order and an opset of 18 or newer.
    """
    if all(n.domain != VENDOR and find(n.domain, n.op_type) is None for n in model.graph.node):
        if not any(n.op_type in _WHOLE for n in model.graph.node):
            return model
    joined = _join_casts(model)
    graph = Graph(model)
    learner = Emitter(graph)
    nodes: list[onnx.NodeProto] = []
    steps: dict[str, tuple[str, str]] = {}
    for proto in graph.nodes:
        made = [proto]
        function = _function(proto, steps)
        if function is None:
            _learn(graph, learner, proto)
        else:
            emit = Emitter(graph)
            try:
                made = rewritten(graph, emit, proto, function)
                model.graph.initializer.extend(emit.initializers)
            except UnsupportedOperator:
                made = joined.get(proto.output[0], made) if proto.output else made
        nodes.extend(made)
        for node in made:
            if node.op_type == "QuantizeLinear" and node.domain != VENDOR and len(node.input) > 1:
                steps[node.output[0]] = (node.input[1], *node.input[2:3], "")[:2]
            elif node.op_type == "DynamicQuantizeLinear" and len(node.output) == 3:
                steps[node.output[0]] = (node.output[1], node.output[2])
    kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


_WHOLE = frozenset({"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QuantizeLinear"})


def _function(proto: onnx.NodeProto, steps: dict[str, tuple[str, str]]) -> Lowering | None:
    """What lowers a node; one that moves whole numbers moves what they stand for."""
    if proto.domain in ("", "ai.onnx") and proto.input and proto.input[0] in steps:
        if proto.op_type == "Cast":
            return counted
        if proto.op_type not in MOVING:
            return find(proto.domain, proto.op_type)
        scale, zero = steps[proto.input[0]]

        def function(emit: Emitter, node: Node, *operands: Value | None) -> tuple[Value, ...]:
            return moved(emit, node, scale, zero)

        return function
    return find(proto.domain, proto.op_type)


def _join_casts(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    """Make one node of a product of whole numbers and the Cast to float that alone uses it.

    Returns:
        The two nodes, by the name of the tensor that the one makes now.
    """
    products = {
        n.output[0]: n
        for n in model.graph.node
        if n.op_type in ("ConvInteger", "MatMulInteger")
        and n.domain in ("", "ai.onnx")
        and len(n.output) == 1
    }
    uses = Counter(name for n in model.graph.node for name in all_inputs(n))
    uses.update(o.name for o in model.graph.output)
    joined: dict[str, list[onnx.NodeProto]] = {}
    gone = set()
    for index, node in enumerate(model.graph.node):
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
        kept = [n for i, n in enumerate(model.graph.node) if i not in gone]
        kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in kept]
        del model.graph.node[:]
        model.graph.node.extend(kept)
    return joined


def rewritten(
    graph: Graph, emit: Emitter, proto: onnx.NodeProto, function: Lowering
) -> list[onnx.NodeProto]:
    """The nodes that stand for one node, its outputs under their own names.

    Args:
        graph: Where the node is; learns the types of the outputs.
        emit: A fresh emitter on the graph.
        proto: The node.
        function: What writes it in other operators.

    Raises:
        UnsupportedOperator: If the function does not cover this node; says why.
    """
    node = Node(proto, graph.opsets.get(proto.domain, 1), emit)
    unknown = [v.name for v in node.inputs if v is not None and v.dtype == "unknown"]
    if unknown:
        raise UnsupportedOperator(f"the type of its input `{unknown[0]}` is not known")
    try:
        made = function(emit, node, *_operands(node, function))
    except InternalError as error:
        raise UnsupportedOperator(f"it cannot be lowered: {error.message}") from None
    except (AttributeError, AssertionError, IndexError, KeyError, TypeError, ValueError):
        # nothing has checked a vendor's node: inputs or attributes that it needs may be missing
        raise UnsupportedOperator("its inputs or attributes are not what it needs") from None
    made = made if isinstance(made, tuple) else (made,)
    results: dict[str, Value] = {}
    for i, name in enumerate(proto.output):
        value = made[i] if i < len(made) else None
        if name and value is not None:
            results[name] = value
        elif name and _used(graph, name):
            raise UnsupportedOperator(f"its output {i} is used")
    for name, value in results.items():
        shape = graph.spec(name).shape if value.shape is None else value.shape
        graph.specs[name] = TensorSpec(name, value.dtype, shape)
    return _renamed(emit.nodes, results)


def refusal(graph: Graph, proto: onnx.NodeProto) -> str:
    """Why a node is not standard and was left as it is; empty for a standard one."""
    unknown = why_unknown(proto, graph.opsets)
    if unknown:
        return unknown
    if proto.domain in LAID_OUT:
        return f"{LAID_OUT[proto.domain]}; take the model from before onnxruntime optimised it"
    if proto.domain != VENDOR:
        return ""
    function = find(proto.domain, proto.op_type)
    if function is None:
        return REFUSED.get(proto.op_type, "igrt does not know this operator of onnxruntime")
    try:
        rewritten(graph, Emitter(graph), proto, function)
    except UnsupportedOperator as error:
        return error.message
    return ""


def _operands(node: Node, function: Lowering) -> Sequence[Value | None]:
    """The inputs, with None for those that the node leaves out at the end."""
    parameters = list(inspect.signature(function).parameters.values())[2:]
    if parameters and parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL:
        return node.inputs
    if len(node.inputs) > len(parameters):
        given = [i for i in range(len(parameters), len(node.inputs)) if node.inputs[i] is not None]
        if given:
            raise UnsupportedOperator(f"its input {given[0]} is not lowered")
    return (*node.inputs[: len(parameters)], *[None] * (len(parameters) - len(node.inputs)))


def _used(graph: Graph, name: str) -> bool:
    return any(name in n.input for n in graph.nodes) or any(
        o.name == name for o in graph.model.graph.output
    )


def _renamed(nodes: Sequence[onnx.NodeProto], results: dict[str, Value]) -> list[onnx.NodeProto]:
    """Nodes that write their results under given names, an Identity where that cannot be."""
    names: dict[str, str] = {}
    made = {o for n in nodes for o in n.output}
    extra = []
    for name, value in results.items():
        if value.name in made and value.name not in names:
            names[value.name] = name
        else:
            source = names.get(value.name, value.name)
            extra.append(onnx.helper.make_node("Identity", [source], [name], name=name))
    for node in nodes:
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]
        node.name = node.output[0]
    return [*nodes, *extra]


def _learn(graph: Graph, emit: Emitter, proto: onnx.NodeProto) -> None:
    """Types behind a vendor operator, where ONNX's inference of the whole model stopped."""
    if proto.domain == VENDOR and proto.op_type in _SAME_TYPE and proto.input and proto.output:
        spec = graph.spec(proto.input[0])
        graph.specs[proto.output[0]] = TensorSpec(proto.output[0], spec.dtype, spec.shape)
        if spec.dtype != "unknown" and graph.spec(proto.output[0]) not in graph.outputs:
            graph.model.graph.value_info.append(value_info(graph.spec(proto.output[0])))
        return
    known = [graph.spec(o) for o in proto.output if o]
    if all(s.dtype != "unknown" and s.shape is not None for s in known):
        return
    operands = [emit.value(n) for n in proto.input if n]
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    if any(v.dtype in ("unknown", "sequence", "optional", "map") for v in operands) or (
        not onnx.defs.has(proto.op_type, graph.opsets.get(domain, 1), domain)
    ):
        return
    try:
        found = emit.inferred(proto, operands)
    except InternalError:  # ONNX's inference does not like the node: its types stay unknown
        return
    for spec in found:
        if graph.spec(spec.name).dtype == "unknown" or graph.spec(spec.name).shape is None:
            graph.specs[spec.name] = spec


__all__ = ["UNLISTED", "claim_vendor", "lower_vendor", "refusal", "rewritten"]
