"""Shape inference: what ONNX leaves open although it could know."""

from onnx import parser

from igrt.graph import Graph
from igrt.graph.infer import infer


def model(body):
    return parser.parse_model(
        f"""
        <ir_version: 8, opset_import: ["": 18, "other": 1]>
        g (float[2, 6] x, int64[2] sizes) => (float y) {{ {body} }}
        """
    )


def test_split_into_computed_sizes_keeps_its_axes():
    graph = Graph(model("a, b = Split <axis = 1> (x, sizes)\n c = Exp (b)\n y = ReduceSum (c)"))
    shapes = [graph.spec(n).shape for n in "abc"]
    assert [s and (len(s), s[0]) for s in shapes] == [(2, 2)] * 3


def test_one_split_behind_another():
    graph = Graph(
        model(
            "a, b = Split <axis = 0> (x, sizes)\n c, d = Split <axis = -1> (b, sizes)\n y = Abs (d)"
        )
    )
    assert graph.spec("d").shape == (None, None)


def test_what_inference_knows_stays():
    graph = Graph(model("k = Constant <value_ints = [4, 2]> ()\n a, b = Split <axis = 1> (x, k)"))
    assert graph.spec("b").shape == (2, 2)


def test_a_split_of_something_unknown_is_left_open():
    graph = Graph(model("u = other.Unknown (x)\n a, b = Split (u, sizes)"))
    assert graph.spec("a").shape is None


def test_the_model_is_not_changed():
    given = model("a, b = Split <axis = 1> (x, sizes)\n y = Abs (a)")
    before = given.SerializeToString()
    assert infer(given).graph.value_info
    assert given.SerializeToString() == before
