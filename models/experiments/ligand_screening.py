"""Atoms, bonds and other pairs of atoms, after Sundararajan et al. 2017, section 6.5.

    python models/experiments/ligand_screening.py             # the shipped molecules
    python models/experiments/ligand_screening.py --output docs/pictures
    python models/experiments/ligand_screening.py --test      # the test set

The score of every molecule's likeliest assay is explained against features that are all zero, and
the attribution is counted: what share falls on atoms, on pairs of atoms with a bond, and on all
other pairs. `--test` needs RDKit and the data that `models/README.md` tells of.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

import igrt
from igrt.inputs import read_graphs, read_labels
from igrt.render.png import draw

FOLDER = Path(__file__).resolve().parents[1] / "tox21_graph"
MODEL = FOLDER / "tox21_graph.onnx"
INPUTS = ("atoms", "adjacency", "pairs")
LABELS = read_labels(FOLDER / "labels.txt")

SHOWN = ("testosterone", "bisphenol A")
"""Molecules of the picture: one whose score comes from far pairs, one from its bonds."""

CHUNK = 128
"""Molecules of the test set explained at a time."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Account:
    """Where the attribution of some molecules falls, one entry per molecule.

    Args:
        change: F(x) - F(x').
        parts: Sums over atoms, bonded pairs and other pairs, [n, 3].
        magnitudes: Sums of the magnitudes of the same, [n, 3].
        counts: Number of bonded pairs and of other pairs that have features, [n, 2].
    """

    change: Array
    parts: Array
    magnitudes: Array
    counts: Array


def explain(feeds: Mapping[str, Array], display: igrt.Display | None = None) -> igrt.Attribution:
    """Attributions of all features for the likeliest assay of every molecule."""
    explainer = igrt.Explainer(MODEL)
    return explainer.explain(feeds, target="top1", display=display or igrt.Display(labels=LABELS))


def account(result: igrt.Attribution, feeds: Mapping[str, Array]) -> Account:
    """Count a result by atoms, bonded pairs and other pairs."""
    atoms = result.values["atoms"].sum(axis=-1)
    pairs = result.values["adjacency"] + result.values["pairs"].sum(axis=-1)
    # each pair once, in both directions
    pairs = np.triu(pairs + pairs.transpose(0, 2, 1), 1)
    bonded = feeds["adjacency"] > 0
    others = feeds["pairs"].any(axis=-1) & ~bonded
    groups = [atoms, pairs * bonded, pairs * ~bonded]
    return Account(
        change=result.output - result.baseline_output,
        parts=np.stack([g.reshape(len(g), -1).sum(axis=1) for g in groups], axis=1),
        magnitudes=np.stack([np.abs(g).reshape(len(g), -1).sum(axis=1) for g in groups], axis=1),
        counts=np.stack([g.sum(axis=(1, 2)) // 2 for g in (bonded, others)], axis=1),
    )


def tell(names: Sequence[str], result: igrt.Attribution, found: Account) -> None:
    """One line per molecule: shares of the change of the score, and of the magnitudes."""
    signed, sizes = _shares(found)
    print("per cent of the change of the score, and of the sum of magnitudes, on")
    print(
        f"{'':16}{'assay':12}{'atoms':>6}{'bonds':>7}{'others':>8}{'atoms':>9}{'bonds':>7}{'others':>8}"
    )
    for at, name in enumerate(names):
        (a, b, o), (x, y, z) = signed[at], sizes[at]
        print(f"{name:16}{result.label(at):12}{a:6.0f}{b:7.0f}{o:8.0f}{x:9.0f}{y:7.0f}{z:8.0f}")


def summary(found: Account) -> None:
    """Means over all molecules."""
    _, sizes = _shares(found)
    atoms, bonds, others = sizes.mean(axis=0)
    print(f"of the magnitudes, mean of {len(sizes)}: atoms {atoms:.0f} %, "
          f"bonds {bonds:.0f} %, other pairs {others:.0f} %")  # fmt: skip
    each = found.magnitudes[:, 1:] / np.maximum(found.counts, 1)
    both = (found.counts > 0).all(axis=1)
    ratio = np.median(each[both, 0] / each[both, 1])
    many = found.counts.mean(axis=0)
    print(f"a molecule has {many[0]:.0f} bonds and {many[1]:.0f} other pairs with features; "
          f"one bond has {ratio:.1f} times the magnitude of one of them (median)")  # fmt: skip
    more = (found.magnitudes[:, 1] > found.magnitudes[:, 2]).sum()
    print(f"bonds have more than all other pairs together in {more} of {len(sizes)}")


def alike(result: igrt.Attribution, feeds: Mapping[str, Array]) -> tuple[int, int]:
    """Pairs of atoms with the same features and other surroundings; those attributed the same.

    The paper found a network by this that did not look at the surroundings. Atoms that no number of
    graph convolutions tells apart (Weisfeiler and Leman, 1968) do not count.
    """
    total = same = 0
    for at in range(len(result)):
        x, edges = feeds["atoms"][at], feeds["pairs"][at]
        edges = np.concatenate([feeds["adjacency"][at][..., None], edges], axis=-1)
        atoms = np.flatnonzero(x.any(axis=-1))
        colours = _classes(map(tuple, x[atoms]))
        first = colours
        for _ in atoms:
            around = [
                sorted((colours[j], *edges[i, other]) for j, other in enumerate(atoms))
                for i in atoms
            ]
            colours = _classes((c, *a) for c, a in zip(colours, around, strict=True))
        values = result.row(at)["atoms"][atoms].sum(axis=-1)
        # what the integration may be off by
        close = 2 * float(result.error[at]) * np.abs(values).max()
        for i, j in combinations(range(len(atoms)), 2):
            if first[i] == first[j] and colours[i] != colours[j]:
                total += 1
                same += bool(abs(values[i] - values[j]) <= close)
    return total, same


def _classes(items: Iterable[Hashable]) -> list[int]:
    """Numbers of the items, the same for the same."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(item, len(numbers)) for item in items]


def _shares(found: Account) -> tuple[Array, Array]:
    signed = 100 * found.parts / found.change[:, None]
    return signed, 100 * found.magnitudes / found.magnitudes.sum(axis=1, keepdims=True)


def of_test_set() -> Account:
    """The molecules of the test set, in parts of like size."""
    sys.path.insert(0, str(FOLDER.parent))
    import molecules

    _, data, _ = molecules.tox21("test")
    data = sorted(data, key=lambda molecule: len(molecule.atoms))
    parts = []
    for start in range(0, len(data), CHUNK):
        feeds = molecules.batch(data[start : start + CHUNK])
        parts.append(account(explain(feeds), feeds))
    return Account(
        *(np.concatenate([getattr(p, n) for p in parts]) for n in Account.__dataclass_fields__)
    )


def picture(feeds: Mapping[str, Array], display: igrt.Display, folder: Path) -> Path:
    """Two molecules as igrt draws them."""
    rows = [display.sources.index(name) for name in SHOWN]
    graphs = tuple(display.graphs[row] for row in rows)
    result = explain(
        {n: x[rows] for n, x in feeds.items()}, replace(display, graphs=graphs, sources=SHOWN)
    )
    file = folder / "ligand-screening.png"
    draw(result).quantize(256).save(file, optimize=True)
    return file


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="folder for ligand-screening.png")
    parser.add_argument("--test", action="store_true", help="the molecules of the test set")
    args = parser.parse_args()
    if args.test:
        summary(of_test_set())
        return
    feeds = {name: np.load(FOLDER / "inputs" / f"{name}.npy") for name in INPUTS}
    found = read_graphs(FOLDER / "inputs" / "molecules.json")
    names = tuple(graph.name for graph in found.graphs)
    display = igrt.Display(
        labels=LABELS, features=found.features, graphs=found.graphs, sources=names
    )
    result = explain(feeds, display)
    counted = account(result, feeds)
    tell(names, result, counted)
    summary(counted)
    total, same = alike(result, feeds)
    print(f"{total} pairs of atoms have the same features and other surroundings; "
          f"{same} of them the same attribution")  # fmt: skip
    if args.output:
        print(f"wrote {picture(feeds, display, args.output)}")


if __name__ == "__main__":
    main()
