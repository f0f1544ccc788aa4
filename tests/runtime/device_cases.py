"""The device's lane and ledgers on Numba's simulator; see test_device.py, which runs this.

Device memory is the host's here: onnxruntime's on the CPU, so its own binding is in use, or that of
a fake model. What is left for a real device is the driver, the stream, and CUDA graphs.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from igrt.kernels import select
from numba import cuda as _numba
from onnx import numpy_helper

import igrt
from igrt.errors import NonFiniteError, OutOfMemory
from igrt.graph import serialise
from igrt.quadrature import HostGradients, Sampling, scheme_for
from igrt.runtime import cuda, device_ledger, device_pool
from igrt.runtime.cuda import OrtBound
from igrt.runtime.device import Device
from igrt.runtime.device_lane import DeviceLane, fed
from igrt.runtime.kept import begun
from igrt.runtime.lane import Output
from igrt.runtime.paths import Paths
from igrt.runtime.points import Points
from igrt.runtime.sample import sample
from igrt.runtime.session import OrtSession
from igrt.runtime.stream import integrate as integrate_within
from igrt.runtime.watch import Watch
from igrt.specs import Array
from igrt.vjp.augment import differentiate

numba: Any = _numba


def integrate(points: Points, names: list[str], scheme: Any, keep_bytes: int = 1 << 20) -> Any:
    return integrate_within(points, names, scheme, keep_bytes=keep_bytes)


OUTPUTS = [Output("grad", (5,), np.dtype(np.float32))]


@pytest.fixture(autouse=True)
def few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    # a simulated thread costs a millisecond
    from igrt.kernels import cuda, cuda_kept

    monkeypatch.setattr(cuda, "_THREADS", 4)
    monkeypatch.setattr(cuda, "_BLOCKS", 1)
    monkeypatch.setattr(cuda_kept, "_REDUCING", 2)
    monkeypatch.setattr(device_pool, "_BLOCKS", 2)
    monkeypatch.setattr(device_pool, "_SPLITS", 1)


def device() -> Device:
    return Device(numba.stream())


def wrap(value: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """The memory of an OrtValue on the CPU as the simulator's device array."""
    whole = value.numpy().reshape(-1).view(np.uint8)
    array = whole[: int(np.prod(shape)) * np.dtype(dtype).itemsize].view(dtype).reshape(shape)
    return type(numba.to_device(np.zeros(1)))(array)


class CubicBound:
    """F(x) = Σ x³ per row, so the gradient is 3x² times the cotangent."""

    def __init__(self, rows: int, log: list[int], most: int | None, odd: float | None) -> None:
        self.log, self.most, self.odd = log, most, odd
        self.inputs = {
            n: numba.to_device(np.full((rows, b), 255, np.uint8)) for n, b in (("x", 20), ("ct", 4))
        }
        self.outputs = [numba.to_device(np.full((rows, 5), np.nan, np.float32))]

    def run(self, rows: int) -> None:
        self.log.append(rows)
        if self.most is not None and rows > self.most:
            raise OutOfMemory("too many rows")
        x, ct = (
            self.inputs[n].copy_to_host()[:rows].view(np.float32).astype(np.float64)
            for n in ("x", "ct")
        )
        gradient = 3 * x**2 * ct
        if self.odd is not None:
            gradient[x > self.odd] = np.nan
        out = self.outputs[0].copy_to_host()
        out[:rows] = gradient
        self.outputs[0].copy_to_device(out)


def cubic_points(
    p: Paths, chunk: int, most: int | None = None, odd: float | None = None, **options: Any
) -> tuple[Points, list[int]]:
    here, log = device(), list[int]()

    def lanes(paths: Paths, outputs: Any, *, cotangent: str | None, rows: int) -> DeviceLane:
        bound = CubicBound(rows, log, most, odd)
        return DeviceLane(here, bound, paths, outputs, cotangent=cotangent, rows=rows)

    none: Any = None  # no session: all runs are the bound model's
    watch = options.pop("watch", None) or Watch()
    return Points(
        none, select("cpu"), p, OUTPUTS, cotangent="ct", chunk=chunk, watch=watch, lanes=lanes
    ), log


def paths(examples: int = 2, **options: Any) -> Paths:
    rng = np.random.default_rng(0)
    x = rng.uniform(0.5, 2, (examples, 5)).astype(np.float32)
    b = rng.uniform(-0.5, 0.5, (examples, 5)).astype(np.float32)
    index = np.arange(examples)
    return Paths(
        inputs={"x": x},
        baselines={"x": b},
        example=index,
        baseline=index,
        cotangents=np.ones((examples, 1), np.float32),
        others={},
        shared={},
        batched=True,
        output_batched=True,
        change=(x.astype(np.float64) ** 3 - b.astype(np.float64) ** 3).sum(axis=1),
        **options,
    )


def exact(p: Paths) -> Array:
    return p.inputs["x"].astype(np.float64) ** 3 - p.baselines["x"].astype(np.float64) ** 3


@pytest.mark.parametrize("chunk, steps", [(3, 4), (8, None)])
def test_the_integral_of_a_cubic(chunk: int, steps: int | None) -> None:
    p = paths()
    points, log = cubic_points(p, chunk)
    found = integrate(points, ["x"], scheme_for(None, steps, 1e-2))
    # gradients arrive in float32: 6e-8 relative each
    np.testing.assert_allclose(found.values["x"], exact(p), rtol=1e-6)
    assert found.evaluations.tolist() == [steps or 15] * 2
    assert set(log) <= {1, 2, 3, 4, 8}  # few sizes, the last chunk of each padded


def test_large_inputs_are_integrated_by_nested_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    p = paths()
    points, _ = cubic_points(p, 8)
    monkeypatch.setattr(device_ledger, "FEW", 1 << 40)
    p.change[1] += 100.0  # as if the output jumped where no gradient tells
    found = integrate(points, ["x"], scheme_for(None, None, 1e-2))
    np.testing.assert_allclose(found.values["x"], exact(p), rtol=1e-6)
    assert found.evaluations.tolist() == [15, 255]


def test_slots_and_room_are_used_again() -> None:
    p = paths(examples=3)
    points, _ = cubic_points(p, 4)
    # room for one path of 63, 20 bytes a gradient
    found = integrate(points, ["x"], scheme_for(None, None, 1e-2), keep_bytes=20 * 70)
    np.testing.assert_allclose(found.values["x"], exact(p), rtol=1e-6)
    points, _ = cubic_points(p, 4)
    found = integrate(points, ["x"], scheme_for(None, 4, 1e-2), keep_bytes=8 * 5 * 2)
    np.testing.assert_allclose(found.values["x"], exact(p), rtol=1e-6)


def test_out_of_memory_halves_the_chunk_and_loses_nothing() -> None:
    p = paths(examples=3)
    points, log = cubic_points(p, 16, most=5)
    found = integrate(points, ["x"], scheme_for("midpoint", 6, 1e-2))
    other, _ = cubic_points(p, 4)
    alone = integrate(other, ["x"], scheme_for("midpoint", 6, 1e-2))
    np.testing.assert_array_equal(found.values["x"], alone.values["x"])
    assert found.chunk == 4
    assert max(log) == 16


@pytest.mark.parametrize("steps", [9, None])
def test_a_gradient_that_is_not_finite_names_the_step(steps: int | None) -> None:
    points, _ = cubic_points(paths(examples=2), 8, odd=0.4)
    with pytest.raises(NonFiniteError, match=r"gradient of `x` is NaN.* at alpha = 0\.\d+") as e:
        integrate(points, ["x"], scheme_for("midpoint" if steps else None, steps, 1e-2))
    assert e.value.feeds is not None
    assert e.value.feeds["x"].shape == (1, 5)
    assert (e.value.feeds["x"] > 0.4).any()


def test_a_feature_that_does_not_move_may_have_any_gradient() -> None:
    p = paths()
    p.inputs["x"][:, 0] = p.baselines["x"][:, 0] = 100.0
    p.change[:] = exact(p).sum(axis=1)
    for steps in (6, None):
        points, _ = cubic_points(p, 8, odd=50.0)
        found = integrate(points, ["x"], scheme_for(None, steps, 1e-2))
        np.testing.assert_allclose(found.values["x"], exact(p), rtol=1e-6)


def test_sampling_reads_the_same_lane_from_the_host() -> None:
    p = paths()
    points, _ = cubic_points(p, 4)
    draws = Sampling(draws=8, tolerance=None, seed=0)
    found = sample(points, ["x"], draws, pool=np.arange(2)[:, None], keep_bytes=1 << 20)
    assert found.values["x"].shape == (2, 5)


@pytest.mark.parametrize("smooth", [False, True])
def test_figures_are_those_of_the_host(smooth: bool) -> None:
    scheme = replace(scheme_for(None, None, 1e-3), smooth=smooth)
    rng = np.random.default_rng(0)
    p = paths(examples=1)
    places, heights = rng.uniform(0, 1, 9), rng.normal(size=(9, 5))
    displacement = (p.inputs["x"].astype(np.float64) - p.baselines["x"])[0]

    def g(a: float) -> Array:
        return np.asarray((a > places) @ heights, dtype=np.float32)

    points, _ = cubic_points(p, 4)
    pool = device_pool.Pool(device(), 600, 5, 1, np.float32)
    pool.device.put(pool.displacement[0], displacement)
    here = device_pool.DeviceGradients(pool, 0)
    host = HostGradients(displacement)
    both = [
        # change is that of another function: refinement goes on to the end
        begun(points, ["x"], 0, scheme, 24, lambda _, kept=gradients: kept)
        for gradients in (here, host)
    ]
    place = 0
    while both[1].wanted:
        assert both[0].wanted == both[1].wanted
        found = [g(a) for a in both[1].wanted]
        for gradient in found:
            pool.device.put(pool.kept[place], gradient)
            place += 1
        both[0].add(list(range(place - len(found), place)))
        both[1].add(found)
        # sums of some 24 numbers in another order, in float64
        assert both[0].error == pytest.approx(both[1].error, rel=1e-10)
        np.testing.assert_allclose(both[0].mean, both[1].mean, rtol=0, atol=1e-12)
    assert not both[0].wanted
    assert both[0].evaluations == both[1].evaluations == 24


# a model of onnxruntime's, bound where it lies


def network() -> onnx.ModelProto:
    made = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,2,3] x, float[N,4] c, float[4] s) '
        "=> (float[N,2] y) { f = Flatten(x) h = MatMul(f, a) t = Tanh(h) u = Mul(t, c) "
        "v = Add(u, s) r = Sigmoid(v) y = MatMul(r, b) }"
    )
    rng = np.random.default_rng(0)
    for name, shape in (("a", (6, 4)), ("b", (4, 2))):
        weight = rng.normal(size=shape).astype(np.float32)
        made.graph.initializer.append(numpy_helper.from_array(weight, name))
    return made


@pytest.mark.parametrize("steps", [5, None])
def test_a_model_of_onnxruntimes_gives_what_it_gives_on_the_host(steps: int | None) -> None:
    augmented = differentiate(network(), wrt=["x"], of="y")
    session = OrtSession(serialise(augmented.model), provider="cpu", threads=1)
    rng = np.random.default_rng(1)
    x, c = (rng.normal(size=(3, *s)).astype(np.float32) for s in ((2, 3), (4,)))
    p = Paths(
        inputs={"x": x},
        baselines={"x": np.zeros_like(x)},
        example=np.arange(3),
        baseline=np.arange(3),
        cotangents=np.eye(2, dtype=np.float32)[[0, 1, 1]],
        others={"c": c},
        shared={"s": rng.normal(size=4).astype(np.float32)},
        batched=True,
        output_batched=True,
        change=np.zeros(3),
    )
    outputs = [Output(augmented.gradients["x"], (2, 3), np.dtype(np.float32))]
    scheme = scheme_for(None, steps, 0.5)
    here = device()

    def lanes(paths: Paths, outputs: Any, *, cotangent: str | None, rows: int) -> DeviceLane:
        bound = OrtBound(
            session,
            ("cpu", 0),
            wrap,
            inputs=fed(paths, cotangent),
            single=frozenset(),
            shared=paths.shared,
            outputs=outputs,
            rows=rows,
        )
        return DeviceLane(here, bound, paths, outputs, cotangent=cotangent, rows=rows)

    found = []
    for make in (lanes, None):
        options: dict[str, Any] = {"cotangent": augmented.cotangent, "chunk": 4, "watch": Watch()}
        points = Points(session, select("cpu"), p, outputs, lanes=make, **options)
        found.append(integrate(points, ["x"], scheme))
    assert found[0].evaluations.tolist() == found[1].evaluations.tolist()
    # points agree to the last bit of float32 or one more; onnxruntime's kernels see other batches
    np.testing.assert_allclose(found[0].values["x"], found[1].values["x"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[0].error, found[1].error, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("steps", [5, None])
def test_a_whole_explanation_on_the_device(
    steps: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    feeds = {n: rng.normal(size=s).astype(np.float32) for n, s in (("x", (3, 2, 3)), ("c", (3, 4)))}
    feeds["s"] = rng.normal(size=4).astype(np.float32)
    options: dict[str, Any] = {"target": 1, "n_steps": steps, "tolerance": 0.5}
    host = igrt.explain(network(), feeds, wrt=["x"], provider="cpu", **options)
    # the CPU stands for the device, with its memory in the simulator's hands
    monkeypatch.setattr(OrtSession, "provider", property(lambda self: "CUDAExecutionProvider"))
    monkeypatch.setattr(Device, "address", 0)
    monkeypatch.setattr(cuda, "opened", lambda provider: (device(), ""))
    monkeypatch.setattr(cuda, "_WHERE", ("cpu", 0))
    monkeypatch.setattr(cuda, "_wrap", lambda device: wrap)
    explainer = igrt.Explainer(network(), wrt=["x"], provider="cpu")
    for _ in range(2):  # the second call takes the buffers of the first
        found = explainer.explain(feeds, internal_batch_size=4, **options)
        assert found.provenance["cuda"]["path"] == "on the device"
        assert found.evaluations.tolist() == host.evaluations.tolist()
        # see above
        np.testing.assert_allclose(found.values["x"], host.values["x"], rtol=1e-5, atol=1e-6)


def test_a_model_without_a_batch_axis_is_bound_as_it_is() -> None:
    made = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[3] x, float ct) => (float[3] grad) '
        "{ z = Mul(x, x) grad = Mul(z, ct) }"
    )
    session = OrtSession(serialise(made), provider="cpu", threads=1)
    p = Paths(
        inputs={"x": np.asarray([[1, 2, 3]], np.float32)},
        baselines={"x": np.zeros((1, 3), np.float32)},
        example=np.zeros(1, np.int64),
        baseline=np.zeros(1, np.int64),
        cotangents=np.ones(1, np.float32),
        others={},
        shared={},
        batched=False,
        output_batched=False,
        change=np.asarray([12.0]),
    )
    outputs = [Output("grad", (3,), np.dtype(np.float32))]

    def lanes(paths: Paths, outputs: Any, *, cotangent: str | None, rows: int) -> DeviceLane:
        assert rows == 1
        bound = OrtBound(
            session,
            ("cpu", 0),
            wrap,
            inputs=fed(paths, cotangent),
            single=frozenset({"x", "ct", "grad"}),
            shared={},
            outputs=outputs,
            rows=rows,
        )
        return DeviceLane(device(), bound, paths, outputs, cotangent=cotangent, rows=rows)

    points = Points(
        session, select("cpu"), p, outputs, cotangent="ct", chunk=8, watch=Watch(), lanes=lanes
    )
    found = integrate(points, ["x"], scheme_for(None, 3, 1e-2))
    np.testing.assert_allclose(found.values["x"], [[1 / 3, 8 / 3, 9]], rtol=1e-6)


def test_threads_share_a_device() -> None:
    here, made = device(), {}
    p = paths()

    def work(number: int) -> None:
        log: list[int] = []

        def lanes(paths: Paths, outputs: Any, *, cotangent: str | None, rows: int) -> DeviceLane:
            bound = CubicBound(rows, log, None, None)
            return DeviceLane(here, bound, paths, outputs, cotangent=cotangent, rows=rows)

        none: Any = None
        points = Points(
            none, select("cpu"), p, OUTPUTS, cotangent="ct", chunk=4, watch=Watch(), lanes=lanes
        )
        made[number] = integrate(points, ["x"], scheme_for(None, 4, 1e-2)).values["x"]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(made[k], made[0]) for k in range(3))
