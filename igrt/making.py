"""What is made of a model, each step a function of the model and JSON values alone.

`Derived` may remember what a step gives, so nothing else may decide it. A step returns a model and
what is known of it, in JSON values as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from igrt.errors import InputError
from igrt.graph import Graph, learn, load
from igrt.graph.layout import layouts
from igrt.graph.load import external_files
from igrt.graph.normalize import normalize
from igrt.graph.normalize.bfloat16 import widen_ends
from igrt.graph.normalize.quantised.policy import is_quantised
from igrt.graph.prune import prune
from igrt.graph.soften import soften
from igrt.parts import Parts
from igrt.source import Bytes
from igrt.specs import Sweep, TensorSpec
from igrt.stage import constant_gradient, free_batch, is_smooth, split
from igrt.stage.cut import cut
from igrt.stage.half import half as narrowed
from igrt.stage.lower import lower
from igrt.stage.several import Several
from igrt.stage.sized import sized_graph
from igrt.vjp import advice
from igrt.vjp.augment import differentiable, differentiate
from igrt.vjp.lookups import lookups
from igrt.vjp.slope import slope as slope_of

Made = tuple[onnx.ModelProto, dict[str, Any]]


def loaded(given: Bytes) -> Made:
    """The model as it is in its file."""
    model = load(given).model
    return model, {
        "external": external_files(model),
        "onnx": onnx.__version__,
        "opset": Graph(model).opset,
        "quantised": is_quantised(model),
    }


def normal(model: onnx.ModelProto, *, quantised: str) -> Made:
    """The model in its normal form."""
    return widen_ends(normalize(model, quantised)), {}


def softened(model: onnx.ModelProto, *, beta: float) -> Made:
    """A normal model with softplus in place of Relu."""
    soft, nodes = soften(model, beta)
    return soft, {"nodes": nodes}


def explained(model: onnx.ModelProto, *, of: str | None, wrt: Sequence[str] | None) -> Made:
    """The part of a normal model from the attributed tensors to the explained output.

    Raises:
        InputError: If `of` or `wrt` name no tensor that can be explained or attributed to.
        UnsupportedOperator: If operators on the way have no rule; all are named.
        NoGradientPath: If the gradient would be zero by construction.
    """
    graph = Graph(model)
    found = differentiable(model, wrt=wrt, of=of)
    for spec in (found.of, *found.wrt):
        if spec.dtype == "bfloat16":  # inputs and outputs were widened
            raise InputError(
                f"{spec} is an inner bfloat16 tensor, which NumPy cannot hold",
                hint="name a neighbour in float32, an input or an output; or use igrt.augment",
            )
    names = [s.name for s in found.wrt]
    inner = [n for n in names if n in graph.producers]
    part = cut(model, names, found.of.name) if inner else prune(model, [found.of.name])
    return part, {
        "inputs": [_listed(s) for s in graph.inputs],
        "of": _listed(found.of),
        "wrt": [_listed(s) for s in found.wrt],
        "inner": inner,
        "lookups": [
            [x.input, x.tensor, x.ids]
            for i in graph.inputs
            for x in lookups(graph, i.name)
            if x.tensor in names
        ],
        "layouts": layouts(graph, [n for n in names if n not in inner]),
        "cut": advice.cut_paths(found.graph, found.found),
        "fed": [s.name for s in Graph(part).inputs],
    }


def pruned(model: onnx.ModelProto, *, outputs: Sequence[str], keep_inputs: bool = True) -> Made:
    """Only what some outputs need."""
    part = prune(model, outputs, keep_inputs=keep_inputs)
    return part, {"fed": [_listed(s) for s in Graph(part).inputs]}


def exposing(model: onnx.ModelProto, *, names: Sequence[str]) -> Made:
    """The model with these tensors as its outputs."""
    return learn.exposing(model, list(names)), {}


def ranked(model: onnx.ModelProto, *, ranks: Mapping[str, Sequence[Any]]) -> Made:
    """The model with the element type and number of axes of some tensors declared."""
    return learn.with_ranks(model, {n: (str(t), int(k)) for n, (t, k) in ranks.items()}), {}


def freed(model: onnx.ModelProto, *, names: Sequence[str]) -> Made:
    """The model with the batch axis of some inputs free."""
    return free_batch(model, frozenset(names)), {}


def gradients(
    model: onnx.ModelProto,
    *,
    of: str,
    wrt: Sequence[str],
    rules: str,
    epsilon: float,
    also: Sequence[str],
) -> Made:
    """The gradient graph, and nothing that the gradients do not need.

    onnxruntime runs every node, so the explained output itself goes, too.
    """
    augmented = differentiate(model, wrt=wrt, of=of, sweep=Sweep(rules, epsilon))
    lean = prune(augmented.model, [*augmented.gradients.values(), *also])
    return lean, {
        "dtype": augmented.of.dtype,
        "cotangent": augmented.cotangent,
        "gradients": dict(augmented.gradients),
        "references": dict(augmented.references),
        "fed": [s.name for s in Graph(lean).inputs],
        "constant": constant_gradient(lean, wrt),
        "constant_from_zero": constant_gradient(lean, wrt, from_zero=True),
        "smooth": is_smooth(model, wrt),
    }


def slope(model: onnx.ModelProto, *, gradients: Mapping[str, str], batched: bool) -> Made:
    """A gradient graph with the slope along directions in place of the gradients."""
    made = slope_of(model, gradients, batched=batched)
    return made.model, {"of": made.of, "directions": dict(made.directions)}


def half(model: onnx.ModelProto, *, cotangent: str, gradients: Sequence[str]) -> Made:
    """A gradient graph with its products in float16."""
    return narrowed(model, cotangent, gradients), {}


def lowered(model: onnx.ModelProto) -> Made:
    """A gradient graph as onnxruntime runs it fastest."""
    return lower(model), {}


def staged(model: onnx.ModelProto, *, parts: Mapping[str, Any], name: str) -> Made:
    """A part of a gradient graph that is split along paths."""
    part = split.part(model, Parts(**parts), name)
    return part, {
        "fed": [i.name for i in part.graph.input],
        "gives": [o.name for o in part.graph.output],
    }


def several(
    model: onnx.ModelProto,
    *,
    shapes: Mapping[str, Sequence[int]],
    shared: Sequence[str],
    cotangent: str,
    outputs: Sequence[str],
) -> Made:
    """A gradient graph in which several cotangents share the forward pass of a point."""
    sized = sized_graph(
        model,
        {n: tuple(s) for n, s in shapes.items()},
        moving=[],
        shared=shared,
        late=[cotangent],
        batched=True,
        any_rows=True,
    )
    plan = Several(sized, tuple(outputs), cotangent)
    if plan.refused:
        return model, {"refused": plan.refused}
    once, gathered = plan.costs
    facts = {"once": once, "gathered": gathered, "nodes": len(plan.once), "copied": plan.copied}
    return plan.model, {"refused": "", **facts}


def _listed(spec: TensorSpec) -> list[Any]:
    return [spec.name, spec.dtype, None if spec.shape is None else list(spec.shape)]


__all__ = [
    "explained",
    "exposing",
    "freed",
    "gradients",
    "half",
    "loaded",
    "lowered",
    "normal",
    "pruned",
    "ranked",
    "several",
    "slope",
    "softened",
    "staged",
]
