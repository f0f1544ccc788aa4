"""The figure: the pixels that matter, every kind of input, and text that does not fit."""

import io

import numpy as np
import pytest
from PIL import Image

from igrt.errors import InputError
from igrt.render import canvas, png
from igrt.render.colour import rgb
from igrt.specs import Display


def pixels(result):
    return np.asarray(png.draw(result))


def holds(figure, colour):
    return bool((figure == colour).all(axis=-1).any())


def area(figure, colour):
    return int((figure == colour).all(axis=-1).sum())


def test_written_file_is_a_png_whatever_its_name(tmp_path, picture):
    path = tmp_path / "figure.tmp"
    png.write(picture, path)
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        assert np.array_equal(np.asarray(image), pixels(picture))


def test_pictures_show_original_attribution_and_overlay(picture):
    figure = pixels(picture)
    square = 56 * 56  # 8 pixels enlarged to 448
    assert area(figure, (10, 120, 230)) == 64 * square
    # one pixel each, and the ends of the colour legend
    for strength in (1.0, -1.0):
        assert square <= area(figure, rgb(strength)) < 1.1 * square
    assert area(figure, (255, 255, 255)) > 62 * square


def test_attribution_of_zero_is_white(make):
    given = np.ones((1, 3, 8, 8))
    figure = pixels(make({"x": np.zeros((1, 3, 8, 8))}, inputs={"x": given}))
    # no colour anywhere: every pixel is a gray, but for the bluish tint of the text
    spread = figure.max(axis=-1).astype(int) - figure.min(axis=-1)
    assert spread.max() < 32


def test_bars_are_red_and_blue_and_in_proportion(make):
    figure = pixels(make({"x": np.array([[2.0, -1.0, 1.0]])}))
    red, blue = area(figure, rgb(0.85)), area(figure, rgb(-0.85))
    # two and one against one; the ends of bars are rounded to pixels
    assert red / blue == pytest.approx(3, rel=0.02)


def test_only_positive_bars_take_the_whole_width(make):
    both = pixels(make({"x": np.array([[1.0, -1.0]])}))
    positive = pixels(make({"x": np.array([[1.0, 1.0]])}))
    assert area(positive, rgb(0.85)) > 3 * area(both, rgb(0.85))
    assert not holds(positive, rgb(-0.85))


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((1, 4)),
        np.full((1, 4), 1e308),
        np.full((1, 4), 5e-324),
        np.array([[np.nan, np.inf, -np.inf, 1.0]]),
        np.ones((1, 1)),
        np.ones(1),
        np.ones((1, 1, 1)),
        np.ones((1, 1, 1, 1)),
        np.ones((1, 5, 1)),
        np.ones((1, 1, 5000)),
        np.ones((1, 5000, 2)),
        np.ones((1, 2, 3, 4, 5)),
        np.ones((1, 3, 1, 2000)),
        np.zeros((1, 7, 9)),
    ],
    ids=lambda v: "x".join(map(str, v.shape)),
)
def test_every_shape_can_be_drawn(make, values):
    with np.errstate(over="ignore", invalid="ignore"):  # the sum of 1e308s, and of infinities
        image = png.draw(make({"x": values}))
    assert image.width >= 2 * 706
    assert image.height < 6000


def test_several_tensors_and_rows_are_stacked(make):
    one = png.draw(make({"a": np.ones((1, 3))})).height
    two = png.draw(make({"a": np.ones((1, 3)), "b": np.ones((1, 3))})).height
    rows, more = (png.draw(make({"a": np.ones((n, 3))})).height for n in (2, 3))
    assert one < two
    assert rows < more


def test_more_rows_than_sixteen_are_left_out(make):
    sixteen = png.draw(make({"x": np.ones((16, 9, 8))}))
    more = png.draw(make({"x": np.ones((40, 9, 8))}))
    assert more.size == sixteen.size
    assert np.asarray(more)[-80:].tolist() != np.asarray(sixteen)[-80:].tolist()


def test_a_missed_tolerance_is_said(make):
    values = {"x": np.ones((1, 2))}
    plain = png.draw(make(values))
    warned = png.draw(make(values, error=np.array([0.5])))
    assert warned.height > plain.height


def test_long_text_does_not_widen_the_figure(make):
    long = "a very long name, " * 200
    display = Display(labels=("a", long), features={"x": (long, long)}, sources=(long,))
    figure = png.draw(make({"x": np.ones((1, 2))}, display=display, method=long))
    assert figure.width == png.draw(make({"x": np.ones((1, 2))})).width
    # nothing is written into the margins
    array = np.asarray(figure)
    assert (array[:, :50] == 255).all()
    assert (array[:, -50:] == 255).all()


def test_hostile_text_is_drawn_as_text(hostile):
    assert png.draw(hostile).width >= 2 * 706


def test_the_figure_is_the_same_each_time(picture):
    first, second = io.BytesIO(), io.BytesIO()
    png.draw(picture).save(first, "PNG")
    png.draw(picture).save(second, "PNG")
    assert first.getvalue() == second.getvalue()


def test_nothing_to_draw(make):
    with pytest.raises(InputError, match="no rows"):
        png.draw(make({"x": np.ones((0, 2))}))


@pytest.fixture
def no_system_fonts(monkeypatch):
    monkeypatch.setattr(canvas, "_SYSTEM_FONTS", ())


@pytest.mark.usefixtures("no_system_fonts")
@pytest.mark.parametrize(
    ("text", "drawn"),
    [("plain", "plain"), ("Élan naïf", "Elan naif"), ("Ⅳ", "IV"), ("日", "U+65E5")],
)
def test_letters_that_no_font_has_are_spelled_out(text, drawn):
    assert canvas._drawable(text)[0] == drawn


@pytest.mark.usefixtures("no_system_fonts")
def test_joiners_are_not_spelled_out():
    assert canvas._drawable("a\u200d\ufe0f日")[0] == "aU+65E5"


def test_a_prediction_other_than_the_explained_class_is_named(make):
    values = {"x": np.ones((1, 2))}
    same, other = (png.draw(make(values, target=(target,))) for target in (1, 0))
    left_half = np.s_[100:220, 56:200]
    assert not np.array_equal(np.asarray(same)[left_half], np.asarray(other)[left_half])


def test_shorten_keeps_what_fits():
    assert canvas.shorten("short", 11, 200) == "short"
    text = canvas.shorten("a sentence that is much too long", 11, 60)
    assert text.endswith("…")
    assert canvas.text_width(text, 11) <= 60 < canvas.text_width("a sentence that is", 11)
    assert canvas.shorten("anything", 11, 0) == "…"
