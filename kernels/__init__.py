"""Array kernels of the attribution loop, for one device each.

Every implementation has the same functions with the same argument order: `interpolate`,
`accumulate` and `multiply_difference`. `refine` is for the host alone, where the gradients of an
adaptive path are kept; `igrt.kernels.cuda_kept` has what a device needs to keep them itself.
`igrt.kernels.reference` and `reference_kept` define them in plain NumPy; the others must agree with
these. They know arrays and nothing else: this package needs NumPy, prefers
Numba, and never imports the rest of igrt.

Importing this package loads neither Numba nor CUDA; `select` does, for the device asked for.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["DEVICES", "KernelSet", "select"]

DEVICES = ("auto", "cpu", "cuda", "reference")


@dataclass(frozen=True)
class KernelSet:
    """The kernels of one implementation.

    Attributes:
        name: the implementation in use: `cpu`, `cuda`, `reference`, or `auto` for one that changes.
        interpolate: `(baselines, inputs, rows, alphas, out)`, see `igrt.kernels.reference`.
        accumulate: `(sums, gradients, rows, weights)`, see `igrt.kernels.reference`.
        multiply_difference: `(mean_gradients, inputs, baselines, out)`, see
        `igrt.kernels.reference`.
        refine: `(x0, x1, x2, scale, weights, factors, mean, variance, steps)`, on host arrays; see
        `igrt.kernels.reference`.
        fallback: why `name` is not the implementation asked for, or None.
    """

    name: str
    interpolate: Callable[..., None]
    accumulate: Callable[..., None]
    multiply_difference: Callable[..., None]
    refine: Callable[..., None]
    fallback: str | None = None


def select(device: str) -> KernelSet:
    """Return the kernels for a device.

    `auto` is for the CPU as well: the reference, until Numba is loaded or it has taken so long that
    loading it pays (`igrt.kernels.patient`). `cpu` falls back to the NumPy reference, which gives
    the same numbers more slowly, if Numba cannot be imported or `NUMBA_DISABLE_JIT=1` is set;
    `KernelSet.fallback` then says why. `cuda` never falls back: its functions take device arrays,
    which the others cannot read.

    Args:
        device: `auto`, `cpu`, `cuda` or `reference`.

    Raises:
        ValueError: the device is unknown.
        RuntimeError: `cuda` was asked for and Numba cannot use a CUDA device.
    """
    if device == "reference":
        return _kernel_set("reference")
    if device == "auto" and "numba" not in sys.modules:
        kernels: KernelSet = importlib.import_module(".patient", __name__).patient()
        return kernels
    if device in ("auto", "cpu"):
        # "0" and "" mean off to Numba, too.
        if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
            return _kernel_set("reference", fallback="NUMBA_DISABLE_JIT is set")
        try:
            return _kernel_set("cpu")
        except ImportError as error:  # missing, or one that refuses the NumPy beside it
            return _kernel_set("reference", fallback=f"numba cannot be imported: {error}")
    if device == "cuda":
        try:
            module = importlib.import_module(".cuda", __name__)
        except ImportError as error:
            raise RuntimeError(
                f"kernels for cuda need numba.cuda, which cannot be imported: {error}\n\n"
                "hint: install numba-cuda, or select the kernels for cpu"
            ) from error
        if not module.available():
            raise RuntimeError(
                "kernels for cuda need a CUDA device, and Numba finds none\n\n"
                "hint: `numba -s` lists what Numba sees; or select the kernels for cpu"
            )
        return _kernel_set("cuda")
    raise ValueError(
        f"unknown device for kernels: expected one of {', '.join(DEVICES)}, got {device!r}"
    )


def _kernel_set(name: str, fallback: str | None = None) -> KernelSet:
    module = importlib.import_module(f".{name}", __name__)
    host = importlib.import_module(".cpu", __name__) if name == "cuda" else module
    return KernelSet(
        name=name,
        interpolate=module.interpolate,
        accumulate=module.accumulate,
        multiply_difference=module.multiply_difference,
        refine=host.refine,
        fallback=fallback,
    )
