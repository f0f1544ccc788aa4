"""Points of paths on a session whose outputs are known."""

import itertools
import threading
import time
import weakref

import numpy as np
import pytest
from igrt.kernels import select

from igrt.errors import DeadlineExceeded, InternalError, OutOfMemory
from igrt.runtime import points as module
from igrt.runtime.lane import HostLane, Output
from igrt.runtime.paths import Paths
from igrt.runtime.points import Points
from igrt.runtime.watch import Watch


class Echo:
    """Gives back what it is fed; counts its runs, and has room for so many rows."""

    provider = "FakeExecutionProvider"

    def __init__(self, most_rows=None):
        self.rows, self.most_rows = [], most_rows

    def run(self, outputs, feeds):
        x = feeds["x"]
        self.rows.append(len(x))
        if self.most_rows is not None and len(x) > self.most_rows:
            raise OutOfMemory("too many rows")
        return [feeds[name] for name in outputs]

    def bind(self, feeds, made):
        return None


X = np.array([[1, 2], [3, 4]], np.float32)
B = np.array([[0, 0], [1, 1], [-1, 2]], np.float32)


OUTPUTS = [
    Output("x", (2,), np.dtype(np.float32)),
    Output("i", (), np.dtype(np.int64)),
    Output("ct", (1,), np.dtype(np.float32)),
    Output("reference", (2,), np.dtype(np.float32)),
]


def points(session, chunk=4, outputs=OUTPUTS, at_once=1, **options):
    paths = Paths(
        inputs={"x": X},
        baselines={"x": B},
        example=np.array([1, 0, 1]),
        baseline=np.zeros(3, np.int64),
        cotangents=np.array([[10], [20], [30]], np.float32),
        others={"i": np.array([7, 8])},
        shared={},
        batched=True,
        output_batched=True,
        change=np.zeros(3),
        references={"x": "reference"},
    )
    return Points(
        session,
        select("reference"),
        paths,
        outputs,
        cotangent="ct",
        chunk=chunk,
        at_once=at_once,
        watch=Watch(**options),
    )


PATH, BASELINE = np.array([0, 0, 1, 2, 2]), np.array([0, 2, 1, 0, 1])
ALPHA = np.array([0.5, 0.25, 1.0, 0.0, 0.75])
FIVE = PATH, BASELINE, ALPHA


@pytest.mark.parametrize(
    ("chunk", "most", "at_once"),
    [(4, None, 1), (1, None, 1), (64, None, 1), (64, 2, 1), (1, None, 3), (2, 1, 2), (2, None, 9)],
)
def test_points_lie_on_their_paths(chunk, most, at_once):
    found = {"x": [], "i": [], "ct": [], "reference": []}
    for part, lane in points(Echo(most), chunk, at_once=at_once).run(PATH, BASELINE, ALPHA):
        assert len(lane.feeds()["x"]) == part.stop - part.start
        for name, array in zip(found, lane.read(), strict=True):
            found[name].extend(array.tolist())
    x, b = X[[1, 1, 0, 1, 1]], B[BASELINE]
    np.testing.assert_allclose(found["x"], b + ALPHA[:, np.newaxis] * (x - b))
    assert found["i"] == [[8], [8], [7], [8], [8]]
    assert found["ct"] == [[10], [10], [20], [30], [30]]
    assert found["reference"] == b.tolist()


def test_what_is_in_the_buffers_already_is_not_taken_for_what_should_be():
    rng = np.random.default_rng(0)
    work = points(Echo(), chunk=3)
    for _ in range(50):
        count = int(rng.integers(1, 4))
        path, baseline = rng.integers(0, 3, count), rng.integers(0, 3, count)
        alphas = rng.random(count)
        assert work.step(path, baseline, alphas) == count
        x, i, ct, reference = work.lane.read()
        ends = X[np.array([1, 0, 1])[path]], B[baseline]
        line = ends[1] + alphas[:, np.newaxis] * (ends[0] - ends[1])
        np.testing.assert_allclose(x, line, atol=1e-6)  # alpha is rounded to float32
        assert i.ravel().tolist() == np.array([8, 7, 8])[path].tolist()
        assert ct.ravel().tolist() == (10 * (path + 1)).tolist()
        assert reference.tolist() == ends[1].tolist()


def test_a_chunk_that_does_not_fit_is_halved_for_good():
    session = Echo(most_rows=2)
    work = points(session, chunk=5)
    assert sum(part.stop - part.start for part, _ in work.run(PATH, BASELINE, ALPHA)) == 5
    assert session.rows == [5, 2, 2, 1]
    assert work.chunk == 2


class Meeting(Echo):
    """Runs wait for each other, so many at a time; every second one is over before the first."""

    def __init__(self, count):
        super().__init__()
        self.met, self.turn = threading.Barrier(count, timeout=10), itertools.count()

    def run(self, outputs, feeds):
        late = next(self.turn) % 2 == 0
        self.met.wait()
        time.sleep(0.01 * late)
        return super().run(outputs, feeds)


def test_runs_are_under_way_at_the_same_time_and_end_in_order():
    work = points(Meeting(2), chunk=1, at_once=2)
    rows = [
        (part.start, lane.read()[0].tolist()) for part, lane in work.run(*(a[:4] for a in FIVE))
    ]
    x, b = X[[1, 1, 0, 1]], B[BASELINE[:4]]
    line = b + ALPHA[:4, np.newaxis] * (x - b)
    assert rows == [(k, [point.tolist()]) for k, point in enumerate(line)]


def test_points_are_shared_out_where_they_are_few():
    session = Echo()
    assert len(list(points(session, chunk=4, at_once=2).run(*FIVE))) == 2
    assert sorted(session.rows) == [2, 3]


def test_where_memory_is_scarce_runs_are_one_by_one_before_they_are_halved():
    class Scarce(Echo):
        """Two runs at a time are too much, and so is one of more than two rows."""

        def __init__(self):
            super().__init__(2)
            self.lock, self.together, self.begun = threading.Lock(), 0, threading.Barrier(2)

        def run(self, outputs, feeds):
            if threading.current_thread() is not threading.main_thread():
                self.begun.wait(10)
                raise OutOfMemory("two at a time")
            return super().run(outputs, feeds)

    work = points(Scarce(), chunk=3, at_once=2)
    parts = [part for part, _ in work.run(*FIVE)]
    assert [(p.start, p.stop) for p in parts] == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert (work.at_once, work.chunk) == (1, 1)


def test_an_error_leaves_no_run_behind():
    class Failing(Echo):
        """The first run fails while the second goes on."""

        def __init__(self):
            super().__init__()
            self.first, self.over = threading.Lock(), False

        def run(self, outputs, feeds):
            if self.first.acquire(blocking=False):
                raise InternalError("no")
            time.sleep(0.1)
            self.over = True
            return super().run(outputs, feeds)

    session = Failing()
    with pytest.raises(InternalError, match="no"):
        list(points(session, chunk=3, at_once=2).run(*FIVE))
    assert session.over


def test_memory_for_not_even_one_is_an_error():
    with pytest.raises(OutOfMemory):
        list(points(Echo(most_rows=0)).run(PATH, BASELINE, ALPHA))


@pytest.mark.parametrize(("most", "left"), [(0, None), (1, (1, 1)), (2, (1, 2)), (3, (2, 1))])
def test_buffers_that_do_not_fit_are_fewer(monkeypatch, most, left):
    made = weakref.WeakSet()

    class Small(HostLane):
        """There is memory for the buffers of so many rows."""

        def __init__(self, *given, rows, **named):
            if sum(lane.rows for lane in list(made)) + rows > most:
                raise OutOfMemory("too many rows")
            super().__init__(*given, rows=rows, **named)
            made.add(self)

    monkeypatch.setattr(module, "HostLane", Small)
    work = points(Echo(), chunk=2 if left != (2, 1) else 1, at_once=2)
    if left is None:
        with pytest.raises(OutOfMemory):
            list(work.run(*FIVE))
        return
    assert sum(part.stop - part.start for part, _ in work.run(*FIVE)) == 5
    assert (work.at_once, work.chunk) == left


def test_work_ends_at_the_deadline():
    late = points(Echo(), deadline=time.monotonic() - 1)
    with pytest.raises(DeadlineExceeded, match="before the first gradient evaluation"):
        list(late.run(PATH, BASELINE, ALPHA))
