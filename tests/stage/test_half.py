"""float16 inside gradient graphs: what is narrowed, and that small gradients keep their digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from igrt.graph import serialise
from igrt.runtime.session import OrtSession
from igrt.stage.half import HALF, half
from igrt.vjp.augment import differentiate


def model(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    made = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    made.graph.initializer.extend(numpy_helper.from_array(w, n) for n, w in weights.items())
    return made


def run(made: onnx.ModelProto, x: np.ndarray, output: str, **others: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(made)
    return OrtSession(serialise(made), provider="cpu", threads=1).run([output], {"x": x, **others})[
        0
    ]


def types(made: onnx.ModelProto) -> dict[str, str]:
    """Element type of the first output of each operator."""
    known = onnx.shape_inference.infer_shapes(made).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*known.value_info, *known.output)}
    return {n.op_type: TensorProto.DataType.Name(kinds[n.output[0]]) for n in made.graph.node}


ATTENTION = (
    "g (float[2,4,8] x) => (float[2,4,8] y) { q = MatMul(x, w) k = Transpose<perm = [0, 2, 1]>(q) "
    "s = MatMul(q, k) r = Relu(s) p = Softmax(r) o = MatMul(p, q) y = Tanh(o) }"
)


def test_products_are_narrow_and_exponentials_are_not() -> None:
    w = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    made = half(model(ATTENTION, w=w), "", [])
    found = types(made)
    assert {n for n, t in found.items() if t == "FLOAT16"} == {"MatMul", "Transpose", "Relu"}
    assert found["Softmax"] == found["Tanh"] == "FLOAT"
    # the weight is stored once, in half
    assert [t.name for t in made.graph.initializer] == [HALF + "w"]


def test_it_computes_what_numpy_does_with_rounded_operands() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(5, 8)).astype(np.float32), rng.normal(size=(8, 3)).astype(np.float32)
    made = half(model("g (float[5,8] x) => (float[5,3] y) { y = MatMul(x, w) }", w=w), "", [])
    # ONNX's reference rounds where the graph says so; onnxruntime's CPU leaves casts out in pairs
    found = ReferenceEvaluator(made).run(None, {"x": x})[0]
    narrow_x, narrow_w = (a.astype(np.float16).astype(np.float64) for a in (x, w))
    # eight products and their sums in float16, 11 bits each
    bound = 8 * 2**-11 * (np.abs(narrow_x) @ np.abs(narrow_w))
    assert (np.abs(found - narrow_x @ narrow_w) <= bound).all()
    assert (found != x.astype(np.float64) @ w).all()


def test_small_gradients_keep_their_digits_by_the_scale() -> None:
    rng = np.random.default_rng(0)
    a, b = (1e-4 * rng.normal(size=(8, 8)).astype(np.float32) for _ in range(2))
    text = "g (float[N,8] x) => (float[N,8] y) { h = MatMul(x, a) y = MatMul(h, b) }"
    augmented = differentiate(model(text, a=a, b=b), wrt=["x"], of="y")
    gradient = augmented.gradients["x"]
    made = half(augmented.model, augmented.cotangent, [gradient])
    ct = np.ones((1, 8), np.float32)
    feeds = {"x": np.ones((1, 8), np.float32), augmented.cotangent: ct}
    found = ReferenceEvaluator(made).run([gradient], feeds)[0]
    exact = ct.astype(np.float64) @ b.T.astype(np.float64) @ a.T.astype(np.float64)
    # some 1e-7, where float16 has a spacing of 6e-8; times 1,024 one of 6e-11
    assert 1e-8 < np.abs(exact).max() < 1e-6
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-9)


def test_constants_that_float16_lacks_keep_their_node_wide() -> None:
    text = "g (float[2,3] x) => (float[2,3] y) { h = MatMul(x, w) y = Add(h, c) }"
    w = np.eye(3, dtype=np.float32)
    for value, kind in ((1.5, "FLOAT16"), (1e6, "FLOAT"), (1e-9, "FLOAT")):
        made = half(model(text, w=w, c=np.asarray(value, np.float32)), "", [])
        assert types(made)["Add"] == kind
        x = np.ones((2, 3), np.float32)
        np.testing.assert_allclose(run(made, x, "y"), 1 + value, rtol=1e-3)


def test_a_weight_beyond_float16_keeps_its_product_wide() -> None:
    w = np.asarray([[1, 0], [0, 1e6]], np.float32)
    made = half(model("g (float[1,2] x) => (float[1,2] y) { y = MatMul(x, w) }", w=w), "", [])
    assert types(made) == {"MatMul": "FLOAT"}


def test_other_types_and_bodies_stay_as_they_are() -> None:
    text = (
        "g (float[2,2] x, bool c) => (float[2,2] y) { h = MatMul(x, w) y = If(c) <"
        "then_branch = t () => (float[2,2] a) { a = MatMul(h, h) }, "
        "else_branch = e () => (float[2,2] b) { b = Neg(h) }> }"
    )
    w = np.asarray([[1, 2], [3, 4]], np.float32)
    made = half(model(text, w=w), "", [])
    x = np.eye(2, dtype=np.float32)
    assert run(made, x, "y", c=np.asarray(True)).tolist() == (w @ w).tolist()
    text = "g (int32[2,2] x) => (int32[2,2] y) { y = MatMul(x, w) }"
    whole = model(text, w=w.astype(np.int32))
    assert half(whole, "", []).SerializeToString() == whole.SerializeToString()


def test_external_weights_are_cast_where_they_lie(tmp_path: Path) -> None:
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 3])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="w.bin")
    w = np.arange(9, dtype=np.float32).reshape(3, 3)
    (tmp_path / "w.bin").write_bytes(w.tobytes())
    made = model("g (float[1,3] x) => (float[1,3] y) { y = MatMul(x, w) }")
    made.graph.initializer.append(weight)
    narrow = half(made, "", [])
    assert [n.op_type for n in narrow.graph.node] == ["Cast", "Cast", "MatMul", "Cast"]
    session = OrtSession(serialise(narrow), folder=tmp_path, provider="cpu")
    x = np.ones((1, 3), np.float32)
    assert session.run(["y"], {"x": x})[0].tolist() == (x @ w).tolist()


def test_a_product_of_onnxruntimes_own_is_one_too() -> None:
    made = model("g (float[2,3] x) => (float[2,3] y) { }", w=np.eye(3, dtype=np.float32))
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    fused = helper.make_node("FusedMatMul", ["x", "w"], ["h"], domain="com.microsoft", transB=1)
    made.graph.node.extend([fused, helper.make_node("Relu", ["h"], ["y"])])
    narrow = half(made, "", [])
    assert [n.op_type for n in narrow.graph.node] == ["Cast", "FusedMatMul", "Relu", "Cast"]
    x = np.asarray([[1, -2, 3], [4, 5, -6]], np.float32)
    session = OrtSession(serialise(narrow), provider="cpu")
    assert session.run(["y"], {"x": x})[0].tolist() == np.maximum(x, 0).tolist()


@pytest.mark.parametrize("gradients", [[], ["y"]])
def test_the_graph_given_is_not_changed(gradients: list[str]) -> None:
    whole = model(
        "g (float[1,3] x) => (float[1,3] y) { y = MatMul(x, w) }", w=np.eye(3, dtype="f4")
    )
    before = whole.SerializeToString()
    half(whole, "x", gradients)
    assert whole.SerializeToString() == before
