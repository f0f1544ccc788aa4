"""VJP rules of products of many elements: CumProd and Det."""

import numpy as np

from igrt.graph import Emitter, Node, Value
from igrt.vjp.registry import vjp


@vjp("CumProd", "x")
def cumprod_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """y_i = Π x_k over k ≤ i, hence x_j‾ = Σ ȳ_i·y_i/x_j over i ≥ j.

    Where x_j is 0, y_i/x_j is the product of the others: of those that are not 0, if there is no
    other 0 among them.
    """
    x, axis = node["x"], node["axis"]
    exclusive, reverse = node.attr("exclusive", 0), node.attr("reverse", 0)
    back = {"exclusive": exclusive, "reverse": 1 - reverse}
    is_zero = emit.Equal(x, 0.0)
    safe = emit.Where(is_zero, 1.0, x)
    product = emit.CumProd(safe, axis, exclusive=exclusive, reverse=reverse)
    # counted in floats: onnxruntime's CumSum knows every type that x can have
    marks = emit.cast(is_zero, x.dtype)
    zeros = emit.CumSum(marks, axis, exclusive=exclusive, reverse=reverse)
    whole = ct * product
    none, one = emit.Less(zeros, 0.5), emit.Less(emit.Abs(zeros - 1.0), 0.5)
    smooth = emit.CumSum(emit.Where(none, whole, 0.0), axis, **back) / safe
    alone = emit.CumSum(emit.Where(one, whole, 0.0), axis, **back)
    return emit.Where(is_zero, alone, smooth)


@vjp("Det", "X")
def det(emit: Emitter, node: Node, ct: Value) -> Value:
    """X‾_ij = ȳ·cofactor_ij, the determinant with row i replaced by the unit vector j.

    n² determinants, but exact for singular matrices, and of any size without an inverse.
    """
    x = node["X"]
    size = emit.dims(x, x.rank - 1)
    known = size.constant
    if known is not None:
        number = emit.constant(np.arange(known.item()))
    else:
        number = emit.Range(0, emit.Squeeze(size, [0]), 1)
    # [i, j, row, column]
    row = emit.Equal(emit.Unsqueeze(number, [1, 2, 3]), emit.Unsqueeze(number, [0, 1, 3]))
    unit = emit.Equal(emit.Unsqueeze(number, [0, 2, 3]), emit.Unsqueeze(number, [0, 1, 2]))
    matrices = emit.Where(row, emit.cast(unit, x.dtype), emit.Unsqueeze(x, [-4, -3]))
    return emit.Unsqueeze(ct, [-2, -1]) * emit.Det(matrices)
