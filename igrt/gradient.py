"""`GradientGraph`: the graph that gives gradients, and how it is fed and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np

from igrt.derived import Derived
from igrt.runtime.paths import Paths
from igrt.specs import Feeds, Sweep

Shapes: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]
"""Shape of each input by name, in the order of the names."""


@final
@dataclass(frozen=True, eq=False)
class GradientGraph:
    """A gradient graph, and how it is fed and read.

    Args:
        model: The graph; its outputs are gradients.
        lowered: The same as onnxruntime runs it fastest.
        dtype: Element type of the explained output.
        cotangent: Name of the cotangent input, in the shape of that output.
        gradients: Name of the gradient output per attributed tensor.
        references: Name of the input for the baseline per attributed tensor, where the rules
            compare with one; else empty.
        fed: Inputs of the graph.
        constant: Whether the gradient is the same everywhere on a straight path.
        constant_from_zero: The same where the path begins at zero.
        smooth: Whether the model is made of analytic operators.
    """

    model: Derived
    lowered: Derived
    dtype: str
    cotangent: str
    gradients: Mapping[str, str]
    references: Mapping[str, str]
    fed: Sequence[str]
    constant: bool
    constant_from_zero: bool
    smooth: bool

    def shapes(self, paths: Paths) -> Shapes:
        """Shape of each input of the graph on some paths, with a batch of one row."""
        lead = (1,) if paths.batched else ()
        arrays = {**{n: x for n, (x, _) in paths.ends.items()}, **paths.others}
        shapes = {n: (*lead, *a.shape[1:]) for n, a in arrays.items()}
        shapes |= {r: shapes[n] for n, r in self.references.items()}
        lead = (1,) if paths.output_batched else ()
        shapes[self.cotangent] = (*lead, *paths.cotangents.shape[1:])
        shapes |= {n: a.shape for n, a in paths.shared.items()}
        return tuple(sorted(shapes.items()))

    def repeated(self, paths: Paths, rows: int) -> Feeds:
        """What the graph is fed with at the input of the first path, some times."""
        path = np.zeros(rows, dtype=np.int64)
        feeds = paths.at_inputs(path)
        baseline = paths.baseline[path] if paths.batched else paths.baseline[0]
        feeds |= {r: paths.baselines[n][baseline] for n, r in self.references.items()}
        return {**feeds, self.cotangent: paths.cotangents_of(path)}


def gradient_graph(
    part: Derived, of: str, wrt: Sequence[str], sweep: Sweep, also: Sequence[str]
) -> GradientGraph:
    """The gradient graph of a model.

    Args:
        part: The model from the attributed tensors to the explained output.
        of: Explained output.
        wrt: Attributed tensors.
        sweep: Rules of the reverse sweep.
        also: Further tensors that the graph gives.
    """
    rules, epsilon = sweep.rules, sweep.epsilon
    model = part.then("gradients", of=of, wrt=wrt, rules=rules, epsilon=epsilon, also=also)
    return GradientGraph(model, model.then("lowered"), **model.facts)


__all__ = ["GradientGraph", "Shapes", "gradient_graph"]
