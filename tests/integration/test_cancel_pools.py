"""Cancelling in every pool: what the body noted against what was shown. `docs/cancelling.md` has the table."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import current_app

from progress import control, revoking
from progress.control import CANCEL, GONE, TERMINATE, UNABLE, Decision, carry_out, decide
from progress.words import state_words
from tests import jobs
from tests.complaints import complaints
from tests.integration.test_pools import PoolSite
from tests.processes import ROOT, in_this_process, is_running, wait_until
from tests.watching import History, end_of, record_of, running, send, when

STAFF = frozenset({"watch", "cancel", "terminate"})


@dataclass(frozen=True)
class Cell:
    """What comes of a way to cancel in a pool: does it end the task, and what the person is told."""

    ends: bool
    told: Decision


# Pool → way to cancel → what comes of it. The tests below try each cell, the last one holds the page against it.
WAYS = ("cooperative", "terminate", "queued", "between attempts")
MATRIX = {
    pool: {
        "cooperative": Cell(True, CANCEL),
        "terminate": Cell(True, TERMINATE) if pool in ("prefork", "gevent") else Cell(False, UNABLE),
        "queued": Cell(True, CANCEL),
        "between attempts": Cell(True, CANCEL),
    }
    for pool in ("prefork", "threads", "solo", "gevent")
}


@pytest.fixture(scope="module", params=MATRIX)
def running_pool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PoolSite]:
    """A worker with this pool, for the whole module. What it wrote in all that time is looked at when it has left."""
    own = PoolSite(tmp_path_factory.mktemp(request.param) / "site", request.param)
    try:
        yield own.start()
        own.worker.stop()
        assert complaints(own.worker.output()) == []
    finally:
        own.stop()


@pytest.fixture
def pool(running_pool: PoolSite, settings: Any) -> Iterator[PoolSite]:
    """The worker with this pool; this process uses its Redis, prefix and queue."""
    with in_this_process(settings, running_pool.redis.url, running_pool.prefix):
        yield running_pool


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker answers is tried here, not how soon."""
    monkeypatch.setattr(revoking, "TIME_LIMIT", 15.0)
    monkeypatch.setattr(revoking, "ANSWER_WITHIN", 10.0)


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Path]:
    """The file in which a body notes what it goes through; whatever still works is released in the end."""
    path = tmp_path / "notes"
    yield path
    Path(f"{path}.release").touch()


def noted(path: Path) -> list[tuple[str, int]]:
    """What the body has noted: a word and a time (µs)."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(word, int(at)) for word, at in (line.split() for line in lines if line.count(" ") == 1)]


def words_of(path: Path) -> list[str]:
    return [word for word, _ in noted(path)]


def ask(task_id: str, *, terminate: bool = False) -> Decision:
    """What staff are told who ask that the task be cancelled."""
    record = record_of(task_id)
    return carry_out(decide(record, STAFF, terminate=terminate), task_id, record, "7")


def said_cancelled_at(history: History, task_id: str) -> int:
    """When it was first shown as cancelled (µs), which happened once and was the end."""
    assert history.ends(task_id) == ["REVOKED"]
    (end,) = [change for change in history.changes(task_id) if change.get("state") == "REVOKED"]
    return int(end["updated_at"])


def began(notes: Path, task_id: str) -> None:
    """Wait until the body itself says that it runs. A record says so earlier; a wish that comes then stops none."""
    wait_until(lambda: "start" in words_of(notes), 10, "the body has begun")
    running(task_id)


def replace_child(task_id: str) -> None:
    """Kill the process that ran the task: it has swallowed its one SIGTERM, the next would kill it on the spot."""
    record = record_of(task_id)
    assert record is not None
    pid = int(record.process.split("-")[0])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid), 10, "the process is gone")


# --- The cells ---------------------------------------------------------------------------------------------


def test_cooperative_is_shown_as_cancelled_when_the_body_has_stopped(pool: PoolSite, notes: Path) -> None:
    """The next report raises, the body tidies up, and only then is it called cancelled."""
    cell = MATRIX[pool.worker.pool]["cooperative"]
    with History(pool.redis) as history:
        task_id = send(jobs.works, str(notes))
        began(notes, task_id)
        assert ask(task_id) is cell.told
        assert end_of(task_id).state == "REVOKED"
        assert words_of(notes) == ["start", "hit", "stop"]
        assert said_cancelled_at(history, task_id) > noted(notes)[-1][1]


def test_terminate_ends_a_silent_body_where_the_pool_can_and_says_why_where_it_cannot(
    pool: PoolSite, notes: Path
) -> None:
    """A first request never kills; a second one does, and waits for the tidying up before it says so."""
    cell = MATRIX[pool.worker.pool]["terminate"]
    with History(pool.redis) as history:
        task_id = send(jobs.works, str(notes), reports=False)
        began(notes, task_id)
        assert ask(task_id, terminate=True) is CANCEL
        assert ask(task_id, terminate=True) is cell.told
        if cell.ends:
            record = end_of(task_id)
            assert record.state == "REVOKED"
            assert words_of(notes) == ["start", "hit", "stop"]
            assert said_cancelled_at(history, task_id) > noted(notes)[-1][1]
            assert "error" not in record.snapshot()
            assert record.snapshot(staff=True)["error"]["type"] == "Terminated"
        else:
            record = record_of(task_id)
            assert record is not None
            assert state_words(record.snapshot()) == "cancelling…"
            Path(f"{notes}.release").touch()
            assert end_of(task_id).state == "SUCCESS"
            assert words_of(notes) == ["start", "stop"]
            assert history.ends(task_id) == ["SUCCESS"]


def test_queued_task_that_is_cancelled_never_starts(pool: PoolSite, notes: Path) -> None:
    """It waits until a worker comes by, and reads so; no body runs."""
    with History(pool.redis) as history:
        task_id = send(jobs.works, str(notes), options={"countdown": 0.7})
        assert ask(task_id) is MATRIX[pool.worker.pool]["queued"].told
        record = record_of(task_id)
        assert record is not None
        assert state_words(record.snapshot()) == "cancelling, it will not start"
        assert ask(task_id, terminate=True) is CANCEL  # there is nothing to end by force
        assert end_of(task_id).state == "REVOKED"
        assert history.ends(task_id) == ["REVOKED"]
    assert not notes.exists()


def test_task_that_is_cancelled_between_two_attempts_does_not_start_again(pool: PoolSite, notes: Path) -> None:
    """The wish outlives the attempt; the message that comes when the countdown is over runs no body."""
    with History(pool.redis) as history:
        task_id = send(jobs.works_again, str(notes))
        when(task_id, lambda found: found.state == "RETRY")
        assert ask(task_id) is MATRIX[pool.worker.pool]["between attempts"].told
        record = record_of(task_id)
        assert record is not None
        assert state_words(record.snapshot()) == "cancelling, it will not start again"
        assert end_of(task_id).state == "REVOKED"
        assert said_cancelled_at(history, task_id) > noted(notes)[-1][1]
    assert words_of(notes) == ["start", "stop"]


# --- Bodies that do not stop -------------------------------------------------------------------------------


def test_body_that_swallows_what_stops_it_is_never_called_cancelled(pool: PoolSite, notes: Path) -> None:
    """It is *cancelling* for as long as it runs, and ends as it ends."""
    with History(pool.redis) as history:
        task_id = send(jobs.works, str(notes), stubborn=True)
        began(notes, task_id)
        assert ask(task_id) is CANCEL
        wait_until(lambda: "hit" in words_of(notes), 5, "it was hit")
        Path(f"{notes}.release").touch()
        assert end_of(task_id).state == "SUCCESS"
        assert history.ends(task_id) == ["SUCCESS"]


def test_body_that_takes_no_notice_of_force_is_never_called_cancelled(pool: PoolSite, notes: Path) -> None:
    """Celery says "revoked" once the signal is sent. The record waits for the body, and the next step starts."""
    later = Path(f"{notes}.later")
    able = MATRIX[pool.worker.pool]["terminate"].ends
    with History(pool.redis) as history:
        signature = jobs.works.si(str(notes), reports=False, stubborn=True) | jobs.touches.si(str(later))
        last = signature.apply_async()
        task_id, later_id = last.parent.id, last.id
        del last
        began(notes, task_id)
        assert ask(task_id) is CANCEL
        assert ask(task_id, terminate=True) is (TERMINATE if able else UNABLE)
        if able:
            wait_until(lambda: "hit" in words_of(notes), 5, "it was hit")
            assert ask(task_id, terminate=True) is GONE
        Path(f"{notes}.release").touch()
        assert end_of(task_id).state == "SUCCESS"
        assert end_of(later_id).state == "SUCCESS"
        assert later.exists()
        assert history.ends(task_id) == ["SUCCESS"]
        assert history.ends(later_id) == ["SUCCESS"]
    if pool.worker.pool == "prefork":
        replace_child(task_id)


def test_thread_that_a_cancelled_body_leaves_behind_stops_at_its_next_step(pool: PoolSite, notes: Path) -> None:
    """The body is what is waited for; what it leaves behind is stopped by its own next report."""
    task_id = send(jobs.leaves_a_thread, str(notes))
    began(notes, task_id)
    assert ask(task_id) is CANCEL
    assert end_of(task_id).state == "REVOKED"
    wait_until(lambda: words_of(notes)[-1:] == ["stop"], 5, "the thread has stopped")


# --- Celery's own revoke -----------------------------------------------------------------------------------


def test_later_steps_of_a_terminated_chain_end_too(pool: PoolSite, notes: Path) -> None:
    """By Celery's own `revoke(terminate=True)`; where the pool cannot, nothing is said to have ended."""
    later = Path(f"{notes}.later")
    last = (jobs.works.si(str(notes), reports=False) | jobs.touches.si(str(later))).apply_async()
    task_id, later_id = last.parent.id, last.id
    del last
    began(notes, task_id)
    current_app.control.revoke(task_id, terminate=True)
    if MATRIX[pool.worker.pool]["terminate"].ends:
        assert {end_of(each).state for each in (task_id, later_id)} == {"REVOKED"}
        assert not later.exists()
        assert words_of(notes) == ["start", "hit", "stop"]
    else:
        Path(f"{notes}.release").touch()
        assert {end_of(each).state for each in (task_id, later_id)} == {"SUCCESS"}


# --- The page ----------------------------------------------------------------------------------------------


def test_the_page_has_the_table_of_the_tests() -> None:
    """docs/cancelling.md: each pool and way with "yes" or "no", and each sentence of a refusal as it is sent."""
    page = (ROOT / "docs/cancelling.md").read_text()
    rows = re.findall(r"^\| (prefork|threads|solo|gevent) \| (.+) \|$", page, re.MULTILINE)
    listed = {pool: [cell.split(":")[0].strip("* ") for cell in cells.split(" | ")] for pool, cells in rows}
    assert listed == {pool: ["yes" if cells[way].ends else "no" for way in WAYS] for pool, cells in MATRIX.items()}
    text = " ".join(page.split())
    refusals = {name: value for name, value in vars(control).items() if isinstance(value, Decision) and value.detail}
    assert refusals
    assert {name for name, refusal in refusals.items() if refusal.detail not in text} == set()
