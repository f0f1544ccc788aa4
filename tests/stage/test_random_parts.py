"""Random graphs run in parts as they do as a whole, in float64."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "vjp" / "random_graphs"))
sys.path.insert(0, str(Path(__file__).parent))
from case import Case
from test_split import Staged

from igrt.errors import NoGradientPath, UnsupportedOperator
from igrt.stage import regions


@pytest.mark.parametrize("sums", [False, True], ids=["gradients", "sums"])
def test_random_graphs(sums, monkeypatch):
    for name in ("MOVED", "COPIED", "SUMMED"):  # so that as much as may be staged is
        monkeypatch.setattr(regions, name, 1e-6)
    in_parts = 0
    for seed in range(24):
        case = Case(seed)
        try:
            staged = Staged(
                *(case.model(float), dict(case.feeds)),
                of=case.of,
                sums=sums,
                batched=False,
                near=0.1,
            )
        except (NoGradientPath, UnsupportedOperator):
            continue
        if not staged.choice.front.moving or _unruly(staged.lean):
            continue  # one point would do, or onnx.reference does not run it
        staged.agree()
        in_parts += "prologue" in staged.models or "epilogue" in staged.models
    assert in_parts >= 5


def _unruly(model):
    return any(n.op_type in ("Loop", "Scan") for n in model.graph.node)
