"""Numbers that a gradient graph multiplies by, moved to where they cost no pass over a tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import final

import numpy as np
import onnx

from igrt.graph import Emitter
from igrt.graph.prune import needed_names
from igrt.graph.view import all_inputs

_LINEAR = frozenset("Neg Reshape Squeeze Transpose Unsqueeze".split())
"""Operators that a factor passes unchanged, from the result to the first operand."""

_WIDE = ("float32", "float64")
"""Element types in which the order of a few factors does not overflow where it did not before."""

_LEAST = 2.0**-20
"""Smaller factors are left where they are: elsewhere they could underflow."""

_DEPTH = 8
"""How many nodes a factor moves over at most."""


def absorb_factors(emit: Emitter, outputs: Collection[str]) -> None:
    """Take away products with a number where a node in front can have it instead, all emitted.

    before → after, s a stored number and every inner value used once:

    - Gemm(a, b)·s → Gemm(a, b, alpha=s)
    - (x·c)·s → x·(c·s)
    - exp(c - x)·s → exp((c + ln s) - x)
    - (a·b)·s → (a·s)·b or a·(b·s) where that ends in one of the above, and so through Reshape,
      Transpose and Neg

    Args:
        emit: Whose nodes are changed; those that are no longer needed stay.
        outputs: Names of the tensors that are wanted.
    """
    with np.errstate(all="ignore"):  # such factors stay where they are
        _Absorber(emit, outputs).run()


@final
class _Absorber:
    def __init__(self, emit: Emitter, outputs: Collection[str]) -> None:
        needed = needed_names(emit.nodes, outputs)
        self.emit = emit
        self.nodes = [n for n in emit.nodes if needed.intersection(n.output)]
        self.makers = {o: n for n in self.nodes for o in n.output}
        self.uses = Counter(name for n in self.nodes for name in n.input)
        self.fixed = {*outputs, *(m for n in self.nodes for m in all_inputs(n) if m not in n.input)}
        self.renamed: dict[str, str] = {}

    def run(self) -> None:
        for node in self.nodes:
            for i, name in enumerate(node.input):
                node.input[i] = self.renamed.get(name, name)
            found = self._product(node)
            if found is None or node.output[0] in self.fixed:
                continue
            value, number = found
            if self._absorb(value, number, _DEPTH):
                self.renamed[node.output[0]] = value
                self.uses[value] = self.uses[node.output[0]]

    def _product(self, node: onnx.NodeProto) -> tuple[str, np.floating] | None:
        """A tensor and the number that a node multiplies it by."""
        if node.op_type == "Mul":
            for i in (0, 1):
                number = self._number(node.input[i])
                if number is not None:
                    return node.input[1 - i], number
        if node.op_type == "Div":
            number = self._number(node.input[1])
            if number:
                return node.input[0], 1 / number
        return None

    def _absorb(self, name: str, factor: np.floating, depth: int) -> bool:
        """Whether the maker of a tensor, or one in front of it, has taken a factor."""
        node = self.makers.get(name)
        if node is None or self.uses[name] != 1 or name in self.fixed or not depth:
            return False
        if node.op_type in _LINEAR:
            return self._absorb(node.input[0], factor, depth - 1)
        if node.op_type == "Gemm":
            return _scale_gemm(node, factor)
        if node.op_type == "Exp":
            return self._shift(node.input[0], factor)
        if node.op_type == "Mul":
            return any(self._scale(node, i, factor) for i in (0, 1)) or any(
                self._absorb(n, factor, depth - 1) for n in node.input
            )
        return False

    def _scale(self, node: onnx.NodeProto, i: int, factor: np.floating) -> bool:
        """Multiply an operand that is a number."""
        number = self._number(node.input[i])
        if number is None or not _is_mild(number * factor, number):
            return False
        node.input[i] = self.emit.constant(np.asarray(number * factor)).name
        return True

    def _shift(self, name: str, factor: np.floating) -> bool:
        """Multiply exp(c - x) through c."""
        node = self.makers.get(name)
        if (
            node is None
            or node.op_type != "Sub"
            or self.uses[name] != 1
            or not _LEAST <= factor <= 1
        ):
            return False
        number = self._number(node.input[0])
        if number is None:
            return False
        node.input[0] = self.emit.constant(np.asarray(number + np.log(factor))).name
        return True

    def _number(self, name: str) -> np.floating | None:
        value = self.emit.value(name)
        if value.shape != () or value.dtype not in _WIDE:
            return None
        array = value.constant
        if array is None:
            return None
        number: np.floating = array.dtype.type(array)
        return number


def _scale_gemm(node: onnx.NodeProto, factor: np.floating) -> bool:
    attribute = next((a for a in node.attribute if a.name == "alpha"), None)
    before = factor.dtype.type(1.0 if attribute is None else attribute.f)
    alpha = before * factor
    # the attribute is a float32, which would round the factor of a float64 model
    if len(node.input) > 2 or np.float32(alpha) != alpha or not _is_mild(alpha, before):
        return False
    if attribute is None:
        attribute = node.attribute.add(name="alpha", type=onnx.AttributeProto.FLOAT)
    attribute.f = float(alpha)
    return True


def _is_mild(number: np.floating, before: np.floating) -> bool:
    """Whether a factor, put in place of another, neither overflows nor underflows in its new place.

    A slope may be as large as the type goes where a mask further on makes its cotangent 0: nothing
    may be made larger than it was or than 1.
    """
    size = float(abs(number))
    return _LEAST <= size <= max(float(abs(before)), 1.0)


__all__ = ["absorb_factors"]
