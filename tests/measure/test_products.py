"""Operations counted from a graph, against the formulas of the operators."""

import numpy as np
import onnx
import pytest

from igrt.measure.products import product_flops, product_rate
from igrt.runtime.session import OrtSession


def count(text, **shapes):
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    feeds = {n: np.zeros(s, np.float32) for n, s in shapes.items()}
    return product_flops(
        model, feeds, lambda m: OrtSession(m.SerializeToString(), provider="cpu", threads=1)
    )


def test_matrix_products_of_a_batch():
    text = "g (float[N,H,5,7] a, float[N,H,7,3] b) => (float[N,H,5,3] y) { y = MatMul(a, b) }"
    assert count(text, a=(2, 4, 5, 7), b=(2, 4, 7, 3)) == 2 * 2 * 4 * 5 * 7 * 3


def test_a_transposed_gemm():
    text = "g (float[7,5] a, float[3,7] b) => (float[5,3] y) { y = Gemm<transA=1, transB=1>(a, b) }"
    assert count(text, a=(7, 5), b=(3, 7)) == 2 * 5 * 7 * 3


def test_convolutions_and_their_transposes():
    """A ConvTranspose multiplies as often as the Conv whose gradient it is."""
    conv = """g (float[N,4,9,9] x, float[6,2,3,3] w) => (float[N,6,4,4] y)
        { y = Conv<group=2, strides=[2,2]>(x, w) }"""
    back = """g (float[N,6,4,4] x, float[6,2,3,3] w) => (float[N,4,9,9] y)
        { y = ConvTranspose<group=2, strides=[2,2]>(x, w) }"""
    expected = 2 * 5 * 6 * 4 * 4 * (2 * 3 * 3)
    assert count(conv, x=(5, 4, 9, 9), w=(6, 2, 3, 3)) == expected
    assert count(back, x=(5, 6, 4, 4), w=(6, 2, 3, 3)) == expected


def test_a_recurrence():
    text = """g (float[T,N,3] x, float[1,20,3] w, float[1,20,5] r) => (float[T,1,N,5] y)
        { y = LSTM<hidden_size=5>(x, w, r) }"""
    assert count(text, x=(6, 2, 3), w=(1, 20, 3), r=(1, 20, 5)) == 2 * 6 * 2 * 20 * (3 + 5)


def test_sizes_that_inference_leaves_open():
    text = """g (float[N,6] x, float[2,4] w) => (float[A,B,C] y)
        <int64[1] tail = {2}, int64[1] open = {-1}>
        { s = Shape<end=1>(x)  sizes = Concat<axis=0>(s, open, tail)
          h = Reshape(x, sizes)  y = MatMul(h, w) }"""
    assert count(text, x=(5, 6), w=(2, 4)) == 2 * 5 * 3 * 2 * 4


def test_what_runs_as_often_as_the_data_say_is_not_counted():
    text = """g (bool c, float[2,2] x) => (float[2,2] y)
        { y = If(c) <then_branch = t () => (float[2,2] a) { a = MatMul(x, x) },
                     else_branch = e () => (float[2,2] b) { b = Identity(x) }> }"""
    assert count(text, c=(), x=(2, 2)) is None


def test_the_rate_is_one_of_this_machine():
    """A processor makes between 10^8 and 10^14 operations a second."""
    assert 1e8 < product_rate(provider="cpu", threads=1) < 1e14


@pytest.mark.parametrize("operands", [("float[4,5] a", "float[5] b"), ("float[5] a", "float[5] b")])
def test_vectors(operands):
    shapes = {"a": (4, 5) if "4" in operands[0] else (5,), "b": (5,)}
    made = "float[4] y" if "4" in operands[0] else "float y"
    text = f"g ({', '.join(operands)}) => ({made}) {{ y = MatMul(a, b) }}"
    assert count(text, **shapes) == 2 * 5 * (4 if "4" in operands[0] else 1)
