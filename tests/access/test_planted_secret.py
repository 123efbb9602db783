"""Secrets in every place that a task has, and everybody who might look for them, everywhere.

Each secret is a text of its own, so that what is found says where it came from. Each is also found where it may be
seen: a test that looked in the wrong places would fail.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

import progress
from progress import watch_token
from tests import jobs
from tests.processes import Redis, Site, in_this_process, wait_until
from tests.sse import Stream
from tests.watching import end_of, running, send
from tests.wire import OWN, wire

RUNS: Final = "/admin/task_progress/taskrun/"
NOWHERE: Final = frozenset({"password", "nested", "redacted", "forgotten", "result"})
STAFF_ONLY: Final = frozenset({"error", "private"})
# What each may find, anywhere. A token has no right to the log, staff without rights have none at all.
MAY_FIND: Final[Mapping[str, frozenset[str]]] = {
    "anonymous": frozenset(),
    "another user": frozenset(),
    "staff without rights": frozenset(),
    "token": frozenset({"message"}),
    "owner": frozenset({"message", "log"}),
    "staff who may view": frozenset({"message", "log", *STAFF_ONLY}),
    "staff who see arguments": frozenset({"message", "log", "customer", *STAFF_ONLY}),
    "superuser": frozenset({"message", "log", "customer", *STAFF_ONLY}),
}
LINK: Final = re.compile(r"""(?:href|src|action)=["']([^"'#]+)""")
FOLLOWED: Final = re.compile(r"/(runs/|progress/|admin/task_progress/|exports/|$)")


@pytest.fixture
def site(tmp_path: Path, settings: Any) -> Iterator[Site]:
    """A site that hides the texts of some errors from everybody."""
    own = Site(tmp_path / "site", env={"DJANGO_SETTINGS_MODULE": "tests.planted_settings"})
    try:
        own.start()
        with in_this_process(settings, own.redis.url, own.prefix):
            settings.PROGRESS_REDACT = "tests.planted_settings.redact"
            yield own
    finally:
        own.stop()


class Planted:
    """The secrets, by where they are planted, and the tasks that know them."""

    def __init__(self, folder: Path) -> None:
        places = ("customer", "message", "log", *sorted(STAFF_ONLY | NOWHERE))
        self.texts = {place: f"planted-{place}-{uuid4().hex}" for place in places}
        self.path = folder / "texts.json"
        self.path.write_text(json.dumps(self.texts))
        self.ids: list[str] = []

    def send(self) -> None:
        """One task for each way to end, and one whose arguments are not kept."""
        given = {"customer": self.texts["customer"], "password": self.texts["password"]}
        server = {"host": "db-1", "api_key": self.texts["nested"]}
        for how in ("returns", "fails", "is refused"):
            self.ids.append(send(jobs.knows_secrets, str(self.path), how, **given, server=server))
            self.ids.append(send(jobs.forgets_arguments, self.texts["forgotten"]))

    def release(self) -> None:
        """Let them end, and wait until they have."""
        self.path.with_name(f"{self.path.name}.go").touch()
        assert {end_of(key, 30).state for key in self.ids} == {"SUCCESS", "FAILURE"}

    def found_in(self, text: str) -> set[str]:
        """Whose text is there: as it is, or any part of it that singles it out."""
        return {place for place, secret in self.texts.items() if secret.rpartition("-")[2] in text}


# --- All that somebody can get -----------------------------------------------------------------------------------


async def listen(site: Site, planted: Planted, headers: Mapping[str, str], released: asyncio.Event) -> str:
    """Every frame that this viewer is sent, by every way to ask, while the tasks run and when they have ended."""
    token = headers.get("Authorization", "").removeprefix("Bearer ")
    said = {"token": token} if token else {}

    async def talk(address: str) -> str:
        async with wire(address, cookie=headers.get("Cookie"), origin=None if token else OWN) as page:
            if token:
                await page.ask("token", token=token)
            for _ in range(2):
                await page.ask("watch", ids=planted.ids, **said)
                await page.ask("watch", mine=True)
                for key in planted.ids:
                    await page.ask("watch", tree=key, **said)
                    await page.ask("logs", id=key)
                await released.wait()
            await page.lives()
            return json.dumps(page.messages)

    addresses = [site.ws, *(f"{site.ws}{key}/" for key in planted.ids)]
    return "".join(await asyncio.gather(*map(talk, addresses)))


def hear(site: Site, planted: Planted, headers: Mapping[str, str]) -> list[Stream]:
    """Every stream of events there is for this viewer, all of them begun: of each task, of all, of one's own."""
    token = headers.get("Authorization", "").removeprefix("Bearer ") or None
    who: dict[str, Any] = {"cookie": headers.get("Cookie"), "token": token}
    streams = [Stream(site.url, f"/progress/{key}/events/", **who) for key in planted.ids]
    streams.append(Stream(site.url, ids=tuple(planted.ids), **who))
    streams.append(Stream(site.url, query={"mine": "1"}, **who))
    for each in streams:
        wait_until(lambda one=each: one.ended or one.heard()[1:], 20, "an answer")  # type: ignore[misc]
    return streams


def heard(streams: list[Stream], released: float) -> str:
    """All that these streams said, to their end, or to the first sign of life after the tasks have ended."""

    def is_through(stream: Stream) -> bool:
        return stream.ended or any(each.kind == "heartbeat" and each.at > released for each in stream.events)

    for each in streams:
        wait_until(lambda one=each: is_through(one), 30, "the end of a stream")  # type: ignore[misc]
        each.close()
    return "\n".join("\n".join([str(each.headers), each.body.decode(), *each.lines]) for each in streams)


def poll(site: Site, planted: Planted, headers: Mapping[str, str]) -> tuple[str, set[str]]:
    """All tasks and one's own at once, as JSON; and the ids of those that it says may be watched."""
    text = read(site, headers, "/progress/?mine=1&" + "&".join(f"id={key}" for key in planted.ids))
    return text, {each["id"] for each in json.loads(text).get("watching", ())}


def read(site: Site, headers: Mapping[str, str], path: str) -> str:
    """What the site answers there, whatever its status; redirects are followed."""
    try:
        with urlopen(Request(urljoin(site.url, path), headers=dict(headers)), timeout=30) as answer:
            return str(answer.read().decode())
    except HTTPError as answer:
        with answer:
            return answer.read().decode()


def crawl(site: Site, planted: Planted, headers: Mapping[str, str], owner: int) -> str:
    """Every page there is about these tasks, and what those pages lead to."""
    ids = planted.ids
    first = ["/", "/exports/", "/progress/?mine=1", "/progress/?" + "&".join(f"id={key}" for key in ids), RUNS]
    first += ["/admin/", f"{RUNS}tasks/", f"{RUNS}?owner={owner}", f"{RUNS}?task=tests.jobs.knows_secrets"]
    for key in ids:
        first += [f"/progress/{key}/", f"/progress/{key}/cancel/", f"/runs/{key}/", f"{RUNS}?q={key}"]
        first += [f"{RUNS}{key}/{page}/" for page in ("change", "history", "delete", "cancel", "terminate")]
        first += [f"{RUNS}tasks/tests.jobs.knows_secrets/run/?again={key}"]
    answers = {path: read(site, headers, path) for path in first}
    links = {html.unescape(link) for text in answers.values() for link in LINK.findall(text)}
    for link in sorted(links - set(first)):
        if FOLLOWED.match(link):
            answers[link] = read(site, headers, link)
    return "\n".join(answers.values())


# --- Where it lies -----------------------------------------------------------------------------------------------


def dump(server: Redis) -> dict[str, str]:
    """Every key of that Redis and all that it holds."""
    with server.client(decode_responses=True) as client:
        readers: dict[str, Any] = {
            "string": client.get,
            "hash": client.hgetall,
            "list": lambda name: client.lrange(name, 0, -1),
            "set": client.smembers,
            "zset": lambda name: client.zrange(name, 0, -1, withscores=True),
            "stream": client.xrange,
        }
        return {name: f"{name} {readers[client.type(name)](name)!r}" for name in client.scan_iter(count=1000)}


def written(site: Site) -> str:
    """The whole database file, with what is not merged into it yet."""
    stored = site.data / "db.sqlite3"
    files = (stored, stored.with_name(stored.name + "-wal"))
    return "".join(file.read_bytes().decode("latin-1") for file in files if file.exists())


async def test_each_secret_is_found_only_where_it_may_be_seen(site: Site, tmp_path: Path) -> None:
    """In frames, streams, answers and pages of eight viewers, in Redis, in the database and in the logs."""
    owner = site.user()
    planted = Planted(tmp_path)
    with progress.owner(owner):
        planted.send()
    viewers = {
        "anonymous": {},
        "another user": {"Cookie": site.user().cookie},
        "owner": {"Cookie": owner.cookie},
        "staff without rights": {"Cookie": site.user(staff=True).cookie},
        "staff who may view": {"Cookie": site.user(staff=True, permissions=["view_taskrun"]).cookie},
        "superuser": {"Cookie": site.user(superuser=True).cookie},
        "token": {"Authorization": f"Bearer {watch_token(planted.ids[0])}"},
    }
    both = ["view_taskrun", "see_arguments_taskrun"]
    viewers["staff who see arguments"] = {"Cookie": site.user(staff=True, permissions=both).cookie}
    assert viewers.keys() == MAY_FIND.keys()
    running(planted.ids[0], 30)

    released = asyncio.Event()
    streams = {who: await asyncio.to_thread(hear, site, planted, headers) for who, headers in viewers.items()}
    ears = {who: asyncio.create_task(listen(site, planted, headers, released)) for who, headers in viewers.items()}
    await asyncio.to_thread(planted.release)
    released.set()
    over = time.monotonic()
    frames = {who: await ear for who, ear in ears.items()}
    events = {who: await asyncio.to_thread(heard, several, over) for who, several in streams.items()}
    await asyncio.to_thread(wait_until, lambda: "error" in planted.found_in(written(site)), 20, "the history")

    for who, headers in viewers.items():
        pages = await asyncio.to_thread(crawl, site, planted, headers, owner.pk)
        assert planted.found_in(frames[who] + pages) == MAY_FIND[who], who
        assert planted.found_in(frames[who]) == MAY_FIND[who] - {"customer"}
        assert planted.found_in(events[who]) == MAY_FIND[who] - {"customer", "log"}, who
        text, watched = await asyncio.to_thread(poll, site, planted, headers)
        assert planted.found_in(text) == MAY_FIND[who] - {"customer", "log"}, who
        own = set(planted.ids[:1]) if who == "token" else set(planted.ids)
        assert watched == (own if MAY_FIND[who] else set()), who
    lies_where_it_should(site, planted)


def lies_where_it_should(site: Site, planted: Planted) -> None:
    """What is hidden is stored by nobody; results and the worker's own log of errors are Celery's."""
    stored = dump(site.redis)
    ours = {name: text for name, text in stored.items() if not name.startswith("celery-task-meta-")}
    assert {name for name, text in ours.items() if planted.found_in(text) & NOWHERE} == set()
    assert planted.found_in("".join(ours.values())) >= {"message", "log", *STAFF_ONLY}
    celerys = "".join(text for name, text in stored.items() if name not in ours)
    assert planted.found_in(celerys) == {"error", "redacted", "result"}
    assert planted.found_in(written(site)) == {"message", "customer", *STAFF_ONLY}
    logs = {file.name: file.read_text(errors="replace") for file in site.folder.rglob("*.log")}
    assert {name: planted.found_in(text) for name, text in logs.items()} == {
        "redis.log": set(),
        "web.log": set(),
        "worker.log": {"error", "redacted", "result"},
    }
