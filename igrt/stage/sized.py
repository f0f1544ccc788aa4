"""`SizedGraph`: a gradient graph with what is known of its tensors along a path."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

import onnx

from igrt.graph import Graph
from igrt.graph.skeleton import skeleton
from igrt.graph.view import all_inputs
from igrt.stage.along import Kind, along
from igrt.stage.cost import node_cost, tensor_bytes
from igrt.stage.operators import SIZES

_NO_ARRAYS = frozenset("bfloat16 sequence map optional string unknown".split())
_WHOLE = frozenset("bool int32 int64".split())


@final
@dataclass(frozen=True, eq=False)
class SizedGraph:
    """A gradient graph, with what is known of its tensors.

    Args:
        model: The gradient graph.
        graph: Its skeleton, with sizes for some number of rows.
        more: The same with one row more; None where rows run one by one.
        batched: Whether its inputs have a batch axis.
        moving: Inputs that move along the path.
        shared: Inputs without a batch axis.
        late: Inputs that differ between paths of one example: cotangents, references.
    """

    model: onnx.ModelProto
    graph: Graph
    more: Graph | None
    batched: bool
    moving: frozenset[str]
    shared: frozenset[str]
    late: frozenset[str]

    @cached_property
    def weights(self) -> frozenset[str]:
        """Stored tensors."""
        return frozenset(
            [t.name for t in self.model.graph.initializer]
            + [t.values.name for t in self.model.graph.sparse_initializer]
        )

    @cached_property
    def fed(self) -> frozenset[str]:
        """Inputs."""
        return frozenset(i.name for i in self.model.graph.input) - self.weights

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """What each tensor does along the path; constant where it is not listed."""
        return along(self.graph, self.moving)

    def kind(self, name: str) -> Kind:
        """What one tensor does along the path."""
        return self.kinds.get(name, Kind.CONSTANT)

    @cached_property
    def behind(self) -> dict[str, frozenset[str]]:
        """Inputs that each tensor depends on, other than by their sizes."""
        return self._spread({n: frozenset([n]) for n in self.fed}, through_sizes=False)

    @cached_property
    def sizes(self) -> dict[str, frozenset[str]]:
        """Tensors whose sizes each tensor depends on, directly: not by another one of these."""
        return self._spread({}, through_sizes=True)

    def _spread(
        self, found: dict[str, frozenset[str]], *, through_sizes: bool
    ) -> dict[str, frozenset[str]]:
        depend = set(self.fed)
        for node in self.graph.nodes:
            names = all_inputs(node)
            if depend.isdisjoint(names):
                continue
            outputs = [o for o in node.output if o]
            depend.update(outputs)
            if node.op_type in SIZES:
                reached = frozenset(names) if through_sizes else frozenset()
            else:
                reached = frozenset().union(*(found.get(n, frozenset()) for n in names))
            if reached:
                found.update(dict.fromkeys(outputs, reached))
        return found

    def depends(self, name: str) -> bool:
        """Whether a tensor depends on what is fed at all."""
        return bool(self.behind.get(name) or self.sizes.get(name))

    def arithmetic(self, node: onnx.NodeProto) -> bool:
        """Whether a node computes sizes: whole numbers made of nothing but sizes."""
        outputs = [o for o in node.output if o]
        return all(
            o in self.sizes and o not in self.behind and self.graph.spec(o).dtype in _WHOLE
            for o in outputs
        )

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a tensor; None where it is not known, or where NumPy has no such array."""
        return None if self.graph.spec(name).dtype in _NO_ARRAYS else _sizes(self.graph, name)

    def by_rows(self, name: str) -> bool:
        """Whether a tensor has one row per row of the inputs, as far as its sizes tell."""
        shape = self.shape(name)
        if shape is None or not self.batched:
            return shape is not None
        if self.more is None:
            return shape[:1] == (1,)
        return shape[:1] == (_ROWS,) and _sizes(self.more, name) == (_ROWS + 1, *shape[1:])

    def scales(self, name: str) -> tuple[bool, ...] | None:
        """Which axes of a tensor are as many times as long as there are rows.

        None where sizes do not tell, or where rows run one by one.
        """
        few, more = self.shape(name), None if self.more is None else _sizes(self.more, name)
        if few is None or more is None or len(few) != len(more):
            return None
        pairs = list(zip(few, more, strict=True))
        if not all(a == b or a * (_ROWS + 1) == b * _ROWS for a, b in pairs):
            return None
        return tuple(a != b for a, b in pairs)

    def row(self, name: str) -> tuple[int, ...]:
        """Shape of a row of a tensor that has rows."""
        return (self.shape(name) or ())[int(self.batched) :]

    @cached_property
    def still(self) -> bool:
        """Whether sizes are those of every call: all that is fed has them declared."""
        for info in self.model.graph.input:
            dims = list(info.type.tensor_type.shape.dim)[int(self.batched) :]
            if info.name in self.fed and not all(d.HasField("dim_value") for d in dims):
                return False
        return True

    @property
    def rows(self) -> int:
        """Rows that sizes and costs are for."""
        return 1 if self.more is None or not self.batched else _ROWS

    def bytes(self, name: str) -> float:
        """Size of a tensor, per row."""
        return tensor_bytes(self.graph.spec(name)) / self.rows

    def cost(self, node: onnx.NodeProto) -> float:
        """What a node costs, per row; what weights alone decide is computed once, on loading."""
        if not any(self.depends(o) for o in node.output):
            return 0.0
        return node_cost(node, self.graph.spec, self.weights) / self.rows


_ROWS = 2


def _sizes(graph: Graph, name: str) -> tuple[int, ...] | None:
    shape = graph.spec(name).shape
    sizes = tuple(d for d in shape or () if isinstance(d, int))
    return sizes if shape is not None and len(sizes) == len(shape) else None


def sized_graph(
    model: onnx.ModelProto,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    moving: Collection[str],
    shared: Collection[str],
    late: Collection[str],
    batched: bool,
    any_rows: bool,
) -> SizedGraph:
    """Look at a gradient graph with sizes.

    Args:
        model: The gradient graph.
        shapes: Shape of each input and output, with a batch of one row.
        moving: Inputs that move along the path.
        shared: Inputs without a batch axis.
        late: Inputs that differ between paths of one example.
        batched: Whether the inputs have a batch axis.
        any_rows: Whether they take more than one row.
    """

    def sized(rows: int) -> Graph:
        return skeleton(model, {n: s if n in shared else (rows, *s[1:]) for n, s in shapes.items()})

    free = batched and any_rows
    return SizedGraph(
        model,
        sized(_ROWS) if free else skeleton(model, shapes),
        sized(_ROWS + 1) if free else None,
        batched,
        frozenset(moving),
        frozenset(shared),
        frozenset(late),
    )


__all__ = ["SizedGraph", "sized_graph"]
