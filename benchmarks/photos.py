"""SqueezeNet on photographs: gap, reported and true error of the adaptive default.

    python benchmarks/photos.py [--data FOLDER] [--reference 2000] [--pictures FOLDER] [--json]

The truth is the midpoint rule with many evaluations. Needs the shared test data; 2,000 evaluations
for each of eight photographs take about a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

import igrt
from igrt.inputs import Preprocess, read, read_labels

ROOT = Path(__file__).parents[1]
SQUEEZENET = Preprocess(
    size=(224, 224),
    resize=256,
    channels="BGR",
    scale=1.0,
    mean=(104.0, 117.0, 123.0),
    std=(1.0, 1.0, 1.0),
    layout="NCHW",
)


def measure(
    explainer: igrt.Explainer,
    photo: Path,
    labels: tuple[str, ...],
    reference: int,
    folder: Path | None,
) -> dict[str, Any]:
    """Explain one photograph and compare with the midpoint rule."""
    loaded = read(photo, explainer.inputs[0], SQUEEZENET)
    name = explainer.inputs[0].name
    display = igrt.Display(
        labels=labels,
        pictures={name: loaded.pictures},
        layouts={name: loaded.layout},
        sources=loaded.sources,
    )
    result = explainer.explain(loaded.array, target="top1", display=display)
    truth = explainer.explain(
        loaded.array, target=result.target[0], n_steps=reference, rule="midpoint"
    ).values[name]
    true_error = np.abs(result.values[name] - truth).sum() / np.abs(truth).sum()
    if folder is not None:
        result.save(folder / f"{photo.stem}.png")
    return {
        "photo": photo.stem,
        "label": result.label(0).split(",")[0],
        "score": float(result.output[0]),
        "relative_gap": float(result.relative_delta[0]),
        "evaluations": int(result.evaluations[0]),
        "reported": float(result.error[0]),
        "true": float(true_error),
        "true_over_reported": float(true_error / result.error[0]),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("IGRT_TEST_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--reference", type=int, default=2000)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    models = options.data / "models"
    explainer = igrt.Explainer(models / "squeezenet1_imagenet_fp32.onnx")
    labels = read_labels(models / "imagenet_classes.txt")
    rows = []
    for photo in sorted((options.data / "inputs" / "photos").glob("*.jpg")):
        rows.append(measure(explainer, photo, labels, options.reference, options.pictures))
        if not options.json:
            row = rows[-1]
            print(
                f"{row['photo']:<13} {row['label']:<14} score {row['score']:.4f}  gap "
                f"{row['relative_gap']:+.2%}  evaluations {row['evaluations']:>3}  reported "
                f"{row['reported']:.2%}  true {row['true']:.2%}  ratio "
                f"{row['true_over_reported']:.2f}",
                flush=True,
            )
    if options.json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
