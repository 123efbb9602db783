"""A planted secret is in nothing that progress stores, announces or shows, whoever looks."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

import progress
from tests import jobs
from tests.processes import Redis, Site, in_this_process, wait_until
from tests.watching import send
from tests.wire import wire

SECRET = "planted-7c1e9b40"


@pytest.fixture
def site(tmp_path: Path, settings: Any) -> Iterator[Site]:
    """A site that hides error texts, too."""
    own = Site(tmp_path / "site", env={"DJANGO_SETTINGS_MODULE": "tests.redacting_settings"})
    try:
        own.start()
        with in_this_process(settings, own.redis.url, own.prefix):
            settings.PROGRESS_REDACT = "tests.redacting_settings.redact"
            yield own
    finally:
        own.stop()


@contextmanager
def commands(server: Redis) -> Iterator[list[str]]:
    """Everything that Redis is told while the block runs; at its end, up to there."""
    heard: list[str] = []
    client = server.client(socket_timeout=20)
    with client.monitor() as monitor:

        def listen() -> None:
            while not heard or "end-of-this-test" not in heard[-1]:
                heard.append(str(monitor.next_command()["command"]))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            with server.client() as other:
                other.echo("end-of-this-test")
            thread.join(20)
    client.close()
    assert not thread.is_alive()


async def test_a_planted_secret_is_nowhere(site: Site) -> None:
    """In a title, an argument, an argument's inside, a result and an error: staff see "hidden", Redis saw nothing."""
    mine, staff = site.user(), site.user(staff=True, superuser=True)
    with commands(site.redis) as heard, progress.owner(mine):
        ended = send(jobs.signs_in, "ann", SECRET, server={"api_key": SECRET})
        failed = send(jobs.signs_in, "bob", password=SECRET, fails=True)
        frames = []
        for login in (mine, staff):
            async with wire(site.ws, cookie=login.cookie) as page:
                await page.watch(ended, failed)
                await page.ends(ended, failed, seconds=30)
                frames += page.messages
                assert page.shown[ended]["title"] == "Sign ann in with hidden"
                assert page.shown[ended].get("result") is None
                assert page.shown[failed]["error"] == {"type": "ValueError", "message": "hidden"}
        stored = site.data / "db.sqlite3"
        files = (stored, stored.with_name(stored.name + "-wal"))
        wait_until(lambda: all(each.encode() in b"".join(map(content, files)) for each in (ended, failed)), 20)
    assert SECRET not in json.dumps(frames)
    ours = [each for each in heard if any(word.startswith(names(site)) for word in each.split(" ", 4)[:4])]
    assert [each[:200] for each in ours if SECRET in each] == []
    for told in ("HSET", "XADD", "PUBLISH"):
        assert any(each.startswith(told) for each in ours), f"No {told} was heard, so nothing was looked at."
    assert [file.name for file in files if SECRET.encode() in content(file)] == []
    assert SECRET not in site.web.output()
    for path in (f"/progress/{ended}/", f"/progress/{failed}/", f"/runs/{ended}/", f"/runs/{failed}/"):
        for login in (mine, staff):
            assert SECRET not in await asyncio.to_thread(read, site.url + path, login.cookie)


def names(site: Site) -> tuple[str, ...]:
    """How keys and channels of progress begin. The queue and the results are Celery's."""
    return f"{site.prefix}:", f"{site.prefix}__"


def read(url: str, cookie: str) -> str:
    with urlopen(Request(url, headers={"Cookie": cookie}), timeout=20) as answer:
        return str(answer.read().decode())


def content(file: Path) -> bytes:
    return file.read_bytes() if file.exists() else b""
