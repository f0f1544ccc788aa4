"""Integrated Gradients with onnxruntime alone, from a model augmented once by igrt.

The augmented file is what one would ship to a device or a service that has onnxruntime and NumPy
but not igrt: python 03_gradient_graph_in_onnxruntime.py.
"""

from pathlib import Path

import numpy as np

MODEL = Path(__file__).parents[1] / "models" / "breast_cancer_mlp"


def build() -> None:
    """Once, where igrt is installed; the same as `igrt augment MODEL -o augmented.onnx`."""
    import igrt

    model = igrt.augment(MODEL / "breast_cancer_mlp.onnx", wrt=["features"], of="logits")
    Path("augmented.onnx").write_bytes(model.SerializeToString())


def explain(x: np.ndarray, baseline: np.ndarray, target: int, steps: int = 32) -> np.ndarray:
    """Attributions of one row [features], by onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession("augmented.onnx")
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    alphas, weights = (nodes + 1) / 2, weights / 2
    points = (baseline + alphas[:, None] * (x - baseline)).astype(np.float32)
    # one row per point: the cotangent picks the explained class of each
    cotangent = np.zeros((steps, 2), dtype=np.float32)
    cotangent[:, target] = 1
    (gradients,) = session.run(
        ["igrt/grad/features"], {"features": points, "igrt/cotangent/logits": cotangent}
    )
    attribution = (x - baseline) * (weights @ gradients)

    ends = session.run(
        ["logits"],
        {"features": np.stack([baseline, x]), "igrt/cotangent/logits": cotangent[:2]},
    )[0]
    print(f"sum of the attributions  {attribution.sum():+.4f}")
    print(f"change of the score      {ends[1, target] - ends[0, target]:+.4f}")
    return attribution


build()
table = np.loadtxt(MODEL / "inputs" / "samples.csv", delimiter=",", skiprows=1, dtype=np.float32)
explain(table[0], table.mean(axis=0), target=0)
