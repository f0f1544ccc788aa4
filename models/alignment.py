"""Which source token a target token comes from: IBM model 1 with a preference for the diagonal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from common import Array, Floats

Pair = tuple[Array, Array]  # token numbers of the source [S], of the target [T]


def prior(source: int, target: int, sharpness: float = 4.0) -> Floats:
    """p(s | t) ∝ exp(-sharpness · |s/S - t/T|), [S, T] (Dyer, Chahuneau and Smith 2013)."""
    s, t = (np.arange(source) + 0.5) / source, (np.arange(target) + 0.5) / target
    near = np.exp(-sharpness * np.abs(s[:, None] - t[None]))
    return (near / near.sum(0)).astype(np.float32)


def posterior(table: Floats, pair: Pair) -> Floats:
    """p(s | t, pair) [S, T] by the translation table [source words, target words]."""
    source, target = pair
    p = table[source[:, None], target[None]] * prior(len(source), len(target))
    likely: Floats = p / (p.sum(0) + 1e-12)
    return likely


def translation_table(pairs: Sequence[Pair], sizes: tuple[int, int], rounds: int = 4) -> Floats:
    """p(target word | source word), by expectation maximisation (Brown et al. 1993)."""
    table = np.full(sizes, 1 / sizes[1], np.float32)
    for _ in range(rounds):
        counts = np.full(sizes, 1e-6, np.float32)
        for pair in pairs:
            np.add.at(counts, (pair[0][:, None], pair[1][None]), posterior(table, pair))
        table = counts / counts.sum(1, keepdims=True)
    return table
