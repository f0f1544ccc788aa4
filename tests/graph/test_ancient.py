"""Models of opset 1 to 6, whose operators no onnxruntime has: against NumPy."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from igrt.errors import ModelLoadError
from igrt.graph.normalize import normalize
from igrt.vjp.augment import augment

X = np.arange(1, 19, dtype=np.float32).reshape(2, 3, 3)
B = np.float32([1, 2, 3])


def model(op_type, *stored, opset=6, x=X, out=None, **attributes):
    names = [f"s{i}" for i in range(len(stored))]
    node = helper.make_node(op_type, ["x", *names], ["y"], name="node", **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out or x.shape)],
        [numpy_helper.from_array(np.float32(s), n) for s, n in zip(stored, names, strict=True)],
    )
    # before IR version 4 stored tensors are listed as inputs
    graph.input.extend(
        helper.make_tensor_value_info(n, TensorProto.FLOAT, np.shape(s))
        for s, n in zip(stored, names, strict=True)
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 3
    return made


def run(proto, x=X):
    return onnxruntime.InferenceSession(proto.SerializeToString()).run(["y"], {"x": x})[0]


PICTURE = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)

CASES = {
    # a square operand fits in two ways: the old axis says which
    "axis in the middle": (model("Add", B, broadcast=1, axis=1), X + B[:, None]),
    "axis at the end": (model("Mul", B, broadcast=1, axis=2), X * B),
    "negative axis": (model("Sub", B, broadcast=1, axis=-2), X - B[:, None]),
    "axis of a matrix": (
        model("Div", np.ones((2, 3)) * 2, broadcast=1, axis=0, opset=1, consumed_inputs=[0, 0]),
        X / 2,
    ),
    "no axis": (model("Pow", B, broadcast=1), X**B),
    "channels": (model("PRelu", B), np.where(-X > 0, -X, -X * B[:, None])),
    "consumed": (model("Relu", opset=1, consumed_inputs=[0]), np.maximum(-X, 0)),
    "statistics": (
        model("BatchNormalization", B, B, 0 * B, 0 * B + 1, is_test=1, epsilon=0.0),
        -X * B[:, None] + B[:, None],
    ),
    "shape as attribute": (model("Reshape", opset=1, shape=[6, 3], out=(6, 3)), -X.reshape(6, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_raised(name):
    proto, want = CASES[name]
    x = -X if name in ("channels", "consumed", "statistics", "shape as attribute") else X
    np.testing.assert_allclose(run(normalize(proto), x), want, rtol=1e-6)
    assert onnx.checker.check_model(augment(proto)) is None


def test_upsampling_by_height_and_width():
    proto = model(
        "Upsample", opset=1, x=PICTURE, out=(1, 2, 6, 12), height_scale=2.0, width_scale=3.0
    )
    want = PICTURE.repeat(2, axis=2).repeat(3, axis=3)
    np.testing.assert_array_equal(run(normalize(proto), PICTURE), want)


@pytest.mark.parametrize(
    "proto, text",
    [
        (model("BatchNormalization", B, B, B, B), "`is_test` is 0"),
        (model("Add", np.ones((3, 3)), broadcast=1, axis=2), "does not fit"),
        (model("Pad", opset=1, paddings=[0, 0, 0, 0, 0, 0]), "Pad"),
    ],
)
def test_refused_with_the_reason(proto, text):
    with pytest.raises(ModelLoadError, match=text) as caught:
        normalize(proto)
    assert caught.value.hint
