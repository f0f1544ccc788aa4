"""Train and export models/breast_cancer_mlp on scikit-learn's table (a few seconds)."""

from __future__ import annotations

import argparse

import common
import export
import torch
import twins
from torch.nn import functional as F

NAME = "breast_cancer_mlp"
SAMPLES = 3  # rows of each class
DATASET = {
    "name": "scikit-learn breast cancer (`load_breast_cancer`)",
    "source": "UCI Breast Cancer Wisconsin (Diagnostic), Wolberg, Mangasarian, Street 1995",
    "licence": "CC BY 4.0",
}


def train(split: common.Split, epochs: int, seed: int) -> twins.BreastCancerMlp:
    """Train from scratch on the whole table at a time; the options had the least loss on a fold."""
    torch.manual_seed(seed)
    x, labels = torch.from_numpy(split.x), torch.from_numpy(split.labels)
    network = twins.BreastCancerMlp()
    network.standardise.fit(x)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1.0)
    for _ in range(epochs):
        loss = F.cross_entropy(network(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def write_samples(split: common.Split) -> list[dict[str, object]]:
    """The first test rows of each class, in one table whose header has the feature names."""
    labels = common.labels_of(NAME)
    chosen = [
        int(i) for c in range(len(labels)) for i in (split.labels == c).nonzero()[0][:SAMPLES]
    ]
    file = "inputs/samples.csv"
    # 9 significant digits give every float32 back unchanged.
    rows = [",".join(f"{value:.9g}" for value in split.x[index]) for index in chosen]
    text = "\n".join([",".join(common.breast_cancer_features()), *rows, ""])
    (common.ROOT / NAME / file).write_text(text, encoding="utf-8")
    return [
        {"file": file, "row": row, "label": labels[split.labels[index]]}
        for row, index in enumerate(chosen)
    ]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data, test = common.breast_cancer("train"), common.breast_cancer("test")
    network = train(data, args.epochs, args.seed)
    file = export.write_onnx(NAME, network, "features", test.x[:2])
    samples = write_samples(test)
    export.record(NAME, file, dataset=DATASET, train=data, test=test, samples=samples)


if __name__ == "__main__":
    main()
