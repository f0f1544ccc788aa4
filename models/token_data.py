"""Texts: training and test examples as token numbers, without torch.

Tokenizers are files of the `tokenizers` package, made by the training scripts. Token 0 is padding,
token 1 stands for every unknown word.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import common
import numpy as np
from common import Array, Feeds, Labels
from datasets import Split, shared_data
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing

PAD, UNK, BEGIN, END = "[PAD]", "[UNK]", "[BOS]", "[EOS]"  # tokens 0 to 3
MOST_PIECES = 32  # of a sentence to translate

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


def word_tokenizer(texts: Sequence[str], least: int) -> Tokenizer:
    """Lower-case words and single signs that occur `least` times; "n't" is read as "not"."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNK))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            # "did n't", "didn't" and "did not" are the same two words
            normalizers.Replace(Regex(r"\s?n['’]t\b"), " not"),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), "removed", invert=True)
    trainer = trainers.WordLevelTrainer(
        vocab_size=100_000, min_frequency=least, special_tokens=[PAD, UNK], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.enable_padding(pad_id=0, pad_token=PAD)
    return tokenizer


def piece_tokenizer(texts: Sequence[str], size: int, template: str) -> Tokenizer:
    """Lower-case word pieces, `size` of them, in a `template` such as "[BOS] $A [EOS]"."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNK))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [PAD, UNK, BEGIN, END]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=special, limit_alphabet=100, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[(token, special.index(token)) for token in (BEGIN, END)]
    )
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.enable_padding(pad_id=0, pad_token=PAD)
    return tokenizer


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
    """English and German sentences, `part` train or test: every twentieth pair is for the test."""
    english, german = sentence_pairs("train", data)
    chosen = [i for i in range(len(english)) if (i % 20 == 0) == (part == "test")]
    return [english[i] for i in chosen], [german[i] for i in chosen]


def en_de_split(part: str, data: Path | None = None) -> Split:
    """Pairs of at most `MOST_PIECES` tokens each: `source_ids`, `target_ids`, and the next token.

    The labels [n, target] are the target one place to the left, with 0 where there is none.
    """
    source, target = (
        encode(load_tokenizer("en_de_gru", f"tokenizer.{language}.json"), texts)
        for language, texts in zip(("en", "de"), en_de(part, data), strict=True)
    )
    lengths = np.stack([(ids != 0).sum(1) for ids in (source, target)])
    # a pair of which one side is twice as long is no translation
    fits = (lengths.max(0) <= MOST_PIECES) & (lengths.max(0) < 2 * lengths.min(0) + 2)
    source, target = source[fits, :MOST_PIECES], target[fits, :MOST_PIECES]
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
