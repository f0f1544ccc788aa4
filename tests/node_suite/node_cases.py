"""The node tests of the `onnx` package, as models that onnxruntime accepts."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnx.backend.test.loader import load_model_tests

from igrt.graph.normalize.inline import inline_operators
from igrt.graph.normalize.newest import lower_opset

NEWEST, NEWEST_IR = 26, 13
"""What onnxruntime accepts; the newest node tests are written for newer ones."""

_NARROW = {
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.FLOAT8E4M3FN,
    onnx.TensorProto.FLOAT8E4M3FNUZ,
    onnx.TensorProto.FLOAT8E5M2,
    onnx.TensorProto.FLOAT8E5M2FNUZ,
}
FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16} | _NARROW


@dataclass(frozen=True)
class Case:
    """One node test.

    Args:
        name: Its name in the `onnx` package.
        original: The model as the test has it.
        model: The same, clamped to an opset and IR version that onnxruntime accepts.
        feeds: Arrays (lists for sequences, None for empty optionals) by input.
        expected: Outputs by name.
        rtol: Relative tolerance of the outputs.
        atol: Absolute tolerance of the outputs.
        digest: Of model and inputs, to see that an oracle belongs to them.
    """

    name: str
    original: onnx.ModelProto
    model: onnx.ModelProto
    feeds: dict[str, Any]
    expected: dict[str, Any]
    rtol: float
    atol: float
    digest: str

    @property
    def operator(self) -> str:
        """The operator that the test is about; that of its plain twin for an expanded one."""
        base = self.name.partition("_expanded")[0]
        plain = _plain_operators().get(base)
        return plain or self.model.graph.node[0].op_type

    @property
    def expanded(self) -> bool:
        """Whether the operator's function body stands in its place."""
        return "_expanded" in self.name

    def symbolic(self) -> Case:
        """The same test with a symbol in place of every size of its float inputs."""
        return replace(self, model=_symbolic(self.model), original=_symbolic(self.original))

    def floats(self) -> list[str]:
        """Float tensors among the inputs."""
        return [
            i.name
            for i in self.model.graph.input
            if i.type.tensor_type.elem_type in FLOATS
            and isinstance(self.feeds[i.name], (np.ndarray, np.generic))
        ]

    def float_outputs(self) -> list[str]:
        """Float tensors among the outputs."""
        return [o.name for o in self.model.graph.output if o.type.tensor_type.elem_type in FLOATS]


def cases() -> Iterator[Case]:
    """All node tests with an input and an output that are float tensors."""
    for test in _tests():
        if not test.data_sets:
            continue
        inputs, outputs = test.data_sets[0]
        names = [i.name for i in test.model.graph.input]
        feeds = dict(zip(names, inputs, strict=False))
        feeds = {n: np.asarray(a) if isinstance(a, np.generic) else a for n, a in feeds.items()}
        digest = zlib.crc32(test.model.SerializeToString())
        for value in feeds.values():
            digest = zlib.crc32(repr(type(value)).encode(), digest)
            if isinstance(value, np.ndarray) and value.dtype != object:
                digest = zlib.crc32(value.tobytes(), digest)
        original = onnx.ModelProto()
        original.CopyFrom(test.model)
        _store_protos(original, feeds)
        model = onnx.ModelProto()
        model.CopyFrom(original)
        expected = dict(zip([o.name for o in model.graph.output], outputs, strict=False))
        case = Case(
            test.name,
            original,
            clamped(model),
            feeds,
            expected,
            test.rtol,
            test.atol,
            f"{digest:08x}",
        )
        if len(feeds) == len(original.graph.input) and case.floats() and case.float_outputs():
            yield case


def _store_protos(model: onnx.ModelProto, feeds: dict[str, Any]) -> None:
    """Inputs of element types without a NumPy equivalent come as protos: store them instead."""
    for info in list(model.graph.input):
        value = feeds.get(info.name)
        if isinstance(value, onnx.TensorProto):
            value.name = info.name
            model.graph.initializer.append(value)
            model.graph.input.remove(info)
            del feeds[info.name]


@cache
def _tests() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(load_model_tests(kind="node"))


@cache
def _plain_operators() -> dict[str, str]:
    return {
        t.name: t.model.graph.node[-1].op_type
        for t in _tests()
        if "_expanded" not in t.name and len(t.model.graph.node)
    }


def _symbolic(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for info in copy.graph.input:
        # the number of axes is no symbol, nor is the number of sizes that are given for them
        if info.type.tensor_type.elem_type not in FLOATS:
            continue
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            dim.dim_param = f"{info.name}_{axis}"
    for info in copy.graph.output:
        for dim in info.type.tensor_type.shape.dim:
            dim.Clear()
    del copy.graph.value_info[:]
    return copy


def clamped(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model at an opset and IR version of onnxruntime; newer operators become their bodies."""
    if any(o.domain == "" and o.version > NEWEST for o in model.opset_import):
        model = lower_opset(model, NEWEST)
    model.ir_version = min(model.ir_version, NEWEST_IR)
    return model


def expanded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with function bodies in place of the operators that have one."""
    operators = {n.op_type for n in model.graph.node}
    return inline_operators(model, [("", o) for o in operators]) or model


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A quiet session on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(
    ready: onnxruntime.InferenceSession, names: list[str], feeds: dict[str, Any]
) -> list[np.ndarray]:
    """Outputs as NumPy arrays; element types that NumPy lacks go in and out by their bits."""
    wanted = {i.name: i.type for i in ready.get_inputs()}
    values = {}
    for name, array in feeds.items():
        if name not in wanted:
            continue
        if isinstance(array, np.ndarray) and array.dtype.kind == "V":
            elem = helper.np_dtype_to_tensor_dtype(array.dtype)
            values[name] = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
                np.asarray(array, order="C"), elem
            )
        elif isinstance(array, np.ndarray):
            values[name] = onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(array, order="C"))
        else:
            values[name] = array
    if all(isinstance(v, onnxruntime.OrtValue) for v in values.values()):
        results = ready.run_with_ort_values(names, values)
        return [_to_numpy(r) for r in results]
    plain = {n: v.numpy() if isinstance(v, onnxruntime.OrtValue) else v for n, v in values.items()}
    return list(ready.run(names, plain))


def _to_numpy(value: onnxruntime.OrtValue) -> np.ndarray:
    try:
        return np.asarray(value.numpy())
    except Exception:  # bfloat16 and float8, which onnxruntime does not give to NumPy
        elem = value.element_type()
        dtype = helper.tensor_dtype_to_np_dtype(elem)
        size = int(np.prod(value.shape())) * dtype.itemsize
        import ctypes

        raw = ctypes.string_at(value.data_ptr(), size)
        return np.frombuffer(raw, dtype=dtype).reshape(value.shape())
