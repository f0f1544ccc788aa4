"""Which axis is time, in the forms in which exporters write signals."""

import onnx
import pytest

from igrt.graph import Graph
from igrt.graph.layout import layouts

W1 = "float[4,2,3] w"
CASES = {
    "conv": ("float[N,2,T] x", W1, "y = Conv(x, w)", "NCT"),
    "keras": (
        "float[N,28,2] x",
        "float[4,2,1,3] w",
        "t = Transpose<perm = [0,2,1]>(x) u = Unsqueeze(t, two) y = Conv(u, w)",
        "NTC",
    ),
    "raw": ("float[N,T] x", "float[4,1,3] w", "u = Unsqueeze(x, one) y = Conv(u, w)", "NT"),
    "frame": (
        "float[N,64] x",
        "float[4,1,9,1] w",
        "u = Reshape(x, shape) n = Mul(u, u) y = Conv(n, w)",
        "NT",
    ),
    "single batch": (
        "float[1,64] x",
        "float[4,1,9,1] w",
        "u = Reshape(x, one_shape) y = Conv(u, w)",
        "NT",
    ),
    "sizes of torch": (
        "float[N,T] x",
        "float[4,1,3] w",
        "s = Shape(x) n = Gather(s, zero) t = Gather(s, last) m = Unsqueeze(n, none)"
        " u = Unsqueeze(t, none) l = Concat<axis = 0>(m, one, u) r = Reshape(x, l)"
        " y = Conv(r, w)",
        "NT",
    ),
    "pooled": ("float[N,2,T] x", W1, "y = MaxPool<kernel_shape = [2]>(x)", "NCT"),
    "dense first": ("float[N,T,5] x", "float[5,4] w", "", "NTC"),
    "picture": ("float[N,1,28,28] x", "float[4,1,3,3] w", "y = Conv(x, w)", None),
    "table": ("float[N,28] x", "float[28,3] w", "y = MatMul(x, w)", None),
    "flat": (
        "float[N,28,2] x",
        "float[56,3] w",
        "f = Flatten<axis = 1>(x) y = MatMul(f, w)",
        None,
    ),
    "one number": ("float[N,1,1] x", "float[4,1,1] w", "y = Conv(x, w)", None),
    "no batch": (
        "float[T] x",
        "float[4,1,3] w",
        "u = Unsqueeze(x, both) y = Conv(u, w)",
        "T",
    ),
}
RECURRENT = """
    t = Transpose<perm = [1,0,2]>(d)
    lw = Constant<value = float[1,12,4] {0}>() lr = Constant<value = float[1,12,3] {0}>()
    y = LSTM<hidden_size = 3>(t, lw, lr)
"""


def graph(inputs, weight, body):
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
        g ({inputs}, {weight}) => (float y)
        <int64 zero = {{0}}, int64 last = {{1}}, int64[1] none = {{0}}, int64[1] one = {{1}},
         int64[1] two = {{2}}, int64[2] both = {{0, 1}},
         int64[4] shape = {{-1, 1, 64, 1}}, int64[4] one_shape = {{1, 1, 64, 1}}>
        {{ {body} }}"""
    return Graph(onnx.parser.parse_model(text))


@pytest.mark.parametrize("name", CASES)
def test_where_time_is(name):
    inputs, weight, body, expected = CASES[name]
    if name == "dense first":
        body = "d = MatMul(x, w)" + RECURRENT.replace("<value = float[1,12,4] {0}>", SMALL[0])
        body = body.replace("<value = float[1,12,3] {0}>", SMALL[1])
    found = layouts(graph(inputs, weight, body), ["x"])
    assert found == ({} if expected is None else {"x": expected})


SMALL = ("<value_floats = [0.0]>", "<value_floats = [0.0]>")  # only the first operand is looked at


@pytest.mark.parametrize("layout", [0, 1])
def test_recurrences_say_where_time_is(layout):
    body = f"y = GRU<hidden_size = 3, layout = {layout}>(x, w, w, absent, absent, h)"
    made = graph("float[5,6,2] x, float[1,6,3] h, float absent", "float[1,9,2] w", body)
    assert layouts(made, ["x", "h"]) == {"x": "TCC" if layout == 0 else "NTC"}


def test_branches_are_looked_into():
    body = """y = If(c) <
        then_branch = a () => (float p) { q = Unsqueeze(x, one) p = Conv(q, w) },
        else_branch = b () => (float r) { r = Identity(w) }
    >"""
    made = graph("float[N,T] x, bool c", "float[4,1,3] w", body)
    assert layouts(made, ["x"]) == {"x": "NT"}


def test_a_squeeze_of_torch_is_an_if():
    body = """u = Unsqueeze(x, one) y4 = Unsqueeze(u, one) y3 = If(c) <
        then_branch = a () => (float p) { p = Squeeze(y4, one) },
        else_branch = b () => (float q) { q = Identity(y4) }
    > y = Conv(y3, w)"""
    made = graph("float[N,T] x, bool c", "float[4,1,3] w", body)
    assert layouts(made, ["x"]) == {"x": "NT"}


def test_scans_run_along_the_axis_that_they_name():
    body = """s, y = Scan<num_scan_inputs = 1, scan_input_axes = [1],
        body = step (float[2] a, float[2] b) => (float[2] c, float[2] d)
        { c = Add(a, b) d = Identity(c) }>(h, x)"""
    made = graph("float[3,T] x, float[3] h", "float[1] w", body)
    assert layouts(made, ["x", "h"]) == {"x": "NT"}


def test_a_spectrum_runs_along_its_signal():
    body = "y = STFT(x, two, w)"
    assert layouts(graph("float[N,T,1] x", "float[8] w", body), ["x"]) == {"x": "NTC"}
