"""`Placed`: inputs and baselines in the way that a model takes them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from igrt.engine import Engine
from igrt.rows import Batching
from igrt.specs import Array, Feeds


@final
@dataclass(frozen=True)
class Ends:
    """End points of the paths, and the model's other inputs.

    Args:
        inputs: Attributed tensors at the input, [examples, …] by name.
        baselines: The same at the baselines, [sets x examples, …] by name.
        others: Further inputs, [examples, …] by name.
        shared: Further inputs without a batch axis, by name.
        count: Number of examples.
        common: Whether all examples have the same baselines, which are then there once.
    """

    inputs: dict[str, Array]
    baselines: dict[str, Array]
    others: dict[str, Array]
    shared: dict[str, Array]
    count: int
    common: bool = False

    @property
    def sets(self) -> int:
        """Number of baselines of an example."""
        return len(next(iter(self.baselines.values()))) // (1 if self.common else self.count)

    @property
    def pool(self) -> Array:
        """Row of each baseline of each example, [examples, sets] int64."""
        rows = np.arange(self.sets)
        if self.common:
            return np.broadcast_to(rows, (self.count, self.sets))
        return rows * self.count + np.arange(self.count)[:, np.newaxis]

    @cached_property
    def owner(self) -> Array:
        """Example of each baseline, [rows of `baselines`] int64."""
        return np.tile(np.arange(1 if self.common else self.count), self.sets)

    @property
    def from_zero(self) -> bool:
        """Whether all paths begin at zero."""
        return not any(b.any() for b in self.baselines.values())


@final
@dataclass(frozen=True)
class Placed:
    """Inputs in the way that the model takes them.

    Args:
        layout: Which inputs have a batch axis.
        bare: Whether the user left that axis out.
        ends: Where the paths end and begin.
        engine: What runs them.
        outputs: The explained output at the inputs, [examples, …].
        shown: The attributed tensors at the inputs, [examples, …] by name.
    """

    layout: Batching
    bare: bool
    ends: Ends
    engine: Engine
    outputs: Array
    shown: Feeds


def probes(ends: Ends) -> dict[str, Array]:
    """Two different rows of every input that has a batch axis, [2, …] by name."""
    # half way rather than the baseline: rows of zeros would not show a leak
    first = {n: _probe(x[0], ends.baselines[n][0]) for n, x in ends.inputs.items()}
    return first | {n: np.stack([a[0], a[0]]) for n, a in ends.others.items()}


def _probe(x: Array, b: Array) -> Array:
    """Two rows on the path: its end and its middle."""
    return np.stack([x, (0.5 * (x.astype(np.float64) + b)).astype(x.dtype)])


__all__ = ["Ends", "Placed", "probes"]
