"""What an old model computes stays the same when its opset is raised, as onnxruntime judges."""

import numpy as np
import onnxruntime
import pytest
from onnx import parser

from igrt.errors import ModelLoadError
from igrt.graph.normalize import normalize, raise_opset


def outcome(model, **feeds):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)[0]


def parse(opset, text):
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> {text}')


@pytest.mark.parametrize("axis", ["", "<axis = 0>", "<axis = 1>", "<axis = 2>", "<axis = -1>"])
@pytest.mark.parametrize("opset", [7, 12, 13])
@pytest.mark.parametrize("sizes", ["2, 3, 4", "a, b, c"])
def test_hardmax_over_all_axes_from_one_on(rng, axis, opset, sizes):
    if axis == "<axis = -1>" and opset < 11:
        pytest.skip("negative axes came with opset 11")
    model = parse(opset, f"g (float[{sizes}] x) => (float[d, e, f] y) {{ y = Hardmax {axis} (x) }}")
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(outcome(normalize(model), x=x), outcome(model, x=x))


RESIZE = "g (float[1, 1, 4, 6] x{fed}) => (float[a, b, c, d] y) {stored} {{ {body} }}"
SCALES = [(2.0, 2.0), (1.5, 2.3), (0.5, 0.7), (2.0, 0.5), (0.7, 1.0), (1.0, 3.0)]


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("place", ["stored", "fed"])
def test_resize_before_opset_11(rng, scales, mode, place):
    given = "{{1, 1, {}, {}}}".format(*scales)
    text = RESIZE.format(
        fed=", float[4] scales" if place == "fed" else "",
        stored=f"<float[4] scales = {given}>" if place == "stored" else "",
        body=f'y = Resize <mode = "{mode}"> (x, scales)',
    )
    model, x = parse(10, text), rng.standard_normal((1, 1, 4, 6)).astype(np.float32)
    feeds = {"scales": np.array([1, 1, *scales], np.float32)} if place == "fed" else {}
    after, before = outcome(normalize(model), x=x, **feeds), outcome(model, x=x, **feeds)
    np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6)  # float32 of order one


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_before_opset_11_in_a_body(rng, scales, mode):
    sizes = ", ".join(str(int(np.float32(s) * n)) for s, n in zip(scales, (4, 6), strict=True))
    branch = f"= {{0}} () => (float[1, 1, {sizes}] {{1}}) {{{{ {{1}} = {{2}} }}}}"
    then = branch.format("t", "p", f'Resize <mode = "{mode}"> (x, scales)')
    another = "linear" if mode == "nearest" else "nearest"
    other = branch.format("e", "q", f'Resize <mode = "{another}"> (x, scales)')
    text = RESIZE.format(
        fed=", bool c",
        stored="<float[4] scales = {{1, 1, {}, {}}}>".format(*scales),
        body=f"y = If (c) <then_branch {then}, else_branch {other}>",
    )
    model, x = parse(10, text), rng.standard_normal((1, 1, 4, 6)).astype(np.float32)
    for c in (np.array(True), np.array(False)):
        after, before = outcome(normalize(model), x=x, c=c), outcome(model, x=x, c=c)
        np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6)  # float32 of order one


@pytest.mark.parametrize(
    ("attributes", "wrong"),
    [
        ('axes = "here"', "`axes` as STRING"),
        ("axes = 1", "`axes` as INT"),
        ("axes = [0], axes = [1]", "`axes` twice"),
    ],
)
def test_attributes_at_which_the_converter_ends_the_process(attributes, wrong):
    model = parse(9, f"g (float[2] x) => (float[a, b] y) {{ y = Unsqueeze <{attributes}> (x) }}")
    with pytest.raises(ModelLoadError, match=wrong):
        raise_opset(model)


def test_the_same_in_a_body():
    branch = "= {} () => (float[1, 2] {}) {{ {} = Unsqueeze <axes = 0> (x) }}"
    then, other = branch.format("t", "p", "p"), branch.format("e", "q", "q")
    body = f"y = If (c) <then_branch {then}, else_branch {other}>"
    model = parse(9, f"g (float[2] x, bool c) => (float[a, b] y) {{ {body} }}")
    with pytest.raises(ModelLoadError, match=r"Unsqueeze \(`p`\).*`axes` as INT"):
        raise_opset(model)


def test_the_batch_axis_of_the_first_scan():
    body = (
        "b (float[2] s, float[2] e) => (float[2] o, float[2] w) { o = Add (s, e)  w = Mul (s, e) }"
    )
    head = "g (float[3, 4, 2] x, float[3, 2] i) => (float[3, 2] f, float[3, 4, 2] y)"
    scan = f"f, y = Scan <num_scan_inputs = 1, body = {body}> (, i, x)"
    with pytest.raises(ModelLoadError, match=r"Scan .* batch axis"):
        raise_opset(parse(8, f"{head} {{ {scan} }}"))


@pytest.fixture
def rng():
    return np.random.default_rng(7)
