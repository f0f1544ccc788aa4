"""The few words that every layer shares: dimensions, tensor specs, feeds and what people see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from igrt.errors import InputError, InternalError

Array: TypeAlias = npt.NDArray[Any]

Dim: TypeAlias = int | str | None
"""One axis of a shape: a fixed size, a symbol such as ``"batch"``, or unknown."""

Feeds: TypeAlias = Mapping[str, Array]
"""Arrays by tensor name."""

FLOAT_TYPES = frozenset({"float16", "bfloat16", "float32", "float64"})


@dataclass(frozen=True)
class TensorSpec:
    """Name, element type and shape of one tensor of a model.

    Args:
        name: The tensor's name in the graph.
        dtype: NumPy's name of the element type, such as ``float32``; ``string`` and ``bfloat16``
            stand for the ONNX types that NumPy lacks.
        shape: One `Dim` per axis, or None where even the rank is unknown.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None

    def __post_init__(self) -> None:
        for dim in self.shape or ():
            if isinstance(dim, int) and dim < 0:
                raise InternalError(f"negative dimension in {self}")

    @property
    def is_float(self) -> bool:
        """Whether the elements are floating-point numbers."""
        return self.dtype in FLOAT_TYPES

    @property
    def rank(self) -> int | None:
        """Number of axes, or None where unknown."""
        return None if self.shape is None else len(self.shape)

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.name}: {self.dtype}[...]"
        dims = ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name}: {self.dtype}[{dims}]"


@dataclass(frozen=True)
class Sweep:
    """Which rules the reverse sweep runs with.

    Args:
        rules: ``gradient`` for the derivatives of the operators, or the name of a set that takes
            the place of some of them (`igrt.vjp.overrides`).
        epsilon: What keeps the divisions of the set from a divisor of zero.
    """

    rules: str = "gradient"
    epsilon: float = 0.0


STRAIGHT_THROUGH = "straight_through"
"""What becomes of a quantised model by default: gradients pass its rounding."""

GRADIENT = Sweep()
"""The derivatives of all operators."""


@dataclass(frozen=True)
class Lookup:
    """What the token numbers of an input select in a table.

    Args:
        input: Name of the input.
        tensor: Name of what is looked up: the axes of the input, then those of a row.
        ids: Token numbers that the table has rows for, counted from 0; None where unknown.
    """

    input: str
    tensor: str
    ids: int | None = None


@dataclass(frozen=True)
class Token:
    """One position of a text as the model reads it.

    Args:
        text: The piece of text, as people read it.
        kind: ``text``; ``unknown`` where the vocabulary lacks it; ``special`` for marks that are
            no text, such as [CLS]; ``padding`` behind the end.
        glued: Whether it continues the token before it, with no space between them.
        segment: Which text of a pair it belongs to, from 0.
    """

    text: str
    kind: str = "text"
    glued: bool = False
    segment: int = 0

    def __post_init__(self) -> None:
        if self.kind not in TOKEN_KINDS:
            raise InternalError(f"unknown kind of token {self.kind!r}")


TOKEN_KINDS = ("text", "unknown", "special", "padding")


@dataclass(frozen=True)
class Graph:
    """A graph with named nodes, such as a molecule.

    Args:
        nodes: Names of the nodes, in their order in the model's arrays. Those of atoms begin with
            the symbol of the element, such as ``OH``.
        edges: Both nodes of every edge.
        kinds: What each edge is, such as ``double``; empty where nothing is known of them.
        places: x and y of every node, y upwards; empty where unknown.
        name: What is said above its picture.
        molecule: Whether the nodes are atoms and the edges bonds, which are drawn as chemists do.

    Raises:
        InputError: If it has no nodes, an edge has no end, or not all edges or nodes are described.
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()
    kinds: tuple[str, ...] = ()
    places: tuple[tuple[float, float], ...] = ()
    name: str = ""
    molecule: bool = False

    def __post_init__(self) -> None:
        count = len(self.nodes)
        told = f"graph `{self.name}`" if self.name else "a graph"
        if not count:
            raise InputError(f"{told} has no nodes")
        for edge in self.edges:
            if not all(0 <= end < count for end in edge):
                raise InputError(
                    f"{told} has {count} nodes, and an edge {list(edge)}",
                    hint="nodes are counted from 0",
                )
        for what, given, wanted in (
            ("kinds", self.kinds, len(self.edges)),
            ("places", self.places, count),
        ):
            if given and len(given) != wanted:
                raise InputError(f"{told}: {len(given)} {what}, expected {wanted}")


@dataclass(frozen=True)
class Display:
    """What people need to see beside the numbers; no number depends on it.

    Args:
        labels: Names of the classes along the explained output's class axis; empty if unknown.
        features: Names of the features (last axis) per input name, e.g. from a CSV header.
        groups: Per input name, features that are shown and listed as one, such as the columns of a
            one-hot encoding: the name of each and the positions of its columns.
        pictures: The original pictures per input name, one uint8 array [height, width, 3] per
            example, cropped and scaled to exactly what the model sees.
        layouts: What the axes of an input are: ``"NCHW"`` or ``"NHWC"`` for a picture; for a signal
            a letter per axis with T for time, such as ``"NT"``, ``"NCT"`` or ``"NTC"``.
        rates: Samples per second of an input that is a signal.
        sources: Where each example came from (file names), for titles.
        tokens: Texts per input or attributed tensor: for every example one token per position of
            the first axis behind the batch.
        graphs: The graph of every example, or one that all have in common.
    """

    labels: tuple[str, ...] = ()
    features: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    pictures: Mapping[str, tuple[Array, ...]] = field(default_factory=dict)
    layouts: Mapping[str, str] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    tokens: Mapping[str, tuple[tuple[Token, ...], ...]] = field(default_factory=dict)
    graphs: tuple[Graph, ...] = ()

    def __post_init__(self) -> None:
        for tensor, groups in self.groups.items():
            columns = [at for group in groups.values() for at in group]
            known = len(self.features.get(tensor, ()))
            if len(set(columns)) < len(columns) or not all(0 <= at < known for at in columns):
                raise InputError(
                    f"the groups of `{tensor}` hold a column twice, or one that has no name",
                    hint="give each group the positions of its columns among `features`",
                )

    def label(self, index: int) -> str:
        """Name of class `index`, or its number where no label is known."""
        return self.labels[index] if 0 <= index < len(self.labels) else str(index)


def as_native(name: str, array: object) -> Array:
    """`array` as a native-endian, C-contiguous NumPy array.

    onnxruntime reads big-endian memory as if it were little-endian, without an error; and refuses
    object arrays late and obscurely.

    Raises:
        InputError: If it is no rectangular array of numbers or strings.
    """
    try:
        result = np.asarray(array)
    except ValueError as error:
        raise InputError(
            f"`{name}` is not a rectangular array: {error}", hint="give rows of the same length"
        ) from None
    if result.dtype.kind == "O":
        raise InputError(
            f"`{name}` holds Python objects, not numbers",
            hint="convert it with numpy.asarray(x, dtype=...)",
        )
    if result.dtype.kind == "c":
        raise InputError(
            f"`{name}` holds complex numbers; ONNX models take real ones",
            hint="take their real part or their magnitude",
        )
    if not result.dtype.isnative:
        result = result.astype(result.dtype.newbyteorder("="))
    # ascontiguousarray turns a 0-d array into a 1-d one
    return result if result.flags.c_contiguous else np.ascontiguousarray(result)


__all__ = [
    "FLOAT_TYPES",
    "GRADIENT",
    "STRAIGHT_THROUGH",
    "TOKEN_KINDS",
    "Array",
    "Dim",
    "Display",
    "Feeds",
    "Graph",
    "Lookup",
    "Sweep",
    "TensorSpec",
    "Token",
    "as_native",
]
