"""VJP rules of the elementwise operators of one operand.

Where a slope is infinite at the edge of the domain (Sqrt, Log, Acos …) it is a large finite number
instead, so that a cotangent of zero, from a mask further on, stays zero.
"""

import math

import numpy as np

from igrt.graph import Emitter, Node, Value
from igrt.vjp.registry import vjp


@vjp("Abs", "X")
def abs_(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ·sign x, 0 at 0."""
    return emit.finite(ct) * emit.Sign(node["X"])


@vjp("Acos", "input")
def acos(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = -ȳ / √((1 - x)(1 + x))."""
    return -(ct / emit.Sqrt(_positive(_one_minus_square(node["input"]))))


@vjp("Acosh", "input")
def acosh(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ / (√(x - 1)·√(x + 1)); x² - 1 would cancel near 1 and overflow."""
    x = node["input"]
    return ct / emit.Sqrt(_positive(x - 1.0)) / emit.Sqrt(_positive(x + 1.0))


@vjp("Asin", "input")
def asin(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ / √((1 - x)(1 + x))."""
    return ct / emit.Sqrt(_positive(_one_minus_square(node["input"])))


@vjp("Asinh", "input")
def asinh(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ / √(1 + x²), with the larger of 1 and |x| outside the root: x² would overflow."""
    size = emit.Abs(node["input"])
    larger = emit.Max(size, 1.0)
    ratio = emit.Min(size, 1.0) / larger
    return ct / (larger * emit.Sqrt(1.0 + ratio * ratio))


@vjp("Atan", "input")
def atan(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ / (1 + x²)."""
    x = node["input"]
    return ct / (1.0 + x * x)


@vjp("Atanh", "input")
def atanh(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ / ((1 - x)(1 + x))."""
    return ct / _positive(_one_minus_square(node["input"]))


@vjp("Celu", "X")
def celu(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x or α·(exp(x/α) - 1), hence x‾ = ȳ·exp(min(x, 0)/α)."""
    return ct * emit.Exp(emit.Min(node["X"], 0.0) / node.attr("alpha", 1.0))


@vjp("Cos", "input")
def cos(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = -ȳ·sin x."""
    return -(ct * emit.Sin(node["input"]))


@vjp("Cosh", "input")
def cosh(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ·sinh x = ȳ·y·tanh x; onnxruntime's Sinh takes twenty times as long as its Tanh."""
    return ct * emit.finite(node.output) * emit.Tanh(node["input"])


@vjp("Elu", "X")
def elu(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x or α·(exp x - 1), hence x‾ = ȳ·(1 where x > 0, else α·exp x)."""
    return ct * _exponential_unit(emit, node["X"], node.attr("alpha", 1.0))


@vjp("Erf", "input")
def erf(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ·2/√π·exp(-x²)."""
    x = node["input"]
    # the factor goes into the exponent, which saves two passes over the tensor
    return ct * emit.Exp(math.log(2.0 / math.sqrt(math.pi)) - x * x)


@vjp("Exp", "input")
def exp(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ·y."""
    return ct * emit.finite(node.output)


@vjp("Gelu", "X")
def gelu(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x·Φ(x), hence x‾ = ȳ·(Φ(x) + x·φ(x)), or the derivative of the approximation by tanh."""
    x = node["X"]
    if node.attr("approximate", "none") == "tanh":
        return ct * _gelu_tanh_slope(emit, x)
    t = x * math.sqrt(0.5)
    density = emit.Exp(-0.5 * math.log(2.0 * math.pi) - t * t)
    return ct * (emit.Erf(t) * 0.5 + 0.5 + x * density)


@vjp("HardSigmoid", "X")
def hard_sigmoid(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = clip(α·x + β, 0, 1), hence x‾ = α·ȳ where 0 < y < 1, else 0."""
    inside = emit.And(emit.Greater(node.output, 0.0), emit.Less(node.output, 1.0))
    alpha: float = node.attr("alpha", 0.2)
    return emit.masked(ct, inside) * alpha


@vjp("HardSwish", "X")
def hard_swish(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x·h, h = clip(x/6 + 1/2, 0, 1), hence x‾ = ȳ·(h + x/6 where |x| < 3)."""
    x = node["X"]
    sixth = emit.Clip(x, -3.0, 3.0) / 6.0
    return ct * (sixth + 0.5 + emit.masked(sixth, emit.Less(emit.Abs(x), 3.0)))


@vjp("LeakyRelu", "X")
def leaky_relu(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ where x > 0, else α·ȳ."""
    alpha: float = node.attr("alpha", 0.01)
    positive = emit.cast(emit.Greater(node.output if alpha > 0 else node["X"], 0.0), ct.dtype)
    if 0.0 <= alpha <= 1.0:
        return ct * emit.Max(positive, alpha)
    return ct * (positive * (1.0 - alpha) + alpha)


@vjp("Log", "input")
def log(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ/x."""
    return ct / _positive(node["input"])


@vjp("Mish", "X")
def mish(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x·t, t = tanh(softplus x), hence x‾ = ȳ·(t + x·(1 - t²)·σ(x)).

    With e = exp x and n = e·(e + 2) these are t = n/(n + 2) and (1 - t²)·σ(x) =
    4·e·(e + 1)/(n + 2)²; onnxruntime's Softplus alone would take four times as long.
    """
    # beyond this the slope is 1 to the last digit, and e² would overflow
    x = emit.Min(node["X"], 0.5 * math.log(float(ct.limits.max)) - 1.0)
    e = emit.Exp(x)
    n = e * (e + 2.0)
    over = n + 2.0
    return ct * (n / over + (x * 4.0) * (e * (e + 1.0) / over) / over)


@vjp("Neg", "X")
def neg(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = -ȳ."""
    return -ct


@vjp("Reciprocal", "X")
def reciprocal(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = -ȳ·y²."""
    y = emit.finite(node.output)
    return -(ct * y * y)


@vjp("Relu", "X")
def relu(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ where x > 0, else 0; the derivative at 0 is 0."""
    if emit.is_rectified(ct, node.output):
        return ct
    return emit.masked(ct, emit.Greater(node.output, 0.0))


@vjp("Selu", "X")
def selu(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = γ·x or γ·α·(exp x - 1), hence x‾ = γ·ȳ·(1 where x > 0, else α·exp x)."""
    alpha: float = node.attr("alpha", 1.67326319217681884765625)
    gamma: float = node.attr("gamma", 1.05070102214813232421875)
    return ct * (_exponential_unit(emit, node["X"], alpha) * gamma)


@vjp("Shrink", "input")
def shrink(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ where |x| > λ, else 0."""
    return emit.masked(ct, emit.Greater(emit.Abs(node["input"]), node.attr("lambd", 0.5)))


@vjp("Sigmoid", "X")
def sigmoid(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ·y·(1 - y)."""
    y = node.output
    return ct * (y * (1.0 - y))


@vjp("Sin", "input")
def sin(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ·cos x."""
    return ct * emit.Cos(node["input"])


@vjp("Sinh", "input")
def sinh(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ·cosh x, written with Exp: onnxruntime's Cosh takes fifteen times as long."""
    x = node["input"]
    return ct * emit.finite((emit.Exp(x) + emit.Exp(-x)) * 0.5)


@vjp("Softplus", "X")
def softplus(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ·σ(x)."""
    return ct * emit.Sigmoid(node["X"])


@vjp("Softsign", "input")
def softsign(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x/(1 + |x|), hence x‾ = ȳ/(1 + |x|)²; the square would overflow in float16."""
    d = 1.0 + emit.Abs(node["input"])
    return ct / d / d


@vjp("Sqrt", "X")
def sqrt(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ/(2·y); at 0 the slope of the smallest positive number, which keeps √(Σ x²) at 0."""
    least = np.sqrt(ct.limits.smallest_subnormal)
    return ct / (emit.Max(node.output, least) * 2.0)


@vjp("Swish", "X", since=24)
def swish(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x·s, s = σ(α·x), hence x‾ = ȳ·(s + α·y·(1 - s))."""
    alpha: float = node.attr("alpha", 1.0)
    s = emit.Sigmoid(node["X"] * alpha)
    return ct * (s + (node.output * alpha) * (1.0 - s))


@vjp("Tan", "input")
def tan(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ·(1 + y²)."""
    y = node.output
    return ct * (1.0 + y * y)


@vjp("Tanh", "input")
def tanh(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ·(1 - y²)."""
    y = node.output
    return ct * (1.0 - y * y)


@vjp("ThresholdedRelu", "X")
def thresholded_relu(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ where x > α, else 0."""
    return emit.masked(ct, emit.Greater(node["X"], node.attr("alpha", 1.0)))


def _exponential_unit(emit: Emitter, x: Value, alpha: float) -> Value:
    """1 where x > 0, else α·exp x; exp of a positive number would overflow."""
    slope = emit.Exp(emit.Min(x, 0.0))
    if alpha == 1.0:
        return slope
    positive = emit.cast(emit.Greater(x, 0.0), x.dtype)
    return slope * alpha + positive * (1.0 - alpha)


def _gelu_tanh_slope(emit: Emitter, x: Value) -> Value:
    """Slope of x/2·(1 + t), t = tanh(√(2/π)·(x + c·x³)): (1 + t)/2 + x/2·(1 - t²)·u′(x)."""
    # beyond ±10 the slope is 0 or 1 to the last digit, and x³ would overflow
    x = emit.Clip(x, -10.0, 10.0)
    square, scale, cubic = x * x, math.sqrt(2.0 / math.pi), 0.044715
    t = emit.Tanh(x * (square * (scale * cubic) + scale))
    inner = x * (square * (1.5 * scale * cubic) + 0.5 * scale)
    return t * 0.5 + 0.5 + (1.0 - t * t) * inner


def _one_minus_square(x: Value) -> Value:
    return (1.0 - x) * (1.0 + x)


def _positive(x: Value) -> Value:
    """`x`, or the smallest normal number where it is 0."""
    return x.emit.Max(x, x.limits.tiny)
