"""Molecules as arrays: features of atoms and of pairs of atoms (needs RDKit)."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
from common import Array, Floats
from datasets import Split, shared_data
from rdkit import Chem, RDLogger

TOX21_TABLE = Path("datasets") / "tox21.csv"
TOX21_ASSAYS = [
    "NR-AR",
    "NR-AR-LBD",
    "NR-AhR",
    "NR-Aromatase",
    "NR-ER",
    "NR-ER-LBD",
    "NR-PPAR-gamma",
    "SR-ARE",
    "SR-ATAD5",
    "SR-HSE",
    "SR-MMP",
    "SR-p53",
]
MOST_ATOMS = 50  # without hydrogen; three in a hundred molecules are larger

ELEMENTS = ["C", "N", "O", "F", "P", "S", "Cl", "Br", "I"]
HYBRIDISATIONS = [Chem.HybridizationType.SP, Chem.HybridizationType.SP2]
ATOM_FEATURES = [
    *ELEMENTS,
    "other element",
    "bonds / 4",
    "hydrogens / 4",
    "charge",
    "aromatic",
    "in a ring",
    "sp",
    "sp2",
]
BOND_ORDERS = [Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC]
DISTANCES = [2, 3, 4]
PAIR_FEATURES = [
    "double bond",
    "triple bond",
    "aromatic bond",
    "conjugated bond",
    "same ring",
    *(f"{distance} bonds apart" for distance in DISTANCES),
]


@dataclass(frozen=True)
class Molecule:
    """`atoms` [n, 17], `adjacency` [n, n] with 1 for a bond, `pairs` [n, n, 8]; all else is 0."""

    atoms: Floats
    adjacency: Floats
    pairs: Floats
    symbols: list[str]
    hydrogens: list[int]
    bonds: list[tuple[int, int, str]]


def featurise(smiles: str) -> Molecule | None:
    """A molecule without its hydrogens; None for what RDKit cannot read, or one atom alone."""
    parsed = Chem.MolFromSmiles(smiles)
    if parsed is None or not 2 <= parsed.GetNumAtoms() <= MOST_ATOMS:
        return None
    atoms = np.array([_atom(atom) for atom in parsed.GetAtoms()], np.float32)
    distances = Chem.GetDistanceMatrix(parsed)
    adjacency = (distances == 1).astype(np.float32)
    pairs = np.zeros((*adjacency.shape, len(PAIR_FEATURES)), np.float32)
    for bond in parsed.GetBonds():
        kind = [bond.GetBondType() == order for order in BOND_ORDERS] + [bond.GetIsConjugated()]
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        pairs[i, j, :4] = pairs[j, i, :4] = kind
    for ring in parsed.GetRingInfo().AtomRings():
        pairs[np.ix_(ring, ring, [4])] = 1
    pairs[range(len(atoms)), range(len(atoms))] = 0
    for k, distance in enumerate(DISTANCES, start=5):
        pairs[..., k] = distances == distance
    bonds = [
        (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), bond.GetBondType().name.lower())
        for bond in parsed.GetBonds()
    ]
    symbols = [atom.GetSymbol() for atom in parsed.GetAtoms()]
    hydrogens = [atom.GetTotalNumHs() for atom in parsed.GetAtoms()]
    return Molecule(atoms, adjacency, pairs, symbols, hydrogens, bonds)


def _atom(atom: Any) -> list[float]:
    symbol = atom.GetSymbol()
    return [
        *(symbol == element for element in ELEMENTS),
        symbol not in ELEMENTS,
        atom.GetDegree() / 4,
        atom.GetTotalNumHs() / 4,
        atom.GetFormalCharge(),
        atom.GetIsAromatic(),
        atom.IsInRing(),
        *(atom.GetHybridization() == kind for kind in HYBRIDISATIONS),
    ]


def batch(molecules: Sequence[Molecule]) -> dict[str, Array]:
    """Inputs of a model, padded with zeros to the largest molecule."""
    n = max(len(molecule.atoms) for molecule in molecules)
    feeds = {
        "atoms": np.zeros((len(molecules), n, len(ATOM_FEATURES)), np.float32),
        "adjacency": np.zeros((len(molecules), n, n), np.float32),
        "pairs": np.zeros((len(molecules), n, n, len(PAIR_FEATURES)), np.float32),
    }
    for row, molecule in enumerate(molecules):
        k = len(molecule.atoms)
        feeds["atoms"][row, :k] = molecule.atoms
        feeds["adjacency"][row, :k, :k] = molecule.adjacency
        feeds["pairs"][row, :k, :k] = molecule.pairs
    return feeds


def tox21(part: str, data: Path | None = None) -> tuple[list[str], list[Molecule], Floats]:
    """Tox21: SMILES, molecules, and results [n, 12] of the assays, NaN where there is none.

    A tenth of the molecules is held out for `test`, by a fixed seed.
    """
    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    with ((data or shared_data()) / TOX21_TABLE).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    held = np.random.default_rng(0).random(len(rows)) < 0.1
    chosen = [row for row, test in zip(rows, held, strict=True) if test == (part == "test")]
    read = [(row, featurise(row["smiles"])) for row in chosen]
    known = [(row, molecule) for row, molecule in read if molecule is not None]
    results = np.array([[float(row[a] or "nan") for a in TOX21_ASSAYS] for row, _ in known])
    return (
        [row["smiles"] for row, _ in known],
        [molecule for _, molecule in known],
        results.astype(np.float32),
    )


def tox21_split(part: str, data: Path | None = None) -> Split:
    """The molecules as `atoms`, `adjacency` and `pairs`."""
    _, molecules, results = tox21(part, data)
    return Split(batch(molecules), results)


def write_samples(name: str, smiles: Sequence[str], titles: Sequence[str]) -> list[dict[str, Any]]:
    """Ship molecules: SMILES, symbols and bonds for readers, arrays for the model."""
    molecules = [featurise(text) for text in smiles]
    found = [molecule for molecule in molecules if molecule is not None]
    folder = common.ROOT / name / "inputs"
    folder.mkdir(parents=True, exist_ok=True)
    for key, array in batch(found).items():
        np.save(folder / f"{key}.npy", array)
    shown = [
        {
            "name": title,
            "smiles": text,
            "atoms": molecule.symbols,
            "hydrogens": molecule.hydrogens,
            "bonds": molecule.bonds,
        }
        for title, text, molecule in zip(titles, smiles, found, strict=True)
    ]
    features = {"atoms": ATOM_FEATURES, "pairs": PAIR_FEATURES}
    text = "".join(
        [
            '{\n"features": ',
            json.dumps(features),
            ',\n"molecules": [\n',
            ",\n".join(json.dumps(molecule) for molecule in shown),
            "\n]\n}\n",
        ]
    )
    (folder / "molecules.json").write_text(text, encoding="utf-8")
    return [
        {"file": "inputs/molecules.json", "row": row, "name": title}
        for row, title in enumerate(titles)
    ]
