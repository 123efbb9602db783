"""Threads for calls that may hang: what is given to them is begun, whatever the others do."""

from __future__ import annotations

import threading

from progress.native_pool import NativePool

WAIT = 5.0  # seconds


def test_a_call_does_not_wait_for_one_that_hangs_while_a_thread_may_be_started() -> None:
    """The first takes the thread that was idle, which may not have noticed yet when the second comes."""
    let_go = threading.Event()
    try:
        for _ in range(100):
            pool = NativePool(2, "a pool")
            assert pool.submit(int, "1").result(WAIT) == 1
            pool.submit(let_go.wait)
            assert pool.submit(int, "2").result(WAIT) == 2
    finally:
        let_go.set()


def test_a_crowd_of_calls_has_as_many_threads_as_allowed() -> None:
    """A hundred at once, three at a time: each is done."""
    pool, together = NativePool(3, "a pool"), threading.Barrier(3)
    calls = [pool.submit(together.wait, WAIT) for _ in range(99)]
    assert all(call.result(WAIT) in range(3) for call in calls)
    assert pool._started == 3
