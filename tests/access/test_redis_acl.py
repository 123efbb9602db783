"""A Redis that allows its user no more than docs/security.md says: everything works, and nothing else does."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import group

import progress
from progress.exceptions import StoreUnavailable
from progress.redis_store import RedisStore
from progress.store import get_store
from tests import jobs
from tests.acted import ActedTask
from tests.processes import Login, Redis, Site, in_this_process, wait_until
from tests.watching import send
from tests.wire import wire

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "of-the-progress-user"
# What redis-py says as it connects depends on its version; a reader that died is taken off after an hour.
SELDOM = {"auth", "hello", "client|setinfo", "select", "xgroup|delconsumer"}


def documented_rule() -> str:
    """The ACL line of the page, as it stands there."""
    (block,) = re.findall(r"```\n(user progress .*?)```", (ROOT / "docs/security.md").read_text(), re.DOTALL)
    return " ".join(block.split())


class RestrictedRedis(Redis):
    """For `progress` the documented rights with the prefix `prefix`; the broker has a user of its own."""

    prefix = ""

    @property
    def records_url(self) -> str:
        return f"redis://progress:{PASSWORD}@127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str]:
        command = super().command()
        rule = documented_rule().replace("mysite", self.prefix).replace(">password", f">{PASSWORD}")
        with Path(command[1]).open("a") as config:
            config.write(f"{rule}\n")
        return command


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The whole site; its records, hints and history go through the restricted user."""
    folder = tmp_path_factory.mktemp("acl") / "site"
    own = Site(folder, env={"DJANGO_SETTINGS_MODULE": "tests.apart_settings"})
    own.redis = restricted = RestrictedRedis(folder)
    restricted.prefix = own.prefix
    own.env |= {"REDIS_URL": restricted.url, "RECORDS_URL": restricted.records_url}
    own.worker.env, own.web.env = dict(own.env), dict(own.env)
    try:
        yield own.start()
    finally:
        own.stop()


async def live_a_life(site: Site, mine: Login) -> None:
    """What a site does in a day: tasks, a workflow, a log, a cancel, and a page that watches all of it."""
    acted = ActedTask(owner=str(mine.pk)).queue()
    await acted.log("one", "two")
    acted.run(1, 2)
    with progress.owner(mine):
        held = send(jobs.tracks, str(site.folder / "held"))
        waits = send(jobs.quick, options={"queue": "of-nobody"})
        workflow = group(jobs.count.s(3), jobs.fails.s(), jobs.sends_a_child.s()).apply_async()
        ids = [each.id for each in workflow.results]
    async with wire(site.ws, cookie=mine.cookie) as page:
        await page.ask("watch", mine=True)
        await page.ask("watch", tree=workflow.id)
        await page.watch(acted.id, held, waits, *ids)
        assert [line["text"] for line in (await page.ask("logs", id=acted.id))["lines"]] == ["one", "two"]
        await page.ends(*ids, seconds=30)
        await page.sees(held, state="PROGRESS", seconds=30)
        assert (await page.ask("cancel", id=held))["type"] == "accepted"
        await page.sees(held, state="REVOKED", seconds=30)
        await page.sees(waits, unserved=True, seconds=20)
        acted.end()
        await page.ends(acted.id)
    for task_id in (held, *ids):
        wait_until(lambda task_id=task_id: is_in_history(site, task_id), 30, f"{task_id} in the history")


def is_in_history(site: Site, task_id: str) -> bool:
    with closing(sqlite3.connect(site.data / "db.sqlite3", timeout=20)) as database:
        found = database.execute(
            "SELECT finished_at FROM task_progress_taskrun WHERE task_id = ?", [task_id]
        ).fetchone()
        return bool(found and found[0])


async def test_everything_works_with_the_documented_rights_and_none_is_idle(site: Site, settings: Any) -> None:
    """Tasks, hints, logs, workflows, history, revocation and the doctor: nothing is refused, everything is used."""
    with in_this_process(settings, site.redis.url, site.prefix):
        settings.PROGRESS_REDIS_URL = settings.CHANNEL_LAYERS["default"]["CONFIG"]["hosts"][0]["address"] = records(
            site
        )
        await live_a_life(site, site.user())
        get_store().revoke("nobody", time.time(), time.time() - 60)
        assert "nobody" in get_store().revoked(0)
    doctor = site.manage("progress_doctor", check=False)
    assert doctor.returncode == 0, doctor.stdout
    with closing(site.redis.client(decode_responses=True)) as admin:
        refused = [f"{each['reason']} {each['object']} in {each['context']}" for each in admin.acl_log()]
        used = set(admin.info("commandstats"))
    assert refused == []
    allowed = {word.lstrip("+") for word in documented_rule().split() if word.startswith("+")}
    assert allowed - {name.removeprefix("cmdstat_") for name in used} - SELDOM == set()


def records(site: Site) -> str:
    assert isinstance(site.redis, RestrictedRedis)
    return site.redis.records_url


OTHERS: dict[str, tuple[Any, ...]] = {
    "a key of another prefix": ("HGETALL", "other:task:1"),
    "a key of the broker": ("LPUSH", "celery", "{}"),
    "a key that only begins alike": ("HGETALL", "PREFIXed:task:1"),
    "writing there": ("HSET", "other:task:1", "state", "SUCCESS"),
    "writing there from a script": ("EVAL", "return redis.call('HSET', 'other:task:1', 'state', 'SUCCESS')", 0),
    "another channel": ("PUBLISH", "other", "x"),
    "all keys": ("KEYS", "*"),
    "emptying": ("FLUSHALL",),
    "settings": ("CONFIG", "GET", "*"),
    "other users": ("ACL", "LIST"),
}


@pytest.mark.parametrize("words", OTHERS.values(), ids=OTHERS)
def test_nothing_else_is_allowed(site: Site, words: tuple[Any, ...]) -> None:
    """What is outside the prefix is neither read nor written, nor from within a script."""
    said = [str(word).replace("PREFIX", site.prefix) for word in words]
    refused = pytest.raises(redis.ResponseError, match=r"(?i)permission")
    with closing(redis.Redis.from_url(records(site))) as client, refused:
        client.execute_command(*said)
    with closing(site.redis.client()) as admin:
        assert not admin.exists("other:task:1")
        admin.acl_log_reset()  # these refusals were meant


def test_a_site_with_another_prefix_is_refused(site: Site) -> None:
    """Two sites in one Redis cannot show each other anything, by mistake either."""
    store = RedisStore(records(site), "other")
    with pytest.raises(StoreUnavailable, match=r"(?i)permission"):
        store.load("task")
    with closing(site.redis.client()) as admin:
        admin.acl_log_reset()
