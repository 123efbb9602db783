"""Processes of two releases share one Redis, one broker and one page, as they do while a site is upgraded.

Real: Redis, Celery's worker, Daphne and the WebSocket, all of today's code; the script `record.lua` of each release,
run by that Redis; Celery's messages and record hashes of each release, as its own code once wrote them.
Played: the processes of the other release. What the others can tell of them is what they write and what they send:
calls of their own script with arguments that they know, and events in the form in which they sent them.

Two things are known to look different until the last process of the release before is gone, and tests say so:

- A worker from before the leases gives no sign of life. A task that it runs is never presumed lost, unless it was
  started by a newer worker before: then it is shown as lost until its next word.
- It does not say to which queues it listens. A task that waits in a queue of which only it takes may be shown as
  waiting where no worker listens, until it is taken.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis

from progress import groups
from progress.record import Record, Status
from progress.redis_store import RedisStore
from progress.store import Answer, Write, get_store
from tests.golden.make import load as golden
from tests.golden.make import releases, version
from tests.golden.older import Execution, Older, texts_of
from tests.golden.recording import record
from tests.golden.shapes import not_kept
from tests.processes import Login, Site
from tests.watching import end_of
from tests.wire import wire

BEFORE = "0.1.0.dev1"  # before there were leases
LEASE = 16_000_000  # µs
STORED = [
    pytest.param(stored, id=f"{release}-{kind}-{place}")
    for release in releases()
    for kind, some in sorted(golden(release)["records"].items())
    for place, stored in enumerate(some)
]
SENT = [
    pytest.param(headers, id=f"{release}-{place}")
    for release in releases()
    for place, headers in enumerate(golden(release)["headers"]["task"])
]


@pytest.fixture
def client(site: Site) -> Iterator[redis.Redis]:
    own = site.redis.client()
    yield own
    own.close()


@pytest.fixture(params=releases())
def older(request: pytest.FixtureRequest, site: Site, client: redis.Redis) -> Older:
    """The processes of each release in turn."""
    return Older(request.param, client, site.prefix)


@pytest.fixture
def before(site: Site, client: redis.Redis) -> Older:
    """The processes of the release before the leases."""
    return Older(BEFORE, client, site.prefix)


@pytest.fixture
def unreaped(redis_url: str, settings: Any) -> Iterator[Older]:
    """The same, where nobody but the test looks for leases that have run out."""
    with redis.Redis.from_url(redis_url) as own:
        yield Older(BEFORE, own, settings.PROGRESS_PREFIX)


@pytest.fixture(scope="module")
def login(running_site: Site) -> Login:
    return running_site.user()


@pytest.fixture
def task() -> str:
    return f"mixed-{uuid4().hex}"


def write(op: str, key: str, **args: Any) -> Answer:
    """By a process of today."""
    return get_store().write(Write(op, key, args))


def save(key: str, state: str, *, n: int = 1, fence: int = 0, **args: Any) -> Answer:
    """By a worker of today."""
    own = {"exec": "today", "fence": fence, "n": n, "age": 0, "state": state, "lease": LEASE}
    return write("save", key, **{**own, **texts_of(key, n), **args})


def load(key: str) -> Record:
    record = get_store().load(key)
    assert record is not None
    return record


async def leased() -> list[str]:
    """What a reaper of today would look at now."""
    store = get_store()
    assert isinstance(store, RedisStore)
    try:
        return (await store.aexpired(1000)).keys
    finally:
        await store.aclose()


# --- What today's code says --------------------------------------------------------------------------------


def test_todays_code_says_all_that_its_version_is_known_to_say(own_site: Site) -> None:
    """A field that was dropped, or has another type, would not be understood by the release before."""
    wrong = not_kept(golden(version()), record(own_site))
    assert wrong == [], "Read tests/golden/README: fields are added, never dropped or changed"


# --- An older worker, today's server -----------------------------------------------------------------------


async def test_a_task_of_an_older_worker_is_watched_from_its_queueing_to_its_end(
    site: Site, login: Login, older: Older, task: str
) -> None:
    """Sent and run by the other release; its records are read, its events passed on as they came."""
    owner = str(login.pk)
    queued = older.write("queue", task, owner=owner, **texts_of(task))
    assert queued["status"] == "accepted"
    execution = Execution(older, task, owner)
    async with wire(site.ws, cookie=login.cookie) as page:
        await page.watch(task)
        await page.sees(task, state="PENDING")
        assert execution.save("STARTED")["status"] == "accepted"
        await page.sees(task, state="STARTED", attempt=1, run=1)
        head = execution.save("PROGRESS", 4)
        # These words are in the event and not in the record, so nobody has read them there.
        event = older.event(head, task, message="told by an event", current=4)
        layer = groups.layer()
        await layer.group_send(groups.of_key(task), event)
        await page.sees(task, message="told by an event", current=4)
        head = execution.save("SUCCESS", 10, outcome='"result":1')
        hint = {name: value for name, value in older.event(head, task).items() if name not in ("snapshot", "staff")}
        await layer.group_send(groups.of_key(task), hint)
        await page.sees(task, state="SUCCESS", final=True, result=1, fraction=1)
        seqs = [item["seq"] for frame in page.all("snapshots") for item in frame["items"] if item["id"] == task]
        assert seqs == sorted(set(seqs))


async def test_a_task_of_a_worker_without_leases_is_not_presumed_lost(before: Older, task: str) -> None:
    """It promised no sign of life, so nobody waits for one. It could only be told from its silence."""
    execution = Execution(before, task, "")
    before.write("queue", task, **texts_of(task))
    execution.save("STARTED")
    assert load(task).leased_until == 0
    assert task not in await leased()
    assert write("lost", task, exec=execution.name).status is Status.REFUSED


@pytest.mark.parametrize("stored", STORED)
async def test_a_record_that_any_release_stored_is_shown(
    site: Site, login: Login, client: redis.Redis, stored: dict[str, str]
) -> None:
    """The page sees what the release wrote into Redis."""
    key = json.loads(f"{{{stored['body']}}}")["id"]
    client.delete(f"{site.prefix}:task:{key}")  # several of these are of one task
    client.hset(f"{site.prefix}:task:{key}", mapping={**stored, "owner": str(login.pk)})
    async with wire(site.ws, cookie=login.cookie) as page:
        await page.watch(key)
        shown = await page.sees(key, state=stored["state"])
        assert shown["seq"] >= int(stored["seq"])
        assert (shown["attempt"], shown["run"]) == (int(stored.get("attempt", 0)), int(stored.get("run", 1)))


# --- An older sender, today's worker -----------------------------------------------------------------------


@pytest.mark.parametrize("headers", SENT)
def test_a_message_that_any_release_sent_is_run_by_todays_worker(
    site: Site, client: redis.Redis, headers: dict[str, Any]
) -> None:
    """With its headers as they lay in the broker once; the record has the lineage that they name."""
    task_id = f"mixed-{uuid4().hex}"
    body = json.dumps([[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    client.lpush(
        site.prefix,
        json.dumps(
            {
                "body": base64.b64encode(body.encode()).decode(),
                "content-type": "application/json",
                "content-encoding": "utf-8",
                # Whatever it was about: it is not due later, and does not end as that task did.
                "headers": {**headers, "id": task_id, "task": "tests.jobs.quick", "eta": None, "expires": None},
                "properties": {
                    "correlation_id": task_id,
                    "delivery_info": {"exchange": "", "routing_key": site.prefix},
                    "delivery_tag": uuid4().hex,
                    "delivery_mode": 2,
                    "body_encoding": "base64",
                },
            }
        ),
    )
    record = end_of(task_id, 20)
    assert record.state == "SUCCESS"
    assert (record.owner, record.tree) == (headers["progress-owner"], headers["progress-tree"])
    assert (record.part_of, record.sent) == (headers["progress-part-of"], headers.get("progress-sent", ""))
    assert record.snapshot()["retries"] == headers["retries"]


# --- Today's records, older processes ----------------------------------------------------------------------


def test_an_older_server_may_watch_and_cancel_what_todays_worker_runs(older: Older, task: str) -> None:
    """What it does not know stays as it was: the lease, the queue, the message. The worker hears of the wish."""
    write("queue", task, **texts_of(task), sent="m", queue="q")
    first = save(task, "STARTED", sent="m", terminable=1)
    kept_before = load(task)
    assert older.write("watch", task, span=10_000_000)["status"] == "accepted"
    assert older.write("cancel", task, by="7")["status"] == "accepted"
    assert older.write("cancel", task, by="8")["status"] == "same"
    record = load(task)
    names = (
        "leased_until",
        "live_state",
        "sent",
        "queue",
        "unserved",
        "terminable",
        "state",
        "exec",
        "fence",
        "body",
    )
    assert [getattr(record, name) for name in names] == [getattr(kept_before, name) for name in names]
    assert (record.control, record.watched_until > 0) == ("7", True)
    again = save(task, "PROGRESS", n=2, fence=first.head.fence)
    assert (again.status, again.head.control) == (Status.ACCEPTED, "7")
    assert write("renew", task, exec="today", lease=LEASE).accepted


def test_a_task_that_today_sent_is_run_by_an_older_worker(older: Older, task: str) -> None:
    """It takes the record over, retries, and ends it; each step can be read today."""
    write("queue", task, **texts_of(task), sent="m", queue="q")
    first = Execution(older, task, "", "first")
    assert first.save("STARTED")["status"] == "accepted"
    assert first.save("RETRY")["status"] == "accepted"
    assert older.write("queue", task, again="1", **texts_of(task))["status"] == "refused"
    second = Execution(older, task, "", "second")
    assert second.save("PROGRESS", 5)["status"] == "accepted"
    assert (load(task).attempt, load(task).state, load(task).snapshot()["current"]) == (2, "PROGRESS", 5)
    assert first.save("PROGRESS", 9)["status"] == "fenced"
    assert second.save("SUCCESS")["status"] == "accepted"
    assert second.save("PROGRESS")["status"] == "ended"
    # The same id once more, by a sender of today.
    assert write("queue", task, **texts_of(task), sent="n", queue="q").head.run == 2
    assert second.save("PROGRESS")["status"] == "fenced"


def test_between_releases_the_later_execution_is_believed(older: Older, task: str) -> None:
    """A redelivered message may be with a worker of each release: whoever began later says how it goes."""
    mine = save(task, "STARTED")
    theirs = Execution(older, task, "")
    assert theirs.save("STARTED")["status"] == "accepted"
    assert save(task, "PROGRESS", n=2, fence=mine.head.fence).status is Status.FENCED
    assert write("renew", task, exec="today", lease=LEASE).status is Status.FENCED
    back = save(task, "STARTED", exec="today again")
    assert back.accepted
    assert theirs.save("SUCCESS")["status"] == "fenced"
    assert save(task, "SUCCESS", exec="today again", n=2, fence=back.head.fence).accepted
    assert (load(task).state, load(task).attempt) == ("SUCCESS", 3)


async def test_a_task_taken_over_by_a_worker_without_leases_is_lost_until_its_next_word(
    unreaped: Older, task: str
) -> None:
    """The lease of the newer worker that died is the last that anybody promised. It is taken for lost once."""
    save(task, "STARTED", lease=1)
    theirs = Execution(unreaped, task, "")
    theirs.save("STARTED")
    assert task in await leased()
    assert write("lost", task, exec=theirs.name).accepted
    assert load(task).state == "LOST"
    assert theirs.save("PROGRESS", 3)["status"] == "accepted"
    assert (load(task).state, load(task).leased_until) == ("PROGRESS", 0)
    assert write("lost", task, exec=theirs.name).status is Status.REFUSED
    assert task not in await leased()
    assert theirs.save("SUCCESS")["status"] == "accepted"


async def test_a_lost_task_is_taken_back_by_an_older_worker_that_runs_it_again(unreaped: Older, task: str) -> None:
    """What LOST hid is hidden no longer, and today's code goes on from there."""
    save(task, "PROGRESS", lease=1)
    assert write("lost", task, exec="today").accepted
    theirs = Execution(unreaped, task, "")
    assert theirs.save("PROGRESS", 2)["status"] == "accepted"
    assert load(task).snapshot()["state"] == "PROGRESS"
    assert write("renew", task, exec=theirs.name, lease=1).accepted
    assert write("lost", task, exec=theirs.name).accepted
    assert theirs.save("FAILURE")["status"] == "accepted"
    assert (load(task).state, load(task).ended) == ("FAILURE", True)


async def test_a_queue_of_older_workers_alone_is_said_to_be_unserved_until_the_task_is_taken(
    site: Site, login: Login, before: Older, task: str
) -> None:
    """They do not say where they listen. It is wrong for as long as the task waits, and for no longer."""
    owner = str(login.pk)
    write("queue", task, owner=owner, **texts_of(task), queue="of-older-workers", sent="m")
    theirs = Execution(before, task, owner)
    async with wire(site.ws, cookie=login.cookie) as page:
        await page.watch(task)
        await page.sees(task, seconds=20, state="PENDING", queue="of-older-workers", unserved=True)
        head = theirs.save("STARTED")
        await groups.layer().group_send(groups.of_key(task), groups.hint(task, head["seq"]))
        shown = await page.sees(task, state="STARTED")
        assert not {"queue", "unserved"} & shown.keys()
        theirs.save("SUCCESS")
        await asyncio.wait_for(page.ends(task), 10)


async def test_what_an_older_sender_sent_is_never_said_to_be_unserved(site: Site, before: Older, task: str) -> None:
    """It names no queue, so nobody asks who listens to it."""
    before.write("queue", task, **texts_of(task))
    record = load(task)
    assert (record.queue, record.unserved) == ("", 0)
    assert not {"queue", "unserved"} & record.snapshot().keys()
