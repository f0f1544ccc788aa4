"""ONNX in, ONNX out: a read-only view of a model and an emitter that appends to it."""

from igrt.graph.emit import Emitter
from igrt.graph.load import Source, load, serialise
from igrt.graph.value import Node, Value
from igrt.graph.view import Graph

__all__ = ["Emitter", "Graph", "Node", "Source", "Value", "load", "serialise"]
