"""`Case`: a model with inputs and a target, and everything that a check may ask of it.

Checks see flat points: all attributed elements of a row one after the other, [rows, features].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, final

import numpy as np
import onnx

from igrt.attribution import Attribution
from igrt.engine import Engine
from igrt.errors import NonFiniteError
from igrt.selection import Index
from igrt.specs import Array, Feeds
from igrt.targets import Resolved, Target

_ROWS = 32


class Explain(Protocol):
    """What is checked: attributions of any model at any inputs.

    The model's attributed tensors are inputs of it. Baselines have the shapes of the inputs.
    """

    def __call__(
        self,
        model: onnx.ModelProto,
        inputs: Feeds,
        *,
        of: str,
        wrt: Sequence[str],
        target: Target,
        baselines: Feeds,
    ) -> Attribution:
        """Attribute the target's score to the inputs."""
        ...


@final
@dataclass(frozen=True, eq=False)
class Case:
    """A model, some rows of input with their baselines and targets, and what explains them.

    Args:
        model: The model; attributed tensors are inputs of it.
        of: Explained output.
        wrt: Attributed inputs.
        x: Attributed inputs, [rows, features].
        b: Baselines, [rows, features].
        shapes: Shape of one row by attributed input.
        dtypes: Element type by attributed input.
        others: Other inputs, [rows, …] by name.
        shared: Inputs without a batch axis, by name.
        picked: The explained score of each row.
        forward: Runs the model, as the user gave it where that can be.
        engine: Runs igrt's gradient graph.
        explain: What is checked.
        tolerance: Error that was asked of it, relative L1.
        seed: Seed of whatever a check draws.
        notes: What somebody who reads the table has to know.
        layouts: ``NCHW`` or ``NHWC`` of the inputs that are pictures.
        times_displacement: Whether attributions have x − x′ as a factor; gradients have not.
        equals: Further models that compute the same, by name.
    """

    model: onnx.ModelProto
    of: str
    wrt: tuple[str, ...]
    x: Array
    b: Array
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, np.dtype[Any]]
    others: Feeds
    shared: Feeds
    picked: Resolved
    forward: Engine
    engine: Engine
    explain: Explain
    tolerance: float
    seed: int
    notes: tuple[str, ...] = ()
    layouts: Mapping[str, str] = field(default_factory=dict)
    times_displacement: bool = True
    equals: Mapping[str, onnx.ModelProto] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.x)

    @property
    def target(self) -> tuple[Index, ...]:
        """What is explained in each row, for people."""
        return self.picked.index

    @property
    def features(self) -> int:
        """Attributed elements of a row."""
        return int(self.x.shape[1])

    def tensors(self, z: Array) -> dict[str, Array]:
        """Flat points as the model's tensors, [points, *shape] by name."""
        made, start = {}, 0
        for name, shape in self.shapes.items():
            size = int(np.prod(shape, dtype=np.int64))
            part = z[:, start : start + size].reshape(len(z), *shape)
            made[name] = np.ascontiguousarray(part.astype(self.dtypes[name]))
            start += size
        return made

    def rounded(self, z: Array) -> Array:
        """Flat points as the model sees them, in its own element types."""
        return flat(self.tensors(z))

    def spacing(self, z: Array) -> Array:
        """Distance from each number to the next in the model's own element types."""
        return flat({n: np.spacing(np.abs(a)) for n, a in self.tensors(z).items()})

    def name_of(self, feature: int) -> str:
        """A feature's tensor and place in it, for people."""
        for name, shape in self.shapes.items():
            size = int(np.prod(shape, dtype=np.int64))
            if feature < size:
                place = [int(i) for i in np.unravel_index(feature, shape)] if shape else []
                return f"{name}{place}"
            feature -= size
        raise IndexError(feature)

    def outputs(self, z: Array, row: Array) -> Array:
        """The model's whole explained output at flat points, [points, …].

        Args:
            z: Points, [points, features].
            row: Row that each point belongs to, [points].
        """
        return self.forward.forward(self.tensors(z), self.others, self.shared, row)

    def score(self, z: Array, row: Array) -> Array:
        """The explained score at flat points, [points] float64."""
        return self.picked.rows(row).pick(self.outputs(z, row))

    def gradient(self, z: Array, row: Array) -> Array:
        """Gradient of the explained score by igrt's gradient graph, [points, features] float64."""
        engine, graph = self.engine, self.engine.lean
        cotangents = self.picked.rows(row).cotangents(self.output_shape, graph.dtype)
        names = [graph.gradients[n] for n in self.wrt]
        needed = set(graph.fed)
        step, found = engine.most_rows or _ROWS, []
        for start in range(0, len(z), step):
            part = slice(start, start + step)
            feeds = self.tensors(z[part])
            feeds |= {n: a[row[part]] for n, a in self.others.items()}
            if not engine.batched:
                feeds = {n: a[0] for n, a in feeds.items()}
            ct = cotangents[part] if engine.output_batched else cotangents[part][0]
            fed = {**self.shared, **feeds, graph.cotangent: ct}
            made = engine.gradient.run(names, {n: a for n, a in fed.items() if n in needed})
            rows = len(z[part])
            found.append(np.concatenate([m.reshape(rows, -1) for m in made], axis=1))
        gradient = np.concatenate(found).astype(np.float64)
        if not np.isfinite(gradient).all():
            raise NonFiniteError(
                "the gradient is NaN or infinite near the path",
                hint="check the input and the baseline",
            )
        return gradient

    @cached_property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the explained output without the batch axis."""
        return self.outputs(self.x[:1], np.zeros(1, np.int64)).shape[1:]

    def attribute(
        self,
        z: Array,
        b: Array,
        row: Array,
        *,
        model: onnx.ModelProto | None = None,
        of: str | None = None,
        target: list[Any] | None = None,
    ) -> Attributed:
        """Attributions of flat points, of this model or another one with the same inputs.

        Args:
            z: Inputs, [points, features].
            b: Baselines, [points, features].
            row: Row that each point belongs to, [points].
            model: The model; this case's by default.
            of: Explained output.
            target: What is explained of each point.
        """
        chosen = self.picked.rows(row).masks(self.output_shape) if target is None else target
        points, base = self.tensors(z), self.tensors(b)
        parts = [slice(None)] if self.engine.batched else [slice(k, k + 1) for k in range(len(z))]
        values, error = [], []
        for part in parts:
            feeds = {n: a[part] for n, a in points.items()}
            feeds |= {n: a[row[part]] for n, a in self.others.items()}
            below = {n: a[part] for n, a in base.items()}
            if not self.engine.batched:
                feeds = {n: a[0] for n, a in feeds.items()}
                below = {n: a[0] for n, a in below.items()}
            found = self.explain(
                self.model if model is None else model,
                {**self.shared, **feeds},
                of=of or self.of,
                wrt=self.wrt,
                target=chosen[part],
                baselines=below,
            )
            count = len(z[part])
            flat = [np.asarray(found.values[n], np.float64).reshape(count, -1) for n in self.wrt]
            values.append(np.concatenate(flat, axis=1))
            error.append(np.asarray(found.error, dtype=np.float64))
        return Attributed(np.concatenate(values), np.concatenate(error))

    def first(self, count: int) -> Case:
        """The same with the first rows only."""
        return replace(
            self,
            x=self.x[:count],
            b=self.b[:count],
            others={n: a[:count] for n, a in self.others.items()},
            picked=self.picked.rows(np.arange(min(count, len(self)))),
        )

    @cached_property
    def attributed(self) -> Attributed:
        """Attributions of all rows."""
        return self.attribute(self.x, self.b, self.rows)

    @property
    def rows(self) -> Array:
        """Numbers of the rows, [rows]."""
        return np.arange(len(self))

    def on(self, alphas: Array, rows: Array) -> tuple[Array, Array]:
        """Points b + α(x − b) of some rows, every α for every row, and the row of each."""
        row = np.repeat(rows, len(alphas))
        alpha = np.tile(alphas, len(rows))[:, np.newaxis]
        return self.b[row] + alpha * (self.x[row] - self.b[row]), row


@final
@dataclass(frozen=True, eq=False)
class Attributed:
    """Attributions of flat points.

    Args:
        values: [points, features] float64.
        error: Error that the method reports, relative L1, [points]; NaN where it reports none.
    """

    values: Array
    error: Array


def flat(tensors: Feeds) -> Array:
    """Rows of tensors as flat points, [rows, features] float64."""
    rows = [np.asarray(a, dtype=np.float64).reshape(len(a), -1) for a in tensors.values()]
    return np.concatenate(rows, axis=1)


__all__ = ["Attributed", "Case", "Explain", "flat"]
