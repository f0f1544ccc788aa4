"""Which inputs of a model take what of a text."""

import numpy as np
import pytest

from igrt.errors import InputError
from igrt.roles import role_of
from igrt.specs import Lookup, TensorSpec
from igrt.text import Text, Vocabulary, fill

LETTERS = {c: i for i, c in enumerate("<>abcdef")}
MARKED = Vocabulary("character", LETTERS, start=(0,), end=(1,), padding=9)
PLAIN = Vocabulary("character", LETTERS, unknown=8)
IDS = TensorSpec("input_ids", "int64", ("N", "T"))
WORDS = Lookup("input_ids", "words", 10)


def beside(name, dtype="int64", shape=("N", "T")):
    return TensorSpec(name, dtype, shape)


def test_what_stands_beside_token_numbers_is_known_by_its_name():
    names = {
        "attention_mask": "mask",
        "attention_mask:0": "mask",
        "Input-Mask": "mask",
        "mask": "mask",
        "encoder.attn_mask": "mask",
        "token_type_ids": "types",
        "segment_ids": "types",
        "segments": "types",
        "decoder_position_ids": "positions",
        "position": "positions",
        "input_ids": "",
        "masked_positions_x": "",
        "key_padding_mask": "",
        "type": "",
    }
    assert {n: role_of(n) for n in names} == names


def test_numbers_mask_types_and_positions():
    specs = [
        IDS,
        beside("attention_mask", "float32"),
        beside("token_type_ids", "int32"),
        beside("position_ids"),
    ]
    filled = fill(Text("ab", MARKED, pairs="c"), specs, [WORDS])
    (part,) = filled.parts
    assert {n: a.dtype.name for n, a in part.feeds.items()} == {s.name: s.dtype for s in specs}
    assert part.feeds["input_ids"].tolist() == [[0, 2, 3, 1, 4, 1]]
    assert part.feeds["attention_mask"].tolist() == [[1] * 6]
    assert part.feeds["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1]]
    assert part.feeds["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5]]
    assert part.fixed["words"].tolist() == [[True, False, False, True, False, True]]
    assert [t.text for t in part.tokens["words"][0]] == ["<", "a", "b", ">", "c", ">"]
    assert filled.notes == () and filled.inputs == tuple(s.name for s in specs)


def test_special_tokens_may_take_part():
    (part,) = fill(Text("ab", MARKED, special=True), [IDS], [WORDS]).parts
    assert not part.fixed["words"].any()


def test_texts_of_one_length_stand_together():
    filled = fill(Text(["ab", "abc", "cd", "a"], PLAIN), [IDS], [WORDS])
    assert [(p.rows, p.feeds["input_ids"].tolist()) for p in filled.parts] == [
        ((0, 2), [[2, 3], [4, 5]]),
        ((1,), [[2, 3, 4]]),
        ((3,), [[2]]),
    ]


def test_a_model_of_fixed_length_gets_padding_and_a_mask():
    specs = [beside("input_ids", shape=("N", 5)), beside("attention_mask", "bool", ("N", 5))]
    filled = fill(Text(["ab", "abcdef"], MARKED), specs, [WORDS])
    (part,) = filled.parts
    assert part.feeds["input_ids"].tolist() == [[0, 2, 3, 1, 9], [0, 2, 3, 4, 1]]
    assert part.feeds["attention_mask"].tolist() == [[True] * 4 + [False], [True] * 5]
    assert part.fixed["words"].tolist() == [
        [True, False, False, True, True],
        [True, *[False] * 3, True],
    ]
    assert part.tokens["words"][0][-1].kind == "padding"
    assert filled.notes == (
        "text 2 has 8 tokens, of which `input_ids` takes 5: the others are left out",
    )


def test_padding_may_stand_in_front():
    class Left:
        padding, pads_left, size, number, encode = 9, True, None, PLAIN.number, PLAIN.encode

    specs = [beside("input_ids", shape=("N", 4)), beside("mask"), beside("position_ids")]
    (part,) = fill(Text("ab", Left()), specs, [WORDS]).parts
    assert part.feeds["input_ids"].tolist() == [[9, 9, 2, 3]]
    assert part.feeds["mask"].tolist() == [[0, 0, 1, 1]]
    assert part.feeds["position_ids"].tolist() == [[0, 0, 0, 1]]
    assert part.fixed["words"].tolist() == [[True, True, False, False]]


def test_texts_run_alone_where_there_is_no_batch_axis():
    filled = fill(Text(["ab", "cd"], PLAIN), [beside("input_ids", shape=("T",))], [WORDS])
    assert [p.feeds["input_ids"].tolist() for p in filled.parts] == [[2, 3], [4, 5]]


def test_several_inputs_have_a_text_each():
    lookups = [Lookup("source_ids", "a"), Lookup("target_ids", "b")]
    specs = [beside("source_ids"), beside("target_ids"), beside("target_attention_mask")]
    texts = {"source_ids": Text(["ab", "cd"], PLAIN), "target_ids": Text(["a", "abc"], MARKED)}
    filled = fill(texts, specs, lookups)
    assert [p.rows for p in filled.parts] == [(0,), (1,)]
    assert filled.parts[1].feeds["target_ids"].tolist() == [[0, 2, 3, 4, 1]]
    assert filled.parts[1].feeds["target_attention_mask"].tolist() == [[1] * 5]
    assert set(filled.parts[0].tokens) == {"a", "b"}


def test_arrays_stand_beside_texts():
    specs = [IDS, beside("speaker", shape=("N",)), beside("scale", "float32", (2,))]
    given = {"": Text(["ab", "abc"], PLAIN), "speaker": np.array([7, 8]), "scale": np.ones(2)}
    filled = fill(given, specs, [WORDS])
    assert [p.feeds["speaker"].tolist() for p in filled.parts] == [[7], [8]]
    assert [p.feeds["scale"].tolist() for p in filled.parts] == [[1, 1], [1, 1]]


def test_notes_name_unknown_tokens():
    filled = fill(Text(["axbx", "ya"], PLAIN), [IDS], [WORDS])
    assert filled.notes == ("3 of 6 tokens are not in the vocabulary: 'x', 'y'",)


SIZED = beside("input_ids", shape=("N", 3))
UNFILLED = [
    (Text("ab", PLAIN), [IDS], [], "the model takes no text"),
    (Text("ab", PLAIN), [IDS], [Lookup("token_type_ids", "w")], "the model takes no text"),
    (Text("ab", PLAIN), [IDS], [WORDS, Lookup("other", "o")], "2 inputs of the model take"),
    ({"ids": Text("ab", PLAIN)}, [IDS], [WORDS], "has no input `ids`"),
    ({"": Text("ab", PLAIN), "x": np.ones(1)}, [IDS], [WORDS], "has no input `x`"),
    (Text("ab", PLAIN), [IDS, beside("speaker")], [WORDS], "speaker: int64[N, T] is not made of"),
    (Text("ab", PLAIN), [IDS, beside("mask", shape=("N", 1, "T"))], [WORDS], "is not made of"),
    (Text("ab", PLAIN), [IDS, beside("padding_mask")], [WORDS], "padding_mask: int64[N, T] is not"),
    (
        Text("ab", PLAIN),
        [IDS],
        [Lookup("input_ids", "w", 7)],
        "has 8 tokens, and `input_ids` looks",
    ),
    (Text("ab", "bytes"), [IDS], [Lookup("input_ids", "w", 98)], "'b' of text 1 is token 98"),
    (Text("ab", PLAIN), [SIZED], [WORDS], "takes 3 tokens and text 1 has 2, but the tokenizer has"),
    (Text("ab", PLAIN), [beside("input_ids", "string")], [WORDS], "takes no token numbers"),
    (Text("ab", PLAIN), [beside("input_ids", shape=("N", 1, "T"))], [WORDS], "takes no token num"),
    (
        {"a": Text("ab", PLAIN), "b": Text(["a", "b"], PLAIN)},
        [beside("a"), beside("b")],
        [],
        "different numbers of texts",
    ),
]


@pytest.mark.parametrize(("inputs", "specs", "lookups", "words"), UNFILLED)
def test_what_cannot_be_filled_is_refused(inputs, specs, lookups, words):
    with pytest.raises(InputError) as caught:
        fill(inputs, specs, lookups)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("texts", "pairs", "words"),
    [
        ([], None, "there is no text"),
        ("", None, "text 1 is empty"),
        (["a", " \n"], None, "text 2 is empty"),
        (["a"], ["b", "c"], "1 texts and 2 second ones"),
        ("a", "", "text 1 is empty"),
        ([b"a"], None, "is no text but bytes"),
        ("a\udce9b", None, "text 1 is not UTF-8: it breaks off at letter 2"),
    ],
)
def test_what_is_no_text_is_refused(texts, pairs, words):
    with pytest.raises(InputError) as caught:
        Text(texts, PLAIN, pairs)
    assert words in caught.value.message


def test_a_text_without_any_word_is_refused():
    words = Vocabulary("word", {"a": 1}, split=r"\w+", unknown=0, end=(1,))
    with pytest.raises(InputError, match=r"text 1 has no token: '\?!'"):
        fill(Text("?!", words), [IDS], [WORDS])
