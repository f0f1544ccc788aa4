"""Draws are stratified, take all baselines alike, and repeat with the seed."""

import numpy as np
import pytest

from igrt.errors import InputError
from igrt.quadrature import MAX_DRAWS, Sampling


def drawn(sampling, baselines):
    return [run for runs in sampling.rounds(baselines) for run in runs]


@pytest.mark.parametrize(("draws", "baselines"), [(7, 5), (64, 64), (10, 100), (1, 3)])
def test_a_small_round_takes_no_baseline_twice_while_others_are_left(draws, baselines):
    ((which, where),) = drawn(Sampling(draws, None, 0), baselines)
    counts = np.bincount(which, minlength=baselines)
    assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(np.floor(where * draws), np.arange(draws))


@pytest.mark.parametrize(("draws", "baselines"), [(10, 5), (23, 5), (9, 1), (200, 3)])
def test_a_large_round_gives_every_baseline_strata_of_its_own(draws, baselines):
    runs = drawn(Sampling(draws, None, 0), baselines)
    assert sum(len(which) for which, _ in runs) == draws
    for baseline, (which, where) in enumerate(runs[:baselines]):
        assert (which == baseline).all()
        np.testing.assert_array_equal(np.floor(where * len(where)), np.arange(draws // baselines))
    rest = [b for which, _ in runs[baselines:] for b in which]
    assert len(rest) == draws % baselines
    assert len(set(rest)) == len(rest)


def test_every_baseline_and_every_part_of_the_path_is_drawn_alike():
    which, where = zip(
        *(run for seed in range(400) for run in drawn(Sampling(6, None, seed), 9)), strict=True
    )
    counts = np.bincount(np.concatenate(which), minlength=9)
    # 2,400 draws: 267 of each baseline, with a standard deviation of at most 16
    assert np.abs(counts - 2400 / 9).max() < 4 * 16
    quarters = np.bincount((np.concatenate(where) * 4).astype(int), minlength=4)
    # only the strata that straddle a quarter leave anything to chance
    assert np.abs(quarters - 600).max() < 4 * np.sqrt(400 / 4)


def test_rounds_to_a_tolerance_double_up_to_the_cap():
    for baselines in (1, 3, 50, 5000):
        sizes = [sum(len(w) for w, _ in runs) for runs in Sampling(None, 0.01, 0).rounds(baselines)]
        assert MAX_DRAWS // 2 < sum(sizes) <= MAX_DRAWS
        assert all(size % baselines == 0 for size in sizes if size >= 2 * baselines)
        assert sizes[0] <= 32


def test_the_deck_goes_on_in_the_next_round():
    """32 and then 32 of 64 baselines: all of them."""
    rounds = Sampling(None, 0.01, 0).rounds(64)
    which = [b for _ in range(2) for run, _ in next(rounds) for b in run]
    assert sorted(which) == list(range(64))


def test_the_seed_repeats_the_draws_and_another_does_not():
    one, same, other = (drawn(Sampling(12, None, seed), 20)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one[1], same[1])
    np.testing.assert_array_equal(one[0], same[0])
    assert (one[1] != other[1]).any()


@pytest.mark.parametrize("tolerance", [0, 1, -0.5, 2.0])
def test_a_tolerance_outside_0_and_1_is_refused(tolerance):
    with pytest.raises(InputError, match="tolerance"):
        Sampling(None, tolerance, 0)
