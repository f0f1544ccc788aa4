"""Which measurements make a tumour malignant, and how far two baselines and Shapley values agree.

    python models/experiments/tabular.py
    python models/experiments/tabular.py --output docs/pictures

Explains the score "malignant" of the shipped network for sixty patients. Integrated Gradients are
the Aumann-Shapley values of the features; beside them stand Shapley values for the same baseline,
sampled over orders of the features (Castro, Gómez and Tejada 2009), by onnxruntime alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import igrt
from igrt.inputs import read_labels
from igrt.render.png import draw
from igrt.verify.randomisation import spearman

FOLDER = Path(__file__).resolve().parents[1] / "breast_cancer_mlp"
MODEL = FOLDER / "breast_cancer_mlp.onnx"
TABLE = FOLDER / "inputs" / "background.csv"
LABELS = read_labels(FOLDER / "labels.txt")
MALIGNANT = LABELS.index("malignant")

Array = np.ndarray[Any, Any]


def read() -> tuple[tuple[str, ...], Array]:
    """Names of the features, and the patients [60, 30]."""
    names = TABLE.read_text(encoding="utf-8").splitlines()[0].split(",")
    return tuple(names), np.loadtxt(TABLE, delimiter=",", skiprows=1, dtype=np.float32)


def explain(rows: Array, baseline: Array | None, names: tuple[str, ...]) -> igrt.Attribution:
    """Attributions of all patients from one baseline."""
    display = igrt.Display(labels=LABELS, features={"features": names})
    return igrt.explain(MODEL, rows, baselines=baseline, target=MALIGNANT, display=display)


def shapley(rows: Array, baseline: Array, orders: int, seed: int = 0) -> tuple[Array, Array]:
    """Shapley values by sampled orders, and the standard error of each, [rows, features]."""
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(seed)
    count, width = rows.shape
    found = np.zeros((orders, count, width))
    for at in range(orders):
        order = random.permutation(width)
        # feature by feature from the baseline to the row
        there = np.zeros((width + 1, width), bool)
        for step, feature in enumerate(order):
            there[step + 1 :, feature] = True
        mixed = np.where(there[:, None], rows, baseline).reshape(-1, width)
        (scores, *_) = session.run(None, {"features": mixed})
        path = scores[:, MALIGNANT].reshape(width + 1, count).astype(np.float64)
        found[at][:, order] = np.diff(path, axis=0).T
    return found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(orders)


def apart(first: Array, second: Array) -> float:
    """Mean relative L1 distance of the rows."""
    distance = np.abs(first - second).sum(axis=1) / np.abs(second).sum(axis=1)
    return float(distance.mean())


def tell(rows: Array, names: tuple[str, ...], orders: int) -> igrt.Attribution:
    """The strongest features for both baselines, and what the orders say."""
    mean = rows.mean(axis=0)
    results = {"the mean": explain(rows, mean, names), "zeros": explain(rows, None, names)}
    values = {name: r.values["features"] for name, r in results.items()}
    for name, result in results.items():
        size = np.abs(values[name]).mean(axis=0)
        best = ", ".join(f"{names[i]} {size[i]:.2f}" for i in np.argsort(-size)[:6])
        print(f"from {name} (score {result.baseline_output[0]:+.2f}): {best}")
    first, second = (np.abs(v).mean(axis=0) for v in values.values())
    order = spearman(first, second)
    print(f"the baselines' orders of the features agree to {order:.2f} (Spearman)")
    sampled, spread = shapley(rows, mean, orders)
    noise = float((np.abs(spread).sum(axis=1) / np.abs(sampled).sum(axis=1)).mean())
    order = spearman(first, np.abs(sampled).mean(axis=0))
    distance = apart(values["the mean"], sampled)
    print(
        f"Shapley values of {orders} orders, from the mean: {100 * distance:.1f} % apart "
        f"(their own standard error: {100 * noise:.1f} %), orders agree to {order:.3f}"
    )
    spent = results["the mean"].evaluations.mean()
    print(f"gradient evaluations of a row: {spent:.0f}; model evaluations of {orders} orders: "
          f"{orders * len(names)}")  # fmt: skip
    return results["the mean"]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="folder for swarm.png")
    parser.add_argument("--orders", type=int, default=1000, help="orders of the features to try")
    args = parser.parse_args()
    names, rows = read()
    result = tell(rows, names, args.orders)
    if args.output:
        file = args.output / "swarm.png"
        draw(result).quantize(128).save(file, optimize=True)
        print(file)


if __name__ == "__main__":
    main()
