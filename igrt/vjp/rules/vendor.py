"""VJP rules of the vendor operators that standard ones cannot express."""

from igrt.graph import Emitter, Node, Value
from igrt.vjp.registry import vjp


@vjp("Inverse", "0", domain="com.microsoft")
def inverse_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """Y = X⁻¹, hence X‾ = -Yᵀ·Ȳ·Yᵀ."""
    rank = node["0"].rank
    turned = emit.Transpose(node.output, perm=[*range(rank - 2), rank - 1, rank - 2])
    return -emit.MatMul(turned, emit.MatMul(ct, turned))
