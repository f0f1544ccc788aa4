"""Sets of rules that take the place of some derivatives in the reverse sweep.

What a modified back-propagation changes is the rule of a few operators; the sweep, its sums over
several uses and broadcast axes, and all other rules stay.
"""

from __future__ import annotations

from typing import Protocol

from igrt.errors import InternalError
from igrt.graph import Emitter, Graph, Node, Value
from igrt.specs import Sweep
from igrt.vjp.registry import Rule


class Overrides(Protocol):
    """One set of rules, for one gradient graph."""

    @property
    def operators(self) -> frozenset[str]:
        """Operators of ``ai.onnx`` that have another rule than their derivative."""

    def prepare(self, graph: Graph, of: str, wrt: list[str]) -> tuple[Graph, dict[str, str]]:
        """The graph to differentiate, and the input that takes the baseline of each of `wrt`.

        Nodes keep their places; more may follow behind them.

        Raises:
            UnsupportedOperator: If operators between `wrt` and `of` have no rule in this set.
        """

    def seed(self, emit: Emitter, ct: Value, of: str) -> Value:
        """The cotangent of `of` that the sweep begins with."""

    def rule(self, node: Node, rule: Rule) -> Rule:
        """The rule for an input of a node in place of its derivative `rule`."""


def overrides_of(sweep: Sweep) -> Overrides | None:
    """A new set of rules for one gradient graph; None for plain derivatives."""
    from igrt.vjp.overrides.lrp import Relevance
    from igrt.vjp.overrides.rectifier import Deconvolution, GuidedBackprop
    from igrt.vjp.overrides.rescale import Rescale

    match sweep.rules:
        case "gradient":
            return None
        case "deconvolution":
            return Deconvolution()
        case "guided_backprop":
            return GuidedBackprop()
        case "deeplift":
            return Rescale(sweep.epsilon)
        case "lrp":
            return Relevance(sweep.epsilon)
    raise InternalError(f"there are no rules `{sweep.rules}`")


__all__ = ["Overrides", "overrides_of"]
