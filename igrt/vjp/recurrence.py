"""The equations of RNN, GRU and LSTM in standard operators, for one step or for all at once.

`step` of a cell computes (states behind, y) from the product x·Wᵀ + b, the states in front, and the
weights. Tensors are [batch, …] for one step or [steps, batch, …] for all of them. It appends what
is worth saving to `inside`, always in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from igrt.errors import UnsupportedOperator
from igrt.graph import Emitter, Node, Value

Activation = Callable[[Emitter, Value], Value]

_DEFAULTS: dict[str, tuple[float | None, float | None]] = {
    "affine": (0.0, 0.0),
    "elu": (1.0, None),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01, None),
    "relu": (None, None),
    "scaledtanh": (0.0, 0.0),
    "sigmoid": (None, None),
    "softplus": (None, None),
    "softsign": (None, None),
    "tanh": (None, None),
    "thresholdedrelu": (0.0, None),
}
"""Default alpha and beta of each activation, None where it has none: those of onnxruntime, which
takes 0 where ONNX leaves them open."""


def _activation(name: str, alpha: float, beta: float, node: Node) -> Activation:
    """f(α, β; x) of the ONNX specification of RNN."""
    match name.lower():
        case "sigmoid":
            return lambda e, x: e.Sigmoid(x)
        case "tanh":
            return lambda e, x: e.Tanh(x)
        case "relu":
            return lambda e, x: e.Relu(x)
        case "affine":
            return lambda e, x: x * alpha + beta
        case "scaledtanh":
            return lambda e, x: e.Tanh(x * beta) * alpha
        case "leakyrelu":
            return lambda e, x: e.LeakyRelu(x, alpha=alpha)
        case "thresholdedrelu":
            return lambda e, x: e.ThresholdedRelu(x, alpha=alpha)
        case "hardsigmoid":
            return lambda e, x: e.HardSigmoid(x, alpha=alpha, beta=beta)
        case "elu":
            return lambda e, x: e.Elu(x, alpha=alpha)
        case "softsign":
            return lambda e, x: e.Softsign(x)
        case "softplus":
            return lambda e, x: e.Softplus(x)
    raise UnsupportedOperator(
        f"node `{node.name}` ({node.op_type}) has the activation {name!r}, "
        f"which ONNX does not define",
        hint=f"ONNX defines {', '.join(_DEFAULTS)}",
    )


def activations(node: Node, defaults: Sequence[str], count: int) -> list[list[Activation]]:
    """The activations of each direction; parameters go to those that have them, in order."""
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in node.attr("activations") or ()]
    names = names or [*defaults] * count
    alphas, betas = (iter(node.attr(f"activation_{w}") or ()) for w in ("alpha", "beta"))
    made = []
    for name in names:
        alpha, beta = _DEFAULTS.get(name.lower(), (None, None))
        alpha = alpha if alpha is None else next(alphas, alpha)
        beta = beta if beta is None else next(betas, beta)
        made.append(_activation(name, alpha or 0.0, beta or 0.0, node))
    size = len(defaults)
    return [made[i * size : (i + 1) * size] for i in range(count)]


@final
@dataclass(frozen=True)
class RnnCell:
    """hₜ = f(xₜ·Wᵀ + b + hₜ₋₁·Rᵀ)."""

    functions: Sequence[Activation]
    clip: float | None
    gates: int = 1

    def step(
        self,
        e: Emitter,
        product: Value,
        enters: Sequence[Value],
        weights: Mapping[str, Value],
        mask: Value | None,
        inside: list[Value],
    ) -> tuple[list[Value], Value]:
        """The new hidden state."""
        (h,) = enters
        total = product + e.MatMul(h, weights["R"])
        bounded = _clipped(e, total, self.clip)
        new = self.functions[0](e, bounded)
        inside += [total, bounded, new]
        kept, y = _masked(e, mask, new, h)
        return [kept], y


@final
@dataclass(frozen=True)
class GruCell:
    """zₜ, rₜ = f(x·W_zrᵀ + h·R_zrᵀ), nₜ = g(x·W_hᵀ + (r ⊙ h)·R_hᵀ), hₜ = (1 - z) ⊙ n + z ⊙ hₜ₋₁.

    With linear_before_reset nₜ = g(x·W_hᵀ + r ⊙ (h·R_hᵀ + b)).
    """

    functions: Sequence[Activation]
    clip: float | None
    size: int
    late_reset: bool
    gates: int = 3

    def step(
        self,
        e: Emitter,
        product: Value,
        enters: Sequence[Value],
        weights: Mapping[str, Value],
        mask: Value | None,
        inside: list[Value],
    ) -> tuple[list[Value], Value]:
        """The new hidden state."""
        (h,) = enters
        f, g = self.functions
        sizes = [2 * self.size, self.size]
        left, last = e.node("Split", [product, sizes], {"axis": -1}, outputs=2)
        total = left + e.MatMul(h, weights["R_zr"])
        bounded = _clipped(e, total, self.clip)
        z_in, r_in = e.node("Split", [bounded, [self.size] * 2], {"axis": -1}, outputs=2)
        z, r = f(e, z_in), f(e, r_in)
        if self.late_reset:
            change = e.MatMul(h, weights["R_h"])
            if "Rb" in weights:
                change = change + weights["Rb"]
            inner = last + r * change
        else:
            reset = r * h
            change = e.MatMul(reset, weights["R_h"])
            inside += [reset]
            inner = last + change
        inner_bounded = _clipped(e, inner, self.clip)
        n = g(e, inner_bounded)
        ahead = h - n
        inside += [total, bounded, z_in, r_in, z, r, change, inner, inner_bounded, n, ahead]
        new = n + z * ahead
        kept, y = _masked(e, mask, new, h)
        return [kept], y


@final
@dataclass(frozen=True)
class LstmCell:
    """iₜ, fₜ = f(…), c̃ₜ = g(…), cₜ = f ⊙ cₜ₋₁ + i ⊙ c̃, oₜ = f(…), hₜ = o ⊙ h(cₜ).

    Arguments of the gates are x·Wᵀ + h·Rᵀ, plus with peepholes P ⊙ cₜ₋₁ (i, f) and P ⊙ cₜ (o).
    """

    functions: Sequence[Activation]
    clip: float | None
    size: int
    coupled: bool
    gates: int = 4

    def update(
        self, e: Emitter, total: Value, c: Value | None, weights: Mapping[str, Value]
    ) -> tuple[Value, Value, Value, list[Value]]:
        """f, i ⊙ c̃, the argument of o, and what is worth saving."""
        f, g, _ = self.functions
        i, o, forget, change = e.node("Split", [total, [self.size] * 4], {"axis": -1}, outputs=4)
        peephole = "P_i" in weights and c is not None
        if peephole and c is not None:
            i = i + weights["P_i"] * c
            forget = forget + weights["P_f"] * c
        i_in, f_in, g_in = (_clipped(e, v, self.clip) for v in (i, forget, change))
        opened = f(e, i_in)
        kept = 1.0 - opened if self.coupled else f(e, f_in)
        new = g(e, g_in)
        inside = [i, change, i_in, g_in, opened, kept, new]
        inside += [] if self.coupled else [forget, f_in]
        return kept, opened * new, o, inside

    def step(
        self,
        e: Emitter,
        product: Value,
        enters: Sequence[Value],
        weights: Mapping[str, Value],
        mask: Value | None,
        inside: list[Value],
    ) -> tuple[list[Value], Value]:
        """The new hidden state and cell state."""
        h, c = enters
        total = product + e.MatMul(h, weights["R"])
        kept, change, o, gates = self.update(e, total, c, weights)
        new = kept * c + change
        if "P_o" in weights:
            o = o + weights["P_o"] * new
        o_in = _clipped(e, o, self.clip)
        opened = self.functions[0](e, o_in)
        # onnxruntime clips the arguments of the gates, not that of the output's activation
        bent = self.functions[2](e, new)
        inside += [total, *gates, new, o, o_in, opened, bent]
        hidden, y = _masked(e, mask, opened * bent, h)
        return [hidden, new if mask is None else e.Where(mask, new, c)], y


Cell = RnnCell | GruCell | LstmCell


def cell_of(node: Node, functions: Sequence[Activation]) -> Cell:
    """The cell of a node for one direction's activations."""
    clip = node.attr("clip") or None
    size = hidden_size(node)
    if node.op_type == "RNN":
        return RnnCell(functions, clip)
    if node.op_type == "GRU":
        return GruCell(functions, clip, size, bool(node.attr("linear_before_reset", 0)))
    return LstmCell(functions, clip, size, bool(node.attr("input_forget", 0)))


def hidden_size(node: Node) -> int:
    """Size of the hidden state."""
    size = node.attr("hidden_size")
    if size is None:
        shape = node["R"].shape
        size = shape[-1] if shape is not None else None
    if not isinstance(size, int):
        raise UnsupportedOperator(
            f"node `{node.name}` ({node.op_type}) does not say its hidden_size",
            hint="export the model with the attribute hidden_size",
        )
    return size


def _clipped(e: Emitter, value: Value, clip: float | None) -> Value:
    return value if clip is None else e.Clip(value, -clip, clip)


def _masked(e: Emitter, mask: Value | None, new: Value, old: Value) -> tuple[Value, Value]:
    """(state, y) behind the end of a sequence: the state stays, y is 0."""
    if mask is None:
        return new, new
    return e.Where(mask, new, old), e.Where(mask, new, 0.0)


__all__ = [
    "Activation",
    "Cell",
    "GruCell",
    "LstmCell",
    "RnnCell",
    "activations",
    "cell_of",
    "hidden_size",
]
