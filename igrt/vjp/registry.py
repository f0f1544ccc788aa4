"""Which function differentiates which input of which operator, from which opset on."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, final

RuleFunction = Callable[..., Any]
F = TypeVar("F", bound=RuleFunction)


@final
@dataclass(frozen=True)
class Rule:
    """The vector-Jacobian product of one operator with respect to one of its inputs.

    Args:
        op_type: ONNX operator.
        input: The input's name in the ONNX schema.
        since: First opset that the rule holds for; it holds until another rule takes over.
        function: `rule(emit, node, ct)`; with `index` behind it for a variadic input, and with the
            list of all outputs' cotangents in place of `ct` if `every_output`.
        broadcast: Whether the operator broadcasts this input, so that the sweep has to sum the
            result over the broadcast axes.
        every_output: Whether the rule wants the cotangents of all outputs (None where unused).
        variadic: Whether the schema repeats this input.
        domain: Operator domain.
        joint: Whether one call of `rule(emit, node, cts, edges)` gives the cotangents of all
            wanted inputs, by edge.
        flat: Whether a node's attributes make its output locally constant in the input.
    """

    op_type: str
    input: str
    since: int
    function: RuleFunction
    broadcast: bool
    every_output: bool
    variadic: bool
    domain: str
    joint: bool = False
    flat: Callable[[Any], bool] | None = None


@final
@dataclass(frozen=True)
class Zero:
    """The declaration that an output is locally constant in an input: its gradient is zero."""

    op_type: str
    input: str
    since: int
    domain: str


_TABLE: dict[tuple[str, str, str], list[Rule | Zero]] = {}
_REASONS: dict[tuple[str, str], str] = {}
ANY = "*"
"""Stands for every input of an operator."""
CAPTURED = "captured"
"""Stands for the outer tensors that the bodies of a control-flow operator read."""

Edge = int | str
"""What carries a gradient into a node: the index of an input, or the name of a captured tensor."""


@final
@dataclass(frozen=True)
class Traced:
    """What one control-flow node does with tensors that vary.

    Args:
        edges: Inputs and captured tensors that a gradient gets back to.
        varying: Outputs of the node that vary.
        missing: What in its bodies cannot be differentiated, and why; empty where everything can.
        operators: (domain, operator) pairs behind `missing`, nested bodies included.
    """

    edges: list[Edge]
    varying: list[str]
    missing: list[str]
    operators: set[tuple[str, str]]


Tracer = Callable[[Any, int, set[str]], Traced]
_TRACERS: dict[str, Tracer] = {}


def tracer(op_type: str) -> Callable[[Tracer], Tracer]:
    """Register `trace(graph, index, varies) -> Traced` for an operator that has bodies."""

    def register(function: Tracer) -> Tracer:
        _TRACERS[op_type] = function
        return function

    return register


def tracer_of(domain: str, op_type: str) -> Tracer | None:
    """The tracer of a control-flow operator, None if there is none."""
    _load_rules()
    return None if domain else _TRACERS.get(op_type)


def vjp(
    op_type: str,
    *inputs: str,
    since: int = 1,
    domain: str = "",
    broadcast: bool = False,
    every_output: bool = False,
    variadic: bool = False,
    joint: bool = False,
    flat: Callable[[Any], bool] | None = None,
) -> Callable[[F], F]:
    """Register `rule(emit, node, ct) -> Value` as the pullback of some inputs of an operator.

    Args:
        op_type: ONNX operator.
        inputs: Names of inputs in the ONNX schema that share the rule.
        since: First opset that it holds for.
        domain: Operator domain, ``ai.onnx`` by default.
        broadcast: The operator broadcasts these inputs; the sweep sums the result back.
        every_output: The rule takes the cotangents of all outputs instead of the first one's.
        variadic: The input repeats; the rule takes its index among the node's inputs as well.
        joint: The rule takes the cotangents of all outputs and the wanted edges, and returns a
            dict from edge to cotangent.
        flat: `flat(proto)` says whether a node's attributes make its output locally constant in
            these inputs, as those of an interpolation by the nearest neighbour.
    """

    def register(function: F) -> F:
        for name in inputs:
            traits = (broadcast, every_output, variadic, domain, joint, flat)
            _add(Rule(op_type, name, since, function, *traits))
        return function

    return register


def zero(op_type: str, *inputs: str, since: int = 1, domain: str = "") -> None:
    """Declare an operator locally constant in some of its inputs, all if none is named."""
    for name in inputs or (ANY,):
        _add(Zero(op_type, name, since, domain))


def _add(entry: Rule | Zero) -> None:
    entries = _TABLE.setdefault((entry.domain, entry.op_type, entry.input), [])
    if any(e.since == entry.since for e in entries):
        raise ValueError(f"two rules for {entry.op_type}.{entry.input} since {entry.since}")
    entries.append(entry)
    entries.sort(key=lambda e: e.since)


def lookup(domain: str, op_type: str, formal: str, opset: int) -> Rule | Zero | None:
    """The newest entry for an input that is not newer than `opset`; None if there is no rule."""
    _load_rules()
    for name in (formal, ANY):
        for entry in reversed(_TABLE.get((domain, op_type, name), [])):
            if entry.since <= opset:
                return entry
    return None


def refuse(op_type: str, reason: str, domain: str = "") -> None:
    """Declare why an operator on the way is refused; said where it is."""
    _REASONS[domain, op_type] = reason


def refused_because(domain: str, op_type: str) -> str:
    """Why an operator is refused on purpose; empty where nobody said so."""
    _load_rules()
    return _REASONS.get(("" if domain == "ai.onnx" else domain, op_type), "")


def entries() -> list[tuple[str, str, str]]:
    """(domain, operator, input) of every rule and declaration."""
    _load_rules()
    return list(_TABLE)


def has_body(schema: Any) -> bool:
    """Whether ONNX defines an operator by a function body (the stubs of OpSchema lack this)."""
    return bool(schema.has_function or schema.has_context_dependent_function)


@cache
def _load_rules() -> None:
    from igrt.vjp import rules

    for module in pkgutil.iter_modules(rules.__path__):
        importlib.import_module(f"{rules.__name__}.{module.name}")


__all__ = [
    "ANY",
    "CAPTURED",
    "Edge",
    "Rule",
    "Traced",
    "Zero",
    "entries",
    "has_body",
    "lookup",
    "refuse",
    "refused_because",
    "tracer",
    "tracer_of",
    "vjp",
    "zero",
]
