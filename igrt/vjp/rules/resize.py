"""VJP rules of the operators that change the resolution of images."""

from __future__ import annotations

import numpy as np
import onnx

from igrt.errors import UnsupportedOperator
from igrt.graph import Emitter, Node, Value
from igrt.specs import Array
from igrt.vjp.geometry import along, identity
from igrt.vjp.registry import vjp, zero
from igrt.vjp.sampling import LINEAR, Taps, edge_outside, taps

zero("Resize", "scales")


def _ignores_roi(proto: onnx.NodeProto) -> bool:
    given = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    crops = given.get("coordinate_transformation_mode") == b"tf_crop_and_resize"
    return not crops or given.get("mode", b"nearest") == b"nearest"


@vjp("DepthToSpace", "input")
def depth_to_space(emit: Emitter, node: Node, ct: Value) -> Value:
    """A permutation; SpaceToDepth undoes it, up to the order of the channels in mode CRD."""
    x, b = node["input"], node.attr("blocksize")
    gathered = emit.SpaceToDepth(ct, blocksize=b)
    if node.attr("mode", "DCR") == "DCR":
        return gathered
    split = emit.Reshape(gathered, emit.Concat([0, b * b, -1], emit.dims(gathered, 2), axis=0))
    return emit.reshape_like(emit.Transpose(split, perm=[0, 2, 1, 3, 4]), x)


@vjp("Resize", "X")
def resize(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = M x along each axis, hence x‾ = Mᵀ ȳ along each axis."""
    x = node["X"]
    ct = emit.typed(ct, (None,) * x.rank)  # ONNX's inference gives up on it where sizes are symbols
    factors = _repetitions(emit, node, ct)
    if factors is not None:
        size = float(np.prod(factors))
        return emit.AveragePool(ct, kernel_shape=factors, strides=factors) * size
    for axis, position in _resized(node, x, ct):
        ct = along(emit, _responses(emit, node, axis, position), ct, axis)
    return ct


@vjp("Resize", "roi", flat=_ignores_roi)
def resize_roi(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = M(p) x at places p = start + λ·(end - start), hence start‾ = Σ p‾·(1 - λ), end‾ = Σ p‾·λ.

    p‾ = Σ ȳ·∂M/∂p x, where the other axes are resized already.
    """
    if node.attr("mode") != "linear" or node.attr("antialias", 0):
        raise UnsupportedOperator(
            f"`{node.name}` (Resize-{node.opset}) crops to a roi that is computed on the way, with "
            "a mode other than plain `linear`",
            hint="attribute to a tensor that the roi does not depend on",
        )
    x, roi = node["X"], node["roi"]
    ct = emit.typed(ct, (None,) * x.rank)
    resized = _resized(node, x, ct)
    starts, ends = [], []
    for axis, position in resized:
        value = x
        for other, place in resized:
            if other != axis:
                matrix = emit.Transpose(_responses(emit, node, other, place), perm=[1, 0])
                value = along(emit, matrix, value, other)
        slopes, part = _crop_slopes(emit, node, ct, axis, position)
        products = emit.MatMul(_lines(emit, ct, axis), _lines(emit, value, axis, columns=True))
        moved = emit.ReduceSum(
            emit.GatherElements(products, slopes.index, axis=1) * slopes.slope, [1], keepdims=0
        )
        moved = emit.cast(moved, part.dtype)
        starts.append(emit.ReduceSum(moved * (1.0 - part), [0]))
        ends.append(emit.ReduceSum(moved * part, [0]))
    last = emit.cast(emit.sizes(x, [axis for axis, _ in resized]), roi.dtype) - 1.0
    return emit.Concat(*starts, *ends, axis=0) * emit.Concat(last, last, axis=0)


def _crop_slopes(
    emit: Emitter, node: Node, ct: Value, axis: int, position: int
) -> tuple[Taps, Value]:
    """Which elements of an axis each place is between, with slopes; and where in the roi it is."""
    x, roi = node["X"], node["roi"]
    count, size = emit.dims(ct, axis, axis + 1), emit.dims(x, axis, axis + 1)
    number = emit.cast(emit.Range(0, emit.Squeeze(count, [0]), 1), roi.dtype)
    steps = emit.cast(emit.Max(count - 1, 1), roi.dtype)
    part = emit.Where(emit.Equal(count, 1), emit.lift(0.5, roi), number / steps)
    first, last = (
        _one(emit, roi, position),
        _one(emit, roi, position + len(_positions(node, x.rank))),
    )
    end = emit.cast(size, roi.dtype) - 1.0
    place = emit.Unsqueeze((first + part * (last - first)) * end, [0])
    near = edge_outside(emit, taps(emit, place, LINEAR), size)
    inside = emit.And(emit.GreaterOrEqual(place, 0.0), emit.LessOrEqual(place, end))
    slope = emit.Where(emit.Unsqueeze(inside, [-1]), near.slope, 0.0)
    index, slope = (emit.Squeeze(v, [0]) for v in (near.index, slope))
    return Taps(index, near.weight, emit.cast(slope, ct.dtype)), part


def _lines(emit: Emitter, value: Value, axis: int, *, columns: bool = False) -> Value:
    """A matrix with a row, or a column, for each place along an axis."""
    others = [a for a in range(value.rank) if a != axis]
    moved = emit.Transpose(value, perm=[*others, axis] if columns else [axis, *others])
    size = emit.dims(value, axis, axis + 1)
    return emit.Reshape(moved, emit.vector(-1, size) if columns else emit.vector(size, -1))


@vjp("SpaceToDepth", "input")
def space_to_depth(emit: Emitter, node: Node, ct: Value) -> Value:
    """A permutation; DepthToSpace undoes it."""
    return emit.DepthToSpace(ct, blocksize=node.attr("blocksize"))


def _positions(node: Node, rank: int) -> list[int]:
    """The axes that scales, sizes and roi speak of, in their order."""
    axes = node.attr("axes")
    return list(range(rank)) if not axes else [a + rank if a < 0 else a for a in axes]


def _given(node: Node, formal: str) -> Value | None:
    """An operand unless it is an empty tensor, which stands for none."""
    value = node.get(formal)
    return None if value is None or value.static_shape == (0,) else value


def _resized(node: Node, x: Value, ct: Value) -> list[tuple[int, int]]:
    """Axes that may change, each with its position in scales, sizes and roi."""
    shapes = zip(x.shape or (), ct.shape or (), strict=True)
    same = [a is not None and a == b for a, b in shapes]
    scales = node.static("scales") if _given(node, "scales") is not None else None
    found = []
    for position, axis in enumerate(_positions(node, x.rank)):
        if node.attr("coordinate_transformation_mode") != "tf_crop_and_resize":
            if scales is not None and scales[position] == 1.0:
                continue
            if scales is None and same[axis]:
                continue
        found.append((axis, position))
    return found


def _repetitions(emit: Emitter, node: Node, ct: Value) -> list[int] | None:
    """Factors per spatial axis if every element is only repeated a whole number of times."""
    x = node["X"]
    if node.attr("mode", "nearest") != "nearest" or not 3 <= x.rank <= 5:
        return None
    transform = node.attr("coordinate_transformation_mode", "half_pixel")
    rounding = node.attr("nearest_mode", "round_prefer_floor")
    halves = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")
    if not (transform in halves and rounding.startswith("round")) and not (
        transform == "asymmetric" and rounding == "floor"
    ):
        return None
    scales = np.ones(x.rank)
    stored = node.static("scales") if _given(node, "scales") is not None else None
    if stored is not None:
        scales[_positions(node, x.rank)] = stored
    elif x.static_shape is not None and ct.static_shape is not None and all(x.static_shape):
        if node.attr("keep_aspect_ratio_policy", "stretch") != "stretch":
            return None
        scales = np.asarray(ct.static_shape) / np.asarray(x.static_shape)
    else:
        return None
    if (scales[:2] != 1).any() or (scales < 1).any() or (scales % 1 != 0).any():
        return None
    return [int(s) for s in scales[2:]]


def _responses(emit: Emitter, node: Node, axis: int, position: int) -> Value:
    """The matrix [in, out] of the Resize along one axis: what the kernel makes of unit vectors."""
    x, policy = node["X"], node.attr("keep_aspect_ratio_policy", "stretch")
    size = emit.dims(x, axis, axis + 1)
    units = emit.Unsqueeze(identity(emit, size, x), [0, 1])
    names = ("antialias", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside")
    attributes = {n: node.attr(n) for n in (*names, "mode", "nearest_mode")}
    scales, sizes, roi = _given(node, "scales"), _given(node, "sizes"), _given(node, "roi")
    if policy != "stretch" and scales is None:
        return _responses_in_proportion(emit, node, axis, attributes)
    if roi is not None:
        count = len(_positions(node, x.rank))
        start, end = (_one(emit, roi, position + o) for o in (0, count))
        whole = np.zeros(3), np.ones(3)
        none, all_of = (a.astype(roi.dtype) for a in whole)
        roi = emit.Concat(emit.constant(none), start, emit.constant(all_of), end, axis=0)
    given: list[Value | None] = []
    if scales is not None:
        factor = _one(emit, scales, position)
        given = [emit.Concat(emit.constant(np.ones(3, np.float32)), factor, axis=0)]
    elif sizes is not None:
        given = [None, emit.Concat([1, 1], size, _one(emit, sizes, position), axis=0)]
    probe = emit.Resize(units, roi, *given, **attributes)
    return emit.Squeeze(probe, [0, 1])


def _responses_in_proportion(
    emit: Emitter, node: Node, axis: int, attributes: dict[str, object]
) -> Value:
    """The same where sizes keep the aspect ratio, which depends on all axes that are resized.

    Unit vectors along one axis, constant along the others, stacked along an axis that is not.
    """
    x = node["X"]
    axes = _positions(node, x.rank)
    free = next((a for a in range(x.rank) if a not in axes), None)
    if free is None:
        raise UnsupportedOperator(
            f"`{node.name}` (Resize-{node.opset}) keeps the aspect ratio over all of its axes",
            hint="export it with the attribute `axes` naming the axes that change",
        )
    size = emit.dims(x, axis, axis + 1)
    others = [a for a in range(x.rank) if a not in (free, axis)]
    units = emit.Unsqueeze(identity(emit, size, x), others)
    if free > axis:
        units = emit.Transpose(units, perm=_swapped(x.rank, free, axis))
    shape = [emit.dims(x, a, a + 1) if a in axes else emit.constant([1]) for a in range(x.rank)]
    shape[free] = size
    probe = emit.Resize(
        emit.Expand(units, emit.Concat(*shape, axis=0)),
        None,
        None,
        node["sizes"],
        axes=axes,
        keep_aspect_ratio_policy=node.attr("keep_aspect_ratio_policy"),
        **attributes,
    )
    for other in others:
        probe = emit.Slice(probe, [0], [1], [other])
    column = emit.Squeeze(probe, others)
    return emit.Transpose(column, perm=[1, 0]) if free > axis else column


def _one(emit: Emitter, vector: Value, position: int) -> Value:
    known: Array | None = vector.constant
    if known is not None:
        return emit.constant(known[position : position + 1])
    return emit.Slice(vector, [position], [position + 1], [0])


def _swapped(rank: int, a: int, b: int) -> list[int]:
    perm = list(range(rank))
    perm[a], perm[b] = perm[b], perm[a]
    return perm
