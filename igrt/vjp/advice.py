"""What could be explained instead, where what was asked for has no gradient: checked, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from igrt.graph import Graph
from igrt.graph.view import all_inputs
from igrt.vjp.pullback import Reach
from igrt.vjp.survey import survey

_TRIES = 12
"""Tensors tried for a hint: each takes a look at the whole model."""

SIZES = frozenset(
    {
        "CastLike",
        "ConstantOfShape",
        "EyeLike",
        "OptionalHasElement",
        "RandomNormalLike",
        "RandomUniformLike",
        "SequenceLength",
        "Shape",
        "Size",
    }
)
"""Operators that take the size or type of a tensor: nothing of its elements is lost in them."""

_CHOOSING = frozenset(
    {"ArgMax", "ArgMin", "Cast", "Hardmax", "Multinomial", "NonMaxSuppression", "TopK", "ZipMap"}
)
"""Operators that turn scores into a decision: what is in front of them is worth explaining."""

MOVING = frozenset(
    {
        "Cast",
        "Concat",
        "Constant",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operators that compute nothing."""


def first_floats(graph: Graph, names: Iterable[str]) -> list[str]:
    """The float tensors that are made from whole numbers, texts or truth values behind some names.

    Args:
        graph: Normalised model.
        names: Tensors to begin at.
    """
    found: list[str] = []
    for index in _walk(graph, names, lambda n: n.op_type not in SIZES):
        node = graph.nodes[index]
        made = [o for o in node.output if o and graph.spec(o).is_float and o not in found]
        # what picks from floats that come from elsewhere is not made of the numbers
        if made and all(stored(graph, n) for n in node.input if graph.spec(n).is_float):
            found += made
        if len(found) >= _TRIES:
            break
    return found


def cut_paths(graph: Graph, found: Reach) -> list[str]:
    """The nodes at which paths end because the operator is locally constant, by name and operator.

    Sizes and types of tensors are no paths: nothing of the elements is lost there.
    """
    ends = []
    for index, formals in sorted(found.blocked.items()):
        node = graph.nodes[index]
        # a zero point that follows the data is part of the rounding, which is passed straight
        if node.op_type not in SIZES and not all(f.endswith("zero_point") for f in formals):
            ends.append(f"{node.name} ({node.op_type})")
    return ends


def in_front(graph: Graph, of: str, wrt: Sequence[str], found: Reach | None = None) -> str:
    """A hint that names float tensors in front of what blocks the way, which have a gradient.

    Args:
        graph: Normalised model.
        of: The tensor that has none.
        wrt: With respect to what.
        found: What lies between them, if that is known.
    """
    if found is None:
        graph, found = survey(graph, of, wrt)
    tried = 0
    blocked = sorted({*found.blocked, *found.missing}, reverse=True)
    for index in sorted(blocked, key=lambda i: graph.nodes[i].op_type not in _CHOOSING):
        node, good = graph.nodes[index], list[str]()
        beside = [o for o in node.output if o in graph.specs]  # scores that come with a label
        names = [] if node.op_type in SIZES else [*all_inputs(node), *beside]
        for name in dict.fromkeys(names):
            if graph.spec(name).is_float and name != of:
                tried += 1
                full, seen = survey(graph, name, wrt)
                computed = any(full.nodes[i].op_type not in MOVING for i in seen.edges)
                good += [name] if seen.reached and computed and not seen.missing else []
        if good:
            in_front = [n for n in good if n in all_inputs(node)]
            options = " or ".join(f'of="{n}"' for n in (in_front or good)[:2])
            where = "in front of" if in_front else "made beside it by"
            return f"explain what is {where} {node.op_type}: {options}"
        if tried >= _TRIES:
            break
    return ""


def later(graph: Graph, of: str, starts: Iterable[str]) -> list[str]:
    """The first float tensors behind some others that `of` has a gradient with respect to.

    Args:
        graph: Normalised model.
        of: The tensor to differentiate.
        starts: Tensors to begin at.
    """
    return _usable(graph, of, first_floats(graph, starts))


def instead(graph: Graph, of: str, wrt: Sequence[str], found: Reach) -> str:
    """A hint that names tensors to explain, or to attribute to; empty if there are none.

    Args:
        graph: Normalised model.
        of: The tensor that has no gradient.
        wrt: With respect to what.
        found: What lies between them.
    """
    blocked = [graph.nodes[i] for i in sorted({*found.blocked, *found.missing})]
    made = [o for n in blocked if n.op_type not in SIZES for o in n.output if o]
    behind = _usable(graph, of, [o for o in made if graph.spec(o).is_float])
    behind = behind or later(graph, of, made)
    parts = [in_front(graph, of, wrt, found)]
    if behind:
        parts.append(f"attribute to what is behind: {wrt_option(behind)}")
    return "; or ".join(filter(None, parts))


def trees(graph: Graph, of: str) -> str:
    """A hint for tree ensembles, whose gradient no inner tensor has either."""
    nodes = (graph.nodes[i] for i in sorted(graph.ancestors([of])))
    if not any(n.op_type.startswith("TreeEnsemble") for n in nodes):
        return ""
    return "trees are step functions: explain them with a method for trees, such as TreeSHAP"


def wrt_option(names: Sequence[str]) -> str:
    """The argument that attributes to some tensors, at most eight."""
    return "wrt=[" + ", ".join(f'"{n}"' for n in names[:8]) + "]"


def _usable(graph: Graph, of: str, names: Sequence[str]) -> list[str]:
    """Those of some tensors that `of` has a gradient with respect to."""
    names = [n for n in names if n != of][:_TRIES]
    seen = survey(graph, of, names)[1] if names else None
    if seen is None or not seen.missing:
        return [n for n in names if seen and n in seen.reached]
    alone = ((n, survey(graph, of, [n])[1]) for n in names)
    return [n for n, s in alone if s.reached and not s.missing]


def stored(graph: Graph, name: str) -> bool:
    """Whether a tensor depends on no input."""
    fed = {i.name for i in graph.inputs}
    return name not in fed and not any(
        fed.intersection(all_inputs(graph.nodes[i])) for i in graph.ancestors([name])
    )


def _walk(graph: Graph, names: Iterable[str], passes: Callable[..., bool]) -> Iterator[int]:
    """Nodes that read some tensors, and those behind them up to the first that makes floats."""
    waiting, seen = list(names), set[int]()
    while waiting:
        for index in graph.readers.get(waiting.pop(0), ()):
            node = graph.nodes[index]
            if index in seen or not passes(node):
                continue
            seen.add(index)
            yield index
            waiting += [o for o in node.output if o and not graph.spec(o).is_float]


__all__ = [
    "MOVING",
    "SIZES",
    "cut_paths",
    "first_floats",
    "in_front",
    "instead",
    "later",
    "stored",
    "trees",
    "wrt_option",
]
