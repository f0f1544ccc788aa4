"""Phrase pairs: stretches of two sentences that are translations of each other.

A pair of sentences has some dozens of them, and most are short and clean. From ten thousand pairs
of long sentences they make a training set that a small network can learn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import alignment
import numpy as np
from alignment import Links

Words = Sequence[str]
Phrase = tuple[tuple[str, ...], tuple[str, ...]]  # words of the source, of the target
UNKNOWN = "[UNK]"
ENDS = frozenset(".!?;:,")


def consistent(links: Links, most: int) -> Iterator[tuple[slice, slice]]:
    """Stretches of at most `most` words whose links all stay between them (Och and Ney 2004).

    The first and the last source word are linked, and so are those of the target.
    """
    for start in range(len(links)):
        for stop in range(start + 1, min(len(links), start + most) + 1):
            targets = np.flatnonzero(links[start:stop].any(0))
            if not links[start].any() or not links[stop - 1].any():
                continue
            first, last = int(targets[0]), int(targets[-1])
            sources = np.flatnonzero(links[:, first : last + 1].any(1))
            if last - first < most and sources[0] >= start and sources[-1] < stop:
                yield slice(start, stop), slice(first, last + 1)


class Vocabulary:
    """Numbers of the words that occur `least` times in `texts`; the others share one."""

    def __init__(self, texts: Sequence[Words], least: int) -> None:
        counts = Counter(word for text in texts for word in text)
        common = [word for word, count in counts.most_common() if count >= least]
        self.words = [UNKNOWN, *common]
        self.numbers = {word: n for n, word in enumerate(self.words, start=1)}  # 0 is NOTHING

    def __len__(self) -> int:
        return len(self.words) + 1

    def encode(self, text: Words) -> alignment.Array:
        """Numbers [words]."""
        return np.array([self.numbers.get(word, 1) for word in text])


class WordAligner:
    """Links of texts that are given as words, learned from `texts` alone."""

    def __init__(self, texts: Sequence[tuple[Words, Words]]) -> None:
        self.source, self.target = (
            Vocabulary([text[side] for text in texts], least=3) for side in (0, 1)
        )
        pairs = [self.encode(text) for text in texts]
        self.aligner = alignment.Aligner(pairs, (len(self.source), len(self.target)))

    def encode(self, text: tuple[Words, Words]) -> alignment.Pair:
        """Numbers of the words on both sides."""
        return self.source.encode(text[0]), self.target.encode(text[1])

    def both_ways(self, text: tuple[Words, Words]) -> tuple[Links, Links]:
        """As `alignment.Aligner.both_ways`."""
        return self.aligner.both_ways(self.encode(text))


def is_sign(word: str) -> bool:
    """Whether it is punctuation and no word."""
    return not word[0].isalnum()


def is_clause(text: Words, part: slice) -> bool:
    """Whether a stretch begins and ends where the sentence or a part of it does."""
    begins = part.start == 0 or is_sign(text[part.start - 1])
    last = part.stop - 1
    ends = last == len(text) - 1 or text[last] in ENDS or text[last + 1] in ENDS
    return begins and ends


def with_unknown(text: Words, known: Collection[str]) -> tuple[str, ...]:
    """The words, each that is not known replaced by `UNKNOWN`."""
    return tuple(word if word in known else UNKNOWN for word in text)


def useful(source: Words, target: Words, linked: int) -> bool:
    """Whether two stretches look like a translation: signs where signs are, most words linked."""
    signs = all(is_sign(source[end]) == is_sign(target[end]) for end in (0, -1))
    return signs and linked >= 0.6 * max(len(source), len(target))


def collect(
    texts: Sequence[tuple[Words, Words]], known: tuple[Collection[str], Collection[str]]
) -> tuple[Counter[Phrase], Counter[Phrase]]:
    """How often every phrase pair occurs: pieces, and whole clauses or sentences.

    Pieces have known words only, and at most 14 of them. Of a clause one word may be unknown, of a
    sentence (at most 20 words) one in seven.

    Args:
        texts: words of the sentences.
        known: words of the source, of the target.
    """
    aligner = WordAligner(texts)
    pieces: Counter[Phrase] = Counter()
    whole: Counter[Phrase] = Counter()
    for text in texts:
        both, either = aligner.both_ways(text)
        for parts in consistent(alignment.grown(both, either), most=14):
            source, target = text[0][parts[0]], text[1][parts[1]]
            if not useful(source, target, int(both[parts[0]].sum())):
                continue
            phrase = with_unknown(source, known[0]), with_unknown(target, known[1])
            unknown = [words.count(UNKNOWN) for words in phrase]
            if len(source) > 2 and all(map(is_clause, text, parts)):
                if max(unknown) <= 1 and sum(unknown) <= 0.3 * len(source):
                    whole[phrase] += 1
            elif not any(unknown) and not is_sign(source[0]) and len(source) > 1:
                pieces[phrase] += 1
        phrase = with_unknown(text[0], known[0]), with_unknown(text[1], known[1])
        lengths = [len(words) for words in phrase]
        unknown = [words.count(UNKNOWN) for words in phrase]
        if max(lengths) <= min(20, 1.6 * min(lengths)) and max(unknown) <= lengths[0] / 7 + 0.5:
            whole[phrase] += 1
    return pieces, whole
