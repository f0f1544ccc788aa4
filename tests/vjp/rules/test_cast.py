"""Casts between float types; through any other type no gradient passes."""

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, parser
from onnx.reference import ReferenceEvaluator

from igrt.errors import NoGradientPath
from igrt.vjp.augment import augment

FLOATS = {
    "float": np.float32,
    "double": np.float64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}


def model(source, target, node, opset=18):
    head = f'<ir_version: 8, opset_import: ["": {opset}]>'
    return parser.parse_model(
        f"{head} g ({source}[N, 2] x) => ({target}[N, 2] y) <{target} like = {{1}}> {{ {node} }}"
    )


def cast(target):
    number = helper.np_dtype_to_tensor_dtype(np.dtype(FLOATS[target]))
    return f"y = Cast <to = {number}> (x)"


@pytest.mark.parametrize("source", FLOATS)
@pytest.mark.parametrize("target", FLOATS)
@pytest.mark.parametrize("opset", [13, 18, 21, 26])
def test_cast(source, target, opset):
    augmented = augment(model(source, target, cast(target), opset))
    # powers of two and small sums of them are exact in every float type
    ct = np.array([[1, -0.5], [2, 0.75]], dtype=FLOATS[target])
    feeds = {"x": np.ones((2, 2), FLOATS[source]), "igrt/cotangent/y": ct}
    (got,) = ReferenceEvaluator(augmented).run(["igrt/grad/x"], feeds)
    assert got.dtype == FLOATS[source]
    np.testing.assert_array_equal(got.astype(np.float64), ct.astype(np.float64))
    if "bfloat16" not in (source, target):  # onnxruntime takes no bfloat16 arrays from NumPy
        session = onnxruntime.InferenceSession(augmented.SerializeToString())
        (got,) = session.run(["igrt/grad/x"], feeds)
        assert got.dtype == FLOATS[source]
        np.testing.assert_array_equal(got, ct.astype(FLOATS[source]))


def test_cast_to_the_same_type_adds_nothing():
    augmented = augment(model("float", "float", cast("float")))
    assert [n.op_type for n in augmented.graph.node] == ["Cast", "Identity"]


@pytest.mark.parametrize("source, target", [("float", "double"), ("float16", "float")])
def test_cast_like(source, target):
    augmented = augment(model(source, target, "y = CastLike (x, like)"))
    session = onnxruntime.InferenceSession(augmented.SerializeToString())
    ct = np.array([[1, -0.5]], dtype=FLOATS[target])
    feeds = {"x": np.ones((1, 2), FLOATS[source]), "igrt/cotangent/y": ct}
    (got,) = session.run(["igrt/grad/x"], feeds)
    assert got.dtype == FLOATS[source]
    np.testing.assert_array_equal(got, ct)


def test_the_type_that_cast_like_copies_gets_nothing():
    text = """
        <ir_version: 8, opset_import: ["": 18]>
        g (float[2] x, double[2] t) => (double[2] y) { y = CastLike (x, t) }
    """
    outputs = [o.name for o in augment(parser.parse_model(text)).graph.output]
    assert outputs == ["y", "igrt/grad/x"]
    with pytest.raises(NoGradientPath, match="CastLike"):
        augment(parser.parse_model(text), wrt=["t"])


@pytest.mark.parametrize("between", ["INT64", "INT32", "UINT8", "BOOL"])
def test_no_gradient_passes_through_whole_numbers(between):
    text = f"""
        <ir_version: 8, opset_import: ["": 18]>
        g (float[2] x) => (float[2] y) {{
            whole = Cast <to = {TensorProto.DataType.Value(between)}> (x)
            y = Cast <to = 1> (whole)
        }}
    """
    with pytest.raises(NoGradientPath, match="Cast"):
        augment(parser.parse_model(text))


def test_a_path_through_whole_numbers_adds_nothing_to_a_smooth_one():
    text = """
        <ir_version: 8, opset_import: ["": 18]>
        g (float[2] x) => (float[2] y) {
            whole = Cast <to = 7> (x)
            rounded = Cast <to = 1> (whole)
            y = Add (x, rounded)
        }
    """
    session = onnxruntime.InferenceSession(augment(parser.parse_model(text)).SerializeToString())
    ct = np.float32([3, 4])
    (got,) = session.run(["igrt/grad/x"], {"x": np.float32([1.5, 2.5]), "igrt/cotangent/y": ct})
    np.testing.assert_array_equal(got, ct)
