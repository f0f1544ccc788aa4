"""What the layout of an input decides: an axis of time in front is no axis of examples."""

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import igrt

RNN = """<ir_version: 8, opset_import: ["" : 17]>
    rnn (float[T,{batch},2] x) => (float[1,{batch},3] last)
    <float[1,3,2] w = {{1,-2, 0.5,1, 2,1}}, float[1,3,3] r = {{0.5,0,0.25, 0,-0.5,0, 0.25,0,0.5}}>
    {{ all, last = RNN<hidden_size = 3>(x, w, r) }}"""


@pytest.mark.parametrize("batch", ["1", "N"])
def test_a_sequence_with_time_in_front_is_one_example(batch):
    model = onnx.parser.parse_model(RNN.format(batch=batch))
    x = np.random.default_rng(0).normal(size=(5, 1, 2)).astype(np.float32)
    result = igrt.explain(model, x, target=(0, 0, 1), tolerance=1e-3)
    whole = ReferenceEvaluator(model).run(None, {"x": x})[0]
    assert len(result) == 1
    assert result.values["x"].shape == x.shape
    assert result.output[0] == pytest.approx(whole[0, 0, 1], rel=1e-5)  # float32
    # a step has its part in what the next ones remember
    assert (np.abs(result.values["x"]).sum(axis=(1, 2)) > 1e-4).all()
    assert abs(result.delta[0]) <= 1e-3 * np.abs(result.values["x"]).sum()
    assert result.display.layouts == {"x": "TCC"}


def test_layouts_of_the_caller_go_first():
    model = onnx.parser.parse_model(RNN.format(batch="N"))
    x = np.ones((5, 1, 2), dtype=np.float32)
    display = igrt.Display(layouts={"x": "TNC"})
    result = igrt.explain(model, x, target=(0, 0, 1), display=display)
    assert result.display.layouts == {"x": "TNC"}
