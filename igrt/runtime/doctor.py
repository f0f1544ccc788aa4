"""What this machine can run, found out by trying it."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from importlib import metadata
from typing import Any

from igrt.cache import open_cache
from igrt.errors import IgrtError
from igrt.runtime.available import available_memory
from igrt.runtime.device import described
from igrt.runtime.ort import INSTALL_HINT, onnxruntime

# y = Identity(x) at opset 13, IR 8, as bytes: this layer does not know onnx
_IDENTITY = (
    b'\x08\x08:9\n\x12\n\x01x\x12\x01y"\x08Identity:\x00\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01'
    b"\x12\x04\n\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)


def examine() -> list[dict[str, Any]]:
    """Findings, each with `name`, `ok` (None: for information), `text` and `hint`."""
    return [
        _finding(
            "Python", None, f"{platform.python_version()} on {platform.machine()} {sys.platform}"
        ),
        *(_package(n) for n in ("onnx", "numpy", "numba", "click", "pillow")),
        *_runtime(),
        _kernels(),
        _cache(),
        _finding("memory", None, f"{available_memory() / 2**30:.1f} GiB available to this process"),
        _telemetry(),
    ]


def _finding(name: str, ok: bool | None, text: str, hint: str = "") -> dict[str, Any]:
    return {"name": name, "ok": ok, "text": text, "hint": hint}


def _package(name: str) -> dict[str, Any]:
    try:
        return _finding(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return _finding(name, False, "not installed", f"pip install {name}")


def _runtime() -> list[dict[str, Any]]:
    owners = sorted(set(metadata.packages_distributions().get("onnxruntime", [])))
    installed = ", ".join(f"{o} {metadata.version(o)}" for o in owners)
    try:
        ort = onnxruntime()
    except IgrtError as error:
        return [_finding("onnxruntime", False, error.message, error.hint or INSTALL_HINT)]
    findings = [
        _finding(
            "onnxruntime",
            len(owners) <= 1,
            installed or ort.__version__,
            "two wheels overwrite each other: uninstall both, install one"
            if len(owners) > 1
            else "",
        )
    ]
    findings += [
        _provider(provider)
        for provider in ort.get_available_providers()
        if provider in ("CPUExecutionProvider", "CUDAExecutionProvider")
    ]
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        findings.append(
            _finding(
                "CUDAExecutionProvider",
                None,
                "not part of this onnxruntime",
                "for NVIDIA cards: pip install 'igrt[gpu]' in an environment without igrt[cpu]",
            )
        )
    else:
        findings.append(_device())
    return findings


def _provider(name: str) -> dict[str, Any]:
    """Whether a provider works: it loads and runs a model, not only exists in the wheel."""
    import numpy as np

    from igrt.runtime.session import OrtSession

    try:
        session = OrtSession(_IDENTITY, provider=name)
        session.run(["y"], {"x": np.zeros(1, dtype=np.float32)})
    except IgrtError as error:
        # a GPU wheel on a machine without a GPU still runs everything on the CPU
        ok = None if name == "CUDAExecutionProvider" else False
        return _finding(name, ok, f"does not work: {error.message}", error.hint)
    return _finding(name, True, "works")


def _device() -> dict[str, Any]:
    """Whether paths and sums can be on the device as well, with Numba's kernels."""
    try:
        return _finding("CUDA kernels", True, f"Numba on {described()}")
    except Exception as error:  # ImportError, RuntimeError, and what the driver raises
        reason = str(error).partition("\n")[0]
        hint = "pip install 'numba-cuda[cu13]'; without it every chunk comes from the host"
        return _finding("CUDA kernels", None, f"do not work: {reason}", hint)


def _kernels() -> dict[str, Any]:
    kernels = importlib.import_module("igrt.kernels")
    chosen = kernels.select("cpu")
    if chosen.fallback:
        return _finding("kernels", None, f"NumPy reference: {chosen.fallback}")
    return _finding("kernels", True, "Numba")


def _cache() -> dict[str, Any]:
    found = open_cache(True)
    if found is None:
        return _finding("cache", None, "no home folder to keep it in", "set IGRT_CACHE_DIR")
    size = sum(s.st_size for _, s in found.files())
    return _finding("cache", None, f"{size / 1e6:.1f} MB in {found.folder}")


def _telemetry() -> dict[str, Any]:
    off = os.environ.get("ORT_DISABLE_TELEMETRY") == "1"
    return _finding(
        "onnxruntime telemetry",
        off,
        "off" if off else "on",
        "" if off else "set ORT_DISABLE_TELEMETRY=1",
    )


__all__ = ["examine"]
