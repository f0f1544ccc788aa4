"""`igrt verify`: table, JSON, page and exit codes."""

import json

import pytest

FEW = ["--check", "completeness", "--check", "symmetry"]


def test_a_table_with_figure_limit_and_verdict(run, folder):
    got = run("verify", "mlp.onnx", "--input", "rows.npy", *FEW)
    assert got.code == 0
    lines = got.out.splitlines()
    assert lines[0].startswith("mlp.onnx: integrated_gradients, target")
    assert lines[1] == "on 4 rows of the given inputs"
    head = next(line for line in lines if line.startswith("check"))
    assert head.split() == ["check", "figure", "limit", "verdict"]
    row = next(line for line in lines if line.startswith("completeness"))
    assert row.split()[2:] == ["0.01", "holds"]
    assert "1 of 1 checks hold, 1 skipped" in got.out
    assert "checking completeness" in got.err


def test_json_is_one_document(run, folder):
    got = run("verify", "mlp.onnx", "--input", "row.npy", "--json", *FEW)
    assert got.code == 0
    assert got.document["holds"] is True
    assert [c["name"] for c in got.document["checks"]] == ["completeness", "symmetry"]
    assert got.document["files"] == []
    assert got.err == ""


def test_three_where_a_check_does_not_hold(run, folder):
    """No integral of a Tanh is right to 1e-12 in float32."""
    got = run("verify", "mlp.onnx", "--input", "row.npy", "--tolerance", "1e-12", "--quiet", *FEW)
    assert got.code == 3
    assert "does not hold" in got.out
    assert "error: does not hold: completeness" in got.err


def test_without_an_input_it_says_that_it_drew_some(run, folder):
    got = run("verify", "mlp.onnx", "--seed", "5", *FEW)
    assert got.code == 0
    assert "on 1 row of inputs drawn with the seed 5" in got.out


def test_pages_are_written(run, folder):
    got = run("verify", "mlp.onnx", "-i", "row.npy", "-o", "v.html", "-o", "v.json", *FEW)
    assert got.code == 0
    assert "written: v.html" in got.out
    assert "completeness" in (folder / "v.html").read_text(encoding="utf-8")
    assert json.loads((folder / "v.json").read_text(encoding="utf-8"))["holds"] is True


def test_inputs_targets_and_baselines_are_read_as_by_explain(run, folder):
    got = run(
        *("verify", "mlp.onnx", "-i", "rows.csv", "--labels", "labels.txt", "--target", "cat"),
        *("-b", "constant:0.5", "--json", *FEW),
    )
    assert got.code == 0
    assert got.document["target"] == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--check", "depth"], "there is no check `depth`"),
        (["-o", "v.png"], "unknown suffix `.png`"),
        (["-o", "row.npy/v.html"], "no such folder"),
        (["--target", "cat"], "unknown target 'cat'"),
        (["--method", "magic"], "unknown method `magic`"),
        (["--seed", "x"], "not a valid integer"),
    ],
)
def test_bad_arguments_are_refused(run, folder, arguments, message):
    got = run("verify", "mlp.onnx", "-i", "row.npy", *arguments)
    assert got.code == 2
    assert message in got.err
    assert got.out == ""
