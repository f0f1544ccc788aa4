"""`igrt explain --text`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

Run = Callable[..., Any]

MODELS = Path(__file__).parents[2] / "models"
TREC = MODELS / "trec_cnn"
# additive over the tokens; `embedded` is table[ids]
TABLE = np.arange(20).reshape(10, 2) / 20
NETS = {
    "pair": """<ir_version: 8, opset_import: ["" : 17]>
        pair (int64[N,T] ids, int64[N,T] token_type_ids, int64[N,T] attention_mask) =>
        (float[N,2] scores) <float[10,2] table, float[2,2] kinds = {0,0,1,1}, int64[1] one = {1},
        int64[1] last = {2}> {
            words = Gather(table, ids) kind = Gather(kinds, token_type_ids) sum = Add(words, kind)
            real = Cast<to = 1>(attention_mask) wide = Unsqueeze(real, last)
            kept = Mul(sum, wide) bent = Tanh(kept)
            scores = ReduceSum<keepdims = 0>(bent, one) }""",
    "two": """<ir_version: 8, opset_import: ["" : 17]>
        two (int64[N,S] source, int64[N,T] target, float[N,2] style) => (float[N,2] scores)
        <float[10,2] table, int64[1] one = {1}> {
            s = Gather(table, source) t = Gather(table, target) a = ReduceSum<keepdims = 0>(s, one)
            b = ReduceSum<keepdims = 0>(t, one) c = Mul(a, b) scores = Add(c, style) }""",
}


@pytest.fixture
def texts(folder: Path) -> Path:
    """Models of tokens, a vocabulary of letters, and files of texts."""
    for name, text in NETS.items():
        model = onnx.parser.parse_model(
            text.replace(
                "float[10,2] table",
                f"float[10,2] table = {{{', '.join(map(str, TABLE.reshape(-1)))}}}",
            )
        )
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    (folder / "letters.toml").write_text(
        'level = "character"\nvocabulary = ["<", ">", "_", "?", "a", "b", "c", "d", "e"]\n'
        'start = "<"\nend = ">"\npadding = "_"\nunknown = "?"\n'
    )
    (folder / "lines.txt").write_text("ab\ncde\n\n")
    (folder / "pairs.tsv").write_text("ab\tc\nd\te\n")
    (folder / "mixed.tsv").write_text("ab\tc\nd\n")
    (folder / "blank.txt").write_text("ab\n\nc\n")
    (folder / "latin.txt").write_bytes(b"caf\xe9\n")
    (folder / "vocab.json").write_text('{"a": 0, "b": 1}')
    np.save(folder / "style.npy", np.ones((1, 2), np.float32))
    return folder


def tanh_of(text: str, kind: int = 0) -> np.ndarray:
    """Closed form of the letters' attributions, from the zero vector, for class 0."""
    rows = TABLE[["<>_?abcde".index(c) for c in text]]
    made: np.ndarray = (np.tanh(rows + kind) - np.tanh(kind))[:, 0]
    return made


def test_a_shipped_model_explains_a_question(run: Run, folder: Path) -> None:
    pytest.importorskip("tokenizers")
    question = "How many people live in Berlin ?"
    outcome = run(
        *("explain", TREC / "trec_cnn.onnx", "--labels", TREC / "labels.txt", "--json"),
        *(
            "--text",
            question,
            "--tokenizer",
            TREC / "tokenizer.json",
            "-o",
            "a.html",
            "-o",
            "a.npz",
        ),
    )
    assert (outcome.code, outcome.err) == (0, "")
    found = outcome.document
    assert found["label"] == "number"
    assert found["texts"] == [question] and found["inputs"] == []
    (table,) = found["tokens"].values()
    assert " ".join(t["text"] for t in table) == question
    # what the trigger words of the paper are: no other two say more
    strongest = sorted(table, key=lambda t: -t["attribution"])[:2]
    assert {t["text"] for t in strongest} == {"How", "many"}
    total = sum(t["attribution"] for t in table)
    assert total == pytest.approx(found["output"] - found["baseline_output"], rel=1e-2)


def test_texts_and_files_of_texts(run: Run, texts: Path) -> None:
    arguments = ("explain", "tokens.onnx", "--tokenizer", "bytes")
    assert run(*arguments, "--text", "ab").code == 2  # bytes beyond the table
    arguments = ("explain", "pair.onnx", "--tokenizer", "letters.toml", "--target", "0", "--json")
    one = run(*arguments, "--texts", "lines.txt")
    assert (one.code, one.err) == (0, "")
    other = run(*arguments, "--text", "ab", "--text", "cde")
    assert one.document["tokens"] == other.document["tokens"]
    assert one.document["texts"] == other.document["texts"] == ["ab", "cde"]
    assert one.document["inputs"] == ["lines.txt"]
    values = [t["attribution"] for t in other.document["tokens"][1]["words"]]
    # of class 0 alone, the other column is 0; float32 sums of order 1
    np.testing.assert_allclose(values, [0, *tanh_of("cde"), 0], atol=1e-6)


def test_pairs(run: Run, texts: Path) -> None:
    arguments = ("explain", "pair.onnx", "--tokenizer", "letters.toml", "--target", "0", "--json")
    given = run(*arguments, "--text", "ab", "--text", "d", "--text-pair", "c", "--text-pair", "e")
    read = run(*arguments, "--texts", "pairs.tsv")
    assert given.code == 0
    assert given.document["tokens"] == read.document["tokens"]
    values = [t["attribution"] for t in given.document["tokens"][0]["words"]]
    np.testing.assert_allclose(values, [0, *tanh_of("ab"), 0, *tanh_of("c", 1), 0], atol=1e-6)


@pytest.mark.parametrize("baseline", ["token:?", "token:3"])
def test_a_token_as_baseline(run: Run, texts: Path, baseline: str) -> None:
    found = run(
        *("explain", "pair.onnx", "--tokenizer", "letters.toml", "--target", "0", "--json"),
        *("--text", "ab", "--baseline", baseline),
    ).document
    values = [t["attribution"] for t in found["tokens"]["words"]]
    np.testing.assert_allclose(values, [0, *(tanh_of("ab") - tanh_of("?")), 0], atol=1e-6)
    assert found["provenance"]["baselines"] == "token:3"


def test_special_tokens_take_part_where_asked(run: Run, texts: Path) -> None:
    found = run(
        *("explain", "pair.onnx", "--tokenizer", "letters.toml", "--target", "0", "--json"),
        *("--text", "ab", "--special"),
    ).document
    values = [t["attribution"] for t in found["tokens"]["words"]]
    np.testing.assert_allclose(values, tanh_of("<ab>"), atol=1e-6)


def test_several_inputs_of_text_and_one_of_numbers(run: Run, texts: Path) -> None:
    arguments = (
        *("explain", "two.onnx", "--target", "0", "--json", "--input", "style=style.npy"),
        *("--tokenizer", "letters.toml", "--text", "source=ab", "--text", "target=cde"),
    )
    outcome = run(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    assert set(outcome.document["tokens"]) == {"s", "t"}
    named = run(*arguments, "--tokenizer", "target=letters.toml")
    assert named.document["tokens"] == outcome.document["tokens"]


def test_notes_say_what_is_cut_and_unknown(run: Run, texts: Path) -> None:
    outcome = run(
        *("explain", "pair.onnx", "--tokenizer", "letters.toml", "--max-tokens", "5"),
        *("--text", "abXcd"),
    )
    assert outcome.code == 0
    assert "note: text 1 has 7 tokens, of which `ids` takes 5" in outcome.err
    assert "note: 1 of 3 tokens are not in the vocabulary: 'X'" in outcome.err


BAD = [
    ("--text ab", "texts need a tokenizer", "--tokenizer"),
    ("--tokenizer letters.toml", "there is no text", "--text"),
    ("--text-pair ab --tokenizer letters.toml", "there is no text", "--text"),
    ("", "there is nothing to explain", "--input or --text"),
    ("--text ab --text-pair c --text-pair d --tokenizer letters.toml", "do not make pairs", ""),
    ("--texts nowhere.txt --tokenizer letters.toml", "`nowhere.txt` does not exist", ""),
    ("--texts blank.txt --tokenizer letters.toml", "`blank.txt`, line 2 is blank", ""),
    ("--texts mixed.tsv --tokenizer letters.toml", "1 to 2 texts between tabs", ""),
    ("--texts latin.txt --tokenizer letters.toml", "`latin.txt` is not UTF-8", ""),
    ("--text ab\udce9 --tokenizer letters.toml", "text 1 is not UTF-8", ""),
    ("--text ab --tokenizer nowhere.json", "`nowhere.json` does not exist", ""),
    ("--text ab --tokenizer vocab.json", "is no tokenizer: it holds `a`, `b`", 'level = "word"'),
    ("--text ab --tokenizer bytes", "'a' of text 1 is token 97, and `ids` takes 0 to 9", ""),
    ("--text ab --tokenizer letters.toml -b token:zz", "has no token 'zz'", ""),
    ("--text ab --tokenizer letters.toml -b token:77", "token 77; there are 0 to 9", ""),
    ("--text ab --tokenizer letters.toml --max-tokens 2", "cannot be cut to 2 tokens", ""),
]


@pytest.mark.parametrize(("options", "words", "hint"), BAD)
def test_mistakes_end_with_an_error_and_a_hint(
    run: Run, texts: Path, options: str, words: str, hint: str
) -> None:
    before = set(texts.iterdir())
    outcome = run("explain", "pair.onnx", *options.split(), "-o", "a.json")
    assert (outcome.code, outcome.out) == (2, "")
    assert words in outcome.err and "hint: " in outcome.err and hint in outcome.err
    assert "Traceback" not in outcome.err
    assert set(texts.iterdir()) == before


def test_models_without_tokens_take_no_text(run: Run, texts: Path) -> None:
    outcome = run("explain", "mlp.onnx", "--text", "ab", "--tokenizer", "letters.toml")
    assert outcome.code == 2
    assert "the model takes no text" in outcome.err


def test_a_tokenizer_is_not_written_over(run: Run, texts: Path) -> None:
    (texts / "letters.json").write_text(json.dumps({"level": "byte"}))
    outcome = run(
        *("explain", "pair.onnx", "--text", "ab", "--tokenizer", "letters.json"),
        *("-o", "letters.json"),
    )
    assert outcome.code == 2 and "it is read as well" in outcome.err
