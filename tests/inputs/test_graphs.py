"""Graphs and molecules in JSON files."""

import json

import numpy as np
import pytest

from igrt.errors import InputError
from igrt.inputs import read_graphs
from igrt.specs import Graph


@pytest.fixture
def write(tmp_path):
    def written(document):
        path = tmp_path / "graphs.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
        return path

    return written


def test_graphs(write):
    found = read_graphs(
        write(
            {
                "features": {"x": ["speed", "weight"]},
                "graphs": [
                    {"name": "n", "nodes": ["a", "b"], "edges": [[0, 1, "road"], [1, 1]]},
                    {"nodes": ["c"], "places": [[0, 1.5]]},
                ],
            }
        )
    )
    assert found.features == {"x": ("speed", "weight")}
    assert found.graphs == (
        Graph(("a", "b"), ((0, 1), (1, 1)), ("road", ""), name="n"),
        Graph(("c",), places=((0.0, 1.5),)),
    )


def test_molecules_show_hydrogens_but_those_of_carbon(write):
    record = {
        "atoms": ["C", "N", "O"],
        "bonds": [[0, 1, "single"], [1, 2, "single"]],
        "hydrogens": [3, 2, 1],
        "places": [[0, 0], [1, 0], [2, 0]],
    }
    (graph,) = read_graphs(write({"molecules": [record]})).graphs
    assert graph.molecule
    assert graph.nodes == ("C", "NH2", "OH")
    assert graph.kinds == ("single", "single")


def test_rdkit_gives_places_of_the_same_atoms(write):
    chem = pytest.importorskip("rdkit.Chem")
    smiles = "CC(=O)Oc1ccccc1C(=O)O"
    atoms = [atom.GetSymbol() for atom in chem.MolFromSmiles(smiles).GetAtoms()]
    (graph,) = read_graphs(write({"molecules": [{"atoms": atoms, "smiles": smiles}]})).graphs
    assert np.shape(graph.places) == (13, 2)
    for other in ("C", "no SMILES", "CCCCCCCCCCCCC"):
        (graph,) = read_graphs(write({"molecules": [{"atoms": atoms, "smiles": other}]})).graphs
        assert graph.places == ()


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "not JSON"),
        ([], "holds no graphs"),
        ({"nodes": ["a"]}, "holds no graphs"),
        ({"graphs": []}, "no list, or empty"),
        ({"graphs": {"nodes": ["a"]}}, "no list, or empty"),
        ({"graphs": [["a"]]}, r"graphs\[0\] has no list of names `nodes`"),
        ({"graphs": [{"nodes": []}]}, "has no list of names"),
        ({"graphs": [{"nodes": [1]}]}, "has no list of names"),
        ({"molecules": [{"nodes": ["C"]}]}, "has no list of names `atoms`"),
        ({"graphs": [{"nodes": ["a"], "edge": []}]}, "unknown key `edge`"),
        ({"graphs": [{"nodes": ["a"], "edges": [[0]]}]}, "two numbers of nodes"),
        ({"graphs": [{"nodes": ["a"], "edges": [[0, True]]}]}, "two numbers of nodes"),
        ({"graphs": [{"nodes": ["a"], "edges": [[0, 0, 1]]}]}, "two numbers of nodes"),
        ({"graphs": [{"nodes": ["a"], "edges": 3}]}, "two numbers of nodes"),
        ({"graphs": [{"nodes": ["a"], "edges": [[0, 1]]}]}, r"1 nodes, and an edge \[0, 1\]"),
        ({"graphs": [{"nodes": ["a"], "edges": [[-1, 0]]}]}, r"an edge \[-1, 0\]"),
        ({"graphs": [{"nodes": ["a", "b"], "places": [[0, 0]]}]}, "1 places, expected 2"),
        ({"graphs": [{"nodes": ["a"], "places": [[0]]}]}, "x and y of every node"),
        ({"graphs": [{"nodes": ["a"], "places": ["00"]}]}, "x and y of every node"),
        ('{"graphs": [{"nodes": ["a"], "places": [[0, 1e999]]}]}', "x and y of every node"),
        ({"molecules": [{"atoms": ["O"], "hydrogens": [1, 2]}]}, "one number per atom"),
        ({"molecules": [{"atoms": ["O"], "hydrogens": ["2"]}]}, "one number per atom"),
        ({"graphs": [{"nodes": ["a"]}], "features": ["x"]}, "lists of names by tensor"),
        ({"graphs": [{"nodes": ["a"]}], "features": {"x": [1]}}, "lists of names by tensor"),
    ],
)
def test_other_files_are_refused(write, document, said):
    with pytest.raises(InputError, match=said):
        read_graphs(write(document))


@pytest.mark.parametrize(
    ("graphs", "shapes", "said"),
    [
        ([2, 2], [(3, 2, 5)], "2 graphs for inputs of"),
        ([4], [(1, 3, 5), (1, 3, 3)], "has 4 nodes, and no input as many"),
        ([1], [()], "has 1 nodes, and no input as many"),
    ],
)
def test_graphs_of_other_inputs_are_refused(write, graphs, shapes, said):
    records = [{"nodes": ["a"] * count} for count in graphs]
    found = read_graphs(write({"graphs": records}))
    with pytest.raises(InputError, match=said):
        found.check({str(k): np.zeros(shape) for k, shape in enumerate(shapes)})


def test_one_graph_may_be_that_of_all_examples(write):
    found = read_graphs(write({"graphs": [{"nodes": ["a", "b"]}]}))
    found.check({"x": np.zeros((7, 2, 3))})
    found.check({"x": np.zeros((2, 3)), "edges": np.zeros((2, 9))})  # without a batch
