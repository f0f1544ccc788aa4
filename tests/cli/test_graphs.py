"""`igrt explain --graphs`."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

import igrt

# messages along weighted edges, added up: F = Σ_ij a_ij Σ_f x_jf
MODEL = """<ir_version: 8, opset_import: ["" : 18]>
    messages (float[N,A,2] nodes, float[N,A,A] adjacency) => (float[N,1] score)
    <int64[2] axes = {1, 2}>
    { sent = MatMul(adjacency, nodes)
      sum = ReduceSum<keepdims = 0>(sent, axes)
      one = Constant<value_ints = [-1, 1]>()
      score = Reshape(sum, one) }"""
NODES = np.array([[[1, 2], [3, -1], [0, 4], [0, 0]]], np.float32)  # the last one is padding
ADJACENCY = np.zeros((1, 4, 4), np.float32)
ADJACENCY[0, 0, 1], ADJACENCY[0, 1, 0], ADJACENCY[0, 2, 1] = 1, 0.5, 2
FLOWS = ADJACENCY[0] * NODES[0].sum(axis=1)
"""What flows from j to i, [i, j]; the score is its sum."""


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(onnx.parser.parse_model(MODEL), "messages.onnx")
    np.save("nodes.npy", NODES)
    np.save("adjacency.npy", ADJACENCY)
    record = {"name": "net", "nodes": ["ann", "bob", "eve"], "edges": [[0, 1], [1, 2, "phone"]]}
    with open("graphs.json", "w") as file:
        json.dump({"graphs": [record]}, file)
    return ["messages.onnx", "-i", "nodes=nodes.npy", "-i", "adjacency=adjacency.npy"]


def entries(text):
    """Numbers by name from the lines of the details."""
    lines = text.split("attribution of ")[1].splitlines()[1:]
    words = [line.rstrip("█ ").rsplit(maxsplit=1) for line in lines if line.strip()]
    return {name.strip(): float(value) for name, value in words if name != "wrote"}


# a fixed rule of one point integrates the linear gradients of products exactly; printed with
# four digits
CLOSE = {"rel": 1e-3, "abs": 1e-6}


def test_products_share_between_nodes_and_edges(run, files):
    outcome = run("explain", *files, "--graphs", "graphs.json", "--steps", "1", "-o", "g.html")
    assert outcome.code == 0, outcome.err
    found = entries(outcome.out)
    half = FLOWS / 2
    assert found["nodes"] == pytest.approx(half.sum(), **CLOSE)
    assert found["edges"] == pytest.approx(half.sum(), **CLOSE)
    assert found["ann"] == pytest.approx(half[:, 0].sum(), **CLOSE)
    assert found["ann-bob"] == pytest.approx(half[0, 1] + half[1, 0], **CLOSE)
    assert found["bob-eve (phone)"] == pytest.approx(half[2, 1], **CLOSE)
    assert re.search(r"^example +net$", outcome.out, re.MULTILINE)
    assert "bob-eve (phone)" in Path("g.html").read_text("utf-8")


def test_what_stays_fixed_gets_nothing(run, files):
    options = ("--graphs", "graphs.json", "--steps", "1", "--wrt", "nodes")
    outcome = run("explain", *files, *options)
    found = entries(outcome.out)
    assert found["nodes"] == pytest.approx(FLOWS.sum(), **CLOSE)
    assert found["bob"] == pytest.approx(FLOWS[:, 1].sum(), **CLOSE)
    assert "edges" not in found


def test_the_graphs_are_kept(run, files):
    run("explain", *files, "--graphs", "graphs.json", "-o", "g.npz")
    (graph,) = igrt.Attribution.load("g.npz").display.graphs
    assert graph == igrt.Graph(("ann", "bob", "eve"), ((0, 1), (1, 2)), ("", "phone"), name="net")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"graphs": [{"nodes": list("abcde")}]}, "has 5 nodes, and no input as many"),
        ({"graphs": [{"nodes": ["a"]}, {"nodes": ["b"]}]}, "2 graphs for inputs of [1] examples"),
        ({"graphs": [{"nodes": ["a"], "edges": [[0, 7]]}]}, "an edge [0, 7]"),
    ],
)
def test_graphs_that_do_not_fit_are_refused(run, files, content, said):
    with open("graphs.json", "w") as file:
        json.dump(content, file)
    outcome = run("explain", *files, "--graphs", "graphs.json", "-o", "g.png")
    assert outcome.code == 2
    assert said in outcome.err and "Traceback" not in outcome.err


def test_no_output_over_the_graphs(run, files):
    outcome = run("explain", *files, "--graphs", "graphs.json", "-o", "graphs.json")
    assert outcome.code == 2
