"""Gradients of the node tests, element by element, against other differentiators of ONNX graphs.

Optional: `pip install onnx-ad onnx2pytorch torchvision`.
"""

import json
import warnings
from collections import Counter

import numpy as np
import pytest
from node_cases import cases, run, session
from node_judge import answers_of, compare, rounding, runnable, smooth
from node_oracle import cotangent
from record import stored

# onnxruntime computes in float32 on both sides: some hundred roundings of 1e-7, and cancellation
_RELATIVE = 1e-3


def onnx_ad_gradients(case, model, output, wanted):
    import onnx_ad

    adjoint = onnx_ad.reverse(model, inputs=wanted, outputs=[output], layout="onnx")
    adjoint.ir_version = min(adjoint.ir_version, model.ir_version)
    seed = {f"adj_{output}": cotangent(case, output).astype(np.float32)[..., None]}
    results = run(session(adjoint), [f"adj_{n}" for n in wanted], case.feeds | seed)
    return {n: r.reshape(case.feeds[n].shape) for n, r in zip(wanted, results, strict=True)}


def torch_gradients(case, model, output, wanted):
    import torch
    from onnx2pytorch import ConvertModel

    names = [i.name for i in model.graph.input]
    tensors = {n: torch.from_numpy(np.array(case.feeds[n])) for n in names}
    for name in wanted:
        tensors[name].requires_grad_(True)
    results = ConvertModel(model)(*(tensors[n] for n in names))
    outputs = [o.name for o in model.graph.output]
    y = dict(zip(outputs, results if len(outputs) > 1 else [results], strict=True))[output]
    (y * torch.from_numpy(cotangent(case, output)).to(y.dtype)).sum().backward()
    # a missing gradient is a weight that became a constant
    return {n: tensors[n].grad.numpy() for n in wanted}


@pytest.mark.parametrize(
    ("package", "gradients"),
    [("onnx_ad", onnx_ad_gradients), ("onnx2pytorch", torch_gradients)],
)
def test_agreement(package, gradients, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(package, reason=f"{package} is not installed", exc_type=ImportError)
    truth, counts, disagreements = stored()["cases"], Counter(), {}
    for case in cases():
        entry = truth.get(case.name, {})
        if entry.get("digest") != case.digest or not smooth(entry["oracle"]):
            continue
        model, forward = runnable(case)
        for output, row in entry["oracle"].items():
            wanted = [n for n in case.floats() if isinstance(row.get(n), list)]
            single = {case.feeds[n].dtype for n in wanted} == {np.dtype(np.float32)}
            if forward not in ("plain", "body") or not single:
                continue
            ours = answers_of(case, model, output, wanted, True)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    theirs = gradients(case, model, output, wanted)
            except Exception:  # whatever it does not do
                counts["only igrt"] += len(wanted)
                continue
            for name in wanted:
                if isinstance(ours[name], str):
                    counts[f"only {package}"] += 1
                    continue
                scale = np.linalg.norm(ours[name]) + np.linalg.norm(theirs[name])
                gap = np.linalg.norm(ours[name] - theirs[name])
                if gap <= _RELATIVE * scale + rounding(case, output, name):
                    counts["agree"] += 1
                elif compare(case, output, name, theirs[name], row[name]) != "right":
                    counts[f"{package} contradicts finite differences"] += 1
                else:
                    disagreements[case.name, output, name] = float(gap / scale)
    with capsys.disabled():
        print(f"\nigrt and {package}: {json.dumps(counts)}")
    assert counts["agree"] > 500
    assert disagreements == {}
