"""Exports with a real worker and a real server: the file, who gets it, and what a cancel or a kill leaves."""

from __future__ import annotations

import csv
import gzip
import io
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from progress.control import cancel
from tests.processes import Site, wait_until
from tests.visitor import Visitor
from tests.watching import end_of, running, when


def files(site: Site) -> list[Path]:
    """Everything in the private folder."""
    return [path for path in (site.data / "private").rglob("*") if path.is_file()]


def file_of(page: str) -> str:
    """The address of the file that a run's page links."""
    return page.partition('class="button" href="')[2].partition('"')[0]


def test_an_export_is_written_by_the_worker_and_downloaded_by_its_owner(site: Site) -> None:
    """From the form to the file, byte by byte what was made up; linked on the run's page and in the history."""
    visitor = Visitor(site, site.user())
    task_id = visitor.start("export", at_least=3000, compressed="on")
    record = end_of(task_id, 20)
    assert (record.state, record.snapshot()["result"]) == ("SUCCESS", "3,000 orders exported.")
    address = file_of(visitor.get(f"/runs/{task_id}/").text)
    assert address in visitor.get("/exports/").text
    answer = visitor.get(address)
    assert answer.status == 200
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="orders-')
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(answer.body).decode("utf-8-sig"), newline="")))
    assert [int(row["number"]) for row in rows] == list(range(1, 3001))


def test_another_user_cannot_tell_an_export_from_one_that_never_was(site: Site) -> None:
    """Neither by its file nor by its run; and no address serves the folder itself."""
    owner = Visitor(site, site.user())
    task_id = owner.start("export", at_least=10)
    end_of(task_id, 20)
    address = file_of(owner.get(f"/runs/{task_id}/").text)
    stranger = Visitor(site, site.user(superuser=True))
    foreign, unknown = stranger.get(address), stranger.get("/exports/999999/file")
    assert (foreign.status, unknown.status) == (404, 404)
    assert foreign.body == unknown.body
    name = next(path for path in files(site)).name
    for guess in (
        f"/private/exports/{name}",
        f"/media/exports/{name}",
        f"/static/exports/{name}",
        f"/exports/{name}",
    ):
        assert owner.get(guess).status == 404


def test_a_large_file_is_served_in_pieces(own_site: Site) -> None:
    """The web process does not grow by the size of the file that it sends.

    Daphne asks nobody whether the reader keeps up, so it grows by what a slow one has not taken yet.
    """
    visitor = Visitor(own_site, own_site.user())
    task_id = visitor.start("export", at_least=10)
    end_of(task_id, 20)
    address = file_of(visitor.get(f"/runs/{task_id}/").text)
    (path,) = files(own_site)
    visitor.get(address)
    before = _resident_kb(own_site.web.pid)
    size = 150_000_000
    with path.open("r+b") as file:
        file.truncate(size)
    _set_size(own_site, size)
    answer = visitor.get(address)
    assert len(answer.body) == size
    assert _resident_kb(own_site.web.pid, peak=True) - before < 100_000


def _resident_kb(pid: int, *, peak: bool = False) -> int:
    name = "VmHWM" if peak else "VmRSS"
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def _set_size(site: Site, size: int) -> None:
    with closing(sqlite3.connect(site.data / "db.sqlite3", timeout=20)) as database, database:
        database.execute("UPDATE tasks_export SET size = ?", [size])


def test_a_cancelled_export_leaves_nothing(own_site: Site) -> None:
    """Cancelled while it writes: no file, whole or half, and the page says so."""
    visitor = Visitor(own_site, own_site.user())
    end_of(visitor.start("export", at_least=100_000), 60)
    (whole,) = files(own_site)
    task_id = visitor.start("export", at_least=0)
    wait_until(lambda: any(path.suffix == ".part" for path in files(own_site)), 20, "it writes")
    cancel(task_id, "1")
    assert end_of(task_id).state == "REVOKED"
    assert files(own_site) == [whole]
    assert "There is no file" in visitor.get(f"/runs/{task_id}/").text


def test_a_killed_export_leaves_no_file_of_the_export(own_site: Site) -> None:
    """The half file of a killed process is nobody's: nothing links it, and it is deleted when it is old."""
    visitor = Visitor(own_site, own_site.user())
    end_of(visitor.start("export", at_least=100_000), 60)
    task_id = visitor.start("export", at_least=0)
    running(task_id)
    wait_until(lambda: any(path.suffix == ".part" for path in files(own_site)), 20, "it writes")
    own_site.worker.signal(signal.SIGKILL, group=True)
    half = [path for path in files(own_site) if path.suffix == ".part"]
    assert file_of(visitor.get(f"/runs/{task_id}/").text) == ""
    told = own_site.manage("delete_old_exports").stdout
    assert told == "0 old exports deleted.\n"
    assert half == [path for path in files(own_site) if path.suffix == ".part"]


@pytest.mark.parametrize("days", [("2024-01-01", "2024-03-31")])
def test_an_export_of_some_days_shows_both_stages(site: Site, days: tuple[str, str]) -> None:
    """What is made up and what is written are parts of one whole."""
    visitor = Visitor(site, site.user())
    task_id = visitor.start("export", at_least=2000, placed_from=days[0], placed_until=days[1])
    snapshot = when(task_id, lambda record: record.ended, 20).snapshot()
    assert [stage["state"] for stage in snapshot["stages"]] == ["done", "done"]
    answer = visitor.get(file_of(visitor.get(f"/runs/{task_id}/").text))
    placed = [row["placed_on"] for row in csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"), newline=""))]
    assert 0 < len(placed) < 2000
    assert days[0] <= min(placed) <= max(placed) <= days[1]
