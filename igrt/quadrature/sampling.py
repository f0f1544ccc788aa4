"""`Sampling`: where on the paths from a set of baselines to draw, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from igrt.errors import InputError
from igrt.specs import Array

MAX_DRAWS = 2048
"""Where draws to a tolerance stop: the error falls like 1/√draws, so ten times less takes a hundred
times as many."""

_FIRST = 32


@final
@dataclass(frozen=True)
class Sampling:
    """Stratified draws of (baseline, position on its path).

    A run of m draws has one position in each of m strata, uniform in [k/m, (k + 1)/m). Where a
    round has at least two draws for each baseline, each baseline gets a run of its own and as many
    as the others. What is left, or all of a smaller round, is one run with baselines from a
    shuffled deck: none twice before all have been drawn. So the mean is unbiased.

    Args:
        draws: How many to draw, in one round; None for rounds that double up to `MAX_DRAWS`.
        tolerance: Relative sampling error at which to stop; None for a fixed number.
        seed: Seed of the draws. They are the same for all examples, so that what an example gets
            does not depend on the others.

    Raises:
        InputError: If an argument is not usable.

    Reference: Cochran, 1977, "Sampling Techniques", section 5A.
    """

    name: ClassVar[str] = "stratified"

    draws: int | None
    tolerance: float | None
    seed: int

    def __post_init__(self) -> None:
        for what, value, least in (("draws", self.draws, 1), ("seed", self.seed, 0)):
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if value is not None and not (whole and value >= least):
                raise InputError(
                    f"{what} must be a whole number from {least} on, not {value!r}",
                    hint="leave it out to have it chosen",
                )
        if self.tolerance is not None and not 0 < self.tolerance < 1:
            raise InputError(
                f"tolerance must lie between 0 and 1, not {self.tolerance!r}",
                hint="0.01 is the default",
            )

    @property
    def first(self) -> int:
        """Draws of the first round."""
        return self.draws or _FIRST

    def rounds(self, baselines: int) -> Iterator[list[tuple[Array, Array]]]:
        """Rounds of runs: which baselines, [m] int64, and where, [m] float64 ascending."""
        rng = np.random.default_rng(self.seed)
        deck = np.empty(0, dtype=np.int64)
        for count in self._sizes(baselines):
            each = count // baselines if count >= 2 * baselines else 0
            runs = [(np.full(each, b), _strata(each, rng)) for b in range(baselines) if each]
            rest = count - each * baselines
            while len(deck) < rest:
                deck = np.concatenate([deck, rng.permutation(baselines)])
            if rest:
                runs.append((deck[:rest], _strata(rest, rng)))
                deck = deck[rest:]
            yield runs

    def _sizes(self, baselines: int) -> Iterator[int]:
        if self.draws is not None:
            yield self.draws
            return
        sizes = [_FIRST]
        while sum(sizes) < MAX_DRAWS:
            sizes.append(sum(sizes))
        for size in sizes:
            yield size - size % baselines if size >= 2 * baselines else size


def _strata(count: int, rng: np.random.Generator) -> Array:
    return np.asarray((np.arange(count) + rng.random(count)) / count)


__all__ = ["MAX_DRAWS", "Sampling"]
