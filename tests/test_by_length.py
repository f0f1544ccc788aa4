"""Texts of different lengths: neither padding nor the order of a batch changes anything."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from onnx import parser

import igrt
from igrt.errors import InputError, TargetError
from igrt.text import Vocabulary

MODELS = Path(__file__).parents[1] / "models"
LETTERS = {c: i for i, c in enumerate("<>abcdef")}
ROWS = np.linspace(-0.4, 0.9, 16).reshape(8, 2)
TABLE = ", ".join(f"{v:.9g}" for v in ROWS.reshape(-1))
# y = Σ_t tanh(table[i_t]): additive, so every token has a closed form
ADDITIVE = f"""<ir_version: 8, opset_import: ["": 17]>
g (int64[N,T] input_ids) => (float[N,2] y) <float[8,2] table = {{{TABLE}}}, int64[1] one = {{1}}>
{{ e = Gather(table, input_ids) t = Tanh(e) y = ReduceSum<keepdims = 0>(t, one) }}"""
PER_TOKEN = ADDITIVE.replace("float[N,2] y", "float[N,T,2] t").replace(
    " y = ReduceSum<keepdims = 0>(t, one)", ""
)
# positions for four tokens, as a transformer has them
LIMITED = ADDITIVE.replace(
    "int64[1] one = {1}",
    "int64[1] one = {1}, int64[1] zero = {0}, float[4,2] place = {0, 0, 0, 0, 0, 0, 0, 0}",
).replace(
    "t = Tanh(e)",
    "s = Shape<start = 1>(input_ids) p = Slice(place, zero, s) q = Add(e, p) t = Tanh(q)",
)
MARKED = Vocabulary("character", LETTERS, start=(0,), end=(1,))
# float32 sums of a few terms of order 1
CLOSE = {"atol": 1e-6}


def explain(model, texts, **options):
    text = texts if isinstance(texts, igrt.Text) else igrt.Text(texts, MARKED)
    return igrt.explain(parser.parse_model(model), text, provider="cpu", **options)


def test_special_tokens_stay_as_they_are():
    result = explain(ADDITIVE, ["abc", "fa"], target=0)
    assert result.values["e"].shape == (2, 5, 2)
    tanh = np.tanh(ROWS[:, 0])
    np.testing.assert_allclose(result.values["e"][0, :, 0], [0, *tanh[[2, 3, 4]], 0], **CLOSE)
    np.testing.assert_allclose(result.values["e"][1, :, 0], [0, *tanh[[7, 2]], 0, 0], **CLOSE)
    np.testing.assert_allclose(result.baseline_output, tanh[0] + tanh[1], **CLOSE)
    assert [t.kind for t in result.display.tokens["e"][1]] == [
        "special",
        "text",
        "text",
        "special",
        "padding",
    ]


def test_special_tokens_may_take_part():
    result = explain(ADDITIVE, igrt.Text("abc", MARKED, special=True), target=0)
    np.testing.assert_allclose(
        result.values["e"][0, :, 0], np.tanh(ROWS[[0, 2, 3, 4, 1], 0]), **CLOSE
    )


@pytest.mark.parametrize(
    "baseline", ["token:d", "token:5", {"input_ids": "token:d"}, {"e": "token:d"}]
)
def test_a_token_stands_at_the_words_alone(baseline):
    result = explain(ADDITIVE, ["abc", "fa"], target=0, baselines=baseline)
    tanh = np.tanh(ROWS[:, 0])
    expected = [0, *(tanh[[7, 2]] - tanh[5]), 0, 0]
    np.testing.assert_allclose(result.values["e"][1, :, 0], expected, **CLOSE)


def test_the_summary_has_a_table_of_tokens():
    result = explain(ADDITIVE, ["ab", "c"], target=0)
    first, second = result.summary()["tokens"]
    assert [t["text"] for t in first["e"]] == ["<", "a", "b", ">"]
    assert [t["kind"] for t in second["e"]] == ["special", "text", "special", "padding"]
    np.testing.assert_allclose(
        [t["attribution"] for t in first["e"]], result.values["e"][0].sum(axis=-1)
    )
    assert set(explain(ADDITIVE, "ab", target=0).summary()["tokens"]) == {"e"}


def test_several_targets_stay_with_their_text():
    texts = ["abc", "fa", "bcd", "e"]
    result = explain(ADDITIVE, texts, target="top2")
    assert result.example.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    for row, example in enumerate(result.example):
        alone = explain(ADDITIVE, texts[example], target=result.target[row])
        assert result.output[row] == pytest.approx(alone.output[0], abs=1e-6)  # float32
        length = alone.values["e"].shape[1]
        np.testing.assert_allclose(result.values["e"][row, :length], alone.values["e"][0], **CLOSE)
        assert not result.values["e"][row, length:].any()


def test_each_text_may_have_a_target_of_its_own():
    result = explain(ADDITIVE, ["abc", "fa", "bcd"], target=[0, 1, 1])
    assert result.target == (0, 1, 1)
    assert result.output[1] == pytest.approx(np.tanh(ROWS[[0, 7, 2, 1], 1]).sum(), abs=1e-6)


def test_targets_are_counted_over_the_texts_of_all_lengths():
    with pytest.raises(TargetError, match="2 targets for 4 examples"):
        explain(ADDITIVE, ["abc", "fab", "fa", "bc"], target=[0, 1])


def test_scores_of_positions_that_a_text_lacks_are_no_numbers():
    result = explain(PER_TOKEN, ["ab", "c"], target=(1, 0))
    assert result.scores.shape == (2, 4, 2)
    assert np.isfinite(result.scores[0]).all() and np.isnan(result.scores[1, 3]).all()


def test_what_differs_between_the_lengths_is_told_of_each():
    result = explain(ADDITIVE, ["ab", "c"], target=0)
    assert result.provenance["baselines"] == "zeros"
    assert len(result.provenance["sha256"]) == 64
    assert "notes" not in result.provenance


def test_an_array_fits_one_length_only():
    explain(ADDITIVE, ["ab", "cd"], target=0, baselines=np.zeros((4, 2)))
    with pytest.raises(InputError, match="fits texts of one length alone"):
        explain(ADDITIVE, ["ab", "c"], target=0, baselines=np.zeros((4, 2)))


def test_a_token_that_the_vocabulary_lacks_is_no_baseline():
    with pytest.raises(InputError, match=r"the tokenizer has no token '\[PAD\]'"):
        explain(ADDITIVE, "ab", baselines="token:[PAD]")


def test_a_text_longer_than_the_model_runs_with_says_how_long():
    assert len(explain(LIMITED, "ab", target=0)) == 1
    with pytest.raises(InputError, match="text 2 has 6 tokens, and the model runs with 4 at most"):
        explain(LIMITED, ["ab", "abcd"], target=0)
    cut = explain(LIMITED, igrt.Text(["ab", "abcd"], MARKED, most=4), target=0)
    assert cut.provenance["notes"] == [
        "text 2 has 6 tokens, of which `input_ids` takes 4: the others are left out"
    ]


def test_a_model_whose_rows_do_not_run_alone_takes_a_text_as_one_example():
    text = ADDITIVE.replace("int64[N,T] input_ids", "int64[1,T] input_ids, int64[1] at").replace(
        "float[N,2] y", "float[2] y"
    )
    text = text.replace("one = {1}", "one = {1}, int64[1] first = {0}").replace(
        " y = ReduceSum<keepdims = 0>(t, one)",
        " s = ReduceSum<keepdims = 0>(t, one) r = Gather(s, at) y = Squeeze(r, first)",
    )
    inputs = {"": igrt.Text("abc", MARKED), "at": np.array([0])}
    result = igrt.explain(parser.parse_model(text), inputs, target=0, provider="cpu")
    expected = [0, *np.tanh(ROWS[[2, 3, 4], 0]), 0]
    np.testing.assert_allclose(result.values["e"].reshape(5, 2)[:, 0], expected, **CLOSE)
    assert [t["text"] for t in result.tokens(0)["e"]] == ["<", "a", "b", "c", ">"]


def test_another_error_stays_what_it_is():
    with pytest.raises(InputError, match="unknown baseline"):
        explain(ADDITIVE, "ab", target=0, baselines="nothing:1")


def test_results_are_kept_with_their_tokens(tmp_path):
    result = explain(ADDITIVE, ["abc", "fa"], target=0)
    kept = igrt.Attribution.load(result.save(tmp_path / "result.npz"))
    assert kept.display.tokens == result.display.tokens


# -- shipped models, whose padding is masked -------------------------------------------------------

SENTENCES = [
    "i did not like this film .",
    "a good film",
    "it is never boring , and the actors are wonderful .",
    "boring",
    "what a film !",
]


def of_model(name, texts, **options):
    text = igrt.Text(texts, MODELS / name / "tokenizer.json")
    return igrt.explain(
        MODELS / name / f"{name}.onnx", text, provider="cpu", target=1, n_steps=16, **options
    )


@pytest.mark.parametrize("name", ["sst2_attention", "trec_cnn"])
def test_the_order_of_a_batch_changes_nothing(name):
    pytest.importorskip("tokenizers")
    order = [3, 0, 4, 2, 1]
    (straight,) = of_model(name, SENTENCES).values.values()
    (turned,) = of_model(name, [SENTENCES[i] for i in order]).values.values()
    # the same sums in float32 rows of another batch
    np.testing.assert_allclose(turned, straight[order], atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("baseline", [None, "token:7"])
def test_texts_equal_captum_on_a_padded_batch(baseline):
    pytest.importorskip("tokenizers")
    captum_attr, torch = pytest.importorskip("captum.attr"), pytest.importorskip("torch")
    name = "sst2_attention"
    ours = of_model(name, SENTENCES, baselines=baseline, rule="gauss_legendre")
    spec = importlib.util.spec_from_file_location("token_twins", MODELS / "token_twins.py")
    twins = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(twins)
    twin = twins.load_twin(name)
    tokenizer = igrt.Text(SENTENCES, MODELS / name / "tokenizer.json").reads
    rows = [tokenizer.encode(text, None, None).ids for text in SENTENCES]
    ids = torch.zeros((len(rows), max(map(len, rows))), dtype=torch.int64)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(row)
    mask = (ids != 0).long()
    theirs = captum_attr.LayerIntegratedGradients(twin, twin.embedding).attribute(
        ids,
        baselines=torch.zeros_like(ids) if baseline is None else 7 * mask,
        additional_forward_args=(mask,),
        target=1,
        n_steps=16,
        method="gausslegendre",
        internal_batch_size=len(rows),
    )
    (values,) = ours.values.values()
    for row, expected in enumerate(theirs.detach().numpy()):
        # the bound, in the L1 norm; both compute in float32
        assert np.abs(values[row] - expected).sum() <= 1e-4 * np.abs(expected).sum()


# y = (Σ_t table[i_t])², so that the interaction of two tokens is a product of their sums
SQUARED = ADDITIVE.replace(
    "t = Tanh(e) y = ReduceSum<keepdims = 0>(t, one)",
    "s = ReduceSum<keepdims = 0>(e, one) y = Mul(s, s)",
)


def test_interactions_of_a_shorter_text_end_with_it():
    texts = ["abc", "fa"]
    result = explain(SQUARED, texts, target=0, method="integrated_hessians")
    assert result.interactions["e"].shape == (2, 5, 5)
    for row, text in enumerate(texts):
        alone = explain(SQUARED, [text], target=0, method="integrated_hessians")
        gamma, size = alone.interactions["e"][0], len(text) + 2
        assert gamma.shape == (size, size) and gamma[1, 2] != 0
        np.testing.assert_allclose(result.interactions["e"][row, :size, :size], gamma, **CLOSE)
        assert not result.interactions["e"][row, size:].any()
        assert not result.interactions["e"][row, :, size:].any()
