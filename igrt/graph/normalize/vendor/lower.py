"""The pass that puts standard operators in place of vendor ones."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import onnx

from igrt.errors import InternalError, UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.normalize.quantised.counting import Counts, counted
from igrt.graph.normalize.quantised.joined import join_casts
from igrt.graph.normalize.quantised.pointwise import MOVING, joined, moved
from igrt.graph.normalize.vendor.table import LAID_OUT, REFUSED, VENDOR, Lowering, find
from igrt.graph.normalize.within import carried_on, replace_nodes
from igrt.graph.onnx_types import value_info
from igrt.graph.valid import why_unknown
from igrt.graph.value import Node, Value
from igrt.graph.view import Graph, all_graphs, all_inputs, subgraphs
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
    The domain is imported where its operators are used, which onnxruntime does not ask for.
    """
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    claimed = [
        n
        for graph in all_graphs(model.graph)
        for n in graph.node
        if n.domain in ("", "ai.onnx")
        and n.op_type in UNLISTED
        and not onnx.defs.has(n.op_type, version, "")
    ]
    for node in claimed:
        node.domain = VENDOR
    used = any(n.domain == VENDOR for graph in all_graphs(model.graph) for n in graph.node)
    if used and all(o.domain != VENDOR for o in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(VENDOR, 1))
    return model


def lower_vendor(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with vendor operators, and those on whole numbers, written in standard ones.

    What cannot be stays: it matters only where it lies between the attributed tensors and the
    output, and is refused there. Bodies of control-flow nodes are lowered like the main graph.

    Args:
        model: A model with its nodes in order and an opset of 18 or newer.
    """
    if not _concerned(model.graph):
        return model
    pairs = join_casts(model.graph)
    graph = Graph(model)
    nodes, stored = _lowered(graph, None, pairs, {})
    replace_nodes(model.graph, nodes, stored)
    return model


Steps = dict[str, tuple[str, str]]
"""Scale and zero, by the name of the tensor of whole numbers that they belong to."""

_WHOLE = frozenset({"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QuantizeLinear"})


def _concerned(graph: onnx.GraphProto) -> bool:
    return any(
        n.domain == VENDOR or find(n.domain, n.op_type) is not None or n.op_type in _WHOLE
        for g in all_graphs(graph)
        for n in g.node
    )


def _lowered(
    graph: Graph, outer: Emitter | None, pairs: dict[str, list[onnx.NodeProto]], steps: Steps
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The nodes that stand for those of a graph, and what they need stored."""
    learner, counts = Emitter(graph, outer), Counts()
    nodes: list[onnx.NodeProto] = []
    stored: list[onnx.TensorProto] = []
    for proto in graph.nodes:
        made = [proto]
        function = _function(proto, steps, counts)
        counts.learn(proto, steps)
        if function is not None:
            emit = Emitter(graph, outer)
            try:
                made = rewritten(graph, emit, proto, function)
                stored.extend(emit.initializers)
            except UnsupportedOperator:
                made = pairs.get(proto.output[0], made) if proto.output else made
        else:
            if any(_concerned(body) for body in subgraphs(proto)):
                made = [_with_bodies(graph, learner, proto, steps)]
            _learn(graph, learner, proto)
        nodes.extend(made)
        for node in made:
            if node.op_type == "QuantizeLinear" and _single(graph, node):
                steps[node.output[0]] = (node.input[1], *node.input[2:3], "")[:2]
            elif node.op_type == "DynamicQuantizeLinear" and len(node.output) == 3:
                steps[node.output[0]] = (node.output[1], node.output[2])
    return counts.without_unread(nodes, {o.name for o in graph.model.graph.output}), stored


def _single(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a QuantizeLinear has one scale for all, so that numbers can be moved around."""
    given = {a.name for a in node.attribute if a.name != "output_dtype" or a.i}
    if node.domain == VENDOR or len(node.input) < 2 or given & {"block_size", "output_dtype"}:
        return False
    return graph.spec(node.input[1]).shape in ((), (1,))


def _with_bodies(
    graph: Graph, outer: Emitter, proto: onnx.NodeProto, steps: Steps
) -> onnx.NodeProto:
    """A control-flow node with its bodies lowered."""
    pairs: dict[str, list[onnx.NodeProto]] = {}

    def join(_: Graph, __: Emitter, original: onnx.GraphProto) -> None:
        pairs.clear()  # branches may use the same names
        pairs.update(join_casts(original))

    def lower(body: Graph, inner: Emitter, original: onnx.GraphProto) -> None:
        hidden = {i.name for i in original.input}
        seen = {q: s for q, s in steps.items() if q not in hidden and not hidden.intersection(s)}
        replace_nodes(original, *_lowered(body, outer, dict(pairs), seen))

    return carried_on(graph, outer, proto, lower, join)


def _function(proto: onnx.NodeProto, steps: Steps, counts: Counts) -> Lowering | None:
    """What lowers a node; one that moves whole numbers moves what they stand for."""
    moves = proto.op_type in MOVING or proto.op_type == "NhwcMaxPool"
    if not proto.input or (proto.domain not in ("", "ai.onnx") and proto.op_type != "NhwcMaxPool"):
        return find(proto.domain, proto.op_type)
    if proto.input[0] in steps and proto.op_type == "Cast":
        return counted
    if proto.op_type == "Concat" and all(n in steps for n in proto.input):
        given = [steps[n] for n in proto.input]

        def join(emit: Emitter, node: Node, *operands: Value | None) -> tuple[Value, ...]:
            return joined(emit, node, given)

        return join
    if proto.input[0] in steps and moves:
        scale, zero = steps[proto.input[0]]

        def move(emit: Emitter, node: Node, *operands: Value | None) -> tuple[Value, ...]:
            return moved(emit, node, scale, zero)

        return move
    return counts.lowering(proto) or find(proto.domain, proto.op_type)


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


_COUNTS = "it computes with whole numbers that stand for real ones, and cannot be lowered"


def refusal(graph: Graph, proto: onnx.NodeProto) -> str:
    """Why a node is not standard and was left as it is; empty for a standard one."""
    unknown = why_unknown(proto, graph.opsets)
    if unknown:
        return unknown
    if proto.domain in LAID_OUT:
        return f"{LAID_OUT[proto.domain]}; take the model from before onnxruntime optimised it"
    if proto.domain != VENDOR:
        kind = graph.spec(proto.input[0]).dtype if proto.input and proto.input[0] else ""
        return _COUNTS if "int" in kind and not any(True for _ in subgraphs(proto)) else ""
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
    return any(name in all_inputs(n) for n in graph.nodes) or any(
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
