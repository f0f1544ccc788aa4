"""The slope of a score along directions that are fed in, whose gradient is a Hessian's product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import onnx

from igrt.graph import Emitter, Graph
from igrt.graph.emit import PREFIX
from igrt.graph.onnx_types import value_info
from igrt.graph.prune import prune
from igrt.specs import TensorSpec

SLOPE = f"{PREFIX}slope"


@final
@dataclass(frozen=True)
class Slope:
    """A gradient graph with the slope along a direction in place of the gradient.

    Args:
        model: The graph; its gradient with respect to the attributed tensors is H·v.
        of: Name of the slope.
        directions: Name of the input for v per attributed tensor.
    """

    model: onnx.ModelProto
    of: str
    directions: Mapping[str, str]


def slope(model: onnx.ModelProto, gradients: Mapping[str, str], *, batched: bool) -> Slope:
    """Σ ⟨v, ∂F/∂x⟩ over the attributed tensors x, with an input for each v in the shape of x.

    Args:
        model: A gradient graph.
        gradients: Name of the gradient per attributed tensor.
        batched: Whether tensors have a batch axis in front; then there is a slope for each row.
    """
    graph = Graph(model)
    emit = Emitter(graph, behind=True)
    dtype = graph.spec(next(iter(gradients.values()))).dtype
    directions, specs, parts = {}, [], []
    for name, gradient in gradients.items():
        given, made = graph.spec(name), emit.value(gradient)
        spec = TensorSpec(f"{PREFIX}direction/{name}", made.dtype, given.shape)
        directions[name] = spec.name
        specs.append(spec)
        product = emit.cast(emit.input(spec) * made, dtype)
        flat = emit.Reshape(product, [0, -1] if batched else [1, -1])
        parts.append(emit.ReduceSum(flat, [1] if batched else [0, 1], keepdims=0))
    total = emit.named(emit.Sum(*parts) if len(parts) > 1 else parts[0], SLOPE)
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    whole.graph.input.extend(value_info(s) for s in specs)
    whole.graph.initializer.extend(emit.initializers)
    whole.graph.node.extend(emit.nodes)
    whole.graph.output.append(value_info(TensorSpec(total.name, total.dtype, total.shape)))
    return Slope(prune(whole, [total.name]), total.name, directions)


__all__ = ["SLOPE", "Slope", "slope"]
