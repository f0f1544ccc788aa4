"""Sequences and optionals whose elements are known when the graph is built, taken apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from igrt.graph.view import Graph, all_inputs

_USERS = frozenset(
    {"ConcatFromSequence", "OptionalGetElement", "SequenceAt", "SequenceLength", "SplitToSequence"}
)


def unpack_sequences(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with Split, Concat and Identity in place of sequences, wherever that is possible.

    A sequence stays where its length, or the position of an element, is known at run time only,
    and where a body or an output of the model is one.
    """
    nodes = model.graph.node
    if not any(n.op_type in _USERS and n.domain in ("", "ai.onnx") for n in nodes):
        return model
    work = _Unpacking(Graph(model))
    for node in list(nodes):
        work.visit(node)
    kept = _without_unused(work, {o.name for o in model.graph.output})
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


class _Unpacking:
    """The nodes that replace those of a graph, and the elements of the sequences seen so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.elements: dict[str, list[str]] = {}
        self._taken = set(graph.names)
        self._rules: dict[str, Callable[[onnx.NodeProto], bool]] = {
            "ConcatFromSequence": self._concat,
            "Identity": self._identity,
            "Optional": self._construct,
            "OptionalGetElement": partial(self._at, position=0),
            "SequenceAt": self._at,
            "SequenceConstruct": self._construct,
            "SequenceEmpty": self._construct,
            "SequenceErase": self._erase,
            "SequenceInsert": self._insert,
            "SequenceLength": self._length,
            "SplitToSequence": self._split,
        }

    def visit(self, node: onnx.NodeProto) -> None:
        """Replace a node, or keep it."""
        rule = self._rules.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None or not rule(node):
            self.nodes.append(node)

    # -- each says whether the node has been replaced ---------------------------------------------

    def _construct(self, node: onnx.NodeProto) -> bool:
        self.elements[node.output[0]] = list(node.input)
        if node.op_type == "Optional" and len(node.input) != 1:
            del self.elements[node.output[0]]
        return False

    def _identity(self, node: onnx.NodeProto) -> bool:
        if node.input[0] in self.elements:
            self.elements[node.output[0]] = self.elements[node.input[0]]
        return False

    def _insert(self, node: onnx.NodeProto) -> bool:
        elements, position = self.elements.get(node.input[0]), self._position(node, 2)
        if elements is not None and position is not None:
            place = len(elements) if position == _END else position
            self.elements[node.output[0]] = [*elements[:place], node.input[1], *elements[place:]]
        return False

    def _erase(self, node: onnx.NodeProto) -> bool:
        elements, position = self.elements.get(node.input[0]), self._position(node, 1)
        if elements and position is not None:
            place = len(elements) - 1 if position == _END else position % len(elements)
            self.elements[node.output[0]] = elements[:place] + elements[place + 1 :]
        return False

    def _at(self, node: onnx.NodeProto, position: int | None = None) -> bool:
        elements = self.elements.get(node.input[0])
        if position is None:
            position = self._position(node, 1)
        elif elements is None and self.graph.spec(node.input[0]).dtype not in (
            "optional",
            "sequence",
            "unknown",
        ):
            elements = [node.input[0]]  # from opset 18, a tensor is an optional that is there
        if elements is None or position is None or not -len(elements) <= position < len(elements):
            return False
        self._add("Identity", [elements[position]], list(node.output), node.name)
        return True

    def _length(self, node: onnx.NodeProto) -> bool:
        elements = self.elements.get(node.input[0])
        if elements is None:
            return False
        self._constant(np.array(len(elements)), node.output[0])
        return True

    def _concat(self, node: onnx.NodeProto) -> bool:
        elements = self.elements.get(node.input[0])
        if not elements:
            return False
        axis, new = _attribute(node, "axis", 0), _attribute(node, "new_axis", 0)
        if new:
            axes = self._constant(np.array([axis]))
            elements = [self._one("Unsqueeze", [e, axes], node.output[0]) for e in elements]
        self._add("Concat", elements, list(node.output), node.name, axis=axis)
        return True

    def _split(self, node: onnx.NodeProto) -> bool:
        axis, keep = _attribute(node, "axis", 0), _attribute(node, "keepdims", 1)
        sizes = self._sizes(node, axis)
        if not sizes:
            return False
        pieces = [self._fresh(node.output[0]) for _ in sizes]
        split = self._constant(np.array(sizes))
        self._add("Split", [node.input[0], split], pieces, "", axis=axis)
        if len(node.input) < 2 and not keep:
            axes = self._constant(np.array([axis]))
            pieces = [self._one("Squeeze", [p, axes], node.output[0]) for p in pieces]
        self.elements[node.output[0]] = pieces
        # for whoever still wants the sequence itself
        self._add("SequenceConstruct", pieces, list(node.output), node.name)
        return True

    def _sizes(self, node: onnx.NodeProto, axis: int) -> list[int] | None:
        """Sizes of the pieces, if their number is known."""
        shape = self.graph.spec(node.input[0]).shape
        size = shape[axis] if shape is not None else None
        given = self.graph.constant(node.input[1]) if len(node.input) > 1 else np.array(1)
        if given is None:
            return None
        if given.ndim:
            return [int(s) for s in given]
        if not isinstance(size, int) or given <= 0:
            return None
        step = int(given)
        return [min(step, size - start) for start in range(0, size, step)]

    # -- inside -----------------------------------------------------------------------------------

    def _position(self, node: onnx.NodeProto, index: int) -> int | None:
        """A position in a sequence, `_END` if none is given, None if it is not known."""
        if len(node.input) <= index or not node.input[index]:
            return _END
        known = self.graph.constant(node.input[index])
        return None if known is None else int(known.item())

    def _fresh(self, base: str) -> str:
        count = 0
        while (name := f"{base}/{count}") in self._taken:
            count += 1
        self._taken.add(name)
        return name

    def _constant(
        self, array: np.ndarray[tuple[int, ...], np.dtype[np.int64]], name: str = ""
    ) -> str:
        name = name or self._fresh("sizes")
        self._add("Constant", [], [name], "", value=numpy_helper.from_array(array))
        return name

    def _one(self, op_type: str, inputs: Sequence[str], base: str) -> str:
        name = self._fresh(base)
        self._add(op_type, inputs, [name], "")
        return name

    def _add(
        self, op_type: str, inputs: Sequence[str], outputs: list[str], name: str, **given: Any
    ) -> None:
        self.nodes.append(helper.make_node(op_type, list(inputs), outputs, name=name, **given))


_END = 2**62
"""Stands for the place behind the last element, or the last one."""


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _without_unused(work: _Unpacking, outputs: set[str]) -> list[onnx.NodeProto]:
    """The nodes, without sequences that nobody reads: onnxruntime would build them."""
    read, kept = set(outputs), []
    for node in reversed(work.nodes):
        if work.elements.keys() >= set(node.output) and not read.intersection(node.output):
            continue
        read.update(all_inputs(node))
        kept.append(node)
    return kept[::-1]


__all__ = ["unpack_sequences"]
