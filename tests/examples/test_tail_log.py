"""Following a log with a real worker: lines arrive while they are written, and the folder is not left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from progress.control import cancel
from progress.store import get_store
from tests.processes import Site, wait_until
from tests.visitor import Visitor
from tests.watching import end_of, running, when


@pytest.fixture
def path(site: Site) -> Iterator[Path]:
    """A file in the site's folder for logs that does not exist yet."""
    folder = site.data / "log"
    folder.mkdir(exist_ok=True)
    found = folder / f"{uuid4().hex}.log"
    yield found
    found.unlink(missing_ok=True)


@pytest.fixture
def staff(site: Site) -> Visitor:
    return Visitor(site, site.user(staff=True))


def lines_of(task_id: str) -> list[str]:
    """The log of a task, without what it says of itself."""
    return [line["text"] for line in get_store().logs(task_id).lines if line["level"] != "NOTE"]


def shown(task_id: str, *lines: str) -> None:
    """Wait until these are the lines in the task's log."""
    wait_until(lambda: lines_of(task_id) == list(lines), 15, f"{lines} in the log")


def test_lines_are_streamed_until_somebody_cancels(site: Site, staff: Visitor, path: Path) -> None:
    """What is there, what is added, what comes in a new file of that name; then it stops at once."""
    path.write_text("1\n2\n3\n")
    task_id = staff.start("tail", file=path.name, minutes=5, last=2)
    running(task_id)
    shown(task_id, "2", "3")
    with path.open("a") as writer:
        writer.write("4\n")
        writer.flush()
        shown(task_id, "2", "3", "4")
        old = path.rename(path.with_suffix(".old"))
        writer.write("5\n")
    path.write_text("6\n")
    shown(task_id, "2", "3", "4", "5", "6")
    path.write_text("7\n")
    shown(task_id, "2", "3", "4", "5", "6", "7")
    old.unlink()
    cancel(task_id, "1")
    record = end_of(task_id, 5)
    assert (record.state, record.snapshot()["current"], record.snapshot()["total"]) == ("REVOKED", 6, None)


def test_a_file_that_comes_later_is_waited_for(site: Site, staff: Visitor, path: Path) -> None:
    """It says that it waits, and goes on by itself."""
    task_id = staff.start("tail", file=path.name, minutes=5, last=0)
    when(task_id, lambda record: record.snapshot()["message"] == "Waiting for the file", 10)
    path.write_text("first\n")
    shown(task_id, "first")
    cancel(task_id, "1")
    assert end_of(task_id).state == "REVOKED"


def test_a_link_out_of_the_folder_shows_nothing(site: Site, staff: Visitor, path: Path) -> None:
    """The worker refuses it, whatever the form let through."""
    path.symlink_to(site.data / "db.sqlite3")
    task_id = staff.start("tail", file=path.name, minutes=5, last=5)
    record = end_of(task_id)
    assert record.state == "FAILURE"
    assert "symbolic link" in record.snapshot()["error"]["message"]
    assert lines_of(task_id) == []


def test_the_job_is_not_there_for_other_users(site: Site, path: Path) -> None:
    """Logs tell of everybody: whoever is not staff finds no such job."""
    path.write_text("secret\n")
    visitor = Visitor(site, site.user())
    assert "/start/tail/" not in visitor.get("/").text
    answer = visitor.post("/start/tail/", once=uuid4(), file=path.name, minutes=1, last=5)
    assert answer.status == 404
    assert answer.body == visitor.post("/start/none/").body


def test_the_lines_are_for_whoever_follows(site: Site, staff: Visitor, path: Path) -> None:
    """Another user sees neither the run nor its lines."""
    path.write_text("secret\n")
    task_id = staff.start("tail", file=path.name, minutes=5, last=5)
    shown(task_id, "secret")
    stranger = Visitor(site, site.user())
    assert stranger.get(f"/runs/{task_id}/").status == 404
    assert stranger.get(f"/progress/{task_id}/").status == 404
    cancel(task_id, "1")
    end_of(task_id)
