"""`Explainer` on small models with attributions known in closed form."""

import threading
from contextlib import suppress

import numpy as np
import onnx
import pytest
from onnx import parser

import igrt
from igrt import stage
from igrt.errors import (
    Cancelled,
    DeadlineExceeded,
    InputError,
    NoGradientPath,
    NonFiniteError,
    TargetError,
    UnsupportedOperator,
)
from igrt.sessions import Sessions

# float32 forward and gradient: 6e-8 per operation, a handful of operations
FLOAT32 = 2e-6


def model(text, opset=17):
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> {text}')


LINEAR = model(
    """g (float[N, 3] x) => (float[N, 2] y) <float[3, 2] W = {1, -1, 2, 0.5, -3, 4}> {
         y = MatMul(x, W) }"""
)
PRODUCT = model("""g (float[N, 1] a, float[N, 1] b) => (float[N, 1] y) { y = Mul(a, b) }""")
SATURATED = model(
    """g (float[N, 1] x) => (float[N, 1] y) <float[1] one = {1}> {
         d = Sub(one, x)  r = Relu(d)  y = Sub(one, r) }"""
)


@pytest.mark.parametrize(
    "rule",
    ["left", "right", "midpoint", "trapezoid", "simpson", "gauss_legendre", "gauss_kronrod"],
)
def test_a_linear_model_is_exact_with_every_rule(rule):
    x = np.array([[1.0, 2.0, 3.0]], np.float32)
    result = igrt.explain(LINEAR, x, target=1, rule=rule, n_steps=7)
    np.testing.assert_allclose(result.values["x"], [[-1, 1, 12]], rtol=FLOAT32)
    assert abs(result.delta[0]) < 1e-5
    assert result.evaluations.tolist() == [7]


def test_the_papers_saturated_example():
    """F = 1 - ReLU(1 - x) at 2 has the gradient 0 (Sundararajan et al., 2017)."""
    result = igrt.explain(SATURATED, np.array([[2.0]], np.float32), tolerance=0.05)
    error = abs(result.values["x"][0, 0] - 1)
    assert error <= 2 * result.error[0] * abs(result.values["x"][0, 0]) + FLOAT32
    assert result.output[0] == 1
    assert result.baseline_output[0] == 0


def test_a_product_is_shared_equally_between_its_factors():
    """F = a·b from (0, 0): ∫ αb dα · a = ab/2 for each."""
    feeds = {"a": np.array([[3.0]], np.float32), "b": np.array([[5.0]], np.float32)}
    result = igrt.explain(PRODUCT, feeds)
    assert result.values["a"][0, 0] == pytest.approx(7.5, rel=FLOAT32)
    assert result.values["b"][0, 0] == pytest.approx(7.5, rel=FLOAT32)
    assert result.delta[0] == pytest.approx(0, abs=15 * FLOAT32)


def test_only_one_input_attributed_leaves_the_other_fixed():
    feeds = {"a": np.array([[3.0]], np.float32), "b": np.array([[5.0]], np.float32)}
    result = igrt.explain(PRODUCT, feeds, wrt=["a"])
    assert set(result.values) == {"a"}
    assert result.values["a"][0, 0] == pytest.approx(15, rel=FLOAT32)


def test_baselines_are_averaged():
    x = np.array([[1.0, 2.0, 3.0]], np.float32)
    baselines = [np.zeros(3, np.float32), np.array([1.0, 2.0, 3.0], np.float32)]
    result = igrt.explain(LINEAR, x, target=0, baselines=baselines)
    np.testing.assert_allclose(result.values["x"], [[0.5, 2, -4.5]], rtol=FLOAT32)
    assert result.baseline_output[0] == pytest.approx(-2, rel=FLOAT32)
    assert result.evaluations.tolist() == [2]  # one for each


def test_topk_gives_a_row_per_class():
    x = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]], np.float32)
    result = igrt.explain(LINEAR, x, target="top2")
    assert result.target == (1, 0, 0, 1)
    assert result.example.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(result.values["x"][1], [1, 4, -9], rtol=FLOAT32)


def test_targets_may_differ_per_example():
    x = np.ones((2, 3), np.float32)
    result = igrt.explain(LINEAR, x, target=[0, 1])
    np.testing.assert_allclose(result.values["x"], [[1, 2, -3], [-1, 0.5, 4]], rtol=FLOAT32)


def test_the_result_has_the_shape_of_the_input():
    single = igrt.explain(LINEAR, np.ones(3, np.float32), target=0)
    batch = igrt.explain(LINEAR, np.ones((1, 3), np.float32), target=0)
    assert single.values["x"].shape == (3,)
    assert batch.values["x"].shape == (1, 3)
    assert single.delta.shape == batch.delta.shape == (1,)


def test_an_inner_tensor_is_attributed_along_a_path_in_its_own_space():
    text = """g (float[N, 2] x) => (float[N, 1] y)
        <float[2, 2] W = {1, 2, 3, 4}, float[2, 1] V = {1, 1}> {
        h = MatMul(x, W)  s = Mul(h, h)  y = MatMul(s, V) }"""
    x = np.array([[1.0, -1.0]], np.float32)
    result = igrt.explain(model(text), x, wrt=["h"])
    # h = (-2, -2), y = Σ h², so the attribution of each is h² = 4
    np.testing.assert_allclose(result.values["h"], [[4, 4]], rtol=FLOAT32)


def test_a_model_without_smooth_output_is_refused_with_a_way_out():
    text = """g (float[N, 3] x) => (int64[N] y) {
        s = Softmax<axis = 1>(x)  y = ArgMax<axis = 1, keepdims = 0>(s) }"""
    with pytest.raises(NoGradientPath, match="float tensor") as caught:
        igrt.Explainer(model(text))
    assert 'of="s"' in caught.value.hint
    assert igrt.Explainer(model(text), of="s").of.name == "s"


def test_a_path_through_rounding_is_refused_by_name():
    text = """g (float[N, 3] x) => (float[N, 3] y) { r = Round(x)  y = Exp(r) }"""
    with pytest.raises(NoGradientPath, match=r"Round.*`Round_0`"):
        igrt.Explainer(model(text))


def test_an_unused_input_gets_zeros():
    text = """g (float[N, 1] a, float[N, 1] unused) => (float[N, 1] y) { y = Exp(a) }"""
    one = np.ones((1, 1), np.float32)
    result = igrt.explain(model(text), {"a": one, "unused": one})
    assert result.values["unused"].tolist() == [[0.0]]
    assert result.values["a"][0, 0] == pytest.approx(np.e - 1, rel=FLOAT32)


def test_missing_rules_are_reported_together():
    text = """<ir_version: 8, opset_import: ["": 17, "com.example": 1]>
        g (float[N, 4] x) => (float[N, 4] y) {
        z = com.example.Left(x)  w = com.example.Left(z)  v = com.example.Right(w)  y = Exp(v) }"""
    with pytest.raises(UnsupportedOperator) as caught:
        igrt.Explainer(parser.parse_model(text))
    assert "2 operators between `x` and `y` have no gradient rule" in caught.value.message
    assert "com.example.Left-1 (0)   2 nodes" in caught.value.message
    assert "com.example.Right-1 (0)  1 node" in caught.value.message


@pytest.mark.parametrize("shape", [(1, 3), (3,)])
def test_a_batch_fixed_at_one_takes_several_examples(shape):
    text = """g (float[1, 3] x) => (float[1, 6] y) <int64[2] s = {1, 6}> {
        c = Concat<axis = 1>(x, x)  e = Exp(c)  y = Reshape(e, s) }"""
    explainer = igrt.Explainer(model(text))
    x = np.arange(6, dtype=np.float32).reshape(2, 3) / 6
    together = explainer.explain(x, target=0)
    assert "batch free" in together.provenance["batching"]
    alone = explainer.explain(x[1].reshape(shape), target=0)
    np.testing.assert_allclose(together.values["x"][1], alone.values["x"].reshape(3), rtol=FLOAT32)


def test_a_fixed_batch_that_cannot_be_freed_runs_row_by_row():
    """A Reshape to [3, 1] folds the batch away, so freeing it would mix rows."""
    text = """g (float[1, 3] x) => (float[1, 3] y)
        <int64[2] s = {3, 1}, int64[2] t = {1, 3}, float[1, 1] w = {2}> {
        c = Reshape(x, s)  m = MatMul(c, w)  y = Reshape(m, t) }"""
    explainer = igrt.Explainer(model(text))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    result = explainer.explain(x, target=1)
    assert "one by one" in result.provenance["batching"]
    np.testing.assert_allclose(result.values["x"], [[0, 2, 0], [0, 8, 0]], rtol=FLOAT32)


def test_rows_that_depend_on_each_other_are_run_alone():
    text = """g (float[N, 2] x) => (float[N, 2] y) <int64[1] a = {0}> {
        m = ReduceSum<keepdims = 1>(x, a)  y = Mul(x, m) }"""
    x = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    result = igrt.explain(model(text), x, target=0)
    assert "dependent" in result.provenance["batching"]
    # alone, y = x², whose attribution from 0 is x²
    np.testing.assert_allclose(result.values["x"], [[1, 0], [9, 0]], rtol=FLOAT32)


def test_an_output_without_batch_axis_is_one_row():
    text = (
        """g (float[N, 2] x) => (float[2] y) <int64[1] a = {0}> { e = Exp(x)  y = Squeeze(e, a) }"""
    )
    x = np.array([[1.0, 0.0], [2.0, 0.0]], np.float32)
    result = igrt.explain(model(text), x, target=0)
    # Σ e^x over the first element only: e^1 - 1 and e^2 - 1
    np.testing.assert_allclose(result.values["x"][:, 0], np.expm1([1.0, 2.0]), rtol=FLOAT32)


def test_a_scalar_output_needs_no_target():
    text = """g (float[N, 2] x) => (float y) { s = ReduceSum<keepdims = 0>(x)  y = Exp(s) }"""
    result = igrt.explain(model(text), np.array([[1.0, 1.0]], np.float32))
    np.testing.assert_allclose(result.values["x"], [[np.expm1(2.0) / 2] * 2], rtol=FLOAT32)
    assert result.target == (0,)


MIXED = model(
    """g (float[N, 3] x, int64 k, float[2] w) => (float[N, 2] y) <int64[1] a = {1}> {
         s = ReduceSum<keepdims = 1>(x, a)  f = Cast<to = 1>(k)  t = Mul(s, f)  y = Mul(t, w) }"""
)


def test_inputs_without_a_batch_axis_are_shared_by_all_rows():
    """y = k·Σx·w, so the attribution of each x is k·x·w; k and w are the same for every row."""
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    feeds = {"x": x, "k": np.int64(2), "w": np.array([3, 5], np.float32)}
    result = igrt.explain(MIXED, feeds, wrt=["x"], target=1)
    np.testing.assert_allclose(result.values["x"], 10 * x, rtol=FLOAT32)
    assert result.provenance["batching"] == "independent"
    alone = igrt.explain(MIXED, feeds | {"x": x[1]}, wrt=["x"], target=1)
    np.testing.assert_allclose(alone.values["x"], 10 * x[1], rtol=FLOAT32)


def test_an_inner_tensor_is_found_beside_inputs_without_a_batch_axis():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    feeds = {"x": x, "k": np.int64(2), "w": np.array([3, 5], np.float32)}
    text = """g (float[N, 3] x, int64 k) => (float[N, 3] y) {
        e = Mul(x, x)  f = Cast<to = 1>(k)  y = Mul(e, f) }"""
    result = igrt.explain(model(text), {n: feeds[n] for n in ("x", "k")}, wrt=["e"], target=2)
    np.testing.assert_allclose(result.values["e"][:, 2], 2 * x[:, 2] ** 2, rtol=FLOAT32)


def test_what_does_not_change_between_calls_is_done_once(monkeypatch):
    """A service explains with one model again and again: no session and no size twice."""
    sessions, sizes = [], []
    opened, sized = Sessions.open, stage.row_bytes
    monkeypatch.setattr(
        Sessions,
        "open",
        lambda self, part, **how: (sessions.append(part), opened(self, part, **how))[1],
    )
    monkeypatch.setattr(stage, "row_bytes", lambda *given: (sizes.append(given), sized(*given))[1])
    explainer = igrt.Explainer(LINEAR)
    for rows in (1, 3, 1):
        explainer.explain(np.ones((rows, 3), np.float32), target=0)
    assert len(sessions) == 2  # the forward and the gradient one
    assert len(sizes) == 2  # of the same


def test_a_model_without_batch_axis_is_one_example():
    text = """g (float[4] x) => (float[2] y) <float[4, 2] W = {1, 2, 3, 4, 5, 6, 7, 8}> {
        y = MatMul(x, W) }"""
    result = igrt.explain(model(text), np.ones(4, np.float32), target=1)
    np.testing.assert_allclose(result.values["x"], [2, 4, 6, 8], rtol=FLOAT32)


def test_a_singular_end_point_is_integrated_by_interior_nodes():
    """F = √x from 0 to 4: the gradient is infinite at 0, the attribution 2."""
    text = "g (float[N, 1] x) => (float[N, 1] y) { y = Sqrt(x) }"
    result = igrt.explain(model(text), np.array([[4.0]], np.float32))
    error = abs(result.values["x"][0, 0] - 2) / 2
    assert error <= 2 * result.error[0]
    assert error < 1e-2


def test_an_infinite_gradient_is_reported_with_its_step():
    text = "g (float[N, 1] x) => (float[N, 1] y) { y = Sqrt(x) }"
    with pytest.raises(NonFiniteError, match="alpha = 0 "):
        igrt.explain(model(text), np.array([[4.0]], np.float32), rule="left", n_steps=4)


def test_a_nan_output_is_reported():
    text = "g (float[N, 1] x) => (float[N, 1] y) { y = Log(x) }"
    with pytest.raises(NonFiniteError, match="output `y`"):
        igrt.explain(model(text), np.array([[4.0]], np.float32), baselines=-1.0)


def test_float64_and_integer_arrays_are_converted_by_policy():
    wide = igrt.explain(LINEAR, np.ones((1, 3)), target=0)
    whole = igrt.explain(LINEAR, np.ones((1, 3), dtype=np.int32), target=0)
    swapped = igrt.explain(LINEAR, np.ones((1, 3), dtype=">f4"), target=0)
    for result in (wide, whole, swapped):
        np.testing.assert_allclose(result.values["x"], [[1, 2, -3]], rtol=FLOAT32)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({}, "input x: .* is missing"),
        ({"z": np.ones((1, 3))}, "no input `z`"),
        (np.ones((1, 4)), "expected"),
        (np.ones((1, 1, 3)), "axes"),
        (np.full((1, 3), np.nan), "NaN"),
        (np.array([["a", "b", "c"]]), "cannot be fed"),
        (np.ones((0, 3)), "no rows"),
        (np.array([[1j, 1, 1]]), "complex"),
        ([[1.0, 2.0], [3.0]], "rectangular"),
    ],
)
def test_bad_inputs_are_refused(inputs, text):
    with pytest.raises(InputError, match=text):
        igrt.explain(LINEAR, inputs, target=0)


def test_a_target_outside_the_output_is_refused():
    with pytest.raises(TargetError, match="target 2 is outside"):
        igrt.explain(LINEAR, np.ones((1, 3), np.float32), target=2)


def test_one_explainer_serves_many_threads_with_equal_answers():
    explainer = igrt.Explainer(LINEAR)
    inputs = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    serial = [explainer.explain(x, target=0).values["x"] for x in inputs]
    found = [None] * len(inputs)

    def work(i):
        found[i] = explainer.explain(inputs[i], target=0).values["x"]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(serial, found, strict=True):
        np.testing.assert_array_equal(a, b)


ENDLESS = model(
    """g (float[N,3] x) => (float[N,3] y) <int64 n = {1000000000000}, bool go = {1}> {
         y = Loop(n, go, x) <body = b (int64 i, bool c, float[N,3] s) => (bool d, float[N,3] t)
             { d = Identity(c) t = Tanh(s) }> }"""
)


def test_a_call_ends_while_the_model_runs():
    explainer = igrt.Explainer(ENDLESS)
    x = np.ones((1, 3), np.float32)
    cancel = threading.Event()
    for _ in range(2):  # the second time with what the first one left
        with pytest.raises(DeadlineExceeded):
            explainer.explain(x, deadline=0.05)
        threading.Timer(0.05, cancel.set).start()
        with pytest.raises(Cancelled):
            explainer.explain(x, cancel=cancel)
        cancel.clear()


def test_a_call_that_gave_up_leaves_the_explainer_as_it_was():
    """Not even what an explainer finds out by trying is found out wrongly by a run that ended."""
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    expected = igrt.explain(LINEAR, x, target=0)
    for runs in range(8):
        explainer, left = igrt.Explainer(LINEAR), [runs]

        def stop(*_, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise Cancelled("by now")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("igrt.runtime.session.Watch.run_options", stop)
            with suppress(Cancelled):
                explainer.explain(x, target=0)
        found = explainer.explain(x, target=0)
        np.testing.assert_array_equal(found.values["x"], expected.values["x"])
        assert found.provenance["batching"] == expected.provenance["batching"]


def test_what_cancels_is_an_event():
    with pytest.raises(InputError, match=r"threading\.Event"):
        igrt.explain(LINEAR, np.ones((1, 3), np.float32), cancel=True)


def test_provenance_names_model_versions_and_options(tmp_path):
    path = tmp_path / "linear.onnx"
    onnx.save(LINEAR, path)
    result = igrt.explain(path, np.ones((1, 3), np.float32), target=0, seed=7)
    import hashlib

    assert result.provenance["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert result.provenance["model"] == "linear.onnx"
    assert result.provenance["opset"] == 17
    assert result.provenance["seed"] == 7
    assert result.provenance["onnx"] == onnx.__version__
    assert result.provider == "CPUExecutionProvider"


DENSE = """
<ir_version: 8, opset_import: ["": 18]>
net (float[nodes, 2] x, float[nodes, nodes] links) => (float[nodes, 2] y) {
    mixed = MatMul (links, x)
    y = Tanh (mixed)
}
"""


def test_nodes_of_a_graph_are_one_example():
    """No node runs without the others, so the open axis does not count examples."""
    explainer = igrt.Explainer(parser.parse_model(DENSE), wrt=["x"], provider="cpu")
    rng = np.random.default_rng(0)
    feeds = {n: rng.random(s, dtype=np.float32) for n, s in (("x", (3, 2)), ("links", (3, 3)))}
    result = explainer.explain(feeds, target=(1, 0))
    total = feeds["links"][1] @ feeds["x"][:, 0]
    expected = np.zeros((3, 2))
    expected[:, 0] = feeds["links"][1] * feeds["x"][:, 0] * np.tanh(total) / total
    assert result.values["x"] == pytest.approx(expected, abs=1e-6)
    assert explainer.explain(feeds, target=(2, 1)).values["x"].shape == (3, 2)


def test_inputs_that_differ_in_rows_and_do_not_run_together_are_refused():
    explainer = igrt.Explainer(parser.parse_model(DENSE), provider="cpu")
    feeds = {"x": np.ones((3, 2), np.float32), "links": np.ones((2, 2), np.float32)}
    with pytest.raises(InputError, match="different numbers of examples"):
        explainer.explain(feeds, target=(0, 0))


# -- inputs with one axis -------------------------------------------------------------------------


def one_axis(body):
    text = '<ir_version: 8, opset_import: ["": 18]> g (float[N] x) => (float[N] y) ' + body
    return onnx.parser.parse_model(text)


def test_an_only_axis_along_which_elements_meet_is_a_sequence():
    """y = x · Σ x: at the element 1, ∫ d/dx is (x₀ x₁, x₁² + x₀ x₁ …) from a baseline of zeros."""
    model = one_axis("{ s = ReduceSum(x) y = Mul(x, s) }")
    x = np.array([1.0, 2.0, 3.0], np.float32)
    result = igrt.explain(model, x, target=1, n_steps=3)
    # y₁ = x₁ Σ x is of degree 2: ∂/∂x_i at t·x is t·x₁, and t·(Σ x + x₁) for i = 1; ∫ t = 1/2
    expected = x * (x[1] + np.array([0, x.sum(), 0])) / 2
    np.testing.assert_allclose(result.values["x"], expected, rtol=1e-6)  # float32
    with pytest.raises(InputError, match="has 1 axes") as caught:
        igrt.explain(model, np.stack([x, x]), target=1)
    assert "no batch axis" in caught.value.hint and "wrt" in caught.value.hint


def test_an_only_axis_along_which_they_do_not_is_the_batch():
    x = np.array([1.0, 2.0, 3.0], np.float32)
    result = igrt.explain(one_axis("{ y = Mul(x, x) }"), x, n_steps=3)
    np.testing.assert_allclose(result.values["x"], x**2, rtol=1e-6)
    assert len(result) == 3


def test_rows_of_an_example_without_a_batch_axis_are_all_there():
    """Nodes of a graph are no examples, but its targets are rows all the same."""
    graph = model(
        """g (float[N, 2] x, float[N, N] near) => (float[2] y) <int64[1] axis = {0}> {
             mixed = MatMul(near, x)  y = ReduceSum<keepdims = 0>(mixed, axis) }"""
    )
    x, near = np.array([[1, 2], [3, 4], [5, 6]], np.float32), np.eye(3, dtype=np.float32)
    result = igrt.explain(graph, {"x": x, "near": near}, wrt=["x"], target="top2")
    assert result.target == (1, 0)
    expected = np.zeros((2, 3, 2))
    expected[0, :, 1], expected[1, :, 0] = x[:, 1], x[:, 0]
    np.testing.assert_allclose(result.values["x"], expected, atol=FLOAT32)
    assert igrt.explain(graph, {"x": x, "near": near}, wrt=["x"], target=0).values["x"].shape == (
        3,
        2,
    )
