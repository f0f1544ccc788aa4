"""Results made by hand, so that every number in a rendering is known."""

import numpy as np
import pytest

from igrt.attribution import Attribution
from igrt.specs import Display


def build(values, *, inputs=None, target=None, display=None, scores=None, **changes):
    rows = len(next(iter(values.values()))) if changes.get("batched", True) else 1
    fields = {
        "values": values,
        "inputs": values if inputs is None else inputs,
        "target": (1,) * rows if target is None else target,
        "output": np.full(rows, 2.5),
        "baseline_output": np.full(rows, 0.5),
        "delta": np.full(rows, -0.002),
        "error": np.full(rows, 0.003),
        "evaluations": np.full(rows, 1500),
        "rule": "gauss_kronrod",
        "method": "integrated_gradients",
        "provider": "CPUExecutionProvider",
        "seconds": 0.25,
        "provenance": {"igrt": "0.1.0", "model": {"sha256": "ab12"}, "opset": 21},
        "example": np.arange(rows),
        "scores": np.tile([0.25, 2.5, -1.0], (rows, 1)) if scores is None else scores,
        "tolerance": 1e-2,
        "display": display or Display(),
    }
    return Attribution(**(fields | changes))


@pytest.fixture
def make():
    return build


@pytest.fixture
def table(make):
    return make(
        {"x": np.array([[0.5, -2.0, 0.0, 1.0]])},
        inputs={"x": np.array([[5.1, 3.5, 1.4, 0.2]])},
        display=Display(
            labels=("cat", "dog, hound", "cow"),
            features={"x": ("length", "width", "height", "weight")},
            sources=("farm.csv",),
        ),
    )


@pytest.fixture
def picture(make):
    values = np.zeros((1, 1, 8, 8))
    values[0, 0, 2, 3], values[0, 0, 5, 6] = 1.0, -1.0
    pixels = np.full((8, 8, 3), (10, 120, 230), np.uint8)
    return make(
        {"image": values},
        display=Display(
            labels=("cat", "dog", "cow"), pictures={"image": (pixels,)}, layouts={"image": "NCHW"}
        ),
    )


HOSTILE = "<script>alert(1)</script>\"'&\u202egnp.exe\x1b[31m\n\udcff"


@pytest.fixture
def hostile(make):
    """Foreign text in every place where there can be any."""
    return make(
        {HOSTILE: np.array([[1.0, -1.0]])},
        display=Display(
            labels=(HOSTILE, HOSTILE, "cow"), features={HOSTILE: (HOSTILE, "b")}, sources=(HOSTILE,)
        ),
        method=HOSTILE,
        rule=HOSTILE,
        provider=HOSTILE,
        provenance={HOSTILE: {HOSTILE: HOSTILE}},
    )
