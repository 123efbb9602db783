"""Several threads of one task: no step is lost, whoever takes it and whoever looks on."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

import progress
from progress.options import Options
from progress.record import Record
from progress.reporter import NOBODY, Job, Reporter, running
from progress.snapshot import State

JOB = Job(key="t", name="tests.job", exec="e", options=Options())
THREADS = 8
STEPS = 200_000


@pytest.fixture(autouse=True)
def quick_switches() -> Iterator[None]:
    """Threads take turns as often as they can: what can go wrong between two steps goes wrong here."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def reporter() -> Iterator[Reporter]:
    """The reporter of the task that runs here."""
    reporter = Reporter(JOB)
    token = running.set(reporter)
    yield reporter
    running.reset(token)


def shown(reporter: Reporter) -> dict[str, Any]:
    return Record(seq=1, state="PROGRESS", **reporter.texts(State.PROGRESS)).snapshot()


def in_threads(*works: Callable[[], object]) -> None:
    """Run each in a thread of its own with a copy of this context, all at once. Raises what one of them raises."""
    together = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        together.wait(10)
        work()

    with ThreadPoolExecutor(len(works)) as pool:
        begun = [pool.submit(contextvars.copy_context().run, run, work) for work in works]
    for each in begun:
        each.result()


def test_every_step_of_every_thread_counts(reporter: Reporter) -> None:
    """`advance` by function, by handle and by fractions, and `track`, all at once: the sum is exact."""

    def by_function() -> None:
        for _ in range(STEPS):
            progress.advance()

    def by_handle() -> None:
        for _ in range(STEPS):
            reporter.advance(2)

    def in_halves() -> None:
        for _ in range(STEPS):
            progress.advance(0.5)

    def by_loop() -> None:
        for _ in progress.track(range(STEPS)):
            pass

    in_threads(*[by_function, by_handle, in_halves, by_loop] * (THREADS // 4))
    assert reporter.current == 2 * STEPS * (1 + 2 + 0.5 + 1)


def test_loops_side_by_side_have_the_sum_of_their_lengths(reporter: Reporter) -> None:
    """Eight loops that begin together: total and count are exact, also where each is left early."""
    everybody = threading.Barrier(THREADS)

    def loop() -> None:
        for place, _ in enumerate(progress.track(range(STEPS))):
            if place == 0:
                everybody.wait(10)  # all have begun before one can end

    in_threads(*[loop] * THREADS)
    assert (reporter.current, reporter.total) == (THREADS * STEPS, THREADS * STEPS)
    assert list(progress.track("abc")) == ["a", "b", "c"]
    assert reporter.total == THREADS * STEPS + 3


def test_loops_count_towards_the_total_that_the_task_has_set(reporter: Reporter) -> None:
    """One task, one total, chunks in a pool that take turns: the total stays what it is."""
    progress.update(total=20 * 500)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda chunk: sum(1 for _ in reporter.track(chunk)), [range(500)] * 20))
    assert done == [500] * 20
    assert (reporter.current, reporter.total) == (10_000, 10_000)


def test_threads_count_in_the_stage_that_runs(reporter: Reporter) -> None:
    """A stage is the whole task's: helpers that see its context, and those that have the handle, count in it."""
    progress.stages({"fetch": 1, "store": 1})
    for name in ("fetch", "store"):
        with progress.stage(name):
            progress.update(total=THREADS * 1000)
            in_threads(*[lambda: [progress.advance() for _ in range(1000)]] * THREADS)
    assert [stage["current"] for stage in shown(reporter)["stages"]] == [THREADS * 1000] * 2


def test_thread_without_the_context_reports_nothing(reporter: Reporter) -> None:
    """It has no running task; it is harmless, and cheap."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(progress.reporter).result() is NOBODY
        pool.submit(progress.advance).result()
    assert reporter.current == 0


async def test_coroutines_and_their_threads_see_the_task(reporter: Reporter) -> None:
    """A loop inside a body: tasks of the loop and `asyncio.to_thread` carry the context along."""

    async def work() -> None:
        for _ in range(100):
            progress.advance()
            await asyncio.sleep(0)

    await asyncio.gather(*[work() for _ in range(10)], *[asyncio.to_thread(progress.advance) for _ in range(10)])
    assert reporter.current == 1010


def test_nothing_is_counted_in_the_wrong_stage_while_somebody_looks() -> None:
    """A publisher that looks between any two steps sees no stage with the count of another."""
    reporter, over, wrong = Reporter(JOB), threading.Event(), []

    def look() -> None:
        while not over.is_set():
            told = shown(reporter)
            wrong.extend(stage for stage in told.get("stages", []) if stage["current"] > 5)
            if told["current"] > 5:
                wrong.append(told)

    def work() -> None:
        for place in range(5000):
            with reporter.stage(f"stage {place}"):
                for _ in reporter.track(range(5)):
                    pass
        over.set()

    in_threads(look, work)
    assert wrong == []
    assert shown(reporter)["current"] == 5


def test_a_reset_is_a_reset_while_somebody_looks() -> None:
    """A publisher that looks half way between the old count and zero does not hold on to the old one."""
    reporter, over = Reporter(JOB), threading.Event()
    told: list[tuple[float, float]] = []

    def look() -> None:
        while not over.is_set():
            found = shown(reporter)
            told.append((found["current"], found["fraction"]))

    def next_look() -> tuple[float, float]:
        wanted, deadline = len(told) + 2, time.monotonic() + 10  # the one that is being taken began before
        while len(told) < wanted and time.monotonic() < deadline:
            time.sleep(0)
        return told[wanted - 1]

    def work() -> None:
        try:
            reporter.update(current=9, total=10)
            assert next_look() == (9, 0.9)
            for _ in range(500):
                for _ in range(50):
                    reporter.update(current=9, total=10)
                    reporter.reset()
                reporter.update(current=1, total=10)
                assert next_look() == (1, 0.1)
        finally:
            over.set()

    in_threads(look, work)


@contextmanager
def looked_at(reporter: Reporter, told: list[dict[str, Any]]) -> Iterator[None]:
    """Let the publisher look between any two lines of what counts, resets and changes the stage."""

    def trace(frame: Any, event: str, _argument: Any) -> Any:
        if frame.f_globals["__name__"] not in ("progress.counting", "progress.stages"):
            return None
        if event == "line":
            sys.settrace(None)
            told.append(shown(reporter))
            sys.settrace(trace)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def test_no_look_in_between_holds_on_to_an_old_count() -> None:
    """A reset is one, and a stage begins at zero, at whichever line of the code somebody looks."""
    reporter, told = Reporter(JOB), []
    reporter.stages({"a": 1, "b": 1})
    with looked_at(reporter, told):
        with reporter.stage("a"):
            reporter.update(current=9, total=10)
            reporter.reset()
            reporter.update(current=1, total=10)
        assert (told[-1]["current"], told[-1]["fraction"]) == (1, 0.5)
        with reporter.stage("b"):
            list(reporter.track("xyz"))
    assert len(told) > 50
    assert {stage["current"] for each in told for stage in each["stages"] if stage["name"] == "b"} == {0, 1, 2, 3}
    counts = [stage["current"] for each in told for stage in each["stages"] if stage["name"] == "a"]
    assert counts == sorted(counts[: counts.index(9)]) + counts[counts.index(9) :]
    assert counts[-1] == 1
    assert set(counts) <= {0, 1, 9}


def test_no_look_in_between_takes_earlier_steps_for_new_ones() -> None:
    """What `initial` skips does not make the rate, at whichever line of the code somebody looks."""
    reporter, told = Reporter(JOB), []
    with looked_at(reporter, told):
        list(reporter.track("ab", initial=10**9))
    assert told[-1]["current"] == 10**9 + 2
    assert all(each["rate"] is None or each["rate"] < 10**8 for each in told)
