"""From changes of a run to its row: in any order, as often as they come."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from progress.history import MAX_STATES, Rows, fold
from progress.models import CANCELLING
from progress.record import Record
from progress.snapshot import encode
from progress.store import Change

START = 1_700_000_000_000_000  # µs
QUEUED = Record(
    seq=START,
    state="PENDING",
    owner="7",
    queued_at=START,
    updated_at=START,
    queue="celery",
    tree="t",
    body='"id":"t","name":"shop.report","title":"Report for May"',
    staff='"worker":""',
)
STARTED = replace(QUEUED, seq=START + 10, state="STARTED", attempt=1, started_at=START + 9, updated_at=START + 10)
ASKED = replace(STARTED, seq=START + 20, control="8", updated_at=START + 20)
ENDED = replace(
    ASKED,
    seq=START + 30,
    state="REVOKED",
    finished_at=START + 30,
    updated_at=START + 30,
    staff='"worker":"w@host"',
)
LIFE = [QUEUED, STARTED, ASKED, ENDED]


def folded(*records: Record, arguments: str = "", rows: Rows | None = None) -> Any:
    rows = {} if rows is None else rows
    for record in records:
        fold(rows, Change("1-0", "t", record, arguments))
    ((row,),) = rows.values()
    return row


def shown(row: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if name != "_state"}


def test_row_says_what_became_of_the_run() -> None:
    """Who, what, when, and how it went, in the words of the record."""
    row = folded(*LIFE)
    assert (row.task_id, row.run, row.name, row.title) == ("t", 1, "shop.report", "Report for May")
    assert (row.owner, row.cancelled_by, row.worker, row.queue, row.tree) == ("7", "8", "w@host", "celery", "t")
    assert (row.state, row.attempt, row.final) == ("REVOKED", 1, True)
    assert [step.state for step in row.timeline] == ["PENDING", "STARTED", CANCELLING, "REVOKED"]
    assert (row.finished_at - row.queued_at).microseconds == 30
    assert row.snapshot()["state"] == "REVOKED"
    assert "worker" not in row.snapshot()
    assert row.snapshot(staff=True)["worker"] == "w@host"


def test_run_that_is_tried_again_was_not_sent_by_itself() -> None:
    """Celery says so of whoever tries again; who sent it first is who sent it."""

    def told(parent: str) -> Record:
        return replace(LIFE[0], body=encode({"id": "t", "name": "shop.report", "parent": parent})[1:-1])

    assert folded(told("t")).parent == ""
    assert folded(told("p"), replace(told("t"), seq=LIFE[-1].seq + 1)).parent == "p"


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_row_does_not_depend_on_the_order_in_which_changes_come(order: tuple[int, ...]) -> None:
    """Several recorders share the stream, and one may be late."""
    assert shown(folded(*(LIFE[place] for place in order))) == shown(folded(*LIFE))


@given(places=st.lists(st.integers(0, 3), max_size=12))
def test_change_that_comes_again_changes_nothing(places: list[int]) -> None:
    """A recorder that died may have written what another is told again."""
    rows: Rows = {}
    folded(*LIFE, rows=rows)
    before = dict(shown(rows["t"][0]))
    again = folded(*(LIFE[place] for place in places), *LIFE[:1], rows=rows)
    assert shown(again) == before


def test_run_of_a_task_id_that_is_used_again_has_a_row_of_its_own() -> None:
    """What happened last night stays when "nightly-report" runs tonight."""
    rows: Rows = {}
    for record in (*LIFE, replace(QUEUED, seq=START + 100, run=2)):
        fold(rows, Change("1-0", "t", record, ""))
    assert [(row.run, row.state) for row in rows["t"]] == [(1, "REVOKED"), (2, "PENDING")]


def test_run_after_redis_has_forgotten_the_one_before_has_a_row_of_its_own() -> None:
    """Redis counts from 1 again. Late changes of the run before still find their own row."""
    rows: Rows = {}
    again = [replace(record, seq=record.seq + 500, queued_at=START + 500, run=1) for record in (QUEUED, STARTED)]
    again[1] = replace(again[1], started_at=START + 509)
    for record in (*LIFE, *again, STARTED, replace(QUEUED, seq=START + 900, queued_at=START + 900)):
        fold(rows, Change("1-0", "t", record, ""))
    assert [(row.run, row.state) for row in rows["t"]] == [(1, "REVOKED"), (2, "PENDING")]


def test_run_after_one_that_ended_is_another_however_often() -> None:
    """Night after night, with Redis counting from 1 each time."""
    rows: Rows = {}
    for night in range(3):
        for record in LIFE:
            later = {name: getattr(record, name) + 1000 * night for name in ("seq", "queued_at", "updated_at")}
            ended = record.finished_at + 1000 * night if record.finished_at else 0
            fold(rows, Change("1-0", "t", replace(record, **later, finished_at=ended), ""))
    assert [(row.run, row.state) for row in rows["t"]] == [(1, "REVOKED"), (2, "REVOKED"), (3, "REVOKED")]


def test_step_that_waited_is_one_run() -> None:
    """It is queued when its workflow is declared, and again when it is sent."""
    rows: Rows = {}
    declared, sent = replace(QUEUED, waits="before"), replace(QUEUED, seq=START + 50, queued_at=START + 50)
    for record in (declared, sent, replace(STARTED, seq=START + 60, queued_at=START + 50), declared):
        fold(rows, Change("1-0", "t", record, ""))
    assert [(row.run, row.state) for row in rows["t"]] == [(1, "STARTED")]


def test_each_end_is_told_as_it_was() -> None:
    """A failure that was tried again within one batch is told as a failure of the first attempt."""
    rows: Rows = {}
    failed = replace(STARTED, seq=START + 40, state="FAILURE", finished_at=START + 40, updated_at=START + 40)
    tried = replace(failed, seq=START + 50, state="STARTED", attempt=2, finished_at=0)
    done = replace(tried, seq=START + 60, state="SUCCESS", finished_at=START + 60)
    folded = [fold(rows, Change("1-0", "t", record, "")) for record in (STARTED, failed, tried, done)]
    ended = [each.ended for each in folded if each is not None and each.ended is not None]
    assert [(row.state, row.attempt) for row in ended] == [("FAILURE", 1), ("SUCCESS", 2)]
    assert rows["t"][0].state == "SUCCESS"


def test_arguments_stay_when_later_changes_do_not_repeat_them() -> None:
    """They are told once, with the sending."""
    rows: Rows = {}
    folded(QUEUED, arguments='{"given":{"month":5},"hidden":[],"left_out":[]}', rows=rows)
    assert folded(STARTED, rows=rows).arguments == {"given": {"month": 5}, "hidden": [], "left_out": []}


def test_task_that_is_tried_for_ever_keeps_a_bounded_list_of_states() -> None:
    """The beginning and the newest stay."""
    tries = [
        replace(STARTED, seq=START + number, attempt=number, updated_at=START + number) for number in range(1, 300)
    ]
    states = folded(QUEUED, *tries).states
    assert len(states) == MAX_STATES
    assert (states[0][2], states[-1][3]) == ("PENDING", 299)


@pytest.mark.parametrize("record", [Record(state=""), Record(seq=5, state="DANCING"), Record(state="STARTED")])
def test_what_is_no_change_of_ours_is_left_alone(record: Record) -> None:
    """Anybody who reaches Redis can write into the stream."""
    rows: Rows = {}
    assert fold(rows, Change("1-0", "t", record, "")) is None
    assert rows == {}
