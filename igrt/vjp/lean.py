"""Less for a step of a Scan to do: onnxruntime takes a microsecond or two for each of its nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from onnx import helper

from igrt.graph import Emitter, Value
from igrt.specs import Dim

_ELEMENTWISE = frozenset("Add Cast Div Exp Greater Less Mul Neg Sub Where".split())


def at_once(
    emit: Emitter, inner: Emitter, stacked: Mapping[str, Value], outputs: Collection[str]
) -> dict[str, Value]:
    """Stacks of what is emitted in a body, where it is made of stacks and numbers only.

    (x·a)·b becomes x·(a·b) for stacks a and b, and x + x·a becomes x·(1 + a), so that a step has
    less to compute.
    """
    found = dict(stacked)
    uses = Counter(name for node in inner.nodes for name in node.input)
    scaled: dict[str, tuple[str, Value]] = {}
    for node in inner.nodes if stacked else ():
        operands = [found.get(n) or _number(emit, inner, n) for n in node.input]
        known = [o for o in operands if o is not None]
        if (
            node.op_type in _ELEMENTWISE
            and len(known) == len(operands)
            and any(n in found for n in node.input)
        ):
            given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            found[node.output[0]] = emit.node(node.op_type, operands, given)[0]
        elif node.op_type == "Mul" and len(known) == 1:
            x, factor = node.input[operands.index(None)], known[0]
            if x in scaled and uses[x] == 1 and x not in outputs:
                x, before = scaled[x]
                factor = before * factor
                name = inner.feed("in", factor.dtype, element_shape(factor)).name
                found[name] = factor
                node.input[:] = [x, name]
            scaled[node.output[0]] = x, factor
        elif node.op_type == "Neg" and node.input[0] in scaled:
            x, factor = scaled[node.input[0]]
            scaled[node.output[0]] = x, -factor
        elif node.op_type == "Add":
            for x, other in (node.input, node.input[::-1]):
                if other in scaled and scaled[other][0] == x and uses[other] == 1:
                    factor = 1.0 + scaled[other][1]
                    name = inner.feed("in", factor.dtype, element_shape(factor)).name
                    found[name] = factor
                    node.CopyFrom(helper.make_node("Mul", [x, name], node.output, node.name))
                    scaled[node.output[0]] = x, factor
                    break
    return {n: v for n, v in found.items() if n not in stacked}


def fuse(inner: Emitter, outputs: Sequence[Value]) -> None:
    """a·b + c → Gemm(a, b, c), for matrices that are emitted in a body: a node less in a step.

    Args:
        inner: Emitter of the body.
        outputs: What the body gives.
    """
    uses = Counter([*(n for node in inner.nodes for n in node.input), *(o.name for o in outputs)])
    products = {
        n.output[0]: n
        for n in inner.nodes
        if n.op_type in ("Gemm", "MatMul")
        and len(n.input) == 2
        and uses[n.output[0]] == 1
        and all(inner.value(i).shape is not None and inner.value(i).rank == 2 for i in n.input)
    }
    for node in list(inner.nodes):
        for product, other in (node.input, node.input[::-1]) if node.op_type == "Add" else ():
            if product in products and _fits(inner.value(other), inner.value(product)):
                maker = products[product]
                inner.nodes.remove(maker)
                fused = helper.make_node("Gemm", [*maker.input, other], node.output, node.name)
                fused.attribute.extend(maker.attribute)
                node.CopyFrom(fused)
                break


def _fits(value: Value, matrix: Value) -> bool:
    """Whether a value certainly is added to a matrix without making it larger."""
    if value.shape is None or matrix.shape is None or not value.spec.is_float:
        return False
    pairs = zip(reversed(value.shape), reversed(matrix.shape), strict=False)
    return len(value.shape) <= 2 and all(v == 1 or (v is not None and v == m) for v, m in pairs)


def _number(emit: Emitter, inner: Emitter, name: str) -> Value | None:
    elements = inner.constant_of(name)
    return emit.constant(elements) if elements is not None and elements.ndim == 0 else None


def element_shape(stack: Value, axis: int = 0) -> tuple[Dim, ...] | None:
    """Shape of one element of a stack along an axis."""
    if stack.shape is None:
        return None
    axis %= stack.rank
    return stack.shape[:axis] + stack.shape[axis + 1 :]


__all__ = ["at_once", "element_shape", "fuse"]
