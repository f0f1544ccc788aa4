"""The words and numbers that all renderings share."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igrt.render import facts
from igrt.specs import Display


@pytest.mark.parametrize(
    ("value", "plain", "signed"),
    [
        (0.0, "0", "0"),
        (-0.0, "0", "0"),
        (1.0, "1", "+1"),
        (-12.3456789, "-12.35", "-12.35"),
        (1e-5, "1e-5", "+1e-5"),
        (-2.5e-10, "-2.5e-10", "-2.5e-10"),
        (1e7, "1e+7", "+1e+7"),
        (np.float32(0.5), "0.5", "+0.5"),
        (np.nan, "not a number", "not a number"),
        (np.inf, "infinity", "infinity"),
        (-np.inf, "-infinity", "-infinity"),
    ],
)
def test_number(value, plain, signed):
    assert facts.number(value) == plain
    assert facts.number(value, signed=True) == signed


@given(st.floats(-1e308, 1e308))  # rounded to four digits, the largest would be infinite
def test_numbers_can_be_read_back(value):
    # four significant digits
    assert float(facts.number(value)) == pytest.approx(value, rel=5.1e-4)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 %"),
        (0.0123, "1.2 %"),
        (-0.5, "50 %"),
        (12.0, "1200 %"),
        (1e-9, "< 0.001 %"),
        (0.00002, "0.002 %"),
        (np.nan, "unknown"),
        (np.inf, "undefined"),
    ],
)
def test_percent(value, text):
    assert facts.percent(value) == text


@given(st.text())
def test_printable_text_steers_nothing(text):
    shown = facts.printable(text)
    assert shown.encode("utf-8", "strict").decode() == shown
    marks = {unicodedata.category(c) for c in shown if c not in "\u200c\u200d"}
    assert not marks & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize("text", ["tench, Tinca tinca", "Übergröße", "日本語", "שלום", "e\u0301"])
def test_ordinary_text_stays_as_it_is(text):
    assert facts.printable(text) == text


def test_facts_of_a_row(table):
    assert facts.facts(table, 0) == [
        ("score", "2.5"),
        ("baseline score", "0.5"),
        ("completeness gap", "-0.002"),
        ("relative gap", "0.1 %"),
        ("estimated error", "0.3 %"),
        ("evaluations", "1,500"),
    ]
    assert [value for _, value in facts.how(table)] == [
        "integrated_gradients",
        "gauss_kronrod",
        "CPUExecutionProvider",
        "0.25 s",
    ]


def test_titles(make, table):
    assert facts.title(table, 0) == "dog, hound (1)"
    assert facts.source(table, 0) == "farm.csv"
    values = {"x": np.ones((1, 2))}
    assert facts.title(make(values), 0) == "class 1"
    assert facts.title(make(values, target=((3, 5),)), 0) == "output [3, 5]"
    assert facts.title(make(values, target=(0,), scores=np.ones((1, 1))), 0) == "output"
    assert facts.source(make(values), 0) == ""


def test_several_targets_of_one_example_share_its_source(make):
    result = make(
        {"x": np.ones((3, 2))}, example=np.array([0, 0, 1]), display=Display(sources=("a", "b"))
    )
    assert [facts.source(result, row) for row in range(3)] == ["a", "a", "b"]


def test_caution_only_where_the_tolerance_is_missed(make):
    values = {"x": np.ones((2, 2))}
    result = make(values, error=np.array([0.003, 0.2]))
    assert facts.caution(result, (0,)) == ""
    assert facts.caution(result, (1,)) == (
        "not converged: the estimated error of 20 % is above the tolerance of 1 %"
    )
    assert facts.caution(make(values, error=np.array([0.5, np.nan]), tolerance=None), (0,)) == ""


def test_top_classes(make, table):
    best = facts.tops(table, 0, 2)
    assert [(b.index, b.label, b.score, b.explained) for b in best] == [
        (1, "dog, hound", 2.5, True),
        (0, "cat", 0.25, False),
    ]
    values = {"x": np.ones((1, 2))}
    assert facts.tops(make(values, scores=np.ones((1, 1))), 0) == []
    assert facts.tops(make(values, scores=np.ones((1, 4, 5)), target=((0, 1),)), 0) == []
