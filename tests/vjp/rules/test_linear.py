"""Gemm and MatMul against finite differences."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from igrt.vjp.augment import augment


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("bias", [(), (3,), (1, 3), (2, 1), (2, 3)])
def test_gemm(check_vjp, rng, trans_a, trans_b, bias):
    a = rng.standard_normal((4, 2) if trans_a else (2, 4))
    b = rng.standard_normal((3, 4) if trans_b else (4, 3))
    c = rng.standard_normal(bias)
    check_vjp("Gemm", a, b, c, alpha=0.5, beta=1.5, transA=trans_a, transB=trans_b)


SHAPES = [
    ((4,), (4,)),
    ((4,), (4, 3)),
    ((2, 4), (4,)),
    ((2, 4), (4, 3)),
    ((5, 2, 4), (4,)),
    ((5, 2, 4), (4, 3)),
    ((4,), (5, 4, 3)),
    ((2, 4), (5, 4, 3)),
    ((5, 2, 4), (5, 4, 3)),
    ((1, 2, 4), (5, 4, 3)),
    ((5, 2, 4), (1, 4, 3)),
    ((5, 1, 4), (5, 4, 1)),
    ((6, 1, 2, 4), (5, 4, 3)),
    ((5, 2, 4), (6, 1, 4, 3)),
    ((6, 5, 2, 4), (1, 1, 4, 3)),
    ((0, 4), (4, 3)),
    ((0, 2, 4), (4, 3)),
]


@pytest.mark.parametrize(("a", "b"), SHAPES)
@pytest.mark.parametrize("opset", [9, 18])
def test_matmul(check_vjp, rng, a, b, opset):
    check_vjp("MatMul", rng.standard_normal(a), rng.standard_normal(b), opset=opset)


def test_a_sum_of_nothing(check_vjp):
    # the reference knows no -1 beside a 0, which a symbol leads to
    check_vjp("MatMul", np.ones((2, 3, 0)), np.ones((0, 4)), symbolic=("static",))


@pytest.mark.parametrize(("a", "b"), SHAPES)
@pytest.mark.parametrize("wrt", [[0], [1]])
def test_matmul_with_a_stored_operand(check_vjp, rng, a, b, wrt):
    check_vjp("MatMul", rng.standard_normal(a), rng.standard_normal(b), wrt=wrt)


@pytest.mark.parametrize("shape", [["n", 4], ["n", "t", 4], [2, "t", 4]])
def test_a_stored_weight_is_not_transposed(shape):
    # onnxruntime folds Transpose of a stored tensor into a second tensor of that size
    weight = numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [*shape[:-1], 3])
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    operators = {n.op_type for n in augment(model).graph.node}
    assert "Gemm" in operators
    assert "Transpose" not in operators


def test_attention_with_symbols_sums_nothing():
    # the batch symbols agree, so nothing was broadcast, whatever the others are called
    q = helper.make_tensor_value_info("q", TensorProto.FLOAT, ["n", 2, "t", "s"])
    v = helper.make_tensor_value_info("v", TensorProto.FLOAT, ["n", 2, "u", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2, "t", 3])
    node = helper.make_node("MatMul", ["q", "v"], ["y"])
    model = helper.make_model(
        helper.make_graph([node], "g", [q, v], [y]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    operators = sorted({n.op_type for n in augment(model).graph.node})
    assert operators == ["Identity", "MatMul", "Transpose"]
