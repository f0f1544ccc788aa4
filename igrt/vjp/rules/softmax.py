"""VJP rules of Softmax and LogSoftmax along one axis."""

from igrt.graph import Emitter, Node, Value
from igrt.vjp.registry import vjp


@vjp("LogSoftmax", "input", since=13)
def log_softmax(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ - exp(y)·Σ ȳ along the axis; 0 in rows where every x is -∞."""
    axis = [node.attr("axis", -1)]
    p = _probabilities(emit, emit.Exp(node.output))
    alive = emit.Greater(emit.ReduceSum(p, axis, keepdims=1), 0.0)
    return emit.masked(ct, alive) - p * emit.ReduceSum(ct, axis, keepdims=1)


@vjp("Softmax", "input", since=13)
def softmax(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = y·(ȳ - Σ y·ȳ) along the axis; 0 in rows where every x is -∞."""
    y = _probabilities(emit, node.output)
    product = y * ct
    return product - y * emit.ReduceSum(product, [node.attr("axis", -1)], keepdims=1)


def _probabilities(emit: Emitter, y: Value) -> Value:
    """`y`, with 0 for the NaN of a row where every logit is -∞."""
    if y.dtype == "float64":  # onnxruntime has no such kernel
        return emit.Where(emit.Greater(y, 0.0), y, 0.0)
    # what is not greater than 0 becomes 0, in a tenth of the time of Where
    return emit.ThresholdedRelu(y, alpha=0.0)
