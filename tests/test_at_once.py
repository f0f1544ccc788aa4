"""Chunks of a real network at the same time, in one call and in several."""

import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import parser

import igrt
from igrt.errors import DeadlineExceeded
from igrt.runtime.session import OrtSession

DIGITS = Path(__file__).parents[1] / "models" / "digits_cnn" / "digits_cnn.onnx"
IMAGES = np.random.default_rng(0).uniform(0, 16, (16, 1, 8, 8)).astype(np.float32)
"""So many that runs at the same time pay."""


def test_runs_at_the_same_time_give_what_runs_one_by_one_give():
    one, several = (
        igrt.Explainer(DIGITS, of="logits", provider="cpu", threads=threads) for threads in (1, 3)
    )
    expected, found = (e.explain(IMAGES, target=1) for e in (one, several))
    assert expected.provenance["plan"]["at_once"] == 1
    assert found.provenance["plan"]["at_once"] == 3
    assert found.evaluations.tolist() == expected.evaluations.tolist()
    (values,), (wanted,) = found.values.values(), expected.values.values()
    # rows are the same numbers in another product: float32 sums in another order
    np.testing.assert_allclose(values, wanted, atol=1e-5 * np.abs(wanted).max())
    again = [None] * 4

    def work(k):
        (again[k],) = several.explain(IMAGES, target=1).values.values()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(again))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a in again:
        np.testing.assert_array_equal(a, values)


def test_a_call_with_runs_at_the_same_time_ends_early():
    explainer = igrt.Explainer(DIGITS, of="logits", provider="cpu", threads=2)
    expected = explainer.explain(IMAGES, target=1, n_steps=16)
    assert expected.provenance["plan"]["at_once"] == 2
    with pytest.raises(DeadlineExceeded):
        explainer.explain(IMAGES, target=1, n_steps=50_000, rule="midpoint", deadline=0.2)
    found = explainer.explain(IMAGES, target=1, n_steps=16)
    for name, values in expected.values.items():
        np.testing.assert_array_equal(found.values[name], values)


def test_no_session_goes_on_counting(monkeypatch):
    opened = []
    begin = OrtSession.__init__

    def noted(self, *given, **named):
        begin(self, *given, **named)
        opened.append(self)

    monkeypatch.setattr(OrtSession, "__init__", noted)
    net = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[N, 1, H, W] x) => (float[N, 4] y) <float[4, 1, 3, 3] w = {0.1, -0.2, 0.3, 0.1, 0.2,
            -0.1, 0.3, 0.2, 0.1, 0.1, 0.1, -0.2, 0.3, 0.1, 0.2, -0.1, 0.3, 0.2, 0.2, -0.2, 0.3, 0.1,
            0.2, -0.1, 0.3, 0.2, 0.1, 0.1, -0.2, 0.1, 0.1, 0.2, -0.1, 0.3, 0.2, 0.3}> {
          c = Conv(x, w)  r = Relu(c)  m = GlobalAveragePool(r)  y = Flatten(m) }"""
    )
    explainer = igrt.Explainer(net, provider="cpu", threads=2, cache=False)
    images = np.random.default_rng(0).standard_normal((8, 1, 96, 96)).astype(np.float32)
    explainer.explain(images[:1, :, :64, :64], target=1)
    found = explainer.explain(images, target=1)
    # another size, and a session of one thread: what it takes follows from the first one's count
    assert found.provenance["plan"]["at_once"] == 2
    assert all(session._recorder is None for session in opened)
