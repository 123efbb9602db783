"""Jobs whose snapshots the page of examples shows: each comes into a state and stays there until it is let go."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from celery import group, shared_task
from celery.exceptions import Ignore, Reject

import progress

BEAT = 0.02  # seconds


def _hold(path: str, *, listens: bool = True) -> None:
    """Until the file `path` exists; who does not listen takes no notice of a cancel."""
    while not Path(path).exists():
        time.sleep(BEAT)
        if listens:
            progress.update()


@shared_task(name="examples.import_csv")
@progress.options(title="Import {file}", unit="rows", show_error=True, show_result=True)
def imports(file: str, path: str, rows: int = 1000, until: int = 630, at_once: int = 4, error: str = "") -> str:
    """Reads so many rows at once, 50 times a second, and holds before row `until`."""
    progress.update(total=rows, message="Reading rows")
    for _ in range(0, until, at_once):
        time.sleep(BEAT)
        progress.advance(min(at_once, until))
    progress.update(current=until)
    _hold(path)
    if error:
        raise ValueError(error)
    progress.update(current=rows, message="")
    return f"{rows - 1:,} rows stored; 1 bad row left out."


@shared_task(name="examples.fetch_mail", bind=True, max_retries=3)
@progress.options(title="Fetch mail", unit="messages", show_error=True)
def fetches(self: Any, path: str, wait: int = 45) -> None:
    """Is tried again; its second attempt holds."""
    if not self.request.retries:
        raise self.retry(countdown=wait, exc=ConnectionError("The server does not answer."))
    progress.update(current=20, total=80, message="Inbox")
    _hold(path)


@shared_task(name="examples.back_up", acks_late=True, reject_on_worker_lost=True)
@progress.options(title="Back up the archive", unit="MB")
def backs_up(path: str) -> None:
    """Its process dies once; its second execution holds."""
    begun = Path(f"{path}.begun")
    if not begun.exists():
        begun.touch()
        progress.update(current=10, total=900)
        raise Reject("Again.", requeue=True)
    progress.update(total=900, message="Copying")
    for _ in range(90):
        progress.advance(3)
        time.sleep(BEAT)
    _hold(path)


@shared_task(name="examples.make_video")
@progress.options(title="Make video", unit="frames", stall_after=20, show_result=True)
def makes_video(path: str) -> str:
    """Stages within stages."""
    progress.stages({"read": 1, "convert": 6, "publish": 2})
    with progress.stage("read"):
        for _ in progress.track(range(20)):
            time.sleep(BEAT)
    with progress.stage("convert"):
        progress.stages({"sound": 1, "picture": 3})
        with progress.stage("sound"):
            for _ in progress.track(range(20)):
                time.sleep(BEAT)
        with progress.stage("picture"):
            progress.update(total=240, message="Second pass")
            for _ in range(84):
                progress.advance()
                time.sleep(BEAT)
            _hold(path)
            progress.update(current=240)
    with progress.stage("publish"):
        time.sleep(0.5)
    return "video-17.webm"


@shared_task(name="examples.search")
@progress.options(title="Search the archive", unit="documents", stall_after=20)
def searches(path: str, listens: bool = True) -> None:
    """Does not know how much there is."""
    progress.update(message="Looking through 2019")
    for _ in range(123):
        progress.advance(34)
        time.sleep(BEAT)
    _hold(path, listens=listens)


@shared_task(name="examples.install_on_host")
@progress.options(title="{host}", unit="MB", show_error=True, show_result=True)
def installs(host: str, path: str, fails: bool = False) -> str:
    """A part."""
    progress.update(total=40, message="Installing nginx")
    for _ in range(15):
        progress.advance()
        time.sleep(BEAT)
    if fails:
        raise ConnectionError(f"{host} does not answer.")
    if host != "web-1":
        _hold(path)
    progress.update(current=40)
    return "1 package installed."


@shared_task(name="examples.install_software")
@progress.options(title="Install nginx on 5 hosts", unit="tasks sent", show_result=True)
def installs_everywhere(path: str) -> str:
    """Sends parts."""
    hosts = ("web-1", "web-2", "db-1", "mail-1", "mail-2")
    parts = [installs.si(host, path, host == "db-1") for host in hosts]
    progress.update(current=5, total=5)
    group(parts).delay()
    return "Sent to 5 hosts."


@shared_task(name="examples.count")
@progress.options(title="{title}", unit="grains of sand", show_result=True)
def counts(title: str, path: str, message: str = "", current: int = 3, total: int = 10) -> None:
    """Says what it is told."""
    progress.update(total=total, message=message)
    for step in range(1, 76):
        progress.update(current=current * step // 75)
        time.sleep(BEAT)
    _hold(path)


@shared_task(name="examples.sync")
@progress.options(title="Sync the calendar")
def ignores() -> None:
    """Finds that somebody else does it."""
    raise Ignore("Somebody else does it.")


@shared_task(name="examples.print", acks_late=True)
@progress.options(title="Print the labels")
def rejects() -> None:
    """Refuses its message."""
    raise Reject("No paper.", requeue=False)


@shared_task(name="examples.write_log")
@progress.options(title="Follow access.log", unit="lines")
def writes_log(path: str, lines: int) -> None:
    """Many lines, then three more when the file ``<path>.more`` exists."""
    for number in range(lines):
        level = "WARNING" if number % 17 == 9 else "ERROR" if number % 29 == 20 else "INFO"
        said = {"INFO": "200", "WARNING": "200, took 2.1 s", "ERROR": "500"}
        progress.log(f"GET /orders/{4000 + number}/ {said[level]}", level)
        progress.advance()
    _hold(f"{path}.more")
    for text in ("POST /orders/ 201", "GET /orders/4200/ 200", "تم حفظ الطلب 4200"):
        progress.log(text)
    _hold(path)
