"""Numbers of axes that inference leaves open, learnt from a run of the model."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from igrt.graph.onnx_types import elem_type, value_info
from igrt.graph.view import Graph
from igrt.specs import TensorSpec


def unranked(graph: Graph) -> list[str]:
    """Tensors made by nodes whose number of axes is not known.

    Inference gives up behind an If whose branches differ, behind operators of other domains, and
    where a shape is computed.
    """
    specs = (graph.spec(name) for name in graph.producers)
    return [s.name for s in specs if s.shape is None and s.dtype not in ("sequence", "map")]


def exposing(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """A copy of the model with these tensors as its outputs, their types left to the runtime."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names)
    return copy


def with_ranks(model: onnx.ModelProto, ranks: Mapping[str, tuple[str, int]]) -> onnx.ModelProto:
    """A copy of the model that says how many axes some tensors have; their sizes stay open.

    Args:
        model: The model.
        ranks: Element type and number of axes of the tensors in some run.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept = [v for v in copy.graph.value_info if v.name not in ranks]
    del copy.graph.value_info[:]
    copy.graph.value_info.extend(kept)
    declared = {o.name: o for o in copy.graph.output}
    for name, (dtype, rank) in ranks.items():
        info = value_info(TensorSpec(name, dtype, (None,) * rank))
        if name not in declared:
            copy.graph.value_info.append(info)
        elif declared[name].type.tensor_type.elem_type in (0, elem_type(dtype)):
            declared[name].CopyFrom(info)
    return copy


__all__ = ["exposing", "unranked", "with_ranks"]
