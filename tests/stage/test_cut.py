"""Models that begin at inner tensors."""

import numpy as np
import onnx
import onnxruntime
from onnx import parser

from igrt.graph import Graph
from igrt.stage.cut import cut

MODEL = parser.parse_model(
    """<ir_version: 8, opset_import: ["": 18]>
    g (float[N, 2] x, float[N, 2] s) => (float[N, 2] y) {
      a = Exp(x)  b, c = Split<axis = 1, num_outputs = 2>(a)  d = Concat<axis = 1>(c, b)
      y = Mul(d, s) }"""
)


def test_the_part_behind_a_tensor_takes_it_as_input():
    part = cut(MODEL, ["d"], "y")
    onnx.checker.check_model(part, full_check=True)
    assert {i.name for i in Graph(part).inputs} == {"d", "s"}
    assert [n.op_type for n in part.graph.node] == ["Mul"]
    two = np.full((1, 2), 2, np.float32)
    session = onnxruntime.InferenceSession(part.SerializeToString())
    assert session.run(None, {"d": two, "s": two})[0].tolist() == [[4, 4]]


def test_one_of_several_outputs_of_a_node_can_be_cut():
    part = cut(MODEL, ["b"], "y")
    onnx.checker.check_model(part)
    assert {i.name for i in Graph(part).inputs} == {"b", "x", "s"}
    one = np.ones((1, 1), np.float32)
    feeds = {"b": one, "x": np.zeros((1, 2), np.float32), "s": np.ones((1, 2), np.float32)}
    session = onnxruntime.InferenceSession(part.SerializeToString())
    assert session.run(None, feeds)[0].tolist() == [[1, 1]]


def test_an_input_among_the_tensors_stays_an_input():
    part = cut(MODEL, ["d", "s"], "y")
    assert {i.name for i in Graph(part).inputs} == {"d", "s"}
