"""Which inputs of a model have a batch axis, as their declared shapes tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from igrt.errors import InputError
from igrt.specs import TensorSpec


class NotRows(InputError):
    """What lies along the axis in front of the inputs does not go into the model row by row."""


@final
@dataclass(frozen=True)
class Batching:
    """How rows go into a model.

    Args:
        inputs: Names of the inputs that have a batch axis in front.
        fixed: Whether that axis has size 1 in the model as exported.
    """

    inputs: frozenset[str]
    fixed: bool

    @property
    def batched(self) -> bool:
        """Whether there is a batch axis at all; without one the inputs are a single example."""
        return bool(self.inputs)


def batching(inputs: tuple[TensorSpec, ...], attributed: frozenset[str]) -> Batching:
    """Read the batch axis off the declared shapes.

    An axis in front is the batch axis where its size is a symbol, unknown, or 1 with more axes
    behind it. A model whose attributed inputs have none takes one example at a time.
    """
    leading = {i.name: i.shape[0] for i in inputs if i.shape is not None and _may_lead(i)}
    named = [n for n in leading if n in attributed]
    if not attributed or len(named) < len(attributed & {i.name for i in inputs}):
        return Batching(frozenset(), fixed=False)
    fixed = any(leading[n] == 1 for n in named)
    return Batching(frozenset(leading), fixed)


def _may_lead(spec: TensorSpec) -> bool:
    if not spec.shape:
        return False
    first = spec.shape[0]
    return not isinstance(first, int) or (first == 1 and len(spec.shape) > 1)


__all__ = ["Batching", "NotRows", "batching"]
