"""Train and export models/tox21_graph, twelve toxicity assays of a molecule (some minutes)."""

from __future__ import annotations

import argparse
from pathlib import Path

import common
import datasets
import describe
import export
import graph_twins
import molecules
import rdkit
import torch
from torch.nn import functional as F

NAME = "tox21_graph"
DATASET = {
    "name": "Tox21 challenge, molecules of 2 to 50 atoms without hydrogen",
    "source": "NIH Tox21; copy of github.com/deepchem/deepchem",
    "licence": "MIT (repository); public domain",
}
# Well-known molecules, so that readers can judge the pictures.
SAMPLES = [
    ("aspirin", "CC(=O)Oc1ccccc1C(=O)O"),
    ("caffeine", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C"),
    ("testosterone", "CC12CCC3C(CCC4=CC(=O)CCC34C)C1CCC2O"),
    ("estradiol", "CC12CCC3C(CCc4cc(O)ccc34)C1CCC2O"),
    ("bisphenol A", "CC(C)(c1ccc(O)cc1)c1ccc(O)cc1"),
    ("benzo[a]pyrene", "c1ccc2c(c1)cc1ccc3cccc4ccc2c1c34"),
    ("DDT", "ClC(Cl)(Cl)C(c1ccc(Cl)cc1)c1ccc(Cl)cc1"),
]


def train(
    data: list[molecules.Molecule], results: torch.Tensor, epochs: int, batch: int, seed: int
) -> graph_twins.Tox21Graph:
    """Train from scratch on molecules of like size at a time; unknown results do not count."""
    torch.manual_seed(seed)
    network = graph_twins.Tox21Graph()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    sizes = torch.tensor([float(len(molecule.atoms)) for molecule in data])
    for epoch in range(epochs):
        network.train()
        # sizes that differ by less than five are mixed, another way in every epoch
        order = (sizes + 5 * torch.rand(len(sizes))).argsort()
        parts = order.split(batch)
        for index in torch.randperm(len(parts)):
            part = parts[index]
            feeds = molecules.batch([data[i] for i in part])
            logits = network(*(torch.from_numpy(x) for x in feeds.values()))
            known = ~results[part].isnan()
            loss = F.binary_cross_entropy_with_logits(logits[known], results[part][known])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        schedule.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}", flush=True)
    return network


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=datasets.shared_data())
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    common.write_labels(NAME, molecules.TOX21_ASSAYS)
    _, data, results = molecules.tox21("train", args.data)
    network = train(data, torch.from_numpy(results), args.epochs, args.batch, args.seed)
    titles, smiles = zip(*SAMPLES, strict=True)
    samples = molecules.write_samples(NAME, smiles, titles)
    feeds = common.read_sample(NAME, {"file": "inputs/molecules.json", "row": 0})
    axes = {
        "atoms": ["batch", "atoms"],
        "adjacency": ["batch", "atoms", "atoms"],
        "pairs": ["batch", "atoms", "atoms"],
    }
    export.write_onnx(NAME, network, axes, feeds, operator="Sigmoid")
    describe.record(
        NAME,
        made_with=export.MADE_WITH | {"rdkit": rdkit.__version__},
        dataset=DATASET,
        train=len(data),
        test=molecules.tox21_split("test", args.data),
        samples=samples,
    )


if __name__ == "__main__":
    main()
