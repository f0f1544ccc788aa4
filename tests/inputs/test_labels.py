"""Label files of every style, and finding a class by its name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igrt.errors import InputError, TargetError
from igrt.inputs import find_label, read_labels

GOOD = {
    "lines.txt": "tench\ngoldfish\n",
    "windows.txt": "\ufefftench\r\ngoldfish\r\n\r\n",
    "synsets.txt": "n01440764 tench\nn01443537 goldfish\n",
    "numbered.txt": "0: tench\n1: goldfish",
    "unordered.txt": "1: goldfish\n0: tench",
    "quoted.txt": "0: 'tench'\n1: \"goldfish\"",
    "table.csv": "0,tench\n1,goldfish\n",
    "titled.csv": "index,name\n0,tench\n1,goldfish\n",
    "tabs.tsv": "0\tn01440764 tench\n1\tn01443537 goldfish\n",
    "list.json": '["tench", "goldfish"]',
    "mapping.json": '{"1": "goldfish", "0": "tench"}',
    "imagenet.json": '{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}',
    "pairs.json": '[["n01440764", "tench"], ["n01443537", "goldfish"]]',
    "inverse.json": '{"tench": 0, "goldfish": 1}',
    "json.txt": '\n["tench", "goldfish"]',
}


@pytest.mark.parametrize("name", GOOD)
def test_styles(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(GOOD[name].encode())
    assert read_labels(path) == ("tench", "goldfish")


def test_classes_without_a_name_are_named_by_their_number(tmp_path):
    path = tmp_path / "coco.json"
    path.write_text('{"1": "person", "3": "car"}')
    assert read_labels(path) == ("0", "person", "2", "car")


def test_names_that_start_with_digits_are_names(tmp_path):
    path = tmp_path / "digits.txt"
    path.write_text("0 zero\n1 one\n")
    assert read_labels(path) == ("0 zero", "1 one")
    path.write_text("5: five\nsix\n")
    assert read_labels(path) == ("5: five", "six")


def test_a_vocabulary_that_begins_with_a_mark_is_no_json(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("[PAD]\n[UNK]\nder\n")
    assert read_labels(path) == ("[PAD]", "[UNK]", "der")


BAD = {
    "blank.txt": ("tench\n\ngoldfish\n", "line 2 is blank"),
    "spaces.txt": (" \n\n", "holds no labels"),
    "empty.txt": ("", "is empty"),
    "twice.txt": ("0: a\n0: b\n", "names class 0 twice"),
    "huge.txt": ("0: a\n999999999: b\n", "classes are 0 to 999,999"),
    "noname.txt": ("0: a\n1:\n", "has no name for class 1"),
    "broken.json": ('["tench"', "is not JSON"),
    "number.json": ("7", "holds no list of labels"),
    "nothing.json": ("[]", "holds no labels"),
    "mapping.json": ("{}", "holds no labels"),
    "numbers.json": ("[1, 2]", "has no name for class 0"),
    "null.json": ('{"0": null}', "has no name for class 0"),
    "keys.json": ('{"a": "tench"}', "maps `a`, which is no class number"),
    "negative.json": ('{"tench": -1}', "names class -1"),
    "digits.json": ('{"\u0661": "tench"}', "which is no class number"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(tmp_path, name):
    text, message = BAD[name]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_labels(path)
    assert name in caught.value.message


LABELS = ("tench, Tinca tinca", "crane", "Siamese cat, Siamese", "crane", "Crane fly", "TENCH")


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("TENCH", 5),
        ("tench, tinca tinca", 0),
        ("Siamese cat", 2),
        ("siamese", 2),
        ("tinca tinca", 0),
        (" crane FLY ", 4),
    ],
)
def test_find(text, index):
    assert find_label(LABELS, text) == index


def test_ambiguous_names_list_their_classes():
    with pytest.raises(TargetError, match=r"`crane` names 2 classes: 1 \(crane\), 3 \(crane\)"):
        find_label(LABELS, "crane")
    with pytest.raises(TargetError, match=r"names 30 classes: .* and 20 more"):
        find_label(("a",) * 30, "a")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("siamesse", "did you mean `Siamese cat, Siamese`?"),
        ("xylophone", "give the index"),
        ("", "give the index"),
    ],
)
def test_unknown_names_suggest(text, hint):
    with pytest.raises(TargetError, match="there is no class") as caught:
        find_label(LABELS, text)
    assert caught.value.hint == hint


def test_without_labels_there_is_nothing_to_find():
    with pytest.raises(TargetError, match="no labels are known"):
        find_label((), "tench")


@given(st.lists(st.text(min_size=1), min_size=1, unique_by=str.casefold), st.data())
def test_every_exact_name_is_found(labels, data):
    index = data.draw(st.integers(0, len(labels) - 1))
    assert find_label(labels, labels[index]) == index
