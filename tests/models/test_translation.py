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


def test_the_prior_is_a_distribution_that_prefers_the_diagonal():
    prior = alignment.prior(5, 5)
    # a sum of five float32 numbers
    np.testing.assert_allclose(prior.sum(0), 1, rtol=1e-6)
    np.testing.assert_array_equal(prior.argmax(0), np.arange(5))


def test_words_that_always_occur_together_are_translations_in_any_order():
    draw = np.random.default_rng(0)
    pairs = []
    for _ in range(200):
        source = draw.choice(20, 4, replace=False)
        # word i is translated as 19 - i
        pairs.append((source, draw.permutation(19 - source)))
    table = alignment.translation_table(pairs, (20, 20))
    np.testing.assert_array_equal(table.argmax(1), 19 - np.arange(20))
    np.testing.assert_allclose(table.sum(1), 1, rtol=1e-5)  # twenty float32 numbers
    source = np.array([3, 7, 11])
    found = alignment.posterior(table, (source, np.array([8, 12, 16])))
    np.testing.assert_array_equal(found.argmax(0), [2, 1, 0])


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
