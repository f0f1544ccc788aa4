"""Files to arrays: pictures, tables, arrays and labels; a leaf that knows no other layer."""

from igrt.inputs.background import Background, ordered
from igrt.inputs.files import SUFFIXES, Loaded, join, read, read_all
from igrt.inputs.graphs import Graphs, read_graphs
from igrt.inputs.groups import read_groups
from igrt.inputs.labels import find_label, read_labels
from igrt.inputs.lines import read_pairs
from igrt.inputs.preprocess import PRESETS, Preprocess

__all__ = [
    "PRESETS",
    "SUFFIXES",
    "Background",
    "Graphs",
    "Loaded",
    "Preprocess",
    "find_label",
    "join",
    "ordered",
    "read",
    "read_all",
    "read_graphs",
    "read_groups",
    "read_labels",
    "read_pairs",
]
