"""The weight-randomisation sanity check: does the attribution depend on what the model learnt?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import onnx
from onnx import numpy_helper

from igrt.errors import InputError
from igrt.graph import Graph
from igrt.graph.normalize import normalize
from igrt.graph.view import all_inputs, subgraphs
from igrt.specs import Array
from igrt.verify.check import Check

Attributed = Callable[[onnx.ModelProto], Array]
"""Attributions by a model with other weights, [rows, features], of the same rows and targets."""

How = Literal["permute", "redraw"]

STAGES = 6
"""Most steps of the cascade, by default."""

LIMIT = 0.71
"""√½: below it, under half of the variance of the ranks is what it was."""

_WEIGHTED = frozenset(
    "Conv ConvTranspose ConvInteger DeformConv Einsum GRU Gather Gemm LSTM LinearClassifier"
    " LinearRegressor MatMul MatMulInteger QLinearConv QLinearMatMul RNN".split()
)
"""Operators whose stored operands are weights; in front of Gather, an embedding."""


@final
@dataclass(frozen=True)
class Layer:
    """A node with weights.

    Args:
        name: Name of the node, or of its output where it has none.
        op_type: Operator.
        weights: Names of the stored tensors that are randomised with it: those that no layer above
            it has.
    """

    name: str
    op_type: str
    weights: tuple[str, ...]


@final
@dataclass(frozen=True, eq=False)
class Randomisation:
    """How alike attributions are while layers are randomised from the top down.

    Args:
        layers: Name of the last layer randomised, per step.
        magnitude: Spearman rank correlation of |attribution| with the original, [steps, rows].
        signed: The same of the attribution with its sign, [steps, rows].
        checks: Whether the last of them is low enough.
    """

    layers: tuple[str, ...]
    magnitude: Array
    signed: Array
    checks: tuple[Check, ...]


def layers(model: onnx.ModelProto, of: str) -> list[Layer]:
    """The nodes with weights that an output depends on, from the top (the output) down.

    Weights are what is stored and feeds an operator such as MatMul, Gemm or Conv, directly or
    through nodes that read stored tensors only (Transpose, DequantizeLinear). Bodies of If, Loop
    and Scan are not entered.
    """
    graph = Graph(model)
    fed = {i.name for i in graph.inputs}
    moving = set(fed)
    for node in graph.nodes:
        if moving.intersection(all_inputs(node)):
            moving.update(node.output)
    found, taken = [], set[str]()
    for position in sorted(graph.ancestors([of]), reverse=True):
        node = graph.nodes[position]
        if node.op_type not in _WEIGHTED or not moving.intersection(node.output):
            continue
        stored = [n for n in node.input if n and n not in moving]
        if node.op_type == "Gather":
            stored = [n for n in stored if n == node.input[0]]
        names = [n for n in _sources(graph, stored) if n not in taken]
        taken.update(names)
        if names:
            found.append(Layer(node.name or node.output[0], node.op_type, tuple(names)))
    return found


def _sources(graph: Graph, names: Sequence[str]) -> list[str]:
    """Stored tensors of more than one element behind tensors that do not depend on the input."""
    inside = graph.ancestors(names)
    read = [*names, *(n for k in sorted(inside) for n in all_inputs(graph.nodes[k]))]
    # axes, shapes and zero points are whole numbers and not to be touched; int8 weights have axes
    return [
        n
        for n in dict.fromkeys(read)
        if (t := graph.initializers.get(n)) is not None
        and int(np.prod(t.dims, dtype=np.int64)) > 1
        and (_is_float(t) or (len(t.dims) > 1 and t.data_type in _NARROW))
    ]


_NARROW = frozenset(
    getattr(onnx.TensorProto, n) for n in ("INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16")
)


def _is_float(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type in (
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
    )


def randomised(
    model: onnx.ModelProto, names: Sequence[str], *, how: How = "permute", seed: int = 0
) -> onnx.ModelProto:
    """A copy of the model with some stored tensors made random.

    Args:
        model: The model, with its weights in it; it is not changed.
        names: Stored tensors.
        how: ``permute`` shuffles the elements, so that all their moments stay; ``redraw`` draws
            normal ones of the same mean and standard deviation.
        seed: Seed; each tensor has a stream of its own, whatever else is randomised.

    Raises:
        InputError: If `how` is neither, or whole numbers are to be redrawn.
    """
    if how not in ("permute", "redraw"):
        raise InputError(f"unknown randomisation {how!r}", hint="use permute or redraw")
    wanted = set(names)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for place, tensor in enumerate(copy.graph.initializer):
        if tensor.name not in wanted:
            continue
        array = numpy_helper.to_array(tensor)
        draw = np.random.default_rng((seed, place))
        if how == "permute":
            made = draw.permutation(array.reshape(-1)).reshape(array.shape)
        elif _is_float(tensor):
            wide = array.astype(np.float64)
            made = draw.normal(wide.mean(), wide.std(), array.shape).astype(array.dtype)
        else:
            raise InputError(
                f"the weight `{tensor.name}` holds whole numbers, which cannot be redrawn",
                hint="permute them",
            )
        tensor.CopyFrom(numpy_helper.from_array(made, tensor.name))
    return copy


def plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in its normal form, with constants of several elements as stored tensors.

    Then weights are found also in functions, behind fused operators and in Constant nodes.
    """
    normal = normalize(model)
    nodes = list(normal.graph.node)
    del normal.graph.node[:]
    for node in nodes:
        value = node.attribute[0].t if _is_tensor(node) else None
        if value is None or int(np.prod(value.dims, dtype=np.int64)) < 2:
            normal.graph.node.append(node)
            continue
        stored = normal.graph.initializer.add()
        stored.CopyFrom(value)
        stored.name = node.output[0]
    normal.ir_version = max(normal.ir_version, 4)
    return normal


def _is_tensor(node: onnx.NodeProto) -> bool:
    return (
        node.op_type == "Constant"
        and node.domain in ("", "ai.onnx")
        and [a.name for a in node.attribute] == ["value"]
    )


def _hidden(model: onnx.ModelProto, of: str) -> bool:
    """Whether there are bodies, whose weights are not randomised."""
    graph = Graph(model)
    return any(list(subgraphs(graph.nodes[k])) for k in graph.ancestors([of]))


def randomisation(
    model: onnx.ModelProto,
    attribute: Attributed,
    *,
    of: str,
    how: How = "permute",
    most: int = STAGES,
    limit: float = LIMIT,
    live: Array | None = None,
    seed: int = 0,
) -> Randomisation:
    """Randomise the weights from the top layer down, and compare attributions at every step.

    The figure is the mean over the rows of |ρ|, where ρ is the Spearman rank correlation with the
    original when all layers are random: that of the attribution or that of its magnitude, whichever
    is lower. The magnitude keeps the scale of the features, |x - x'| and units that a model divides
    by, which is not learnt. An attribution that reads the input alone has 1 in both.

    Args:
        model: The model, with its weights in it.
        attribute: Attributions, [rows, features], by a model with the same inputs and outputs.
        of: Name of the explained output.
        how: As for `randomised`.
        most: Most steps; layers are randomised several at a time where there are more.
        limit: What the figure is held to.
        live: Features to compare, [rows, features] bool; all by default. Where the input is at its
            baseline the attribution is zero by definition, which is no likeness.
        seed: Seed.

    Raises:
        InputError: If a number is not positive, or `how` is unknown.

    Reference: Adebayo et al., 2018, "Sanity Checks for Saliency Maps", cascading.
    """
    if most < 1:
        raise InputError(f"most must be positive, not {most!r}")
    model = plain(model)
    name, found = "weight randomisation", layers(model, of)
    if not found:
        why = "no operator of the model has stored weights"
        empty = np.zeros((0, 0))
        return Randomisation((), empty, empty, (Check.skipped(name, why),))
    original = attribute(model)
    masks = np.ones(original.shape, dtype=bool) if live is None else live
    ends = np.unique(np.rint(np.linspace(0, len(found), min(most, len(found)) + 1))[1:])
    magnitude, signed = [], []
    for end in ends.astype(int):
        names = [n for layer in found[:end] for n in layer.weights]
        there = attribute(randomised(model, names, how=how, seed=seed))
        rows = [(a[m], b[m]) for a, b, m in zip(original, there, masks, strict=True)]
        magnitude.append([spearman(np.abs(a), np.abs(b)) for a, b in rows])
        signed.append([spearman(a, b) for a, b in rows])
    steps = tuple(found[end - 1].name for end in ends.astype(int))
    last = np.abs([magnitude[-1], signed[-1]])
    bare, whole = last.mean(axis=1)
    detail = (
        f"|rank correlation| with the original, all {len(found)} layers random: {bare:.2g} of"
        f" |attribution|, {whole:.2g} of attribution; the lower one of each row"
        + ("; but for weights in bodies of If, Loop and Scan" if _hidden(model, of) else "")
    )
    check = Check.at_most(name, float(last.min(axis=0).mean()), limit, detail)
    return Randomisation(steps, np.array(magnitude), np.array(signed), (check,))


def spearman(a: Array, b: Array) -> float:
    """Rank correlation of two vectors, equal numbers sharing their mean rank; 0 if one is constant.

    ρ = cov(rank a, rank b) / (σ(rank a)·σ(rank b))
    """
    u, v = (r - r.mean() if len(r) else r for r in (ranks(a), ranks(b)))
    size = float(np.sqrt((u @ u) * (v @ v)))
    return float(u @ v) / size if size else 0.0


def ranks(a: Array) -> Array:
    """Ranks from 0 on, [n] float64; equal numbers share their mean rank."""
    _, group, count = np.unique(a, return_inverse=True, return_counts=True)
    first = np.cumsum(count) - count
    mean: Array = first + (count - 1) / 2
    return mean[group]


__all__ = [
    "LIMIT",
    "STAGES",
    "Layer",
    "Randomisation",
    "layers",
    "plain",
    "randomisation",
    "randomised",
    "ranks",
    "spearman",
]
