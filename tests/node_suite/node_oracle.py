"""Directional derivatives of the node tests by central differences in float64."""

from __future__ import annotations

import math
import runpy
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from node_cases import FLOATS, Case, expanded
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun


class Erf(OpRun):
    """The reference computes in float32."""

    def _run(self, x):  # type: ignore[no-untyped-def]
        return (np.vectorize(math.erf, otypes=[x.dtype])(x),)


class Scatter(OpRun):
    """The reference has ScatterElements only, which it was renamed to."""

    def _run(self, data, indices, updates, *, axis=None):  # type: ignore[no-untyped-def]
        result = data.copy()
        np.put_along_axis(result, indices, updates, axis or 0)
        return (result,)


_SHARED = Path(__file__).parents[1] / "vjp" / "conftest.py"
REPAIRED = [*runpy.run_path(str(_SHARED))["REPAIRED"], Erf, Scatter]

DIRECTIONS = 4
_STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
# two neighbouring steps of a smooth function agree to h² ≈ 1e-8 or 1e-16 / h ≈ 1e-10
_STABLE = 1e-5
# forward and backward differences at h = 1e-6 differ by h·f″, unless the slope jumps
_ONE_SIDED = 1e-3

Oracle = dict[str, dict[str, list[float] | str]]
"""By output and input: one derivative per direction, or why there is none."""


def direction(case: str, tensor: str, number: int, shape: tuple[int, ...]) -> np.ndarray:
    """A seeded normal direction; number -1 is the cotangent."""
    seed = [zlib.crc32(case.encode()), zlib.crc32(tensor.encode()), number + 1]
    return np.asarray(np.random.default_rng(seed).standard_normal(shape))


def cotangent(case: Case, output: str) -> np.ndarray:
    """A seeded cotangent in the shape of an output, zero where that is infinite (masked scores)."""
    y = np.asarray(case.expected[output])
    return np.where(np.isfinite(y.astype(np.float64)), direction(case.name, output, -1, y.shape), 0)


def oracle(case: Case) -> Oracle | str:
    """Derivatives of ⟨cotangent, output⟩ along the directions, or why there are none."""
    if case.name.startswith("test_training_dropout") and "zero_ratio" not in case.name:
        return "random: another engine drops other elements"
    found = _oracle(case, case.original)
    if isinstance(found, str) and not case.expanded:
        # some operators are implemented in float32 only, but their function bodies are not
        body = _oracle(case, expanded(case.original))
        return found if isinstance(body, str) else body
    return found


def _oracle(case: Case, model: onnx.ModelProto) -> Oracle | str:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            reference = ReferenceEvaluator(widened(model), new_ops=REPAIRED)
            feeds = {n: _wide(a) for n, a in case.feeds.items()}
            outputs = case.float_outputs()
            base = [np.asarray(y) for y in reference.run(outputs, feeds)]
        except Exception as error:  # whatever the reference cannot do
            return f"the reference: {type(error).__name__}: {str(error)[:100]}"
        if any(y.dtype != np.float64 for y in base):
            return "the reference does not compute in float64"
        cts = {n: cotangent(case, n) for n in outputs}
        if any(y.shape != cts[n].shape for n, y in zip(outputs, base, strict=True)):
            return "the reference gives another shape than the test expects"

        def along(name: str, v: np.ndarray, h: float) -> np.ndarray | None:
            moved = feeds | {name: feeds[name] + h * v}
            try:
                ys = reference.run(outputs, moved)
            except Exception:
                return None
            if any(y.shape != ct.shape for y, ct in zip(ys, cts.values(), strict=True)):
                return None
            return np.array(
                [_product(y, y0, ct) for y, y0, ct in zip(ys, base, cts.values(), strict=True)]
            )

        found: Oracle = {n: {} for n in outputs}
        for name in case.floats():
            if feeds[name].size == 0:
                continue
            columns = []
            for k in range(DIRECTIONS):
                v = direction(case.name, name, k, feeds[name].shape)
                pairs = [(along(name, v, h), along(name, v, -h)) for h in _STEPS]
                columns.append(pairs)
            for j, output in enumerate(outputs):
                found[output][name] = _verdict(columns, j)
        return found


def _product(y: np.ndarray, y0: np.ndarray, ct: np.ndarray) -> float:
    # unmoved infinities (masked scores) are no movement
    difference = np.where(y == y0, 0.0, y - y0)
    return float((ct * difference).sum())


def _verdict(columns: list[list[tuple[Any, Any]]], j: int) -> list[float] | str:
    values = []
    for pairs in columns:
        if any(p is None or m is None for p, m in pairs):
            return "the reference fails near the test point"
        plus = np.array([p[j] for p, _ in pairs])
        minus = np.array([m[j] for _, m in pairs])
        steps = np.array(_STEPS)
        central = (plus - minus) / (2 * steps)
        if not np.isfinite(central).all():
            return "not finite"
        gaps = np.abs(np.diff(central))
        best = int(np.argmin(gaps))
        value = float(central[best + 1])
        scale = max(abs(value), 1e-6)
        forward, backward = plus[-1] / steps[-1], -minus[-1] / steps[-1]
        if abs(forward - backward) > _ONE_SIDED * max(scale, abs(forward), abs(backward)):
            return "kink"
        if gaps[best] > _STABLE * scale:
            return "noise"
        values.append(value)
    return values if any(v != 0 for v in values) else "zero"


def _wide(value: Any) -> Any:
    if isinstance(value, list):
        return [_wide(v) for v in value]
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind not in "fV":
        return array
    return (
        array.astype(np.float64)
        if helper.np_dtype_to_tensor_dtype(array.dtype) in FLOATS
        else array
    )


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with double in place of every other float type."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _widen_graph(copy.graph)
    for function in copy.functions:
        for node in function.node:
            _widen_node(node)
    return copy


def _widen_graph(graph: onnx.GraphProto) -> None:
    del graph.value_info[:]
    for info in (*graph.input, *graph.output):
        _widen_type(info.type)
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for node in graph.node:
        _widen_node(node)


def _widen_type(type_: onnx.TypeProto) -> None:
    kind = type_.WhichOneof("value")
    if kind == "tensor_type" and type_.tensor_type.elem_type in FLOATS:
        type_.tensor_type.elem_type = TensorProto.DOUBLE
    elif kind in ("sequence_type", "optional_type"):
        _widen_type(getattr(type_, kind).elem_type)


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in FLOATS:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _widen_node(node: onnx.NodeProto) -> None:
    if node.op_type == "ConstantOfShape" and not node.attribute:  # float32 by default
        node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1))))
    for attribute in list(node.attribute):
        if attribute.HasField("t"):
            _widen_tensor(attribute.t)
        if attribute.HasField("g"):
            _widen_graph(attribute.g)
        if attribute.name in ("to", "dtype", "softmax_precision") and attribute.i in FLOATS:
            attribute.i = TensorProto.DOUBLE
        if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
            value = helper.get_attribute_value(attribute)
            array = np.asarray(value, dtype=np.float64)
            node.attribute.remove(attribute)
            node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(array)))
