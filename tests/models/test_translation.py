"""What the translation model needs beside its network: alignment, and the figure of merit."""

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

MODELS = Path(__file__).resolve().parents[2] / "models"


def load_script(name):
    sys.path.insert(0, str(MODELS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(MODELS))


alignment = load_script("alignment")
phrases = load_script("phrases")


def test_the_prior_is_a_distribution_that_prefers_the_diagonal():
    prior = alignment.prior(5, 5)
    # a sum of six float32 numbers
    np.testing.assert_allclose(prior.sum(0), 1, rtol=1e-6)
    np.testing.assert_array_equal(prior[1:].argmax(0), np.arange(5))


def reversed_words(count, size=20):
    """Pairs in which word i is translated as size + 1 - i, in any order; 0 is no word."""
    draw = np.random.default_rng(0)
    sources = [1 + draw.choice(size, 4, replace=False) for _ in range(count)]
    return [(source, draw.permutation(size + 1 - source)) for source in sources]


def test_words_that_always_occur_together_are_translations_in_any_order():
    table = alignment.translation_table(reversed_words(200), (21, 21))
    np.testing.assert_array_equal(table[1:].argmax(1), 20 - np.arange(20))
    np.testing.assert_allclose(table.sum(1), 1, rtol=1e-5)  # some twenty float32 numbers
    found = alignment.one_way(table, (np.array([4, 8, 12]), np.array([9, 13, 17])))
    np.testing.assert_array_equal(found, np.eye(3)[::-1])


def test_both_directions_agree_where_words_are_translations():
    aligner = alignment.Aligner(reversed_words(200), (21, 21))
    both, either = aligner.both_ways((np.array([4, 8, 12]), np.array([9, 17])))
    np.testing.assert_array_equal(both, [[False, True], [False, False], [True, False]])
    assert (either >= both).all()


def test_links_grow_to_neighbours_of_words_without_one():
    both = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 0]], bool)
    either = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], bool)
    # beside (0, 0) is (0, 1), whose column is free; (1, 1) then has a free row, and (2, 2) both
    np.testing.assert_array_equal(alignment.grown(both, either), either)
    apart = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 1]], bool)
    np.testing.assert_array_equal(alignment.grown(both, apart), both)


def consistent_by_definition(links, most):
    """Every pair of stretches whose ends are linked and which no link leaves."""
    rows, columns = links.shape
    found = []
    for s0, s1 in ((i, j) for i in range(rows) for j in range(i + 1, rows + 1)):
        for t0, t1 in ((i, j) for i in range(columns) for j in range(i + 1, columns + 1)):
            inside = np.zeros_like(links)
            inside[s0:s1, t0:t1] = True
            block = links[s0:s1, t0:t1]
            leaves = links & (inside.any(1)[:, None] ^ inside.any(0)[None])
            ends = block[0].any() and block[-1].any() and block[:, 0].any() and block[:, -1].any()
            if ends and not leaves.any() and max(s1 - s0, t1 - t0) <= most:
                found.append((slice(s0, s1), slice(t0, t1)))
    return found


def test_phrases_are_all_that_the_definition_allows():
    draw = np.random.default_rng(0)
    for _ in range(20):
        links = draw.random((5, 6)) < 0.25
        assert list(phrases.consistent(links, 4)) == consistent_by_definition(links, 4)


def test_phrases_of_sentences_are_clauses_and_pieces():
    draw = np.random.default_rng(0)
    english = [f"e{i}" for i in range(12)]
    texts = []
    for _ in range(150):
        chosen = draw.choice(12, 8, replace=False)
        source = [*(english[i] for i in chosen[:4]), ",", *(english[i] for i in chosen[4:]), "."]
        texts.append((source, [word.replace("e", "d") for word in source]))
    known = {*english, ",", "."}, {*(word.replace("e", "d") for word in english), ",", "."}
    pieces, whole = phrases.collect(texts, known)
    for found in (pieces, whole):
        assert all(tuple(w.replace("e", "d") for w in s) == t for s, t in found)
    source = texts[0][0]
    assert tuple(source[:3]) in {s for s, _ in pieces}
    # the clause before the comma, with it or not, and the whole sentence
    assert {tuple(source[:5]), tuple(source)} <= {s for s, _ in whole}
    # a word that is not known is allowed in a clause, and in no piece
    known[0].remove("e0")
    pieces, whole = phrases.collect(texts, known)
    assert not any("e0" in s or phrases.UNKNOWN in s for s, _ in pieces)
    assert any(phrases.UNKNOWN in s for s, _ in whole)


def test_bleu_is_the_formula():
    pytest.importorskip("tokenizers", reason="translate.py reads texts by it")
    bleu = load_script("translate").bleu
    wanted = [["a", "b", "c", "d", "e"]]
    assert bleu(wanted, wanted) == 1
    # precisions 4/5, 3/4, 2/3 and 1/2; as long as the reference
    found = [["a", "b", "c", "d", "x"]]
    expected = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert math.isclose(bleu(found, wanted), expected, rel_tol=1e-12)  # rounding of float64
    # all four words right, but one is missing
    assert math.isclose(bleu([wanted[0][:4]], wanted), math.exp(1 - 5 / 4), rel_tol=1e-12)
    assert bleu([["z"] * 5], wanted) == 0
