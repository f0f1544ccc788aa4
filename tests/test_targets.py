"""Targets: every way to say which element of the output is explained."""

from typing import Any

import numpy as np
import pytest

from igrt.errors import TargetError
from igrt.targets import resolve

SCORES = np.array([[0.1, 0.7, 0.2], [0.9, 0.3, 0.5]], np.float32)


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
    assert found.flat.tolist() == classes
    expected = SCORES[examples, classes].astype(np.float64)
    assert np.array_equal(found.pick(SCORES[found.example]), expected)


@pytest.mark.parametrize("target", [(2,), [(2,), (-1,)]])
def test_a_tuple_stays_a_tuple(target: Any) -> None:
    found = resolve(target, SCORES)
    assert found.index == ((2,), (2,))
    assert found.flat.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("target", "index", "flat"),
    [
        ((1, 2), (1, 2), 5),
        ((-1, 0), (1, 0), 3),
        ((0, -1), (0, 2), 2),
    ],
)
def test_one_index_per_axis(target: tuple[int, int], index: tuple[int, int], flat: int) -> None:
    outputs = np.arange(6.0).reshape(1, 2, 3)
    found = resolve(target, outputs)
    assert found.index == (index,)
    assert found.flat.tolist() == [flat]
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
    assert resolve(None, outputs).flat.tolist() == [1]
    assert resolve("top2", outputs).flat.tolist() == [1, 3]
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
        ((0,), (2, 3), "1 indices; the output has the shape [2, 3]"),
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
