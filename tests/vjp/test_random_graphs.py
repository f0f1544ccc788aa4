"""Random graphs of smooth operators: onnxruntime's gradient against float64 finite differences.

`python tests/vjp/test_random_graphs.py FIRST LAST` tries other seeds than the ones fixed here.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from igrt.errors import NoGradientPath, UnsupportedOperator
from igrt.vjp.augment import augment

sys.path.insert(0, str(Path(__file__).parent / "random_graphs"))
import arithmetic
from case import Case

SEEDS, SHARES = 240, 8
STEP = 1e-5
# float32 in onnxruntime: 1e-7 per operation, some hundred of them, and values up to 20 that cancel
RELATIVE = 2e-3

_tried: Counter[str] = Counter()


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def judge(seed: int) -> str:
    """What is wrong with the gradients of one case; nothing if they are right, or rightly refused.

    Refused may be a model that does not say how many axes a tensor has, and an input of which the
    output depends on the size only.
    """
    case = Case(seed)
    names, rng = list(case.feeds), np.random.default_rng(seed)
    reference = ReferenceEvaluator(case.model(np.float64))

    def forward(move: float, along: dict[str, np.ndarray]) -> np.ndarray:
        moved = {n: x + move * along[n] for n, x in case.feeds.items()}
        return np.asarray(reference.run([case.of], moved)[0])

    still = {n: np.zeros(x.shape) for n, x in case.feeds.items()}
    ct = np.asarray(rng.standard_normal(forward(0.0, still).shape))
    try:
        augmented = augment(case.model(np.float32), wrt=names, of=case.of)
    except UnsupportedOperator as error:
        known = case.typed or "number of axes" not in str(error)
        return f"{seed}: {error}" if known else ""
    except NoGradientPath as error:
        slopes = [_slope(forward, still | {n: np.ones(x.shape)}, ct) for n, x in case.feeds.items()]
        return "" if 0.0 in slopes else f"{seed}: {error}"
    feeds = {n: x.astype(np.float32) for n, x in case.feeds.items()}
    feeds[f"igrt/cotangent/{case.of}"] = ct.astype(np.float32)
    outputs = [case.of, *case.more, *(f"igrt/grad/{n}" for n in names)]
    made = dict(zip(outputs, session(augmented).run(outputs, feeds), strict=True))
    expected = forward(0.0, still)
    if not np.allclose(made[case.of], expected, rtol=RELATIVE, atol=RELATIVE):
        return f"{seed}: the output is another one"
    gradients = {n: made[f"igrt/grad/{n}"] for n in names}
    for name, gradient in gradients.items():
        if gradient.shape != case.feeds[name].shape:
            return f"{seed}: the gradient of {name} has the shape {gradient.shape}"
    for _ in range(2):
        along = {n: rng.standard_normal(x.shape) for n, x in case.feeds.items()}
        difference = _slope(forward, along, ct)
        terms = [gradients[n].astype(np.float64) * along[n] for n in names]
        analytic = sum(float(t.sum()) for t in terms)
        scale = max(1.0, abs(difference), sum(float(np.abs(t).sum()) for t in terms))
        if not abs(analytic - difference) <= RELATIVE * scale:
            return f"{seed}: {analytic} against {difference} through {case.operators}"
    _tried.update(set(case.operators))
    return ""


def _slope(forward, along: dict[str, np.ndarray], ct: np.ndarray) -> float:  # type: ignore[no-untyped-def]
    return float((ct * (forward(STEP, along) - forward(-STEP, along))).sum()) / (2 * STEP)


@pytest.mark.parametrize("share", range(SHARES))
def test_gradients_of_random_graphs(share: int) -> None:
    wrong = [found for seed in range(share, SEEDS, SHARES) if (found := judge(seed))]
    assert not wrong, "\n".join(wrong)


def test_every_operator_of_the_pool_is_among_them() -> None:
    operators = set().union(*(Case(seed).operators for seed in range(SEEDS)))
    pool = {*arithmetic.SMOOTH, *arithmetic.POSITIVE, *arithmetic.KINKED, *arithmetic.REDUCTIONS}
    pool |= set(
        "Add AveragePool Clip Concat Conv ConvTranspose CumSum Div Einsum Expand Flatten GRU "
        "Gather GatherElements Gemm GlobalAveragePool If LSTM LayerNormalization LogSoftmax Loop "
        "MatMul Max Mean Min Mul Pad Pow RNN ReduceL1 ReduceL2 ReduceLogSum Reshape Scan "
        "ScatterND Slice Softmax Split Squeeze Sub Sum Tile Transpose Trilu Unsqueeze Where".split()
    )
    assert pool <= operators, pool - operators


if __name__ == "__main__":
    first, last = int(sys.argv[1]), int(sys.argv[2])
    for number in range(first, last):
        try:
            if text := judge(number):
                print(text, flush=True)
        except Exception as error:
            print(f"{number}: {type(error).__name__}: {error}", flush=True)
    print(f"{last - first} graphs, {len(_tried)} operators: {dict(_tried.most_common())}")
