"""`igrt explain`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import igrt
from igrt.attribution import Attribution
from igrt.methods import METHODS
from igrt.quadrature.rules import RULES

Run = Callable[..., Any]

# the keys that the contract promises; there may be more
KEYS = set(
    "model inputs method rule target output baseline_output delta relative_delta error "
    "evaluations provider seconds provenance files".split()
)
PER_ROW = set("target output baseline_output delta relative_delta error evaluations".split())

W = np.array([[1, -2, 3, 0.5], [0.25, 1, -1, 2], [-1, 0.5, 2, -0.5]])


def attribution(x: np.ndarray, target: int, baseline: float = 0.0) -> np.ndarray:
    """What Integrated Gradients gives for the additive model Σ_i w_i tanh x_i."""
    return np.asarray((np.tanh(x) - np.tanh(baseline)) * W[:, target])


# the default tolerance promises a relative error of 1e-2; tanh over a few units is far smoother
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


def test_text(run: Run, folder: Path) -> None:
    outcome = run("explain", "mlp.onnx", "-i", "row.npy", "--labels", "labels.txt")
    assert (outcome.code, outcome.err) == (0, "")
    head, facts, top, values = outcome.out.strip().split("\n\n")
    assert head.startswith("integrated_gradients · adaptive · CPUExecutionProvider · ")
    found = {line[:18].strip(): line[18:] for line in facts.splitlines()}
    assert found["example"] == "row.npy"
    assert found["target"] == "cat (2)"
    assert found["evaluations"] == "7"
    assert "cat" in top and "<- explained" in top.splitlines()[1]
    assert [line.split()[0] for line in values.splitlines()[1:]] == ["x[2]", "x[0]", "x[1]"]


def test_json_of_one_example_gives_numbers(run: Run, folder: Path) -> None:
    outcome = run("explain", "mlp.onnx", "-i", "row.npy", "--target", "1", "--json", "-o", "a.npz")
    assert (outcome.code, outcome.err) == (0, "")
    found = outcome.document
    assert found.keys() >= KEYS
    assert all(isinstance(found[k], (int, float)) for k in PER_ROW)
    x = np.load("row.npy")[0]
    # float32 model: three terms of order 1
    assert found["output"] == pytest.approx(np.tanh(x) @ W[:, 1], abs=1e-6)
    assert found["baseline_output"] == 0.0
    assert found["delta"] == pytest.approx(0.0, abs=1e-5)
    assert found["model"] == "mlp.onnx"
    assert found["inputs"] == ["row.npy"]
    assert found["files"] == ["a.npz"]
    assert found["provider"] == "CPUExecutionProvider"
    assert len(found["provenance"]["sha256"]) == 64


def test_json_of_a_batch_gives_lists(run: Run, folder: Path) -> None:
    found = run("explain", "mlp.onnx", "-i", "rows.npy", "--json").document
    assert {len(found[k]) for k in PER_ROW} == {4}
    scores = np.tanh(np.load("rows.npy")) @ W
    assert found["target"] == scores.argmax(axis=1).tolist()
    np.testing.assert_allclose(found["output"], scores.max(axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "targets", "examples"),
    [
        ("0", [0] * 4, [0, 1, 2, 3]),
        ("-1", [3] * 4, [0, 1, 2, 3]),
        ("[2]", [[2]] * 4, [0, 1, 2, 3]),
        ("dog", [3] * 4, [0, 1, 2, 3]),
        ("CAT", [2] * 4, [0, 1, 2, 3]),
        ("top2", None, [0, 0, 1, 1, 2, 2, 3, 3]),
        ("TOP-1", None, [0, 1, 2, 3]),
    ],
)
def test_targets(
    run: Run, folder: Path, spec: str, targets: list[int] | None, examples: list[int]
) -> None:
    found = run(
        "explain",
        "mlp.onnx",
        "-i",
        "rows.npy",
        "--labels",
        "labels.txt",
        "--target",
        spec,
        "--json",
        "-o",
        "a.npz",
    ).document
    order = np.argsort(-(np.tanh(np.load("rows.npy")) @ W), axis=1)
    assert found["example"] == examples
    assert found["target"] == (targets or order[:, : len(examples) // 4].ravel().tolist())
    rows = [t[0] if isinstance(t, list) else t for t in found["target"]]
    expected = [attribution(np.load("rows.npy")[e], t) for e, t in zip(examples, rows, strict=True)]
    np.testing.assert_allclose(np.load("a.npz")["x"], expected, **CLOSE)


def test_a_target_with_one_index_per_axis(run: Run, folder: Path) -> None:
    found = run("explain", "grid.onnx", "-i", "cells.npy", "--target", "[1, 2]", "--json").document
    assert found["target"] == [1, 2]
    assert found["output"] == pytest.approx(np.tanh(np.load("cells.npy")[0, 1, 2]), abs=1e-6)


FIRST, SECOND, CAT = np.zeros((3, 2, 3))
FIRST[0], SECOND[1], CAT[:, 2] = 1, 1, 1


@pytest.mark.parametrize(
    ("spec", "target", "labels", "seed"),
    [
        ("[:, 2]", [[0, 2], [1, 2]], ["[0, cat]", "[1, cat]"], [CAT * FIRST, CAT * SECOND]),
        ("sum[:, cat]", "sum[:, 2]", "sum[:, cat]", [CAT]),
        ("sum[0:1,:]", "sum[0:1, :]", "sum[0:1, :]", [FIRST]),
        ("mask:roi.npy", "mask:roi.npy", "mask:roi.npy", [[[0, 0.5, 0], [-2, 0, 0]]]),
    ],
)
def test_positions_sums_and_masks(
    run: Run, folder: Path, spec: str, target: Any, labels: Any, seed: Any
) -> None:
    np.save("roi.npy", np.array([[0, 0.5, 0], [-2, 0, 0]]))
    Path("three.txt").write_text("ant\nbee\ncat\n")
    outcome = run(
        *("explain", "grid.onnx", "-i", "cells.npy", "--labels", "three.txt", "--target", spec),
        *("--json", "-o", "a.npz"),
    )
    assert outcome.document["target"] == target
    assert outcome.document["label"] == labels
    # the model is tanh, element by element: what each adds is its weight times its own change
    expected = np.array(seed) * np.tanh(np.load("cells.npy"))
    np.testing.assert_allclose(np.load("a.npz")["x"].reshape(expected.shape), expected, **CLOSE)
    np.testing.assert_allclose(outcome.document["output"], expected.sum(axis=(1, 2)), rtol=1e-5)
    kept = Attribution.load("a.npz")
    assert [kept.label(r) for r in range(len(kept))] == ([labels] if len(kept) == 1 else labels)


def test_verify_checks_a_sum(run: Run, folder: Path) -> None:
    found = run("verify", "grid.onnx", "-i", "cells.npy", "--target", "sum[:, 2]", "--json")
    assert found.document["target"] == ["sum[:, 2]"]
    judged = {c["name"]: c["holds"] for c in found.document["checks"]}
    assert judged["completeness"] is judged["linearity"] is True
    assert found.code == 0


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_takes_exactly_its_steps(run: Run, folder: Path, rule: str) -> None:
    found = run(
        "explain",
        "mlp.onnx",
        "-i",
        "row.npy",
        "--target",
        "0",
        "--steps",
        "33",
        "--rule",
        rule,
        "--json",
        "-o",
        "a.npz",
    ).document
    assert found["evaluations"] == 33
    assert found["rule"] == rule
    assert found["tolerance"] is None
    # the one-sided rules are first order: |f(1) - f(0)| / 66 with slopes between 0 and 1
    close = {"atol": 0.5 / 33} if rule in ("left", "right") else {"rtol": 1e-3, "atol": 1e-6}
    expected = attribution(np.load("row.npy"), 0)
    np.testing.assert_allclose(np.load("a.npz")["x"], expected, **close)


@pytest.mark.parametrize("method", [n for n, m in METHODS.items() if hasattr(m, "scheme")][1:])
def test_every_other_method_is_one_evaluation(run: Run, folder: Path, method: str) -> None:
    command = ("explain", "mlp.onnx", "-i", "row.npy", "--target", "1", "--method", method)
    outcome = run(*command, "--json")
    assert outcome.code == 0
    found = outcome.document
    assert (found["method"], found["rule"], found["evaluations"]) == (method, "none", 1)
    assert found["error"] == 0.0
    assert "no path" in run(*command).out
    refused = run(*command, "--steps", "50")
    assert refused.code == 2
    assert f"{method} is one evaluation at the input" in refused.err


def test_a_gap_of_another_method_is_its_own(run: Run, folder: Path) -> None:
    command = ("explain", "mlp.onnx", "-i", "row.npy", "--target", "1", "--strict", "--method")
    outcome = run(*command, "gradients")
    assert outcome.code == 3
    assert outcome.err.endswith(
        "gradients need not add up to the change of the score; see the docs\n"
    )
    assert run(*command, "deeplift").code == 0


def test_steps_alone_mean_gauss_legendre(run: Run, folder: Path) -> None:
    found = run("explain", "mlp.onnx", "-i", "row.npy", "--steps", "7", "--json").document
    assert (found["rule"], found["evaluations"]) == ("gauss_legendre", 7)


def test_files_for_one_input_are_one_batch(run: Run, folder: Path) -> None:
    outcome = run(
        "explain",
        "mlp.onnx",
        "-i",
        "rows.npy",
        "-i",
        "row.npy",
        "-i",
        "row.json",
        "--json",
        "-o",
        "a.npz",
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.document["inputs"] == ["rows.npy", "row.npy", "row.json"]
    assert outcome.document["example"] == list(range(6))
    assert igrt.Attribution.load("a.npz").display.sources == (
        "rows.npy[0]",
        "rows.npy[1]",
        "rows.npy[2]",
        "rows.npy[3]",
        "row.npy",
        "row.json",
    )


def test_files_for_several_inputs(run: Run, folder: Path) -> None:
    found = run(
        "explain",
        "two.onnx",
        "-i",
        "right=pairs.npy",
        "-i",
        "left=pair.npy",
        "-i",
        "left=pair.npy",
        "--target",
        "0",
        "--json",
        "-o",
        "a.npz",
    ).document
    left, right = np.load("pair.npy")[0, 0], np.load("pairs.npy")[:, 0]
    np.testing.assert_allclose(found["output"], left * right + left, rtol=1e-6)
    with np.load("a.npz") as made:
        # of the product of two, each gets half
        np.testing.assert_allclose(made["left"][:, 0], left * right / 2 + left, **CLOSE)
        np.testing.assert_allclose(made["right"][:, 0], left * right / 2, **CLOSE)


def test_a_file_name_with_an_equals_sign(run: Run, folder: Path) -> None:
    Path("row.npy").rename("a=b.npy")
    assert run("explain", "mlp.onnx", "-i", "a=b.npy").code == 0
    assert run("explain", "mlp.onnx", "-i", "x=a=b.npy").code == 0


def test_baselines_are_averaged(run: Run, folder: Path) -> None:
    np.save("base.npy", np.full((1, 3), 0.5, np.float32))
    found = run(
        "explain",
        "mlp.onnx",
        "-i",
        "rows.npy",
        "--target",
        "0",
        "-b",
        "zeros",
        "-b",
        "constant:-1",
        "-b",
        "base.npy",
        "--json",
        "-o",
        "a.npz",
    ).document
    x = np.load("rows.npy")
    expected = np.mean([attribution(x, 0, b) for b in (0.0, -1.0, 0.5)], axis=0)
    np.testing.assert_allclose(np.load("a.npz")["x"], expected, **CLOSE)
    assert found["provenance"]["baselines"] == ["zeros", "constant:-1", "array"]
    assert found["baseline_output"][0] == pytest.approx(
        np.mean([np.tanh(b) for b in (0.0, -1.0, 0.5)]) * W[:, 0].sum(), abs=1e-6
    )


def test_a_baseline_for_a_named_input(run: Run, folder: Path) -> None:
    outcome = run(
        "explain",
        "two.onnx",
        "-i",
        "left=pair.npy",
        "-i",
        "right=pair.npy",
        "-b",
        "left=pair.npy",
        "--json",
        "-o",
        "a.npz",
    )
    assert (outcome.code, outcome.err) == (0, "")
    with np.load("a.npz") as made:
        assert not made["left"].any()
        assert made["right"].any()


def test_every_kind_of_file_is_written(run: Run, folder: Path) -> None:
    wanted = ["a.npz", "a.json", "a.html", "a.png"]
    options = [word for name in wanted for word in ("-o", name)]
    outcome = run("explain", "picture.onnx", "-i", "picture.png", "--preprocess", "unit", *options)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.endswith("\n\n" + "".join(f"wrote {name}\n" for name in wanted))
    result = igrt.Attribution.load("a.npz")
    assert result.values["image"].shape == (1, 3, 8, 8)
    with np.load("a.npz", allow_pickle=False) as archive:
        assert np.array_equal(archive["image"], result.values["image"])
    saved = json.loads(Path("a.json").read_text(encoding="utf-8"))
    np.testing.assert_allclose(saved["values"]["image"], result.values["image"], rtol=1e-12)
    assert Path("a.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    with Image.open("a.png") as picture:
        picture.verify()
        assert picture.width > 8


def test_outputs_may_lie_in_other_folders_and_in_capitals(run: Run, folder: Path) -> None:
    Path("sub").mkdir()
    outcome = run("explain", "mlp.onnx", "-i", "row.npy", "-o", "sub/A.NPZ", "-o", "sub/b.json")
    assert outcome.code == 0
    assert sorted(p.name for p in Path("sub").iterdir()) == ["A.NPZ", "b.json"]


def test_a_failing_writer_leaves_no_file(
    run: Run, folder: Path, names: Callable[[Path], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("igrt.render.png.write", full)
    before = names(folder)
    outcome = run("explain", "mlp.onnx", "-i", "row.npy", "-o", "a.png")
    assert outcome.code == 2
    assert "a.png" in outcome.err and "No space left on device" in outcome.err
    assert names(folder) == before


def test_strict_is_a_check_that_may_not_hold(run: Run, folder: Path) -> None:
    command = ("explain", "root.onnx", "-i", "positive.npy", "--steps", "3", "--json")
    relaxed, strict = run(*command), run(*command, "--strict")
    assert (relaxed.code, strict.code) == (0, 3)
    assert relaxed.err.startswith("note: 1 of 1 rows are over the limit 0.01: ")
    assert strict.err.startswith("error: 1 of 1 rows are over the limit 0.01: ")
    assert strict.err.endswith("hint: take more steps\n")
    assert strict.document["error"] == relaxed.document["error"] > 0.01
    assert run("explain", "mlp.onnx", "-i", "row.npy", "--strict").code == 0


def test_an_adaptive_result_over_its_tolerance_says_so(run: Run, folder: Path) -> None:
    outcome = run(
        "explain", "root.onnx", "-i", "positive.npy", "--tolerance", "1e-9", "--json", "--strict"
    )
    assert outcome.code == 3
    assert "limit 1e-09" in outcome.err
    assert outcome.err.endswith("hint: allow a larger tolerance\n")
    assert outcome.document["converged"] is False


def test_a_tighter_tolerance_takes_more_evaluations(run: Run, folder: Path) -> None:
    command = ("explain", "root.onnx", "-i", "positive.npy", "--json", "--tolerance")
    loose, tight = (run(*command, t).document for t in ("1e-1", "5e-3"))
    assert loose["evaluations"] < tight["evaluations"]
    assert tight["error"] <= 5e-3


def test_an_inner_tensor(run: Run, folder: Path) -> None:
    run("explain", "mlp.onnx", "-i", "row.npy", "--wrt", "h", "--target", "0", "-o", "a.npz")
    with np.load("a.npz") as made:
        assert [n for n in made.files if not n.startswith("igrt/")] == ["h"]
        # linear behind h, so exact but for float32
        np.testing.assert_allclose(made["h"], np.tanh(np.load("row.npy")) * W[:, 0], rtol=1e-5)


def test_an_embedding_by_name(run: Run, folder: Path) -> None:
    found = run(
        "explain",
        "tokens.onnx",
        "-i",
        "ids.npy",
        "--wrt",
        "embedded",
        "--target",
        "[0, 1]",
        "--json",
        "-o",
        "a.npz",
    ).document
    assert found["output"] == pytest.approx(np.tanh(4.0), abs=1e-6)
    assert np.load("a.npz")["embedded"].shape == (1, 3, 2)


def test_another_output(run: Run, folder: Path) -> None:
    found = run(
        "explain",
        "two.onnx",
        "-i",
        "left=pair.npy",
        "-i",
        "right=pair.npy",
        "--of",
        "product",
        "--target",
        "0",
        "--json",
    ).document
    assert found["output"] == pytest.approx(np.load("pair.npy")[0, 0] ** 2, rel=1e-6)
    assert found["provenance"]["of"] == "product"


@pytest.mark.parametrize("size", ["1", "4", "1000"])
def test_the_batch_size_changes_no_number(run: Run, folder: Path, size: str) -> None:
    command = ("explain", "mlp.onnx", "-i", "rows.npy", "--target", "0")
    run(*command, "-o", "a.npz")
    run(*command, "-o", "b.npz", "--batch-size", size, "--threads", "1")
    with np.load("a.npz") as a, np.load("b.npz") as b:
        # float32 gradients in another order of rows, float64 sums
        np.testing.assert_allclose(a["x"], b["x"], rtol=1e-6)


def test_a_table_shows_its_header(run: Run, folder: Path) -> None:
    outcome = run("explain", "mlp.onnx", "-i", "rows.csv", "--target", "0")
    assert outcome.code == 0
    assert {"a", "b", "c"} <= {line.split()[0] for line in outcome.out.splitlines() if line.strip()}


def test_progress_goes_to_stderr(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        """A clock that goes on by 20 seconds whenever someone looks at it."""

        now = 0.0

        def monotonic(self) -> float:
            self.now += 20.0
            return self.now

    monkeypatch.setattr("igrt.cli.report.time", Slow())
    command = ("explain", "mlp.onnx", "-i", "rows.npy", "--batch-size", "20")
    shown = run(*command)
    assert shown.code == 0
    assert "gradient evaluations" in shown.err and "gradient evaluations" not in shown.out
    assert run(*command, "--quiet").err == ""
    assert run(*command, "--json").err == ""


@pytest.mark.parametrize("suffix", ["npy", "csv"])
def test_expected_gradients_over_a_file_of_baselines(run: Run, folder: Path, suffix: str) -> None:
    background = np.array([[0.0, 0, 0], [1, 0.5, -1], [0.2, -0.4, 2]], np.float32)
    if suffix == "npy":
        np.save("background.npy", background)
    else:
        np.savetxt("background.csv", background, delimiter=",", header="a,b,c", comments="")
    arguments = ["-i", "row.npy", "--target", "1", "--method", "expected_gradients", "--json"]
    outcome = run("explain", "mlp.onnx", *arguments, "--baseline", f"background.{suffix}")
    assert (outcome.code, outcome.err) == (0, "")
    found = outcome.document
    assert found["method"] == "expected_gradients"
    assert found["error"] <= 0.01
    assert found["baseline_output"] == pytest.approx(
        (np.tanh(background) @ W[:, 1]).mean(), abs=1e-6
    )
    few = run("explain", "mlp.onnx", *arguments, "-b", f"background.{suffix}", "--steps", "6")
    assert few.document["evaluations"] == 6


def test_too_few_draws_are_said_and_are_strict(run: Run, folder: Path) -> None:
    np.save("background.npy", np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32))
    arguments = ["--method", "expected_gradients", "-b", "background.npy", "--tolerance", "0.0001"]
    outcome = run("explain", "mlp.onnx", "-i", "row.npy", *arguments, "--strict")
    assert outcome.code == 3
    assert "estimated error" in outcome.err
    assert "not converged" in outcome.out


def test_conductance_of_an_inner_tensor(run: Run, folder: Path) -> None:
    outcome = run(
        *("explain", "mlp.onnx", "-i", "row.npy", "--target", "1", "--wrt", "h"),
        *("--method", "conductance", "-o", "a.npz", "--strict"),
    )
    assert outcome.code == 0
    # the scores are linear in h
    want = np.tanh(np.load("row.npy")[0]) * W[:, 1]
    np.testing.assert_allclose(np.load("a.npz")["h"].reshape(-1), want, **CLOSE)


def test_interactions_need_a_smooth_model_or_softplus(run: Run, tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "models" / "trec_cnn"
    out = tmp_path / "pairs.json"
    given = ("explain", str(folder / "trec_cnn.onnx"), "--method", "integrated_hessians", "-q")
    given += ("--input", str(folder / "inputs" / "input_ids.npy"))
    refused = run(*given)
    assert refused.code == 1
    assert "`/Relu` (Relu)" in refused.err and "--softplus 10" in refused.err
    found = run(*given, "--softplus", "20", "-o", str(out), "--json")
    assert found.code == 0
    assert found.document["provenance"]["softplus"]["nodes"] == 6
    assert len(json.loads(out.read_text())["interactions"]) == 1
