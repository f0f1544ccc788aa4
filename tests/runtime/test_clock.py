"""How long the model runs within a call."""

import threading
import time

from igrt.runtime.clock import Clock, timed


def test_runs_one_after_the_other_add_up() -> None:
    with Clock() as clock:
        for _ in range(3):
            with timed():
                time.sleep(0.01)
    assert 0.03 <= clock.total


def test_runs_at_the_same_time_count_once() -> None:
    clock, both = Clock(), threading.Barrier(2)

    def run() -> None:
        with clock.running():
            both.wait(10)
            time.sleep(0.05)

    start = time.perf_counter()
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # each runs for 0.05 s or more, both within the time that passes here
    assert 0.05 <= clock.total <= time.perf_counter() - start


def test_a_run_that_is_under_way_counts_as_far_as_it_is() -> None:
    clock = Clock()
    with clock.running():
        time.sleep(0.01)
        before = clock.total
        time.sleep(0.01)
    assert 0.01 <= before <= clock.total - 0.01


def test_runs_outside_of_a_clock_are_nobodys() -> None:
    clock = Clock()
    with timed():
        pass
    assert clock.total == 0.0
