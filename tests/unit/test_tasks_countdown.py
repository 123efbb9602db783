"""The countdown: how long it takes, what it says, how soon it can be cancelled."""

import time

import pytest

from progress import TaskCancelled
from progress.options import options_of
from progress.reporter import Job, Reporter, running
from tasks import tasks
from tasks.refusals import Refused
from tasks.tasks import countdown

OPTIONS = options_of(countdown.name, countdown.run)


class Clock:
    """Stands in for `time`: sleeping moves it on."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.on_sleep = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        self.on_sleep()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(tasks, "time", clock)
    return clock


@pytest.fixture
def reporter():
    reporter = Reporter(Job("key", countdown.name, "exec", OPTIONS))
    token = running.set(reporter)
    yield reporter
    running.reset(token)


@pytest.mark.parametrize(("seconds", "steps"), [(20, 20), (3, 7), (1, 1000), (0, 5), (600, 1)])
def test_it_takes_the_seconds_it_was_given(clock, reporter, seconds, steps):
    """Steps are held against the start, so their small delays do not add up."""
    clock.on_sleep = lambda: setattr(clock, "now", clock.now + 0.01)
    began = clock.now
    assert countdown.run(seconds=seconds, steps=steps) == f"Counted {steps} steps in {seconds} seconds."
    assert seconds <= clock.now - began <= seconds + 0.02
    assert (reporter.current, reporter.total) == (steps, steps)


def test_it_says_how_many_seconds_are_left(clock, reporter):
    """The message is a sentence, and right also when a step is not a second."""
    said = []
    clock.on_sleep = lambda: said.append(reporter._message)
    countdown.run(seconds=4, steps=2)
    sentences = ["4 seconds to go", "3 seconds to go", "2 seconds to go", "1 second to go", "Done"]
    assert [*dict.fromkeys(said), reporter._message] == sentences


@pytest.mark.parametrize("steps", [1, 600])
def test_it_is_cancelled_within_a_quarter_of_a_second(clock, reporter, steps):
    """Also in the middle of a step that takes ten minutes."""
    asked_at = clock.now + 10

    def cancel() -> None:
        if clock.now >= asked_at and not reporter.cancel_asked:
            reporter.ask_cancel()

    clock.on_sleep = cancel
    with pytest.raises(TaskCancelled):
        countdown.run(seconds=600, steps=steps)
    assert clock.now - asked_at <= 0.25


@pytest.mark.parametrize(("seconds", "steps"), [(-1, 5), (5, 0)])
def test_nonsense_is_refused_in_plain_words(seconds, steps):
    """Staff can start it with any numbers; what cannot be counted is refused with the reason."""
    with pytest.raises(Refused, match=f"got {seconds} and {steps}"):
        countdown.run(seconds=seconds, steps=steps)


def test_it_runs_outside_of_a_task():
    """Called as a function it just counts; nobody has to be told."""
    began = time.monotonic()
    assert countdown.run(seconds=0, steps=3) == "Counted 3 steps in 0 seconds."
    assert time.monotonic() - began < 1


def test_staff_may_start_it_and_watchers_see_how_it_ended():
    """It is the job for trying things out: runnable, cancellable, with result and reason shown."""
    assert (OPTIONS.runnable, OPTIONS.cancellable, OPTIONS.show_result, OPTIONS.show_error) == (True,) * 4
    assert OPTIONS.titled(countdown.run, (), {"seconds": 7}) == "Countdown of 7 s"
