"""From a model to the same model with its gradient graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import onnx

from igrt.errors import InputError, NoGradientPath, UnsupportedOperator, did_you_mean
from igrt.graph import Emitter, Graph, Value, load
from igrt.graph.emit import PREFIX
from igrt.graph.load import ModelLike
from igrt.graph.normalize import normalize
from igrt.graph.normalize.inline import inline_operators
from igrt.graph.normalize.opset import pin_ir_version
from igrt.graph.normalize.quantised.policy import STRAIGHT_THROUGH
from igrt.graph.normalize.vendor.lower import refusal
from igrt.graph.onnx_types import value_info
from igrt.graph.prune import needed_names
from igrt.graph.valid import blamed
from igrt.graph.view import all_inputs, collector_paused, live_inputs, subgraphs
from igrt.specs import TensorSpec
from igrt.vjp.pullback import Reach, pullback, reach
from igrt.vjp.registry import has_body


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
    """

    model: onnx.ModelProto
    of: TensorSpec
    wrt: tuple[TensorSpec, ...]
    cotangent: str
    gradients: Mapping[str, str]


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
            inputs by default.
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
    sources = attributed_tensors(graph, wrt)
    graph, found = survey(graph, target.name, [s.name for s in sources])
    # what a body says of sizes is right where ONNX's inference for the operator is not (Attention)
    target = graph.spec(target.name)
    if found.missing:
        raise _unsupported(graph, found, target, sources)
    kept = _refuse_zero(graph, found, target, sources, explicit=wrt is not None)
    return Differentiable(graph, target, kept, found)


def differentiate(
    model: onnx.ModelProto, *, wrt: Sequence[str] | None = None, of: str | None = None
) -> Augmented:
    """The gradient graph of a model that is already loaded and normalised."""
    with collector_paused(), blamed(model):
        return _build(differentiable(model, wrt=wrt, of=of))


def survey(graph: Graph, of: str, wrt: Sequence[str]) -> tuple[Graph, Reach]:
    """What lies between `wrt` and `of`, after operators without a rule gave way to their bodies.

    Args:
        graph: Normalised model.
        of: Tensor to differentiate.
        wrt: Tensors to differentiate with respect to.

    Returns:
        The graph that the gradient is to be built on, and what `reach` found in it.
    """
    found = reach(graph, of, wrt)
    bodies = _with_bodies(graph, found)
    expanded = inline_operators(graph.model, bodies) if bodies else None
    return (graph, found) if expanded is None else survey(Graph(expanded), of, wrt)


def explained_output(graph: Graph, of: str | None) -> TensorSpec:
    """The spec of the tensor to explain; the first float output by default.

    Raises:
        InputError: If there is none of that name or it is no float tensor.
    """
    if of is None:
        spec = next((o for o in graph.outputs if o.is_float and _varies(graph, o.name)), None)
        if spec is None:
            listed = ", ".join(str(o) for o in graph.outputs)
            raise NoGradientPath(
                f"no output of the model is a float tensor that depends on an input: {listed}",
                hint=_inner_hint(graph) or "name an inner float tensor as the output to explain",
            )
        return spec
    return _float_tensor(graph, of, "explain")


def _varies(graph: Graph, name: str) -> bool:
    """Whether a tensor depends on an input at all; some exporters put constants out."""
    fed = {i.name for i in graph.inputs}
    return name in fed or any(
        fed.intersection(all_inputs(graph.nodes[i])) for i in graph.ancestors([name])
    )


def attributed_tensors(graph: Graph, wrt: Sequence[str] | None) -> tuple[TensorSpec, ...]:
    """Specs of the tensors to attribute to; all float inputs by default.

    Raises:
        InputError: If one does not exist or is no float tensor, or there is none.
    """
    if wrt is None:
        specs = tuple(i for i in graph.inputs if i.is_float)
        if not specs:
            listed = ", ".join(str(i) for i in graph.inputs) or "none"
            raise InputError(
                f"no input of the model is a float tensor: {listed}",
                hint="name the inner float tensor to attribute to, such as an embedding lookup's",
            )
        return specs
    if isinstance(wrt, str):
        raise InputError("`wrt` is a list of names, not one text", hint=f"write wrt=[{wrt!r}]")
    if not wrt or len(set(wrt)) != len(wrt):
        raise InputError(
            f"`wrt` names no tensor, or one twice: {list(wrt)}",
            hint="name each tensor once, or leave it out for all float inputs",
        )
    return tuple(_float_tensor(graph, name, "attribute to") for name in wrt)


def _float_tensor(graph: Graph, name: str, purpose: str) -> TensorSpec:
    if name not in graph.names:
        candidates = [s.name for s in (*graph.inputs, *graph.outputs)]
        raise InputError(
            f"the model has no tensor `{name}` to {purpose}",
            hint=did_you_mean(name, sorted(graph.names), candidates),
        )
    spec = graph.spec(name)
    if spec.dtype == "unknown":
        raise InputError(
            f"cannot {purpose} `{name}`: the element type of `{name}` is not known",
            hint="the operator that makes it is not part of ONNX; name a tensor behind it",
        )
    if not spec.is_float:
        raise InputError(
            f"cannot {purpose} {spec}: it is no float tensor",
            hint="name a float tensor, such as the output of an embedding lookup",
        )
    if spec.dtype == "unknown" and name in graph.producers:
        raise InputError(
            f"cannot {purpose} `{name}`: the model does not say what type it has",
            hint="name another tensor, or add its type to the model's value_info",
        )
    if name in graph.initializers:
        raise InputError(
            f"cannot {purpose} `{name}`: it is a stored constant of the model",
            hint="name an input or a tensor that a node makes",
        )
    return spec


def _with_bodies(graph: Graph, found: Reach) -> list[tuple[str, str]]:
    """Operators without a rule that ONNX defines by a function body."""
    candidates = set().union(*found.within.values())
    for index in found.missing:
        node = graph.nodes[index]
        candidates.add(("" if node.domain == "ai.onnx" else node.domain, node.op_type))
    operators = []
    for domain, op_type in sorted(candidates):
        try:
            schema = onnx.defs.get_schema(op_type, graph.opsets.get(domain, 1), domain)
        except onnx.defs.SchemaError:
            continue
        if has_body(schema):
            operators.append((domain, op_type))
    return operators


def missing_rules(graph: Graph, found: Reach) -> list[str]:
    """One line per operator without a rule: its inputs, how many nodes, and some of their names.

    Indented lines behind it say why, where the operator is refused on purpose.
    """
    groups: dict[str, list[str]] = {}
    reasons: dict[str, set[str]] = {}
    for index, formals in found.missing.items():
        node = graph.nodes[index]
        domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}."
        opset = graph.opsets.get("" if node.domain == "ai.onnx" else node.domain, 1)
        key = f"{domain}{node.op_type}-{opset} ({', '.join(sorted(set(formals)))})"
        groups.setdefault(key, []).append(node.name)
        reasons.setdefault(key, set()).update(filter(None, [refusal(graph, node)]))
    width = max(map(len, groups), default=0)
    lines = []
    for key, names in sorted(groups.items()):
        nodes = "1 node " if len(names) == 1 else f"{len(names)} nodes"
        lines.append(f"{key:<{width}}  {nodes}  {', '.join(names[:3])}{', …' * (len(names) > 3)}")
        lines += [f"  {reason}" for reason in sorted(reasons[key])]
    return lines


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
        hint="explain an earlier output (of) or attribute to a later tensor (wrt), "
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
        hint=_inner_hint(graph) or "explain a float tensor in front of these nodes (of)",
    )


def _bodies_that_read(graph: Graph, names: set[str]) -> list[int]:
    """Nodes with bodies in which a gradient gets to other tensors, but not to these."""
    return [
        i
        for i, node in enumerate(graph.nodes)
        if any(True for _ in subgraphs(node)) and names.intersection(live_inputs(node))
    ]


def _inner_hint(graph: Graph) -> str:
    """A float tensor in front of an ArgMax, TopK, Cast … that a user could explain instead."""
    for node in reversed(graph.nodes):
        if node.op_type in ("ArgMax", "ArgMin", "TopK", "Hardmax", "Cast", "Greater", "Round"):
            name = node.input[0]
            if graph.spec(name).is_float and name in graph.producers:
                return f'explain the tensor in front of {node.op_type} instead: of="{name}"'
    return ""


def _build(checked: Differentiable) -> Augmented:
    graph, of, wrt, found = checked.graph, checked.of, checked.wrt, checked.found
    emit = Emitter(graph)
    cotangent = TensorSpec(_free(graph, f"{PREFIX}cotangent/{of.name}"), of.dtype, of.shape)
    cts = {of.name: emit.input(cotangent)}
    gradients = pullback(emit, cts, [s.name for s in wrt], found)
    outputs: dict[str, Value] = {}
    for spec in wrt:
        value = gradients.get(spec.name)
        if value is None:
            value = emit.zeros_like(emit.value(spec.name))
        outputs[spec.name] = emit.named(value, _free(graph, f"{PREFIX}grad/{spec.name}"))
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
    return Augmented(model, of, wrt, cotangent.name, {n: v.name for n, v in outputs.items()})


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
