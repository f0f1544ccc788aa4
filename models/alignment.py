"""Which words of two sentences stand for each other: IBM model 1 that prefers the diagonal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from common import Array, Floats

Pair = tuple[Array, Array]  # token numbers of the source [S], of the target [T]
Links = npt.NDArray[np.bool_]  # [S, T]
NOTHING = 0  # the token that target words come from which no source word stands for


def prior(source: int, target: int, sharpness: float = 4.0, nothing: float = 0.08) -> Floats:
    """p(s | t) ∝ exp(-sharpness · |s/S - t/T|) and p(nothing | t) in row 0, [S + 1, T].

    Dyer, Chahuneau and Smith 2013, equation 2.
    """
    s, t = (np.arange(source) + 0.5) / source, (np.arange(target) + 0.5) / target
    near = np.exp(-sharpness * np.abs(s[:, None] - t[None]))
    return np.vstack([np.full(target, nothing), (1 - nothing) * near / near.sum(0)]).astype("f4")


def posterior(table: Floats, pair: Pair) -> Floats:
    """p(s | t, pair) [S + 1, T] by the table [source words, target words]; row 0 is nothing."""
    source, target = pair
    words = np.concatenate([[NOTHING], source])
    p = table[words[:, None], target[None]] * prior(len(source), len(target))
    likely: Floats = p / p.sum(0)
    return likely


def translation_table(pairs: Sequence[Pair], sizes: tuple[int, int], rounds: int = 6) -> Floats:
    """p(target word | source word), by expectation maximisation (Brown et al. 1993)."""
    table = np.full(sizes, 1 / sizes[1], np.float32)
    for _ in range(rounds):
        counts = np.full(sizes, 1e-7, np.float32)
        for pair in pairs:
            words = np.concatenate([[NOTHING], pair[0]])
            np.add.at(counts, (words[:, None], pair[1][None]), posterior(table, pair))
        table = counts / counts.sum(1, keepdims=True)
    return table


def one_way(table: Floats, pair: Pair) -> Links:
    """The likeliest source word of every target word, where there is one."""
    likely = posterior(table, pair)
    return (likely == likely.max(0))[1:]


class Aligner:
    """Aligns by two tables, from source to target and back.

    `pairs` are what it learns from; `sizes`, the numbers of words, with `NOTHING` among them.
    """

    def __init__(self, pairs: Sequence[Pair], sizes: tuple[int, int]) -> None:
        self.forward = translation_table(pairs, sizes)
        self.backward = translation_table([(t, s) for s, t in pairs], sizes[::-1])

    def both_ways(self, pair: Pair) -> tuple[Links, Links]:
        """The links that both directions find, and those that one or the other finds."""
        forward = one_way(self.forward, pair)
        backward = one_way(self.backward, pair[::-1]).T
        return forward & backward, forward | backward


def grown(both: Links, either: Links) -> Links:
    """`both`, and what of `either` touches it and links a word that nothing linked before.

    "Grow-diag" of Koehn, Och and Marcu 2003: touching is beside, above or at a corner.
    """
    links = both.copy()
    while True:
        new = next(_touching(links, either), None)
        if new is None:
            return links
        links[new] = True


def _touching(links: Links, either: Links) -> Iterator[tuple[int, int]]:
    near = np.pad(links, 1)
    for s, t in zip(*np.nonzero(either & ~links), strict=True):
        alone = not links[s].any() or not links[:, t].any()
        if alone and near[s : s + 3, t : t + 3].any():
            yield int(s), int(t)
