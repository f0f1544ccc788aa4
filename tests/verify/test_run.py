"""`igrt.verify`: the table, inputs that are drawn, ways of feeding a model, and what is refused."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from verify_cases import KINKED, SMOOTH, Broken, X, model

import igrt
from igrt.errors import InputError, NonFiniteError
from igrt.verify.run import CHECKS, MEASURES

AXIOMS = ["gradients", "completeness", "sensitivity (a)", "implementation invariance", "linearity"]


TWELVE = np.random.default_rng(2).standard_normal((2, 12)).astype(np.float32)


def wide():
    """Twelve features of different weight."""
    rng = np.random.default_rng(1)
    hidden = ", ".join(f"{v:.6f}" for v in rng.standard_normal(12 * 16))
    out = ", ".join(f"{v:.6f}" for v in rng.standard_normal(16 * 2))
    return model(
        f"""g (float[N, 12] x) => (float[N, 2] y)
            <float[12, 16] V = {{{hidden}}}, float[16, 2] W = {{{out}}}> {{
              u = MatMul(x, V)  h = Tanh(u)  y = MatMul(h, W) }}"""
    )


def test_every_check_is_in_the_table_in_order():
    found = igrt.verify(wide(), TWELVE)
    names = [c.name for c in found.checks]
    assert names[: len(CHECKS) + 1] == [*CHECKS, "weight randomisation"]
    assert names[len(CHECKS) + 1 :] == [
        *("insertion", "deletion", "infidelity, noise", "infidelity, removal", "sensitivity-max")
    ]
    assert all(c.detail for c in found.checks)
    assert all(c.holds for c in found.checks[-6:])
    assert found.holds
    assert set(found.extras) == {"faithfulness", "randomisation"}


def test_few_features_are_not_ranked():
    """With three features, chance alone puts them in any order one time in six."""
    found = igrt.verify(SMOOTH, X, checks=list(MEASURES))
    assert found.holds
    for name in ("weight randomisation", "insertion", "infidelity, noise"):
        assert found[name].detail == (
            "skipped: 3 features differ from the baseline, too few to rank"
        )
    assert found["sensitivity-max"].holds is True


def test_the_package_is_called_like_the_function_and_can_be():
    import igrt.verify as package

    assert package.Verification is igrt.Verification
    assert igrt.verify is package
    assert package.verify(SMOOTH, X, checks=["symmetry"]).checks == (
        package(SMOOTH, X, checks=["symmetry"]).checks
    )


def test_the_table_can_be_read_by_people_and_programs(tmp_path):
    found = igrt.verify(KINKED, X, checks=["completeness", "symmetry"])
    document = json.loads(found.to_json())
    assert document["holds"] is True
    assert [c["name"] for c in document["checks"]] == ["completeness", "symmetry"]
    assert document["checks"][1] == {
        "name": "symmetry",
        "figure": None,
        "limit": None,
        "holds": None,
        "detail": "skipped: no two features are exchangeable, 3 of their pairs tried",
    }
    assert document["inputs"] == "2 rows of the given inputs"
    assert document["provenance"]["seed"] == 0
    text = repr(found)
    assert "completeness" in text
    assert "skipped" in text
    assert json.loads(found.save(tmp_path / "v.json").read_text()) == document
    assert "completeness" in found.save(tmp_path / "v.html").read_text()
    with pytest.raises(InputError, match="unknown suffix"):
        found.save(tmp_path / "v.png")
    with pytest.raises(InputError, match="no check `depth`"):
        found["depth"]


def test_one_violation_is_enough_not_to_hold():
    explain = Broken(lambda v, _: 1.5 * v)
    found = igrt.verify(SMOOTH, X, explain=explain, checks=["completeness", "symmetry"])
    assert not found.holds
    assert [c.name for c in found.failed] == ["completeness"]


def test_the_same_seed_gives_the_same_table():
    first, again = (igrt.verify(KINKED, checks=AXIOMS, seed=3) for _ in range(2))
    assert first.checks == again.checks
    assert first.inputs == "1 row of inputs drawn with the seed 3"


def test_targets_may_be_several_per_example():
    found = igrt.verify(SMOOTH, X, target="top2", checks=AXIOMS)
    assert len(found.target) == 4
    assert found.holds


FIXED = helper.make_model(
    helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["f"]),
            helper.make_node("Tanh", ["f"], ["h"]),
            helper.make_node("MatMul", ["h", "w"], ["y"]),
        ],
        "fixed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor("w", TensorProto.FLOAT, [4, 2], [1, 2, -1, 0.5, 2, 1, 0.3, -1])],
    ),
    ir_version=8,
    opset_imports=[helper.make_opsetid("", 17)],
)
UNBATCHED = model(
    """g (float[3] x) => (float[2] y) <float[3, 2] W = {1, -1, 2, 0.5, -3, 4}> {
         h = Tanh(x)  y = MatMul(h, W) }"""
)
MASKED = model(
    """g (float[N, 3] x, bool[N, 3] mask) => (float[N, 1] y) <float zero = {0},
         float[3, 1] W = {1, -2, 0.5}> {
         k = Where(mask, x, zero)  h = Tanh(k)  y = MatMul(h, W) }"""
)
TOKENS = model(
    """g (int64[N, T] ids) => (float[N, 2] y)
         <float[5, 2] table = {1, 2, 3, 4, 5, -6, 0.7, 0.8, 0.9, 1}, int64[1] axes = {1}> {
         e = Gather<axis = 0>(table, ids)  h = Tanh(e)  y = ReduceSum<keepdims = 0>(h, axes) }"""
)
OLD = model(
    """g (float[N, 3] x) => (float[N, 2] y)
         <float[3, 2] W = {1, -1, 2, 0.5, -3, 4}, float[2] c = {0.1, 0.2}> {
         h = Tanh(x)  y = Gemm(h, W, c) }""",
    opset=9,
)
FED = {
    "batch fixed at one": (FIXED, X.reshape(-1)[:4].reshape(1, 2, 2)),
    "several rows through it": (FIXED, np.stack([X.reshape(-1)[:4], X.reshape(-1)[2:]])),
    "no batch axis": (UNBATCHED, X[0]),
    "an input that is not float": (MASKED, {"x": X, "mask": X > -1}),
    "token numbers": (TOKENS, np.array([[1, 4, 2]])),
    "an old opset": (OLD, X),
}


@pytest.mark.parametrize("name", FED)
def test_models_are_fed_as_explain_feeds_them(name):
    proto, inputs = FED[name]
    if isinstance(inputs, np.ndarray) and inputs.shape == (2, 4):
        inputs = inputs.reshape(2, 2, 2)
    found = igrt.verify(proto, inputs, checks=[n for n in CHECKS if n != "symmetry"])
    assert found.holds, found
    assert found["gradients"].holds is True, found
    assert found["completeness"].holds is True
    assert found["linearity"].holds is True


@pytest.mark.parametrize("name", FED)
def test_inputs_are_drawn_for_all_of_them(name):
    found = igrt.verify(FED[name][0], checks=["completeness", "sensitivity (b)"])
    assert found.inputs.endswith("drawn with the seed 0")
    assert found.holds


def test_inner_tensors_are_checked_on_the_model_behind_them():
    found = igrt.verify(KINKED, X, wrt=["v"], checks=AXIOMS)
    assert found.holds
    assert "inner tensors" in found.provenance["notes"][0]


def test_weights_in_an_external_file_are_read(tmp_path):
    path = tmp_path / "external.onnx"
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((3, 400)).astype(np.float32)
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node("Tanh", ["x"], ["h"]), helper.make_node("MatMul", ["h", "W"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 400])],
            [onnx.numpy_helper.from_array(weights, "W")],
        ),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    onnx.save(proto, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    found = igrt.verify(path, X, checks=AXIOMS)
    assert found.holds
    assert found["linearity"].holds is True


def test_what_cannot_be_explained_is_an_error_and_no_row_of_skipped_checks():
    def failing(model, inputs, **how):
        raise NonFiniteError("no number")

    with pytest.raises(NonFiniteError, match="no number"):
        igrt.verify(SMOOTH, X, explain=failing)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checks": ["completness"]}, "there is no check `completness`"),
        ({"baselines": [0.0, 1.0]}, "2 baselines"),
        ({"method": "magic"}, "unknown method"),
        ({"target": 7}, "target 7 is outside"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        igrt.verify(SMOOTH, X, **options)


def test_a_model_that_runs_with_no_drawn_input_is_refused_with_a_hint():
    proto = model("g (float[N, 2] x) => (float[N, 2] y) { n = Abs(x) m = Neg(n) y = Log(m) }")
    with pytest.raises(InputError, match="does not run with inputs drawn") as refused:
        igrt.verify(proto)
    assert "give it some inputs" in str(refused.value)


def test_measures_come_last_and_by_name():
    assert list(MEASURES) == ["weight randomisation", "faithfulness"]
    found = igrt.verify(SMOOTH, X[:1], checks=["faithfulness"])
    assert found["sensitivity-max"].figure is not None
