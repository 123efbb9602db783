"""The judge of `make faults` can find guilty: every check is fed a bad history, and complains of that alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from progress.snapshot import FINAL
from tests.faults import checker, verdict
from tests.faults.checker import Finding
from tests.faults.history import Execution, Fault, History, Seen, executions, note
from tests.faults.verdict import Line


def seen(at: float, seq: int, state: str, **other: Any) -> Seen:
    """What one client showed of one task; `other` says what is unusual."""
    usual = {"watcher": "page", "id": "task", "run": 1, "attempt": 1, "final": state in FINAL}
    return Seen(at=at, seq=seq, state=state, **{**usual, **other})


def ran(stopped: float = 5.0, end: str = "SUCCESS", name: str = "first", started: float = 1.0) -> Execution:
    return Execution("task", name, started, stopped, end)


def history(done: list[Execution], *shown: Seen, faults: tuple[Fault, ...] = ()) -> History:
    return History({"task": done}, list(shown), list(faults))


def complaint(finding: Finding) -> str:
    """The one thing that a check found wrong."""
    assert not finding.kept
    (wrong,) = finding.wrong
    return wrong


GOOD = history(
    [ran()],
    seen(1.1, 1, "STARTED", fraction=0.0, message="first"),
    seen(3.0, 2, "PROGRESS", fraction=0.5, message="first"),
    seen(5.1, 3, "SUCCESS", fraction=1.0, message="first"),
)


def test_a_good_history_is_acquitted() -> None:
    """What is right is not complained of."""
    for finding in (checker.converges(GOOD, ["page"]), checker.ends_once(GOOD), checker.never_back(GOOD)):
        assert finding.wrong == []


# --- 1: convergence ----------------------------------------------------------------------------------------


def test_a_client_that_never_shows_the_end_is_stuck() -> None:
    """0 stuck: one of two clients that still shows a running task is named."""
    assert "other never showed the end of task" in complaint(checker.converges(GOOD, ["page", "other"]))


def test_a_wrong_end_is_not_the_end() -> None:
    """A failure that is shown as a success has not converged."""
    shown = history([ran(end="FAILURE")], seen(5.1, 1, "FAILURE"), seen(5.1, 1, "SUCCESS", watcher="other"))
    assert "other never showed the end of task (FAILURE)" in complaint(checker.converges(shown, ["page", "other"]))


def test_an_end_that_is_shown_late_is_a_miss() -> None:
    """Ten seconds after it exists is the bar."""
    found = checker.converges(history([ran()], seen(15.5, 1, "SUCCESS")), ["page"], usual=100)
    assert "10.5 s late" in complaint(found)


def test_the_usual_delay_has_a_bar_of_its_own() -> None:
    """All in time, but half of them slowly."""
    assert "the median is 3.0 s" in complaint(checker.converges(history([ran()], seen(8.0, 1, "SUCCESS")), ["page"]))


def test_time_counts_from_when_the_fault_has_healed() -> None:
    """A fault excuses what it held up, and nothing that comes later than the bar after it."""
    outage = (Fault("Redis killed", 4.0, 20.0),)
    assert checker.converges(history([ran()], seen(21.0, 1, "SUCCESS"), faults=outage), ["page"]).kept
    late = checker.converges(history([ran()], seen(30.5, 1, "SUCCESS"), faults=outage), ["page"], usual=100)
    assert "10.5 s late" in complaint(late)


def test_a_fault_that_was_over_excuses_nothing() -> None:
    """What had healed before the end has held up nothing."""
    over = (Fault("Redis killed", 1.0, 4.0),)
    late = checker.converges(history([ran()], seen(15.5, 1, "SUCCESS"), faults=over), ["page"], usual=100)
    assert "10.5 s late" in complaint(late)


def test_only_an_end_right_before_a_flush_may_be_lost_with_the_data() -> None:
    """A second before Redis is emptied is excused, two are not."""
    just_before = (Fault("Redis emptied", 6.0, 6.0),)
    assert complaint(checker.converges(history([ran()], faults=just_before), ["page"])) == "No end was measured"
    long_before = history([ran()], seen(5.1, 1, "SUCCESS"), faults=(Fault("Redis emptied", 7.0, 7.0),))
    assert "other never showed" in complaint(checker.converges(long_before, ["page", "other"]))


# --- 2 to 4: ends, order, one writer -----------------------------------------------------------------------


def test_two_ends_of_one_attempt_are_a_miss() -> None:
    """First a failure, then a success, in the same attempt."""
    twice = history([ran()], seen(5.1, 1, "FAILURE"), seen(5.2, 2, "SUCCESS"))
    assert "ended twice" in complaint(checker.ends_once(twice))


def test_each_attempt_may_end() -> None:
    """A redelivery after an end is a new attempt with an end of its own."""
    done = [ran(end="FAILURE"), ran(9.0, name="second", started=6.0)]
    assert checker.ends_once(history(done, seen(5.1, 1, "FAILURE"), seen(9.1, 2, "SUCCESS", attempt=2))).kept


def test_what_is_shown_at_last_must_have_happened() -> None:
    """A task that succeeded and is left as lost is a miss; one that was killed is rightly lost."""
    unhealed = history([ran()], seen(5.1, 1, "SUCCESS"), seen(20.0, 2, "LOST", attempt=2))
    assert "is shown LOST, and was SUCCESS" in complaint(checker.ends_once(unhealed))
    alive = history([Execution("task", "first", 1.0)], seen(2.0, 1, "SUCCESS"))
    assert "is shown SUCCESS, and was killed" in complaint(checker.ends_once(alive))


@pytest.mark.parametrize("seq", [2, 3])
def test_order_that_does_not_rise_is_a_miss(seq: int) -> None:
    """Neither an older snapshot nor the same one again is shown."""
    back = history([ran()], seen(2.0, 3, "PROGRESS"), seen(3.0, seq, "PROGRESS"))
    assert f"from seq 3 to {seq}" in complaint(checker.never_back(back))


def test_a_fraction_that_falls_within_an_attempt_is_a_miss() -> None:
    """A new attempt begins anew; the same one does not."""
    fell = [seen(2.0, 1, "PROGRESS", fraction=0.6), seen(3.0, 2, "PROGRESS", fraction=0.4)]
    assert "fell from 0.6 to 0.4" in complaint(checker.never_back(history([ran()], *fell)))
    again = seen(3.0, 2, "PROGRESS", fraction=0.4, attempt=2)
    assert checker.never_back(history([ran()], fell[0], again)).kept


def test_an_earlier_attempt_that_comes_back_is_a_miss() -> None:
    """Whatever its number of order says."""
    back = history([ran()], seen(2.0, 1, "STARTED", attempt=2), seen(3.0, 2, "STARTED", attempt=1))
    assert "went back to attempt 1" in complaint(checker.never_back(back))


def test_a_superseded_execution_that_is_shown_is_a_miss() -> None:
    """The second one was shown; then the first one speaks."""
    done = [ran(9.0), ran(8.0, name="second", started=3.0)]
    shown = [seen(3.1, 1, "STARTED", message="second"), seen(4.0, 2, "PROGRESS", message="first")]
    assert "showed execution 1 after 2" in complaint(checker.one_writer(history(done, *shown)))
    assert checker.one_writer(history(done, *reversed(shown))).kept


def test_only_an_end_that_a_failover_has_lost_is_excused() -> None:
    """What ended while the replica heard of nothing may be forgotten; what ended before may not."""
    back = [seen(5.1, 1, "SUCCESS", fraction=1.0), seen(20.0, 2, "LOST", fraction=0.5)]
    during = (Fault(checker.FAILOVER, 4.0, 6.0),)
    after = (Fault(checker.FAILOVER, 8.0, 9.0),)
    for check in (checker.ends_once, checker.never_back):
        assert not check(history([ran()], *back, faults=after)).kept
        other = [seen(5.1, 1, "SUCCESS", id="other"), seen(5.2, 2, "SUCCESS", id="other")]
        assert check(history([ran()], *back, *other, faults=during)).kept


def test_an_end_that_a_failover_has_lost_is_stuck_only_for_those_who_could_know() -> None:
    """Nobody had read it: no promise. One page had, so its server put it back, and the other page is stuck."""
    lost = [seen(4.5, 1, "PROGRESS"), seen(20.0, 2, "LOST")]
    other = seen(5.1, 1, "SUCCESS", watcher="other")
    whole = Execution("whole", "first", 1.0, 2.0, "SUCCESS")

    def pages(*shown: Seen, failover: float) -> History:
        done = {"task": [ran()], "whole": [whole]}
        both = [seen(2.1, 1, "SUCCESS", id="whole", watcher=watcher) for watcher in ("page", "other")]
        return History(done, [*both, *shown], [Fault(checker.FAILOVER, failover, failover + 2)])

    finding = checker.converges(pages(*lost, failover=4.0), ["page", "other"])
    assert (finding.wrong, "2 lost with the data" in finding.measured) == ([], True)
    for guilty in (pages(*lost, other, failover=4.0), pages(*lost, other, failover=8.0)):
        assert "page never showed the end of task" in complaint(checker.converges(guilty, ["page", "other"]))


def test_a_task_that_was_sent_must_run() -> None:
    """Unless it was cancelled before a worker took it."""
    forgotten = History(GOOD.executions, GOOD.seen, sent=["task", "other"])
    assert "other was sent and never ran" in complaint(checker.ends_once(forgotten))
    cancelled = History(GOOD.executions, [*GOOD.seen, seen(6.0, 9, "REVOKED", id="other")], sent=["task", "other"])
    assert checker.ends_once(cancelled).kept


def test_what_runs_on_after_its_end_is_a_miss() -> None:
    """In the same attempt; the next one may."""
    on = history([ran()], seen(5.1, 1, "SUCCESS"), seen(5.2, 2, "PROGRESS"), seen(5.3, 3, "SUCCESS"))
    assert "was PROGRESS after it had ended" in complaint(checker.ends_once(on))


# --- 13: cancelled -----------------------------------------------------------------------------------------


def test_cancelled_while_the_body_runs_is_a_miss() -> None:
    """By the body's own word it had not stopped."""
    early = [seen(3.0, 1, "PROGRESS", cancel_requested=True), seen(4.0, 2, "REVOKED")]
    for done in (ran(5.0, "REVOKED"), Execution("task", "first", 1.0)):
        assert "called cancelled while it ran" in complaint(checker.cancelled_when_stopped(history([done], *early)))


# --- 5, 7, 8, 9: in time -----------------------------------------------------------------------------------


def test_late_and_never_are_misses() -> None:
    """At the bar is kept; what is over it and what did not happen are each named."""
    found = checker.within({"in time": 20.0, "late": 20.1, "never": None}, 20.0, "tasks")
    assert found.wrong == ["late: 20.1 s", "never: never"]
    assert found.measured == "2 of 3 tasks, worst 20.1 s"


# --- Nothing measured is nothing kept ----------------------------------------------------------------------


def test_what_was_not_measured_is_a_miss() -> None:
    """No check passes because nothing came about."""
    nothing = History()
    for finding in (
        checker.converges(nothing, ["page"]),
        checker.ends_once(nothing),
        checker.never_back(nothing),
        checker.one_writer(GOOD),  # no task was executed twice
        checker.cancelled_when_stopped(GOOD),  # nobody cancelled
        checker.within({}, 10.0, "tasks"),
    ):
        assert finding.measured == "nothing"
        assert not finding.kept


def test_the_verdict_says_which_was_missed() -> None:
    """A line of the table for each, with what was measured."""
    lines = [Line("1 Kept", "0", Finding("0 of 5")), Line("2 Missed", "0", Finding("3 of 5", ["a", "b", "c"]))]
    assert verdict.table(lines).splitlines()[2:] == [
        "| 1 Kept | 0 | 0 of 5 | kept |",
        "| 2 Missed | 0 | 3 of 5 | MISSED |",
    ]


def test_complaints_say_how_many_were_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """The first few of each, and the number of the rest."""
    verdict.complain([Line("2 Missed", "0", Finding("", ["a", "b", "c"]))], most=2)
    assert capsys.readouterr().err.splitlines() == ["  2 Missed: a", "  2 Missed: b", "  2 Missed: and 1 more"]


# --- The oracle --------------------------------------------------------------------------------------------


def test_executions_are_what_the_bodies_noted(tmp_path: Path) -> None:
    """Each has its own end; one that was killed has none."""
    oracle = tmp_path / "oracle"
    assert executions(oracle) == {}
    note(str(oracle), id="task", exec="first", what="start")
    note(str(oracle), id="task", exec="second", what="start")
    note(str(oracle), id="task", exec="second", what="stop", end="SUCCESS", slowest=0.2)
    first, second = executions(oracle)["task"]
    assert (first.exec, first.stopped, first.end) == ("first", 0.0, "")
    assert (second.exec, second.end, second.slowest) == ("second", "SUCCESS", 0.2)
    assert second.stopped >= second.started >= first.started
    assert len([json.loads(line) for line in oracle.read_text().splitlines()]) == 3
