"""Pooling of regions of interest, against plain loops over their samples."""

from itertools import product

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

ROIS = np.array([[0.3, 0.6, 4.4, 3.9], [1.2, -1.4, 6.3, 2.3], [2.1, 1.3, 2.6, 1.7]])
BATCH = np.array([1, 0, 1], dtype=np.int64)


def bilinear(image, y, x):
    """The four pixels around a point and their weights; none outside."""
    height, width = image.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return [(0.0, 0.0)]
    taps = []
    for place, size in ((max(y, 0.0), height), (max(x, 0.0), width)):
        front = int(place)
        if front >= size - 1:
            taps.append([(size - 1, 1.0), (size - 1, 0.0)])
        else:
            taps.append([(front, 1 - (place - front)), (front + 1, place - front)])
    return [(image[i, j], v * w) for (i, v), (j, w) in product(*taps)]


def roi_align(x, rois, batch, *, shape, half, mode, ratio, scale):
    y = np.zeros((len(rois), x.shape[1], *shape))
    for r, c in product(range(len(rois)), range(x.shape[1])):
        first = rois[r] * scale - (0.5 if half else 0)
        (x0, y0, x1, y1) = first
        size = np.array([y1 - y0, x1 - x0])
        size = size if half else np.maximum(size, 1)
        count = [ratio or int(np.ceil(s / o)) for s, o in zip(size, shape, strict=True)]
        for ph, pw in product(*map(range, shape)):
            found = []
            for iy, ix in product(*map(range, count)):
                at_y = y0 + (ph + (iy + 0.5) / count[0]) * size[0] / shape[0]
                at_x = x0 + (pw + (ix + 0.5) / count[1]) * size[1] / shape[1]
                values = [v * w for v, w in bilinear(x[batch[r], c], at_y, at_x)]
                found.append(sum(values) if mode == "avg" else max(values))
            if mode == "avg":
                y[r, c, ph, pw] = np.sum(found) / max(len(found), 1)
            else:
                y[r, c, ph, pw] = max(found)
    return y


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align(check_vjp, rng, mode, ratio, half):
    shape = (2, 3)
    x = rng.standard_normal((2, 2, 5, 6)) + (3 if mode == "max" else 0)
    given = {"shape": shape, "half": half, "mode": mode, "ratio": ratio, "scale": 0.9}
    check_vjp(
        "RoiAlign",
        x,
        ROIS,
        BATCH,
        wrt=[0] if mode == "max" else [0, 1],
        opset=16,
        oracle=lambda x, rois, batch: [roi_align(x, rois, batch, **given)],
        fed=[2],
        mode=mode,
        sampling_ratio=ratio,
        spatial_scale=0.9,
        output_height=shape[0],
        output_width=shape[1],
        coordinate_transformation_mode="half_pixel" if half else "output_half_pixel",
    )


REGIONS = np.array([[1, 1, 0, 9, 7], [0, 4, 5, 11, 12], [1, 20, 20, 30, 30.0]])


def test_max_roi_pool(check_vjp, rng):
    check_vjp(
        "MaxRoiPool",
        rng.standard_normal((2, 2, 5, 6)),
        REGIONS,
        wrt=[0],
        pooled_shape=[2, 3],
        spatial_scale=0.5,
    )


def test_the_oracle_is_what_onnxruntime_computes(rng):
    x = (rng.standard_normal((2, 2, 5, 6)) + 1).astype(np.float32)
    feeds = {"x": x, "rois": ROIS.astype(np.float32), "batch": BATCH}
    want = roi_align(x, ROIS, BATCH, shape=(2, 3), half=True, mode="max", ratio=0, scale=1.0)
    graph = helper.make_graph(
        [
            helper.make_node(
                "RoiAlign", list(feeds), ["y"], output_height=2, output_width=3, mode="max"
            )
        ],
        "g",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in feeds.items()
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (y,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)
    np.testing.assert_allclose(y, want, atol=1e-5)  # float32 against float64, values of order one
