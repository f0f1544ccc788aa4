"""What the kernels require of their arguments, and the errors when they do not get it.

`J` jobs (one input, baseline and target each), `R` rows (one point of one job's path each), `L`
embedded quadrature rules, `F` features (all axes but the first, flattened), `M` nodes that are
brought into a sum, `P` places that gradients are kept at, `N` of these, at the nodes of one job,
`B` bytes of a row or blocks of a grid. Each check works on NumPy and on device arrays; the values
in `rows` are read only where that costs no transfer from a device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))
FLOAT64 = (np.dtype(np.float64),)
INT64 = (np.dtype(np.int64),)
INT32 = (np.dtype(np.int32),)
BYTES = (np.dtype(np.uint8),)

RULES, FIGURES = 4, 7
"""Rules that `weigh` compares, and numbers that it says of them."""


def check_interpolate(
    baselines: Array, inputs: Array, rows: Array, alphas: Array, out: Array
) -> None:
    """Raise TypeError, ValueError or IndexError unless the arguments fit `interpolate`."""
    jobs, features = _sizes("interpolate", "inputs", inputs, "JF")
    (count,) = _sizes("interpolate", "rows", rows, "R")
    _require("interpolate", "inputs", inputs, (jobs, features), FLOATS)
    same = (inputs.dtype,)
    _require("interpolate", "baselines", baselines, (jobs, features), same)
    _require("interpolate", "rows", rows, (count,), INT64)
    _require("interpolate", "alphas", alphas, (count,), FLOAT64)
    _require("interpolate", "out", out, (count, features), same, written=True)
    _require_rows("interpolate", rows, jobs)


def check_accumulate(sums: Array, gradients: Array, rows: Array, weights: Array) -> None:
    """Raise TypeError, ValueError or IndexError unless the arguments fit `accumulate`."""
    jobs, rules, features = _sizes("accumulate", "sums", sums, "JLF")
    (count,) = _sizes("accumulate", "rows", rows, "R")
    _require("accumulate", "sums", sums, (jobs, rules, features), FLOAT64, written=True)
    _require("accumulate", "gradients", gradients, (count, features), FLOATS)
    _require("accumulate", "rows", rows, (count,), INT64)
    _require("accumulate", "weights", weights, (rules, count), FLOAT64)
    _require_rows("accumulate", rows, jobs)


def check_multiply_difference(
    mean_gradients: Array, inputs: Array, baselines: Array, out: Array
) -> None:
    """Raise TypeError or ValueError unless the arguments fit `multiply_difference`."""
    shape = _sizes("multiply_difference", "inputs", inputs, "JF")
    _require("multiply_difference", "mean_gradients", mean_gradients, shape, FLOAT64)
    _require("multiply_difference", "inputs", inputs, shape, FLOATS)
    _require("multiply_difference", "baselines", baselines, shape, (inputs.dtype,))
    _require("multiply_difference", "out", out, shape, FLOAT64, written=True)


def check_refine(
    x0: Array,
    x1: Array,
    x2: Array,
    scale: Array,
    weights: Array,
    factors: Array,
    mean: Array,
    variance: Array,
    steps: Array,
) -> None:
    """Raise TypeError or ValueError unless the arguments fit `refine`."""
    shape = _sizes("refine", "x0", x0, "MF")
    count, features = shape
    _require("refine", "x0", x0, shape, FLOATS)
    _require("refine", "x1", x1, shape, (x0.dtype,))
    _require("refine", "x2", x2, shape, (x0.dtype,))
    _require("refine", "scale", scale, (features,), FLOAT64)
    _require("refine", "weights", weights, (count, 3), FLOAT64)
    _require("refine", "factors", factors, (count, 3), FLOAT64)
    _require("refine", "mean", mean, (features,), FLOAT64, written=True)
    _require("refine", "variance", variance, (features,), FLOAT64, written=True)
    _require("refine", "steps", steps, (count, 2), FLOAT64, written=True)


def check_take(source: Array, rows: Array, out: Array) -> None:
    """Raise TypeError, ValueError or IndexError unless the arguments fit `take`."""
    jobs, size = _sizes("take", "source", source, "JB")
    (count,) = _sizes("take", "rows", rows, "R")
    _require("take", "source", source, (jobs, size), BYTES)
    _require("take", "rows", rows, (count,), INT64)
    _require("take", "out", out, (count, size), BYTES, written=True)
    _require_rows("take", rows, jobs)


def check_count_unbounded(
    gradients: Array, rows: Array, places: Array, moves: Array, counts: Array
) -> None:
    """Raise TypeError, ValueError or IndexError unless the arguments fit `count_unbounded`."""
    count, features = _sizes("count_unbounded", "gradients", gradients, "RF")
    (nodes,) = _sizes("count_unbounded", "counts", counts, "P")
    jobs, _ = _sizes("count_unbounded", "moves", moves, "JF")
    _require("count_unbounded", "gradients", gradients, (count, features), FLOATS)
    _require("count_unbounded", "rows", rows, (count,), INT64)
    _require("count_unbounded", "places", places, (count,), INT64)
    _require("count_unbounded", "moves", moves, (jobs, features), BYTES)
    _require("count_unbounded", "counts", counts, (nodes,), INT32, written=True)
    _require_rows("count_unbounded", rows, jobs)


def check_keep(
    gradients: Array, rows: Array, places: Array, moves: Array, kept: Array, offset: int
) -> None:
    """Raise TypeError, ValueError or IndexError unless the arguments fit `keep`."""
    count, features = _sizes("keep", "gradients", gradients, "RF")
    nodes, width = _sizes("keep", "kept", kept, "PF")
    jobs, _ = _sizes("keep", "moves", moves, "JF")
    _require("keep", "gradients", gradients, (count, features), FLOATS)
    _require("keep", "rows", rows, (count,), INT64)
    _require("keep", "places", places, (count,), INT64)
    _require("keep", "moves", moves, (jobs, features), BYTES)
    _require("keep", "kept", kept, (nodes, width), FLOATS, written=True)
    _require_rows("keep", rows, jobs)
    if not 0 <= offset <= width - features:
        raise ValueError(f"keep: {features} features do not fit at {offset} of {width}")


def check_clear(sums: Array, job: int) -> None:
    """Raise TypeError, ValueError or IndexError unless the arguments fit `clear`."""
    jobs, rules, features = _sizes("clear", "sums", sums, "JLF")
    _require("clear", "sums", sums, (jobs, rules, features), FLOAT64, written=True)
    if not 0 <= job < jobs:
        raise IndexError(f"clear: job must lie in [0, {jobs}), got {job}")


def check_weigh(
    kept: Array,
    order: Array,
    weights: Array,
    factors: Array,
    displacement: Array,
    means: Array,
    figures: Array,
) -> None:
    """Raise TypeError or ValueError unless the arguments fit `weigh`."""
    nodes, features = _sizes("weigh", "kept", kept, "PF")
    (count,) = _sizes("weigh", "order", order, "N")
    rules, _ = _sizes("weigh", "weights", weights, "LN")
    blocks, _ = _sizes("weigh", "figures", figures, "BQ")
    _require("weigh", "kept", kept, (nodes, features), FLOATS)
    _require("weigh", "order", order, (count,), INT64)
    _require("weigh", "weights", weights, (rules, count), FLOAT64)
    _require("weigh", "factors", factors, (count - 1,), FLOAT64)
    _require("weigh", "displacement", displacement, (features,), FLOAT64)
    _require("weigh", "means", means, (rules, features), FLOAT64, written=True)
    _require("weigh", "figures", figures, (blocks, FIGURES), FLOAT64, written=True)
    if rules not in (1, RULES):
        raise ValueError(f"weigh: weights must be of 1 or {RULES} rules, got {rules}")


def check_distances(
    kept: Array, first: Array, second: Array, displacement: Array, out: Array
) -> None:
    """Raise TypeError or ValueError unless the arguments fit `distances`."""
    nodes, features = _sizes("distances", "kept", kept, "PF")
    (count,) = _sizes("distances", "first", first, "N")
    _, blocks = _sizes("distances", "out", out, "NB")
    _require("distances", "kept", kept, (nodes, features), FLOATS)
    _require("distances", "first", first, (count,), INT64)
    _require("distances", "second", second, (count,), INT64)
    _require("distances", "displacement", displacement, (features,), FLOAT64)
    _require("distances", "out", out, (count, blocks), FLOAT64, written=True)


def _sizes(kernel: str, name: str, array: Array, axes: str) -> tuple[int, ...]:
    if len(array.shape) != len(axes):
        raise ValueError(
            f"{kernel}: {name} must have the axes [{', '.join(axes)}], "
            f"got the shape {list(array.shape)}"
        )
    return array.shape


def _require(
    kernel: str,
    name: str,
    array: Array,
    shape: tuple[int, ...],
    types: tuple[np.dtype[Any], ...],
    written: bool = False,
) -> None:
    # A foreign byte order is another dtype to NumPy, so it is refused here as well.
    if array.dtype not in types:
        expected = " or ".join(str(t) for t in types)
        raise TypeError(f"{kernel}: {name} must be {expected}, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(
            f"{kernel}: {name} must have the shape {list(shape)}, got {list(array.shape)}"
        )
    if not array.flags["C_CONTIGUOUS"]:
        raise ValueError(f"{kernel}: {name} must be C-contiguous")
    if isinstance(array, np.ndarray):
        if not array.flags.aligned:
            raise ValueError(f"{kernel}: {name} must be aligned to its element type")
        if written and not array.flags.writeable:
            raise ValueError(f"{kernel}: {name} is written to and must not be read-only")


def _require_rows(kernel: str, rows: Array, jobs: int) -> None:
    if isinstance(rows, np.ndarray) and rows.size and not 0 <= rows.min() <= rows.max() < jobs:
        raise IndexError(
            f"{kernel}: rows must lie in [0, {jobs}), the number of jobs, "
            f"got values from {rows.min()} to {rows.max()}"
        )
