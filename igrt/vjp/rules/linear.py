"""VJP rules of the dense linear operators: Gemm, MatMul."""

from math import prod

from igrt.graph import Emitter, Node, Value
from igrt.vjp.broadcast import sum_to
from igrt.vjp.registry import vjp


@vjp("Gemm", "A")
def gemm_a(emit: Emitter, node: Node, ct: Value) -> Value:
    """Y = α·op(A)·op(B) + β·C, hence op(A)‾ = α·Ȳ·op(B)ᵀ."""
    b, alpha, trans_b = node["B"], node.attr("alpha", 1.0), node.attr("transB", 0)
    if node.attr("transA", 0):
        return emit.Gemm(b, ct, alpha=alpha, transA=trans_b, transB=1)
    return emit.Gemm(ct, b, alpha=alpha, transB=int(not trans_b))


@vjp("Gemm", "B")
def gemm_b(emit: Emitter, node: Node, ct: Value) -> Value:
    """Y = α·op(A)·op(B) + β·C, hence op(B)‾ = α·op(A)ᵀ·Ȳ."""
    a, alpha, trans_a = node["A"], node.attr("alpha", 1.0), node.attr("transA", 0)
    if node.attr("transB", 0):
        return emit.Gemm(ct, a, alpha=alpha, transA=1, transB=trans_a)
    return emit.Gemm(a, ct, alpha=alpha, transA=int(not trans_a))


@vjp("Gemm", "C")
def gemm_c(emit: Emitter, node: Node, ct: Value) -> Value:
    """C‾ = β·Ȳ, summed over the axes along which C was broadcast."""
    beta: float = node.attr("beta", 1.0)
    return sum_to(emit, ct, node["C"]) * beta


@vjp("MatMul", "A")
def matmul_a(emit: Emitter, node: Node, ct: Value) -> Value:
    """Y = A·B, hence A‾ = Ȳ·Bᵀ, summed over the batch axes along which A was broadcast."""
    a, b = node["A"], node["B"]
    if b.rank == 1:
        return emit.Unsqueeze(ct, [-1]) * b
    if b.rank == 2:
        # as fast as a MatMul with Bᵀ, for which onnxruntime would store a weight a second time
        return emit.reshape_like(emit.Gemm(_rows(emit, ct, b, 1), b, transB=1), a)
    if a.rank == 1:
        product = emit.MatMul(b, emit.Unsqueeze(ct, [-1]))
        return sum_to(emit, emit.Squeeze(product, [-1]), a)
    return _sum_batch(emit, emit.MatMul(ct, _transposed(emit, b)), a, b)


@vjp("MatMul", "B")
def matmul_b(emit: Emitter, node: Node, ct: Value) -> Value:
    """Y = A·B, hence B‾ = Aᵀ·Ȳ, summed over the batch axes along which B was broadcast."""
    a, b = node["A"], node["B"]
    if b.rank == 1:
        return sum_to(emit, emit.Unsqueeze(ct, [-1]) * a, b)
    if a.rank == 1:
        return emit.Unsqueeze(a, [-1]) * emit.Unsqueeze(ct, [-2])
    if b.rank == 2:
        return emit.Gemm(_rows(emit, a, b, 0), _rows(emit, ct, b, 1), transA=1)
    return _sum_batch(emit, emit.MatMul(_transposed(emit, a), ct), b, a)


def _rows(emit: Emitter, value: Value, matrix: Value, axis: int) -> Value:
    """`value` as a matrix of rows as long as an axis of `matrix`."""
    if value.shape is not None and value.rank == 2:
        return value
    known = value.static_shape
    # beside an empty axis a -1 would be any number
    rows = prod(known[:-1]) if known is not None and 0 in known else -1
    return emit.reshape(value, [rows, emit.dims(matrix, axis, axis + 1)])


def _sum_batch(emit: Emitter, ct: Value, primal: Value, other: Value) -> Value:
    """Undo the broadcasting of the axes in front of the last two."""
    if other.rank == 2:
        return ct
    if ct.shape is not None and primal.shape is not None:
        # the last two are never broadcast, whatever their symbols are called
        ct = emit.typed(ct, ct.shape[:-2] + primal.shape[-2:])
    return sum_to(emit, ct, primal, [other])


def _transposed(emit: Emitter, value: Value) -> Value:
    """The last two axes exchanged."""
    batch = range(value.rank - 2)
    return emit.Transpose(value, perm=[*batch, value.rank - 1, value.rank - 2])
