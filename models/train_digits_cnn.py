"""Train and export models/digits_cnn on scikit-learn's 8x8 digits (under a minute)."""

from __future__ import annotations

import argparse

import common
import datasets
import describe
import export
import torch
import twins
from PIL import Image
from torch.nn import functional as F

NAME = "digits_cnn"
DATASET = {
    "name": "scikit-learn digits (`load_digits`)",
    "source": "UCI Optical Recognition of Handwritten Digits, Alpaydin and Kaynak 1998",
    "licence": "CC BY 4.0",
}


def train(split: datasets.Split, epochs: int, batch: int, seed: int) -> twins.DigitsCnn:
    """Train from scratch with Adam and a cosine learning rate."""
    torch.manual_seed(seed)
    x, labels = torch.from_numpy(split.feeds["image"]), torch.from_numpy(split.labels)
    network = twins.DigitsCnn()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for chosen in torch.randperm(len(x)).split(batch):
            loss = F.cross_entropy(network(x[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return network


def write_samples(split: datasets.Split) -> list[dict[str, object]]:
    """One picture of each digit: the first in the test set."""
    assert split.pixels is not None
    labels = common.labels_of(NAME)
    samples: list[dict[str, object]] = []
    for index, label in enumerate(labels):
        first = int((split.labels == index).argmax())
        file = f"inputs/{label}.png"
        Image.fromarray(split.pixels[first]).save(common.ROOT / NAME / file)
        samples.append({"file": file, "label": label})
    return samples


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data, test = datasets.digits("train"), datasets.digits("test")
    network = train(data, args.epochs, args.batch, args.seed)
    export.write_onnx(NAME, network, {"image": ["batch"]}, {"image": test.feeds["image"][:2]})
    samples = write_samples(test)
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
