"""`Split`: a gradient graph in three, of which only one runs at every step.

Along the path z(α) = b + α·(x - b), with the gradient graph g(z):

- the *prologue* gives what is constant or affine in α, at x and at b;
- the *step* is fed with c(α) = c(0) + α·(c(1) - c(0)) in its place, and gives the gradient, or
  what the gradient is linear in;
- the *epilogue* turns a sum of the latter into the sum of the gradients.

All three are exact: Σ w·g(z(α)) = epilogue(Σ w·step(c(α))) but for rounding.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from igrt.graph.emit import PREFIX
from igrt.graph.onnx_types import elem_type, value_info
from igrt.graph.view import all_inputs
from igrt.specs import TensorSpec
from igrt.stage.cost import COPIED, MOVED, SUMMED
from igrt.stage.gradient import GradientGraph
from igrt.stage.operators import SIZES, attributes_of
from igrt.stage.regions import Back, Front, back, front

_WORTHWHILE = 0.02
"""Part of the cost of a step that must be saved: a prologue and an epilogue are not free."""


@final
@dataclass(frozen=True, eq=False)
class Choice:
    """What would run where, and what that saves.

    Args:
        of: The gradient graph.
        gradients: Its outputs.
        front: What runs at the ends of a path.
        back: What runs on the sum over it.
    """

    of: GradientGraph
    gradients: tuple[str, ...]
    front: Front
    back: Back

    @cached_property
    def saved(self) -> float:
        """Part of the cost of a step that is saved, as estimated."""
        of = self.of
        whole = sum(of.cost(n) for n in of.graph.nodes)
        whole += MOVED * sum(map(of.bytes, of.moving))
        whole += SUMMED * sum(map(of.bytes, self.gradients))
        steps = sum(of.cost(of.graph.nodes[i]) for i in self.stays)
        steps += MOVED * sum(map(of.bytes, self.front.moving))
        steps += COPIED * sum(map(of.bytes, self.front.fixed))
        steps += SUMMED * sum(map(of.bytes, self.back.summed))
        return 1 - steps / whole if whole else 0.0

    @cached_property
    def stays(self) -> list[int]:
        """Nodes that run at every step, in order."""
        return sorted(self.of.graph.ancestors(self.back.summed) - self.front.nodes)

    @property
    def pays(self) -> bool:
        """Whether a step without these nodes is worth the two runs more."""
        return bool(self.front.moving) and self.saved >= _WORTHWHILE

    def __str__(self) -> str:
        if not self.front.nodes and not self.back.nodes:
            return "nothing to stage: no part of the gradient graph is constant or affine"
        if not self.pays:
            return f"nothing to stage: it would save {self.saved:.1%} of a step"
        parts = []
        if self.front.nodes:
            cut = [n for n in (*self.front.moving, *self.front.fixed) if n not in self.of.fed]
            parts.append(f"prologue: {_count(self.front.nodes)} up to {_named(cut)}")
        if self.back.nodes:
            parts.append(f"epilogue: {_count(self.back.nodes)} from the gradient on")
        return "; ".join([*parts, f"saves about {self.saved:.0%} of a step"])


def _count(nodes: Collection[int]) -> str:
    return "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(f"`{n}`" for n in names[:2]) + more


def choose(of: GradientGraph, gradients: Sequence[str], *, sums: bool) -> Choice:
    """The cheapest way to run a gradient graph along paths.

    Args:
        of: The gradient graph.
        gradients: Its outputs.
        sums: Whether sums over the path are all that is asked for, so that there may be an
            epilogue.
    """
    behind = back(of, gradients) if sums else Back(frozenset(), tuple(gradients))
    return Choice(of, tuple(gradients), front(of, behind.summed), behind)


@final
@dataclass(frozen=True)
class Split:
    """A gradient graph in three.

    Args:
        prologue: Gives what steps are fed with that is no input; None where that is nothing.
        step: Gives `summed`.
        epilogue: Gives gradients from `summed`; None where steps give these themselves.
        moving: Tensors that steps are fed with along the path.
        fixed: Tensors that steps are fed with per example.
        common: Tensors that steps are fed with as they are.
        sizes: Tensors whose sizes steps are fed with (`sizes_name`).
        summed: What steps give.
    """

    prologue: onnx.ModelProto | None
    step: onnx.ModelProto
    epilogue: onnx.ModelProto | None
    moving: tuple[str, ...]
    fixed: tuple[str, ...]
    common: tuple[str, ...]
    sizes: tuple[str, ...]
    summed: tuple[TensorSpec, ...]


def split(choice: Choice) -> Split:
    """Build the models."""
    of, head, summed = choice.of, choice.front, choice.back.summed
    nodes = [of.graph.nodes[i] for i in choice.stays]
    cut = [*head.moving, *head.fixed, *head.common]
    made = {o for i in head.nodes for o in of.graph.nodes[i].output} | of.moving
    sized = sorted({n.input[0] for n in nodes if n.op_type in SIZES} & made - set(cut))
    step = [n for name in sized for n in _rebuilt(of, name, head.moving[0])]
    for node in nodes:
        rebuilt = node.op_type in SIZES and node.input[0] in sized
        step += _of_shape(of, node) if rebuilt else [node]
    inner = [n for n in cut if n not in of.fed]
    before = [of.graph.nodes[i] for i in sorted(of.graph.ancestors([*inner, *sized]))]
    before += [
        helper.make_node("Shape", [n], [sizes_name(n)], start=int(of.batched)) for n in sized
    ]
    after = [g for g in choice.gradients if g not in summed]
    return Split(
        _model(of, before, of.fed, [*inner, *map(sizes_name, sized)]) if inner or sized else None,
        _model(of, step, [*cut, *(of.fed - of.moving), *map(sizes_name, sized)], summed),
        _model(of, of.graph.nodes, [*summed, *of.fed], after) if after else None,
        *(head.moving, head.fixed, head.common, tuple(sized)),
        tuple(of.graph.spec(n) for n in summed),
    )


def sizes_name(name: str) -> str:
    """Name of the sizes of a tensor, without the first axis where that has rows."""
    return f"{PREFIX}sizes/{name}"


def _rebuilt(of: GradientGraph, name: str, alike: str) -> list[onnx.NodeProto]:
    """Nodes that give the shape of a tensor which the step does not have."""
    shape, rows = f"{PREFIX}shape/{name}", f"{PREFIX}rows/{name}"
    if not of.batched:
        return [helper.make_node("Identity", [sizes_name(name)], [shape])]
    return [
        helper.make_node("Shape", [alike], [rows], start=0, end=1),
        helper.make_node("Concat", [rows, sizes_name(name)], [shape], axis=0),
    ]


def _of_shape(of: GradientGraph, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """A node that reads the sizes of a tensor, on the rebuilt shape of that."""
    shape, output = f"{PREFIX}shape/{node.input[0]}", node.output[0]
    if node.op_type == "Size":
        return [helper.make_node("ReduceProd", [shape], [output], keepdims=0)]
    given = attributes_of(node)
    axes = range(len(of.graph.spec(node.input[0]).shape or ()))
    chosen = np.asarray(axes[given.get("start", 0) : given.get("end")], dtype=np.int64)
    at = f"{PREFIX}axes/{output}"
    constant = helper.make_node("Constant", [], [at], value=numpy_helper.from_array(chosen))
    return [constant, helper.make_node("Gather", [shape, at], [output], axis=0)]


def _model(
    of: GradientGraph,
    nodes: Sequence[onnx.NodeProto],
    feeds: Collection[str],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """The part of a gradient graph from some tensors to others.

    Args:
        of: The gradient graph.
        nodes: Nodes to choose from, in topological order.
        feeds: Tensors that may become inputs.
        outputs: Outputs.
    """
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if not (needed - set(feeds)).isdisjoint(node.output):
            kept.append(node)
            needed.update(all_inputs(node))
    old = of.model.graph
    model = onnx.ModelProto(ir_version=of.model.ir_version)
    model.opset_import.extend(of.model.opset_import)
    model.functions.extend(of.model.functions)
    graph = model.graph
    graph.name = old.name
    graph.node.extend(reversed(kept))
    graph.initializer.extend(t for t in old.initializer if t.name in needed)
    graph.sparse_initializer.extend(t for t in old.sparse_initializer if t.values.name in needed)
    graph.input.extend(i for i in old.input if i.name in of.fed & needed)
    inner = [n for n in dict.fromkeys(feeds) if n in needed and n not in of.fed]
    graph.input.extend(_declared(of, n) for n in inner)
    graph.output.extend(onnx.ValueInfoProto(name=n) for n in outputs)
    ends = {*inner, *outputs}
    graph.value_info.extend(v for v in old.value_info if v.name in needed and v.name not in ends)
    for output in graph.output:
        dtype = of.graph.spec(output.name).dtype if output.name in of.graph.producers else "int64"
        output.type.tensor_type.elem_type = elem_type(dtype)
    return model


def _declared(of: GradientGraph, name: str) -> onnx.ValueInfoProto:
    if name not in of.graph.producers:
        return value_info(TensorSpec(name, "int64", (None,)))
    spec = of.graph.spec(name)
    shape = spec.shape or ()
    if not of.still:
        shape = (None,) * len(shape)
    elif of.more is not None and of.by_rows(name):
        shape = (None, *shape[1:])
    return value_info(TensorSpec(name, spec.dtype, shape))


__all__ = ["Choice", "Split", "choose", "sizes_name", "split"]
