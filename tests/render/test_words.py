"""Texts: which token has which number, and what is seen of them in each rendering."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from igrt.render import html, png, terminal
from igrt.render.blocks import blocks
from igrt.render.canvas import joins, text_width
from igrt.render.cells import TRUE, cells
from igrt.render.colour import rgb
from igrt.render.views import Map, view
from igrt.render.words.png import Box, _boxes, direction, visual
from igrt.render.words.view import Piece, Words
from igrt.specs import Display, Token

ARABIC, HEBREW = "هذا الفيلم رائع", "הסרט הזה לא היה טוב"
ESCAPES = re.compile(r"\x1b\[[\d;]*m")


def text(line, **kind):
    return tuple(Token(word, **kind) for word in line.split())


NOT_LIKED = (
    Token("[CLS]", "special"),
    *text("I did not like film"),
    Token("ography", glued=True),
    Token("zorgl", "unknown"),
    Token("[PAD]", "padding"),
)
VALUES = np.array([0.0, 0.1, 0.2, -2.0, 1.0, 0.5, 0.25, -0.25, 0.0])


@pytest.fixture
def of(make):
    """A result of one text or of several, whose embeddings have two numbers each."""

    def build(*texts, values=None, key="embedding", **display):
        longest = max(map(len, texts))
        padding = Token("[PAD]", "padding")
        filled = tuple((*t, *(padding,) * (longest - len(t))) for t in texts)
        if values is None:
            values = np.random.default_rng(0).normal(size=(len(texts), longest))
        halves = np.stack([0.25 * values, 0.75 * values], axis=-1)
        return make(
            {"embedding": halves},
            inputs={"ids": np.zeros((len(texts), longest), np.int64)},
            display=Display(tokens={key: filled}, **display),
        )

    return build


@pytest.fixture
def opinion(of):
    return of(NOT_LIKED, values=VALUES[np.newaxis])


def drawn_of(result, row=0):
    found = view(result, row, "embedding", side=99)
    assert isinstance(found, Words)
    return found


def plain(result, **options):
    return terminal.text(result, **({"colours": 0, "width": 80} | options))


class Shown(HTMLParser):
    """Elements inside the box of the words: tag, attributes and text."""

    def __init__(self, result):
        super().__init__(convert_charrefs=True)
        self.found, self._depth = [], 0
        self.feed(html.document(result))

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self._depth = 1 if named.get("class") == "words" else self._depth + bool(self._depth)
        if self._depth:
            self.found.append([tag, named, ""])

    def handle_endtag(self, tag):
        self._depth -= bool(self._depth)

    def handle_data(self, data):
        if self._depth:
            self.found[-1][2] += data

    def pieces(self):
        return [(attrs, said.rstrip()) for _, attrs, said in self.found if "title" in attrs]


def test_attributions_of_a_position_are_summed(opinion):
    drawn = drawn_of(opinion)
    assert [(p.text, p.value) for p in drawn.pieces] == [
        (token.text, value) for token, value in zip(NOT_LIKED[:-1], VALUES, strict=False)
    ]
    assert (drawn.top, drawn.total, drawn.padding) == (2.0, VALUES.sum(), 1)
    assert drawn.strength(drawn.pieces[3]) == -1.0
    assert drawn.caption == "8 tokens, -0.2 in sum; padding of 1 left out"


def test_padding_that_adds_something_is_not_hidden(of):
    drawn = drawn_of(of((*text("a b"), Token("", "padding")), values=np.array([[1.0, 2.0, -0.5]])))
    assert drawn.caption == "2 tokens, +2.5 in sum; padding of 1 left out, which adds -0.5"
    assert drawn.total == sum(p.value for p in drawn.pieces) + drawn.padded


def test_pairs_are_two_texts(of):
    pair = (Token("[CLS]", "special"), *text("a man"), *text("a dog", segment=1))
    drawn = drawn_of(of(pair))
    assert [[p.text for p in t] for t in drawn.texts] == [["[CLS]", "a", "man"], ["a", "dog"]]


def test_the_first_piece_of_a_text_continues_nothing(of):
    drawn = drawn_of(of((Token("ing", glued=True), Token("ly", glued=True))))
    assert [p.glued for p in drawn.pieces] == [False, True]


def test_tokens_of_identifiers_stand_for_their_embedding(of):
    assert [p.text for p in drawn_of(of(text("a b"), key="ids")).pieces] == ["a", "b"]


@pytest.mark.parametrize("tokens", [{}, {"embedding": (text("a b c"),)}, {"embedding": ()}])
def test_without_a_text_of_that_length_it_is_a_map(make, tokens):
    result = make({"embedding": np.ones((1, 2, 3))}, display=Display(tokens=tokens))
    assert isinstance(view(result, 0, "embedding", side=9), Map)


def test_rows_of_one_example_share_its_text(make):
    result = make(
        {"e": np.ones((3, 2, 3))},
        example=np.array([0, 1, 1]),
        display=Display(tokens={"e": (text("a b"), text("c d"))}),
    )
    first = [view(result, row, "e", side=9).pieces[0].text for row in range(3)]
    assert first == ["a", "c", "c"]
    assert blocks(result) == [(0,), (1,), (2,)]


def test_what_is_not_finite_has_no_colour(of):
    drawn = drawn_of(of(text("a b c"), values=np.array([[np.nan, np.inf, 1.0]])))
    assert drawn.top == 1.0
    assert np.isnan([drawn.strength(p) for p in drawn.pieces[:2]]).all()


TERMINAL = """\
attribution of embedding
  [CLS] I did not like filmography zorgl(?)
              --   ++   +

  ++ and -- from half of 2, + and - from a sixth
  (?): not in the vocabulary
  8 tokens, -0.2 in sum; padding of 1 left out

  not                 -2  ██████████████████████████████
  like                +1  ███████████████
  film              +0.5  ████████
  ography          +0.25  ████
  zorgl   unknown  -0.25  ████
  did               +0.2  ███
  I                 +0.1  ██
  [CLS]   special      0"""


def test_terminal_without_colours_has_signs_and_numbers(opinion):
    assert plain(opinion).endswith(TERMINAL)


@pytest.mark.parametrize(
    ("colours", "not_"),
    [
        (16, "\x1b[34mnot"),
        (256, "\x1b[48;5;25;38;5;231mnot"),  # 25 is #005faf in xterm's cube
        (TRUE, "\x1b[48;2;{};{};{};38;2;255;255;255mnot".format(*rgb(-1.0))),
    ],
)
def test_terminal_colours(opinion, colours, not_):
    shown = plain(opinion, colours=colours)
    assert not_ + "\x1b[0m" in shown
    line = next(part for part in ESCAPES.sub("", shown).splitlines() if "I did not" in part)
    assert line.strip() == "[CLS] I did not like filmography zorgl"
    assert ("++" in ESCAPES.sub("", shown)) == (colours == 16)


def test_lines_of_a_coloured_text_are_equally_wide(of):
    cjk = [Token(c, glued=i > 0) for i, c in enumerate("我不喜欢这部电影" * 9)]
    shown = plain(of((*cjk, *text("😀 end"))), colours=TRUE, width=40)
    lines = [ESCAPES.sub("", s) for s in shown.splitlines() if s.startswith("  \x1b[48;2")]
    assert len(lines) == 5
    assert len({cells(line) for line in lines}) == 1


@pytest.mark.parametrize("width", [40, 80, 133])
@pytest.mark.parametrize("colours", [0, 256])
def test_words_wrap_at_the_width(of, width, colours):
    hard = (*text(f"{ARABIC} {HEBREW} 我不喜欢 😀"), Token("long" * 80), *text("word " * 150))
    shown = ESCAPES.sub("", plain(of(hard), width=width, colours=colours))
    assert max(map(cells, shown.splitlines())) <= width
    # every letter is there, in order
    start = shown.index("attribution of embedding")
    whole = "".join(shown[start:].replace("attribution of embedding", "").split())
    letters = whole.replace("+", "").replace("-", "")
    assert "".join(t.text for t in hard)[:400] in letters


def test_very_long_texts_are_cut_and_said(of):
    shown = plain(of(text("word " * 2000)))
    assert re.search(r"\n  and \d+ more lines\n", shown)
    assert png.draw(of(text("word " * 3000))).height < 8000


HOSTILE = ("<script>alert(1)</script>", "\u202egnp", "\x1b[31m", "a\nb", '"><img src=x>', "\udcff")


@pytest.mark.parametrize("colours", [0, 16, 256, TRUE])
def test_tokens_cannot_steer_the_terminal(of, colours):
    shown = ESCAPES.sub("", plain(of(tuple(map(Token, HOSTILE))), colours=colours))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", shown)


def test_tokens_are_text_in_the_page(of):
    page = html.document(of(tuple(map(Token, HOSTILE))))
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    said = [said for _, said in Shown(of(tuple(map(Token, HOSTILE)))).pieces()]
    assert said == [
        "<script>alert(1)</script>",
        "\\u202egnp",
        "\\x1b[31m",
        "a\\nb",
        '"><img src=x>',
        "\\udcff",
    ]


def test_words_of_the_page(opinion):
    pieces = Shown(opinion).pieces()
    assert [(a["class"], said) for a, said in pieces[3:8]] == [
        ("minus-32", "not"),
        ("plus-16", "like"),
        ("plus-8 goes-on", "film"),
        ("plus-4 glued", "ography"),
        ("minus-4 unknown", "zorgl"),
    ]
    assert [a["title"] for a, _ in pieces[:1] + pieces[-1:]] == [
        "[CLS]: 0, special",
        "zorgl: -0.25, not in the vocabulary",
    ]
    # glued pieces stand together, so that copies read as the text did
    assert ">film</span><span" in html.document(opinion)


def test_the_page_tells_what_the_colours_show(opinion):
    [box] = [a for _, a, _ in Shown(opinion).found if a.get("class") == "words"]
    assert box["role"] == "group"
    assert box["aria-label"].endswith(
        "strongest: not -2, like +1, film +0.5, ography +0.25, zorgl -0.25"
    )


@pytest.mark.parametrize("line", [ARABIC, HEBREW])
def test_direction_is_that_of_each_text(of, line):
    shown = Shown(of((Token("[CLS]", "special"), *text(line), *text("and more", segment=1))))
    assert [a["dir"] for tag, a, _ in shown.found if tag == "p"] == ["auto", "auto"]
    # a mark is isolated: HTML's dir=auto passes by bdi
    assert [tag for tag, _, said in shown.found if said.strip() == "[CLS]"] == ["bdi"]
    assert [tag for tag, _, said in shown.found if said.strip() == line.split()[0]] == ["span"]


def test_every_class_of_the_words_has_a_style(of):
    result = of(text("word " * 200))
    style = html.document(result).split("<style>")[1].split("</style>")[0]
    used = {c for a, _ in Shown(result).pieces() for c in a["class"].split()}
    assert len(used) > 30
    assert all(f".{name} {{" in style for name in used)


def boxes(line):
    return [Box(word, Piece(word, "text", False, 0.0), 0, 10) for word in line]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("one two", "one two"),
        # a right-to-left phrase among English words is read from right to left
        ("say אבג דהו now", "say דהו אבג now"),
        ("אבג דהו", "דהו אבג"),
        ("אבג 12 דהו", "דהו 12 אבג"),
        ("אבג new york דהו", "דהו new york אבג"),
        ("אבג !", "! אבג"),
        ("one !", "one !"),
    ],
)
def test_words_in_visual_order(line, expected):
    words = line.split()
    shown = visual(boxes(words), leftwards=direction(line) == "R")
    assert [box.said for box in shown] == expected.split()


def test_arabic_letters_join_across_the_pieces_of_a_word(of):
    """Drawn apart, the pieces are as wide as the whole word: the letters have the same forms."""
    if not joins():
        pytest.skip("Pillow without libraqm or fribidi does not join letters")
    whole = text_width("طويلة", 16)
    parts = ("طويل\u200d", "\u200dة")
    assert [box.said for box in _boxes([Piece(p, "text", False, 0.0) for p in ("طويل", "ة")])] == [
        *parts
    ]
    # each width is rounded to a 64th of a pixel
    assert sum(text_width(part, 16) for part in parts) == pytest.approx(whole, abs=0.1)
    assert [b.said for b in _boxes([Piece(p, "text", False, 0.0) for p in ("wo", "rd")])] == [
        "wo",
        "rd",
    ]


def test_figure_has_the_colours_of_the_tokens(opinion):
    figure = np.asarray(png.draw(opinion))

    def area(strength):
        return int((figure == rgb(strength)).all(axis=-1).sum())

    # "not" and "like" are boxes; 24 by about 24 units of two pixels each way, less their letters
    assert area(-1.0) > 1000
    assert area(0.5) > 1000


def test_a_right_to_left_text_is_drawn_at_the_right(of):
    values = np.array([[1.0, 0.0, 0.0]])
    for line, side in ((ARABIC, "right"), ("one two three", "left")):
        figure = np.asarray(png.draw(of(text(line), values=values)))
        # the first word is red and far from the legend, which is at the left
        columns = np.nonzero((figure[:400] == rgb(1.0)).all(axis=-1))[1]
        assert (columns.mean() > figure.shape[1] / 2) == (side == "right")


def test_a_long_word_is_cut_not_drawn_into_the_margin(of):
    figure = np.asarray(png.draw(of((Token("long" * 200),), values=np.ones((1, 1)))))
    assert (figure[:, :50] == 255).all()
    assert (figure[:, -50:] == 255).all()


@pytest.mark.parametrize(
    "tokens", [(Token("", "padding"),), (Token("[CLS]", "special"),), (Token(" "), Token(""))]
)
def test_texts_without_words(of, tokens):
    result = of(tokens, values=np.zeros((1, len(tokens))))
    assert "0 everywhere" in plain(result)
    assert "0 everywhere" in html.document(result)
    assert png.draw(result).height < 1000
