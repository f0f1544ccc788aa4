"""Train and export models/breast_cancer_mlp on scikit-learn's table (a few seconds)."""

from __future__ import annotations

import argparse

import common
import datasets
import describe
import export
import torch
import twins
from torch.nn import functional as F

NAME = "breast_cancer_mlp"
SAMPLES = 3  # rows of each class
BACKGROUND = 60  # rows of the training data
DATASET = {
    "name": "scikit-learn breast cancer (`load_breast_cancer`)",
    "source": "UCI Breast Cancer Wisconsin (Diagnostic), Wolberg, Mangasarian, Street 1995",
    "licence": "CC BY 4.0",
}


def train(split: datasets.Split, epochs: int, seed: int) -> twins.BreastCancerMlp:
    """Train from scratch on the whole table at a time; the options had the least loss on a fold."""
    torch.manual_seed(seed)
    x, labels = torch.from_numpy(split.feeds["features"]), torch.from_numpy(split.labels)
    network = twins.BreastCancerMlp()
    network.standardise.fit(x)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1.0)
    for _ in range(epochs):
        loss = F.cross_entropy(network(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def write_samples(split: datasets.Split) -> list[dict[str, object]]:
    """The first test rows of each class, in one table whose header has the feature names."""
    labels = common.labels_of(NAME)
    chosen = [
        int(i) for c in range(len(labels)) for i in (split.labels == c).nonzero()[0][:SAMPLES]
    ]
    file = "inputs/samples.csv"
    features = datasets.breast_cancer_features()
    common.write_table(common.ROOT / NAME / file, features, split.feeds["features"][chosen])
    return [
        {"file": file, "row": row, "label": labels[split.labels[index]]}
        for row, index in enumerate(chosen)
    ]


def write_background(split: datasets.Split) -> None:
    """The first training rows, which are in no order, as a table of what is typical."""
    rows = split.feeds["features"][:BACKGROUND]
    file = common.ROOT / NAME / "inputs" / "background.csv"
    common.write_table(file, datasets.breast_cancer_features(), rows)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data, test = datasets.breast_cancer("train"), datasets.breast_cancer("test")
    network = train(data, args.epochs, args.seed)
    export.write_onnx(
        NAME, network, {"features": ["batch"]}, {"features": test.feeds["features"][:2]}
    )
    samples = write_samples(test)
    write_background(data)
    describe.record(
        NAME,
        made_with=export.MADE_WITH,
        dataset=DATASET,
        train=len(data),
        test=test,
        samples=samples,
    )


if __name__ == "__main__":
    main()
