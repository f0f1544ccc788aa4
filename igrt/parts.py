"""`Parts`: how a gradient graph is split along paths, in JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

OF_POINT = "igrt/of_point"
"""Input with the number of the point of each cotangent, [cotangents] int64, where they share it."""


@final
@dataclass(frozen=True)
class Parts:
    """A gradient graph in three, of which only the step runs at every point of a path.

    Args:
        stays: Numbers of the nodes of the step.
        moving: Tensors that steps are fed with along the path.
        fixed: Tensors that steps are fed with per example.
        common: Tensors that steps are fed with as they are.
        sized: Tensors whose sizes steps are fed with (`sizes_name`).
        summed: What steps give.
        gradients: What the whole graph gives.
        batched: Whether inputs have a batch axis.
        types: Element type and sizes, None where open, of what parts hand on to each other.
        ranks: Number of axes of the tensors in `sized`.
    """

    stays: Sequence[int]
    moving: Sequence[str]
    fixed: Sequence[str]
    common: Sequence[str]
    sized: Sequence[str]
    summed: Sequence[str]
    gradients: Sequence[str]
    batched: bool
    types: Mapping[str, Sequence[Any]]
    ranks: Mapping[str, int]

    @property
    def made(self) -> list[str]:
        """What the prologue gives; without any there is none."""
        cut = [n for n in (*self.moving, *self.fixed, *self.common) if n in self.types]
        return [*cut, *map(sizes_name, self.sized)]

    @property
    def pulled(self) -> list[str]:
        """Gradients that the epilogue gives; without any there is none."""
        return [g for g in self.gradients if g not in self.summed]


@final
@dataclass(frozen=True)
class Staging:
    """What of a gradient graph would run at the ends of paths, or on sums over them.

    Args:
        note: The same in words.
        pays: Whether that is worth it.
        parts: The split.
        saves: What that saves at an evaluation, as bytes of memory traffic.
        rows: Shape of each summed tensor for one example; None where it is not known.
        cut_bytes: Size of what is cut, per example.
    """

    note: str
    pays: bool
    parts: Parts
    saves: float
    rows: Mapping[str, Sequence[int] | None]
    cut_bytes: float

    def listed(self) -> dict[str, Any]:
        """In JSON values."""
        return asdict(self)

    @staticmethod
    def of(listed: Mapping[str, Any]) -> Staging:
        """From JSON values."""
        return Staging(**{**listed, "parts": Parts(**listed["parts"])})


def sizes_name(name: str) -> str:
    """Name of the sizes of a tensor, without the first axis where that has rows."""
    return f"igrt/sizes/{name}"


__all__ = ["OF_POINT", "Parts", "Staging", "sizes_name"]
