"""Every model of the shared data: is its gradient right, or with what reason is it refused?

    python benchmarks/corpus.py [--data FOLDER] [--only NAME …] [--json]

A gradient is compared with differences of the model's own forward pass in onnxruntime, in float32:
its mean along a short segment through a random point near the stored input, times the segment, with
the difference of the outputs at the ends. The mean is over many points, because a segment crosses
kinks of ReLUs and pools, between which the gradient is another one; a shorter segment would cross
fewer, but drown in rounding. Directions are random, and along the gradient itself.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from igrt.errors import IgrtError
from igrt.graph import Graph, load
from igrt.graph.learn import exposing, unranked, with_ranks
from igrt.graph.normalize import normalize
from igrt.graph.normalize.quantised.policy import DEQUANTISE, STRAIGHT_THROUGH, is_quantised
from igrt.graph.prune import prune
from igrt.stage.cut import cut
from igrt.vjp.augment import differentiable, differentiate

ROOT = Path(__file__).parents[1]
SPREADS = (0.03, 0.1, 0.3)
"""Distance of each point from the stored input, as a share of its size."""

DIRECTIONS = 2
SEGMENTS = ((0.003, 12), (0.0003, 24), (0.03, 24), (0.3, 96))
"""Half the length of a segment, as a share of the input's size, and evaluations of the gradient on
it. Between kinks or steep places short ones are right, and long ones where differences drown in
rounding or quantisation. One of them has to agree."""

_MANY = 1000
"""Elements from which a random direction is nearly at right angles to the gradient."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Outcome:
    """What came of one model.

    Args:
        model: Name of the file without its suffix.
        verdict: ``right``, ``wrong``, ``flat`` (gradient and differences vanish) or the name of the
            error that refused it.
        detail: What was differentiated with respect to what, or the first line of the refusal.
        error: Median relative difference of the directional derivatives; None if refused.
        seconds: How long it took.
    """

    model: str
    verdict: str
    detail: str
    error: float | None
    seconds: float


TOLERANCE = 0.03
"""Median relative difference up to which a gradient counts as right.

float32 outputs are good to 1e-6 of their size. A segment moves a point by 0.6 % of its size, so an
output by about as much along the gradient, and by some 1e-4 of its own along a random direction in
a large picture: the difference is good to 1 %, and the mean of twelve evaluations between kinks to
another. A wrong factor or a missing path is off by 10 % or more.
"""


def models(data: Path) -> dict[str, Path]:
    """Every ONNX file of the shared data by name."""
    files = [*sorted((data / "models").glob("*.onnx")), *sorted((data / "corpus").glob("*.onnx"))]
    return {f.stem: f for f in files}


def feeds(data: Path, name: str) -> dict[str, Array]:
    """The stored input of a model; pictures as its manifest says."""
    for folder, archive in (("models", "inputs/feeds"), ("corpus", "corpus/feeds")):
        path = data / archive / f"{name}.npz"
        if not (data / folder / f"{name}.onnx").exists() or not path.exists():
            continue
        manifest = json.loads((data / folder / "MANIFEST.json").read_text())
        entry = next(m for m in manifest["models"] if m["id"] == name)
        found: dict[str, Array] = {}
        with np.load(path) as stored:
            for key in stored.files:
                kind, _, tensor = key.partition(":")
                if kind == "in":
                    found[tensor] = stored[key]
                elif kind == "img_u8":
                    given = entry["feed"]["image_transforms"][tensor]
                    found[tensor] = _picture(stored[key], given)
        return found
    return {}


def _picture(pixels: Array, given: Mapping[str, Any]) -> Array:
    x = pixels.astype(np.float64)
    if given["order"] == "BGR":
        x = x[..., ::-1]
    x = (x * given["scale"] - np.array(given["mean"])) / np.array(given["std"])
    if x.ndim == 2:
        x = x[..., np.newaxis]
    x = x.transpose(2, 0, 1)[np.newaxis] if given["layout"] == "NCHW" else x[np.newaxis]
    return x.astype(given["dtype"])


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float16 model in float32: differences of float16 outputs say nothing."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    for info in (*wide.graph.input, *wide.graph.output, *wide.graph.value_info):
        if info.type.tensor_type.elem_type == TensorProto.FLOAT16:
            info.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in wide.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    constants = [a.t for n in wide.graph.node for a in n.attribute if a.HasField("t")]
    for tensor in (*wide.graph.initializer, *constants):
        if tensor.data_type == TensorProto.FLOAT16:
            array = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return wide


def measure(
    path: Path,
    stored: Mapping[str, Array],
    *,
    of: str | None = None,
    wrt: Sequence[str] | None = None,
) -> Outcome:
    """Check the gradient of one model.

    Args:
        path: Its file.
        stored: An input; inputs it lacks are drawn at random.
        of: Tensor to differentiate; the first float output by default.
        wrt: Tensors to differentiate with respect to; all float inputs by default.
    """
    start = time.monotonic()
    try:
        source = load(path).model
        # the slope of a rounded function is zero or infinite: it is measured without its rounding
        normal = normalize(source, DEQUANTISE if is_quantised(source) else STRAIGHT_THROUGH)
        found = differentiable(normal, of=of, wrt=wrt)
        names = [s.name for s in found.wrt]
        graph = Graph(normal)
        inner = [n for n in names if n in graph.producers]
        part = cut(normal, names, found.of.name) if inner else prune(normal, [found.of.name])
        rng = np.random.default_rng(0)
        at = {i.name: stored.get(i.name, _drawn(i, rng)) for i in graph.inputs}
        if inner:
            before = _session(prune(normal, inner, keep_inputs=False), path.parent)
            made = before.run(inner, {i.name: at[i.name] for i in before.get_inputs()})
            at |= dict(zip(inner, made, strict=True))
        if open_ends := unranked(Graph(part)):  # as Explainer does
            before = _session(exposing(part, open_ends), path.parent)
            made = before.run(None, {i.name: at[i.name] for i in before.get_inputs()})
            part = with_ranks(
                part,
                {
                    n: (a.dtype.name, a.ndim)
                    for n, a in zip(open_ends, made, strict=True)
                    if a.dtype.kind not in "OUS"
                },
            )
        augmented = differentiate(part, of=found.of.name, wrt=names)
    except IgrtError as error:
        first = error.message.splitlines()
        detail = " ".join(line.strip() for line in first[:2])
        return Outcome(path.stem, type(error).__name__, detail, None, time.monotonic() - start)
    oracle = widened(part) if any(s.dtype == "float16" for s in found.wrt) else part
    forward = _session(oracle, path.parent)
    gradient = _session(prune(augmented.model, list(augmented.gradients.values())), path.parent)
    at = {i.name: at[i.name] for i in Graph(part).inputs}
    error, size = math.inf, 0.0
    for half, nodes in SEGMENTS:
        if error > TOLERANCE:
            errors, size = _compare(
                forward, gradient, at, augmented.gradients, augmented.cotangent, rng, half, nodes
            )
            error = min(error, statistics.median(errors or [0.0]))
    verdict = "flat" if size == 0 else "right" if error <= TOLERANCE else "wrong"
    detail = f"{found.of} by {', '.join(str(s) for s in found.wrt)}"
    return Outcome(path.stem, verdict, detail, error, time.monotonic() - start)


def _compare(
    forward: onnxruntime.InferenceSession,
    gradient: onnxruntime.InferenceSession,
    at: Mapping[str, Array],
    gradients: Mapping[str, str],
    cotangent: str,
    rng: np.random.Generator,
    half: float,
    nodes: int,
) -> tuple[list[float], float]:
    """Relative differences at every point and direction, and the size of what was compared."""
    wide = {i.name: i.type == "tensor(float)" for i in forward.get_inputs()}
    used = {i.name: i.type for i in gradient.get_inputs()}
    errors, size = [], 0.0
    for spread in SPREADS:
        point = dict(at)
        for name in gradients:
            noise = rng.standard_normal(at[name].shape)
            point[name] = (at[name] + spread * _size(at[name]) * noise).astype(at[name].dtype)

        def outputs(changed: Mapping[str, Array], point: Mapping[str, Array] = point) -> Array:
            now = {
                n: (changed.get(n, a).astype(np.float32) if wide[n] else changed.get(n, a))
                for n, a in point.items()
            }
            return np.asarray(forward.run(None, now)[0], dtype=np.float64)

        def slopes(
            changed: Mapping[str, Array], ct: Array, point: Mapping[str, Array] = point
        ) -> dict[str, Array]:
            fed = {n: changed.get(n, a).astype(a.dtype) for n, a in point.items()} | {cotangent: ct}
            made = gradient.run(
                list(gradients.values()), {n: a for n, a in fed.items() if n in used}
            )
            return {
                n: np.asarray(g, dtype=np.float64) for n, g in zip(gradients, made, strict=True)
            }

        y = outputs({})
        ct = rng.standard_normal(y.shape).astype(_NUMPY[used.get(cotangent, "tensor(float)")])
        slope = slopes({}, ct)
        for k in range(DIRECTIONS + 1):
            v = {n: rng.standard_normal(g.shape) * _size(at[n]) for n, g in slope.items()}
            if k == DIRECTIONS:  # half of the gradient's elements, so that each counts by itself
                some = {n: g * rng.integers(0, 2, g.shape) for n, g in slope.items()}
                v = {n: _unit(g) * _length(v[n]) for n, g in some.items()}
            ends = [outputs({n: point[n] + h * v[n] for n in v}) for h in (half, -half)]
            if any(e.shape != ct.shape for e in ends):
                continue
            difference = float((ct * (ends[0] - ends[1])).sum()) / (2 * half)
            analytic = 0.0
            for t in (2 * np.arange(nodes) + 1) / nodes - 1:
                found = slopes({n: point[n] + half * t * v[n] for n in v}, ct)
                analytic += sum(float((found[n] * v[n]).sum()) for n in v) / nodes
            scale = max(abs(difference), abs(analytic))
            if sum(g.size for g in slope.values()) > _MANY and half == SEGMENTS[0][0]:
                # what a random direction gives: by itself it may come out near zero
                usual = math.sqrt(sum(float(np.square(slope[n] * v[n]).sum()) for n in v))
                scale = max(scale, usual)
            if scale:  # a flat place says nothing
                errors.append(abs(analytic - difference) / scale)
            size = max(size, scale)
    return errors, size


_NUMPY = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


def _size(x: Array) -> float:
    """The typical magnitude of an array's elements."""
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) or 1.0


def _length(x: Array) -> float:
    return float(np.linalg.norm(x.reshape(-1)))


def _unit(x: Array) -> Array:
    length = _length(x)
    return x / length if length else x


def _drawn(spec: Any, rng: np.random.Generator) -> Array:
    sizes = [d if isinstance(d, int) else 1 for d in spec.shape or ()]
    return rng.standard_normal(sizes).astype(spec.dtype if spec.is_float else np.float32)


def _session(model: onnx.ModelProto, folder: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder)
    )
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def main() -> int:
    """Print the table; 1 if a gradient is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = os.environ.get("IGRT_TEST_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = []
    for name, path in models(args.data).items():
        if args.only and name not in args.only:
            continue
        outcome = measure(path, feeds(args.data, name))
        found.append(outcome)
        if not args.json:
            error = "" if outcome.error is None else f"{outcome.error:.1e}"
            row = (name, outcome.verdict, error, f"{outcome.seconds:.1f}", outcome.detail[:110])
            print(f"{row[0]:34} {row[1]:20} {row[2]:>8} {row[3]:>6}  {row[4]}", flush=True)
    if args.json:
        print(json.dumps([asdict(o) for o in found], indent=2))
    return int(any(o.verdict == "wrong" for o in found))


if __name__ == "__main__":
    sys.exit(main())
