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
    (row,) = rows.values()
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


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_row_does_not_depend_on_the_order_in_which_changes_come(order: tuple[int, ...]) -> None:
    """Several recorders share the stream, and one may be late."""
    assert shown(folded(*(LIFE[place] for place in order))) == shown(folded(*LIFE))


@given(places=st.lists(st.integers(0, 3), max_size=12))
def test_change_that_comes_again_changes_nothing(places: list[int]) -> None:
    """A recorder that died may have written what another is told again."""
    rows: Rows = {}
    folded(*LIFE, rows=rows)
    before = dict(shown(next(iter(rows.values()))))
    again = folded(*(LIFE[place] for place in places), *LIFE[:1], rows=rows)
    assert shown(again) == before


def test_run_of_a_task_id_that_is_used_again_has_a_row_of_its_own() -> None:
    """What happened last night stays when "nightly-report" runs tonight."""
    rows: Rows = {}
    for record in (*LIFE, replace(QUEUED, seq=START + 100, run=2)):
        fold(rows, Change("1-0", "t", record, ""))
    assert {(row.run, row.state) for row in rows.values()} == {(1, "REVOKED"), (2, "PENDING")}


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
