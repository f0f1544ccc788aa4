"""`Device`: a CUDA device as Numba sees it, and the one stream that all work is queued on."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from igrt.errors import OutOfMemory
from igrt.specs import Array

_DEPTH = 2
"""Chunks that the host may be ahead of the device: one runs, one is ready."""


@final
class Device:
    """A device with its kernels, arrays and stream.

    Everything is queued on the one stream, onnxruntime's work as well, so nothing here waits but
    `get`. Several threads may share a device if each holds its `lock` while it queues.

    Args:
        stream: Numba's stream; on the simulator any of its streams.
    """

    def __init__(self, stream: Any) -> None:
        self.kernels: Any = importlib.import_module("igrt.kernels.cuda")
        self.kept: Any = importlib.import_module("igrt.kernels.cuda_kept")
        self.numba: Any = self.kernels.cuda
        self.stream = stream
        self.lock = threading.RLock()

    @property
    def address(self) -> int:
        """Address of the stream, as onnxruntime's option `user_compute_stream` has it."""
        handle = self.stream.handle
        return int(getattr(handle, "value", handle))

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        """An array on the device.

        Raises:
            OutOfMemory: If the device has no room for it.
        """
        try:
            return self.numba.device_array(tuple(shape), dtype, stream=self.stream)
        except Exception as error:  # the driver's errors share no class that the simulator has
            if "OUT_OF_MEMORY" not in str(error):
                raise
            raise OutOfMemory(
                "out of memory on the device",
                hint="use a smaller internal_batch_size or memory budget",
            ) from None

    def put(self, target: Any, source: Array) -> None:
        """Copy from the host."""
        if source.size:
            target.copy_to_device(np.ascontiguousarray(source), stream=self.stream)

    def get(self, array: Any) -> Array:
        """Copy to the host, once all that was queued before is done."""
        host: Array = array.copy_to_host(stream=self.stream)
        self.stream.synchronize()
        return host


def open_device() -> Device:
    """The device that Numba chooses, with a stream of our own.

    Raises:
        RuntimeError: If Numba cannot use a CUDA device; the message says why.
    """
    from igrt.kernels import select

    select("cuda")
    numba: Any = importlib.import_module("igrt.kernels.cuda").cuda
    numba.current_context()
    driver = importlib.import_module("cuda.bindings.driver")
    # Numba's own streams wait for the default stream, which breaks the capture of a CUDA graph
    status, handle = driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING)
    if int(status):
        raise RuntimeError(f"no CUDA stream can be made: {status}")
    return Device(numba.external_stream(int(handle)))


def device_memory() -> tuple[int, int] | None:
    """Free and total bytes of the device's memory; None where there is none or Numba lacks it."""
    try:
        numba: Any = importlib.import_module("igrt.kernels.cuda").cuda
        free, total = numba.current_context().get_memory_info()
        return int(free), int(total)
    except Exception:  # no driver, no device, no numba-cuda, or the simulator
        return None


def described() -> str:
    """The device in words: its name, compute capability and memory.

    Raises:
        RuntimeError, ImportError: If Numba cannot use one; the message says why.
    """
    here = open_device()
    found = here.numba.get_current_device()
    name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
    capability = ".".join(map(str, found.compute_capability))
    memory = device_memory()
    room = (
        "" if memory is None else ", {:.1f} of {:.1f} GiB free".format(*(m / 2**30 for m in memory))
    )
    return f"{name}, compute capability {capability}{room}"


ONE_CHUNK = 1 << 30
"""Bytes of activations that fill a large device's multiprocessors several times over; beyond, a
chunk only takes longer. A guess until it is measured (benchmarks/gpu/check.py)."""


def room_on(provider: str) -> dict[str, int]:
    """What `plan` is to know of a provider's memory: on CUDA its own in place of the host's."""
    if provider != "CUDAExecutionProvider":
        return {}
    memory = device_memory()
    return {"one_chunk": ONE_CHUNK} | ({} if memory is None else {"available": memory[0]})


@final
class Ring:
    """Small arrays on their way to the device: what a chunk needs beside its points.

    Copies from pinned memory do not wait for the device; before a buffer is written again, the
    chunk that read it is waited for. So the host is never more than two chunks ahead.

    Args:
        device: Where to.
        columns: Element type and largest number of elements by name.
    """

    def __init__(self, device: Device, columns: Mapping[str, tuple[Any, int]]) -> None:
        self._device = device
        self._entries = [
            {
                n: (device.numba.pinned_array(size, dtype), device.empty((size,), dtype))
                for n, (dtype, size) in columns.items()
            }
            for _ in range(_DEPTH)
        ]
        self._events: list[Any] = [None] * _DEPTH
        self._turn = 0

    def send(self, **arrays: Array) -> dict[str, Any]:
        """Queue the copies; arrays on the device in the same shapes."""
        event = self._events[self._turn]
        if event is not None:
            event.synchronize()
        sent = {}
        for name, array in arrays.items():
            pinned, there = self._entries[self._turn][name]
            pinned[: array.size] = array.reshape(-1)
            there = there[: array.size]
            there.copy_to_device(pinned[: array.size], stream=self._device.stream)
            sent[name] = there.reshape(array.shape)
        return sent

    def used(self) -> None:
        """All that reads what was sent last has been queued."""
        event = self._device.numba.event()
        event.record(self._device.stream)
        self._events[self._turn] = event
        self._turn = (self._turn + 1) % _DEPTH


__all__ = ["ONE_CHUNK", "Device", "Ring", "described", "device_memory", "open_device", "room_on"]
