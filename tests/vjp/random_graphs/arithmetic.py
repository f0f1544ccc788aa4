"""Elementwise and linear operators, reductions and norms for random graphs."""

from __future__ import annotations

import numpy as np
from maker import Maker, axes_of, far

# -- elementwise ----------------------------------------------------------------------------------

SMOOTH = (
    "Asinh Atan Celu Cos Cosh Elu Exp Identity Mish Neg Selu Sigmoid Sin Sinh Softplus Softsign "
    "Tanh"
).split()
"""Not Erf and Gelu, which the reference has in float32 only."""

POSITIVE = ["Log", "Reciprocal", "Sqrt"]
KINKED = ["Abs", "HardSwish", "LeakyRelu", "Relu"]


def smooth(m: Maker) -> None:
    x = m.pick()
    op_type = m.choose(SMOOTH)
    kinks = ("Celu", "Elu", "Selu")
    if x and (op_type not in kinks or far(m.values[x])):
        m.add(op_type, [x])


def positive(m: Maker) -> None:
    x = m.pick(lambda a: bool((a > 0.2).all()))
    if x:
        m.add(m.choose(POSITIVE), [x])


def kinked(m: Maker) -> None:
    x = m.pick(lambda a: far(a) and far(np.abs(a), 3.0))
    if x:
        m.add(m.choose(KINKED), [x])


def clip(m: Maker) -> None:
    x = m.pick(lambda a: far(a, -0.5) and far(a, 0.6))
    if x:
        m.add("Clip", [x, m.const(np.float64(-0.5)), m.const(np.float64(0.6))])


def partner(m: Maker, shape: tuple[int, ...]) -> str | None:
    """A tensor that broadcasts against one of a shape."""

    def fits(a: np.ndarray) -> bool:
        try:
            return np.broadcast_shapes(a.shape, shape) is not None
        except ValueError:
            return False

    if m.chance(0.6):
        return m.pick(fits)
    cut = shape[int(m.rng.integers(len(shape) + 1)) :]
    return m.floats(*(1 if m.chance(0.3) else d for d in cut))


def binary(m: Maker) -> None:
    a = m.pick()
    b = partner(m, m.values[a].shape) if a else None
    if not a or not b:
        return
    if m.chance(0.5):
        a, b = b, a
    x, y = m.values[a], m.values[b]
    options = ["Add", "Mean", "Mul", "Sub", "Sum"]
    if (np.abs(y) > 0.3).all():
        options += ["Div"] * 2
    if (x > 0.2).all():
        options += ["Pow"] * 2
    if far(x - y) or a == b:
        options += ["Max", "Min"]
    op_type = m.choose(options)
    names = [a, b, a] if op_type in ("Max", "Mean", "Min", "Sum") and m.chance(0.3) else [a, b]
    m.add(op_type, names)


def where(m: Maker) -> None:
    a = m.pick()
    b = partner(m, m.values[a].shape) if a else None
    c = partner(m, m.values[a].shape) if a else None
    if a and b and c and far(m.values[a] - m.values[c]):
        less = m.add("Less", [a, c])
        if less:
            m.add("Where", [less, *m.rng.permutation([a, b]).tolist()])


# -- linear ---------------------------------------------------------------------------------------


def matmul(m: Maker) -> None:
    a = m.pick(lambda v: v.ndim > 0)
    if not a:
        return
    shape = m.values[a].shape
    b = m.pick(lambda v: v.ndim > 1 and v.shape[-2] == shape[-1] and v.ndim <= max(2, len(shape)))
    if b is None or m.values[b].shape[:-2] not in ((), shape[:-2]) or m.chance(0.4):
        b = m.floats(shape[-1], int(m.rng.integers(1, 4)))
    m.add("MatMul", [a, b])


def gemm(m: Maker) -> None:
    a = m.pick(lambda v: v.ndim == 2)
    if not a:
        return
    flip, turn = m.chance(0.5), m.chance(0.5)
    inner, width = m.values[a].shape[0 if flip else 1], int(m.rng.integers(1, 4))
    b = m.floats(*((width, inner) if turn else (inner, width)))
    c = m.floats(*m.choose([(), (width,), (1, width)]))
    given = {"transA": int(flip), "transB": int(turn), "alpha": 0.7, "beta": -0.5}
    m.add("Gemm", [a, b, c][: m.choose([2, 3])], **given)


def einsum(m: Maker) -> None:
    a = m.pick(lambda v: v.ndim == 2)
    b = m.pick(lambda v: v.ndim == 2 and v.shape[0] == m.values[a].shape[1]) if a else None
    if a and b:
        m.add("Einsum", [a, b], equation=m.choose(["ij,jk->ki", "ij,jk->j", "ij,jk", "ij,jk->ijk"]))
    elif a:
        m.add("Einsum", [a], equation=m.choose(["ij->ji", "ij->i", "ij->", "...j->j..."]))


# -- reductions and norms -------------------------------------------------------------------------

REDUCTIONS = "ReduceMean ReduceProd ReduceSum ReduceSumSquare ReduceLogSumExp".split()


def reduce(m: Maker) -> None:
    x = m.pick(lambda v: v.ndim > 0)
    if not x:
        return
    v = m.values[x]
    op_type = m.choose(REDUCTIONS)
    if far(v) and m.chance(0.3):
        op_type = m.choose(["ReduceL1", "ReduceL2"])
    if (v > 0.2).all() and m.chance(0.3):
        op_type = "ReduceLogSum"
    keep = int(m.chance(0.5))
    operands = [x] if m.chance(0.2) else [x, m.ints(*axes_of(m, x))]
    m.add(op_type, operands, keepdims=keep)


def softmax(m: Maker) -> None:
    x = m.pick(lambda v: v.ndim > 0)
    if x:
        axis = int(m.rng.integers(-m.values[x].ndim, m.values[x].ndim))
        m.add(m.choose(["LogSoftmax", "Softmax"]), [x], axis=axis)


def layer_norm(m: Maker) -> None:
    x = m.pick(lambda v: v.ndim > 1 and v.shape[-1] > 1 and bool((v.std(-1) > 0.1).all()))
    if x:
        width = m.values[x].shape[-1]
        m.add("LayerNormalization", [x, m.floats(width), m.floats(width)], axis=-1)
