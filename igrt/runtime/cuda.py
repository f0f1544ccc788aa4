"""onnxruntime's sessions on a CUDA device: buffers that it and our kernels share, and graphs."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np

from igrt.runtime.device import Device, open_device
from igrt.runtime.device_lane import DeviceLane, fed
from igrt.runtime.lane import Lane, Output
from igrt.runtime.ort import onnxruntime, translated
from igrt.runtime.paths import Paths
from igrt.runtime.session import OrtSession, Session, full_name
from igrt.specs import Array

_WHERE = ("cuda", 0)
"""Kind and number of the device, which are those that Numba and onnxruntime choose."""

Wrap = Callable[[Any, tuple[int, ...], Any], Any]
"""Makes an array of the memory of an OrtValue, in a shape and element type; keeps it alive."""


@final
class _Memory:
    """The memory of an OrtValue, as NumPy's and Numba's interface for device arrays has it."""

    def __init__(self, value: Any, shape: tuple[int, ...], dtype: Any) -> None:
        self._value = value  # the memory is its
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": np.dtype(dtype).str,
            "data": (value.data_ptr(), False),
            "strides": None,
            "version": 3,
        }


def _wrap(device: Device) -> Wrap:
    return lambda value, shape, dtype: device.numba.as_cuda_array(_Memory(value, shape, dtype))


@final
class OrtBound:
    """Buffers of one chunk in onnxruntime's memory, bound to a session.

    Args:
        session: The model.
        where: Kind of the device, ``cuda``, and its number.
        wrap: Makes device arrays of onnxruntime's memory.
        inputs: Shape and element type of a row by input.
        single: Inputs and outputs without a batch axis, which hold one row.
        shared: Inputs that are the same for all rows, by name.
        outputs: What the model gives for a row.
        rows: Room for so many rows.

    Raises:
        OutOfMemory: If the device has no room for the buffers.
    """

    _graphs = itertools.count(1)

    def __init__(
        self,
        session: OrtSession,
        where: tuple[str, int],
        wrap: Wrap,
        *,
        inputs: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
        single: frozenset[str],
        shared: Mapping[str, Array],
        outputs: Sequence[Output],
        rows: int,
    ) -> None:
        self._session, self._where = session, where
        self._single = single
        self._rows_in = dict(inputs)
        self._rows_out = {o.name: (o.shape, o.dtype) for o in outputs}
        value = onnxruntime().OrtValue
        both = self._rows_in | self._rows_out
        try:
            self._values = {
                n: value.ortvalue_from_shape_and_type([rows, *shape], dtype, *where)
                for n, (shape, dtype) in both.items()
            }
            self._shared = {
                n: value.ortvalue_from_numpy(np.ascontiguousarray(a), *where)
                for n, a in shared.items()
            }
        except Exception as error:
            raise translated(error, doing="allocating buffers on the device") from None
        self.inputs: Mapping[str, Any] = {
            n: wrap(self._values[n], (rows, _size(shape) * dtype.itemsize), np.uint8)
            for n, (shape, dtype) in inputs.items()
        }
        """Inputs with a row per point, [rows, bytes of a row] uint8 by name."""
        self.outputs: Sequence[Any] = [
            wrap(self._values[o.name], (rows, o.size), o.dtype) for o in outputs
        ]
        """Outputs, [rows, features]."""
        self._bindings: dict[int, tuple[Any, dict[str, str]]] = {}

    def run(self, rows: int) -> None:
        """Queue a run on the first rows.

        Raises:
            OutOfMemory: If memory does not suffice.
        """
        if rows not in self._bindings:
            self._bindings[rows] = self._bind(rows), self._entries()
        binding, entries = self._bindings[rows]
        self._session.run_bound(binding, entries)

    def _entries(self) -> dict[str, str]:
        # our kernels are on the same stream, so nobody has to wait for a run to end
        entries = {"disable_synchronize_execution_providers": "1"}
        if not self._session.no_graph:
            # a graph replays the addresses it was captured with: one for these buffers and shapes
            entries["gpu_graph_id"] = str(next(self._graphs))
        return entries

    def _bind(self, rows: int) -> Any:
        binding = self._session.new_binding()
        for name, (shape, dtype) in self._rows_in.items():
            whole = list(shape) if name in self._single else [rows, *shape]
            pointer = self._values[name].data_ptr()
            binding.bind_input(name, *self._where, dtype.type, whole, pointer)
        for name, value in self._shared.items():
            binding.bind_ortvalue_input(name, value)
        for name, (shape, dtype) in self._rows_out.items():
            whole = list(shape) if name in self._single else [rows, *shape]
            pointer = self._values[name].data_ptr()
            binding.bind_output(name, *self._where, dtype.type, whole, pointer)
        return binding


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def opened(provider: str) -> tuple[Device | None, str]:
    """The device for sessions of a provider, and why there is none, in words.

    Args:
        provider: What the user asked for.
    """
    name = full_name(provider)
    wanted = name in ("auto", "CUDAExecutionProvider")
    if not wanted or "CUDAExecutionProvider" not in onnxruntime().get_available_providers():
        return None, "the provider is not CUDA"
    try:
        return open_device(), ""
    except Exception as error:  # ImportError, RuntimeError, and what the driver raises
        return None, str(error).partition("\n")[0]


@final
class Lanes:
    """Makes the lanes of a session, on its device where it has one.

    Buffers go back when the call that used them is over, for the next one of the same shapes: a
    graph that was captured for them serves all of these.

    Args:
        session: The model.
        device: Where it runs; None for a session that takes its arrays from the host.
    """

    def __init__(self, session: Session, device: Device | None) -> None:
        self._session, self._device = session, device
        self._spare: dict[Any, list[OrtBound]] = {}

    def __call__(
        self, paths: Paths, outputs: Sequence[Output], *, cotangent: str | None, rows: int
    ) -> Lane | None:
        """A lane on the device; None where the inputs can only come from the host."""
        device, session = self._device, self._session
        if device is None or not isinstance(session, OrtSession):
            return None
        inputs = fed(paths, cotangent)
        if any(d.hasobject or d.kind in "US" for _, d in inputs.values()):
            return None  # texts
        single = frozenset[str]()
        if not paths.batched:
            single |= {n for n in inputs if n != cotangent} | {o.name for o in outputs}
        if not paths.output_batched and cotangent is not None:
            single |= {cotangent}
        key = (rows, single, tuple(inputs.items()), tuple((o.name, o.shape) for o in outputs))
        shared = {n: np.asarray(a) for n, a in paths.shared.items()}
        with device.lock:
            spare = self._spare.setdefault(key, [])
            bound = spare.pop() if spare and not shared else None
            bound = bound or OrtBound(
                session,
                _WHERE,
                _wrap(device),
                inputs=inputs,
                single=single,
                shared=shared,
                outputs=outputs,
                rows=rows,
            )
            lane = DeviceLane(device, bound, paths, outputs, cotangent=cotangent, rows=rows)
        if not shared:
            weakref.finalize(lane, spare.append, bound)
        return lane


__all__ = ["Lanes", "OrtBound", "Wrap", "opened"]
