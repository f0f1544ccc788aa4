"""What a model is, and what can be explained in it."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import onnx

from igrt.errors import IgrtError, InputError
from igrt.explainer import Explainer
from igrt.graph import Graph, load
from igrt.graph.normalize import normalize
from igrt.graph.normalize.quantised.policy import is_quantised
from igrt.source import ModelLike
from igrt.specs import Array, Feeds, TensorSpec
from igrt.vjp import advice
from igrt.vjp.lookups import lookups
from igrt.vjp.survey import missing_rules, survey

_MOST_OUTPUTS = 32
_LARGEST = 50_000_000
"""Elements up to which an input is made up to try the model."""

_MOST_NODES = 8
"""Nodes named as the reason of one verdict."""

_UNKNOWN_SIZES = (8, 64, 512)
"""Sizes tried for axes whose size the model leaves open, one after the other."""


def inspect(model: ModelLike) -> dict[str, Any]:
    """Inputs, outputs, opset, operators, what can be explained, and whether rows are independent.

    Raises:
        ModelLoadError: If the model cannot be read.
    """
    source = load(model)
    proto = source.model
    graph = Graph(normalize(proto))
    operators = Counter(_qualified(n) for n in proto.graph.node)
    producer = f"{proto.producer_name} {proto.producer_version}".strip()
    return {
        "model": source.name,
        "sha256": source.sha256,
        "producer": producer,
        "ir_version": proto.ir_version,
        "opset": Graph(proto).opset,
        "nodes": len(proto.graph.node),
        "inputs": [str(s) for s in graph.inputs],
        "outputs": [str(s) for s in graph.outputs],
        "operators": dict(operators.most_common()),
        "explainable": _explainable(graph),
        "quantised": is_quantised(proto),
        **_tried(model, graph),
    }


def _qualified(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _explainable(graph: Graph) -> list[dict[str, Any]]:
    """One verdict per output and input; for token numbers, per lookup behind them."""
    return [
        {"of": of.name, "wrt": wrt.name} | _verdict(graph, of, wrt)
        for of in graph.outputs[:_MOST_OUTPUTS]
        for wrt in (*graph.inputs, *_looked_up(graph))
    ]


def _looked_up(graph: Graph) -> list[TensorSpec]:
    """The embedding lookups that stand for inputs of whole numbers or texts."""
    found = dict.fromkeys(x.tensor for i in graph.inputs for x in lookups(graph, i.name))
    return [graph.spec(name) for name in found]


def _verdict(graph: Graph, of: TensorSpec, wrt: TensorSpec) -> dict[str, Any]:
    """What comes of one pair: `because` lists nodes, `instead` says what works."""
    if not of.is_float:
        sources = [s.name for s in _looked_up(graph)] + [i.name for i in graph.inputs if i.is_float]
        hint = advice.in_front(graph, of.name, [wrt.name] if wrt.is_float else sources)
        return _said(f"no: the output is {of.dtype}", instead=hint)
    if of.name in graph.initializers:
        return _said("no: the output is a stored constant")
    if not wrt.is_float:
        behind = advice.later(graph, of.name, [wrt.name])
        hint = f"attribute to what is made of it: {advice.wrt_option(behind)}" if behind else ""
        return _said(f"no: the input is {wrt.dtype}", instead=hint)
    full, found = survey(graph, of.name, [wrt.name])
    if found.missing:
        hint = advice.instead(full, of.name, [wrt.name], found)
        return _said("no: operators without a gradient rule", missing_rules(full, found), hint)
    ends = advice.cut_paths(full, found)
    if found.reached:
        return _said("yes" if not ends else f"yes, but {_paths(ends)}")
    if ends:
        hint = advice.instead(full, of.name, [wrt.name], found)
        return _said("no: locally constant on the way", ends[:_MOST_NODES], hint)
    return _said("zero: the output does not depend on it")


def _paths(ends: list[str]) -> str:
    """How many paths end on the way, and where."""
    more = f" and {len(ends) - 3} more" if len(ends) > 3 else ""
    paths = "some paths end" if len(ends) > 1 else "a path ends"
    return f"{paths} at the locally constant {', '.join(ends[:3])}{more}"


def _said(verdict: str, because: list[str] | None = None, instead: str = "") -> dict[str, Any]:
    said: dict[str, Any] = {"verdict": verdict, "because": because or []}
    return said | {"instead": instead} if instead else said


def _tried(model: ModelLike, graph: Graph) -> dict[str, Any]:
    """Whether rows of a batch are independent, and what is staged, tried on random inputs."""
    rng = np.random.default_rng(0)
    try:
        explainer = Explainer(model, provider="cpu")
    except InputError as error:
        return {"rows": f"not tried ({error.message.splitlines()[0]})", "staging": {}}
    except IgrtError:
        return {"rows": "not tried, as nothing can be explained by default", "staging": {}}
    for size in _UNKNOWN_SIZES:
        try:
            inputs = {s.name: _random(s, rng, size) for s in graph.inputs}
            rows = explainer.batching_of(inputs)
        except InputError as error:
            reason = error.message.splitlines()[0]
        except IgrtError:  # a size that does not fit the model's own
            reason = f"inputs with {', '.join(map(str, _UNKNOWN_SIZES))} along open axes do not run"
        else:
            return {"rows": rows, "staging": _staging(explainer, inputs)}
    return {"rows": f"not tried ({reason})", "staging": {}}


def _staging(explainer: Explainer, inputs: Feeds) -> dict[str, str]:
    try:
        return explainer.staging_of(inputs)
    except IgrtError:  # infinite for made-up inputs
        return {}


def _random(spec: TensorSpec, rng: np.random.Generator, size: int) -> Array:
    sizes = [2] + [d if isinstance(d, int) else size for d in (spec.shape or ())[1:]]
    if spec.shape and isinstance(spec.shape[0], int):
        sizes[0] = spec.shape[0]
    sizes = sizes if spec.shape else []
    if math.prod(sizes) > _LARGEST:
        raise InputError(f"input {spec} is too large to try")
    if spec.dtype in ("unknown", "sequence", "map", "optional"):
        raise InputError(f"input {spec} is no tensor of a known type")
    if spec.is_float:
        return rng.standard_normal(sizes).astype(np.float32)
    return np.zeros(sizes, dtype="U1" if spec.dtype == "string" else spec.dtype)


__all__ = ["inspect"]
