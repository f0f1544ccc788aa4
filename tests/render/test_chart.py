"""Charts: every point where it belongs, and nothing that is not a number in the picture."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from igrt.errors import InternalError
from igrt.render.chart import Band, Line, chart, ticks


class Shapes(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        if data.strip():
            self.words.append(data.strip())

    def curves(self, kind):
        return [
            [tuple(float(v) for v in pair.split(",")) for pair in a["points"].split()]
            for tag, a in self.found
            if tag == "polyline" and kind in a["class"].split()
        ]


def draw(*lines, x=None, **options):
    x = np.arange(len(lines[0].y)) if x is None else x
    return chart(x, lines, told="told", x_name="along", y_name="up", **options)


def test_points_are_where_the_axes_say():
    y = np.array([0.0, 10.0, 5.0])
    shapes = Shapes(draw(Line("one", y, "first"), y_range=(0.0, 10.0), x=np.array([0.0, 1.0, 4.0])))
    (curve,) = shapes.curves("first")
    places = {
        text: float(a["y1"])
        for (tag, a), text in zip(
            [
                f
                for f in shapes.found
                if f[0] == "line" and "y2" in f[1] and f[1]["y1"] == f[1]["y2"]
            ],
            ["0", "2", "4", "6", "8", "10"],
            strict=False,
        )
    }
    assert curve[0][1] == pytest.approx(places["0"], abs=0.1)
    assert curve[1][1] == pytest.approx(places["10"], abs=0.1)
    assert curve[2][1] == pytest.approx((places["4"] + places["6"]) / 2, abs=0.1)
    # a quarter of the way along
    assert (curve[1][0] - curve[0][0]) * 4 == pytest.approx(curve[2][0] - curve[0][0], abs=0.5)


def test_what_is_not_a_number_leaves_a_gap():
    shapes = Shapes(draw(Line("one", np.array([1.0, np.nan, 2.0, 3.0]), "first"), dots=True))
    assert [len(part) for part in shapes.curves("first")] == [1, 2]
    assert sum(tag == "circle" for tag, _ in shapes.found) == 3
    for y in (np.full(3, np.nan), np.zeros(3), np.full(3, 1e20)):
        text = draw(Line("one", y, "first"))
        assert not re.search(r"\b(nan|inf)\b", text)


def test_the_legend_names_every_curve_with_its_note():
    y = np.array([1.0, 2.0])
    band = Band("between", y - 1, y + 1)
    shapes = Shapes(draw(Line("<b>", y, "first", "area 3"), Line("two", y, "control"), band=band))
    for word in ("<b>", "area 3", "two", "between", "along", "up"):
        assert word in shapes.words
    assert not [tag for tag, _ in shapes.found if tag == "b"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-0.2, 1.1, [0, 0.5, 1.0]),
        (-17, 24, [-10, 0, 10, 20]),
        (1e6, 1.5e6, [1e6, 1.1e6, 1.2e6, 1.3e6, 1.4e6, 1.5e6]),
        (2e-9, 4e-9, [2e-9, 2.5e-9, 3e-9, 3.5e-9, 4e-9]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected, rel=1e-9)


def test_lines_of_other_lengths_are_a_mistake():
    with pytest.raises(InternalError, match="chart of 2 points"):
        draw(Line("one", np.ones(3), "first"), x=np.arange(2))
