"""Files of tokenizers and vocabularies."""

import json

import pytest

from igrt.errors import InputError
from igrt.text import read_tokenizer
from igrt.text.vocabulary import Vocabulary

LETTERS = {"a": 0, "b": 1, "c": 2}


def test_bytes_need_no_file():
    assert read_tokenizer("bytes") == Vocabulary("byte")


@pytest.mark.parametrize(
    "vocabulary",
    [
        '["a", "b", "c"]',
        "{a = 0, b = 1, c = 2}",
        '"letters.txt"',
        '"letters.json"',
        '"all.json#in"',
    ],
)
def test_a_vocabulary_is_a_list_a_table_or_a_file(tmp_path, vocabulary):
    (tmp_path / "letters.txt").write_text("a\nb\nc\n")
    (tmp_path / "letters.json").write_text(json.dumps(LETTERS))
    (tmp_path / "all.json").write_text(json.dumps({"in": ["a", "b", "c"], "out": ["x"]}))
    file = tmp_path / "letters.toml"
    file.write_text(
        f'level = "character"\nvocabulary = {vocabulary}\nunknown = "c"\nend = [2, "a"]'
    )
    assert read_tokenizer(file) == Vocabulary("character", LETTERS, unknown=2, end=(2, 0))


def test_it_may_be_json_as_well(tmp_path):
    file = tmp_path / "bytes.json"
    file.write_text('{"level": "byte", "padding": 256, "offset": 1}')
    assert read_tokenizer(file) == Vocabulary("byte", padding=256, offset=1)


def test_empty_entries_of_a_list_are_numbers_that_no_text_has(tmp_path):
    file = tmp_path / "letters.toml"
    file.write_text('level = "character"\nvocabulary = ["", "", "a"]\nstart = 1')
    assert read_tokenizer(file) == Vocabulary("character", {"a": 2}, start=(1,))


BAD = {
    "empty.toml": ("", "is empty"),
    "broken.toml": ("level = ", "is not TOML"),
    "latin.toml": (b'level = "\xe9"', "is not UTF-8 text"),
    "silent.toml": ("lowercase = true", "does not say its `level`"),
    "odd.toml": ('level = "byte"\nofset = 1', "unknown key `ofset`"),
    "kind.toml": ('level = "byte"\noffset = "1"', "`offset` must be of the type int"),
    "unknown.toml": ('level = "word"\nvocabulary = ["a"]\nunknown = "b"', "`unknown` is 'b'"),
    "truth.toml": ('level = "word"\nvocabulary = ["a"]\npadding = true', "`padding` is True"),
    "twice.toml": ('level = "word"\nvocabulary = ["a", "b", "a"]', "'a' twice"),
    "mixed.toml": ('level = "word"\nvocabulary = ["a", 2]', "no list of tokens"),
    "missing.toml": ('level = "word"\nvocabulary = "none.txt"', "does not exist"),
    "entry.toml": ('level = "word"\nvocabulary = "list.json#x"', "has no `x`"),
    "several.toml": ('level = "word"\nvocabulary = "several.json"', "no list of tokens"),
    "list.json": ('["a", "b"]', "does not say of what"),
    "several.json": ('{"in": ["a"], "out": ["b"]}', "it holds `in`, `out`"),
    "cut.json": ('{"level": ', "is not JSON"),
    "vocab.txt": ("a\nb", "cannot tell what kind of tokenizer"),
}


@pytest.mark.parametrize("name", BAD)
def test_other_files_are_refused(tmp_path, name):
    for other, (text, _) in BAD.items():
        (tmp_path / other).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        read_tokenizer(tmp_path / name)
    assert BAD[name][1] in caught.value.message
