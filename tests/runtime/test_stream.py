"""The streaming loop on a session whose gradient is known in closed form."""

import random
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from igrt.kernels import select

from igrt.errors import DeadlineExceeded, NonFiniteError, OutOfMemory
from igrt.quadrature import scheme_for
from igrt.runtime.lane import Output
from igrt.runtime.paths import Paths
from igrt.runtime.points import Points
from igrt.runtime.stream import integrate
from igrt.runtime.watch import Watch

KEEP_BYTES = 512 << 20


class Fake:
    """A session that is no onnxruntime's, and so cannot share arrays with it."""

    provider = "FakeExecutionProvider"

    def bind(self, feeds, made):
        return None


class CubicSession(Fake):
    """F(x) = Σ x³ per row, so the gradient is 3x² times the cotangent; counts its runs."""

    def __init__(self, most_rows=None, fail=None):
        self.rows, self.most_rows, self.fail = [], most_rows, fail

    def run(self, outputs, feeds):
        assert outputs == ["grad"]
        x, ct = feeds["x"], feeds["ct"]
        self.rows.append(len(x))
        if self.most_rows is not None and len(x) > self.most_rows:
            raise OutOfMemory("too many rows")
        gradient = 3 * x.astype(np.float64) ** 2 * ct.reshape(-1, 1)
        if self.fail is not None:
            gradient[x > self.fail] = np.nan
        return [gradient.astype(np.float32)]


def paths(examples=3, features=5, others=None, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.5, 2, (examples, features)).astype(np.float32)
    b = rng.uniform(-0.5, 0.5, (examples, features)).astype(np.float32)
    index = np.arange(examples)
    return Paths(
        inputs={"x": x},
        baselines={"x": b},
        example=index,
        baseline=index,
        cotangents=np.ones((examples, 1), np.float32),
        others=others or {},
        shared={},
        batched=True,
        output_batched=True,
        change=(x.astype(np.float64) ** 3 - b.astype(np.float64) ** 3).sum(axis=1),
    )


def run(session, p, scheme, chunk=8, keep_bytes=KEEP_BYTES, at_once=1, **options):
    x = p.inputs["x"]
    outputs = [Output("grad", x.shape[1:], x.dtype)]
    points = Points(
        session,
        select("reference"),
        p,
        outputs,
        cotangent="ct",
        chunk=chunk,
        at_once=at_once,
        watch=Watch(**options),
    )
    return integrate(points, ["x"], scheme, keep_bytes=keep_bytes)


def exact(p):
    x, b = (p.inputs["x"].astype(np.float64), p.baselines["x"].astype(np.float64))
    return x**3 - b**3


def test_the_integral_is_exact_for_a_cubic():
    p = paths()
    found = run(CubicSession(), p, scheme_for(None, 4, 1e-2))
    # gradients arrive in float32: 6e-8 relative each
    np.testing.assert_allclose(found.values["x"], exact(p), rtol=1e-6)
    assert found.evaluations.tolist() == [4, 4, 4]


@pytest.mark.parametrize("chunk", [1, 3, 16, 64, 10_000])
def test_the_chunk_does_not_change_the_answer(chunk):
    p = paths(examples=7)
    one = run(CubicSession(), p, scheme_for("midpoint", 20, 1e-2), chunk=1)
    many = run(CubicSession(), p, scheme_for("midpoint", 20, 1e-2), chunk=chunk)
    # rows are added in the same order whatever the chunk, so not even rounding differs
    np.testing.assert_array_equal(one.values["x"], many.values["x"])


class Uneven(CubicSession):
    """Runs take as long as it happens."""

    def run(self, outputs, feeds):
        time.sleep(0.002 * random.random())
        return super().run(outputs, feeds)


@pytest.mark.parametrize("at_once", [2, 3, 8])
@pytest.mark.parametrize(("rule", "steps"), [("midpoint", 20), (None, None)])
def test_runs_at_the_same_time_do_not_change_the_answer(at_once, rule, steps):
    p, scheme = paths(examples=9), scheme_for(rule, steps, 1e-9)
    one = run(CubicSession(), p, scheme, chunk=4)
    for _ in range(3):
        many = run(Uneven(), p, scheme, chunk=4, at_once=at_once)
        # the order of the sums is that in which runs began, whichever is over first
        np.testing.assert_array_equal(one.values["x"], many.values["x"])
        assert one.evaluations.tolist() == many.evaluations.tolist()


def test_runs_at_the_same_time_that_memory_does_not_suffice_for_are_made_again():
    class Apart(CubicSession):
        """Has memory for one run at a time, and then for two rows."""

        def run(self, outputs, feeds):
            if threading.current_thread() is not threading.main_thread():
                raise OutOfMemory("two at a time")
            return super().run(outputs, feeds)

    p, done = paths(examples=5), []
    found = run(
        Apart(most_rows=2),
        p,
        scheme_for(None, 4, 1e-2),
        at_once=2,
        progress=lambda count, _: done.append(count),
    )
    # gradients arrive in float32: 6e-8 relative each
    np.testing.assert_allclose(found.values["x"], exact(p), rtol=1e-6)
    assert done == list(range(2, 21, 2))
    assert found.chunk == 2


def test_work_of_many_examples_fills_the_chunks():
    session = CubicSession()
    run(session, paths(examples=10), scheme_for("midpoint", 7, 1e-2), chunk=16)
    # 70 rows: four full chunks and the rest
    assert session.rows == [16, 16, 16, 16, 6]


def test_adaptive_stops_early_for_a_smooth_function():
    found = run(CubicSession(), paths(), scheme_for(None, None, 1e-2))
    assert found.evaluations.tolist() == [15, 15, 15]
    assert (found.error < 1e-5 * np.abs(found.values["x"]).sum(axis=1)).all()
    # at most two paths at a time, each with 15 gradients of five features and 16 arrays beside them
    assert found.kept == 2 * (15 + 16) * 5 * 4


def test_out_of_memory_halves_the_chunk_and_loses_nothing():
    p = paths(examples=5)
    session = CubicSession(most_rows=5)
    found = run(session, p, scheme_for("midpoint", 20, 1e-2), chunk=64)
    reference = run(CubicSession(), p, scheme_for("midpoint", 20, 1e-2), chunk=4)
    np.testing.assert_array_equal(found.values["x"], reference.values["x"])
    assert found.chunk <= 5
    assert sum(r for r in session.rows if r <= 5) == 100


def test_out_of_memory_with_a_single_row_is_reported():
    with pytest.raises(OutOfMemory):
        run(CubicSession(most_rows=0), paths(), scheme_for("midpoint", 5, 1e-2))


def test_nan_in_a_gradient_names_the_step_and_the_input():
    p = paths(examples=2)
    text = r"gradient of `x` is NaN.* in \d+ elements at alpha = 0\.\d+"
    with pytest.raises(NonFiniteError, match=text):
        run(CubicSession(fail=0.4), p, scheme_for("midpoint", 9, 1e-2))


def test_a_deadline_that_passed_ends_the_work():
    with pytest.raises(DeadlineExceeded, match="of 27 gradient evaluations"):
        run(
            CubicSession(),
            paths(),
            scheme_for("midpoint", 9, 1e-2),
            chunk=1,
            deadline=time.monotonic() - 1,
        )


def test_input_equal_to_baseline_gives_exactly_zero():
    p = paths()
    p.baselines["x"][:] = p.inputs["x"]
    p.change[:] = 0.0
    found = run(CubicSession(), p, scheme_for(None, None, 1e-2))
    assert not found.values["x"].any()
    assert not found.error.any()


def test_progress_counts_every_evaluation():
    calls = []
    run(
        CubicSession(),
        paths(),
        scheme_for("midpoint", 10, 1e-2),
        chunk=4,
        progress=lambda done, planned: calls.append((done, planned)),
    )
    assert calls[-1] == (30, 30)
    assert [d for d, _ in calls] == sorted(d for d, _ in calls)


@pytest.mark.parametrize("smooth", [False, True])
def test_progress_of_an_adaptive_rule_ends_where_the_work_does(smooth):
    calls = []
    scheme = replace(scheme_for(None, None, 1e-2), smooth=smooth)
    found = run(CubicSession(), paths(), scheme, progress=lambda done, of: calls.append((done, of)))
    total = int(found.evaluations.sum())
    assert total < 3 * 15 if smooth else total == 3 * 15
    assert calls[-1] == (total, total)


def test_slots_are_reused_when_sums_would_take_too_much_memory():
    p = paths(examples=9)
    two = 2 * 5 * 8 * 2  # sums of two paths: two rules, five features
    found = run(CubicSession(), p, scheme_for("midpoint", 20, 1e-2), chunk=7, keep_bytes=two)
    everything = run(CubicSession(), p, scheme_for("midpoint", 20, 1e-2), chunk=7)
    # with 20 points to a path and 7 to a run, no more than two are ever in work
    assert (found.kept, everything.kept) == (two, two)
    np.testing.assert_array_equal(found.values["x"], everything.values["x"])


def test_large_inputs_are_integrated_by_nested_rules_and_report_no_less_than_the_gap():
    kept = run(CubicSession(), paths(), scheme_for(None, None, 1e-2))
    few = 100 * 4 * 5  # half of it for a path, so less than 63 gradients
    p = paths()
    found = run(CubicSession(), p, scheme_for(None, None, 1e-2), keep_bytes=few)
    assert found.evaluations.tolist() == [15, 15, 15]
    # the same rule of 15 nodes, summed in another order
    np.testing.assert_allclose(found.values["x"], kept.values["x"], rtol=1e-6)
    p.change[1] += 100.0  # as if the output jumped where no gradient tells
    missed = run(CubicSession(), p, scheme_for(None, None, 1e-2), keep_bytes=few)
    assert missed.evaluations.tolist() == [15, 255, 15]
    # up to the rounding of float32 gradients
    assert missed.error[1] == pytest.approx(100.0, rel=1e-5)


def test_a_step_graph_is_fed_with_other_tensors_than_those_attributed():
    p = paths()

    class Step(Fake):
        """The same cubic after a prefix h = 2x: fed with h, gives the gradient of x."""

        def run(self, outputs, feeds):
            assert set(feeds) == {"h", "ct"}
            return [(3 * (feeds["h"] / 2) ** 2).astype(np.float32)]

    ends = {"moving": {"h": 2 * p.inputs["x"]}, "moving_baselines": {"h": 2 * p.baselines["x"]}}
    found = run(Step(), replace(p, **ends), scheme_for(None, 4, 1e-2))
    np.testing.assert_allclose(found.values["x"], exact(p), rtol=1e-6)
