"""The estimate of a row's bytes."""

from onnx import parser

from igrt.stage import row_bytes


def test_bytes_of_all_made_tensors_are_added_up():
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[N, 3] x) => (double[N, 3] y) { e = Exp(x)  y = Cast<to = 11>(e) }"""
    )
    # three float32 and three float64 numbers
    assert row_bytes(model, {"x": (1, 3)}) == 3 * 4 + 3 * 8
    assert row_bytes(model, {"x": (10, 3)}) == 10 * (3 * 4 + 3 * 8)
