"""Chains, chords, groups and children: each part is known from the start, and none waits for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group

import progress
from progress.record import Record
from progress.store import get_store
from tests import jobs
from tests.processes import Site
from tests.watching import History, end_of, record_of, running, send, when


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The file for which `hold` waits."""
    return tmp_path / "gate"


def known(task_id: str) -> Record:
    """The record of a task, which must be there now."""
    record = record_of(task_id)
    assert record is not None, f"{task_id} is unknown"
    return record


def ids_of(result: Any) -> list[str]:
    """The ids of a chain's steps, the first one first."""
    ids = []
    while result is not None:
        ids.insert(0, str(result.id))
        result = result.parent
    return ids


# --- Chains --------------------------------------------------------------------------------------------------


def test_every_step_of_a_chain_is_known_at_once(site: Site, gate: Path) -> None:
    """So is the id that `delay()` returns, which Celery publishes only when its turn comes."""
    with progress.owner("7"):
        first, second, last = ids_of(chain(jobs.hold.s(str(gate)), jobs.quick.si(), jobs.count.si(2)).delay())
    records = [known(task_id) for task_id in (first, second, last)]
    assert [record.state for record in records[1:]] == ["PENDING", "PENDING"]
    assert [record.snapshot()["waits_for"] for record in records] == [None, first, second]
    assert [record.snapshot()["title"] for record in records][2] == "Count 2"
    assert {record.owner for record in records} == {"7"}
    assert {record.tree for record in records} == {first}
    assert get_store().mine("7")[:3] == [last, second, first]
    gate.touch()
    assert [end_of(task_id).state for task_id in (first, second, last)] == ["SUCCESS"] * 3
    assert [(end_of(task_id).run, end_of(task_id).attempt) for task_id in (second, last)] == [(1, 1), (1, 1)]
    assert end_of(last).snapshot()["waits_for"] is None
    assert {end_of(task_id).owner for task_id in (second, last)} == {"7"}


def test_steps_after_a_failure_end_failed(site: Site, tmp_path: Path) -> None:
    """They will never run, and say so; Celery tells only its backend."""
    later = tmp_path / "later"
    with History(site.redis) as history:
        ids = ids_of(chain(jobs.fails.si(), jobs.quick.si(), jobs.touches.si(str(later))).delay())
        records = [end_of(task_id) for task_id in ids]
        assert [history.ends(task_id) for task_id in ids] == [["FAILURE"]] * 3
    assert [record.attempt for record in records] == [1, 0, 0]
    told = records[2].snapshot(staff=True)["error"]
    assert told == {"type": "StepBefore", "message": "A step before this one failed."}
    assert records[2].snapshot()["error"] == {"type": "error"}
    assert not later.exists()


@pytest.mark.parametrize("first", [jobs.ignores, jobs.rejects])
def test_steps_after_one_that_has_no_result_end_ignored(site: Site, first: Any) -> None:
    """An ignored or rejected step passes nothing on; the rest of the chain never runs."""
    ids = ids_of(chain(first.si(), jobs.quick.si()).delay())
    assert end_of(ids[1]).ended
    assert end_of(ids[1]).attempt == 0


def test_steps_after_a_killed_child_end_too(site: Site) -> None:
    """The main process's verdict covers what waited for the task."""
    ids = ids_of(chain(jobs.dies.si(), jobs.quick.si()).delay())
    assert [end_of(task_id, 15).state for task_id in ids] == ["FAILURE", "FAILURE"]


def test_steps_wait_through_a_retry(site: Site) -> None:
    """A retry of the first step is no end of the others, and declares them no second time."""
    with History(site.redis) as history:
        ids = ids_of(chain(jobs.retries.si(times=1, countdown=0.3), jobs.quick.si()).delay())
        assert end_of(ids[1]).state == "SUCCESS"
        assert history.ends(ids[1]) == ["SUCCESS"]
    assert (end_of(ids[0]).attempt, end_of(ids[1]).run) == (2, 1)


# --- Chords and groups -----------------------------------------------------------------------------------------


def test_body_of_a_chord_is_known_at_once_and_waits(site: Site, gate: Path) -> None:
    """Its id, which the chord returns, is "waiting" until every part is done."""
    with progress.owner("7"):
        result = chord([jobs.hold.si(str(gate)), jobs.quick.si(1)])(jobs.adds.si(1, 2))
    body, parts = result.id, [part.id for part in result.parent.children]
    del result
    record = known(body)
    assert (record.state, record.owner, record.waits in parts) == ("PENDING", "7", True)
    trees = {known(part).tree for part in parts}
    assert len(trees) == 1, "the parts of one chord are one tree"
    assert record.tree in trees
    gate.touch()
    record = end_of(body)
    assert (record.state, record.attempt, record.run) == ("SUCCESS", 1, 1)


def test_body_of_a_chord_with_a_failed_part_ends_failed(site: Site) -> None:
    """It will never run."""
    result = chord([jobs.fails.si(), jobs.quick.si()])(jobs.adds.s())
    body = result.id
    del result
    record = end_of(body)
    assert (record.state, record.attempt) == ("FAILURE", 0)


def test_body_ends_when_a_chain_among_the_parts_fails(site: Site) -> None:
    """The body travels with the last step of that chain, which will never be sent."""
    with History(site.redis) as history:
        result = chord([chain(jobs.fails.si(), jobs.quick.si()), jobs.quick.si()])(jobs.adds.s())
        body = result.id
        del result
        assert end_of(body).state == "FAILURE"
        assert history.ends(body) == ["FAILURE"]


def test_chord_within_a_chain_is_known_at_once(site: Site, gate: Path) -> None:
    """A group followed by a step becomes a chord inside the message; the id it returns is known all the same."""
    result = chain(jobs.hold.si(str(gate)), group(jobs.quick.si(1), jobs.quick.si(2)), jobs.adds.s()).delay()
    last, first = result.id, ids_of(result)[0]
    del result
    record = known(last)
    assert (record.state, bool(record.waits)) == ("PENDING", True)
    running(first)
    gate.touch()
    assert end_of(last).state == "SUCCESS"
    assert end_of(last).run == 1


def test_chord_within_a_chain_ends_when_the_first_step_fails(site: Site) -> None:
    """Neither its parts nor its body wait for ever."""
    result = chain(jobs.fails.si(), group(jobs.quick.si(1), jobs.quick.si(2)), jobs.adds.s()).delay()
    last = result.id
    del result
    record = end_of(last)
    assert (record.state, record.attempt) == ("FAILURE", 0)


def test_parts_of_a_group_are_one_tree(site: Site) -> None:
    """Each has a root of its own to Celery; what belongs together has the group's id here."""
    result = group(jobs.quick.si(1), jobs.quick.si(2)).delay()
    ids, group_id = [part.id for part in result.children], result.id
    del result
    assert {end_of(task_id).tree for task_id in ids} == {progress.key(group_id)}


# --- Children --------------------------------------------------------------------------------------------------


def test_child_inherits_owner_and_tree(site: Site) -> None:
    """What a task sends belongs to whom the task belongs, and hangs below it."""
    with progress.owner("7"):
        parent = send(jobs.sends_a_child)
    end_of(parent)
    child = end_of(next(name for name in get_store().mine("7") if name != parent))
    assert (child.owner, child.tree) == ("7", parent)
    assert child.snapshot()["parent"] == child.snapshot()["root"] == parent


def test_owner_of_the_retry_is_that_of_the_task(site: Site) -> None:
    """Headers survive the way back through the queue."""
    with progress.owner("7"):
        task_id = send(jobs.retries, times=1, countdown=0)
    record = end_of(task_id)
    assert (record.attempt, record.owner, record.tree) == (2, "7", task_id)


def test_nobody_is_an_owner_too(site: Site) -> None:
    """A task that no request sent belongs to nobody, unless the site says otherwise."""
    assert end_of(send(jobs.quick)).owner == ""
    with progress.owner(None):
        assert end_of(send(jobs.quick)).owner == ""


def test_queued_task_is_told_from_one_that_does_not_exist(site: Site) -> None:
    """The record is there before `delay()` returns."""
    task_id = send(jobs.quick, options={"countdown": 0.5})
    record = known(task_id)
    assert (record.state, record.attempt, record.started_at) == ("PENDING", 0, 0)
    assert record.snapshot()["scheduled_for"] is not None
    assert record_of("no such task") is None
    assert when(task_id, lambda found: found.ended).snapshot()["scheduled_for"] is None
