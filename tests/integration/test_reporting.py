"""What a task says in stages and by its logger, from a real prefork worker, as the store tells it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from progress import key
from progress.record import Record
from progress.store import Write, get_store
from tests import jobs
from tests.processes import Site, wait_until
from tests.watching import end_of, look_at, send, when

pytestmark = pytest.mark.usefixtures("site")


def writing(record: Record) -> bool:
    """True while the second stage waits."""
    stages = record.snapshot().get("stages", [])
    return [stage["state"] for stage in stages] == ["done", "running"] and stages[1]["current"] == 1


def stages(record: Record) -> list[Any]:
    return [(stage["name"], stage["current"], stage["state"]) for stage in record.snapshot()["stages"]]


def lines(task_id: str) -> list[tuple[str, str]]:
    return [(line["level"], line["text"]) for line in get_store().logs(key(task_id)).lines]


def test_stages_travel_with_the_snapshot(tmp_path: Path) -> None:
    """While it runs the whole is their weighted sum; at success it is 1, and what each has counted stays."""
    gate = tmp_path / "gate"
    task_id = send(jobs.has_stages, str(gate))
    look_at(task_id)
    snapshot = when(task_id, writing).snapshot()
    told = {name: snapshot[name] for name in ("fraction", "current", "total", "unit", "stall_after")}
    assert told == {"fraction": 0.875, "current": 1, "total": 2, "unit": "", "stall_after": 30}
    gate.touch()
    record = end_of(task_id)
    assert record.snapshot()["fraction"] == 1
    assert stages(record) == [("read", 4, "done"), ("write", 1, "done")]


def test_stage_in_which_a_task_fails_is_shown_as_failed(tmp_path: Path) -> None:
    """The fraction stays where it was."""
    gate = tmp_path / "gate"
    gate.touch()
    record = end_of(send(jobs.has_stages, str(gate), fails=True))
    assert (record.state, record.snapshot()["fraction"]) == ("FAILURE", 0.875)
    assert stages(record) == [("read", 4, "done"), ("write", 1, "failed")]


def test_stage_in_which_a_task_is_cancelled_is_left_like_any_other(tmp_path: Path) -> None:
    """The wish reaches the body inside a stage, and the stage has not been finished."""
    task_id = send(jobs.has_stages, str(tmp_path / "never"))
    look_at(task_id)
    when(task_id, writing)
    get_store().write(Write("cancel", key(task_id), {"by": "somebody"}))
    record = end_of(task_id)
    assert record.state == "REVOKED"
    assert stages(record) == [("read", 4, "done"), ("write", 1, "failed")]


def test_logger_of_a_task_is_heard_and_goes_on_speaking(site: Site, tmp_path: Path) -> None:
    """What it says is in the task's log, once, and still in the worker's; other loggers are in the worker's only."""
    gate = tmp_path / "gate"
    gate.touch()
    before = site.worker.output()
    task_id = send(jobs.has_stages, str(gate))
    end_of(task_id)
    wait_until(lambda: lines(task_id), 10, "the line is stored")
    assert lines(task_id) == [("INFO", "Reading rows")]
    wait_until(lambda: "of no account" in site.worker.output()[len(before) :], 10, "the worker has logged it")
    assert site.worker.output()[len(before) :].count("Reading rows") == 1
