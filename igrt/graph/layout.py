"""Which axis of an input is time: what its first convolution or recurrence runs along."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx

from igrt.graph.view import Graph, constant_node, read_tensor, subgraphs
from igrt.specs import Array

Axes = tuple[int | None, ...]
"""For each axis of a tensor, which axis of the input it is; None for none of them."""

_ALIKE = frozenset(
    "Abs Add BatchNormalization Cast Clip Concat DequantizeLinear Div Dropout Exp Identity "
    "InstanceNormalization LayerNormalization LeakyRelu Log Max Min Mul Neg Pad Pow QuantizeLinear "
    "Relu Round Sigmoid Slice Split Sqrt Sub Tanh".split()
)
"""Operators whose outputs have the axes of what they are given."""

_WINDOWS = frozenset("AveragePool Conv ConvTranspose LpPool MaxPool".split())
_RECURRENT = frozenset("GRU LSTM RNN".split())


def layouts(graph: Graph, names: Iterable[str]) -> dict[str, str]:
    """Layouts of those inputs that are signals, such as ``NT`` or ``NCT``.

    An input is one if the first operator that runs along an axis, rather than mixing all numbers,
    runs along exactly one: a one-dimensional convolution or pooling, a recurrence, a scan or a
    Fourier transform.

    Args:
        graph: The model.
        names: Names of inputs.

    Returns:
        A letter for each axis: N for the examples, T for time, C for all others.
    """
    shapes = {s.name: s.shape for s in graph.inputs}
    found = {}
    for name in names:
        shape = shapes.get(name)
        if shape is None:
            continue
        # an axis of one number is no direction
        start: Axes = tuple(None if d == 1 and at else at for at, d in enumerate(shape))
        time = _Walk(graph, name, start).time(graph.nodes)
        if time is not None:
            letters = ["C"] * len(shape)
            letters[0] = "N"
            letters[time] = "T"
            found[name] = "".join(letters)
    return found


class _Walk:
    """Follows an input through a graph, and into the branches of it."""

    def __init__(self, graph: Graph, name: str, axes: Axes) -> None:
        self._graph = graph
        self._axes: dict[str, Axes] = {name: axes}
        self._inner: dict[str, Array] = {}
        self._sizes: dict[str, Axes] = {}  # of lists of sizes; None for a size of 1

    def time(self, nodes: Sequence[onnx.NodeProto]) -> int | None:
        """The axis that the first operator along one axis runs along; None if there is none."""
        for node in nodes:
            if node.op_type == "If":
                time = self._time_in_branches(node)
                if time is not None:
                    return time
            value = constant_node(node)
            if value is not None:
                self._inner[node.output[0]] = value
            self._note_sizes(node)
            given = next((n for n in node.input if n in self._axes), None)
            if given is None:
                continue
            axes = self._axes[given]
            along = self._along(node, given, axes)
            if along:
                return along[0] if len(along) == 1 else None
            made = self._after(node, given, axes)
            if made is not None:
                self._axes |= {output: made for output in node.output if output}
        return None

    def _time_in_branches(self, node: onnx.NodeProto) -> int | None:
        """The same for the branches of an If, whose outputs are noted."""
        for body in subgraphs(node):
            stored = {t.name: read_tensor(t) for t in body.initializer}
            self._inner |= {n: a for n, a in stored.items() if a is not None}
            time = self.time(body.node)
            if time is not None:
                return time
            for output, made in zip(node.output, body.output, strict=False):
                axes, other = self._axes.get(made.name), self._axes.get(output)
                # of a branch that squeezes axes of one number and one that does not, it runs
                if axes is not None and (other is None or len(axes) < len(other)):
                    self._axes[output] = axes
        return None

    def _note_sizes(self, node: onnx.NodeProto) -> None:
        """Which axes a list of sizes is made of, as PyTorch computes the shape of a Reshape."""
        parts: list[Axes | None] = []
        match node.op_type:
            case "Shape":
                parts = [self._axes.get(node.input[0])]
            case "Gather" if node.input[0] in self._sizes:
                index, sizes = self._constant(node.input[1]), self._sizes[node.input[0]]
                if index is not None and all(-len(sizes) <= i < len(sizes) for i in index.flat):
                    parts = [tuple(sizes[int(i)] for i in index.flat)]
            case "Cast" | "Unsqueeze":
                parts = [self._sizes.get(node.input[0])]
            case "Concat":
                parts = [self._sizes.get(n) or self._ones(n) for n in node.input]
        known = [p for p in parts if p is not None]
        if known and len(known) == len(parts):
            self._sizes[node.output[0]] = tuple(a for part in known for a in part)

    def _ones(self, name: str) -> Axes | None:
        value = self._constant(name)
        return (None,) * value.size if value is not None and (value == 1).all() else None

    def _along(self, node: onnx.NodeProto, given: str, axes: Axes) -> list[int]:
        """Which axes of the input an operator runs along."""
        ints = {a.name: a.i for a in node.attribute}
        places: Sequence[int] = ()
        if given != node.input[0] and node.op_type != "Scan":
            return []  # a weight, or the state that a recurrence begins with
        if node.op_type in _WINDOWS:
            places = range(2, len(axes))
        elif node.op_type in _RECURRENT:
            places = (1 if ints.get("layout") else 0,)
        elif node.op_type == "STFT":
            places = (1,)
        elif node.op_type == "DFT":
            places = (ints.get("axis", 1),)
        elif node.op_type == "Scan":
            first = len(node.input) - ints["num_scan_inputs"]
            at = list(node.input).index(given) - first
            listed = next((a.ints for a in node.attribute if a.name == "scan_input_axes"), ())
            places = () if at < 0 else (listed[at] if listed else 0,)
        return [a for p in places if -len(axes) <= p < len(axes) and (a := axes[p]) is not None]

    def _after(self, node: onnx.NodeProto, given: str, axes: Axes) -> Axes | None:
        """Axes of what an operator makes; None where they can no longer be told."""
        match node.op_type:
            case "Transpose":
                perm = next((a.ints for a in node.attribute if a.name == "perm"), None)
                perm = perm or range(len(axes))[::-1]
                # broadcasting may have added axes that were not counted
                return tuple(axes[p] for p in perm) if len(perm) == len(axes) else None
            case "Unsqueeze":
                places = self._places(node)
                if not places:
                    return None
                rank = len(axes) + len(places)
                new, old = {p % rank for p in places}, iter(axes)
                return tuple(None if at in new else next(old, None) for at in range(rank))
            case "Squeeze":
                places = self._places(node)
                if not places or not axes:
                    return None
                gone = {p % len(axes) for p in places}
                return tuple(a for at, a in enumerate(axes) if at not in gone)
            case "Reshape":
                return self._reshaped(node, axes)
            case "MatMul":
                return (*axes[:-1], None) if given == node.input[0] else None
        return axes if node.op_type in _ALIKE else None

    def _places(self, node: onnx.NodeProto) -> list[int]:
        listed = next((list(a.ints) for a in node.attribute if a.name == "axes"), None)
        if listed is None and len(node.input) > 1:
            value = self._constant(node.input[1])
            listed = None if value is None else [int(v) for v in value.reshape(-1)]
        return listed or []

    def _reshaped(self, node: onnx.NodeProto, axes: Axes) -> Axes | None:
        """Axes where a Reshape only adds or takes away axes of one number."""
        if node.input[1] in self._sizes:
            return self._sizes[node.input[1]]
        value = self._constant(node.input[1])
        if value is None:
            return None
        sizes = [int(v) for v in value]
        if axes[:1] == (0,) and sizes:  # the examples, whose number may be 1, too
            rest = _spread(axes[1:], sizes[1:])
            return None if rest is None else (0, *rest)
        return _spread(axes, sizes)

    def _constant(self, name: str) -> Array | None:
        return self._inner[name] if name in self._inner else self._graph.constant(name)


def _spread(axes: Axes, sizes: list[int]) -> Axes | None:
    kept = [a for a in axes if a is not None]
    if sizes.count(1) + len(kept) != len(sizes):
        return None
    old = iter(kept)
    return tuple(None if size == 1 else next(old) for size in sizes)


__all__ = ["layouts"]
