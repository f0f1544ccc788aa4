"""How often a negation turns the word behind it in sst2_attention, by Integrated Hessians.

python models/negation.py counts over the SST-2 test sentences: of the three words behind a
negation, the one with the largest main effect; and whether the interaction of the two has the
opposite sign. The same for every other word in place of the negation shows what chance gives.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import common
import datasets
import numpy as np
import token_data
from common import Array

import igrt

NEGATIONS = {"not", "n't", "never", "no", "nothing", "without"}
REACH = 3
ROWS = 64  # sentences at a time


@dataclass
class Count:
    """Pairs of words: how many, in how many the second is turned, and by what share of it."""

    pairs: int = 0
    turned: int = 0
    shares: list[float] = field(default_factory=list)

    def add(self, gamma: Array, first: int, last: int) -> None:
        """Take the pair of a word and the strongest of those behind it, up to `last`."""
        behind = np.arange(first + 1, min(first + 1 + REACH, last))
        if not len(behind):
            return
        main = np.diag(gamma)
        second = behind[np.argmax(np.abs(main[behind]))]
        pair = gamma[first, second] + gamma[second, first]
        self.pairs += 1
        self.turned += int(pair * main[second] < 0)
        self.shares.append(abs(pair / main[second]))

    def __str__(self) -> str:
        share = 100 * self.turned / self.pairs
        size = 100 * float(np.median(self.shares))
        return f"{self.turned} of {self.pairs} turned ({share:.0f} %), by {size:.1f} % (median)"


def main() -> None:
    """Print both counts."""
    texts, _ = token_data.sst2("test", datasets.shared_data())
    tokenizer = token_data.load_tokenizer("sst2_attention")
    split = [tokenizer.encode(text).tokens for text in texts]
    chosen = [i for i, words in enumerate(split) if NEGATIONS.intersection(words)]
    chosen.sort(key=lambda i: len(split[i]))
    explainer = igrt.Explainer(common.ROOT / common.manifest()["sst2_attention"]["file"])
    negated, others, worst = Count(), Count(), 0.0
    for start in range(0, len(chosen), ROWS):
        part = chosen[start : start + ROWS]
        feeds = token_data.masked(token_data.encode(tokenizer, [texts[i] for i in part]))
        result = explainer.explain(feeds, target=1, method="integrated_hessians")
        worst = max(worst, float(result.error.max()))
        (gammas,) = result.interactions.values()
        for i, gamma in zip(part, gammas, strict=True):
            words = split[i]
            for at, word in enumerate(words):
                (negated if word in NEGATIONS else others).add(gamma, at, len(words))
    print(f"{len(chosen)} sentences; estimated error {worst:.1e} at most")
    print(f"a negation and the word behind it: {negated}")
    print(f"any other word and the word behind it: {others}")


if __name__ == "__main__":
    main()
