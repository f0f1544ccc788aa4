"""The one place that imports onnxruntime, and that turns its errors into ours."""

from __future__ import annotations

import ctypes
import importlib
import os
import re
from contextlib import suppress
from types import ModuleType

from igrt.errors import (
    Cancelled,
    IgrtError,
    InputError,
    InternalError,
    ModelLoadError,
    OutOfMemory,
    ProviderError,
)

INSTALL_HINT = "install one of them: pip install 'igrt[cpu]' or pip install 'igrt[gpu]'"


def onnxruntime() -> ModuleType:
    """The onnxruntime module, with its telemetry off.

    Raises:
        ProviderError: If it is not installed, or an uninstalled twin left it broken.
    """
    # recent wheels write files and upload on import; the variable must be set before it
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        module = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ProviderError(f"onnxruntime cannot be imported: {error}", hint=INSTALL_HINT) from None
    if not hasattr(module, "InferenceSession"):
        raise ProviderError(
            "onnxruntime is an empty folder: the CPU and the GPU wheel were both installed and "
            "one was removed",
            hint="pip install --force-reinstall onnxruntime (or onnxruntime-gpu)",
        )
    return module


def give_back() -> None:
    """Have the C library return what is free to the system, where it can (glibc).

    While onnxruntime loads a large model, it makes and drops tensors of the size of its weights.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


_MEMORY = re.compile(
    r"Failed to allocate memory|bad_alloc|out of memory|smaller than requested bytes|ALLOC_FAILED",
    re.IGNORECASE,
)


_NO_KERNEL = re.compile(
    r"(?:find an implementation|Kernel not found) for (\w+)\(\d+\) node with name '([^']*)'"
)


def translated(error: Exception, *, doing: str) -> IgrtError:
    """Our error for one of onnxruntime's, which share no base class and no reliable type.

    Args:
        error: What onnxruntime raised.
        doing: What was going on, such as ``loading the model``.
    """
    kind = type(error).__name__
    text = _first_line(str(error))
    if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
        return OutOfMemory(
            f"out of memory while {doing}",
            hint="use a smaller internal_batch_size or memory budget",
        )
    if "terminate flag" in text:
        return Cancelled(f"cancelled while {doing}", hint="the model may be run again")
    kernel = _NO_KERNEL.search(str(error))
    if kernel:
        return ModelLoadError(
            f"onnxruntime has no kernel for {kernel[1]}{f' (`{kernel[2]}`)' if kernel[2] else ''} "
            "in this element type",
            hint="the CPU has few kernels for float64 and bfloat16: convert the model to float32",
        )
    if doing.startswith("loading"):
        return ModelLoadError(
            f"onnxruntime cannot load the model: {text}",
            hint="onnx.checker.check_model(path, full_check=True) may say more",
        )
    if kind == "InvalidArgument":
        return InputError(
            f"onnxruntime refuses an input while {doing}: {text}",
            hint="`igrt inspect` shows what the model takes",
        )
    if isinstance(error, IgrtError):
        return error
    return InternalError(
        f"onnxruntime failed while {doing}: {kind}: {text}",
        hint="run the model in onnxruntime alone; if that works, please report this",
    )


_NOISE = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : |/\S+/onnxruntime\S* |\S+\.(?:cc|h):\d+ "
)


def _first_line(text: str) -> str:
    """The first line without build paths, which name the machine that built the wheel."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = _NOISE.sub("", lines[0]) if lines else "no reason given"
    return line if len(line) <= 300 else line[:297] + "…"


__all__ = ["INSTALL_HINT", "give_back", "onnxruntime", "translated"]
