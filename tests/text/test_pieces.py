"""A tokenizer.json as people read its tokens: kinds, glue, pairs, limits."""

import json
import sys

import numpy as np
import pytest

from igrt.errors import InputError
from igrt.text.pieces import Pieces

tokenizers = pytest.importorskip("tokenizers")
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

TEXTS = ["the cat sat on the mat, unbelievably happy", "naïve café 日本語", "the mats are big"] * 5
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "film", "##s", "##er", "!"]
MARKS = [(w, WORDS.index(w)) for w in ("[CLS]", "[SEP]")]


def word_pieces(words=WORDS, **model):
    """A small tokenizer of BERT's kind."""
    made = tokenizers.Tokenizer(
        models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]", **model)
    )
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=MARKS
    )
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return made


def byte_pieces():
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(TEXTS, trainer)
    return made


def unigrams():
    made = tokenizers.Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=60, unk_token="<unk>", special_tokens=special, show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    return made


def read(made):
    text = made.to_str()
    return Pieces(text, json.loads(text), "`tokenizer.json`")


def written(encoded):
    """The text as the tokens have it: a blank where a token is not glued to the one before."""
    words = [("" if t.glued else " ") + t.text for t in encoded.tokens if t.kind != "special"]
    return "".join(words).strip()


def test_special_and_unknown_tokens_have_their_kinds():
    found = read(word_pieces()).encode("A good Film! [MASK] ☃", None, None)
    assert [(t.text, t.kind) for t in found.tokens] == [
        ("[CLS]", "special"),
        ("A", "text"),
        ("good", "text"),
        ("Film", "text"),
        ("!", "text"),
        ("[MASK]", "special"),
        ("☃", "unknown"),
        ("[SEP]", "special"),
    ]
    assert found.ids == (2, 5, 6, 7, 10, 4, 1, 3)
    assert found.cut == 0


def test_tokens_are_written_as_the_text_has_them():
    for text in ("A good Film!", "films, filmer", "a a"):
        found = read(word_pieces([*WORDS, ","])).encode(text, None, None)
        assert written(found) == text


@pytest.mark.parametrize("made", [byte_pieces, unigrams])
def test_blanks_and_parts_of_letters_can_be_tokens(made):
    text = "the mats — naïve 日本"
    found = read(made()).encode(text, None, None)
    assert len(found.ids) == len(found.tokens)
    plain = written(found).replace("�", "").replace(" ␣", " ").replace("␣", " ")
    assert plain == text
    assert all(t.text for t in found.tokens)


def test_pairs_are_two_segments():
    found = read(word_pieces()).encode("a film", "good", None)
    assert found.types == (0, 0, 0, 0, 1, 1)
    assert [t.segment for t in found.tokens] == [0, 0, 0, 0, 1, 1]
    assert not any(t.glued for t in found.tokens)


def test_a_text_is_cut_between_its_special_tokens():
    found = read(word_pieces()).encode("a good film !", None, 4)
    assert found.ids == (2, 5, 6, 3)
    assert found.cut == 2
    with pytest.raises(InputError, match="cannot cut a text to 1 tokens"):
        read(word_pieces()).encode("a good film !", None, 1)


def test_the_limit_of_the_file_holds_and_its_padding_does_not():
    made = word_pieces()
    made.enable_truncation(5, direction="left")
    made.enable_padding(length=12, direction="left", pad_id=0, pad_token="[PAD]")
    tokenizer = read(made)
    assert tokenizer.padding == 0 and tokenizer.pads_left
    assert tokenizer.encode("a good film !", None, None).ids == (2, 6, 7, 10, 3)
    assert tokenizer.encode("a good film !", None, 4).ids == (2, 7, 10, 3)
    assert tokenizer.encode("a", None, None).ids == (2, 5, 3)


@pytest.mark.parametrize(("made", "number"), [(word_pieces, 0), (unigrams, 1), (byte_pieces, None)])
def test_the_padding_token_is_known_by_its_name(made, number):
    assert read(made()).padding == number
    assert not read(made()).pads_left


def test_tokens_have_numbers():
    tokenizer = read(word_pieces())
    assert [tokenizer.number(t) for t in ("[MASK]", "film", "films")] == [4, 7, None]


def test_a_text_that_the_vocabulary_cannot_write_is_refused():
    made = tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="?"))
    with pytest.raises(InputError, match="cannot encode 'b'"):
        read(made).encode("b", None, None)


@pytest.mark.parametrize("text", ['{"model": {}}', '{"version": "1.0", "model": {"type": "X"}}'])
def test_other_files_are_refused(text):
    with pytest.raises(InputError, match=r"`x\.json` is no tokenizer that the package"):
        Pieces(text, json.loads(text), "`x.json`")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match="`tokenizers`, which is not installed") as caught:
        Pieces('{"model": {}}', {"model": {}}, "`x.json`")
    assert caught.value.hint == 'pip install "igrt[text]"'


def test_numbers_are_those_of_the_package():
    made = byte_pieces()
    for text in TEXTS:
        np.testing.assert_array_equal(
            read(made).encode(text, None, None).ids, made.encode(text).ids
        )
