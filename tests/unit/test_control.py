"""What becomes of a request to cancel or to end by force, before anybody is told anything."""

from __future__ import annotations

from itertools import product

import pytest

from progress import control, revoking
from progress.control import CANCEL, ENDED, NAMELESS, NOT_ALLOWED, NOT_FOUND, TERMINATE, UNABLE, UNCANCELLABLE
from progress.record import Record
from progress.revoking import Told
from progress.snapshot import FINAL, LIVE, State

OWNER, STAFF = frozenset({"watch", "cancel"}), frozenset({"watch", "cancel", "terminate"})
RUNNING = Record(state=State.PROGRESS, control="1", terminable=1)


@pytest.mark.parametrize("terminate", [False, True])
@pytest.mark.parametrize(
    ("record", "may", "decision"),
    [
        (None, frozenset(), NOT_FOUND),
        (RUNNING, frozenset(), NOT_FOUND),
        (RUNNING, frozenset({"watch"}), NOT_ALLOWED),
        (Record(state=State.PROGRESS, body='"cancellable":false'), frozenset({"watch"}), UNCANCELLABLE),
        (Record(state=State.SUCCESS, control="1", terminable=1), STAFF, ENDED),
        (Record(state=State.PROGRESS, terminable=1), STAFF, CANCEL),
    ],
)
def test_what_no_second_request_changes(
    record: Record | None, may: frozenset[str], decision: control.Decision, terminate: bool
) -> None:
    """Rights come first, then the task's own word, then its state; the first request is one to cancel."""
    assert control.decide(record, may, terminate=terminate) is decision


def test_force_is_for_those_who_may_only() -> None:
    """An owner may ask as often as they like, and never by force, not even the first time."""
    for asked in ("", "1"):
        record = Record(state=State.PROGRESS, control=asked, terminable=1)
        assert control.decide(record, OWNER, terminate=True) is NOT_ALLOWED
        assert control.decide(record, OWNER, terminate=False) is CANCEL


@pytest.mark.parametrize(("state", "terminable"), list(product(set(State) - FINAL, [0, 1])))
def test_force_is_for_what_runs_where_the_pool_can(state: State, terminable: int) -> None:
    """What waits has no body to be ended; what runs where nobody can end it is refused with the reason."""
    record = Record(state=state, control="1", terminable=terminable)
    wanted = (TERMINATE if terminable else UNABLE) if state in LIVE else CANCEL
    assert control.decide(record, STAFF, terminate=True) is wanted


def test_a_hashed_id_cannot_be_ended_by_its_key() -> None:
    """Celery knows the id only, and a hash does not tell it; nothing is sent."""
    assert control.carry_out(TERMINATE, "~" + "0" * 64, RUNNING, "7") is NAMELESS


@pytest.mark.parametrize(
    ("replies", "told"),
    [
        ([], Told.SILENT),
        ([{"a": {"ok": "terminate: 6f1c"}}], Told.DONE),
        ([{"a": {"ok": "terminate: tasks unknown"}}, {"b": {"ok": "terminate: 6f1c"}}], Told.DONE),
        ([{"a": {"ok": "terminate: tasks unknown"}}], Told.UNKNOWN),
        ([{"a": {"error": "NotImplementedError()"}}], Told.UNABLE),
        ([{"a": {"ok": "tasks {'6f1c'} flagged as revoked"}}], Told.UNKNOWN),
    ],
)
def test_what_workers_answer_is_understood(replies: list[dict[str, dict[str, str]]], told: Told) -> None:
    """One that has ended it counts, whatever the others say; no answer is no success."""
    assert revoking._told_by(replies) is told
