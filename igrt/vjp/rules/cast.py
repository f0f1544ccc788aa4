"""VJP rules of the operators that change the element type."""

from igrt.graph import Emitter, Node, Value
from igrt.vjp.registry import vjp, zero


@vjp("Cast", "input")
@vjp("CastLike", "input")
def cast_input(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ in the element type of x; the sweep asks for it between floats only."""
    primal = node.inputs[0]
    assert primal is not None
    return emit.cast(ct, primal.dtype)


zero("CastLike", "target_type")
