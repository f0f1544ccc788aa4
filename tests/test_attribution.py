"""Saving and loading results."""

import json

import numpy as np
import pytest
from onnx import parser

import igrt
from igrt.errors import InputError


@pytest.fixture
def result():
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        g (float[N, 3] x) => (float[N, 2] y) <float[3, 2] W = {1, -1, 2, 0.5, -3, 4}> {
          y = MatMul(x, W) }"""
    )
    text = (igrt.Token("not"), igrt.Token("##e", glued=True, segment=1), igrt.Token("", "padding"))
    display = igrt.Display(
        labels=("cat", "dog"),
        features={"x": ("a", "b", "c")},
        sources=("f",),
        tokens={"x": (text, text)},
        graphs=(igrt.Graph(("a", "b"), ((0, 1),), ("road",), ((0.0, 1.0), (2.0, 3.0)), "map"),),
    )
    return igrt.explain(model, np.ones((1, 3), np.float32), target="top2", display=display)


def test_npz_keeps_everything_but_pictures(result, tmp_path):
    path = result.save(tmp_path / "r.npz")
    again = igrt.Attribution.load(path)
    np.testing.assert_array_equal(again.values["x"], result.values["x"])
    np.testing.assert_array_equal(again.inputs["x"], result.inputs["x"])
    assert again.target == result.target
    assert again.summary() == result.summary()
    assert again.display == result.display
    with np.load(path) as archive:
        assert "x" in archive.files


def test_json_holds_summary_and_values(result, tmp_path):
    document = json.loads(result.save(tmp_path / "r.json").read_text())
    assert document["values"]["x"] == result.values["x"].tolist()
    assert document["label"] == ["dog", "cat"]
    assert document["evaluations"] == [1, 1]


def test_one_row_gives_numbers_several_give_lists(result):
    assert isinstance(result.summary()["delta"], list)
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> '
        "g (float[N, 1] x) => (float[N, 1] y) { y = Exp(x) }"
    )
    summary = igrt.explain(model, np.ones((1, 1), np.float32)).summary()
    assert isinstance(summary["delta"], float)
    assert summary["target"] == 0


def test_an_unknown_suffix_is_refused_and_nothing_is_written(result, tmp_path):
    with pytest.raises(InputError, match="unknown suffix"):
        result.save(tmp_path / "r.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_writer_leaves_nothing_behind(result, tmp_path, monkeypatch):
    (tmp_path / "r.png").write_text("before")

    def fail(self, path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(igrt.Attribution, "_write_png", fail)
    with pytest.raises(InputError, match="No space left"):
        result.save(tmp_path / "r.png")
    assert [p.name for p in tmp_path.iterdir()] == ["r.png"]
    assert (tmp_path / "r.png").read_text() == "before"


@pytest.mark.parametrize("content", [b"", b"not a zip"])
def test_loading_something_else_is_refused(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot read"):
        igrt.Attribution.load(path)


def test_loading_a_foreign_archive_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.ones(3))
    with pytest.raises(InputError, match="not a result"):
        igrt.Attribution.load(tmp_path / "x.npz")


def test_repr_shows_the_numbers(result):
    text = repr(result)
    assert "dog" in text
    assert "delta" in text
