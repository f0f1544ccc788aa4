"""How good a model is on its test examples, with onnxruntime alone: figures from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import common
import numpy as np
from common import Array
from datasets import Split
from sklearn.metrics import r2_score, roc_auc_score


def accuracy(outputs: Mapping[str, Array], labels: Array) -> dict[str, float]:
    """Share of the examples whose largest logit is that of their class."""
    return {"accuracy": float((outputs["logits"].argmax(-1) == labels).mean())}


def r2(outputs: Mapping[str, Array], labels: Array) -> dict[str, float]:
    """R² = 1 - Σ (y - F(x))² / Σ (y - mean y)²."""
    return {"r2": float(r2_score(labels, outputs["prediction"][:, 0]))}


def auc(outputs: Mapping[str, Array], labels: Array) -> dict[str, float]:
    """Area under the ROC curve of each assay, over the molecules that it has a result for."""
    names = common.labels_of("tox21_graph")
    known = ~np.isnan(labels)
    areas = {
        name: float(roc_auc_score(labels[known[:, i], i], outputs["logits"][known[:, i], i]))
        for i, name in enumerate(names)
    }
    return {"mean AUC": float(np.mean(list(areas.values())))} | {
        f"AUC of {name}": area for name, area in areas.items()
    }


def measure(name: str, file: Path, test: Split) -> dict[str, float]:
    """The figures of a model on its test examples, rounded as MANIFEST.json has them."""
    if name == "en_de_gru":
        import translate

        figures = translate.measure(file, test)
    else:
        rule = {"tox21_graph": auc, "solubility_mlp": r2}.get(name, accuracy)
        figures = rule(common.run(file, test.feeds), test.labels)
    return {key: round(value, 4) for key, value in figures.items()}


def predicted(name: str, outputs: Mapping[str, Array]) -> dict[str, Any]:
    """What the model says of one sample: its class and probability, or the number itself."""
    if "prediction" in outputs:
        return {"predicted": round(float(outputs["prediction"][0, 0]), 4)}
    probabilities = outputs["probabilities"][0]
    if probabilities.ndim > 1:
        return {}
    best = int(probabilities.argmax())
    return {
        "predicted": common.labels_of(name)[best],
        "probability": round(float(probabilities[best]), 4),
    }
