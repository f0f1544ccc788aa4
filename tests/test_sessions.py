"""Which graph a session gets, by what the user asked for."""

from pathlib import Path

import numpy as np
import pytest

import igrt
from igrt.sessions import Sessions

MODEL = Path(__file__).parents[1] / "models" / "digits_cnn" / "digits_cnn.onnx"


@pytest.mark.skipif(not MODEL.exists(), reason="needs the shipped models")
def test_gradients_run_as_rewritten_for_onnxruntime(monkeypatch):
    opened, plain = [], Sessions.open

    def recording(self, model, **options):
        opened.append(model)
        return plain(self, model, **options)

    monkeypatch.setattr(Sessions, "open", recording)
    explainer = igrt.Explainer(MODEL, provider="cpu")
    x = np.random.default_rng(0).random((1, 1, 8, 8), np.float32)
    lean = explainer._placing.place(x, None).engine.lean
    opened.clear()
    explainer._integrator.staging = False
    explainer.explain(x, target=3, n_steps=2)
    assert lean.lowered in opened
    assert lean.model not in opened
