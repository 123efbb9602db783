"""A second request ends a task by force: who may, over socket and HTTP, and what is told when nobody answers."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from celery import current_app

import progress
from progress import revoking
from progress.control import CANCEL, SILENT, carry_out, decide
from progress.revoking import Revocation, Told
from project.redis_server import free_port
from tests import jobs
from tests.integration.test_cancel_pools import began, words_of
from tests.integration.test_pools import PoolSite
from tests.processes import Login, Site, in_this_process
from tests.watching import end_of, record_of, running, send, when
from tests.wire import until, wire

STAFF = frozenset({"watch", "cancel", "terminate"})
LATE = 15.0  # seconds: far more than the one that a request may take


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Path]:
    """The file in which a body notes what it goes through; whatever still works is released in the end."""
    path = tmp_path / "notes"
    yield path
    Path(f"{path}.release").touch()


def tells_its_worker(answer: Mapping[str, Any]) -> bool:
    """True if this says that the worker was told to end it, though its own answer may have come late."""
    return answer.get("action") == "terminate" or answer.get("detail") == SILENT.detail


def send_as(user: Login, task: Any, *args: Any, **kwargs: Any) -> str:
    with progress.owner(user.pk):
        return send(task, *args, **kwargs)


def post(site: Site, path: str, cookie: str, form: Mapping[str, str] = MappingProxyType({})) -> tuple[int, str]:
    """Status and body of a POST with a session, as one of the site's own pages sends it."""
    token = "a" * 32
    connection = HTTPConnection(urlsplit(site.url).netloc, timeout=LATE)
    headers = {
        "Cookie": f"{cookie}; csrftoken={token}",
        "X-CSRFToken": token,
        "Content-Type": "application/x-www-form-urlencoded",
    }
    with closing(connection):
        connection.request("POST", path, urlencode(form), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


# --- Who may ----------------------------------------------------------------------------------------------


async def test_staff_end_by_force_what_its_owner_may_only_ask_to_stop(site: Site, notes: Path) -> None:
    """`may` says so beforehand; the first request only asks; `accepted` says which it was."""
    owner, staff = site.user(), site.user(staff=True, permissions=["view_taskrun", "cancel_taskrun"])
    task_id = send_as(owner, jobs.works, str(notes), reports=False)
    began(notes, task_id)
    async with wire(site.ws, cookie=owner.cookie) as page, wire(site.ws, cookie=staff.cookie) as office:
        assert (await page.watch(task_id))["items"][0]["may"] == ["watch", "cancel"]
        assert (await office.watch(task_id))["items"][0]["may"] == ["watch", "cancel", "terminate"]
        assert (await page.ask("cancel", id=task_id, terminate=True))["code"] == "not_allowed"
        assert (await office.ask("cancel", id=task_id, terminate=True))["action"] == "cancel"
        assert (await page.ask("cancel", id=task_id, terminate=True))["code"] == "not_allowed"
        assert tells_its_worker(await office.ask("cancel", id=task_id, terminate=True))
        await page.sees(task_id, state="REVOKED", final=True)
        shown = await office.sees(task_id, state="REVOKED", final=True)
        assert shown["error"] == {"type": "Terminated", "message": "Its worker ended it by force, on request."}
        assert not page.shown[task_id].get("error")
    assert words_of(notes) == ["start", "hit", "stop"]


def test_by_http_in_the_address_or_in_the_form(site: Site, tmp_path: Path) -> None:
    """202 with the action; the owner, who may only ask, gets 403."""
    owner, staff = site.user(), site.user(superuser=True)
    ways = [("?terminate=1", {}), ("", {"terminate": "1"})]
    notes = [tmp_path / str(number) for number in range(len(ways))]
    ids = [send_as(owner, jobs.works, str(path), reports=False) for path in notes]
    for task_id, path, (query, form) in zip(ids, notes, ways, strict=True):
        began(path, task_id)
        address = f"/progress/{task_id}/cancel/{query}"
        assert post(site, address, owner.cookie, form)[0] == 403
        status, body = post(site, address, staff.cookie, form)
        assert (status, json.loads(body)) == (202, {"id": task_id, "action": "cancel"})
        status, body = post(site, address, staff.cookie, form)
        assert status in (202, 503)
        assert tells_its_worker(json.loads(body))
    assert [end_of(task_id).state for task_id in ids] == ["REVOKED", "REVOKED"]


async def test_what_cannot_be_cancelled_says_so_and_runs_to_its_end(site: Site, notes: Path) -> None:
    """`may` does not list it, whoever asks is refused with the reason, and no wish is recorded."""
    staff = site.user(superuser=True)
    task_id = send(jobs.unstoppable, str(notes))
    running(task_id)
    async with wire(site.ws, cookie=staff.cookie) as page:
        assert (await page.watch(task_id))["items"][0]["may"] == ["watch"]
        for more in ({}, {"terminate": True}):
            answer = await page.ask("cancel", id=task_id, **more)
            assert (answer["code"], answer["detail"]) == (
                "not_allowed",
                "This task says of itself that it cannot be cancelled.",
            )
        assert post(site, f"/progress/{task_id}/cancel/", staff.cookie)[0] == 403
        shown = await page.sees(task_id, final=True)
        assert (shown["state"], shown["cancellable"], shown["cancel_requested"]) == ("SUCCESS", False, False)


# --- When nobody answers ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PoolSite]:
    own = PoolSite(tmp_path_factory.mktemp("force") / "site", "prefork")
    try:
        yield own.start()
    finally:
        own.stop()


@pytest.fixture
def worker(running_worker: PoolSite, settings: Any) -> Iterator[PoolSite]:
    """Redis and a worker that these tests may stop for a while."""
    with in_this_process(settings, running_worker.redis.url, running_worker.prefix):
        yield running_worker


def test_worker_that_does_not_answer_is_said_to_be_silent_and_may_still_do_it(worker: PoolSite, notes: Path) -> None:
    """Nobody waits for it longer than for the answer; what was asked reaches it when it comes to itself."""
    task_id = send(jobs.works, str(notes), reports=False)
    began(notes, task_id)
    worker.worker.signal(signal.SIGSTOP)  # its main process; the body runs on
    try:
        for wanted in (CANCEL, SILENT):
            record = record_of(task_id)
            assert carry_out(decide(record, STAFF, terminate=True), task_id, record, "7") is wanted
        assert when(task_id, lambda found: found.state == "PROGRESS").control == "7"
    finally:
        worker.worker.signal(signal.SIGCONT)
    assert end_of(task_id).state == "REVOKED"


def test_worker_without_remote_control_is_silent_too(tmp_path: Path, settings: Any, notes: Path) -> None:
    """Cancelling works there; ending by force does not, and the person is told."""
    own = PoolSite(tmp_path / "site", "prefork")
    own.worker.env["DJANGO_SETTINGS_MODULE"] = "tests.uncontrolled_settings"
    try:
        own.start()
        with in_this_process(settings, own.redis.url, own.prefix):
            task_id = send(jobs.works, str(notes), reports=False)
            began(notes, task_id)
            for wanted in (CANCEL, SILENT):
                record = record_of(task_id)
                assert carry_out(decide(record, STAFF, terminate=True), task_id, record, "7") is wanted
            reporting = send(jobs.works, f"{notes}.reporting")
            began(Path(f"{notes}.reporting"), reporting)
            record = record_of(reporting)
            assert carry_out(decide(record, STAFF, terminate=False), reporting, record, "7") is CANCEL
            assert end_of(reporting).state == "REVOKED"
    finally:
        Path(f"{notes}.release").touch()
        own.stop()


@contextmanager
def broker(kind: str) -> Iterator[str]:
    """The address of a broker that is away, or that takes connections and says nothing."""
    with closing(socket.socket()) as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        yield f"redis://127.0.0.1:{hole.getsockname()[1] if kind == 'mute' else free_port()}/0"


@pytest.mark.parametrize("kind", ["away", "mute"])
async def test_a_broker_that_is_not_there_holds_nobody_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an event loop and from a request: silent within a second, and the loop goes on meanwhile."""
    with broker(kind) as url:
        monkeypatch.setattr(current_app.conf, "broker_url", url)
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                await asyncio.sleep(0.01)
                beats += 1

        beating = asyncio.create_task(beat())
        async with asyncio.timeout(LATE):
            assert await Revocation("t", "w@h").asend() is Told.SILENT
            assert beats > 1
            assert await asyncio.to_thread(Revocation("t", "").send) is Told.SILENT
        beating.cancel()


async def test_a_broker_that_hangs_is_given_a_bounded_number_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each leaves a thread behind that waits for the broker; no more than eight do at a time."""
    with broker("mute") as url:
        monkeypatch.setattr(current_app.conf, "broker_url", url)
        asked = [Revocation("t", "w@h") for _ in range(revoking.AT_ONCE + 4)]
        assert {await each for each in asyncio.as_completed([each.asend() for each in asked])} == {Told.SILENT}
        assert len(revoking._on_their_way) <= revoking.AT_ONCE
    # The listener is closed now: those that waited learn it.
    await until(lambda: not any(each.is_alive() for each in revoking._on_their_way))
