"""What is explained with respect to what: from names, or their absence, to tensors."""

from __future__ import annotations

from collections.abc import Sequence

from igrt.errors import InputError, NoGradientPath, did_you_mean
from igrt.graph import Graph
from igrt.graph.view import all_inputs
from igrt.specs import TensorSpec
from igrt.vjp import advice
from igrt.vjp.lookups import default_sources

_LABELS = ("int64", "int32", "string")


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
                hint=_inner_outputs(graph, [o.name for o in graph.outputs])
                or "no tensor in it has a gradient: explain the model that takes these outputs",
            )
        return spec
    return _float_tensor(graph, of, "explain")


def _inner_outputs(graph: Graph, outputs: Sequence[str]) -> str:
    """A hint: the float tensor in front of the ArgMax, TopK, Cast … that outputs come from."""
    given = default_sources(graph)
    sources = given or advice.first_floats(graph, [i.name for i in graph.inputs])
    # of a classifier, the scores say more than the label, whose nearest floats are the features
    for name in sorted(outputs, key=lambda n: graph.spec(n).dtype in _LABELS) if sources else ():
        if found := advice.in_front(graph, name, sources):
            return found + ("" if given else f", {advice.wrt_option(sources)}")
    return next(filter(None, (advice.trees(graph, n) for n in outputs)), "")


def _varies(graph: Graph, name: str) -> bool:
    """Whether a tensor depends on an input at all; some exporters put constants out."""
    fed = {i.name for i in graph.inputs}
    return name in fed or any(
        fed.intersection(all_inputs(graph.nodes[i])) for i in graph.ancestors([name])
    )


def attributed_tensors(graph: Graph, wrt: Sequence[str] | None, of: str) -> tuple[TensorSpec, ...]:
    """Specs of the tensors to attribute to.

    By default all float inputs and, for an input of whole numbers or texts that select the rows of
    an embedding, what is looked up.

    Args:
        graph: Normalised model.
        wrt: Their names; None for the default.
        of: The tensor that is explained.

    Raises:
        InputError: If one does not exist or is no float tensor, or there is none.
    """
    if wrt is None:
        used = {n for i in graph.ancestors([of]) for n in all_inputs(graph.nodes[i])}
        inputs = {i.name for i in graph.inputs}
        names = [n for n in default_sources(graph) if n in inputs or n in used or n == of]
        if not names:
            listed = ", ".join(str(i) for i in graph.inputs) or "none"
            raise InputError(
                f"no input of the model is a float tensor, or one that looks up rows of a table of "
                f"floats: {listed}",
                hint=_behind(graph, of, [i.name for i in graph.inputs]),
            )
        return tuple(graph.spec(n) for n in names)
    if isinstance(wrt, str):
        raise InputError("`wrt` is a list of names, not one text", hint=f"write wrt=[{wrt!r}]")
    if not wrt or len(set(wrt)) != len(wrt):
        raise InputError(
            f"`wrt` names no tensor, or one twice: {list(wrt)}",
            hint="name each tensor once, or leave it out for all float inputs",
        )
    return tuple(_float_tensor(graph, name, "attribute to", of) for name in wrt)


def _behind(graph: Graph, of: str, starts: Sequence[str]) -> str:
    """A hint: what could be attributed to in place of tensors without a gradient."""
    names = advice.later(graph, of, starts)
    if names:
        return f"attribute to what is made of it: {advice.wrt_option(names)}"
    return f"no float tensor between it and `{of}` has a gradient: name another output (of)"


def _float_tensor(graph: Graph, name: str, purpose: str, of: str = "") -> TensorSpec:
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
        hint = _behind(graph, of, [name]) if of else _inner_outputs(graph, [name])
        raise InputError(
            f"cannot {purpose} {spec}: it is no float tensor",
            hint=hint or "name a float tensor",
        )
    if name in graph.initializers:
        raise InputError(
            f"cannot {purpose} `{name}`: it is a stored constant of the model",
            hint="name an input or a tensor that a node makes",
        )
    return spec


__all__ = ["attributed_tensors", "explained_output"]
