"""Smooth classical models against differences of onnxruntime's own kernels."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from igrt.errors import UnsupportedOperator
from igrt.vjp.augment import augment

_STEP = 1e-2
# float32: differences over 2e-2 of outputs of order one are good to 1e-5, their curvature to 1e-4
_TOLERANCE = 1e-3

CASES = {
    "scaler": ("Scaler", {"scale": [2.0, -1.0, 0.5], "offset": [0.1, 0.2, 0.3]}, 0),
    "scaler of all": ("Scaler", {"scale": [2.0], "offset": [0.1]}, 0),
    "l1": ("Normalizer", {"norm": "L1"}, 0),
    "l2": ("Normalizer", {"norm": "L2"}, 0),
    "regressor": (
        "LinearRegressor",
        {"coefficients": [0.3, -0.2, 1.0, 0.7, 0.1, -0.9], "intercepts": [1.0, 2.0], "targets": 2},
        0,
    ),
    **{
        post: (
            "LinearClassifier",
            {
                "coefficients": [0.3, -0.2, 1.0, 0.7, 0.1, -0.9],
                "intercepts": [0.1, 0.2],
                "classlabels_ints": [0, 1],
                "post_transform": post,
            },
            1,
        )
        for post in ("NONE", "LOGISTIC", "SOFTMAX")
    },
}


def build(op_type, given, output, inputs=None, kinds=(TensorProto.INT64, TensorProto.FLOAT)):
    inputs = inputs or {"x": [None, 3]}
    results = ["label", "y"] if output else ["y"]
    node = helper.make_node(op_type, list(inputs), results, domain="ai.onnx.ml", **given)
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()]
    outputs = [
        helper.make_tensor_value_info(n, kinds[n == "y"], [None] if n == "label" else [None, None])
        for n in results
    ]
    graph = helper.make_graph([node], "g", infos, outputs)
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def session(model):
    return onnxruntime.InferenceSession(model.SerializeToString())


def check(model, feeds, rng):
    forward = session(model)
    y = forward.run(["y"], feeds)[0]
    ct = rng.standard_normal(y.shape).astype(np.float32)
    names = [f"igrt/grad/{n}" for n in feeds]
    found = session(augment(model)).run(names, {**feeds, "igrt/cotangent/y": ct})
    for (name, x), gradient in zip(feeds.items(), found, strict=True):
        for _ in range(3):
            v = rng.standard_normal(x.shape).astype(np.float32)
            ends = [
                forward.run(["y"], {**feeds, name: x + h * v})[0].astype(np.float64)
                for h in (_STEP, -_STEP)
            ]
            expected = (ct * (ends[0] - ends[1])).sum() / (2 * _STEP)
            scale = float(np.abs(gradient * v).sum())
            assert (gradient * v).sum() == pytest.approx(expected, abs=_TOLERANCE * scale)


@pytest.mark.parametrize("name", CASES)
def test_classical(rng, name):
    x = (rng.standard_normal((4, 3)) + np.sign(rng.standard_normal((4, 3)))).astype(np.float32)
    check(build(*CASES[name]), {"x": x}, rng)


def test_normalizer_leaves_a_row_of_zeros(rng):
    model = session(augment(build("Normalizer", {"norm": "L2"}, 0)))
    ct = rng.standard_normal((1, 3)).astype(np.float32)
    feeds = {"x": np.zeros((1, 3), np.float32), "igrt/cotangent/y": ct}
    np.testing.assert_array_equal(model.run(["igrt/grad/x"], feeds)[0], ct)


@pytest.mark.parametrize("replaced", [1.0, float("nan")])
def test_imputer_gives_nothing_to_what_it_replaces(replaced):
    given = {"imputed_value_floats": [9.0], "replaced_value_float": replaced}
    model = session(augment(build("Imputer", given, 0)))
    x = np.array([[1, 2, np.nan]], np.float32)
    ct = np.array([[3, 4, 5]], np.float32)
    y, got = model.run(["y", "igrt/grad/x"], {"x": x, "igrt/cotangent/y": ct})
    np.testing.assert_array_equal(got, np.where(y == 9, 0, ct))


def test_feature_vectorizer(rng):
    sizes = {"a": [None, 2], "b": [None, 1]}
    model = build("FeatureVectorizer", {"inputdimensions": [2, 1]}, 0, sizes)
    feeds = {n: rng.standard_normal((4, s[1])).astype(np.float32) for n, s in sizes.items()}
    check(model, feeds, rng)


def test_feature_vectorizer_of_unknown_width_is_refused():
    model = build("FeatureVectorizer", {"inputdimensions": [2]}, 0, {"a": [None, None]})
    with pytest.raises(UnsupportedOperator, match="not declared with 2 columns"):
        augment(model)


@pytest.mark.parametrize("shape", [[4, 3], [3]])
def test_array_feature_extractor(rng, shape):
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("i", TensorProto.INT64, [4]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4])]
    node = helper.make_node("ArrayFeatureExtractor", ["x", "i"], ["y"], domain="ai.onnx.ml")
    model = helper.make_model(
        helper.make_graph([node], "g", inputs, outputs),
        opset_imports=[helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=10,
    )
    x, i = rng.standard_normal(shape).astype(np.float32), np.array([2, 0, 2, 1])
    ct = rng.standard_normal((shape[0] if len(shape) > 1 else 1, 4)).astype(np.float32)
    feeds = {"x": x, "i": i, "igrt/cotangent/y": ct}
    (got,) = session(augment(model)).run(["igrt/grad/x"], feeds)
    expected = (ct.astype(np.float64) @ np.eye(3)[i]).reshape(shape)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)  # sums of two floats


def test_a_classifier_with_one_row_for_two_classes_is_refused():
    given = {"coefficients": [1.0, 2.0, 3.0], "intercepts": [0.0], "classlabels_ints": [0, 1]}
    with pytest.raises(UnsupportedOperator, match="2 classes and 1 rows"):
        augment(build("LinearClassifier", given, 1))


@pytest.mark.parametrize(
    "op_type, given, output",
    [
        ("Normalizer", {"norm": "MAX"}, 0),
        ("LinearRegressor", {"coefficients": [1.0] * 3, "post_transform": "PROBIT"}, 0),
        ("LinearClassifier", CASES["NONE"][1] | {"post_transform": "PROBIT"}, 1),
    ],
)
def test_unusual_options_are_refused_by_name(op_type, given, output):
    with pytest.raises(UnsupportedOperator, match=f"{op_type}.*(MAX|PROBIT) has no rule"):
        augment(build(op_type, given, output))
