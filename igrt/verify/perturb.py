"""Perturbations: where the x - I of an infidelity are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np

from igrt.errors import InputError
from igrt.specs import Array, Feeds

Perturb = Callable[[np.random.Generator, Feeds, Feeds], dict[str, Array]]
"""From a generator, an input and its baseline to a perturbed input."""


@final
@dataclass(frozen=True)
class Gaussian:
    """Normal noise on every feature, x - I with Iᵢ ~ N(0, (sigma·|xᵢ - x'ᵢ|)²).

    Args:
        sigma: Standard deviation in units of the displacement.
    """

    sigma: float = 0.2

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise InputError(f"sigma must be positive, not {self.sigma!r}")

    def __call__(self, draw: np.random.Generator, x: Feeds, baseline: Feeds) -> dict[str, Array]:
        """A perturbed input, [*shape] by tensor."""
        made = {}
        for name, array in x.items():
            wide = np.asarray(array, dtype=np.float64)
            noise = draw.standard_normal(wide.shape)
            moved = wide - self.sigma * np.abs(wide - baseline[name]) * noise
            made[name] = moved.astype(np.asarray(array).dtype)
        return made


@final
@dataclass(frozen=True)
class Removal:
    """A part of the input gives way to the baseline: a square of a picture, else random elements.

    Args:
        spatial: The two axes of the square, by tensor; other tensors lose random elements.
        largest: Largest share of a side, or of the elements, that goes; the share is drawn
            uniformly.
    """

    spatial: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    largest: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.largest <= 1:
            raise InputError(f"largest must be in (0, 1], not {self.largest!r}")

    def __call__(self, draw: np.random.Generator, x: Feeds, baseline: Feeds) -> dict[str, Array]:
        """A perturbed input, [*shape] by tensor."""
        made = {}
        for name, array in x.items():
            gone = self._gone(draw, name, np.shape(array))
            made[name] = np.where(gone, baseline[name], array)
        return made

    def _gone(self, draw: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
        share = draw.uniform(0.0, self.largest)
        axes = self.spatial.get(name)
        if axes is None:
            gone = np.asarray(draw.random(shape) < share)
            if gone.size and not gone.any():
                gone.reshape(-1)[draw.integers(gone.size)] = True
            return gone
        gone = np.zeros(shape, dtype=bool)
        at: list[slice] = [slice(None)] * len(shape)
        side = max(1, round(share * min(shape[a] for a in axes)))
        for axis in axes:
            start = int(draw.integers(shape[axis] - side + 1))
            at[axis] = slice(start, start + side)
        gone[tuple(at)] = True
        return gone


__all__ = ["Gaussian", "Perturb", "Removal"]
