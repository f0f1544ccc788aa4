"""Operators that shape, cut, join and move, and those of images, for random graphs."""

from __future__ import annotations

import numpy as np
from maker import LARGEST, Maker, axes_of

# -- shapes ---------------------------------------------------------------------------------------


def transpose(m: Maker) -> None:
    x = m.pick(lambda v: v.ndim > 1)
    if x:
        perm = m.rng.permutation(m.values[x].ndim).tolist()
        m.add("Transpose", [x], **({} if m.chance(0.3) else {"perm": perm}))


def reshape(m: Maker) -> None:
    x = m.pick()
    if not x:
        return
    size, shape = m.values[x].size, m.values[x].shape
    match int(m.rng.integers(4)):
        case 0:
            m.add("Reshape", [x, m.ints(*m.choose([[-1], [size, 1], [1, -1]]))])
        case 1 if len(shape) > 1:
            m.add("Flatten", [x], axis=int(m.rng.integers(-len(shape), len(shape) + 1)))
        case 2 if len(shape) > 1:
            m.add("Reshape", [x, m.ints(0, -1)])
        case _:  # to a shape that is known at run time only
            flat = m.add("Reshape", [x, m.ints(-1)])
            shaped = m.add("Shape", [x])
            if flat and shaped:
                m.add("Reshape", [flat, shaped])


def squeeze(m: Maker) -> None:
    x = m.pick(lambda v: v.ndim < 4)
    if not x:
        return
    axis = int(m.rng.integers(0, m.values[x].ndim + 1))
    wide = m.add("Unsqueeze", [x, m.ints(axis)])
    if wide and m.chance(0.6):
        other = m.add(m.choose(["Sin", "Tanh"]), [wide])
        if other:
            m.add("Squeeze", [other, m.ints(axis)])


def concat(m: Maker) -> None:
    x = m.pick(lambda v: v.ndim > 0)
    if not x:
        return
    shape = m.values[x].shape
    axis = int(m.rng.integers(len(shape)))

    def fits(v: np.ndarray) -> bool:
        same = v.ndim == len(shape)
        return same and v.shape[:axis] + v.shape[axis + 1 :] == shape[:axis] + shape[axis + 1 :]

    names = [x, *(n for n in [m.pick(fits), m.pick(fits)] if n)]
    m.add("Concat", names, axis=axis - len(shape) if m.chance(0.5) else axis)


def split(m: Maker) -> None:
    x = m.pick(lambda v: v.ndim > 0 and max(v.shape) > 1)
    if not x:
        return
    axis = int(np.argmax(m.values[x].shape))
    size = m.values[x].shape[axis]
    first = int(m.rng.integers(1, size))
    if m.chance(0.5):
        m.add("Split", [x, m.ints(first, size - first)], 2, axis=axis)
    else:
        m.add("Split", [x], 2, axis=axis, num_outputs=2)


def slice_(m: Maker) -> None:
    x = m.pick(lambda v: v.ndim > 0 and v.size > 0)
    if not x:
        return
    axes = axes_of(m, x)
    starts, ends, steps = [], [], []
    for axis in axes:
        size = m.values[x].shape[axis]
        start = int(m.rng.integers(size))
        step = int(m.choose([1, 1, 2, -1, -2]))
        starts.append(start - size if m.chance(0.5) else start)
        ends.append(10**6 if step > 0 else -(10**6))
        steps.append(step)
    names = [x, m.ints(*starts), m.ints(*ends), m.ints(*axes)]
    m.add(
        "Slice", names if all(s == 1 for s in steps) and m.chance(0.5) else [*names, m.ints(*steps)]
    )


def pad(m: Maker) -> None:
    x = m.pick(lambda v: v.ndim > 0 and min(v.shape) > 1)
    if not x:
        return
    mode = m.choose(["constant", "constant", "reflect", "edge", "wrap"])
    amounts = m.rng.integers(0, 2, 2 * m.values[x].ndim).tolist()
    m.add("Pad", [x, m.ints(*amounts)], mode=mode)


def gather(m: Maker) -> None:
    x = m.pick(lambda v: v.ndim > 0 and min(v.shape) > 0)
    if not x:
        return
    shape = m.values[x].shape
    axis = int(m.rng.integers(-len(shape), len(shape)))
    size = shape[axis]
    if m.chance(0.2):
        m.add("GatherElements", [x, m.const(m.rng.integers(-size, size, shape))], axis=axis)
        return
    dims = m.choose([(), (2,), (3,), (2, 2), (1,)])
    m.add("Gather", [x, m.const(m.rng.integers(-size, size, dims))], axis=axis)


def repeat(m: Maker) -> None:
    x = m.pick(lambda v: v.size <= LARGEST // 4)
    if not x:
        return
    shape = m.values[x].shape
    if m.chance(0.5) and shape:
        m.add("Tile", [x, m.ints(*m.rng.integers(1, 3, len(shape)).tolist())])
    else:
        m.add("Expand", [x, m.ints(2, *(d if m.chance(0.5) else 1 for d in shape))])


def scatter(m: Maker) -> None:
    x = m.pick(lambda v: v.ndim == 2 and v.shape[0] > 1)
    u = m.pick(lambda v: v.shape == m.values[x].shape[1:]) if x else None
    if x and u:
        rows = m.add("Unsqueeze", [u, m.ints(0)])
        reduction = m.choose(["none", "add", "mul"])
        if rows:
            m.add("ScatterND", [x, m.const(np.array([[1]])), rows], reduction=reduction)


def scan_along(m: Maker) -> None:
    x = m.pick(lambda v: v.ndim > 0)
    if not x:
        return
    axis = int(m.rng.integers(m.values[x].ndim))
    flags = {"exclusive": int(m.chance(0.5)), "reverse": int(m.chance(0.5))}
    if m.values[x].ndim > 1 and m.chance(0.3):
        m.add("Trilu", [x], upper=int(m.chance(0.5)))
    else:
        m.add("CumSum", [x, m.const(np.int64(axis))], **flags)


# -- images ---------------------------------------------------------------------------------------


def image(m: Maker) -> str | None:
    x = m.pick(lambda v: v.ndim in (3, 4) and min(v.shape[2:]) > 1)
    if x or m.chance(0.5):
        return x
    flat = m.pick(lambda v: v.ndim == 2 and v.shape[1] > 2)
    return m.add("Unsqueeze", [flat, m.ints(1)]) if flat else None


def convolve(m: Maker) -> None:
    x = image(m)
    if not x:
        return
    _, channels, *space = m.values[x].shape
    rank, out = len(space), int(m.rng.integers(1, 3))
    kernel = [2] * rank
    pads = m.rng.integers(0, 2, 2 * rank).tolist()
    given = {"strides": m.rng.integers(1, 3, rank).tolist(), "pads": pads}
    if m.chance(0.3):
        given = {"auto_pad": m.choose(["SAME_UPPER", "SAME_LOWER"])}
    match int(m.rng.integers(3)):
        case 0:
            m.add("Conv", [x, m.floats(out, channels, *kernel), m.floats(out)], **given)
        case 1:
            given = {"strides": given.get("strides", [1] * rank)}
            m.add("ConvTranspose", [x, m.floats(channels, out, *kernel)], **given)
        case 2:
            m.add("AveragePool", [x], kernel_shape=kernel)


def pool(m: Maker) -> None:
    x = image(m)
    if x:
        m.add("GlobalAveragePool", [x])
