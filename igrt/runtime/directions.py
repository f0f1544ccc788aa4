"""The features of an example, and paths on which the Hessian meets each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import numpy as np

from igrt.runtime.paths import Paths
from igrt.specs import Array


@final
@dataclass(frozen=True)
class Blocks:
    """The features of an example, and the elements that each stands for.

    Args:
        counts: Features per attributed tensor.
        sizes: Elements of each, per attributed tensor.
    """

    counts: Mapping[str, int]
    sizes: Mapping[str, int]

    @staticmethod
    def of(shapes: Mapping[str, tuple[int, ...]], axes: int | None) -> Blocks:
        """Features along the first axes of each tensor.

        Args:
            shapes: Shape of each attributed tensor for one example.
            axes: How many axes tell features apart; None for the first one of two, else for all.
        """
        counts, sizes = {}, {}
        for name, shape in shapes.items():
            kept = (1 if len(shape) == 2 else len(shape)) if axes is None else axes
            counts[name] = int(np.prod(shape[:kept], dtype=np.int64))
            sizes[name] = int(np.prod(shape[kept:], dtype=np.int64))
        return Blocks(counts, sizes)

    @property
    def features(self) -> int:
        """Number of features of all tensors."""
        return sum(self.counts.values())

    @cached_property
    def feature_of(self) -> Array:
        """Feature of each element, [elements] int64."""
        sizes = np.repeat(list(self.sizes.values()), list(self.counts.values()))
        return np.repeat(np.arange(self.features), sizes)

    @cached_property
    def parts(self) -> dict[str, slice]:
        """Where the elements of each tensor are among all of them."""
        ends = np.cumsum([n * self.sizes[name] for name, n in self.counts.items()]).tolist()
        starts = [0, *ends[:-1]]
        return {n: slice(a, b) for n, a, b in zip(self.counts, starts, ends, strict=True)}

    def summed(self, elements: Array) -> Array:
        """Sums over the elements of each feature, [rows, elements] to [rows, features]."""
        sums = [
            elements[:, part].reshape(len(elements), self.counts[n], -1).sum(axis=2)
            for n, part in self.parts.items()
        ]
        return np.concatenate(sums, axis=1)

    def by_tensor(self, matrix: Array) -> dict[str, Array]:
        """Rows of a matrix with one for each feature, by attributed tensor."""
        ends = np.cumsum(list(self.counts.values()))[:-1]
        return dict(zip(self.counts, np.split(matrix, ends), strict=True))


@final
@dataclass(frozen=True, eq=False)
class Directions:
    """How a graph of products H·v is fed with the paths of a call.

    Args:
        blocks: The features.
        inputs: Input for v per attributed tensor.
        cotangent: Input for the cotangent of the explained output.
    """

    blocks: Blocks
    inputs: Mapping[str, str]
    cotangent: str

    def bytes_per_path(self, paths: Paths) -> int:
        """Bytes of what a path with all its features is fed with."""
        job = sum(3 * paths.inputs[n][0].nbytes for n in self.inputs)
        job += sum(a[0].nbytes for a in paths.others.values()) + paths.cotangents[0].nbytes
        return int(self.blocks.features * job)

    def jobs(self, paths: Paths, rows: Sequence[int]) -> Jobs:
        """A path for every feature that moves, along some paths of a call.

        v is x - x' at the elements of the feature and 0 elsewhere, so that (x - x')·(H·v) has the
        interactions of the feature with all others.
        """
        displacement = np.stack([self._displacement(paths, row) for row in rows])
        owner, feature = np.nonzero(self.blocks.summed((displacement != 0).astype(np.int64)))
        path = np.asarray(rows, dtype=np.int64)[owner]
        along = self._along(paths, path, feature, displacement[owner])
        return Jobs(along, owner, feature, displacement)

    def sample(self, paths: Paths) -> Paths:
        """The path of the first feature along the first path of a call, whether it moves or not."""
        first = np.zeros(1, dtype=np.int64)
        return self._along(paths, first, first, self._displacement(paths, 0)[np.newaxis])

    def _along(self, paths: Paths, path: Array, feature: Array, displacement: Array) -> Paths:
        """A path for each pair of a path of the call and a feature.

        Args:
            paths: The paths of the call.
            path: Which one, [jobs] int64.
            feature: Which feature, [jobs] int64.
            displacement: x - x' of that path, [jobs, elements].
        """
        example = paths.example[path]
        others = {n: a[example] for n, a in paths.others.items()}
        chosen = self.blocks.feature_of == feature[:, np.newaxis]
        directions = np.where(chosen, displacement, 0.0)
        for name, part in self.blocks.parts.items():
            x = paths.inputs[name]
            v = directions[:, part].astype(x.dtype)
            others[self.inputs[name]] = v.reshape(len(path), *x.shape[1:])
        shared = dict(paths.shared)
        if paths.batched and not paths.output_batched:  # then all jobs are of one path
            shared[self.cotangent] = paths.cotangents[path[0] if len(path) else 0]
        else:
            others[self.cotangent] = paths.cotangents[path]
        return replace(
            paths,
            inputs={n: x[example] for n, x in paths.inputs.items()},
            baselines={n: b[paths.baseline[path]] for n, b in paths.baselines.items()},
            example=np.arange(len(path)),
            baseline=np.arange(len(path)),
            cotangents=np.ones(len(path), paths.cotangents.dtype),
            others=others,
            shared=shared,
            output_batched=paths.batched,
            change=np.zeros(len(path)),
        )

    def _displacement(self, paths: Paths, row: int) -> Array:
        """x - x' of a path, [elements] float64; 0 where they are equal, at infinities too."""
        found = []
        for name in self.inputs:
            x, b = paths.flat_ends(name, row)
            with np.errstate(invalid="ignore"):
                found.append(np.where(x == b, 0.0, x.astype(np.float64) - b))
        return np.concatenate(found)


@final
@dataclass(frozen=True, eq=False)
class Jobs:
    """A path for every feature that moves, along some paths of a call.

    Args:
        paths: The paths.
        owner: Which of the paths of the call each is along, by its number among them, [jobs] int64.
        feature: Feature that each is for, [jobs] int64.
        displacement: x - x' of the paths of the call, [paths of the call, elements] float64.
    """

    paths: Paths
    owner: Array
    feature: Array
    displacement: Array


__all__ = ["Blocks", "Directions", "Jobs"]
