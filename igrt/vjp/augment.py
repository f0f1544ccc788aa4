"""From a model to the same model with its gradient graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import onnx

from igrt.errors import NoGradientPath, UnsupportedOperator
from igrt.graph import Emitter, Graph, Value, load
from igrt.graph.emit import PREFIX
from igrt.graph.normalize import normalize
from igrt.graph.normalize.opset import pin_ir_version
from igrt.graph.onnx_types import value_info
from igrt.graph.prune import needed_names
from igrt.graph.valid import blamed
from igrt.graph.view import collector_paused, live_inputs, subgraphs
from igrt.source import ModelLike
from igrt.specs import GRADIENT, STRAIGHT_THROUGH, Sweep, TensorSpec
from igrt.vjp import advice
from igrt.vjp.ends import attributed_tensors, explained_output
from igrt.vjp.factors import absorb_factors
from igrt.vjp.overrides import overrides_of
from igrt.vjp.pullback import Reach, pullback
from igrt.vjp.survey import missing_rules, survey


@final
@dataclass(frozen=True)
class Augmented:
    """A model with its gradient graph.

    Args:
        model: Original inputs and outputs, plus one cotangent input and one output per gradient.
        of: Explained output.
        wrt: Attributed tensors.
        cotangent: Name of the cotangent input, in the shape of `of`.
        gradients: Name of the gradient output per attributed tensor.
        references: Name of the input for the baseline per attributed tensor, where the rules
            compare with one; else empty.
    """

    model: onnx.ModelProto
    of: TensorSpec
    wrt: tuple[TensorSpec, ...]
    cotangent: str
    gradients: Mapping[str, str]
    references: Mapping[str, str] = field(default_factory=dict)


def augment(
    model: ModelLike,
    *,
    wrt: Sequence[str] | None = None,
    of: str | None = None,
    quantised: str = STRAIGHT_THROUGH,
) -> onnx.ModelProto:
    """The model with its gradient graph, made of standard operators for any onnxruntime.

    The result keeps the original inputs and outputs. It adds an input ``igrt/cotangent/<of>`` in
    the shape of the explained output and, per attributed tensor, an output ``igrt/grad/<name>``:
    the gradient of ⟨cotangent, of⟩. Its opset is the model's, raised to 18 if it is older.

    Args:
        model: Path, bytes or onnx.ModelProto.
        wrt: Tensors to differentiate with respect to, inputs or any intermediate ones; all float
            inputs by default, and the embedding lookups behind the others.
        of: The tensor to differentiate; the first float output by default.
        quantised: What becomes of a quantised model. ``straight_through`` keeps its rounding, and
            cotangents pass it where a value is inside the range; ``dequantise`` takes it out.

    Raises:
        ModelLoadError: If the model cannot be read.
        InputError: If `wrt` or `of` name no float tensor of the model.
        UnsupportedOperator: If operators on the way have no rule; all are named.
        NoGradientPath: If the gradient would be zero by construction.
    """
    return differentiate(normalize(load(model).model, quantised), wrt=wrt, of=of).model


@final
@dataclass(frozen=True)
class Differentiable:
    """A model that is known to have a gradient graph, before it is built.

    Args:
        graph: The normalised model, with function bodies in place of operators without a rule.
        of: Tensor to differentiate.
        wrt: Tensors to differentiate with respect to.
        found: What lies between them.
    """

    graph: Graph
    of: TensorSpec
    wrt: tuple[TensorSpec, ...]
    found: Reach


def differentiable(
    model: onnx.ModelProto, *, wrt: Sequence[str] | None = None, of: str | None = None
) -> Differentiable:
    """Check that a normalised model can be differentiated; the errors are those of `augment`."""
    with blamed(model):
        return _differentiable(model, wrt, of)


def _differentiable(
    model: onnx.ModelProto, wrt: Sequence[str] | None, of: str | None
) -> Differentiable:
    graph = Graph(model)
    target = explained_output(graph, of)
    sources = attributed_tensors(graph, wrt, target.name)
    graph, found = survey(graph, target.name, [s.name for s in sources])
    # what a body says of sizes is right where ONNX's inference for the operator is not (Attention)
    target = graph.spec(target.name)
    if found.missing:
        raise _unsupported(graph, found, target, sources)
    kept = _refuse_zero(graph, found, target, sources, explicit=wrt is not None)
    return Differentiable(graph, target, kept, found)


def differentiate(
    model: onnx.ModelProto,
    *,
    wrt: Sequence[str] | None = None,
    of: str | None = None,
    sweep: Sweep = GRADIENT,
) -> Augmented:
    """The gradient graph of a model that is already loaded and normalised.

    With another `sweep` than the default, some operators have a rule of that set in place of their
    derivative.
    """
    with collector_paused(), blamed(model):
        return _build(differentiable(model, wrt=wrt, of=of), sweep)


def _unsupported(
    graph: Graph, found: Reach, of: TensorSpec, wrt: Sequence[TensorSpec]
) -> UnsupportedOperator:
    """One error that names every operator without a rule."""
    lines = missing_rules(graph, found)
    operators = sum(not line.startswith(" ") for line in lines)
    count = "1 operator" if operators == 1 else f"{operators} operators"
    have = "has" if operators == 1 else "have"
    between = f"between `{', '.join(s.name for s in wrt)}` and `{of.name}`"
    return UnsupportedOperator(
        "\n".join([f"{count} {between} {have} no gradient rule", *(f"  {line}" for line in lines)]),
        hint=advice.instead(graph, of.name, [s.name for s in wrt], found)
        or "explain an earlier output (of) or attribute to a later tensor (wrt), "
        "so that these nodes are not on the way",
    )


def _refuse_zero(
    graph: Graph, found: Reach, of: TensorSpec, wrt: Sequence[TensorSpec], *, explicit: bool
) -> tuple[TensorSpec, ...]:
    """The tensors to attribute to, without those that no gradient can reach.

    A tensor that the output does not depend on at all has the gradient zero, which is right. One
    whose every path ends at a locally constant operator would have it too, which is misleading:
    it is refused where the user named it or nothing else is left.
    """
    used = {of.name}
    for node in reversed(graph.nodes):
        if used.intersection(node.output):
            used.update(live_inputs(node))
    dead = [s for s in wrt if s.name in used and s.name not in found.reached]
    kept = tuple(s for s in wrt if s not in dead)
    if not dead or (not explicit and any(s.name in found.reached for s in kept)):
        return kept
    blocked = sorted(found.blocked) or _bodies_that_read(graph, {s.name for s in dead})
    blockers = Counter(graph.nodes[i].op_type for i in blocked)
    nodes = ", ".join(f"`{graph.nodes[i].name}` ({graph.nodes[i].op_type})" for i in blocked[:5])
    more = f" and {len(blocked) - 5} more" if len(blocked) > 5 else ""
    names = ", ".join(f"`{s.name}`" for s in dead)
    raise NoGradientPath(
        f"every path from {names} to `{of.name}` is locally constant "
        f"({', '.join(sorted(blockers))}), so the gradient is zero everywhere: {nodes}{more}",
        hint=advice.instead(graph, of.name, [s.name for s in dead], found)
        or advice.trees(graph, of.name)
        or "no inner tensor has a gradient either: explain another output",
    )


def _bodies_that_read(graph: Graph, names: set[str]) -> list[int]:
    """Nodes with bodies in which a gradient gets to other tensors, but not to these."""
    return [
        i
        for i, node in enumerate(graph.nodes)
        if any(True for _ in subgraphs(node)) and names.intersection(live_inputs(node))
    ]


def _build(checked: Differentiable, sweep: Sweep) -> Augmented:
    graph, of, wrt, found = checked.graph, checked.of, checked.wrt, checked.found
    overrides, references = overrides_of(sweep), dict[str, str]()
    if overrides is not None:
        graph, references = overrides.prepare(graph, of.name, [s.name for s in wrt])
    emit = Emitter(graph, behind=True)
    cotangent = TensorSpec(_free(graph, f"{PREFIX}cotangent/{of.name}"), of.dtype, of.shape)
    ct = emit.input(cotangent)
    if overrides is not None:
        ct = overrides.seed(emit, ct, of.name)
    gradients = pullback(emit, {of.name: ct}, [s.name for s in wrt], found, overrides)
    outputs: dict[str, Value] = {}
    for spec in wrt:
        value = gradients.get(spec.name)
        if value is None:
            value = emit.zeros_like(emit.value(spec.name))
        outputs[spec.name] = emit.named(value, _free(graph, f"{PREFIX}grad/{spec.name}"))
    absorb_factors(emit, {v.name for v in outputs.values()})
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    for index, proto in emit.extended.items():
        model.graph.node[index].CopyFrom(proto)
    needed = needed_names(emit.nodes, {v.name for v in outputs.values()})
    model.graph.input.append(value_info(cotangent))
    model.graph.initializer.extend(t for t in emit.initializers if t.name in needed)
    model.graph.node.extend(n for n in emit.nodes if needed.intersection(n.output))
    if all(o.name != of.name for o in model.graph.output):
        model.graph.output.append(value_info(of))
    for spec in wrt:
        value = outputs[spec.name]
        model.graph.output.append(value_info(TensorSpec(value.name, value.dtype, spec.shape)))
    pin_ir_version(model)
    names = {n: v.name for n, v in outputs.items()}
    return Augmented(model, of, wrt, cotangent.name, names, references)


def _free(graph: Graph, name: str) -> str:
    """`name`, or with a number behind it where the model was augmented before."""
    count, free = 2, name
    while free in graph.names:
        free, count = f"{name}/{count}", count + 1
    return free


__all__ = [
    "Augmented",
    "Differentiable",
    "attributed_tensors",
    "augment",
    "differentiable",
    "differentiate",
    "explained_output",
    "missing_rules",
    "survey",
]
