"""Files to arrays: pictures, tables, arrays and labels; a leaf that knows no other layer."""

from igrt.inputs.files import SUFFIXES, Loaded, join, read
from igrt.inputs.labels import find_label, read_labels
from igrt.inputs.lines import read_pairs
from igrt.inputs.preprocess import PRESETS, Preprocess

__all__ = [
    "PRESETS",
    "SUFFIXES",
    "Loaded",
    "Preprocess",
    "find_label",
    "join",
    "read",
    "read_labels",
    "read_pairs",
]
