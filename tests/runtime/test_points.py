"""Points of paths on a session whose outputs are known."""

import time

import numpy as np
import pytest
from igrt.kernels import select

from igrt.errors import DeadlineExceeded, OutOfMemory
from igrt.runtime.points import Points
from igrt.runtime.stream import Paths


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


X = np.array([[1, 2], [3, 4]], np.float32)
B = np.array([[0, 0], [1, 1], [-1, 2]], np.float32)


def points(session, chunk=4, **options):
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
    )
    return Points(session, select("reference"), paths, cotangent="ct", chunk=chunk, **options)


PATH, BASELINE = np.array([0, 0, 1, 2, 2]), np.array([0, 2, 1, 0, 1])
ALPHA = np.array([0.5, 0.25, 1.0, 0.0, 0.75])


@pytest.mark.parametrize(("chunk", "most"), [(4, None), (1, None), (64, None), (64, 2)])
def test_points_lie_on_their_paths(chunk, most):
    found = {"x": [], "i": [], "ct": []}
    for part, made, feeds in points(Echo(most), chunk).run(list(found), PATH, BASELINE, ALPHA):
        assert len(feeds["x"]) == part.stop - part.start
        for name, array in zip(found, made, strict=True):
            found[name].extend(array.tolist())
    x, b = X[[1, 1, 0, 1, 1]], B[BASELINE]
    np.testing.assert_allclose(found["x"], b + ALPHA[:, np.newaxis] * (x - b))
    assert found["i"] == [8, 8, 7, 8, 8]
    assert found["ct"] == [[10], [10], [20], [30], [30]]


def test_a_chunk_that_does_not_fit_is_halved_for_good():
    session = Echo(most_rows=2)
    work = points(session, chunk=5)
    assert sum(part.stop - part.start for part, _, _ in work.run(["x"], PATH, BASELINE, ALPHA)) == 5
    assert session.rows == [5, 2, 2, 1]
    assert work.chunk == 2


def test_memory_for_not_even_one_is_an_error():
    with pytest.raises(OutOfMemory):
        list(points(Echo(most_rows=0)).run(["x"], PATH, BASELINE, ALPHA))


def test_the_deadline_and_progress():
    calls = []
    work = points(Echo(), chunk=2, progress=lambda *done: calls.append(done))
    list(work.run(["x"], PATH, BASELINE, ALPHA))
    assert calls == [(2, 5), (4, 5), (5, 5)]
    late = points(Echo(), deadline=time.monotonic() - 1)
    with pytest.raises(DeadlineExceeded, match="0 of 5"):
        list(late.run(["x"], PATH, BASELINE, ALPHA))
