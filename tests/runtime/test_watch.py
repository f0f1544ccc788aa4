"""Cancelling and deadlines, between runs and inside one."""

import threading
import time
from contextlib import suppress

import numpy as np
import onnx
import pytest

from igrt.errors import Cancelled, DeadlineExceeded
from igrt.runtime.session import OrtSession
from igrt.runtime.watch import Watch, current_watch

# counts to n, one node at a time: as long as one likes
COUNT = """<ir_version: 8, opset_import: ["" : 17]>
g (int64 n, float[1] x) => (float[1] y) <bool go = {1}> {
    y = Loop(n, go, x) <body = b (int64 i, bool c, float[1] s) => (bool d, float[1] t)
        <float[1] one = {1}> { d = Identity(c) t = Add(s, one) }>
}"""


@pytest.fixture(scope="module")
def session():
    model = onnx.parser.parse_model(COUNT).SerializeToString()
    return OrtSession(model, provider="cpu", threads=1)


def count(session, steps):
    feeds = {"n": np.array(steps), "x": np.zeros(1, np.float32)}
    return float(session.run(["y"], feeds)[0][0])


FOR_EVER = 10**12


def test_the_deadline_ends_a_run(session):
    with (
        Watch(deadline=time.monotonic() + 0.05) as watch,
        pytest.raises(DeadlineExceeded, match="before the first gradient evaluation"),
    ):
        count(session, FOR_EVER)
    with pytest.raises(DeadlineExceeded):
        watch.check()
    assert count(session, 10) == 10  # the session is as good as before


def test_another_thread_cancels_a_run(session):
    cancel = threading.Event()
    threading.Timer(0.05, cancel.set).start()
    with Watch(cancel=cancel) as watch:
        watch.planned, watch.done = 7, 3
        with pytest.raises(Cancelled, match="after 3 of 7 gradient evaluations"):
            count(session, FOR_EVER)
    assert count(session, 10) == 10


def test_only_the_runs_of_its_own_call_are_ended(session):
    cancel, running = threading.Event(), threading.Event()

    def other():
        with Watch(cancel=cancel), suppress(Cancelled):
            running.set()
            count(session, FOR_EVER)

    thread = threading.Thread(target=other)
    thread.start()
    running.wait()
    with Watch(cancel=threading.Event()):
        cancel.set()
        thread.join()
        assert count(session, 1000) == 1000


def test_a_watch_that_can_end_nothing_costs_no_thread(session):
    before = set(threading.enumerate())
    with Watch() as watch:
        assert current_watch() is watch
        assert watch.run_options({}) is None
        assert not set(threading.enumerate()) - before
        assert count(session, 3) == 3
    assert current_watch() is None


def test_progress_is_told_of_what_is_done_and_planned():
    told = []
    watch = Watch(progress=lambda *counts: told.append(counts))
    watch.planned += 5
    watch.did(2)
    watch.planned += 1
    watch.did(4)
    assert told == [(2, 5), (6, 6)]
