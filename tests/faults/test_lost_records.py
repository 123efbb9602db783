"""What becomes of a running task when its record is gone, and of one that ended while nobody could write that down.

The Redis of the records is another than Celery's here, so that one can be away without the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from celery import current_app
from django.conf import settings
from django.test import override_settings

from progress import key
from tests import jobs
from tests.pages import Page
from tests.processes import Login, Redis, Site, disconnect, in_this_process, wait_until
from tests.watching import record_of, running, send


class Apart(NamedTuple):
    """A site whose broker and result backend are in a Redis of their own."""

    site: Site
    login: Login
    page: Page

    def send(self, task: object, path: Path) -> str:
        """Send a task of the page's user and show it."""
        task_id = send(task, str(path), options={"headers": {"progress-owner": str(self.login.pk)}})
        self.page.watch(task_id)
        running(task_id)
        self.page.says(task_id, "running", 10)
        return task_id


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Apart]:
    celerys = Redis(tmp_path, name="celerys").start()
    urls = {"broker_url": celerys.url, "result_backend": celerys.url}
    env = {"DJANGO_SETTINGS_MODULE": "tests.lost_settings", "BROKER_URL": celerys.url, "BACKEND_URL": celerys.url}
    site = Site(tmp_path / "site", env=env, keep_redis=True)
    try:
        site.start()
        login = site.user()
        with override_settings(), in_this_process(settings, site.redis.url, site.prefix):
            current_app.conf.update(urls)
            disconnect()
            with Page(site.ws, login.cookie) as page:
                yield Apart(site, login, page)
    finally:
        site.stop()
        celerys.kill()


def test_records_come_back_after_a_flush_and_an_end_is_found_that_nobody_wrote_down(
    apart: Apart, tmp_path: Path
) -> None:
    """A silent task's record is back within 10 s of FLUSHALL, whole and its owner's. A task that ends while Redis is
    away, in a worker that is then killed, is shown as done: the result backend is asked before it is called lost.
    """
    silent_gate, gate = tmp_path / "silent", tmp_path / "gate"
    silent, held = apart.send(jobs.silent, silent_gate), apart.send(jobs.hold, gate)
    before = apart.page.shown[silent]["seq"]
    client = apart.site.redis.client()
    client.flushall()
    client.close()
    for task_id in (silent, held):
        again = wait_until(lambda task_id=task_id: record_of(task_id), 10, "its record is back")
        assert again is not None
        assert again.owner == str(apart.login.pk)
        assert again.snapshot()["name"] in ("tests.jobs.silent", "tests.jobs.hold")
    apart.page.sees(silent, lambda newest: newest["seq"] > before, 10, "a page that stayed open goes on")
    silent_gate.touch()
    apart.page.says(silent, "done", 5)

    apart.site.redis.kill()
    gate.touch()
    ended = b"celery-task-meta-" + held.encode()
    backend = current_app.backend.client
    wait_until(lambda: b'"SUCCESS"' in (backend.get(ended) or b""), 10, "Celery knows how it ended")
    apart.site.worker.kill()
    apart.site.redis.start()
    apart.page.says(held, "done", 30)
    assert set(apart.page.sentences(held)) <= {"waiting for a worker", "running", "done"}
    record = record_of(held)
    assert record is not None
    assert (record.state, record.attempt, key(held)) == ("SUCCESS", 1, held)
