"""`Maker`: a graph that grows by one node after the other.

Every node is run by `onnx.reference` in float64 as it is added: its arguments must lie well inside
the region where the operator is smooth, and its results must stay of order one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

OPSET = 20
LARGEST, HIGHEST, MARGIN = 64, 20.0, 0.02
"""Elements of a tensor, an element's absolute value, and its distance from where a slope jumps."""

_ELEM = {"f": TensorProto.DOUBLE, "i": TensorProto.INT64, "b": TensorProto.BOOL}


class Maker:
    """A graph that grows.

    Args:
        rng: What chooses.
        outer: The graph around a body; its tensors can be read.
    """

    def __init__(self, rng: np.random.Generator, outer: Maker | None = None) -> None:
        self.rng, self.outer = rng, outer
        self.nodes: list[onnx.NodeProto] = []
        self.stored: dict[str, np.ndarray] = {}
        self.own: dict[str, np.ndarray] = {}
        self.count: Iterator[int] = iter(range(10**6)) if outer is None else outer.count

    @property
    def values(self) -> dict[str, np.ndarray]:
        """Elements of all tensors that a node can read."""
        return (self.outer.values if self.outer else {}) | self.stored | self.own

    def fresh(self) -> str:
        return f"t{next(self.count)}"

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def choose(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def pick(self, fits: Callable[[np.ndarray], bool] = lambda a: True) -> str | None:
        """A float tensor, rather one of the last ones."""
        names = [n for n, a in self.values.items() if a.dtype.kind == "f" and fits(a)]
        names = [n for n in names if n not in self.values or not n.startswith("c")]
        if not names:
            return None
        late = names[-4:] if self.chance(0.7) else names
        return str(self.choose(late))

    def const(self, array: Any) -> str:
        """A stored tensor, or the output of a Constant node."""
        array = np.asarray(array)
        name = f"c{next(self.count)}"
        if self.outer is None and self.chance(0.7):
            self.stored[name] = array
        else:
            value = numpy_helper.from_array(array, name)
            self.nodes.append(helper.make_node("Constant", [], [name], value=value))
            self.own[name] = array
        return name

    def floats(self, *shape: int) -> str:
        return self.const(self.rng.uniform(-1, 1, shape))

    def ints(self, *numbers: int) -> str:
        return self.const(np.array(numbers, np.int64))

    def add(
        self, op_type: str, inputs: Sequence[str], outputs: int = 1, **given: Any
    ) -> str | None:
        """Append a node unless its results are too large; the name of its first output."""
        names = [self.fresh() for _ in range(outputs)]
        node = helper.make_node(op_type, inputs, names, **given)
        try:
            found = evaluate(node, names, self.values)
        except (RuntimeError, TypeError, ValueError):  # the reference cannot
            return None
        for array in found:
            if array.size > LARGEST or not np.isfinite(array).all():
                return None
            if array.dtype.kind == "f" and array.size and np.abs(array).max() > HIGHEST:
                return None
        self.nodes.append(node)
        self.own.update(zip(names, found, strict=True))
        return names[0]


def evaluate(
    node: onnx.NodeProto, names: Sequence[str], values: dict[str, np.ndarray]
) -> list[np.ndarray]:
    """Results of one node in float64."""
    read = [n for n in dict.fromkeys([*node.input, *_captured(node)]) if n]
    inputs = [helper.make_tensor_value_info(n, _ELEM[values[n].dtype.kind], None) for n in read]
    outputs = [helper.make_tensor_value_info(n, TensorProto.DOUBLE, None) for n in names]
    graph = helper.make_graph([node], "one", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    found = ReferenceEvaluator(model).run(None, {n: values[n] for n in read})
    return [np.asarray(a) for a in found]


def _captured(node: onnx.NodeProto) -> list[str]:
    found: list[str] = []
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            inside = {i.name for i in attribute.g.input}
            for inner in attribute.g.node:
                found += [n for n in (*inner.input, *_captured(inner)) if n not in inside]
                inside.update(inner.output)
    return found


def far(a: np.ndarray, from_: float = 0.0) -> bool:
    return bool((np.abs(a - from_) > MARGIN).all())


def axes_of(m: Maker, x: str) -> list[int]:
    rank = m.values[x].ndim
    axes = m.rng.permutation(rank)[: int(m.rng.integers(1, rank + 1))].tolist()
    return [a - rank if m.chance(0.5) else a for a in axes]
