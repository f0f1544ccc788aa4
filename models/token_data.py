"""Texts: training and test examples as token numbers, without torch.

Tokenizers are files of the `tokenizers` package, made by the training scripts. Token 0 is padding,
token 1 stands for every unknown word.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import common
import numpy as np
from common import Array, Feeds, Labels
from datasets import Split, shared_data
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing

PAD, UNK, BEGIN, END = "[PAD]", "[UNK]", "[BOS]", "[EOS]"  # tokens 0 to 3
MOST_WORDS = 12  # of a sentence that translations are tested on

TREC_CLASSES = {
    "ABBR": "abbreviation",
    "DESC": "description",
    "ENTY": "entity",
    "HUM": "human",
    "LOC": "location",
    "NUM": "number",
}


# --- data sets ------------------------------------------------------------------------------------


def lines(file: str, data: Path | None = None) -> list[str]:
    """Lines of a file in the folder of the data sets."""
    return ((data or shared_data()) / "datasets" / file).read_text(encoding="utf-8").splitlines()


def trec(part: str, data: Path | None = None) -> tuple[list[str], Labels]:
    """TREC questions (Li and Roth 2002), `part` train or test, and the class of each.

    Questions that stand in both parts are taken out of the training part.
    """
    rows = [line.split(" ", 1) for line in lines(f"trec.{part}.txt", data)]
    if part == "train":
        held = {line.split(" ", 1)[1] for line in lines("trec.test.txt", data)}
        rows = [row for row in rows if row[1] not in held]
    codes = list(TREC_CLASSES)
    labels = np.array([codes.index(label.split(":")[0]) for label, _ in rows])
    return [text for _, text in rows], labels


def sst2(part: str, data: Path | None = None) -> tuple[list[str], Labels]:
    """Sentences of film reviews (Socher et al. 2013), `part` train, dev or test; 1 is positive."""
    rows = [line.split(" ", 1) for line in lines(f"sst2.{part}.txt", data)]
    return [text for _, text in rows], np.array([int(label) for label, _ in rows])


def sentence_pairs(file: str, data: Path | None = None) -> tuple[list[str], list[str]]:
    """English and German sentences of `file`, train or val, without the markup of the corpus."""
    english, german = (
        [html.unescape(line.strip()) for line in lines(f"en-de.{file}.{language}.txt", data)]
        for language in ("en", "de")
    )
    return english, german


# --- tokenizers -----------------------------------------------------------------------------------


def word_level(vocabulary: Mapping[str, int] | None = None) -> Tokenizer:
    """Lower-case words and single signs, by their numbers; "n't" is read as "not"."""
    tokenizer = Tokenizer(models.WordLevel(dict(vocabulary or {}), unk_token=UNK))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            # "did n't", "didn't" and "did not" are the same two words
            normalizers.Replace(Regex(r"\s?n['’]t\b"), " not"),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), "removed", invert=True)
    tokenizer.enable_padding(pad_id=0, pad_token=PAD)
    return tokenizer


def word_tokenizer(texts: Sequence[str], least: int) -> Tokenizer:
    """A vocabulary of the words and signs that occur `least` times."""
    tokenizer = word_level()
    trainer = trainers.WordLevelTrainer(
        vocab_size=100_000, min_frequency=least, special_tokens=[PAD, UNK], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.enable_padding(pad_id=0, pad_token=PAD)
    return tokenizer


def sentence_tokenizer(texts: Sequence[str], least: int, template: str) -> Tokenizer:
    """A vocabulary of the words that occur `least` times, in a `template` as "[BOS] $A [EOS]".

    The more frequent word has the smaller number; among equals, the one that came first.
    """
    counts = Counter(word for text in words_of(texts) for word in text)
    special = [PAD, UNK, BEGIN, END]
    frequent = [word for word, count in counts.most_common() if count >= least]
    numbers = {word: n for n, word in enumerate([*special, *frequent])}
    tokenizer = word_level(numbers)
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[(token, numbers[token]) for token in (BEGIN, END)]
    )
    return tokenizer


def words_of(texts: Sequence[str]) -> list[list[str]]:
    """Words and signs of every text, known or not."""
    splitter = word_level()
    return [
        [
            word
            for word, _ in splitter.pre_tokenizer.pre_tokenize_str(
                splitter.normalizer.normalize_str(text)
            )
            if word.isprintable()
        ]
        for text in texts
    ]


def load_tokenizer(name: str, file: str = "tokenizer.json") -> Tokenizer:
    """A tokenizer that is shipped with a model."""
    return Tokenizer.from_file(str(common.ROOT / name / file))


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Array:
    """Token numbers int64 [texts, longest], padded with 0."""
    return np.array([encoding.ids for encoding in tokenizer.encode_batch(texts)], np.int64)


# --- what the models take -------------------------------------------------------------------------


def trec_split(part: str, data: Path | None = None) -> Split:
    """Questions as `input_ids` [n, words]."""
    texts, labels = trec(part, data)
    return Split({"input_ids": encode(load_tokenizer("trec_cnn"), texts)}, labels)


def sst2_split(part: str, data: Path | None = None) -> Split:
    """Sentences as `input_ids` and `attention_mask` [n, words]."""
    texts, labels = sst2(part, data)
    return Split(masked(encode(load_tokenizer("sst2_attention"), texts)), labels)


def en_de(part: str, data: Path | None = None) -> tuple[list[str], list[str]]:
    """English and German sentences, `part` train or test.

    Every second of the short sentences that occur once is held out for the test.
    """
    english, german = sentence_pairs("train", data)
    words = list(zip(words_of(english), words_of(german), strict=True))
    seen = Counter(tuple(source) for source, _ in words)
    short = [
        row
        for row, pair in enumerate(words)
        if all(3 <= len(text) <= MOST_WORDS for text in pair) and seen[tuple(pair[0])] == 1
    ]
    held = set(short[::2])
    chosen = [row for row in range(len(words)) if (row in held) == (part == "test")]
    return [english[row] for row in chosen], [german[row] for row in chosen]


def en_de_split(data: Path | None = None) -> Split:
    """Held-out pairs of known words: `source_ids`, `target_ids`, and the next token.

    The labels [n, target] are the target one place to the left, with 0 where there is none.
    """
    source, target = (
        encode(load_tokenizer("en_de_gru", f"tokenizer.{language}.json"), texts)
        for language, texts in zip(("en", "de"), en_de("test", data), strict=True)
    )
    lengths = np.stack([(ids != 0).sum(1) for ids in (source, target)])
    known = ~((source == 1).any(1) | (target == 1).any(1))
    # a pair of which one side is much longer is no translation
    fits = known & (lengths.max(0) < 1.7 * lengths.min(0) + 1)
    source, target = source[fits], target[fits]
    return Split({"source_ids": source, "target_ids": without_end(target)}, target[:, 1:])


def without_end(target: Array) -> Array:
    """Targets as they are fed: the last token is not, because nothing comes after it."""
    return np.where(target == 3, 0, target)[:, :-1]


def masked(ids: Array) -> dict[str, Array]:
    """The two inputs of a model that is told which tokens are not padding."""
    return {"input_ids": ids, "attention_mask": (ids != 0).astype(np.int64)}


def write_samples(
    name: str, texts: Sequence[str], labels: Sequence[str], feeds: Feeds
) -> list[dict[str, object]]:
    """Ship texts as lines for readers and as arrays for the model; returns MANIFEST entries."""
    folder = common.ROOT / name / "inputs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "texts.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    for key, array in feeds.items():
        np.save(folder / f"{key}.npy", array)
    return [
        {"file": "inputs/texts.txt", "row": row, "text": text, "label": label}
        for row, (text, label) in enumerate(zip(texts, labels, strict=True))
    ]
