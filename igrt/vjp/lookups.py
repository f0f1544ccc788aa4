"""Embedding lookups: the floats that token numbers select, in which paths run in their place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from igrt.graph import Graph
from igrt.roles import role_of
from igrt.specs import Lookup
from igrt.vjp.advice import MOVING, SIZES, stored

_KEEPING = MOVING | frozenset(
    "Add CategoryMapper Clip LabelEncoder Max Min Mod Mul Sub Where".split()
)
"""Operators behind which a token number is still one."""

_WHOLE = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})


def lookups(graph: Graph, name: str) -> list[Lookup]:
    """The embedding lookups that an input selects the rows of.

    A lookup is a Gather in a table of floats with two or more axes that depends on no input, or a
    OneHot, which is the lookup in the identity. A float input selects rows where it is made into
    whole numbers before anything is computed with it.

    Args:
        graph: Normalised model.
        name: The input.
    """
    spec = graph.spec(name)
    starts = _whole_numbers(graph, name) if spec.is_float else [name]
    found: dict[str, Lookup] = {}
    for tensor, node, shift in _behind(graph, starts):
        if not _looks_up(graph, node, tensor):
            continue
        axes = None if spec.rank is None else spec.rank + 1
        output = _in_shape(graph, node.output[0], axes)
        rows = _rows(graph, node)
        ids = None if rows is None or shift is None else rows - shift
        found.setdefault(output, Lookup(name, output, ids))
    return list(found.values())


def default_sources(graph: Graph) -> list[str]:
    """What is attributed to by default: float inputs, and embedding lookups behind the others.

    Lookups of positions and of the texts of a pair stay as they are where there are others.
    """
    found = {i.name: lookups(graph, i.name) for i in graph.inputs}
    floats = [i.name for i in graph.inputs if i.is_float and not found[i.name]]
    words = [x.tensor for n, made in found.items() if not role_of(n) for x in made]
    beside = [x.tensor for n, made in found.items() if role_of(n) for x in made]
    return list(dict.fromkeys([*floats, *(words or beside)]))


def _readers(graph: Graph, tensor: str) -> list[onnx.NodeProto]:
    return [graph.nodes[i] for i in graph.readers.get(tensor, ())]


def _whole_numbers(graph: Graph, name: str) -> list[str]:
    """The whole numbers made of a float input; none where anything else is made of it as well."""
    waiting, found = [name], list[str]()
    while waiting:
        for node in _readers(graph, waiting.pop()):
            outputs = [o for o in node.output if o]
            if node.op_type == "Cast" and graph.spec(outputs[0]).dtype in _WHOLE:
                found += outputs
            elif node.op_type in MOVING:
                waiting += outputs
            elif node.op_type not in SIZES:
                return []
    return found


def _behind(graph: Graph, starts: list[str]) -> Iterator[tuple[str, onnx.NodeProto, int | None]]:
    """Readers of token numbers, each with the tensor it reads and what was added to the numbers."""
    waiting: list[tuple[str, int | None]] = [(n, 0) for n in starts]
    seen = set[str]()
    while waiting:
        tensor, shift = waiting.pop(0)
        for node in _readers(graph, tensor):
            yield tensor, node, shift
            outputs = [o for o in node.output if o and not graph.spec(o).is_float]
            if node.op_type in _KEEPING and not seen.intersection(outputs):
                seen.update(outputs)
                waiting += [(o, _shifted(graph, node, tensor, shift)) for o in outputs]


def _shifted(graph: Graph, node: onnx.NodeProto, tensor: str, shift: int | None) -> int | None:
    """What has been added to token numbers behind a node; None where that is not one number."""
    if node.op_type in MOVING or shift is None:
        return shift
    added = graph.constant(node.input[1]) if len(node.input) > 1 else None
    if node.op_type == "Add" and node.input[1] == tensor:
        added = graph.constant(node.input[0])
    elif node.op_type not in ("Add", "Sub") or node.input[0] != tensor:
        return None
    if added is None or len(np.unique(added)) != 1:
        return None
    return shift + int(added.flat[0]) * (1 if node.op_type == "Add" else -1)


def _looks_up(graph: Graph, node: onnx.NodeProto, tensor: str) -> bool:
    """Whether a node takes token numbers to the rows of a table."""
    if node.domain not in ("", "ai.onnx") or not graph.spec(node.output[0]).is_float:
        return False
    if node.op_type == "OneHot":
        return node.input[0] == tensor and _axis(node, -1) == -1
    if node.op_type != "Gather" or node.input[1] != tensor:
        return False
    table = graph.spec(node.input[0])
    return (table.rank is None or table.rank > 1) and stored(graph, table.name)


def _rows(graph: Graph, node: onnx.NodeProto) -> int | None:
    """How many rows the table of a lookup has."""
    if node.op_type == "OneHot":
        depth = graph.constant(node.input[1])
        return None if depth is None else int(depth.flat[0])
    shape = graph.spec(node.input[0]).shape
    rows = shape[_axis(node, 0)] if shape else None
    return rows if isinstance(rows, int) else None


def _axis(node: onnx.NodeProto, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "axis"), default)


def _in_shape(graph: Graph, output: str, axes: int | None) -> str:
    """A lookup in the axes of its input: some exporters look up flat and reshape afterwards."""
    rank, found = graph.spec(output).rank, _readers(graph, output)
    if axes is None or rank in (None, axes) or len(found) != 1:
        return output
    shaped = found[0].output[0]
    same = found[0].op_type == "Reshape" and graph.spec(shaped).rank in (None, axes)
    return shaped if same else output


__all__ = ["default_sources", "lookups"]
