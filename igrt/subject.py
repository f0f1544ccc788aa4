"""`Subject`: what of a model is explained, and with respect to what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from igrt.derived import Derived
from igrt.specs import Lookup, TensorSpec


@final
@dataclass(frozen=True, eq=False)
class Subject:
    """One output of a model and the tensors that it is attributed to.

    Args:
        normal: The model in normal form.
        part: The model from the attributed tensors to the explained output.
        of: The explained output.
        wrt: The attributed tensors.
        inputs: Inputs of the model.
        fed: Names of the inputs of the part.
        inner: Names of those attributed tensors that are no inputs of the model.
        layouts: What the axes of attributed signals are, as in `Display`.
        cut: Locally constant operators at which gradients end, in words.
        lookups: Which of the attributed tensors token numbers select in a table.
    """

    normal: Derived
    part: Derived
    of: TensorSpec
    wrt: tuple[TensorSpec, ...]
    inputs: tuple[TensorSpec, ...]
    fed: frozenset[str]
    inner: list[str]
    layouts: Mapping[str, str]
    cut: list[str]
    lookups: tuple[Lookup, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the attributed tensors."""
        return tuple(s.name for s in self.wrt)


def subject(normal: Derived, of: str | None, wrt: Sequence[str] | None) -> Subject:
    """What is explained where a user names this much of it.

    Args:
        normal: The model in normal form.
        of: Explained output; the first float output by default.
        wrt: Attributed tensors; all float inputs by default.

    Raises:
        InputError: If they name no float tensor.
        NoGradientPath: If the gradient would be zero by construction.
    """
    # JSON has lists; a text is refused later, as it is
    names = wrt if wrt is None or isinstance(wrt, str) else list(wrt)
    part = normal.then("explained", of=of, wrt=names)
    known = part.facts
    return Subject(
        normal,
        part,
        of=spec_of(known["of"]),
        wrt=tuple(map(spec_of, known["wrt"])),
        inputs=tuple(map(spec_of, known["inputs"])),
        fed=frozenset(known["fed"]),
        inner=known["inner"],
        layouts=known["layouts"],
        cut=known["cut"],
        lookups=tuple(Lookup(*listed) for listed in known["lookups"]),
    )


def spec_of(listed: list[Any]) -> TensorSpec:
    """A spec as `igrt.making` writes it."""
    name, dtype, shape = listed
    return TensorSpec(name, dtype, None if shape is None else tuple(shape))


__all__ = ["Subject", "spec_of", "subject"]
