"""Stages: what each has counted, how far they are together, and what of them fits into a snapshot."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import progress
from progress import InvalidReport, TaskCancelled, snapshot
from progress.options import Options
from progress.record import Record
from progress.reporter import NOBODY, Job, Reporter, running
from progress.snapshot import State
from progress.stages import PLANNED, REMEMBERED, Stage, Standing

JOB = Job(key="t", name="tests.job", exec="e", options=Options(unit="rows"))


def shown(reporter: Reporter, state: State = State.PROGRESS) -> dict[str, Any]:
    """The snapshot that `reporter` makes now."""
    return Record(seq=1, state=state, **reporter.texts(state)).snapshot()


def standing(reporter: Reporter) -> dict[str, str]:
    """The stages that are shown, and where each stands."""
    return {stage["name"]: stage["state"] for stage in shown(reporter)["stages"]}


def untimed(reporter: Reporter) -> list[dict[str, Any]]:
    """The stages that are shown, without their times."""
    return [
        {name: value for name, value in stage.items() if name not in ("from", "to")}
        for stage in shown(reporter)["stages"]
    ]


def times(reporter: Reporter) -> dict[str, tuple[Any, Any]]:
    """When each stage that is shown began and ended."""
    return {stage["name"]: (stage.get("from"), stage.get("to")) for stage in shown(reporter)["stages"]}


def counted(reporter: Reporter) -> tuple[Any, ...]:
    """What is shown of the running stage, and of the whole."""
    told = shown(reporter)
    return told["current"], told["total"], told["fraction"]


@pytest.fixture
def reporter() -> Iterator[Reporter]:
    """The reporter of the task that runs here."""
    reporter = Reporter(JOB)
    token = running.set(reporter)
    yield reporter
    running.reset(token)


# --- One after another -----------------------------------------------------------------------------------------


def test_each_stage_counts_from_zero_and_the_plan_makes_a_whole(reporter: Reporter) -> None:
    """The documented example: what is announced is visible, waiting; the whole is the weighted sum."""
    progress.stages({"read": 3, "write": 1})
    assert standing(reporter) == {"read": "waiting", "write": "waiting"}
    assert counted(reporter) == (0, None, 0)
    with progress.stage("read"):
        progress.update(total=10, unit="lines")
        progress.advance(5)
        assert counted(reporter) == (5, 10, 0.375)
        assert shown(reporter)["unit"] == "lines"
    with progress.stage("write"):
        assert counted(reporter) == (0, None, 0.75)
        assert shown(reporter)["unit"] == "rows"
        for _ in progress.track("ab"):
            pass
        assert counted(reporter) == (2, 2, snapshot.ALMOST_DONE)
    assert untimed(reporter) == [
        {"name": "read", "current": 5, "total": 10, "weight": 3, "state": "done"},
        {"name": "write", "current": 2, "total": 2, "weight": 1, "state": "done"},
    ]
    assert shown(reporter)["fraction"] == snapshot.ALMOST_DONE
    assert shown(reporter, State.SUCCESS)["fraction"] == 1


def test_without_a_plan_the_whole_is_not_known(reporter: Reporter) -> None:
    """Nobody can tell what else will come, so no share is claimed; the stage's own count is shown."""
    with progress.stage("read"):
        progress.update(current=3, total=4)
        assert counted(reporter) == (3, 4, None)
    assert standing(reporter) == {"read": "done"}
    assert shown(reporter)["fraction"] is None


def test_a_task_that_counts_the_rounds_itself_has_a_whole(reporter: Reporter) -> None:
    """A stage in each round of a loop: the loop says how far the task is, and its steps are its own."""
    for place in progress.track(range(4)):
        with progress.stage("fetch"):
            progress.advance(10)
            assert counted(reporter) == (10 * (place + 1), None, place / 4)
    assert counted(reporter) == (4, 4, snapshot.ALMOST_DONE)
    assert [stage["current"] for stage in shown(reporter)["stages"]] == [40]


def test_between_stages_the_last_one_stays_to_be_seen(reporter: Reporter) -> None:
    """A task that counts only in stages does not end at zero; one that counts outside of them shows that."""
    with progress.stage("read"):
        progress.update(current=7, total=9)
    assert (shown(reporter)["current"], shown(reporter)["total"]) == (7, 9)
    progress.advance(2)
    assert (shown(reporter)["current"], shown(reporter)["total"]) == (2, None)


def test_stages_of_a_stage_share_out_its_weight(reporter: Reporter) -> None:
    """Half of a stage that is three quarters of the whole is three eighths."""
    progress.stages({"load": 3, "tell": 1})
    with progress.stage("load"):
        progress.stages({"read": 1, "check": 1})
        with progress.stage("read"):
            pass
        assert shown(reporter)["fraction"] == 3 / 8
        with progress.stage("check"):
            progress.update(current=1, total=2)
            assert shown(reporter)["fraction"] == 3 * 0.75 / 4
            places = [(stage["name"], stage.get("depth", 0)) for stage in shown(reporter)["stages"]]
            assert places == [("load", 0), ("read", 1), ("check", 1), ("tell", 0)]
    assert standing(reporter) == {"load": "done", "tell": "waiting"}, "what was in a stage is over with it"
    assert shown(reporter)["fraction"] == 0.75


def test_stage_of_unknown_length_counts_when_it_is_done(reporter: Reporter) -> None:
    """While nothing at all is known the whole is unknown; later it stays where it was."""
    progress.stages({"find": 1, "copy": 1, "tidy": 2})
    with progress.stage("find"):
        progress.advance()
        assert shown(reporter)["fraction"] is None
    with progress.stage("copy"):
        assert shown(reporter)["fraction"] == 0.25
    assert shown(reporter)["fraction"] == 0.5


def test_stage_that_nobody_announced_joins_the_others(reporter: Reporter) -> None:
    """The whole is never less than it was; the newcomer counts with its own weight."""
    progress.stages({"read": 1, "write": 1})
    with progress.stage("read"):
        pass
    assert shown(reporter)["fraction"] == 0.5
    with progress.stage("mend", weight=2):
        assert shown(reporter)["fraction"] == 0.5
    assert shown(reporter)["fraction"] == 0.75
    assert list(standing(reporter)) == ["read", "write", "mend"]


def test_stage_that_is_entered_again_goes_on(reporter: Reporter) -> None:
    """Its count does not go back; the plan has one stage of a name."""
    progress.stages({"read": 1, "write": 1})
    for _ in range(2):
        with progress.stage("read", weight=9):
            list(progress.track("abc"))
    assert untimed(reporter)[0] == {"name": "read", "current": 6, "total": 6, "weight": 1, "state": "done"}
    assert shown(reporter)["fraction"] == 0.5


def test_a_later_plan_adds_to_the_first(reporter: Reporter) -> None:
    """What has run keeps what it has counted; weights are those of the newest plan."""
    with progress.stage("look"):
        progress.advance(3)
    progress.stages({"read": 1})
    progress.stages({"read": 2, "write": 1})
    weights = {stage["name"]: (stage["weight"], stage["current"]) for stage in shown(reporter)["stages"]}
    assert weights == {"look": (1, 3), "read": (2, 0), "write": (1, 0)}
    assert shown(reporter)["fraction"] == 0.25


# --- Times -----------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: Any) -> SimpleNamespace:
    """A clock that stands still unless it is told otherwise; how often it was asked is in `asked`."""
    made = SimpleNamespace(now=1000.0, asked=0)

    def monotonic() -> float:
        made.asked += 1
        return float(made.now)

    # Not by its dotted name: `progress.stages` is a function of the package, too.
    monkeypatch.setattr(sys.modules[Stage.__module__], "time", SimpleNamespace(monotonic=monotonic))
    return made


def test_a_stage_says_when_it_ran(clock: SimpleNamespace, reporter: Reporter) -> None:
    """ms since the attempt began; no `from` while it waits, no `to` while it runs, also when it runs again."""
    progress.stages({"read": 1, "write": 1})
    assert times(reporter) == {"read": (None, None), "write": (None, None)}
    clock.now += 0.5
    with progress.stage("read"):
        clock.now += 1.25
        assert times(reporter)["read"] == (500, None)
    clock.now += 1
    assert times(reporter) == {"read": (500, 1750), "write": (None, None)}
    with progress.stage("read"):
        clock.now += 1
        assert times(reporter)["read"] == (500, None)
    with contextlib.suppress(ZeroDivisionError), progress.stage("write"), progress.stage("sync"):
        clock.now += 1
        _ = 1 / 0
    assert times(reporter) == {"read": (500, 3750), "write": (3750, 4750), "sync": (3750, 4750)}


def test_a_reset_within_a_stage_changes_no_time(clock: SimpleNamespace, reporter: Reporter) -> None:
    """What is counted begins again, not the stage; stages of a task that resets are gone with their times."""
    clock.now += 1
    with progress.stage("read"):
        clock.now += 1
        progress.reset()
        clock.now += 1
        assert times(reporter) == {"read": (1000, None)}
    progress.reset()
    clock.now += 1
    with progress.stage("read"):
        assert times(reporter) == {"read": (4000, None)}


def test_another_attempt_has_times_of_its_own(clock: SimpleNamespace) -> None:
    """They count from where that one began."""
    for _ in range(2):
        clock.now += 60
        attempt = Reporter(JOB)
        clock.now += 0.1
        with attempt.stage("read"):
            assert times(attempt) == {"read": (100, None)}


def test_counting_asks_for_no_time(clock: SimpleNamespace, reporter: Reporter) -> None:
    """Times cost where a stage begins and ends, and nothing in between."""
    with progress.stage("read"):
        before = clock.asked
        for _ in range(1000):
            reporter.advance()
        assert clock.asked == before


@pytest.mark.parametrize("room", [60, 150, 250, 350, 1500])
def test_times_leave_no_stage_out(clock: SimpleNamespace, room: int) -> None:
    """As many are listed as without; the running one has its times first, then those nearest to it."""
    whole = Stage()
    for number in range(10):
        part = whole.part(f"stage {number}", 1)
        part.begin()
        clock.now += 1000
        if number < 9:
            part.end(Standing.DONE)
    listed, left_out = whole.listed(room)
    assert sum(len(snapshot.encode(stage)) + 1 for stage in listed) <= room
    bare = [{name: value for name, value in stage.items() if name not in ("from", "to")} for stage in listed]
    used = sum(len(snapshot.encode(stage)) + 1 for stage in bare)
    one_more = len(snapshot.encode(bare[0])) + 1
    assert left_out == 10 - len(listed)
    assert left_out == 0 or used + one_more > room
    timed = ["from" in stage for stage in listed]
    assert timed == sorted(timed)  # the last one is running
    assert all(timed) == (room == 1500)


# --- Being left ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, TaskCancelled])
def test_stage_that_raises_has_failed(reporter: Reporter, error: type[BaseException]) -> None:
    """So have those around it; the exception passes, and what was reached is shown."""
    progress.stages({"load": 1, "tell": 1})

    def body() -> None:
        with progress.stage("load"), progress.stage("read"):
            progress.update(current=1, total=2)
            raise error

    with pytest.raises(error):
        body()
    assert standing(reporter) == {"load": "failed", "read": "failed", "tell": "waiting"}
    progress.advance(5)
    assert shown(reporter)["current"] == 5, "the count is the task's again"


def test_failed_stage_counts_as_far_as_it_got(reporter: Reporter) -> None:
    """A task that goes on after it has not done what it did not do."""
    progress.stages({"try": 1, "else": 1})
    with contextlib.suppress(ValueError), progress.stage("try"):
        progress.update(current=1, total=2)
        raise ValueError
    with progress.stage("else"):
        pass
    assert shown(reporter)["fraction"] == 0.75


def test_generator_that_is_left_early_has_not_failed(reporter: Reporter) -> None:
    """`break` out of a loop whose rows come from a stage is no error."""

    def rows() -> Iterator[int]:
        with progress.stage("read"):
            yield from progress.track(range(10))

    for row in rows():
        if row == 3:
            break
    assert standing(reporter) == {"read": "done"}
    assert shown(reporter)["current"] == 3


def test_wish_to_cancel_is_raised_before_a_stage_begins(reporter: Reporter) -> None:
    """Leaving one raises nothing, so that what ended well is not shown as failed."""
    with progress.stage("read"):
        reporter.ask_cancel()
    with pytest.raises(TaskCancelled), progress.stage("write"):
        pytest.fail("the stage began")
    assert standing(reporter) == {"read": "done"}


def test_stages_that_threads_leave_in_any_order_lose_nothing(reporter: Reporter) -> None:
    """Threads share the running stage. Whoever leaves last gives the count back to the task."""
    outer, inner = reporter.stage("outer"), reporter.stage("inner")
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    reporter.advance(2)
    inner.__exit__(None, None, None)
    reporter.advance(3)
    assert shown(reporter)["current"] == 3
    assert reporter._whole.parts["outer"].parts["inner"].current == 2


def test_stages_are_told_at_once(reporter: Reporter) -> None:
    """Whoever waits for news is woken when a stage begins, ends or is announced."""
    for change in (lambda: progress.stages({"a": 1}), lambda: list(progress.track("a"))):
        before = reporter.changes
        change()
        assert reporter.changes > before
    woken: list[int] = []
    listening = Reporter(JOB, lambda: woken.append(1))
    listening.attention = True
    with listening.stage("read"):
        assert woken == [1]
        listening.attention = True
    assert woken == [1, 1]


# --- Reset -----------------------------------------------------------------------------------------------------


def test_reset_in_a_stage_begins_that_stage_again(reporter: Reporter) -> None:
    """It is the one way back, for the stage and for the whole."""
    progress.stages({"read": 1, "write": 1})
    with progress.stage("read"):
        pass
    with progress.stage("write"):
        progress.update(current=5, total=10)
        assert counted(reporter) == (5, 10, 0.75)
        progress.reset()
        progress.update(current=1, total=10)
        assert counted(reporter) == (1, 10, 0.55)


def test_reset_outside_of_stages_forgets_them(reporter: Reporter) -> None:
    """The task begins again with nothing."""
    progress.stages({"read": 1, "write": 1})
    with progress.stage("read"):
        progress.advance()
    progress.reset()
    assert "stages" not in shown(reporter)
    assert counted(reporter) == (0, None, None)


# --- What cannot be shown --------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0, -1, "3", None, float("nan"), float("inf"), 1e300])
def test_weight_that_is_none_is_refused_where_it_is_written(reporter: Reporter, weight: Any) -> None:
    """Expected, got, what to do; nothing is changed."""
    with pytest.raises(InvalidReport, match="weight must be"):
        progress.stage("read", weight)
    with pytest.raises(InvalidReport, match="The weight of stage 'read' must be"):
        progress.stages({"read": weight})
    assert "stages" not in shown(reporter)


@pytest.mark.parametrize("plan", [["read", "write"], None, "read", {f"{n}": 1 for n in range(PLANNED + 1)}])
def test_plan_that_is_none_is_refused(reporter: Reporter, plan: Any) -> None:
    """A plan maps names to weights, a thousand at the most."""
    with pytest.raises(InvalidReport, match="A plan must"):
        progress.stages(plan)


def test_outside_of_a_task_stages_do_nothing() -> None:
    """The same function runs in a shell or a test, and what it counts in stages is counted nowhere."""
    progress.stages({"read": 1})
    with progress.stage("read", 0):
        assert list(progress.track("ab", initial=5)) == ["a", "b"]
    assert (NOBODY._whole.parts, NOBODY.current, NOBODY.changes) == ({}, 0, 0)


# --- Bounds ----------------------------------------------------------------------------------------------------


def test_stages_that_do_not_fit_are_left_out_from_afar(reporter: Reporter) -> None:
    """The running one is always there, with its neighbours; the snapshot says how many are missing."""
    progress.stages({f"stage no. {place}": 1 for place in range(40)})
    for place in range(40):
        with progress.stage(f"stage no. {place}"):
            told = shown(reporter)
            places = [int(stage["name"].split()[-1]) for stage in told["stages"]]
            assert place in places
            assert places == list(range(places[0], places[-1] + 1))
            assert len(places) + told["stages_left_out"] == 40
            assert len(snapshot.encode(told["stages"]).encode()) <= snapshot.STAGES_BYTES


def test_stages_around_the_running_one_are_not_left_out(reporter: Reporter) -> None:
    """Those far away give way first: a reader sees where the task is, from the outside in."""
    progress.stages({f"before {place}": 1 for place in range(5)})
    with progress.stage("outer"):
        progress.stages({f"inner {place}": 1 for place in range(20)})
        with progress.stage("inner 19"):
            told = [(stage["name"], stage["state"]) for stage in shown(reporter)["stages"]]
    assert told[0] == ("outer", "running")
    assert told[-1] == ("inner 19", "running")
    assert len(told) > 4


def test_any_number_of_stages_takes_bounded_memory(reporter: Reporter) -> None:
    """Of stages that nobody announced the oldest ended ones become sums, and still count."""
    progress.stages({"last": 100})
    for place in range(3 * REMEMBERED):
        with progress.stage(f"file {place}"):
            progress.advance()
    assert len(reporter._whole.parts) == REMEMBERED
    assert shown(reporter)["fraction"] == 300 / 400
    assert len(shown(reporter)["stages"]) + shown(reporter)["stages_left_out"] == 3 * REMEMBERED + 1


EVIL = st.text(max_size=300) | st.sampled_from(["\x00" * 500, '"\\' * 500, "\ud800" * 500, "\N{ROCKET}" * 500])


@settings(max_examples=200)
@given(
    names=st.lists(EVIL, min_size=1, max_size=12),
    message=EVIL,
    ids=st.integers(1, 200),
    meta=st.integers(0, 700),
    error=EVIL,
)
def test_snapshot_stays_below_4_kb_whatever_the_stages_are_called(
    names: list[str], message: str, ids: int, meta: int, error: str
) -> None:
    """Long ids, texts, meta and errors leave less room for stages, never more than 4 096 bytes to anybody."""
    key = "k" * ids
    options = Options(show_error=True, stall_after=1.0000000000000002)
    reporter = Reporter(
        Job(key, error * 9, "e", options, parent=key, root=key, worker=message * 9, max_retries=2**31)
    )
    reporter.stages(dict.fromkeys(names, 2 / 3))
    with contextlib.ExitStack() as inside:
        for name in names:
            inside.enter_context(reporter.stage(name))
            reporter.update(current=1e-300 / 3, total=1e300 / 3, message=message * 9, title=message * 9)
        reporter.update(unit=error, meta={"private": "m" * meta})
        reporter.error = type("É" * 300, (Exception,), {})(error * 9)
        now = 1795231457794222
        times = dict.fromkeys(("queued_at", "started_at", "updated_at", "finished_at"), now)
        parts = dict.fromkeys(("parts_known", "parts_ended", "parts_failed"), 10**6)
        texts = {**reporter.texts(State.FAILURE), "fraction": repr(1 / 3)}
        record = Record(seq=now, attempt=10**6, run=10**6, state="FAILURE", control="x", **times, **parts, **texts)
    for staff in (False, True):
        text = record.text(staff=staff)
        assert len(text.encode()) <= snapshot.SNAPSHOT_BYTES
        assert json.loads(text)["stall_after"] > 1


# --- Never backwards -------------------------------------------------------------------------------------------

STEPS = st.one_of(
    st.tuples(st.just("enter"), st.sampled_from("abc")),
    st.tuples(st.just("leave"), st.booleans()),
    st.tuples(st.just("advance"), st.integers(-2, 9)),
    st.tuples(st.just("total"), st.sampled_from([None, 5, 20])),
    st.tuples(st.just("plan"), st.dictionaries(st.sampled_from("abcd"), st.integers(1, 5))),
)


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=40))
def test_neither_a_stage_nor_the_whole_goes_back(steps: list[tuple[str, Any]]) -> None:
    """Whatever is entered, left, planned or counted in whatever order; and no share reaches 1."""
    reporter, open_stages = Reporter(JOB), []
    reached: dict[Any, float] = {}
    share = 0.0
    for step, value in steps:
        if step == "enter" and len(open_stages) < 4:
            open_stages.append(reporter.stage(value))
            open_stages[-1].__enter__()
        elif step == "leave" and open_stages:
            stage = open_stages.pop()
            if value:
                stage.__exit__(None, None, None)
            else:
                with contextlib.suppress(ValueError):
                    stage.__exit__(ValueError, ValueError(), None)
        elif step == "advance":
            reporter.advance(value)
        elif step == "total":
            reporter.update(total=value)
        elif step == "plan":
            reporter.stages(value)
        told = shown(reporter)
        place: list[str] = []
        # Where some are left out, one cannot tell what a deeper one is in.
        for stage in [] if "stages_left_out" in told else told.get("stages", []):
            place = [*place[: stage.get("depth", 0)], stage["name"]]
            assert stage["current"] >= reached.get(tuple(place), 0)
            reached[tuple(place)] = stage["current"]
        if told["fraction"] is not None:
            assert share <= told["fraction"] < 1
            share = told["fraction"]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 20)), min_size=1, max_size=8))
def test_whole_is_the_sum_of_its_stages_by_weight(plan: list[tuple[int, int]]) -> None:
    """Against a reckoning of its own, step by step."""
    reporter, done, everything = Reporter(JOB), 0.0, sum(weight for weight, _ in plan)
    reporter.stages({f"stage {place}": weight for place, (weight, _) in enumerate(plan)})
    for place, (weight, total) in enumerate(plan):
        with reporter.stage(f"stage {place}"):
            reporter.update(total=total)
            for step in range(1, total):
                reporter.advance()
                assert shown(reporter)["fraction"] == pytest.approx((done + weight * step / total) / everything)
        done += weight
        assert shown(reporter)["fraction"] == pytest.approx(min(done / everything, snapshot.ALMOST_DONE))
