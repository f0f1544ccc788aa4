"""`Paths`: the straight paths of one call, and `Integrals`, what they come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import numpy as np

from igrt.runtime.plan import Plan
from igrt.specs import Array


@final
@dataclass(frozen=True, eq=False)
class Paths:
    """Straight paths to integrate over.

    Args:
        inputs: Attributed inputs, [examples, *shape] by name.
        baselines: Their baselines, [all baselines, *shape] by name.
        example: Example of each path, [paths] int64.
        baseline: Row in `baselines` of each path, [paths] int64.
        cotangents: One per path, [paths, *output shape].
        others: Further inputs of the model that have a row per example, by name.
        shared: Further inputs without a batch axis, fed as they are, by name.
        batched: Whether the model's inputs have a batch axis; without, a run takes a single row.
        output_batched: Whether the explained output has one; without, likewise.
        change: F(x) - F(x') per path, [paths] float64.
        references: Input of the model that is fed with the baseline, per attributed input.
        times_difference: Whether gradients are multiplied by x - x'.
        moving: What the model is fed with along the path where that is not the attributed inputs:
            values at the inputs, [examples, *shape] by name. A step graph begins at such tensors.
        moving_baselines: The same at the baselines, [all baselines, *shape] by name.
    """

    inputs: Mapping[str, Array]
    baselines: Mapping[str, Array]
    example: Array
    baseline: Array
    cotangents: Array
    others: Mapping[str, Array]
    shared: Mapping[str, Array]
    batched: bool
    output_batched: bool
    change: Array
    references: Mapping[str, str] = field(default_factory=dict)
    times_difference: bool = True
    moving: Mapping[str, Array] | None = None
    moving_baselines: Mapping[str, Array] | None = None

    @property
    def ends(self) -> dict[str, tuple[Array, Array]]:
        """Inputs and baselines of what the model is fed with along the path."""
        at, begin = self.moving, self.moving_baselines
        if at is None or begin is None:
            at, begin = self.inputs, self.baselines
        return {n: (x, begin[n]) for n, x in at.items()}

    @cached_property
    def end_bytes(self) -> int:
        """Bytes of all inputs and baselines, but for baselines of zero, never written to."""
        return sum(x.nbytes + (b.nbytes if b.any() else 0) for x, b in self.ends.values())

    def at_inputs(self, path: Array) -> dict[str, Array]:
        """What the model is fed with at the inputs of some paths, beside cotangents and references.

        Args:
            path: The paths, [rows] int64; a single one where inputs have no batch axis.
        """
        example = self.example[path] if self.batched else self.example[path[0]]
        own = {**{n: x for n, (x, _) in self.ends.items()}, **self.others}
        return {**self.shared, **{n: a[example] for n, a in own.items()}}

    def cotangents_of(self, path: Array) -> Array:
        """The cotangents that go in for some paths; of the first, where outputs have no rows."""
        return self.cotangents[path if self.output_batched else path[0]]

    def flat_ends(self, name: str, path: int) -> tuple[Array, Array]:
        """Input and baseline of a path, [features] each."""
        x, b = self.inputs[name][self.example[path]], self.baselines[name][self.baseline[path]]
        return x.reshape(-1), b.reshape(-1)

    def ends_of(self, name: str, path: Array) -> tuple[Array, Array]:
        """Inputs and baselines of some paths, [paths, features] each."""
        x = rows_of(self.inputs[name], self.example[path])
        b = rows_of(self.baselines[name], self.baseline[path])
        return x.reshape(len(path), -1), b.reshape(len(path), -1)

    def __len__(self) -> int:
        return len(self.example)


@final
@dataclass(frozen=True, eq=False)
class Integrals:
    """What the paths integrate to.

    Args:
        values: (x - x') · ∫ gradient, [paths, *shape] float64 by name.
        error: Estimated absolute quadrature error of the values in the L1 norm, [paths]; NaN where
            the rule gives no estimate.
        evaluations: Gradient evaluations spent, [paths] int64.
        chunk: Rows per run at the end: smaller than planned if memory ran out.
        kept: Most bytes of the sums, or gradients, of paths in work; None where nobody counted.
        interactions: What pairs of features come to, [paths, features of the tensor, all features]
            float64 by name; empty where nobody asked.
        shared: How paths on the same line share points, in words; empty where no two are.
        rows: Most rows in a run; None where nobody counted.
        points: Most different points in a run, likewise.
        plan: What the runs may take, where they are of another graph than the whole one.
    """

    values: dict[str, Array]
    error: Array
    evaluations: Array
    chunk: int
    kept: int | None = None
    interactions: dict[str, Array] = field(default_factory=dict)
    shared: str = ""
    rows: int | None = None
    points: int | None = None
    plan: Plan | None = None

    @property
    def features(self) -> int:
        """Numbers that a path comes to."""
        return sum(v[:1].size for v in self.values.values())

    @staticmethod
    def empty(paths: int, shapes: Mapping[str, tuple[int, ...]], chunk: int) -> Integrals:
        """Results still to be found.

        Args:
            paths: How many.
            shapes: Shape of each attributed tensor for one example.
            chunk: Rows per run.
        """
        values = {n: np.zeros((paths, *shape)) for n, shape in shapes.items()}
        return Integrals(values, np.zeros(paths), np.zeros(paths, dtype=np.int64), chunk)

    @staticmethod
    def joined(blocks: Sequence[Integrals]) -> Integrals:
        """Results of paths in blocks, as one."""
        if len(blocks) == 1:
            return blocks[0]
        return Integrals(
            {n: np.concatenate([b.values[n] for b in blocks]) for n in blocks[0].values},
            np.concatenate([b.error for b in blocks]),
            np.concatenate([b.evaluations for b in blocks]),
            blocks[-1].chunk,
            max(b.kept or 0 for b in blocks),
            shared=blocks[-1].shared,
            rows=max(b.rows or 0 for b in blocks),
            points=max(b.points or 0 for b in blocks),
            plan=blocks[0].plan,
        )

    def store(
        self, path: Array, values: Sequence[Array], error: Array | float, evaluations: int
    ) -> None:
        """Write down the results of some paths; values are [paths, features] each."""
        for of_paths, flat in zip(self.values.values(), values, strict=True):
            of_paths[path] = flat.reshape(len(path), *of_paths.shape[1:])
        self.error[path], self.evaluations[path] = error, evaluations


def rows_of(array: Array, index: Array) -> Array:
    """Some rows of an array; a single one is not copied."""
    return array[index] if len(index) != 1 else array[index[0] : index[0] + 1]


def result_bytes(features: int, paths: int, rows: int) -> int:
    """Bytes of results in float64.

    The values of each path, the means where there are several to a row, and what is in work.
    """
    means = rows if rows < paths else 0
    return 8 * features * (paths + means + 2)


__all__ = ["Integrals", "Paths", "result_bytes", "rows_of"]
