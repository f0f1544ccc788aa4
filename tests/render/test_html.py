"""The page: nothing foreign gets in, nothing is loaded, and it can be used without a mouse."""

import base64
import hashlib
import io
import itertools
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from igrt.errors import InputError
from igrt.render import html
from igrt.render.colour import rgb
from igrt.specs import Display

VOID = {"meta", "img", "input", "line", "rect"}


class Page(HTMLParser):
    """Elements with attributes and text; fails where tags are not closed as they were opened."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self._open = [], {}, []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def page(result):
    return Page(html.document(result))


EVENT = re.compile(r"on\w+")


@pytest.mark.parametrize("kind", ["table", "picture", "hostile"])
def test_no_element_or_attribute_comes_from_outside(request, kind):
    shown = page(request.getfixturevalue(kind))
    assert len(shown.all("script")) == 1
    assert shown.all("script") == [{}]
    for tag, attributes in shown.elements:
        assert tag not in {"iframe", "object", "embed", "link", "base", "form", "a"}
        assert not [name for name in attributes if EVENT.fullmatch(name) or name == "style"]
        source = attributes.get("src", "data:image/png;base64,")
        assert source.startswith("data:image/png;base64,")


def test_hostile_text_is_shown_as_text(hostile):
    text = html.document(hostile)
    shown = Page(text)
    title = "<script>alert(1)</script>\"'&\\u202egnp.exe\\x1b[31m\\n\\udcff"
    assert shown.texts["title"] == [f"{title} (1) · igrt"]
    assert shown.texts["bdi"].count(title) >= 5
    assert not re.search("[\x00-\x09\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)


def test_the_policy_names_the_only_script_and_style(picture):
    shown = page(picture)
    [policy] = [m["content"] for m in shown.all("meta") if "http-equiv" in m]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert (rules["base-uri"], rules["form-action"]) == ("'none'", "'none'")
    for tag in ("script", "style"):
        content = "".join(shown.texts[tag]).encode()
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"


def test_no_address_is_mentioned(picture):
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html.document(picture))


def test_structure(picture):
    text = html.document(picture)
    shown = Page(text)
    assert text.startswith("<!doctype html>")
    assert shown.all("html") == [{"lang": "en"}]
    assert [t for t, _ in shown.elements if t in {"header", "main", "footer"}] == [
        "header",
        "main",
        "footer",
    ]
    levels = [int(tag[1]) for tag, _ in shown.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    identifiers = [a["id"] for _, a in shown.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    assert {m.get("name") for m in shown.all("meta")} >= {"viewport"}
    assert "prefers-color-scheme: dark" in text


def test_every_picture_has_an_alternative_and_every_table_a_caption(make, picture, table):
    both = make({"x": np.ones((1, 3)), "y": np.ones((1, 3, 8, 8)), "z": np.ones((1, 9, 8))})
    for result in (picture, table, both):
        shown = page(result)
        assert all(image["alt"] for image in shown.all("img"))
        assert len(shown.all("table")) == len(shown.all("caption")) > 0
        drawn = [svg for svg in shown.all("svg") if svg.get("aria-hidden") != "true"]
        assert all(svg["role"] == "img" and svg["aria-label"] for svg in drawn)
        assert {th["scope"] for th in shown.all("th")} <= {"row", "col"}


def test_views_are_radio_buttons_with_labels(picture):
    shown = page(picture)
    radios = [i for i in shown.all("input") if i["type"] == "radio"]
    assert [r["id"].rsplit("-", 1)[1] for r in radios] == ["original", "attribution", "overlay"]
    assert len({r["name"] for r in radios}) == 1  # one group, so that arrow keys walk through it
    assert [r["id"] for r in radios if "checked" in r] == [radios[2]["id"]]
    assert {r["id"] for r in radios} == {a["for"] for a in shown.all("label") if "for" in a}
    assert [i["type"] for i in shown.all("input")].count("range") == 1
    assert len(shown.all("fieldset")) == len(shown.all("legend")) == 1


def decoded(shown, name):
    [image] = [i for i in shown.all("img") if name in i.get("class", "").split()]
    data = base64.b64decode(image["src"].split(",", 1)[1])
    return np.asarray(Image.open(io.BytesIO(data)))


def test_pictures_are_the_pixels_themselves(picture):
    shown = page(picture)
    heat = decoded(shown, "heat")
    assert heat.shape == (8, 8, 3)
    assert tuple(heat[0, 0]) == (255, 255, 255)
    assert tuple(heat[2, 3]) == rgb(1.0)
    assert tuple(heat[5, 6]) == rgb(-1.0)
    np.testing.assert_array_equal(decoded(shown, "original"), picture.display.pictures["image"][0])
    assert decoded(shown, "veil")[..., 3].astype(bool).sum() == 2
    assert {(i["width"], i["height"]) for i in shown.all("img") if "width" in i} == {("336", "336")}


def test_an_intermediate_picture_has_only_its_map(make):
    result = make({"hidden": np.ones((1, 3, 4, 4))}, inputs={"x": np.ones((1, 3, 8, 8))})
    shown = page(result)
    assert shown.all("input") == []
    assert decoded(shown, "heat").shape == (4, 4, 3)


def test_numbers_are_in_the_text(table):
    shown = page(table)
    assert shown.texts["dd"] == ["2.5", "0.5", "-0.002", "0.1 %", "0.3 %", "1,500"]
    cells = shown.texts["td"]
    assert [c for c in cells if c[0] in "+-0"][:4] == ["-2", "+1", "+0.5", "0"]
    assert {"dog, hound", "width", "3.5", "farm.csv", "ab12"} <= set(shown.texts["bdi"])
    assert "model sha256" in shown.texts["th"]


def test_bars_start_at_zero_and_end_at_their_value(table):
    shown = page(table)
    bars = [r for r in shown.all("rect") if r.get("class", "plain") != "plain"]
    # from -2 to 1 on a thousand: zero is at two thirds
    assert [(b["class"], float(b["x"]), float(b["width"])) for b in bars] == [
        ("lowers", 0.0, 666.7),
        ("raises", 666.7, 333.3),
        ("raises", 666.7, 166.7),
        ("lowers", 666.7, 0.0),
    ]


def test_an_attribution_of_zero_is_said(make):
    text = html.document(make({"x": np.zeros((1, 1, 4, 4)), "y": np.zeros((1, 3))}))
    assert "The attribution is 0 everywhere." in text


def test_several_rows_have_a_table_of_contents(make):
    text = html.document(make({"x": np.ones((3, 2))}, display=Display(sources=("a", "b", "c"))))
    shown = Page(text)
    assert [a["href"] for a in shown.all("a")] == ["#row-0", "#row-1", "#row-2"]
    assert {a["href"][1:] for a in shown.all("a")} <= {h.get("id") for h in shown.all("h2")}
    assert shown.texts["title"] == ["class 1 and 2 more · igrt"]


def test_more_rows_than_sixty_four_are_left_out(make):
    shown = page(make({"x": np.ones((70, 9, 8))}))
    assert len(shown.all("section")) == 64
    assert "6 more rows are not shown." in shown.texts["p"]


def test_a_missed_tolerance_is_said(make):
    shown = page(make({"x": np.ones((1, 2))}, error=np.array([0.5])))
    assert [p for p in shown.all("p") if p.get("class") == "caution"] == [{"class": "caution"}]


@pytest.mark.parametrize(
    "shape", [(1,), (1, 1), (1, 5, 5000), (1, 5000, 1), (1, 2, 3, 4, 5), (1, 3, 2000, 10)]
)
def test_every_shape_can_be_shown(make, shape):
    assert len(page(make({"x": np.ones(shape)})).all("section")) == 1


def test_written_file_is_the_document(tmp_path, hostile):
    html.write(hostile, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == html.document(hostile)


def test_nothing_to_show(make):
    with pytest.raises(InputError, match="no rows"):
        html.document(make({"x": np.ones((0, 2))}))
