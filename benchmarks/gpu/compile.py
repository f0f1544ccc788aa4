"""Compiles every CUDA kernel to PTX. Needs numba-cuda with its compiler, but no GPU.

    python benchmarks/gpu/compile.py [--capability 9.0]

The simulator that the tests use runs kernels as Python, so it does not notice what Numba cannot
compile. Prints the bytes of each kernel's PTX; exit 1 where one is refused.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numba
from igrt.kernels import cuda, cuda_kept

FLOAT64, INT64, INT32, UINT8 = (
    numba.types.float64,
    *(getattr(numba.types, n) for n in ("int64", "int32", "uint8")),
)


def array(kind: Any, axes: int) -> Any:
    """A contiguous array on the device."""
    return numba.types.Array(kind, axes, "C")


def signatures(kind: Any) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Kernels with the types of their arguments, for gradients of one element type."""
    rows, numbers = array(INT64, 1), array(FLOAT64, 1)
    wide, cube, given = array(FLOAT64, 2), array(FLOAT64, 3), array(kind, 2)
    interpolate = cuda._interpolate_kernel(kind is FLOAT64)
    return {
        "interpolate": (interpolate, (given, given, rows, numbers, given)),
        "accumulate": (cuda._accumulate_kernel(), (cube, given, rows, wide)),
        "multiply_difference": (cuda._multiply_difference_kernel(), (wide, given, given, wide)),
        "count_unbounded": (
            cuda_kept._count_unbounded_kernel(),
            (given, rows, rows, array(UINT8, 2), FLOAT64, array(INT32, 1)),
        ),
        "keep": (
            cuda_kept._keep_kernel(),
            (given, rows, rows, array(UINT8, 2), array(kind, 2), INT64),
        ),
        "weigh": (
            cuda_kept._weigh_kernel(cuda_kept._REDUCING),
            (given, rows, wide, numbers, numbers, wide, wide),
        ),
        "distances": (
            cuda_kept._distances_kernel(cuda_kept._REDUCING),
            (given, rows, rows, numbers, wide),
        ),
        "take": (cuda_kept._take_kernel(), (array(UINT8, 2), rows, array(UINT8, 2))),
        "clear": (cuda_kept._clear_kernel(), (cube, INT64)),
    }


def main() -> int:
    """Compile all, for each element type."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--capability", default="9.0")
    major, minor = map(int, parser.parse_args().capability.split("."))
    failed = 0
    for name in ("float16", "float32", "float64"):
        for kernel, (made, types) in signatures(getattr(numba.types, name)).items():
            try:
                ptx, _ = cuda.cuda.compile_ptx(made.py_func, types, cc=(major, minor))
            except Exception as error:  # whatever Numba has against it
                failed += 1
                print(f"{name:<8} {kernel:<20} FAILED: {str(error).strip().splitlines()[-1]}")
            else:
                print(f"{name:<8} {kernel:<20} {len(ptx)} bytes")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
