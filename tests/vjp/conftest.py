"""`check_vjp`: an operator's gradient against float64 finite differences of another engine."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_conv_transpose import ConvTranspose as OnnxConvTranspose
from onnx.reference.ops.op_pad import Pad_18 as OnnxPad

from igrt.vjp.augment import augment

# Central differences at h = 1e-5 in float64 are good to about h² ≈ 1e-10 (truncation) plus
# 1e-16 / h ≈ 1e-11 (rounding) for functions of order one; 1e-6 leaves room for curvature.
_STEP = 1e-5
_FINITE_DIFFERENCE = 1e-6
# onnxruntime computes in float32: 1e-7 per operation, some dozens of operations and cancellation.
_FLOAT32 = 2e-4


class ConvTranspose(OpRun):
    """The reference confuses channels with groups where a group has several output channels."""

    def _run(self, x, w, b=None, *, group=None, **given):  # type: ignore[no-untyped-def]
        group = group or 1
        whole = OnnxConvTranspose(self.onnx_node, self.run_params)
        parts = [
            whole._run(x_part, w_part, None, group=1, **given)[0]
            for x_part, w_part in zip(
                np.split(x, group, axis=1), np.split(w, group, axis=0), strict=True
            )
        ]
        y = np.concatenate(parts, axis=1)
        return (y if b is None else y + b.reshape(-1, *[1] * (y.ndim - 2)),)


class GlobalLpPool(OpRun):
    """The reference has none."""

    def _run(self, x, *, p=None):  # type: ignore[no-untyped-def]
        axes = tuple(range(2, x.ndim))
        p = 2 if p is None else p
        return ((np.abs(x) ** p).sum(axis=axes, keepdims=True) ** (1 / p),)


class GlobalMaxPool(OpRun):
    """The reference's is right for two spatial axes only."""

    def _run(self, x):  # type: ignore[no-untyped-def]
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class LRN(OpRun):
    """The reference takes the batch for the channels, and four axes only."""

    def _run(self, x, *, alpha=None, beta=None, bias=None, size=None):  # type: ignore[no-untyped-def]
        before, count = (size - 1) // 2, x.shape[1]
        squares = np.stack(
            [
                (x[:, max(0, c - before) : min(count, c - before + size)] ** 2).sum(axis=1)
                for c in range(count)
            ],
            axis=1,
        )
        return ((x / (bias + alpha / size * squares) ** beta).astype(x.dtype),)


class LpNormalization(OpRun):
    """The reference forgets the absolute value in the 1-norm."""

    def _run(self, x, *, axis=None, p=None):  # type: ignore[no-untyped-def]
        norm = np.linalg.norm(x, ord=p or 2, axis=-1 if axis is None else axis, keepdims=True)
        return (np.divide(x, norm, out=np.zeros_like(x), where=norm != 0),)


class MaxRoiPool(OpRun):
    """The reference has none."""

    def _run(self, x, rois, *, pooled_shape=None, spatial_scale=None):  # type: ignore[no-untyped-def]
        scale = 1.0 if spatial_scale is None else spatial_scale
        y = np.zeros((len(rois), x.shape[1], *pooled_shape), x.dtype)
        for r, (image, *corners) in enumerate(rois):
            x0, y0, x1, y1 = (int(np.floor(v * scale + 0.5)) for v in corners)
            for place in np.ndindex(*pooled_shape):
                spans = []
                for axis, (first, last) in enumerate(((y0, y1), (x0, x1))):
                    width = max(last - first + 1, 1) / pooled_shape[axis]
                    begin = first + int(np.floor(place[axis] * width))
                    end = first + int(np.ceil((place[axis] + 1) * width))
                    spans.append(slice(*np.clip((begin, end), 0, x.shape[2 + axis])))
                part = x[int(image), :, spans[0], spans[1]]
                y[r, :, *place] = part.max(axis=(1, 2)) if part.size else 0
        return (y,)


class MeanVarianceNormalization(OpRun):
    """The reference mixes float32 into float64."""

    def _run(self, x, *, axes=None):  # type: ignore[no-untyped-def]
        axes = (0, 2, 3) if axes is None else tuple(axes)
        deviation = x.std(axis=axes, keepdims=True)
        return ((x - x.mean(axis=axes, keepdims=True)) / (deviation + 1e-9),)


class Pad(OpRun):
    """The reference refuses negative amounts, which cut off."""

    def _run(self, data, pads, value=None, axes=None, mode=None):  # type: ignore[no-untyped-def]
        axes = range(data.ndim) if axes is None else axes
        for axis, begin, end in zip(axes, *np.reshape(pads, (2, -1)), strict=True):
            size = data.shape[axis]
            data = np.take(data, range(max(-begin, 0), size - max(-end, 0)), axis)
        whole = OnnxPad(self.onnx_node, self.run_params)
        return whole._run(data, np.maximum(pads, 0), value, axes, mode=mode)


REPAIRED: list[type[OpRun]] = [
    ConvTranspose,
    GlobalLpPool,
    GlobalMaxPool,
    LRN,
    LpNormalization,
    MaxRoiPool,
    MeanVarianceNormalization,
    Pad,
]
"""Operators that `onnx.reference` gets wrong, in a version that is right."""


def _model(
    op_type: str,
    arrays: Sequence[np.ndarray | None],
    *,
    fed: set[int],
    outputs: int,
    opset: int,
    symbolic: str,
    domain: str,
    attributes: dict[str, Any],
) -> onnx.ModelProto:
    names = [f"i{i}" if a is not None else "" for i, a in enumerate(arrays)]
    results = [f"o{i}" for i in range(outputs)]
    node = helper.make_node(op_type, names, results, name="node", domain=domain, **attributes)
    inputs, stored = [], []
    for i, array in enumerate(arrays):
        if array is None:
            continue
        if i not in fed:
            stored.append(numpy_helper.from_array(array, names[i]))
            continue
        shape: list[Any] = list(array.shape)
        if symbolic == "batch" and shape:
            shape[0] = "batch" if array.shape[0] != 1 else 1
        elif symbolic == "all":
            shape = [f"d{i}_{k}" for k in range(len(shape))]
        elem = helper.np_dtype_to_tensor_dtype(array.dtype)
        inputs.append(helper.make_tensor_value_info(names[i], elem, shape))
    first = next(a for a in arrays if a is not None and a.dtype.kind == "f")
    float_type = helper.np_dtype_to_tensor_dtype(first.dtype)
    graph = helper.make_graph([node], "g", inputs, [], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, opset)])
    model.ir_version = 10
    # an output declared beforehand would keep its type and rank from what inference finds
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=False)
    found = {v.name: v for v in inferred.graph.value_info}
    model.graph.output.extend(
        found.get(r, helper.make_tensor_value_info(r, float_type, None)) for r in results
    )
    return model


def _as(
    arrays: Sequence[np.ndarray | None], dtype: type, kept: Sequence[int] = ()
) -> list[np.ndarray | None]:
    return [
        a.astype(dtype) if a is not None and a.dtype.kind == "f" and i not in kept else a
        for i, a in enumerate(arrays)
    ]


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20171703)


@pytest.fixture
def check_vjp(rng: np.random.Generator) -> Callable[..., None]:
    """Check the rules of one operator application.

    `check_vjp("Gemm", a, b, c, wrt=[0, 1], alpha=0.5)`. Floats may be given in any float type; they
    are checked in float64 (`onnx.reference`, or `oracle`) and in float32 (onnxruntime).

    Keyword arguments beside ONNX attributes:
        wrt: Positions of the inputs to differentiate (default: all float ones).
        opset: Opset of the node (default 18); below 18 the model is raised on the way.
        outputs: Number of outputs; each float one is checked by itself unless `of` says which.
        symbolic: Which dimensions of the inputs are symbols: tried in turn, by default
            ("static", "batch", "all").
        oracle: `oracle(*float64 arrays) -> list of outputs`, where the reference is at fault.
        fed: Positions of integer inputs that are fed at run time rather than stored.
        kept: Positions of float inputs whose type does not follow the others'.
        domain: Operator domain.
        runtime: False where onnxruntime has no kernel for the operator.
        attrs: ONNX attributes whose names clash with the keywords above.
    """

    def check(
        op_type: str,
        *arrays: np.ndarray | None,
        wrt: Sequence[int] | None = None,
        opset: int = 18,
        outputs: int = 1,
        of: Sequence[int] | None = None,
        symbolic: Sequence[str] = ("static", "batch", "all"),
        oracle: Callable[..., list[np.ndarray]] | None = None,
        fed: Sequence[int] = (),
        kept: Sequence[int] = (),
        domain: str = "",
        runtime: bool = True,
        attrs: dict[str, Any] | None = None,
        **attributes: Any,
    ) -> None:
        attributes |= attrs or {}
        floats = {i for i, a in enumerate(arrays) if a is not None and a.dtype.kind == "f"}
        wrt = sorted(floats) if wrt is None else list(wrt)
        for mode in symbolic:
            common = {
                "fed": set(wrt) | set(fed),
                "outputs": outputs,
                "opset": opset,
                "symbolic": mode,
                "domain": domain,
                "attributes": attributes,
            }
            doubles, singles = _as(arrays, np.float64, kept), _as(arrays, np.float32, kept)
            wide = _model(op_type, doubles, **common)
            narrow = _model(op_type, singles, **common)
            for index in of if of is not None else range(outputs):
                name = f"o{index}"
                if wide.graph.output[index].type.tensor_type.elem_type != TensorProto.DOUBLE:
                    continue
                expected = _check_double(wide, doubles, name, index, wrt, rng, oracle, mode)
                if runtime:
                    _check_single(narrow, singles, name, expected, mode)

    def _check_double(
        model: onnx.ModelProto,
        arrays: list[np.ndarray | None],
        name: str,
        index: int,
        wrt: Sequence[int],
        rng: np.random.Generator,
        oracle: Callable[..., list[np.ndarray]] | None,
        mode: str,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        augmented = augment(model, wrt=[f"i{i}" for i in wrt], of=name)
        if all(o.type.tensor_type.HasField("shape") for o in model.graph.output):
            # the checker refuses tensors of unknown rank, which the forward model has as well
            onnx.checker.check_model(augmented)
        feeds = _feeds(model, arrays)
        reference = ReferenceEvaluator(model, new_ops=REPAIRED)

        def forward(changed: dict[str, np.ndarray]) -> np.ndarray:
            if oracle is None:
                return np.asarray(reference.run([name], feeds | changed)[0], dtype=np.float64)
            now = [changed.get(f"i{i}", a) if a is not None else None for i, a in enumerate(arrays)]
            return np.asarray(oracle(*now)[index], dtype=np.float64)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the reference divides by zero where masks follow
            y = forward({})
            ct = rng.standard_normal(y.shape)
            outputs = [o.name for o in augmented.graph.output]
            results = ReferenceEvaluator(augmented, new_ops=REPAIRED).run(
                None, feeds | {f"igrt/cotangent/{name}": ct}
            )
            gradients = dict(zip(outputs, results, strict=True))
            for i in wrt:
                x = arrays[i]
                assert x is not None
                gradient = gradients[f"igrt/grad/i{i}"]
                assert gradient.shape == x.shape, f"{mode}: shape of the gradient of input {i}"
                assert gradient.dtype == np.float64
                for _ in range(3):
                    v = rng.standard_normal(x.shape)
                    plus = forward({f"i{i}": x + _STEP * v})
                    minus = forward({f"i{i}": x - _STEP * v})
                    difference = float((ct * (plus - minus)).sum()) / (2 * _STEP)
                    analytic = float((gradient * v).sum())
                    scale = max(1.0, float(np.abs(gradient * v).sum()), abs(difference))
                    assert abs(analytic - difference) <= _FINITE_DIFFERENCE * scale, (
                        f"{mode}: input {i}: {analytic} against {difference}"
                    )
        return ct, {n: g for n, g in gradients.items() if n.startswith("igrt/grad/")}

    def _check_single(
        model: onnx.ModelProto,
        arrays: list[np.ndarray | None],
        name: str,
        expected: tuple[np.ndarray, dict[str, np.ndarray]],
        mode: str,
    ) -> None:
        ct, gradients = expected
        wrt = [n.removeprefix("igrt/grad/") for n in gradients]
        session = _session(augment(model, wrt=wrt, of=name))
        feeds = _feeds(model, arrays) | {f"igrt/cotangent/{name}": ct.astype(np.float32)}
        for output, value in zip(gradients, session.run(list(gradients), feeds), strict=True):
            want = gradients[output]
            assert value.shape == want.shape, f"{mode}: shape of {output} in onnxruntime"
            scale = max(1.0, float(np.abs(want).max(initial=0.0)))
            np.testing.assert_allclose(
                value, want, rtol=_FLOAT32, atol=_FLOAT32 * scale, err_msg=f"{mode}: {output}"
            )

    def _feeds(model: onnx.ModelProto, arrays: list[np.ndarray | None]) -> dict[str, np.ndarray]:
        names = {i.name for i in model.graph.input}
        return {f"i{i}": a for i, a in enumerate(arrays) if a is not None and f"i{i}" in names}

    return check


@pytest.fixture
def adjoint(rng: np.random.Generator) -> Callable[..., None]:
    """Check <ct, f(v)> = <f*(ct), v> in onnxruntime for an operator linear in its first input.

    For operators that `onnx.reference` gets wrong: the forward kernel is the oracle.
    """

    def check(
        op_type: str,
        x: np.ndarray,
        *stored: np.ndarray | None,
        shape: Sequence[int | str] | None = None,
        opset: int = 18,
        **attributes: Any,
    ) -> None:
        names = ["x", *(f"i{i}" if a is not None else "" for i, a in enumerate(stored))]
        singles = _as([x, *stored], np.float32)
        node = helper.make_node(op_type, names, ["y"], name="node", **attributes)
        graph = helper.make_graph(
            [node],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape or x.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * x.ndim)],
            [
                numpy_helper.from_array(a, f"i{i}")
                for i, a in enumerate(singles[1:])
                if a is not None
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 10
        y = _session(model).run(None, {"x": singles[0]})[0]
        ct = rng.standard_normal(y.shape).astype(np.float32)
        session = _session(augment(model, wrt=["x"], of="y"))
        gradient = session.run(["igrt/grad/x"], {"x": singles[0], "igrt/cotangent/y": ct})[0]
        assert gradient.shape == x.shape
        left, right = float((ct * y).sum()), float((gradient * singles[0]).sum())
        assert abs(left - right) <= _FLOAT32 * max(1.0, float(np.abs(ct * y).sum()))

    return check


@pytest.fixture
def gradient() -> Callable[..., np.ndarray]:
    """Gradient of <ct, last output> in onnxruntime, for exact expectations at kinks."""

    def compute(
        op_type: str,
        x: np.ndarray,
        *stored: np.ndarray,
        ct: np.ndarray,
        shape: Sequence[int | str | None] | None = None,
        opset: int = 18,
        outputs: int = 1,
        **attributes: Any,
    ) -> np.ndarray:
        names = ["x", *(f"i{i}" for i in range(len(stored)))]
        made = [*(f"y{i}" for i in range(outputs - 1)), "y"]
        elem = helper.np_dtype_to_tensor_dtype(x.dtype)
        graph = helper.make_graph(
            [helper.make_node(op_type, names, made, name="node", **attributes)],
            "g",
            [helper.make_tensor_value_info("x", elem, shape or x.shape)],
            [helper.make_tensor_value_info("y", elem, [None] * ct.ndim)],
            [numpy_helper.from_array(a, n) for a, n in zip(stored, names[1:], strict=True)],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 10
        session = _session(augment(model, wrt=["x"], of="y"))
        feeds = {"x": x, "igrt/cotangent/y": ct.astype(x.dtype)}
        return np.asarray(session.run(["igrt/grad/x"], feeds)[0])

    return compute
