"""Tables on the command line: groups, backgrounds, and a column for each input."""

import numpy as np
import onnx
import pytest

PIPELINE = """<ir_version: 8, opset_import: ["" : 17]>
    pipeline (float[N,1] age, double[N,1] net_income, int64[N,1] rooms) => (float[N,1] score)
    {
        a = Tanh(age) i = Cast<to = 1>(net_income) r = Cast<to = 1>(rooms)
        p = Mul(a, i) score = Add(p, r)
    }"""


@pytest.fixture
def background(folder):
    rows = np.random.default_rng(1).normal(size=(9, 3)).astype(np.float32)
    (folder / "background.csv").write_text(
        "c,a,b\n" + "\n".join(",".join(map(str, row)) for row in rows[:, [2, 0, 1]])
    )
    np.save(folder / "mean.npy", rows.astype(np.float64).mean(axis=0)[np.newaxis])
    for at, row in enumerate(rows):
        np.save(folder / f"row{at}.npy", row[np.newaxis])
    return rows


def values(outcome):
    return [f["attribution"] for f in outcome.document["features"]["x"]]


def explain(run, *options):
    outcome = run("explain", "mlp.onnx", "--input", "rows.csv", "--target", "1", "--json", *options)
    assert outcome.code == 0, outcome.err
    return outcome


def test_the_mean_of_a_background_is_a_baseline(run, background):
    with_file = explain(run, "--baseline", "mean:background.csv")
    with_array = explain(run, "--baseline", "mean.npy")
    assert values(with_file) == values(with_array)


def test_a_sample_is_averaged_like_its_rows(run, background):
    drawn = explain(run, "--baseline", "sample:3:background.csv", "--seed", "4")
    chosen = sorted(np.random.default_rng(4).choice(9, 3, replace=False))
    listed = [option for at in chosen for option in ("--baseline", f"row{at}.npy")]
    assert values(drawn) == values(explain(run, *listed))


def test_expected_gradients_draw_from_a_background_with_columns_in_another_order(run, background):
    drawn = explain(
        run, "--method", "expected_gradients", "--baseline", "background.csv", "--steps", "36"
    )
    scores = np.tanh(background) @ np.array([-2, 1, 0.5])
    assert drawn.document["baseline_output"][0] == pytest.approx(scores.mean(), rel=1e-5)  # float32


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mean:gone.csv", "`gone.csv` does not exist"),
        ("sample:10:background.csv", "cannot draw 10 examples"),
        ("sample:many:background.csv", "cannot tell what the baseline"),
        ("mean:other.csv", "lacks the column `c`"),
    ],
)
def test_bad_backgrounds(run, folder, background, spec, message):
    (folder / "other.csv").write_text("a,b,d\n1,2,3\n")
    outcome = run("explain", "mlp.onnx", "--input", "rows.csv", "--baseline", spec)
    assert outcome.code == 2
    assert message in outcome.err
    assert "hint:" in outcome.err


@pytest.mark.parametrize("spec", ["mean:rows.npz", "sample:2:rows.npz", "x=mean:rows.npz"])
def test_a_background_is_not_written_over(run, folder, background, spec):
    np.savez(folder / "rows.npz", background)
    before = (folder / "rows.npz").read_bytes()
    outcome = run(
        *("explain", "mlp.onnx", "--input", "rows.csv"), *("--baseline", spec, "-o", "rows.npz")
    )
    assert outcome.code == 2 and "it is read as well" in outcome.err
    assert (folder / "rows.npz").read_bytes() == before


def test_groups_are_summed_in_json_and_in_the_table_and_said(run, folder):
    (folder / "hot.csv").write_text("age,colour_red,colour_blue\n0.5,0,1\n")
    arguments = ("explain", "mlp.onnx", "--input", "hot.csv", "--target", "1")
    apart = run(*arguments, "--json").document["features"]["x"]
    outcome = run(*arguments, "--json", "--groups", "auto")
    age, colour = outcome.document["features"]["x"]
    assert outcome.err == "note: shown as one feature each: colour (2 columns)\n"
    assert age == apart[0]
    assert colour["feature"] == "colour"
    assert colour["attribution"] == apart[1]["attribution"] + apart[2]["attribution"]
    assert "colour = blue" in run(*arguments, "--groups", "auto").out


def test_a_table_feeds_a_model_with_an_input_for_each_column(run, folder):
    model = onnx.parser.parse_model(PIPELINE)
    (folder / "pipeline.onnx").write_bytes(model.SerializeToString())
    (folder / "people.csv").write_text("id,net income,rooms,age\n7,2.5,3,0.5\n8,1.5,4,-0.25\n")
    (folder / "others.csv").write_text("rooms,age,net income\n1,1,1\n3,0,2\n")
    outcome = run(
        *("explain", "pipeline.onnx", "--input", "people.csv", "--json"),
        *("--baseline", "mean:others.csv"),
    )
    assert outcome.code == 0, outcome.err
    age, income = np.array([0.5, -0.25]), np.array([2.5, 1.5])
    np.testing.assert_allclose(outcome.document["output"], np.tanh(age) * income + [3, 4], 1e-5)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("t.csv", "age,rooms\n1,2\n", "no column for the input `net_income`"),
        ("t.csv", "age,age,net_income,rooms\n1,2,3,4\n", "two columns for the input `age`"),
        ("t.csv", "age,net_income,rooms\n1,2,3.5\n", "whole numbers"),
        ("t.csv", "age,net_income,rooms\n1,?,3\n", "`?` is not a number"),
        ("t.csv", "age,net_income,rooms\n1,2\n", "line 2: 2 columns"),
        ("t.csv", "age,net_income,rooms\n", "no rows"),
        ("t.json", "[[1]]", "which one is t.json?"),
    ],
)
def test_tables_that_do_not_fit_the_inputs(run, folder, file, text, message):
    model = onnx.parser.parse_model(PIPELINE)
    (folder / "pipeline.onnx").write_bytes(model.SerializeToString())
    (folder / file).write_text(text)
    outcome = run("explain", "pipeline.onnx", "--input", file)
    assert outcome.code == 2
    assert message in outcome.err


def test_an_archive_feeds_all_inputs_by_their_names(run, folder):
    pair = np.load(folder / "pair.npy")
    np.savez(folder / "both.npz", left=pair, right=2 * pair, other=pair)
    np.savez(folder / "one.npz", left=pair)
    together = run("explain", "two.onnx", "--input", "both.npz", "--json")
    np.save(folder / "twice.npy", 2 * pair)
    apart = run(
        *("explain", "two.onnx", "--input", "left=pair.npy"),
        *("--input", "right=twice.npy", "--json"),
    )
    assert together.document["output"] == apart.document["output"]
    lacking = run("explain", "two.onnx", "--input", "one.npz")
    assert lacking.code == 2
    assert "lacks `right`" in lacking.err
