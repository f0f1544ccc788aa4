"""Targets: every way to say which element of the output is explained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from igrt.errors import InputError, TargetError
from igrt.selection import Label, Mask, Select, Top, parse, written
from igrt.targets import Resolved, resolve

SCORES = np.array([[0.1, 0.7, 0.2], [0.9, 0.3, 0.5]], np.float32)
TABLE = np.array([[[1.0, 4.0, 2.0], [6.0, 5.0, 3.0]], [[0.0, 0.0, 7.0], [9.0, 8.0, 9.0]]])
"""Two examples of two positions with three classes."""
NAMES = ("ant", "bee", "cow")


def flat(found: Resolved) -> list[int]:
    """The only element of each row."""
    assert all(p.weights.tolist() == [1.0] for p in found.picked)
    return [int(p.flat[0]) for p in found.picked]


@pytest.mark.parametrize(
    ("target", "examples", "classes"),
    [
        (None, [0, 1], [1, 0]),
        ("top1", [0, 1], [1, 0]),
        ("TOP-2", [0, 0, 1, 1], [1, 2, 0, 2]),
        (" top3 ", [0, 0, 0, 1, 1, 1], [1, 2, 0, 0, 2, 1]),
        (2, [0, 1], [2, 2]),
        (-1, [0, 1], [2, 2]),
        (np.int64(1), [0, 1], [1, 1]),
        ([2, 0], [0, 1], [2, 0]),
        ([-1, "top1"], [0, 1], [2, 0]),
        (["top2", None], [0, 0, 1], [1, 2, 0]),
        (np.array([0, -2]), [0, 1], [0, 1]),
    ],
)
def test_classes(target: Any, examples: list[int], classes: list[int]) -> None:
    found = resolve(target, SCORES)
    assert found.example.tolist() == examples
    assert list(found.index) == classes
    assert flat(found) == classes
    expected = SCORES[examples, classes].astype(np.float64)
    assert np.array_equal(found.pick(SCORES[found.example]), expected)


@pytest.mark.parametrize("target", [(2,), [(2,), (-1,)]])
def test_a_tuple_stays_a_tuple(target: Any) -> None:
    found = resolve(target, SCORES)
    assert found.index == ((2,), (2,))
    assert flat(found) == [2, 2]


@pytest.mark.parametrize(
    ("target", "index", "place"),
    [
        ((1, 2), (1, 2), 5),
        ((-1, 0), (1, 0), 3),
        ((0, -1), (0, 2), 2),
    ],
)
def test_one_index_per_axis(target: tuple[int, int], index: tuple[int, int], place: int) -> None:
    outputs = np.arange(6.0).reshape(1, 2, 3)
    found = resolve(target, outputs)
    assert found.index == (index,)
    assert flat(found) == [place]
    assert found.pick(outputs).tolist() == [outputs[0][index]]


def test_a_different_element_per_example() -> None:
    outputs = np.arange(12.0).reshape(2, 2, 3)
    found = resolve([(0, 1), (1, 2)], outputs)
    assert found.index == ((0, 1), (1, 2))
    assert found.pick(outputs).tolist() == [1.0, 11.0]


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 1, 4), (1, 4, 1)])
def test_axes_of_one_are_not_asked_for(shape: tuple[int, ...]) -> None:
    """Classifiers without a Flatten at the end give [N, 1000, 1, 1]."""
    outputs = np.array([[1.0, 4.0, 2.0, 3.0]]).reshape(1, *shape)
    assert flat(resolve(None, outputs)) == [1]
    assert flat(resolve("top2", outputs)) == [1, 3]
    found = resolve(2, outputs)
    assert found.index == (2,)
    assert found.pick(outputs).tolist() == [2.0]
    seed = found.cotangents(shape, "float32")
    assert seed.shape == (1, *shape)
    assert seed.ravel().tolist() == [0.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 1, 1)])
def test_the_only_element_needs_no_target(shape: tuple[int, ...]) -> None:
    outputs = np.array([3.0, 5.0]).reshape(shape)
    for target in (None, 0, -1, "top1"):
        found = resolve(target, outputs)
        assert found.index == (0, 0)
        assert found.pick(outputs).tolist() == [3.0, 5.0]


def test_an_output_without_axes_takes_an_empty_tuple() -> None:
    found = resolve((), np.array([3.0, 5.0]))
    assert found.index == ((), ())
    assert found.cotangents((), "float32").tolist() == [1.0, 1.0]


def test_the_first_of_equal_scores_wins() -> None:
    ties = np.array([[0.5, 0.9, 0.9, 0.5, 0.9]], np.float32)
    assert resolve(None, ties).index == (1,)
    assert resolve("top5", ties).index == (1, 2, 4, 0, 3)
    assert resolve(None, np.zeros((3, 4))).index == (0, 0, 0)


def test_the_smallest_integers_do_not_wrap() -> None:
    scores = np.array([[-128, 127, 0]], np.int8)
    assert resolve("top3", scores).index == (1, 2, 0)


def test_cotangents_are_one_hot() -> None:
    found = resolve("top2", SCORES)
    seed = found.cotangents((3,), "float16")
    assert seed.dtype == np.float16
    assert seed.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("target", "shape", "words"),
    [
        (3, (3,), "target 3 is outside the output"),
        (-4, (3,), "target -4 is outside the output"),
        (1, (1,), "the last index is 0"),
        ((0, 3), (2, 3), "the last index is 2"),
        ((0,), (2, 3), "1 index; the output has the shape [2, 3]"),
        ((0, 0), (3,), "2 indices; the output has the shape [3]"),
        (0, (2, 3), "such as [0, 0]"),
        (None, (2, 3), "which element"),
        ("top1", (2, 3), "which element"),
        ("top4", (3,), "ask for top3"),
        ("top0", (3,), "unknown target 'top0'"),
        ("banana", (3,), "unknown target 'banana'"),
        ("", (3,), "unknown target ''"),
        (1.0, (3,), "not 1.0"),
        (True, (3,), "not True"),
        ((0.5, 1), (2, 3), "not (0.5, 1)"),
        ((True,), (3,), "not (True,)"),
        ({"a": 1}, (3,), "a target is"),
        ([0], (3,), "1 targets for 2 examples"),
        ([0, 1, 2], (3,), "3 targets for 2 examples"),
        ([0, 9], (3,), "target 9 is outside"),
        ([], (3,), "0 targets for 2 examples"),
    ],
)
def test_refusals(target: Any, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(TargetError) as caught:
        resolve(target, np.zeros((2, *shape), np.float32))
    assert words in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "examples", "index"),
    [
        ("[1, 2]", [0, 1], [(1, 2), (1, 2)]),
        ("[-1,+0]", [0, 1], [(1, 0), (1, 0)]),
        ("[:, top1]", [0, 0, 1, 1], [(0, 1), (1, 0), (0, 2), (1, 0)]),
        ("[top1, 0]", [0, 1], [(1, 0), (1, 0)]),
        ("[1, top2]", [0, 0, 1, 1], [(1, 0), (1, 1), (1, 0), (1, 2)]),
        ("[0, 1:3]", [0, 0, 1, 1], [(0, 1), (0, 2)] * 2),
        ("[0, ::-2]", [0, 0, 1, 1], [(0, 2), (0, 0)] * 2),
        ("[-1:, cow]", [0, 1], [(1, 2), (1, 2)]),
        ('[1:99, "bee"]', [0, 1], [(1, 1), (1, 1)]),
        ((slice(None), "top1"), [0, 0, 1, 1], [(0, 1), (1, 0), (0, 2), (1, 0)]),
        ((np.int64(-1), "bee"), [0, 1], [(1, 1), (1, 1)]),
        (["[0, top1]", "[:, 1]"], [0, 1, 1], [(0, 1), (0, 1), (1, 1)]),
    ],
)
def test_an_item_per_axis(text: Any, examples: list[int], index: list[tuple[int, int]]) -> None:
    found = resolve(text, TABLE, NAMES)
    assert found.example.tolist() == examples
    assert list(found.index) == index
    assert flat(found) == [int(np.ravel_multi_index(i, (2, 3))) for i in index]
    expected = [TABLE[e][i] for e, i in zip(examples, index, strict=True)]
    assert found.pick(TABLE[found.example]).tolist() == expected


@pytest.mark.parametrize(
    ("text", "index", "scores"),
    [
        ("sum[:, 2]", "sum[:, 2]", [5.0, 16.0]),
        (" sum [0:1,::2] ", "sum[0:1, ::2]", [3.0, 7.0]),
        ("sum[:, cow]", "sum[:, 2]", [5.0, 16.0]),
        ("sum[:, top1]", "sum[:, top1]", [10.0, 16.0]),
        ("sum[:, top2]", "sum[:, top2]", [17.0, 25.0]),
        ("sum[:,:]", "sum[:, :]", [21.0, 33.0]),
    ],
)
def test_a_sum_is_one_row(text: str, index: str, scores: list[float]) -> None:
    found = resolve(text, TABLE, NAMES)
    assert found.index == (index, index)
    assert found.example.tolist() == [0, 1]
    assert found.pick(TABLE).tolist() == scores
    seed = found.cotangents((2, 3), "float32")
    assert seed.dtype == np.float32
    assert (seed * TABLE).sum(axis=(1, 2)).tolist() == scores
    again = resolve([found.index[0], *found.masks((2, 3))[1:]], TABLE)
    assert np.array_equal(again.cotangents((2, 3), "float32"), seed)


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", ">f8"])
def test_a_mask_weighs_the_output(dtype: str, tmp_path: Path) -> None:
    weights = np.array([[1, 0, 3], [0, 0, 2]]).astype(dtype)
    np.save(tmp_path / "roi.npy", weights)
    expected = (TABLE * weights).sum(axis=(1, 2)).tolist()
    name = f"mask:{tmp_path / 'roi.npy'}"
    for target, called in ((Mask(weights), "mask"), (Mask(weights, "roi"), "roi"), (name, name)):
        found = resolve(target, TABLE)
        assert found.index == (called, called)
        assert found.pick(TABLE).tolist() == expected
        assert np.array_equal(found.cotangents((2, 3), "float64"), [weights, weights])


def test_a_mask_is_what_the_gradient_graph_sees() -> None:
    """Its own weights would not be those of the cotangent, and the gap would not close."""
    third = resolve(Mask(np.array([1 / 3, 0.0])), np.ones((1, 2), np.float16))
    assert third.pick(np.ones((1, 2), np.float16)).tolist() == [float(np.float16(1 / 3))]


@pytest.mark.parametrize(
    ("index", "shape", "text"),
    [
        (1, (3,), "bee"),
        (3, (4,), "3"),
        ((1,), (3,), "bee"),
        ((1,), (4,), "[1]"),
        ((1, 2), (2, 3), "[1, cow]"),
        ((1, 2), (3, 4), "[bee, 2]"),
        ((1, 2), (3, 3), "[1, cow]"),
        ((1, 2), (4, 4), "[1, 2]"),
        ("sum[:, 2]", (2, 3), "sum[:, cow]"),
        ("sum[:, top1]", (2, 3), "sum[:, top1]"),
        ("sum[2, :]", (3, 9), "sum[cow, :]"),
        ("mask:roi.npy", (2, 3), "mask:roi.npy"),
    ],
)
def test_labels_stand_on_the_axis_that_has_as_many(
    index: Any, shape: tuple[int, ...], text: str
) -> None:
    assert written(index, shape, NAMES) == text


def test_text_as_values() -> None:
    assert parse("top2") == Top(2)
    assert parse("[:, -1, top1]") == Select((slice(None), -1, Top(1)))
    assert parse("[]") == Select(())
    names = ("great white shark, white shark", "cat", "[3]", "7")
    assert parse("white shark", names) == 0
    assert parse("[3]", names) == 2
    assert parse("7", names) == 7
    assert parse('[0, "great white shark, white shark"]', names) == Select((0, Label(0, 4)))
    assert parse("sum[:, CAT]", names) == Select((slice(None), Label(1, 4)), summed=True)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("[0]", "1 index; the output has the shape [2, 3]"),
        ("[0, 0, 0]", "3 indices"),
        ("sum[:]", "1 index"),
        ("[:, 3]", "target 3 is outside the output"),
        ("[2, top1]", "the last index is 1"),
        ("[:, top4]", "ask for top3"),
        ("[top1, top1]", "topK on 2 axes"),
        ("[2:, 0]", "selects nothing"),
        ("sum[1:1, :]", "selects nothing"),
        ("[::0, 0]", "step 0"),
        ("[bee, 0]", "a label for axis 0"),
        ("[:, bug]", "there is no class `bug`"),
        ("[:, ]", "unknown item ''"),
        ("[:, 1.5]", "no class `1.5`"),
        ("mask:none.npy", "does not exist"),
        ("mean[:, 0]", "no class"),
        (Mask(np.ones((3, 2))), "the output has [2, 3] per example"),
        (Mask(np.ones((1, 2, 3))), "without a batch axis"),
        (Mask(np.zeros((2, 3))), "selects nothing"),
        (Mask(np.full((2, 3), 1e300)), "beyond the range of float32"),
        ((slice(None), {}), "a target is"),
    ],
)
def test_refusals_of_expressions(target: Any, words: str) -> None:
    with pytest.raises((TargetError, InputError)) as caught:
        resolve(target, TABLE.astype(np.float32), NAMES)
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([[1.0, np.nan]], "NaN"),
        (["a"], "not numbers"),
        ([1j], "complex"),
        ([[1], [1, 2]], "not a rectangular"),
    ],
)
def test_masks_that_are_none(weights: Any, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        Mask(weights)


def test_rows_that_would_not_fit_into_memory() -> None:
    pixels = np.broadcast_to(np.float32(0), (1, 512, 512))
    with pytest.raises(TargetError, match="262144 rows"):
        resolve("[:, :]", pixels)
    assert len(resolve("sum[:, :]", pixels).picked) == 1
