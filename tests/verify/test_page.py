"""The page of a verification: self-contained, well formed, and with the numbers of the checks."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from igrt.verify.check import Check, Verification
from igrt.verify.curves import curves
from igrt.verify.faithfulness import Faithfulness
from igrt.verify.infidelity import infidelity
from igrt.verify.page import ROWS, document
from igrt.verify.randomisation import Randomisation
from igrt.verify.sensitivity import sensitivity_max
from igrt.verify.sparks import spark, sparks

VOID = {"meta"}
X, B = {"x": np.array([1.0, 2.0, -1.0])}, {"x": np.zeros(3)}
W = np.array([3.0, -1.0, 0.5])


class Page(HTMLParser):
    """Elements and text; fails where tags are not closed as they were opened."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.open[-1] not in ("style", "script"):
            self.words.append(data.strip())


def measured():
    def run(rows):
        return rows["x"] @ W

    values = {"x": W * X["x"]}
    found = infidelity(run, X, B, values)
    ball = sensitivity_max(lambda rows: {"x": rows["x"] * W}, X, B, values)
    return Faithfulness(curves(run, X, B, values), found, found, ball)


def build(*checks, model="model.onnx", **extras):
    return Verification(
        checks=checks or (Check.at_most("completeness", 0.25, 0.5, "the gap"),),
        model=model,
        method="integrated_gradients",
        target=(1,),
        inputs="one row",
        seconds=1.5,
        provenance={"sha256": "ab12", "opset": 17},
        extras=extras,
    )


CASCADE = Randomisation(
    ("/fc/Gemm", "/conv/Conv"), np.array([[0.6], [-0.25]]), np.array([[0.1], [-0.5]]), ()
)


def test_the_table_has_figure_limit_verdict_and_reason():
    page = Page(
        document(
            build(
                Check.at_most("completeness", 0.25, 0.5, "the gap"),
                Check.at_most("linearity", 2.0, 0.5, "the difference"),
                Check.skipped("symmetry", "no pair"),
            )
        )
    )
    for word in ("completeness", "0.25", "0.5", "✓ holds", "the gap", "✗ does not hold", "ab12"):
        assert word in page.words
    assert "– skipped" in page.words
    assert "1 of 2 checks does not hold" in page.words
    assert "1 could not be made." in page.words


@pytest.mark.parametrize(
    ("checks", "said"),
    [
        ((Check.at_most("a", 0, 1, ""),), "The check holds"),
        ((Check.at_most("a", 0, 1, ""), Check.at_most("b", 0, 1, "")), "All 2 checks hold"),
        ((Check.at_most("a", 2, 1, ""), Check.at_most("b", 2, 1, "")), "2 of 2 checks do not hold"),
        ((Check.skipped("a", "none"),), "No check could be made"),
        ((Check.at_most("a", np.nan, 1, ""),), "1 of 1 checks does not hold"),
    ],
)
def test_the_heading_is_the_verdict(checks, said):
    assert said in Page(document(build(*checks))).words


def test_curves_and_cascade_are_drawn_with_their_areas():
    found = measured()
    page = Page(document(build(faithfulness=[found], randomisation=CASCADE)))
    drawn = [a["class"] for tag, a in page.elements if tag == "polyline"]
    # insertion, deletion and random orders; |attribution|, attribution and limit
    assert sorted(drawn) == [
        "curve control",
        *["curve first"] * 2,
        "curve limit",
        *["curve second"] * 2,
    ]
    area = f"area {found.curves.insertion_area:.4g}"
    assert area in page.words
    assert "/conv/Conv" in page.words
    # a strong correlation with the other sign is one
    assert "0.25" in page.words
    assert "ends at 0.25" in page.words


def test_a_terminal_gets_the_curves_as_blocks():
    share = np.array([0.0, 0.5, 1.0])
    line = spark(share, np.array([0.0, 7.0, 0.0]), 0.0, 7.0)
    assert len(line) == 32
    assert (line[0], line[-1], max(line)) == ("▁", "▁", "█")
    assert line == line[::-1]
    assert spark(share, np.ones(3), 1.0, 1.0) == "▁" * 32
    lines = sparks([measured()] * 6)
    assert lines[-1] == "… 2 more rows"
    assert sum("insertion" in text for text in lines) == 4
    assert f"area {measured().curves.deletion_area:.4g}" in lines[2]


def test_many_rows_are_cut_and_said_so():
    found = measured()
    page = Page(document(build(faithfulness=[found] * (ROWS + 2))))
    assert sum(a.get("class") == "chart" for _, a in page.elements) == ROWS
    assert "The curves of 2 more rows are not shown." in page.words


def test_nothing_foreign_gets_in_and_nothing_is_loaded():
    hostile = "<script>alert(1)</script>\"'\u202e\n"
    check = Check.at_most(hostile, 1.0, 2.0, hostile)
    cascade = Randomisation((hostile, "b"), CASCADE.magnitude, CASCADE.signed, ())
    text = document(build(check, model=hostile, faithfulness=[measured()], randomisation=cascade))
    page = Page(text)
    assert [a for tag, a in page.elements if tag == "script"] == [{}]
    for tag, attributes in page.elements:
        assert tag not in {"iframe", "object", "embed", "link", "base", "form", "img", "a"}
        assert not [n for n in attributes if n in ("style", "src", "href") or n.startswith("on")]
    assert not re.search("[\u202a-\u202e]", text)
    assert not re.search(r'points="[^"]*nan', text)
