"""Conv and ConvTranspose against finite differences."""

import pytest


def conv(rng, batch, channels, sizes, out, kernel, group=1, bias=True):
    x = rng.standard_normal((batch, channels, *sizes))
    w = rng.standard_normal((out, channels // group, *kernel))
    return x, w, rng.standard_normal(out) if bias else None


@pytest.mark.parametrize(
    ("sizes", "kernel", "attributes"),
    [
        ((5,), (3,), {}),
        ((5,), (3,), {"pads": [1, 2]}),
        ((6,), (2,), {"strides": [3], "pads": [0, 1]}),
        ((5, 4), (3, 2), {}),
        ((5, 4), (1, 1), {}),
        ((5, 4), (1, 1), {"strides": [2, 2]}),
        ((5, 6), (3, 3), {"pads": [1, 1, 1, 1]}),
        ((5, 6), (3, 3), {"pads": [2, 0, 1, 2]}),
        ((5, 6), (3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ((6, 7), (3, 3), {"strides": [2, 3], "pads": [0, 1, 2, 1]}),
        ((6, 7), (3, 2), {"dilations": [2, 3], "pads": [1, 0, 2, 1]}),
        ((7, 8), (2, 3), {"strides": [2, 1], "dilations": [1, 2], "pads": [1, 1, 0, 1]}),
        ((7, 6), (2, 2), {"strides": [3, 2], "dilations": [2, 1]}),
        ((5, 4), (3, 3), {"pads": [3, 3, 4, 3]}),
        ((3, 4, 3), (2, 3, 2), {"pads": [1, 1, 0, 0, 1, 1]}),
        ((3, 4, 5), (2, 1, 2), {"strides": [2, 2, 1]}),
    ],
)
def test_conv(check_vjp, rng, sizes, kernel, attributes):
    check_vjp("Conv", *conv(rng, 2, 2, sizes, 3, kernel), **attributes)


@pytest.mark.parametrize("strides", [[1, 1], [2, 2]])
@pytest.mark.parametrize(("channels", "out", "group"), [(4, 6, 2), (3, 3, 3), (2, 6, 2), (4, 2, 2)])
def test_conv_in_groups(check_vjp, rng, strides, channels, out, group):
    arrays = conv(rng, 2, channels, (4, 5), out, (3, 2), group, bias=False)
    check_vjp("Conv", *arrays[:2], group=group, strides=strides, pads=[1, 0, 1, 1])


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
@pytest.mark.parametrize("strides", [[1, 1], [2, 3]])
def test_conv_auto_pad(check_vjp, rng, auto_pad, strides):
    arrays = conv(rng, 2, 2, (5, 6), 2, (3, 4))
    check_vjp("Conv", *arrays, auto_pad=auto_pad, strides=strides, kernel_shape=[3, 4])
    check_vjp("Conv", *arrays, auto_pad=auto_pad, strides=strides, wrt=[0])


@pytest.mark.parametrize(
    ("sizes", "kernel", "group", "attributes"),
    [
        ((4,), (3,), 1, {"strides": [2]}),
        ((3, 4), (3, 2), 1, {"pads": [1, 0, 1, 1]}),
        ((3, 4), (3, 3), 1, {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
        ((3, 3), (2, 3), 2, {"strides": [3, 2], "output_padding": [2, 0]}),
        ((3, 3), (2, 3), 2, {"dilations": [2, 2], "pads": [1, 1, 2, 1]}),
        ((3, 3), (3, 3), 1, {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ((3, 3), (3, 2), 1, {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
        ((3, 3), (3, 3), 1, {"strides": [2, 2], "auto_pad": "VALID"}),
        ((2, 3, 2), (2, 1, 2), 1, {"strides": [1, 2, 2]}),
    ],
)
def test_conv_transpose(check_vjp, rng, sizes, kernel, group, attributes):
    x = rng.standard_normal((2, 4, *sizes))
    w = rng.standard_normal((4, 3, *kernel))
    b = rng.standard_normal(3 * group)
    check_vjp("ConvTranspose", x, w, b, group=group, **attributes)
    check_vjp("ConvTranspose", x, w, wrt=[0], group=group, **attributes)


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("shape", [[5, 6], [6, 8], [8, 9]])
@pytest.mark.parametrize("sizes", [[3, 4], ["height", "width"]])
def test_conv_transpose_to_an_output_shape(adjoint, rng, auto_pad, shape, sizes):
    # onnx.reference ignores output_shape where auto_pad is not SAME: onnxruntime is its own oracle
    x, w = rng.standard_normal((2, 4, 3, 4)), rng.standard_normal((4, 3, 3, 3))
    attributes = {"auto_pad": auto_pad, "output_shape": shape, "strides": [2, 2]}
    adjoint("ConvTranspose", x, w, shape=[2, 4, *sizes], **attributes)


@pytest.mark.parametrize("opset", [7, 11, 22, 26])
def test_convolutions_at_other_opsets(check_vjp, rng, opset):
    x, w, b = conv(rng, 2, 4, (4, 5), 4, (3, 2), 2)
    given = {"group": 2, "strides": [2, 1], "opset": opset, "symbolic": ["batch"]}
    check_vjp("Conv", x, w, b, **given)
    check_vjp("ConvTranspose", x, w, wrt=[0, 1], **given)
