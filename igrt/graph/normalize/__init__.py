"""Passes that bring a model into the one form that the gradient rules are written for.

Each pass is a function from a model to a model, one per file, and leaves names of tensors alone.
"""

from __future__ import annotations

import onnx

from igrt.graph.normalize.ceilings import drop_ceilings
from igrt.graph.normalize.dropout import keep_masks
from igrt.graph.normalize.inline import inline_functions
from igrt.graph.normalize.names import name_nodes
from igrt.graph.normalize.opset import OLDEST, raise_opset
from igrt.graph.normalize.optional import close_stored, drop_hidden, name_parts, trim_inputs
from igrt.graph.normalize.order import sort_nodes
from igrt.graph.normalize.quantised.dequantise import dequantise
from igrt.graph.normalize.quantised.policy import (
    DEQUANTISE,
    check_policy,
    oldest_for,
)
from igrt.graph.normalize.quantised.seams import float_seams
from igrt.graph.normalize.sequences import unpack_sequences
from igrt.graph.normalize.sizes import compute_sizes
from igrt.graph.normalize.vendor.lower import claim_vendor, lower_vendor
from igrt.graph.normalize.vendor.reserved import free_names
from igrt.graph.valid import blamed
from igrt.specs import STRAIGHT_THROUGH


def normalize(model: onnx.ModelProto, quantised: str = STRAIGHT_THROUGH) -> onnx.ModelProto:
    """A copy of the model with named nodes in order, standard operators and a recent opset.

    Model-local functions give way to their bodies, fused vendor operators to standard ones, and
    arithmetic on whole numbers to what it stands for.

    Args:
        model: The model; it is not changed.
        quantised: ``straight_through`` leaves the rounding of a quantised model as it is,
            ``dequantise`` takes it out.

    Raises:
        InputError: If `quantised` is neither.
        ModelLoadError: If its opset is newer than onnxruntime accepts or cannot be raised, or if it
            is not valid.
    """
    check_policy(quantised)
    with blamed(model):
        return _normal(model, quantised)


def _normal(model: onnx.ModelProto, quantised: str) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # first, since what follows pins a newer IR version
    copy = name_parts(free_names(close_stored(drop_hidden(copy))))
    copy = claim_vendor(sort_nodes(inline_functions(copy)))
    copy = raise_opset(copy, oldest_for(copy, OLDEST))
    copy = lower_vendor(compute_sizes(trim_inputs(copy)))
    if float_seams(copy):
        copy = lower_vendor(copy)  # what moves whole numbers in a body has their steps only now
    copy = unpack_sequences(copy)
    copy = dequantise(copy) if quantised == DEQUANTISE else copy
    return name_nodes(keep_masks(drop_ceilings(copy)))


__all__ = [
    "close_stored",
    "compute_sizes",
    "drop_hidden",
    "inline_functions",
    "keep_masks",
    "name_nodes",
    "normalize",
    "raise_opset",
    "sort_nodes",
    "trim_inputs",
    "unpack_sequences",
]
