"""What a client is told when its rights, its wishes or the task itself change under it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from progress import groups, hub
from progress.conversation import Conversation
from progress.hub import Hub
from progress.messages import parse
from progress.outbox import Outbox, Shown
from progress.permissions import VIEW, Viewer
from progress.record import Record
from progress.servers import Flow
from progress.snapshot import State
from progress.store import get_store
from progress.testing import MemoryStore, in_memory
from progress.tokens import watch_token
from progress.workflow import Workflow
from tests.acted import ActedTask
from tests.wire import until


class CountingStore(MemoryStore):
    """Counts what event loops read."""

    reads = 0

    async def aload_many(self, keys: Any) -> Any:
        self.reads += 1
        return await super().aload_many(keys)


@pytest.fixture(autouse=True)
def memory(settings: Any, monkeypatch: Any) -> Iterator[CountingStore]:
    """A store and a layer of this test's own, both quick."""
    settings.PROGRESS_SWEEP_INTERVAL = 0.05
    monkeypatch.setattr(hub, "READ_AGAIN", 0.05)
    with in_memory(CountingStore()) as store:
        yield store


class Client:
    """A client without a socket: keeps what it is told and shown."""

    def __init__(self, the_hub: Hub, viewer: Viewer) -> None:
        self.told: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []
        self.chores: set[asyncio.Task[None]] = set()
        self.reading = asyncio.Event()  # what it is told arrives while this is set
        self.reading.set()
        self.outbox = Outbox(self._send, Flow(), the_hub.now)
        self.conversation = Conversation(the_hub, self.outbox, self)
        self.conversation.access.viewer = viewer

    async def _send(self, message: dict[str, Any]) -> None:
        await self.reading.wait()
        self.items.extend(json.loads(message["text"])["items"])

    async def tell(self, told: dict[str, Any]) -> None:
        await self.reading.wait()
        self.told.append(told)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self.chores.add(asyncio.create_task(work))

    def progress_update(self, shown: Shown) -> None:
        self.conversation.progress_update(shown)

    def tree_update(self, key: str, workflow: Workflow) -> None:
        self.conversation.tree_update(key, workflow)

    def task_found(self, key: str, record: Record) -> None:
        self.conversation.task_found(key, record)

    async def say(self, kind: str, **fields: Any) -> None:
        await self.conversation.answer(parse(json.dumps({"type": kind, **fields})))

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [told for told in self.told if told["type"] == kind]

    def lines(self) -> list[str]:
        return [line["text"] for told in self.all("logs") for line in told["lines"]]


@pytest.fixture
async def the_hub() -> AsyncIterator[Hub]:
    own = Hub()
    yield own
    await own.close()


@pytest.fixture
async def client_of(the_hub: Hub) -> AsyncIterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(user: str, *permissions: str) -> Client:
        made.append(Client(the_hub, Viewer(user, frozenset(permissions))))
        return made[-1]

    yield make
    for client in made:
        client.reading.set()
        await asyncio.gather(*client.chores)
        client.outbox.close()
        await client.conversation.close()


def acted(task_id: str = "t", owner: str = "A") -> ActedTask:
    return ActedTask(task_id, owner=owner, hints=False).queue()


async def push(task: ActedTask) -> None:
    """What the worker says in the task's group."""
    record = get_store().load(task.key)
    assert record is not None
    hint = groups.hint(task.key, record.seq, record.text(), record.text(staff=True))
    await groups.layer().group_send(groups.of_key(task.key), hint)


# --- A new run of the same id ------------------------------------------------------------------------------


@pytest.mark.parametrize("pushed", [True, False], ids=["pushed", "found by the sweep"])
async def test_the_next_run_of_an_id_is_shown_to_its_own_owner_only(
    client_of: Callable[..., Client], pushed: bool
) -> None:
    """Who watched the run before is refused, and is never shown anything of the new one."""
    acted("nightly", "A").run(1, 2).end()
    one = client_of("A")
    await one.say("watch", ids=["nightly"])
    await until(lambda: one.items)
    again = acted("nightly", "B").run(1, 7)
    two = client_of("B")
    await two.say("watch", ids=["nightly"])
    if pushed:
        await push(again)
    await until(lambda: one.all("refused"))
    await until(lambda: two.items and two.items[-1]["total"] == 7)
    assert one.all("refused") == [{"type": "refused", "ids": ["nightly"], "code": "not_found"}]
    again.end()
    await push(again)
    await until(lambda: two.items[-1]["final"])
    assert {item["run"] for item in one.items} == {1}
    assert {item["run"] for item in two.items} == {2}
    assert not two.all("refused")


async def test_the_next_run_of_ones_own_id_goes_on_being_shown(client_of: Callable[..., Client]) -> None:
    """A nightly task stays on its owner's page, run after run."""
    acted("nightly").end()
    client = client_of("A")
    await client.say("watch", ids=["nightly"])
    again = acted("nightly").run(1, 7)
    await push(again)
    await until(lambda: client.items and client.items[-1]["run"] == 2)
    assert not client.all("refused")


# --- Rights that end ---------------------------------------------------------------------------------------


async def test_who_is_no_longer_staff_is_sent_no_more_lines(client_of: Callable[..., Client]) -> None:
    """A token may still watch the task, but reads no log: what is written after the demotion is not sent."""
    task = await acted("t", "OWNER").log("before")
    client = client_of("staff", VIEW)
    await client.say("watch", ids=["t"], token=watch_token("t"))
    await client.say("logs", id="t")
    assert client.lines() == ["before"]
    await client.conversation.look_again(Viewer("staff"))
    await task.log("after")
    task.run(1, 2)
    await until(lambda: client.items and client.items[-1]["state"] == "PROGRESS")
    assert client.lines() == ["before"]


async def test_what_still_waits_is_shown_in_the_view_that_is_left(client_of: Callable[..., Client]) -> None:
    """A snapshot that a slow reader has not taken yet leaves in the public view after a demotion."""
    task = acted("t", "OWNER")
    client = client_of("staff", VIEW)
    await client.say("watch", ids=["t"], token=watch_token("t"), every_ms=200)
    await until(lambda: client.items)
    task.run(1, 2).end(State.FAILURE, error=ValueError("secret"))
    await push(task)
    await until(lambda: "t" in client.outbox._waiting)
    await client.conversation.look_again(Viewer("staff"))
    await until(lambda: client.items[-1]["state"] == "FAILURE")
    assert "secret" not in json.dumps(client.items)


async def test_who_is_no_longer_staff_is_shown_the_public_view_at_once(client_of: Callable[..., Client]) -> None:
    """Also of a task whose snapshots went straight to the outbox until then."""
    task = acted("t", "OWNER")
    client = client_of("staff", VIEW)
    await client.say("watch", ids=["t"], token=watch_token("t"))
    for step in (1, 2, 3, 4):
        if step == 4:
            await client.conversation.look_again(Viewer("staff"))
        task.run(step, 9)
        await push(task)
        await until(lambda: client.items and client.items[-1]["current"] == step)  # noqa: B023
        assert ("worker" in client.items[-1]) == (step < 4)


async def test_what_was_given_up_in_the_same_turn_is_not_mentioned(
    client_of: Callable[..., Client], the_hub: Hub
) -> None:
    """Whatever has arrived about it before."""
    task = acted()
    client = client_of("A")
    await client.say("watch", ids=["t"])
    task.run(1, 2)
    await push(task)
    await until(lambda: client.items and client.items[-1]["state"] == "PROGRESS")
    record = get_store().load(task.run(2, 2).key)
    assert record is not None
    the_hub._take(groups.hint(task.key, record.seq, record.text()))
    assert client.conversation._tasks.forget(["t"])
    await asyncio.sleep(0.05)
    assert client.items[-1]["current"] == 1


# --- Wishes that change ------------------------------------------------------------------------------------


async def test_what_is_given_up_while_the_answer_waits_is_not_watched(
    client_of: Callable[..., Client], the_hub: Hub
) -> None:
    """A reader that is slow with `watching` leaves no watch behind when it has unwatched meanwhile."""
    acted()
    client = client_of("A")
    client.reading.clear()
    watching = asyncio.create_task(client.say("watch", ids=["t"]))
    await until(lambda: client.conversation.watched)
    await client.say("unwatch", all=True)
    client.reading.set()
    await watching
    assert the_hub._tasks == {}


async def test_nobody_is_followed_for_a_client_that_has_given_it_up(
    client_of: Callable[..., Client], the_hub: Hub
) -> None:
    """The same for `mine`."""
    client = client_of("A")
    client.reading.clear()
    following = asyncio.create_task(client.say("watch", mine=True))
    await until(lambda: client.conversation._own.wants("any", "A"))
    await client.say("unwatch", all=True)
    client.reading.set()
    await following
    assert the_hub._users._owners == {}


async def test_a_task_of_mine_that_was_unwatched_stays_unwatched(client_of: Callable[..., Client]) -> None:
    """The sweep does not bring it back; asking for it does."""
    acted("one"), acted("two")
    client = client_of("A")
    await client.say("watch", mine=True)
    await until(lambda: {item["id"] for item in client.items} == {"one", "two"})
    await client.say("unwatch", ids=["one"])
    told = len(client.told)
    acted("three")
    await until(lambda: "three" in client.conversation.watched)  # so a sweep has looked at all of them
    await asyncio.sleep(0.15)
    assert [item["id"] for answer in client.told[told:] for item in answer["items"]] == ["three"]
    await client.say("watch", ids=["one"])
    assert "one" in client.conversation.watched


async def test_more_than_fifty_tasks_of_mine_are_found(client_of: Callable[..., Client]) -> None:
    """`mine` is as large as what is remembered per user, up to the connection's limit."""
    for number in range(80):
        acted(f"t{number}")
    client = client_of("A")
    await client.say("watch", mine=True)
    await until(lambda: len(client.conversation.watched) == 80)


async def test_asking_again_for_what_is_watched_costs_no_read(
    client_of: Callable[..., Client], memory: CountingStore, settings: Any
) -> None:
    """Who repeats a watch a hundred times is answered a hundred times from memory."""
    settings.PROGRESS_SWEEP_INTERVAL = 60
    acted()
    client = client_of("A")
    await client.say("watch", ids=["t"])
    await asyncio.sleep(0.1)  # past the look after joining
    before = memory.reads
    for _ in range(100):
        await client.say("watch", ids=["t"])
    assert len(client.all("watching")) == 101
    assert memory.reads == before
