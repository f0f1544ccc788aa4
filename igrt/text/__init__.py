"""Texts to token numbers, and which inputs of a model take what of them."""

from igrt.text.filling import Filled, Part, fill, holds_text
from igrt.text.numbers import numbers_as_tokens
from igrt.text.reading import read_tokenizer
from igrt.text.source import PADDING
from igrt.text.texts import Text
from igrt.text.tokenizer import Encoded, Tokenizer
from igrt.text.vocabulary import Vocabulary

__all__ = [
    "PADDING",
    "Encoded",
    "Filled",
    "Part",
    "Text",
    "Tokenizer",
    "Vocabulary",
    "fill",
    "holds_text",
    "numbers_as_tokens",
    "read_tokenizer",
]
