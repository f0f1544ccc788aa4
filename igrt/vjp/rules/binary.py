"""VJP rules of the elementwise operators of several operands; the sweep undoes broadcasting."""

import numpy as np

from igrt.graph import Emitter, Node, Value
from igrt.vjp.broadcast import sum_to
from igrt.vjp.registry import vjp


@vjp("Add", "A", "B", broadcast=True)
def add(emit: Emitter, node: Node, ct: Value) -> Value:
    """c = a + b, hence a‾ = b‾ = c̄."""
    return ct


@vjp("Clip", "input")
def clip_input(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ where y = x, that is for min ≤ x ≤ max, else 0."""
    return emit.masked(ct, emit.Equal(node["input"], node.output))


@vjp("Clip", "max", broadcast=True)
def clip_max(emit: Emitter, node: Node, ct: Value) -> Value:
    """max‾ = Σ ȳ where y < max(x, min), that is where the upper bound cut."""
    lower = node.get("min")
    raised = node["input"] if lower is None else emit.Max(node["input"], lower)
    return emit.masked(ct, emit.Less(node.output, raised))


@vjp("Clip", "min", broadcast=True)
def clip_min(emit: Emitter, node: Node, ct: Value) -> Value:
    """min‾ = Σ ȳ where y > x, that is where the lower bound cut (and max did not cut again)."""
    raised = emit.Greater(node.output, node["input"])
    if node.get("max") is None:
        return emit.masked(ct, raised)
    return emit.masked(ct, emit.And(raised, emit.LessOrEqual(node["min"], node["max"])))


@vjp("Div", "A", broadcast=True)
def div_a(emit: Emitter, node: Node, ct: Value) -> Value:
    """c = a/b, hence a‾ = c̄/b."""
    b = node["B"]
    return ct / b if _has_no_zero(b) else ct * emit.finite(emit.Reciprocal(b))


@vjp("Div", "B")
def div_b(emit: Emitter, node: Node, ct: Value) -> Value:
    """c = a/b, hence b‾ = -(Σ c̄/b·a)/b, summed before the second division."""
    a, b = node["A"], node["B"]
    inverse = emit.finite(emit.Reciprocal(b))
    return -(sum_to(emit, ct * inverse * a, b, [a]) * inverse)


@vjp("Max", "data_0", variadic=True, broadcast=True)
@vjp("Min", "data_0", variadic=True, broadcast=True)
def max_or_min(emit: Emitter, node: Node, ct: Value, index: int) -> Value:
    """xᵢ‾ = ȳ/n where xᵢ = y, else 0; n is how many of the operands tie."""
    values = [v for v in node.inputs if v is not None]
    if len(values) == 1:
        return ct
    hits = [emit.cast(emit.Equal(v, node.output), ct.dtype) for v in values]
    return emit.finite(ct) * (hits[index] / emit.Sum(*hits))


@vjp("Mean", "data_0", variadic=True, broadcast=True)
def mean(emit: Emitter, node: Node, ct: Value, index: int) -> Value:
    """xᵢ‾ = ȳ/n."""
    return ct / float(len(node.inputs))


@vjp("Mod", "A", broadcast=True)
def mod_a(emit: Emitter, node: Node, ct: Value) -> Value:
    """c = a - k·b with a whole number k, hence a‾ = c̄."""
    return ct


@vjp("Mod", "B", broadcast=True)
def mod_b(emit: Emitter, node: Node, ct: Value) -> Value:
    """c = a - k·b with a whole number k, hence b‾ = -c̄·k."""
    k = emit.Round((node["A"] - node.output) / node["B"])
    return -(ct * k)


@vjp("Mul", "A", broadcast=True)
def mul_a(emit: Emitter, node: Node, ct: Value) -> Value:
    """c = a·b, hence a‾ = c̄·b."""
    return ct * node["B"]


@vjp("Mul", "B", broadcast=True)
def mul_b(emit: Emitter, node: Node, ct: Value) -> Value:
    """c = a·b, hence b‾ = c̄·a."""
    return ct * node["A"]


@vjp("Pow", "X", broadcast=True)
def pow_x(emit: Emitter, node: Node, ct: Value) -> Value | None:
    """z = xʸ, hence x‾ = z̄·y·xʸ⁻¹; constant exponents without Pow where that is exact."""
    x, exponent = node["X"], node.static("Y")
    y = emit.cast(node["Y"], x.dtype)
    if exponent is None or exponent.size != 1:
        # 0 to the power of -1 is infinite, and 0 where y is 0 or a mask follows
        return ct * (y * emit.finite(emit.Pow(x, y - 1.0)))
    p = float(exponent.reshape(()))
    if p == 2.0:
        return ct * (x * 2.0)
    if p == 1.0 or p == 0.0:
        return ct if p else None
    if p == 0.5:
        least = np.sqrt(x.limits.smallest_subnormal)
        return ct / (emit.Max(node.output, least) * 2.0)
    # onnxruntime squares and cubes fast: other whole exponents go through its pow
    power = emit.Pow(x, p - 1.0)
    return ct * ((power if p > 1.0 else emit.finite(power)) * p)


@vjp("Pow", "Y", broadcast=True)
def pow_y(emit: Emitter, node: Node, ct: Value) -> Value:
    """z = xʸ, hence y‾ = z̄·z·ln x where x > 0, else 0."""
    x = node["X"]
    positive = emit.Greater(x, 0.0)
    # two masks: the logarithm must not see what the second one hides
    slope = node.output * emit.Log(emit.Max(x, x.limits.tiny))
    return emit.cast(emit.Where(positive, ct * slope, 0.0), node["Y"].dtype)


@vjp("PRelu", "X")
def prelu_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ where x > 0, else s·ȳ."""
    slope, known = node["slope"], node.static("slope")
    positive = emit.cast(emit.Greater(node["X"], 0.0), ct.dtype)
    if known is not None and bool(((known >= 0) & (known <= 1)).all()):
        return ct * emit.Max(positive, slope)
    return ct * (positive * (1.0 - slope) + slope)


@vjp("PRelu", "slope", broadcast=True)
def prelu_slope(emit: Emitter, node: Node, ct: Value) -> Value:
    """s‾ = Σ ȳ·min(x, 0)."""
    return ct * emit.Min(node["X"], 0.0)


@vjp("Sub", "A", broadcast=True)
def sub_a(emit: Emitter, node: Node, ct: Value) -> Value:
    """c = a - b, hence a‾ = c̄."""
    return ct


@vjp("Sub", "B")
def sub_b(emit: Emitter, node: Node, ct: Value) -> Value:
    """c = a - b, hence b‾ = -Σ c̄, summed before the sign changes."""
    return -sum_to(emit, ct, node["B"], [node["A"]])


@vjp("Sum", "data_0", variadic=True, broadcast=True)
def sum_(emit: Emitter, node: Node, ct: Value, index: int) -> Value:
    """xᵢ‾ = ȳ."""
    return ct


@vjp("Where", "X", broadcast=True)
def where_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ where the condition holds, else 0."""
    return emit.masked(ct, node["condition"])


@vjp("Where", "Y", broadcast=True)
def where_y(emit: Emitter, node: Node, ct: Value) -> Value:
    """y‾ = ȳ where the condition does not hold, else 0."""
    return emit.masked(ct, emit.Not(node["condition"]))


def _has_no_zero(value: Value) -> bool:
    known = value.constant
    return known is not None and bool((known != 0).all())
