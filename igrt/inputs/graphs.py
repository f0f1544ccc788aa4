"""Graphs and molecules in `.json` files: names of nodes, edges, places, for pictures."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from igrt.errors import InputError
from igrt.inputs.arrays import parse_json
from igrt.inputs.regular import printable_path, read_text
from igrt.specs import Feeds, Graph

_KEYS = {
    "graphs": {"name", "nodes", "edges", "places"},
    "molecules": {"name", "atoms", "bonds", "places", "hydrogens", "smiles"},
}
"""What a file may hold, and the keys of each of its graphs."""

_KINDS = {"graphs": ("nodes", "edges"), "molecules": ("atoms", "bonds")}


@final
@dataclass(frozen=True)
class Graphs:
    """What a file says of graphs.

    Args:
        graphs: The graphs, one per example or one for all.
        features: Names along the last axis of a tensor, by its name; empty if the file has none.
    """

    graphs: tuple[Graph, ...]
    features: dict[str, tuple[str, ...]]

    def check(self, feeds: Feeds) -> None:
        """Refuse graphs that cannot be those of some inputs.

        Raises:
            InputError: If there are more nodes than entries, or not one graph per example.
        """
        shapes = [a.shape for a in feeds.values() if a.ndim]
        examples = {shape[0] for shape in shapes}
        if len(self.graphs) > 1 and examples != {len(self.graphs)}:
            raise InputError(
                f"{len(self.graphs)} graphs for inputs of {sorted(examples)} examples",
                hint="give one graph per example, or one that all have in common",
            )
        room = max((max(shape[:2]) for shape in shapes), default=0)
        for graph in self.graphs:
            if len(graph.nodes) > room:
                raise InputError(
                    f"the graph `{graph.name}` has {len(graph.nodes)} nodes, and no input as many",
                    hint="an axis of an input counts the nodes, in the order of the file",
                )


def read_graphs(path: str | os.PathLike[str]) -> Graphs:
    """The graphs or molecules in a JSON file.

    ``{"graphs": [{"name": "…", "nodes": ["a", "b"], "edges": [[0, 1]]}]}``, or ``"molecules"`` with
    ``"atoms"`` and ``"bonds"`` ``[0, 1, "double"]``. An edge may have a third entry, its kind.
    ``"places"`` has x and y of every node, y upwards. A molecule may have ``"hydrogens"``, how many
    each atom has, and ``"smiles"``, from which RDKit makes places where there are none. Beside the
    list, ``"features"`` may have names of features by tensor.

    Raises:
        InputError: If the file cannot be read or is not of this form.
    """
    path = Path(path)
    shown = f"`{printable_path(path)}`"
    document = parse_json(shown, read_text(path))
    kind = next((k for k in _KEYS if isinstance(document, dict) and k in document), None)
    if kind is None:
        raise InputError(
            f"{shown} holds no graphs", hint='write {"graphs": [{"nodes": […], "edges": […]}]}'
        )
    records = document[kind]
    if not isinstance(records, list) or not records:
        raise InputError(f"{shown}: `{kind}` is no list, or empty")
    graphs = [_graph(f"{shown}, {kind}[{at}]", kind, record) for at, record in enumerate(records)]
    features = document.get("features", {})
    if not isinstance(features, dict) or not all(_texts(names) for names in features.values()):
        raise InputError(f"{shown}: `features` are lists of names by tensor")
    return Graphs(tuple(graphs), {name: tuple(names) for name, names in features.items()})


def _graph(place: str, kind: str, record: Any) -> Graph:
    nodes_key, edges_key = _KINDS[kind]
    if not isinstance(record, dict) or not _texts(record.get(nodes_key)):
        raise InputError(f"{place} has no list of names `{nodes_key}`")
    unknown = sorted(set(record) - _KEYS[kind])
    if unknown:
        raise InputError(
            f"{place} has an unknown key `{unknown[0]}`",
            hint=f"known are {', '.join(sorted(_KEYS[kind]))}",
        )
    nodes = record[nodes_key]
    edges, kinds = _edges(place, edges_key, record.get(edges_key, []))
    places = record.get("places") or _from_smiles(record.get("smiles"), nodes)
    if not isinstance(places, list) or not all(_is_place(p) for p in places):
        raise InputError(f"{place}: `places` are x and y of every node")
    return Graph(
        nodes=_with_hydrogens(place, nodes, record.get("hydrogens")),
        edges=edges,
        kinds=kinds,
        places=tuple((float(x), float(y)) for x, y in places),
        name=str(record.get("name", "")),
        molecule=kind == "molecules",
    )


def _edges(place: str, key: str, given: Any) -> tuple[tuple[tuple[int, int], ...], tuple[str, ...]]:
    """Both nodes of every edge, and its kind; no kinds where no edge has one."""
    if not isinstance(given, list) or not all(_is_edge(edge) for edge in given):
        raise InputError(
            f"{place}: `{key}` are two numbers of nodes each, and perhaps a kind",
            hint='write [[0, 1], [1, 2, "double"]]',
        )
    kinds = tuple(edge[2] if len(edge) > 2 else "" for edge in given)
    return tuple((edge[0], edge[1]) for edge in given), kinds if any(kinds) else ()


def _is_edge(edge: Any) -> bool:
    return (
        isinstance(edge, list)
        and 2 <= len(edge) <= 3
        and all(type(end) is int for end in edge[:2])
        and all(isinstance(kind, str) for kind in edge[2:])
    )


def _is_place(place: Any) -> bool:
    return (
        isinstance(place, list)
        and len(place) == 2
        and all(type(v) in (int, float) and math.isfinite(v) for v in place)
    )


def _texts(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(isinstance(g, str) for g in given)


def _with_hydrogens(place: str, atoms: Sequence[str], counts: Any) -> tuple[str, ...]:
    """Symbols with the hydrogens that a structural formula shows: those of all but carbon."""
    if counts is None:
        return tuple(atoms)
    if not isinstance(counts, list) or len(counts) != len(atoms) or {*map(type, counts)} - {int}:
        raise InputError(f"{place}: `hydrogens` is one number per atom")
    written = {0: "", 1: "H"}
    return tuple(
        atom if atom == "C" else atom + written.get(count, f"H{count}")
        for atom, count in zip(atoms, counts, strict=True)
    )


def _from_smiles(smiles: Any, atoms: Sequence[str]) -> list[list[float]]:
    """Places by RDKit; none where it is not installed, or reads other atoms in the text."""
    if not isinstance(smiles, str):
        return []
    try:
        from rdkit import Chem, rdBase
        from rdkit.Chem import rdDepictor
    except ImportError:
        return []
    with rdBase.BlockLogs():  # what is no SMILES is drawn without it
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or [atom.GetSymbol() for atom in molecule.GetAtoms()] != list(atoms):
        return []
    rdDepictor.Compute2DCoords(molecule)
    return [[float(x), float(y)] for x, y, _ in molecule.GetConformer().GetPositions()]


__all__ = ["Graphs", "read_graphs"]
