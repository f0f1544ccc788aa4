"""Characters, bytes and words as token numbers."""

import pytest

from igrt.errors import InputError
from igrt.text.vocabulary import Vocabulary

LETTERS = {c: i for i, c in enumerate("abcdefgh ", start=2)}


def test_bytes_are_their_own_numbers():
    found = Vocabulary("byte").encode("aé\n", None, None)
    assert found.ids == tuple("aé\n".encode())
    assert [t.text for t in found.tokens] == ["a", "\\xc3", "\\xa9", "\\x0a"]
    assert [t.glued for t in found.tokens] == [False, True, True, True]


def test_bytes_may_be_shifted():
    assert Vocabulary("byte", offset=3, end=(1,)).encode("ab", None, None).ids == (100, 101, 1)


def test_characters():
    found = Vocabulary("character", LETTERS, unknown=0).encode("bad cab!", None, None)
    assert found.ids == (3, 2, 5, 10, 4, 2, 3, 0)
    assert [t.kind for t in found.tokens] == ["text"] * 7 + ["unknown"]
    assert "".join(t.text for t in found.tokens) == "bad cab!"
    assert all(t.glued for t in found.tokens[1:])


def test_words_stand_between_blanks():
    words = Vocabulary("word", {"a": 1, "film": 2}, unknown=9, lowercase=True)
    found = words.encode("A  film, a", None, None)
    assert found.ids == (1, 9, 1)
    assert [(t.text, t.kind, t.glued) for t in found.tokens] == [
        ("a", "text", False),
        ("film,", "unknown", False),
        ("a", "text", False),
    ]


def test_words_may_be_told_by_a_regular_expression():
    words = Vocabulary("word", {"film": 2, ",": 3}, split=r"\w+|[^\w\s]", unknown=0)
    found = words.encode("film, noir", None, None)
    assert found.ids == (2, 3, 0)
    assert [t.glued for t in found.tokens] == [False, True, False]


def test_marks_stand_around_texts_and_between_pairs():
    letters = Vocabulary("character", {"<": 0, ">": 1, **LETTERS}, start=(0,), end=(1,))
    found = letters.encode("ab", "cd", None)
    assert found.ids == (0, 2, 3, 1, 4, 5, 1)
    assert found.types == (0, 0, 0, 0, 1, 1, 1)
    assert [t.kind == "special" for t in found.tokens] == [
        True,
        False,
        False,
        True,
        *[False] * 2,
        True,
    ]
    assert found.tokens[0].text == "<"


@pytest.mark.parametrize(("most", "ids", "cut"), [(5, (0, 2, 3, 4, 1), 2), (7, None, 0)])
def test_a_text_is_cut_between_its_marks(most, ids, cut):
    letters = Vocabulary("character", {"<": 0, ">": 1, **LETTERS}, start=(0,), end=(1,))
    found = letters.encode("abcde", None, most)
    assert (found.ids == ids or ids is None) and found.cut == cut
    with pytest.raises(InputError, match="cannot be cut to 2 tokens"):
        letters.encode("abcde", None, 2)


def test_the_longer_text_of_a_pair_is_cut_first():
    letters = Vocabulary("character", LETTERS)
    assert letters.encode("abcdefgh", "ab", 5).ids == (2, 3, 4, 2, 3)


def test_what_the_vocabulary_lacks_is_refused_without_a_token_for_it():
    with pytest.raises(InputError, match="the vocabulary has no '!'"):
        Vocabulary("character", LETTERS).encode("a!", None, None)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"level": "letter"}, "must be byte, character, word, not 'letter'"),
        ({"level": "byte", "vocabulary": LETTERS}, "takes no `vocabulary`"),
        ({"level": "word"}, "has no `vocabulary`"),
        ({"level": "word", "vocabulary": {"a": -1}}, "begin at 0"),
        ({"level": "word", "vocabulary": {"a": 1}, "padding": -1}, "begin at 0"),
        ({"level": "word", "vocabulary": {"a": 1}, "offset": 3}, "`offset` is for bytes"),
        ({"level": "word", "vocabulary": {"a": 1}, "split": "("}, "no regular expression"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields, words):
    with pytest.raises(InputError, match=words):
        Vocabulary(**fields)
