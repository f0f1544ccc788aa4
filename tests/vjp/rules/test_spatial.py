"""Operators that read images between their pixels, against torch and plain NumPy."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from igrt.errors import NoGradientPath
from igrt.vjp.augment import augment

MODES = {"linear": "bilinear", "cubic": "bicubic", "nearest": "nearest"}


def torch_grid_sample(mode, padding_mode, align_corners):
    def oracle(x, grid):
        y = torch.nn.functional.grid_sample(
            torch.from_numpy(x),
            torch.from_numpy(grid),
            mode=MODES[mode],
            padding_mode=padding_mode,
            align_corners=bool(align_corners),
        )
        return [y.numpy()]

    return oracle


def between(rng, shape, spread=1.4):
    """Grid points inside and outside the image, almost surely on no pixel."""
    return rng.uniform(-spread, spread, shape)


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_grid_sample(check_vjp, rng, mode, padding_mode, align_corners):
    x, grid = rng.standard_normal((2, 3, 4, 5)), between(rng, (2, 3, 2, 2))
    check_vjp(
        "GridSample",
        x,
        grid,
        wrt=[0] if mode == "nearest" else [0, 1],
        opset=20,
        oracle=torch_grid_sample(mode, padding_mode, align_corners),
        mode=mode,
        padding_mode=padding_mode,
        align_corners=align_corners,
    )


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_grid_sample_is_the_adjoint_of_the_runtimes_own(
    adjoint, rng, mode, padding_mode, align_corners
):
    """ONNX's reference moves a point behind the border to it; a cubic curve differs there."""
    given = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    grid = between(rng, (2, 3, 2, 2))
    adjoint("GridSample", rng.standard_normal((2, 3, 4, 5)), grid, opset=20, **given)


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_grid_sample_of_volumes(check_vjp, rng, padding_mode, align_corners):
    check_vjp(
        "GridSample",
        rng.standard_normal((2, 2, 3, 4, 3)),
        between(rng, (2, 2, 1, 3, 3)),
        opset=20,
        oracle=torch_grid_sample("linear", padding_mode, align_corners),
        mode="linear",
        padding_mode=padding_mode,
        align_corners=align_corners,
    )


@pytest.mark.parametrize(
    "mode, name", [("linear", "bilinear"), ("cubic", "bicubic"), ("nearest", "nearest")]
)
def test_grid_sample_by_its_names_before_opset_20(gradient, rng, mode, name):
    # the reference does not know these names
    x, grid = (rng.standard_normal(s).astype(np.float32) for s in ((1, 2, 4, 5), (1, 3, 2, 2)))
    ct = rng.standard_normal((1, 2, 3, 2))
    old = gradient("GridSample", x, grid, ct=ct, opset=16, mode=name)
    new = gradient("GridSample", x, grid, ct=ct, opset=20, mode=mode)
    np.testing.assert_array_equal(old, new)
    assert np.abs(new).max() > 0


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 3, 2, 3, 4)])
def test_affine_grid(check_vjp, rng, size, align_corners):
    rank = len(size) - 2

    def oracle(theta, _):
        y = torch.nn.functional.affine_grid(
            torch.from_numpy(theta), size, align_corners=bool(align_corners)
        )
        return [y.numpy()]

    theta = rng.standard_normal((2, rank, rank + 1))
    # without a constant size and with symbols everywhere, not even the rank is known
    for fed, symbolic in (([], ["static", "all"]), ([1], ["static", "batch"])):
        check_vjp(
            "AffineGrid",
            theta,
            np.array(size),
            wrt=[0],
            fed=fed,
            symbolic=symbolic,
            opset=20,
            oracle=oracle,
            align_corners=align_corners,
        )


def test_a_grid_that_is_rounded_is_refused():
    grid, x = np.zeros((1, 2, 2, 2), np.float32), np.ones((1, 1, 3, 3), np.float32)
    graph = helper.make_graph(
        [helper.make_node("GridSample", ["x", "grid"], ["y"], mode="nearest", name="mine")],
        "g",
        [helper.make_tensor_value_info("grid", TensorProto.FLOAT, grid.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(x, "x")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(NoGradientPath, match=r"`mine` \(GridSample\)"):
        augment(model)
