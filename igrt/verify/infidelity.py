"""Infidelity: how far an attribution is from foretelling changes of the score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.specs import Array, Feeds
from igrt.verify.check import Check
from igrt.verify.evaluate import (
    CONTROLS,
    ROUNDING,
    Run,
    check_arrays,
    check_positive,
    flat,
    joined,
    rows_within,
    scores_of,
    stacked,
)
from igrt.verify.perturb import Gaussian, Perturb

SAMPLES = 128
"""Perturbations, by default."""

_QUANTILE = 1.645
"""Of the standard normal distribution, for a chance of 5 %."""


@final
@dataclass(frozen=True, eq=False)
class Infidelity:
    """How far the attribution is from foretelling changes of the score.

    Args:
        foretold: IᵀΦ of each perturbation, [samples].
        change: F(x) - F(x - I), [samples].
        shuffled: IᵀΦ with the attribution's own numbers in random places, [controls, samples].
        checks: Whether the attribution beats zero.
    """

    foretold: Array
    change: Array
    shuffled: Array
    checks: tuple[Check, ...]

    @property
    def plain(self) -> float:
        """E[(IᵀΦ - (F(x) - F(x - I)))²]."""
        return float(np.mean((self.foretold - self.change) ** 2))

    @property
    def scale(self) -> float:
        """β = E[IᵀΦ·(F(x) - F(x - I))] / E[(IᵀΦ)²], by which the attribution fits best."""
        return _scale(self.foretold, self.change)

    @property
    def normalised(self) -> float:
        """Infidelity of β·Φ."""
        return float(np.mean((self.scale * self.foretold - self.change) ** 2))

    @property
    def of_zero(self) -> float:
        """Infidelity of an attribution that is zero everywhere."""
        return float(np.mean(self.change**2))


def infidelity(
    run: Run,
    x: Feeds,
    baseline: Feeds,
    values: Feeds,
    *,
    perturb: Perturb | None = None,
    times_displacement: bool = True,
    samples: int = SAMPLES,
    controls: int = CONTROLS,
    seed: int = 0,
    chunk: int = 32,
) -> Infidelity:
    """Mean squared error of the changes that an attribution foretells.

    INFD(Φ) = E_I[(IᵀΦ - (F(x) - F(x - I)))²]

    Φ is a slope. An attribution that has the displacement as a factor, as Integrated Gradients, is
    divided by it first; features without a displacement have no slope, and no part in IᵀΦ.

    The check is on the infidelity with the best β ≥ 0, relative to that of zero attribution, 1. One
    that has nothing to do with the changes gets below 1 - 2.7/samples once in twenty times.
    Reported beside it is that of the attribution's own numbers in random places.

    Args:
        run: The explained score of each row.
        x: The input, [*shape] by tensor.
        baseline: The baseline, likewise.
        values: The attribution, likewise.
        perturb: Where x - I is drawn from; `Gaussian()` by default.
        times_displacement: Whether the attribution has x - x' as a factor. Not so for gradients.
        samples: Number of perturbations.
        controls: Number of random places to compare with.
        seed: Seed of both.
        chunk: Rows given to `run` at a time.

    Raises:
        InputError: If a number is not positive, or arrays do not fit.
        NonFiniteError: If an attribution or a score is NaN or infinite.

    Reference: Yeh et al., 2019, "On the (In)fidelity and Sensitivity of Explanations", eq. 1;
    β as in the authors' code.
    """
    check_positive(samples=samples, controls=controls, chunk=chunk)
    check_arrays(x, baseline=baseline, values=values)
    perturb = perturb or Gaussian()
    numbers = flat(values, x)
    moves = flat(x, x) - flat(baseline, x)
    live = np.flatnonzero(moves if times_displacement else np.ones_like(moves))
    numbers, moves = numbers[live], moves[live]
    chunk, draw = rows_within(chunk, x), np.random.default_rng(seed)
    found = []

    def slopes() -> Iterator[Array]:
        # drawn again for each chunk, since all of them may not fit into memory at once
        yield numbers
        for control in range(controls):
            yield np.random.default_rng((seed, 1 + control)).permutation(numbers)

    def points() -> Iterator[dict[str, Array]]:
        for start in range(0, samples, chunk):
            # one after the other, so that the draws do not depend on the chunk
            made = stacked(perturb(draw, x, baseline) for _ in range(min(chunk, samples - start)))
            removed = (flat(x, x) - joined(made, x))[:, live]
            units = removed / moves if times_displacement else removed
            found.append(np.stack([units @ slope for slope in slopes()]))
            yield made

    here = scores_of(run, iter([{n: np.asarray(a)[np.newaxis] for n, a in x.items()}]))
    change = here - scores_of(run, points())
    products = np.concatenate(found, axis=1)
    checks = (_check(products, change, float(here[0])),)
    return Infidelity(products[0], change, products[1:], checks)


def _check(products: Array, change: Array, score: float) -> Check:
    if np.abs(change).max() <= ROUNDING * abs(score):
        return Check.skipped("infidelity", "no perturbation changes the score")
    unexplained = np.array([_unexplained(p, change) for p in products])
    # the cosine of n independent numbers with others is about normal, with variance 1/n
    limit = 1 - _QUANTILE**2 / len(change)
    detail = (
        "E[(β·IᵀΦ − ΔF)²] / E[ΔF²] with the best β ≥ 0; zero attribution has 1, the same numbers"
        f" in random places {np.median(unexplained[1:]):.2g}"
    )
    return Check.at_most("infidelity", float(unexplained[0]), limit, detail)


def _unexplained(foretold: Array, change: Array) -> float:
    """Infidelity of β·Φ with the best β ≥ 0, relative to that of zero; 0 where nothing changes."""
    zero = float(np.mean(change**2))
    scale = max(_scale(foretold, change), 0.0)
    return float(np.mean((scale * foretold - change) ** 2)) / zero if zero else 0.0


def _scale(foretold: Array, change: Array) -> float:
    square = float(np.mean(foretold**2))
    return float(np.mean(foretold * change)) / square if square else 0.0


__all__ = ["SAMPLES", "Infidelity", "infidelity"]
