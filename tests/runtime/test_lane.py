"""The lane of the host on models that onnxruntime runs."""

import numpy as np
import onnx
import pytest
from igrt.kernels import select

from igrt.errors import InputError
from igrt.runtime.lane import HostLane, Output
from igrt.runtime.paths import Paths
from igrt.runtime.session import OrtSession

FLOAT = np.dtype(np.float32)


def session(text):
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    return OrtSession(model.SerializeToString(), provider="cpu", threads=1)


def lane(text, outputs, features=3, rows=4, batched=True, **more):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, features)).astype(np.float32)
    paths = Paths(
        inputs={"x": x},
        baselines={"x": np.zeros_like(x)},
        example=np.arange(2),
        baseline=np.arange(2),
        cotangents=np.ones((2, 1), np.float32),
        shared={},
        batched=batched,
        output_batched=batched,
        change=np.zeros(2),
        **{"others": {}} | more,
    )
    made = HostLane(session(text), select("reference"), paths, outputs, cotangent=None, rows=rows)
    return x, made


def evaluate(made, path, alphas):
    path = np.asarray(path)
    made.fill(path, path, np.asarray(alphas, dtype=np.float64))
    made.run()
    return [a.copy() for a in made.read()]


def test_outputs_are_written_in_place():
    x, made = lane("g (float[N,3] x) => (float[N,3] y) { y = Neg(x) }", [Output("y", (3,), FLOAT)])
    evaluate(made, [0, 0, 0, 0], [0, 0, 0, 0])  # the first run of a kind is not bound
    (first,) = evaluate(made, [0, 1, 0, 1], [1, 1, 0.5, 0])
    at = made.read()[0]
    np.testing.assert_array_equal(first, -np.stack([x[0], x[1], x[0] / 2, x[1] * 0]))
    (second,) = evaluate(made, [1, 1, 0, 0], [1, 0.5, 1, 0.5])
    np.testing.assert_array_equal(second, -np.stack([x[1], x[1] / 2, x[0], x[0] / 2]))
    assert np.shares_memory(at, made.read()[0])
    for _ in range(2):
        (part,) = evaluate(made, [1], [1])
        np.testing.assert_array_equal(part, -x[1:])


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        # as many numbers in another shape, and an output that is not told beforehand at all
        ("g (float[N,3] x) => (float[N,3,1] y) <int64[1] i = {2}> { y = Unsqueeze(x, i) }", (3,)),
        ("g (float[N,3] x) => (float[3,N] y) { y = Transpose(x) }", (3,)),
    ],
)
def test_outputs_of_another_shape_are_taken_as_they_come(text, shape):
    _, made = lane(text, [Output("y", shape, FLOAT)], rows=1)
    for _ in range(2):
        (found,) = evaluate(made, [1], [1])
        assert found.shape == (1, 3)


def test_a_model_without_a_batch_axis_gets_none():
    x, made = lane(
        "g (float[3] x) => (float[3] y) { y = Neg(x) }",
        [Output("y", (3,), FLOAT)],
        rows=1,
        batched=False,
    )
    for row in (0, 1):
        np.testing.assert_array_equal(evaluate(made, [row], [1])[0], -x[row : row + 1])


def test_texts_are_fed_without_sharing_memory():
    others = {"word": np.array([["a", "b"], ["c", "d"]])}
    x, made = lane(
        "g (float[N,3] x, string[N,2] word) => (float[N,3] y) { y = Neg(x) }",
        [Output("y", (3,), FLOAT)],
        others=others,
    )
    for _ in range(2):
        np.testing.assert_array_equal(evaluate(made, [0, 1], [1, 1])[0], -x)
    assert made.feeds()["word"].tolist() == others["word"].tolist()


def test_what_does_not_fit_is_an_error_as_ever():
    _, made = lane("g (float[N,4] x) => (float[N,4] y) { y = Neg(x) }", [Output("y", (3,), FLOAT)])
    with pytest.raises(InputError, match="refuses an input"):
        evaluate(made, [0, 1], [0, 1])
