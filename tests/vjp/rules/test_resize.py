"""Resize, DepthToSpace, SpaceToDepth against finite differences and onnxruntime's forward."""

import numpy as np
import pytest

from igrt.errors import UnsupportedOperator

TRANSFORMS = [
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "asymmetric",
    "align_corners",
]
ROUNDINGS = ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]


def f32(*numbers):
    return np.array(numbers, np.float32)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(check_vjp, rng, mode):
    x = rng.standard_normal((2, 12, 2, 3))
    check_vjp("DepthToSpace", x, blocksize=2, attrs={"mode": mode})
    check_vjp("DepthToSpace", x, blocksize=2, attrs={"mode": mode}, opset=11)


def test_space_to_depth(check_vjp, rng):
    x = rng.standard_normal((2, 3, 4, 6))
    check_vjp("SpaceToDepth", x, blocksize=2)
    check_vjp("SpaceToDepth", x, blocksize=2, opset=7)


@pytest.mark.parametrize("scales", [(1, 1, 2, 3), (1, 1, 0.4, 0.5), (1, 1, 1.6, 0.5)])
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize(check_vjp, rng, scales, transform, mode):
    # sizes that scale to whole numbers: onnx.reference takes others unrounded for align_corners
    x = rng.standard_normal((2, 2, 5, 6))
    given = {"attrs": {"mode": mode}, "coordinate_transformation_mode": transform}
    check_vjp("Resize", x, None, f32(*scales), wrt=[0], kept=[2], opset=19, **given)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("scales", [(1, 1, 1.7, 0.6), (1, 1, 0.5, 2.9), (1, 1, 2, 1)])
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(
    "attributes",
    [
        *({"mode": "nearest", "nearest_mode": rounding} for rounding in ROUNDINGS),
        {"mode": "linear"},
        {"mode": "linear", "antialias": 1},
        {"mode": "cubic"},
        {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1},
        {"mode": "cubic", "antialias": 1},
    ],
)
def test_resize_of_the_runtime(adjoint, rng, scales, transform, attributes, dynamic):
    x = rng.standard_normal((2, 2, 5, 6))
    shape = ["n", 2, "h", "w"] if dynamic else None
    given = {"coordinate_transformation_mode": transform} | attributes
    adjoint("Resize", x, None, f32(*scales), shape=shape, opset=19, **given)


@pytest.mark.parametrize("shape", [None, ["n", "c", "h", "w"]])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("sizes", [(2, 2, 10, 18), (2, 2, 3, 8), (2, 2, 7, 6)])
def test_resize_to_sizes(adjoint, rng, sizes, mode, shape):
    x = rng.standard_normal((2, 2, 5, 6))
    adjoint("Resize", x, None, None, np.array(sizes), shape=shape, mode=mode)


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_resize_at_older_opsets(adjoint, rng, opset):
    x = rng.standard_normal((2, 2, 5, 6))
    adjoint("Resize", x, f32(), f32(1, 1, 2, 1.5), opset=opset, mode="linear")
    adjoint("Resize", x, f32(), f32(), np.array([2, 2, 4, 9]), opset=opset, mode="nearest")


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(adjoint, rng, mode):
    x = rng.standard_normal((2, 2, 3, 4))
    adjoint("Upsample", x, f32(1, 1, 2, 3), opset=9, mode=mode)
    adjoint("Upsample", x, f32(1, 1, 1.7, 2.5), opset=9, mode=mode)
    adjoint("Upsample", x, opset=7, mode=mode, scales=[1.0, 1.0, 2.0, 1.5])


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(1, 1, 2, 1.7), (1, 1, 0.6, 0.4), (1, 1, 0.5, 1)])
def test_resize_before_it_had_a_coordinate_transformation(adjoint, rng, mode, scales):
    adjoint("Resize", rng.standard_normal((2, 2, 5, 7)), f32(*scales), opset=10, mode=mode)


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [3]])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_of_some_axes(adjoint, rng, axes, mode):
    x = rng.standard_normal((2, 2, 5, 6))
    scales = f32(2, 1.5, 3)[: len(axes)]
    adjoint("Resize", x, None, scales, shape=[2, 2, "h", "w"], axes=axes, mode=mode)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_crop_and_resize(adjoint, rng, mode):
    x = rng.standard_normal((2, 2, 5, 6))
    roi = f32(0, 0, 0.2, -0.3, 1, 1, 0.9, 1.4)
    # a value outside of the image is a constant, for which the forward is not linear: 0 here
    given = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 0.0}
    adjoint("Resize", x, roi, f32(1, 1, 1.5, 2), mode=mode, **given)
    adjoint(
        "Resize", x, roi, None, np.array([2, 2, 4, 9]), shape=["n", 2, "h", "w"], mode=mode, **given
    )


def test_crop_and_resize_with_a_value_outside(gradient, rng):
    x, ct = rng.standard_normal((1, 1, 5, 6)).astype(np.float32), np.ones((1, 1, 7, 12))
    given = {"coordinate_transformation_mode": "tf_crop_and_resize", "mode": "linear"}
    operands = f32(0, 0, 0.2, -0.3, 1, 1, 0.9, 1.4), f32(1, 1, 1.5, 2)
    zeros = gradient("Resize", x, *operands, ct=ct, **given)
    np.testing.assert_array_equal(
        gradient("Resize", x, *operands, ct=ct, extrapolation_value=9.0, **given), zeros
    )


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
@pytest.mark.parametrize("sizes", [(7, 8), (4, 9), (3, 3)])
@pytest.mark.parametrize(  # onnxruntime resizes other axes in mode nearest only
    ("mode", "axes"),
    [("linear", [2, 3]), ("nearest", [2, 3]), ("nearest", [1, 2]), ("nearest", [0, 1])],
)
def test_resize_that_keeps_the_aspect_ratio(adjoint, rng, policy, mode, sizes, axes):
    shape = [3, 3, 3, 3]
    shape[axes[0]], shape[axes[1]] = 5, 6
    given = {"axes": axes, "keep_aspect_ratio_policy": policy, "mode": mode}
    adjoint("Resize", rng.standard_normal(shape), None, None, np.array(sizes), **given)


def test_keeping_the_aspect_ratio_over_all_axes_is_refused(adjoint, rng):
    given = {"keep_aspect_ratio_policy": "not_smaller", "mode": "nearest"}
    with pytest.raises(UnsupportedOperator, match="keeps the aspect ratio"):
        adjoint(
            "Resize", rng.standard_normal((1, 1, 3, 4)), None, None, np.array([1, 1, 5, 5]), **given
        )


@pytest.mark.parametrize("rank", [3, 5])
@pytest.mark.parametrize("transform", ["asymmetric", "half_pixel"])
def test_resize_of_other_ranks(adjoint, rng, rank, transform):
    x = rng.standard_normal((2, 2, 3, 4, 2)[:rank])
    given = {"nearest_mode": "floor", "coordinate_transformation_mode": transform}
    adjoint("Resize", x, None, f32(1, 1, 2, 3, 2)[:rank], mode="nearest", **given)


@pytest.mark.parametrize("roi", [[0.11, 0.23, 0.87, 0.93], [-0.19, 0.32, 0.72, 1.31]])
@pytest.mark.parametrize("sizes", [[4, 3], [1, 7]])
def test_what_is_cropped_to(check_vjp, rng, roi, sizes):
    check_vjp(
        "Resize",
        rng.standard_normal((2, 2, 5, 6)),
        np.array(roi),
        None,
        np.array(sizes),
        wrt=[0, 1],
        symbolic=["static", "batch"],
        axes=[2, 3],
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=0.0,
    )
