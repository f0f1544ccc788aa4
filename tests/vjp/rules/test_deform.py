"""DeformConv against a gather in torch float64."""

import numpy as np
import pytest


def deform_conv(x, w, offset, b=None, mask=None, *, strides, pads, dilations, group, groups):
    n, c, height, width = x.shape
    out, _, kh, kw = w.shape
    oh, ow = offset.shape[2:]
    offset = offset.reshape(n, groups, kh, kw, 2, oh, ow)
    mask = np.ones((n, groups, kh, kw, oh, ow)) if mask is None else mask
    mask = mask.reshape(n, groups, kh, kw, oh, ow)
    image = np.pad(x, ((0, 0), (0, 0), (9, 9), (9, 9)))
    columns = np.zeros((n, c, kh, kw, oh, ow))
    for i, ch, ky, kx, p, q in np.ndindex(*columns.shape):
        dy, dx = offset[i, ch * groups // c, ky, kx, :, p, q]
        y = np.clip(p * strides[0] - pads[0] + ky * dilations[0] + dy, -8, height + 7) + 9
        z = np.clip(q * strides[1] - pads[1] + kx * dilations[1] + dx, -8, width + 7) + 9
        iy, ix = int(np.floor(y)), int(np.floor(z))
        ty, tx = y - iy, z - ix
        four = image[i, ch, iy : iy + 2, ix : ix + 2]
        value = np.array([1 - ty, ty]) @ four @ np.array([1 - tx, tx])
        columns[i, ch, ky, kx, p, q] = value * mask[i, ch * groups // c, ky, kx, p, q]
    columns = columns.reshape(n, group, -1, oh * ow)
    y = w.reshape(group, out // group, -1) @ columns
    return y.reshape(n, out, oh, ow) + (0 if b is None else b[:, None, None])


@pytest.mark.parametrize(
    "given, places",
    [
        ({}, (3, 4)),
        ({"strides": [2, 1], "pads": [1, 0, 1, 2], "dilations": [1, 2]}, (3, 5)),
        ({"group": 2, "offset_group": 1}, (3, 4)),
        ({"offset_group": 2}, (3, 4)),
    ],
)
@pytest.mark.parametrize("with_mask", [True, False])
def test_deform_conv(check_vjp, rng, given, places, with_mask):
    group, groups = given.get("group", 1), given.get("offset_group", 1)
    whole = {"strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1]} | given
    args = {"group": group, "groups": groups} | {
        n: whole[n] for n in ("strides", "pads", "dilations")
    }
    arrays = [
        rng.standard_normal((2, 4, 4, 5)),
        rng.standard_normal((2, 4 // group, 2, 2)),
        rng.uniform(-2, 2, (2, groups * 8, *places)),
        rng.standard_normal(2) if with_mask else None,
        rng.standard_normal((2, groups * 4, *places)) if with_mask else None,
    ]
    check_vjp(
        "DeformConv",
        *arrays,
        opset=19,
        oracle=lambda *a: [deform_conv(*a, **args)],
        **given,
    )
