"""`Graph`: a read-only index of a model."""

from __future__ import annotations

import gc
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property

import onnx
from onnx import numpy_helper

from igrt.errors import ModelLoadError
from igrt.graph.infer import infer
from igrt.graph.onnx_types import spec_of
from igrt.specs import Array, TensorSpec

_LARGEST_CONSTANT = 1 << 16
"""Elements up to which a constant's content is looked at: shapes, axes, scales; never weights."""


class Graph:
    """Who makes and who uses each tensor of a model, and what is known of its type.

    Args:
        model: A model whose nodes are in topological order. It is not changed.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.opsets = {_domain(o.domain): o.version for o in model.opset_import}
        self.bodies: dict[tuple[int, str], Graph] = {}
        """Graphs of the bodies of control-flow nodes that were asked for (`graph.body`)."""

    @property
    def opset(self) -> int:
        """Version of the ``ai.onnx`` operators that the model imports."""
        return int(self.opsets.get("", 1))

    @cached_property
    def initializers(self) -> dict[str, onnx.TensorProto]:
        """Stored tensors by name."""
        return {t.name: t for t in self.model.graph.initializer}

    @cached_property
    def specs(self) -> dict[str, TensorSpec]:
        """What is known about each tensor: declared by the model or inferred by ONNX."""
        model = infer(self.model)
        found = {
            t.name: TensorSpec(t.name, _dtype_of(t), tuple(t.dims)) for t in model.graph.initializer
        }
        for sparse in model.graph.sparse_initializer:
            name = sparse.values.name
            found[name] = TensorSpec(name, _dtype_of(sparse.values), tuple(sparse.dims))
        for info in (*model.graph.value_info, *model.graph.output, *model.graph.input):
            found[info.name] = spec_of(info.name, info.type)
        return found

    def spec(self, name: str) -> TensorSpec:
        """What is known about one tensor."""
        return self.specs.get(name) or TensorSpec(name, "unknown", None)

    @cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs that the caller feeds: those without a stored default."""
        return tuple(
            spec_of(i.name, i.type)
            for i in self.model.graph.input
            if i.name not in self.initializers
        )

    @cached_property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs, with the inferred shape where the model declares none."""
        return tuple(self.spec(o.name) for o in self.model.graph.output)

    @cached_property
    def producers(self) -> dict[str, int]:
        """Index of the node that makes each tensor."""
        return {o: i for i, node in enumerate(self.nodes) for o in node.output if o}

    @cached_property
    def uses(self) -> Counter[str]:
        """How often each tensor is read, by nodes, their bodies, and as an output."""
        return Counter(
            [*(n for node in self.nodes for n in all_inputs(node)), *(o.name for o in self.outputs)]
        )

    @cached_property
    def names(self) -> set[str]:
        """Every tensor name in use, subgraphs included."""
        found = {i.name for i in self.model.graph.input} | set(self.initializers)
        found.update(t.values.name for t in self.model.graph.sparse_initializer)
        for node in self.nodes:
            found.update(node.input, node.output)
            for graph in subgraphs(node):
                found.update(_names_in(graph))
        return found

    def constant(self, name: str) -> Array | None:
        """Elements of a small constant: an initializer or the output of a Constant node."""
        tensor = self.initializers.get(name)
        if tensor is not None:
            fed = any(i.name == name for i in self.model.graph.input)
            return None if fed else read_tensor(tensor)
        producer = self.producers.get(name)
        return None if producer is None else constant_node(self.nodes[producer])

    @cached_property
    def readers(self) -> dict[str, list[int]]:
        """Indices of the nodes that read each tensor; a node that reads it twice is there twice."""
        found = defaultdict[str, list[int]](list)
        for index, node in enumerate(self.nodes):
            for name in all_inputs(node):
                found[name].append(index)
        return dict(found)

    def ancestors(self, names: Iterable[str]) -> set[int]:
        """Indices of the nodes that some of the tensors depend on."""
        wanted, found = list(names), set[int]()
        while wanted:
            producer = self.producers.get(wanted.pop())
            if producer is not None and producer not in found:
                found.add(producer)
                wanted.extend(all_inputs(self.nodes[producer]))
        return found


def constant_node(node: onnx.NodeProto) -> Array | None:
    """Elements of a small Constant node, None for any other node."""
    import numpy as np

    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or not node.attribute:
        return None
    attribute = node.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    match attribute.name:
        case "value":
            return read_tensor(value)
        case "value_float" | "value_floats":
            return np.asarray(value, dtype=np.float32)
        case "value_int" | "value_ints":
            return np.asarray(value, dtype=np.int64)
    return None


def read_tensor(tensor: onnx.TensorProto) -> Array | None:
    """Elements of a small stored tensor; None if it is large, external or text."""
    size = 1
    for dim in tensor.dims:
        size *= dim
    if size > _LARGEST_CONSTANT or tensor.data_type == onnx.TensorProto.STRING:
        return None
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise ModelLoadError(
            f"the stored tensor `{tensor.name}` is damaged: {error}",
            hint="export or download the model again",
        ) from None


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Bodies of a control-flow node."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and every body in it, outer ones first."""
    yield graph
    for node in graph.node:
        for body in subgraphs(node):
            yield from all_graphs(body)


def all_inputs(node: onnx.NodeProto) -> list[str]:
    """Tensors a node reads: its operands and what its bodies capture from outside."""
    names = [n for n in node.input if n]
    for graph in subgraphs(node):
        names.extend(captured(graph))
    return names


def live_inputs(node: onnx.NodeProto) -> list[str]:
    """The same without what a body reads for nodes that none of its outputs depends on."""
    names = [n for n in node.input if n]
    for graph in subgraphs(node):
        inside = {i.name for i in graph.input} | {t.name for t in graph.initializer}
        wanted = {o.name for o in graph.output}
        for inner in reversed(graph.node):
            if wanted.intersection(inner.output):
                wanted.update(live_inputs(inner))
                inside.update(inner.output)
        names.extend(wanted - inside)
    return names


def captured(graph: onnx.GraphProto) -> set[str]:
    """Tensors from outside that a body reads."""
    inside = {i.name for i in graph.input} | {t.name for t in graph.initializer}
    used = {o.name for o in graph.output}
    for node in graph.node:
        used.update(all_inputs(node))
        inside.update(node.output)
    return used - inside


def _names_in(graph: onnx.GraphProto) -> set[str]:
    found = {i.name for i in graph.input} | {t.name for t in graph.initializer}
    for node in graph.node:
        found.update(node.output)
        for inner in subgraphs(node):
            found |= _names_in(inner)
    return found


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _dtype_of(tensor: onnx.TensorProto) -> str:
    from igrt.graph.onnx_types import dtype_name

    return dtype_name(tensor.data_type)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Without the cyclic garbage collector, which makes bulk building of protobufs 2-3 x slower."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


__all__ = [
    "Graph",
    "all_graphs",
    "all_inputs",
    "captured",
    "collector_paused",
    "constant_node",
    "live_inputs",
    "read_tensor",
    "subgraphs",
]
