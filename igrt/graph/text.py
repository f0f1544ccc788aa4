"""Names in a model that are no text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx

from igrt.errors import ModelLoadError
from igrt.graph.view import subgraphs


def check_text(model: onnx.ModelProto, name: str) -> None:
    """Refuse names that are not UTF-8: protobuf hands them out as bytes, which nothing else takes.

    Raises:
        ModelLoadError: If there is one.
    """
    for text in _texts(model):
        if isinstance(text, bytes):
            raise ModelLoadError(
                f"{name} has a name that is not UTF-8 text: {text[:40]!r}",
                hint="the file is damaged; export or download it again",
            )


def _texts(model: onnx.ModelProto) -> Iterator[str | bytes]:
    yield from (model.producer_name, model.producer_version, model.domain, model.doc_string)
    yield from (o.domain for o in model.opset_import)
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output)
        yield from _of_nodes(function.node)


def _of_graph(graph: onnx.GraphProto) -> Iterator[str | bytes]:
    yield from (graph.name, graph.doc_string)
    yield from (t.name for t in graph.initializer)
    for info in (*graph.input, *graph.output, *graph.value_info):
        yield info.name
        yield from (d.dim_param for d in info.type.tensor_type.shape.dim)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[str | bytes]:
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (a.name for a in node.attribute)
        for graph in subgraphs(node):
            yield from _of_graph(graph)


__all__ = ["check_text"]
