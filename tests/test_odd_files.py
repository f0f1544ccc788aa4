"""Files that are valid but unusual: what exporters of all years write."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import igrt
from igrt.errors import NoGradientPath, UnsupportedOperator

X = np.float32([[0.5, -1.0, 2.0]])
# float32: 6e-8 per operation, a handful of operations
CLOSE = 2e-6


def parse(text, opset=17, ir=8, more=""):
    return parser.parse_model(f'<ir_version: {ir}, opset_import: ["": {opset}{more}]> {text}')


def gradient(model, feeds, ct=None, of="y", wrt="x"):
    """Gradient of Σ ct·y, of ones by default."""
    session = onnxruntime.InferenceSession(
        igrt.augment(model, of=of, wrt=[wrt]).SerializeToString()
    )
    given = dict(feeds)
    if ct is None:
        ct = np.ones_like(
            onnxruntime.InferenceSession(model.SerializeToString()).run([of], feeds)[0]
        )
    given[f"igrt/cotangent/{of}"] = ct
    given = {i.name: given[i.name] for i in session.get_inputs()}
    return session.run([f"igrt/grad/{wrt}"], given)[0]


# -- old operators --------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [7, 9])
def test_upsample_which_onnx_took_away(opset):
    scales = ", scales = [1.0, 1.0, 2.0, 2.0]" if opset == 7 else ""
    operand = "" if opset == 7 else ", s"
    model = parse(
        f"""g (float[1, 1, 2, 2] x) => (float[1, 1, 4, 4] y) <float[4] s = {{1, 1, 2, 2}}> {{
            y = Upsample <mode = "nearest" {scales}> (x{operand}) }}""",
        opset,
    )
    if opset == 7:
        del model.graph.initializer[:]
    x = np.float32([[[[1, 2], [3, 4]]]])
    ct = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    want = ct.reshape(1, 1, 2, 2, 2, 2).sum(axis=(3, 5))
    np.testing.assert_array_equal(gradient(model, {"x": x}, ct), want)


def test_scatter_which_onnx_took_away():
    model = parse(
        """g (float[3] x) => (float[3] y) <float[1] u = {7}, int64[1] at = {1}> {
            y = Scatter (x, at, u) }""",
        9,
    )
    assert gradient(model, {"x": X[0]}).tolist() == [1, 0, 1]


# -- stored tensors -------------------------------------------------------------------------------


@pytest.mark.parametrize("ir", [3, 8])
def test_stored_tensors_listed_as_inputs_are_not_fed(ir):
    model = parse(
        "g (float[N, 3] x) => (float[N, 3] y) <float[3] w = {1, 2, 3}> {y = Mul (x, w)}", 9, ir
    )
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3]))
    explainer = igrt.Explainer(model)
    assert [i.name for i in explainer.inputs] == ["x"]
    np.testing.assert_allclose(explainer.explain(X, target=2).values["x"], [[0, 0, 6]], rtol=CLOSE)
    inputs = [i.name for i in igrt.augment(model).graph.input]
    # in IR version 3 the list said nothing; from 4 on it allows to feed them
    assert inputs == ["x", *(["w"] if ir > 3 else []), "igrt/cotangent/y"]


def test_the_last_of_two_stored_tensors_of_one_name_counts():
    model = parse("g (float[N, 3] x) => (float[N, 3] y) {y = Mul (x, w)}")
    for factor in (5, 2):
        model.graph.initializer.append(numpy_helper.from_array(np.float32([factor]), "w"))
    assert gradient(model, {"x": X}).tolist() == [[2, 2, 2]]
    onnx.checker.check_model(igrt.augment(model))


def test_metadata_twice():
    model = parse("g (float[N, 3] x) => (float[N, 3] y) {y = Exp (x)}")
    for value in ("a", "b"):
        model.metadata_props.add(key="author", value=value)
    kept = igrt.augment(model).metadata_props
    assert [(p.key, p.value) for p in kept] == [("author", "a"), ("author", "b")]
    np.testing.assert_allclose(gradient(model, {"x": X}), np.exp(X), rtol=CLOSE)


# -- functions, bodies and names ------------------------------------------------------------------


def test_functions_in_functions_with_attributes_of_another_opset():
    model = parser.parse_model("""
        <ir_version: 9, opset_import: ["": 17, "local": 1]>
        g (float[N, 3] x) => (float[N, 3] y) { y = local.outer <slope = 0.25> (x) }
        <domain: "local", opset_import: ["": 17, "local": 1]>
        outer <slope> (v) => (w) { a = local.inner <alpha : float = @slope> (v)
                                   w = Mul (a, a) }
        <domain: "local", opset_import: ["": 17]>
        inner <alpha> (v) => (w) { w = LeakyRelu <alpha : float = @alpha> (v) }""")
    # y = (slope x)² below zero and x² above
    np.testing.assert_allclose(gradient(model, {"x": X}), [[1, -0.125, 4]], rtol=CLOSE)


def test_bodies_that_shadow_outer_names():
    model = parse("""g (float[2, 3] x, bool flag) => (float[2, 3] y) {
        h = Exp (x)
        y = If (flag) <
            then_branch = a () => (float[2, 3] p) { t = Mul (h, x)  p = Neg (t) },
            else_branch = b () => (float[2, 3] q) { t = Add (h, h)  q = Identity (t) }
        >
    }""")
    x = np.repeat(X, 2, axis=0)
    for flag, want in ((True, -np.exp(x) * (1 + x)), (False, 2 * np.exp(x))):
        made = gradient(model, {"x": x, "flag": np.array(flag)})
        np.testing.assert_allclose(made, want, rtol=CLOSE)


def test_nodes_without_names_and_in_any_order():
    model = parse(
        """g (float[N, 3] x) => (float[N, 3] y) { a = Exp (x) b = Tanh (x) y = Mul (a, b) }"""
    )
    nodes = list(model.graph.node)[::-1]
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    ordered = gradient(
        parse("g (float[N, 3] x) => (float[N, 3] y) { a = Exp (x) b = Tanh (x) y = Mul (a, b) }"),
        {"x": X},
    )
    np.testing.assert_array_equal(
        onnxruntime.InferenceSession(igrt.augment(model).SerializeToString()).run(
            ["igrt/grad/x"], {"x": X, "igrt/cotangent/y": np.ones_like(X)}
        )[0],
        ordered,
    )
    assert all(n.name for n in igrt.augment(model).graph.node)


# -- shapes ---------------------------------------------------------------------------------------


def without_shapes(model):
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return model


def test_outputs_without_shapes():
    model = parse("g (float[N, 3] x) => (float[N, 3] y) { h = Exp (x) y = Tanh (h) }")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    x, e = X / 4, np.exp(X / 4)
    np.testing.assert_allclose(gradient(model, {"x": x}), (1 - np.tanh(e) ** 2) * e, rtol=1e-5)


def test_a_rank_that_nobody_declares_is_learnt_by_running():
    """Behind an If whose branches differ, ONNX knows no rank; reductions need it."""
    text = """g (float[N, 3] x, bool flag) => (float[K] y)
        <float[3] gain = {1, 2, 3}> {
        u = If (flag) <
            then_branch = a () => (float[N, 3] p) { p = Exp (x) },
            else_branch = b () => (float[M] q) { minus = Constant <value = int64[1] {-1}> ()
                                                 q = Reshape (x, minus) }
        >
        s = Mul (u, u)
        y = LayerNormalization <axis = -1> (s, gain)
    }"""
    model = parse(text, 18)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(
        UnsupportedOperator, match=r"LayerNormalization.*number of axes.*not known"
    ) as caught:
        igrt.augment(model)
    assert "igrt.Explainer" in caught.value.hint
    feeds = {"x": X / 4, "flag": np.array([True])[0]}
    result = igrt.explain(model, feeds, wrt=["x"], target=1, n_steps=64)
    assert result.error[0] < 0.01
    assert abs(result.delta[0]) < 1e-4


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_axes_of_size_zero(shape):
    model = parse(
        "g (float[N, K] x) => (float[N, K] y) { e = Exp (x) s = Softmax (e) y = Mul (s, x) }"
    )
    made = gradient(model, {"x": np.zeros(shape, np.float32)})
    assert made.shape == shape


def test_a_model_without_a_batch():
    model = parse(
        """g (float[3] x) => (float y) <int64[1] axes = {0}> {
            y = ReduceSum <keepdims = 0> (x, axes) }""",
        18,
    )
    result = igrt.explain(model, X[0])
    np.testing.assert_allclose(result.values["x"], X[0], rtol=CLOSE)


# -- outputs --------------------------------------------------------------------------------------


def test_sequences_and_maps_beside_a_float_output():
    model = parse(
        """g (float[N, 3] x) => (seq(map(int64, float)) z, float[N, 3] y) {
            y = Softmax (x)
            z = ai.onnx.ml.ZipMap <classlabels_int64s = [0, 1, 2]> (y) }""",
        more=', "ai.onnx.ml": 3',
    )
    result = igrt.explain(model, X, target=2)
    assert abs(result.delta[0]) < 1e-3
    assert igrt.Explainer(model).of.name == "y"


def test_a_constant_output_in_front_is_passed_over():
    model = parse("""g (float[N, 3] x) => (float[1] version, float[N, 3] y) {
        version = Constant <value = float[1] {2}> ()  y = Exp (x) }""")
    assert igrt.Explainer(model).of.name == "y"
    with pytest.raises(NoGradientPath, match="depends on an input"):
        igrt.Explainer(
            parse("g (float[3] x) => (float[1] c) { c = Constant <value = float[1] {2}> () }")
        )
