"""What a model is, and what can be explained in it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Set
from typing import Any

import numpy as np
import onnx

from igrt.errors import IgrtError, InputError
from igrt.explainer import Explainer
from igrt.graph import Graph, load
from igrt.graph.load import ModelLike
from igrt.graph.normalize import normalize
from igrt.graph.normalize.quantised.policy import is_quantised
from igrt.specs import Array, Dim, TensorSpec
from igrt.vjp.advice import cut_paths, lookups
from igrt.vjp.survey import missing_rules, survey

_MOST_OUTPUTS = 32
_LARGEST = 50_000_000
"""Elements up to which an input is made up to try the model."""

_UNKNOWN_SIZE = 8
"""Size tried for an axis whose size the model leaves open."""


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
        "rows": _rows(model, graph),
    }


def _qualified(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _explainable(graph: Graph) -> list[dict[str, Any]]:
    """One verdict per output and input, and per embedding lookup behind an input."""
    inputs: list[TensorSpec] = []
    for spec in graph.inputs:
        inputs += [spec, *map(graph.spec, [] if spec.is_float else lookups(graph, spec.name))]
    return [
        {"of": of.name, "wrt": wrt.name} | _verdict(graph, of, wrt)
        for of in graph.outputs[:_MOST_OUTPUTS]
        for wrt in dict.fromkeys(inputs)
    ]


def _verdict(graph: Graph, of: TensorSpec, wrt: TensorSpec) -> dict[str, Any]:
    if not of.is_float:
        return {"verdict": f"no: the output is {of.dtype}", "because": []}
    if not wrt.is_float:
        names = lookups(graph, wrt.name)
        because = [f"what it looks up is attributed to: {', '.join(names)}"] if names else []
        return {"verdict": f"no: the input is {wrt.dtype}", "because": because}
    full, found = survey(graph, of.name, [wrt.name])
    if found.missing:
        return {
            "verdict": "no: operators without a gradient rule",
            "because": missing_rules(full, found),
        }
    if found.reached:
        return {"verdict": "yes", "because": []}
    blockers = cut_paths(full, found)
    if blockers:
        return {"verdict": "no: locally constant on the way", "because": blockers[:8]}
    return {"verdict": "zero: the output does not depend on it", "because": []}


def _rows(model: ModelLike, graph: Graph) -> str:
    """Whether rows of a batch are independent, tried on random inputs."""
    rng = np.random.default_rng(0)
    try:
        rows = {s.shape[0] for s in graph.inputs if s.shape and isinstance(s.shape[0], str)}
        feeds = {s.name: _random(s, rng, rows) for s in graph.inputs}
        explainer = Explainer(model, provider="cpu")
        return explainer.batching_of(feeds)
    except IgrtError as error:
        return f"not tried ({error.message.splitlines()[0]})"


def _random(spec: TensorSpec, rng: np.random.Generator, rows: Set[Dim]) -> Array:
    """Numbers for an input; two along its first axis, and along others of the same name."""
    sizes = [2] + [
        d if isinstance(d, int) else 2 if d in rows else _UNKNOWN_SIZE
        for d in (spec.shape or ())[1:]
    ]
    if spec.shape and isinstance(spec.shape[0], int):
        sizes[0] = spec.shape[0]
    sizes = sizes if spec.shape else []
    if math.prod(sizes) > _LARGEST:
        raise InputError(f"input {spec} is too large to try")
    if spec.dtype in ("unknown", "sequence", "map", "optional"):
        raise InputError(f"input {spec} is no tensor of a known type")
    if spec.is_float:
        return rng.standard_normal(sizes).astype(np.float32)
    return np.zeros(sizes, dtype="object" if spec.dtype == "string" else spec.dtype)


__all__ = ["inspect"]
