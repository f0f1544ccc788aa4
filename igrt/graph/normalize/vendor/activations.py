"""Activations: the Gelu family, and those that other operators carry as an attribute."""

from __future__ import annotations

import math
from collections.abc import Sequence

from igrt.errors import UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.normalize.vendor.table import lowering
from igrt.graph.value import Node, Value


@lowering("BiasGelu")
def bias_gelu(emit: Emitter, node: Node, a: Value, b: Value) -> Value:
    """y = Gelu(a + b)."""
    return exact_gelu(emit, a + b)


@lowering("BiasSplitGelu")
def bias_split_gelu(emit: Emitter, node: Node, x: Value, bias: Value) -> Value:
    """y = u·Gelu(v), where u and v are the halves of x + b."""
    u, v = emit.node("Split", [x + bias], {"axis": -1, "num_outputs": 2}, outputs=2)
    return u * exact_gelu(emit, v)


@lowering("FastGelu")
def fast_gelu(emit: Emitter, node: Node, x: Value, bias: Value | None) -> Value:
    """y = u/2·(1 + tanh(√(2/π)·(u + 0.044715·u³))), where u = x + b."""
    return tanh_gelu(emit, x if bias is None else x + bias)


@lowering("Gelu")
def gelu(emit: Emitter, node: Node, x: Value) -> Value:
    """y = x·Φ(x)."""
    return exact_gelu(emit, x)


@lowering("QuickGelu")
def quick_gelu(emit: Emitter, node: Node, x: Value) -> Value:
    """y = x·σ(αx)."""
    return x * emit.Sigmoid(x * node.attr("alpha", 1.702))


@lowering("Affine")
def affine(emit: Emitter, node: Node, x: Value) -> Value:
    """y = αx + β."""
    alpha: float = node.attr("alpha", 1.0)
    beta: float = node.attr("beta", 0.0)
    return x * alpha + beta


@lowering("ParametricSoftplus")
def parametric_softplus(emit: Emitter, node: Node, x: Value) -> Value:
    """y = α·ln(1 + exp(βx))."""
    alpha: float = node.attr("alpha", 1.0)
    return emit.Softplus(x * node.attr("beta", 1.0)) * alpha


@lowering("Scale")
def scale(emit: Emitter, node: Node, x: Value) -> Value:
    """y = s·x."""
    factor: float = node.attr("scale", 1.0)
    return x * factor


@lowering("ScaledTanh")
def scaled_tanh(emit: Emitter, node: Node, x: Value) -> Value:
    """y = α·tanh(βx)."""
    alpha: float = node.attr("alpha", 1.0)
    return emit.Tanh(x * node.attr("beta", 1.0)) * alpha


@lowering("ImageScaler")
def image_scaler(emit: Emitter, node: Node, x: Value) -> Value:
    """y = s·x + b, with one b per channel."""
    bias = emit.cast(emit.constant([float(b) for b in node.attr("bias", [])]), x.dtype)
    factor: float = node.attr("scale", 1.0)
    return x * factor + emit.reshape(bias, [-1, 1, 1])


def exact_gelu(emit: Emitter, x: Value) -> Value:
    """x·Φ(x) = x/2·(1 + erf(x/√2))."""
    if emit.graph.opset >= 20:
        return emit.Gelu(x)
    return 0.5 * x * (1.0 + emit.Erf(x * math.sqrt(0.5)))


def tanh_gelu(emit: Emitter, x: Value) -> Value:
    """x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))."""
    if emit.graph.opset >= 20:
        return emit.Gelu(x, approximate="tanh")
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))
    return 0.5 * x * (1.0 + emit.Tanh(inner))


def activate(emit: Emitter, name: str, y: Value, given: Sequence[float]) -> Value:
    """The activation that a fused operator names, with its parameters in order.

    Raises:
        UnsupportedOperator: If it is not one that onnxruntime fuses.
    """
    match name:
        case "":
            return y
        case "Relu" | "Sigmoid" | "Softplus" | "Softsign" | "Tanh" | "HardSwish":
            return emit.node(name, [y])[0]
        case "Clip":
            low, high = (*given, None, None)[:2]
            return emit.Clip(y, low, high)
        case "Elu" | "LeakyRelu" | "ThresholdedRelu":
            return emit.node(name, [y], {"alpha": given[0] if given else None})[0]
        case "HardSigmoid" | "Selu":
            first, second = (*given, None, None)[:2]
            other = "beta" if name == "HardSigmoid" else "gamma"
            return emit.node(name, [y], {"alpha": first, other: second})[0]
        case "Gelu":
            return exact_gelu(emit, y)
        case "QuickGelu":
            return y * emit.Sigmoid(y * (given[0] if given else 1.702))
    raise UnsupportedOperator(f"its activation {name} is not known")


__all__ = ["activate", "exact_gelu", "tanh_gelu"]
