"""What a Where does not select may be NaN or infinite, and leaves no trace in the gradient.

Torch gives NaN at the edges of the domains of most of these; igrt does not. Sqrt of a negative
number is NaN in both: y = Where(x > 0, Sqrt(x), 0) wants Sqrt(Where(x > 0, x, 1)).
"""

import numpy as np
import onnxruntime
import pytest
from onnx import parser

from igrt.vjp.augment import augment

POINTS = np.array([-1e30, -200, -2, -1, -0.5, 0, 0.75, 1, 2, 200, 1e30], np.float32)


@pytest.mark.parametrize(
    "op_type", "Acos Acosh Asin Atanh Cosh Exp Log Reciprocal Sinh Softplus".split()
)
def test_no_trace_of_the_other_branch(op_type):
    model = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 18]> g (float[n] x, bool[n] c) => (float[n] y) {{
            other = {op_type} (x)  y = Where (c, x, other) }}"""
    )
    session = onnxruntime.InferenceSession(augment(model, wrt=["x"]).SerializeToString())
    ones = np.ones(len(POINTS), np.float32)
    feeds = {"x": POINTS, "c": ones > 0, "igrt/cotangent/y": ones}
    np.testing.assert_array_equal(session.run(["igrt/grad/x"], feeds)[0], ones)
