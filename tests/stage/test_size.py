"""The estimate of a row's bytes."""

from onnx import parser

from igrt.stage import row_bytes


def test_only_what_is_alive_at_once_counts():
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[N, 3] x) => (double[N, 3] y) {
          a = Exp(x)  b = Exp(a)  c = Exp(b)  y = Cast<to = 11>(c) }"""
    )
    # three float32 numbers going in and three float64 numbers coming out of the last node
    assert row_bytes(model, {"x": (1, 3)}) == 3 * 4 + 3 * 8
    assert row_bytes(model, {"x": (10, 3)}) == 10 * (3 * 4 + 3 * 8)


def test_a_tensor_lives_until_its_last_use():
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[N, 3] x) => (float[N, 3] y) {
          a = Exp(x)  b = Exp(a)  c = Exp(b)  y = Mul(c, a) }"""
    )
    # a, b and c while c is made, then a, c and y
    assert row_bytes(model, {"x": (1, 3)}) == 3 * 3 * 4


def test_what_depends_on_no_input_is_there_already():
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[N, 2] x) => (float[N, 2] y)
        <float[2, 2] w = {1, 2, 3, 4}> {
          t = Transpose(w)  u = Transpose(t)  y = MatMul(x, u) }"""
    )
    assert row_bytes(model, {"x": (1, 2)}) == 2 * 4
