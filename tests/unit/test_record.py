"""The rules of the record, in plain Python: what a writer can and cannot do to what people see."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from progress.record import Record, Status
from progress.rules import apply
from progress.snapshot import FINAL, LIVE, State
from tests.record_operations import operations, resolve


class AnyHistory(RuleBasedStateMachine):
    """Whatever is written in whatever order, these hold."""

    def __init__(self) -> None:
        super().__init__()
        self.record: Record | None = None
        self.before: Record | None = None
        self.step: tuple[str, dict, Status] | None = None
        self.now = 10**15
        self.fences: list[int] = []
        self.seqs: list[int] = []

    @rule(operation=operations(), passed=st.sampled_from([0, 1, 1000, -50]))
    def write(self, operation: tuple[str, dict], passed: int) -> None:
        op, args = operation
        self.now += passed  # Redis's clock may also be set back
        args = resolve(args, self.fences, self.seqs)
        self.before = self.record
        status, self.record = apply(self.record, op, args, self.now)
        self.step = (op, args, status)
        if self.record:
            self.seqs.append(self.record.seq)
            if not self.fences or self.record.fence > self.fences[-1]:
                self.fences.append(self.record.fence)

    @invariant()
    def seq_rises_with_every_accepted_write_and_with_no_other(self) -> None:
        silent = self.step and self.step[0] in ("watch", "renew") and not self.is_healed()
        if self.before and self.record and self.step and not silent:
            if self.step[2] is Status.ACCEPTED:
                assert self.record.seq > self.before.seq
            else:
                assert self.record == self.before

    def is_healed(self) -> bool:
        return bool(self.before and self.record and self.before.state == State.LOST != self.record.state)

    @invariant()
    def only_an_execution_whose_lease_ran_out_is_presumed_lost(self) -> None:
        if self.before and self.record and self.step and self.step[0] == "lost" and self.record != self.before:
            assert self.before.exec == self.step[1]["exec"]
            assert 0 < self.before.leased_until <= self.now
            assert (self.record.state, self.record.live_state) == (State.LOST, self.before.state)

    @invariant()
    def a_lost_task_goes_on_where_it_was_or_by_what_its_own_or_a_newer_execution_says(self) -> None:
        if self.is_healed() and self.before and self.record and self.step:
            op, args, _ = self.step
            if op == "renew":
                assert args["exec"] == self.before.exec
                assert self.record.state == (self.before.live_state or State.STARTED)
            else:
                assert op in ("save", "verdict", "restore") or self.record.run > self.before.run

    @invariant()
    def who_does_not_run_has_no_lease(self) -> None:
        if self.record and (self.record.state not in LIVE or self.record.state == State.LOST):
            assert self.record.leased_until == 0 or self.record.state == State.LOST

    @invariant()
    def a_superseded_execution_changes_nothing(self) -> None:
        if self.before and self.step and self.step[0] == "save":
            _, args, status = self.step
            if 0 < args["fence"] < self.before.fence:
                assert status is Status.FENCED

    @invariant()
    def an_end_is_left_only_by_a_new_execution_or_a_new_run(self) -> None:
        if self.before and self.before.ended and self.record != self.before and self.step:
            op, _, _ = self.step
            new_execution = self.record.fence > self.before.fence
            assert op == "watch" or (op in ("queue", "save") and new_execution)

    @invariant()
    def the_owner_of_an_unfinished_run_never_changes(self) -> None:
        if self.before and not self.before.ended and self.record:
            assert self.record.owner == self.before.owner

    @invariant()
    def a_fence_never_falls(self) -> None:
        if self.before and self.record:
            assert self.record.fence >= self.before.fence

    @invariant()
    def a_verdict_on_another_delivery_cannot_end_one_that_runs(self) -> None:
        if self.before and self.before.state in LIVE and self.step and self.step[0] == "verdict":
            assert self.step[1]["exec"] == self.before.exec or self.record == self.before


AnyHistory.TestCase.settings = settings(max_examples=300, stateful_step_count=25)
TestAnyHistory = AnyHistory.TestCase


def started(**changes: object) -> tuple[Record, dict]:
    """A record whose execution "a" runs, and the arguments of its next save."""
    _, record = apply(None, "queue", {"owner": "1", "body": '"id":"t"'}, 1000)
    args = {"exec": "a", "fence": 0, "n": 1, "age": 10, "state": "STARTED", "body": '"id":"t"', "owner": "1"}
    args["lease"] = 500
    _, record = apply(record, "save", args, 2000)
    assert record is not None
    return record, {**args, "fence": record.fence, "n": 2, **changes}


def test_start_of_the_same_execution_twice_is_harmless() -> None:
    """A start that was sent again after a time-out changes neither fence nor attempt."""
    record, args = started()
    assert apply(record, "save", {**args, "fence": 0, "n": 1}, 3000) == (Status.STALE, record)


def test_late_write_of_a_killed_attempt_cannot_pass_the_next_attempt() -> None:
    """Once another execution has started, nothing of the one before is shown."""
    record, args = started()
    _, second = apply(record, "save", {**args, "exec": "b", "fence": 0, "n": 1, "age": 0}, 3000)
    assert apply(second, "save", {**args, "state": "SUCCESS"}, 4000) == (Status.FENCED, second)
    assert second is not None
    assert second.attempt == 2


def test_execution_that_was_silent_cannot_overtake_a_later_one() -> None:
    """A worker cut off from Redis since before the other one started does not take the record over."""
    record, args = started()
    late = {**args, "exec": "z", "fence": 0, "n": 9, "age": 5000}
    assert apply(record, "save", late, 6000) == (Status.FENCED, record)


def test_verdict_of_the_main_process_ends_its_own_execution() -> None:
    """A killed child is shown as failed, at the progress it had reached."""
    record, _ = started()
    status, ended = apply(record, "verdict", {"exec": "a", "state": "FAILURE", "outcome": '"error":1'}, 5000)
    assert status is Status.ACCEPTED
    assert ended is not None
    assert (ended.state, ended.body, ended.outcome) == ("FAILURE", record.body, '"error":1')


def test_verdict_on_the_execution_that_asked_for_a_retry_is_too_late() -> None:
    """What a worker says of an attempt that already handed over to the next does not end the task."""
    record, args = started(state="RETRY")
    _, waiting = apply(record, "save", args, 3000)
    assert apply(waiting, "verdict", {"exec": "a", "state": "FAILURE"}, 4000) == (Status.FENCED, waiting)
    assert apply(waiting, "verdict", {"exec": "b", "state": "REVOKED"}, 4000)[0] is Status.ACCEPTED


def test_first_write_that_arrives_after_the_verdict_on_it_is_too_late() -> None:
    """A task that killed its worker before anything was written stays failed when its start comes in late."""
    _, queued = apply(None, "queue", {"owner": "1"}, 1000)
    _, failed = apply(queued, "verdict", {"exec": "a", "state": "FAILURE"}, 2000)
    start = {"exec": "a", "fence": 0, "n": 1, "age": 900, "state": "STARTED"}
    assert apply(failed, "save", start, 2500) == (Status.ENDED, failed)


def test_nobody_enters_the_ended_run_of_somebody_else() -> None:
    """A task that another user sends with a known id, while Redis cannot be told, is not shown to the first one."""
    record, args = started(state="SUCCESS")
    _, ended = apply(record, "save", args, 3000)
    other = {**args, "exec": "z", "fence": 0, "n": 1, "age": 0, "owner": "2"}
    assert apply(ended, "save", other, 4000) == (Status.REFUSED, ended)


def test_lost_is_taken_back_by_a_sign_of_life() -> None:
    """LOST is a presumption: the next write of that execution shows it running again."""
    record, args = started()
    _, lost = apply(record, "lost", {"exec": "a"}, 3000)
    assert lost is not None
    assert (lost.state, lost.ended, lost.updated_at) == (State.LOST, False, record.updated_at)
    _, alive = apply(lost, "save", {**args, "state": "PROGRESS"}, 4000)
    assert alive is not None
    assert (alive.state, alive.leased_until) == (State.PROGRESS, 4500)


def test_a_lost_task_says_when_it_was_last_heard_of() -> None:
    """A renewal is no report, but it is a sign of life: silence is counted from the last one."""
    record, _ = started()
    _, renewed = apply(record, "renew", {"exec": "a", "lease": 500}, 9000)
    _, lost = apply(renewed, "lost", {"exec": "a", "lease": 500}, 9600)
    assert lost is not None
    assert (record.updated_at, lost.updated_at) == (2000, 9000)


def test_a_renewal_takes_lost_back_to_where_it_was() -> None:
    """A task that has nothing to say, and lives, is shown as it was before it was given up."""
    record, args = started(state="PROGRESS", fraction="0.63")
    _, running = apply(record, "save", args, 2100)
    _, lost = apply(running, "lost", {"exec": "a"}, 3000)
    _, alive = apply(lost, "renew", {"exec": "a", "lease": 500}, 4000)
    assert alive is not None
    assert lost is not None
    assert (alive.state, alive.fraction, alive.leased_until) == ("PROGRESS", "0.63", 4500)
    assert alive.seq > lost.seq


def test_lost_is_refused_when_something_was_heard_since() -> None:
    """A slow reaper does not accuse a task that has just reported, or whose lease was just renewed."""
    record, args = started()
    _, newer = apply(record, "save", args, 3000)
    assert apply(newer, "lost", {"exec": "a"}, 3400) == (Status.REFUSED, newer)
    _, renewed = apply(record, "renew", {"exec": "a", "lease": 2000}, 3000)
    assert apply(renewed, "lost", {"exec": "a"}, 4000) == (Status.REFUSED, renewed)


def test_an_execution_that_promised_no_sign_of_life_is_never_lost() -> None:
    """Whoever runs it keeps no lease: its silence says nothing."""
    record, args = started(lease=0)
    _, silent = apply(record, "save", args, 3000)
    assert apply(silent, "lost", {"exec": "a"}, 10**12) == (Status.REFUSED, silent)


def test_the_next_execution_of_a_lost_task_says_so() -> None:
    """A redelivered message takes a lost task over; what was lost cannot come back beside it."""
    record, args = started()
    _, lost = apply(record, "lost", {"exec": "a"}, 3000)
    _, second = apply(lost, "save", {**args, "exec": "b", "fence": 0, "n": 1, "age": 0}, 4000)
    assert second is not None
    assert (second.state, second.attempt, second.live_state) == ("STARTED", 2, "")
    assert apply(second, "renew", {"exec": "a", "lease": 500}, 4100) == (Status.FENCED, second)


def test_a_message_that_redis_hears_of_late_opens_no_second_run() -> None:
    """Redis stalled while a task was sent, ran and ended: the write from before the start changes nothing."""
    queue = {"owner": "1", "sent": "m1", "body": '"id":"t"'}
    start = {"exec": "a", "fence": 0, "n": 1, "state": "SUCCESS", "owner": "1", "sent": "m1"}
    _, ended = apply(None, "save", start, 2000)
    assert apply(ended, "queue", queue, 3000) == (Status.SAME, ended)
    _, again = apply(ended, "queue", {**queue, "sent": "m2"}, 4000)
    assert again is not None
    assert (again.run, again.state) == (2, State.PENDING)


def test_a_queue_that_nobody_listens_to_is_said_while_the_task_waits_there() -> None:
    """It is part of what is shown until a worker listens, or the task starts."""
    _, queued = apply(None, "queue", {"owner": "1", "body": '"id":"t"', "queue": "reports"}, 1000)
    _, told = apply(queued, "unserved", {"value": 1}, 2000)
    assert told is not None
    assert (told.snapshot()["queue"], told.snapshot()["unserved"]) == ("reports", True)
    assert apply(told, "unserved", {"value": 1}, 3000) == (Status.SAME, told)
    _, started_ = apply(told, "save", {"exec": "a", "fence": 0, "n": 1, "state": "STARTED", "owner": "1"}, 4000)
    assert started_ is not None
    assert "unserved" not in started_.snapshot()
    assert apply(started_, "unserved", {"value": 1}, 5000) == (Status.REFUSED, started_)


def test_live_id_is_not_taken_over_by_somebody_elses_task() -> None:
    """A message that was sent with the id of a running task runs, but is not shown under that task's owner."""
    record, args = started()
    theirs = {**args, "exec": "z", "fence": 0, "n": 1, "age": 0, "owner": "2", "state": "SUCCESS"}
    assert apply(record, "save", theirs, 3000) == (Status.REFUSED, record)
    assert apply(record, "save", args, 4000)[0] is Status.ACCEPTED


def test_a_lost_task_that_is_sent_again_begins_anew() -> None:
    """By its owner: an old wish to cancel is not the new run's, and what was lost cannot come back beside it."""
    record, args = started()
    _, asked = apply(record, "cancel", {"by": "1"}, 2500)
    _, lost = apply(asked, "lost", {"exec": "a"}, 3000)
    assert apply(lost, "queue", {"owner": "2", "sent": "m2"}, 4000) == (Status.REFUSED, lost)
    _, again = apply(lost, "queue", {"owner": "1", "sent": "m2"}, 4000)
    assert again is not None
    assert (again.run, again.control, again.state) == (2, "", State.PENDING)
    assert apply(again, "save", args, 5000)[0] is Status.FENCED


def test_reused_id_opens_a_new_run_after_an_end_only() -> None:
    """An id such as "nightly-report" runs again; while it runs nobody takes it over."""
    record, args = started()
    assert apply(record, "queue", {"owner": "2"}, 3000) == (Status.REFUSED, record)
    _, ended = apply(record, "save", {**args, "state": "SUCCESS"}, 4000)
    _, again = apply(ended, "queue", {"owner": "2"}, 5000)
    assert again is not None
    assert (again.run, again.attempt, again.owner, again.state) == (2, 0, "2", State.PENDING)


def test_retry_published_after_a_cancel_opens_no_new_run() -> None:
    """The retry message of a task that was ended meanwhile does not bring it back to "waiting"."""
    record, args = started()
    _, ended = apply(record, "save", {**args, "state": "REVOKED"}, 3000)
    assert apply(ended, "queue", {"owner": "1", "again": "1"}, 4000) == (Status.ENDED, ended)


def test_record_that_redis_lost_is_rebuilt_by_the_next_write() -> None:
    """After a flush one save brings back attempt, owner and a seq above all that watchers have seen."""
    _, args = started(attempt=3, run=2, seen=10**16)
    _, rebuilt = apply(None, "save", args, 9000)
    assert rebuilt is not None
    assert (rebuilt.attempt, rebuilt.run, rebuilt.owner, rebuilt.seq) == (3, 2, "1", 10**16 + 1)


@given(st.lists(operations(), max_size=12))
def test_snapshot_of_any_record_is_valid_json_in_both_views(history: list[tuple[str, dict]]) -> None:
    """Whatever was accepted can be read: the joined parts are one JSON object with the wire's fields."""
    record, now = None, 10**15
    for op, args in history:
        now += 10
        _, record = apply(record, op, resolve(args, [], []), now)
    if record:
        assert record.snapshot()["v"] == record.snapshot(staff=True)["v"] == 1
        assert record.snapshot()["final"] is (record.state in FINAL)
