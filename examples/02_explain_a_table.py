"""Which measurements speak for a diagnosis, and which against it: python 02_explain_a_table.py."""

import csv
from pathlib import Path

import numpy as np

import igrt

folder = Path(__file__).parents[1] / "models" / "breast_cancer_mlp"
labels = (folder / "labels.txt").read_text().split()
with open(folder / "inputs" / "samples.csv", newline="") as file:
    features, *rows = csv.reader(file)
patients = np.array(rows, dtype=np.float32)

# compared with the average patient: a measurement that is average explains nothing
explainer = igrt.Explainer(folder / "breast_cancer_mlp.onnx")
result = explainer.explain(patients, baselines=patients.mean(axis=0))

for row, attribution in enumerate(result.values["features"]):
    most = np.argsort(-np.abs(attribution))[:3]
    reasons = ", ".join(f"{features[i]} {attribution[i]:+.2f}" for i in most)
    print(f"patient {row}: {labels[result.target[row]]:9}  {reasons}")

assert result.converged.all()
print(f"gradients per patient: {result.evaluations.tolist()}")
print(f"largest completeness gap: {np.abs(result.delta).max():.1e}")
