"""One connection, however it begins and ends: it says why it closes, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import RequestFactory

from progress import authorize, consumers, draining, heart, hub, messages, middleware, reviews, revocations, views
from progress.consumers import ProgressConsumer
from progress.counters import counters
from progress.exceptions import StoreUnavailable
from progress.hub import Hub, get_hub
from progress.memory_store import MemoryStore
from progress.origins import Origin
from progress.permissions import Viewer
from progress.routing import nothing_here
from progress.servers import Flow
from tests.acted import ActedTask
from tests.wire import until


@pytest.fixture(autouse=True)
def surroundings(progress_store: MemoryStore, settings: Any, monkeypatch: Any) -> None:
    """A store and a layer of this test's own, looked at often."""
    settings.PROGRESS_SWEEP_INTERVAL = 0.1
    monkeypatch.setattr(hub, "READ_AGAIN", 0.02)


class Line:
    """A client at the other end of an ASGI server that we play."""

    def __init__(
        self,
        viewer: Callable[[], Any] | None = None,
        *,
        task_id: str | None = None,
        origin: Origin = Origin.OWN,
        scope: dict[str, Any] | None = None,
    ) -> None:
        self.told: list[dict[str, Any]] = []
        self.closed: int | None = None
        self.accepted = False
        self.broken = False
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.scope = {
            "type": "websocket",
            "progress.origin": origin,
            "url_route": {"kwargs": {"task_id": task_id} if task_id else {}},
            **({"progress.viewer": viewer} if viewer else {}),
            **(scope or {}),
        }
        self.incoming.put_nowait({"type": "websocket.connect"})
        self.app = asyncio.create_task(ProgressConsumer.as_asgi()(self.scope, self.incoming.get, self.send))

    async def send(self, message: dict[str, Any]) -> None:
        if self.broken and self.accepted:
            raise RuntimeError("Attempt to send on a closed protocol")
        if message["type"] == "websocket.accept":
            self.accepted = True
        elif message["type"] == "websocket.close":
            self.closed = message["code"]
        else:
            assert self.closed is None, f"{message} was said after the close"
            self.told.append(json.loads(message["text"]))

    def say(self, kind: str, **fields: Any) -> None:
        self.incoming.put_nowait({"type": "websocket.receive", "text": json.dumps({"type": kind, **fields})})

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.told if message["type"] == kind]

    async def leave(self) -> None:
        self.incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
        await asyncio.wait_for(self.app, 5)


def as_user(pk: str) -> Callable[[], Any]:
    async def viewer() -> Viewer:
        return Viewer(pk)

    return viewer


def acted(task_id: str = "t") -> ActedTask:
    return ActedTask(task_id, owner="1", hints=False).queue()


def is_empty(the_hub: Hub) -> bool:
    subscription = the_hub._subscription
    return not (the_hub._tasks or the_hub._users._owners or subscription._groups or subscription._joined)


def test_times_are_those_of_the_protocol() -> None:
    """A heartbeat at least every 15 s, logging out seen within 60 s, 5 s for a first token, numbers of the codes."""
    assert heart.HEARTBEAT <= 12  # a loop that sleeps so long is always a little late
    looked_up = reviews.LOOK_UP_AFTER + middleware.CACHE_SECONDS + middleware.CROWD_TIMEOUT
    asked = authorize.BELIEVED + max(authorize.FRESH, middleware.CACHE_SECONDS) + authorize.REVIEW_TIMEOUT
    assert max(looked_up, asked, revocations.LOOK_EVERY) + reviews.EVERY <= 60
    assert consumers.TOKEN_WAIT == 5
    assert messages.MAX_FRAME_BYTES == 16 * 1024
    codes = (consumers.RESTART, consumers.PROTOCOL, consumers.SESSION, consumers.ORIGIN)
    assert codes == (4012, 4400, 4401, 4403)
    assert (consumers.NOTHING_HERE, consumers.TOO_MANY) == (4404, 4429)


# --- Ends --------------------------------------------------------------------------------------------------


async def test_a_client_that_leaves_is_forgotten() -> None:
    """After a disconnect the hub knows nothing of it, and no task of the loop is left."""
    get_hub()
    await _warm()
    before = asyncio.all_tasks()
    line = Line(as_user("1"))
    task = acted()
    line.say("watch", ids=[task.id], mine=True)
    line.say("logs", id=task.id)
    await until(lambda: line.all("logs"))
    await line.leave()
    await until(lambda: is_empty(get_hub()))
    await until(lambda: asyncio.all_tasks() <= before)


async def test_a_reader_that_takes_nothing_has_one_heartbeat_waiting_for_it() -> None:
    """On a server that does not say so: `send` waits, and what is said every ten seconds must not pile up."""
    line, open_again = Line(), asyncio.Event()
    await until(lambda: line.accepted)
    sending: list[dict[str, Any]] = []

    async def wait_for_reader(message: dict[str, Any]) -> None:
        sending.append(message)
        await open_again.wait()

    await until(lambda: any(heart.get_heart()._turns))
    consumer: Any = next(each for turn in heart.get_heart()._turns for each in turn)
    consumer.base_send = wait_for_reader
    for _ in range(3):
        consumer.beat("{}", b"")
        await asyncio.sleep(0)
    assert len(sending) == 1
    open_again.set()
    await until(lambda: consumer._beat.done())
    consumer.beat("{}", b"")
    await until(lambda: len(sending) == 2)
    await line.leave()


async def _warm() -> None:
    """Start the hub's own tasks."""
    line = Line(as_user("9"))
    line.say("watch", mine=True)
    await until(lambda: line.all("watching"))
    await line.leave()


@pytest.mark.parametrize("after", [0, 1, 2, 5, 10, 30])
async def test_an_application_that_is_cancelled_is_forgotten(after: int) -> None:
    """Daphne cancels applications at its end, wherever they are; the hub forgets them all the same."""
    await _warm()
    before = asyncio.all_tasks()
    tasks = [acted(f"t{number}") for number in range(20)]
    lines = [Line(as_user("1"), task_id=tasks[number % 20].id) for number in range(50)]
    for line in lines:
        line.say("watch", ids=[task.id for task in tasks], mine=True)
    for _ in range(after):
        await asyncio.sleep(0)
    for line in lines:
        line.app.cancel()
    await asyncio.gather(*(line.app for line in lines), return_exceptions=True)
    await until(lambda: is_empty(get_hub()))
    await until(lambda: asyncio.all_tasks() <= before)


async def test_an_impatient_server_loses_no_watcher(monkeypatch: Any) -> None:
    """Cancelled while it gives up its groups, on a layer that hangs, it is forgotten by the hub all the same."""
    from channels.layers import InMemoryChannelLayer

    await _warm()
    line, tasks = Line(as_user("1")), [acted(f"t{number}") for number in range(5)]
    line.say("watch", ids=[task.id for task in tasks])
    await until(lambda: line.all("snapshots"))

    async def hang(*_args: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(InMemoryChannelLayer, "group_discard", hang)
    line.incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
    await asyncio.sleep(0.01)
    line.app.cancel()
    await asyncio.gather(line.app, return_exceptions=True)
    assert get_hub()._tasks == {}


async def test_a_hundred_clients_of_all_kinds_leave_nothing(recwarn: Any) -> None:
    """Well-behaved, rude, vanishing and refused clients: no watcher, no group, no task, no warning stays."""
    await _warm()
    before = asyncio.all_tasks()
    task = acted()
    for number in range(100):
        line = Line(as_user("1" if number % 3 else ""), task_id=task.id if number % 2 else None)
        line.say("watch", ids=[task.id, "unknown"], mine=True)
        if number % 5 == 0:
            line.incoming.put_nowait({"type": "websocket.receive", "text": "{"})
        if number % 7 == 0:
            line.broken = True
        await asyncio.sleep(0)
        await line.leave()
    await until(lambda: is_empty(get_hub()))
    await until(lambda: asyncio.all_tasks() <= before)
    assert [str(warning.message) for warning in recwarn] == []


async def test_nothing_is_said_after_a_close() -> None:
    """Once a close was sent the connection is silent, whatever the task does (the played server checks it)."""
    line, task = Line(as_user("1")), acted()
    line.say("watch", ids=[task.id])
    await until(lambda: line.all("snapshots"))
    line.incoming.put_nowait({"type": "websocket.receive", "text": "{"})
    task.run(1, 2)
    await until(lambda: line.closed == 4400)
    task.end()
    line.say("ping")
    await asyncio.sleep(0.2)
    assert not line.all("heartbeat")
    await line.leave()


async def test_a_client_that_is_gone_is_no_error(caplog: Any) -> None:
    """A server that refuses to send to a leaving client (Daphne raises) fills no log."""
    line, task = Line(as_user("1")), acted()
    line.say("watch", ids=[task.id])
    await until(lambda: line.all("snapshots"))
    line.broken = True
    line.say("ping")
    task.end()
    await asyncio.sleep(0.2)
    await line.leave()
    assert [record.message for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []


# --- Trouble -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [TimeoutError(), StoreUnavailable(), RuntimeError("the database is away")], ids=repr
)
async def test_who_cannot_be_looked_up_is_told_to_come_back(error: Exception) -> None:
    """While the database or Redis is away a socket is closed with 4012 and a time, never with an error."""

    async def viewer() -> Viewer:
        raise error

    line = Line(viewer)
    await until(lambda: line.closed == 4012)
    (closing,) = line.told
    assert closing["type"] == "closing"
    assert closing["code"] == 4012
    assert 1000 <= closing["retry_ms"] <= 5000
    await line.leave()


async def test_a_watch_without_a_store_is_told_to_come_back(monkeypatch: Any) -> None:
    """Redis away in the middle of a conversation: `closing`, 4012, and nothing is left registered."""
    await _warm()
    line, task = Line(as_user("1")), acted()
    line.say("ping")
    await until(lambda: line.all("heartbeat"))

    async def away(*_args: Any) -> Any:
        raise StoreUnavailable

    monkeypatch.setattr(MemoryStore, "aload_many", away)
    line.say("watch", ids=[task.id])
    await until(lambda: line.closed == 4012)
    await line.leave()
    await until(lambda: is_empty(get_hub()))


async def test_a_wait_for_a_token_without_a_store_is_told_to_come_back(monkeypatch: Any) -> None:
    """Redis away when the wait is over: whether there is something here is not known, so it is not 4404."""
    monkeypatch.setattr(consumers, "TOKEN_WAIT", 0.05)
    line = Line(task_id="t", origin=Origin.NONE)
    await until(lambda: line.accepted)

    async def away(*_args: Any) -> Any:
        raise StoreUnavailable

    monkeypatch.setattr(MemoryStore, "aload_many", away)
    await until(lambda: line.closed == 4012)
    assert [told["type"] for told in line.told] == ["closing"]
    await line.leave()


async def test_a_client_that_names_too_many_tasks_is_closed() -> None:
    """The frames are few, what they ask for is not: 4429."""
    line = Line(as_user("1"))
    for number in range(3):
        line.say("watch", ids=[f"{number}-{each}" for each in range(400)])
    await until(lambda: line.closed == 4429)
    assert len(line.all("refused")) == 2
    await line.leave()


async def test_a_look_at_the_session_that_fails_is_repeated(monkeypatch: Any) -> None:
    """A database that was away for a while does not make a logout go unseen for ever."""
    for name in ("EVERY", "LOOK_UP_AFTER", "AGAIN_AFTER"):
        monkeypatch.setattr(reviews, name, 0.01)
    answers: list[Any] = [Viewer("1"), RuntimeError("away"), TimeoutError(), Viewer("1"), Viewer()]

    async def viewer() -> Viewer:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    line = Line(viewer)
    await until(lambda: line.closed == 4401)
    await line.leave()


async def test_another_user_in_the_same_session_ends_it(monkeypatch: Any) -> None:
    """Who logs in as somebody else must not go on watching as the one before."""
    for name in ("EVERY", "LOOK_UP_AFTER", "AGAIN_AFTER"):
        monkeypatch.setattr(reviews, name, 0.01)
    who = ["1"]

    async def viewer() -> Viewer:
        return Viewer(who[0])

    line, task = Line(viewer), acted()
    line.say("watch", ids=[task.id])
    await until(lambda: line.all("snapshots"))
    who[0] = "2"
    await until(lambda: line.closed == 4401)
    await line.leave()


async def test_a_bug_of_ours_closes_this_connection_only(monkeypatch: Any, caplog: Any) -> None:
    """An unforeseen error is logged once and closes with 1011; other connections go on."""
    from progress.conversation import Conversation

    sound, broken = Line(as_user("1")), Line(as_user("1"))

    async def bug(*_args: Any) -> None:
        raise LookupError("a bug")

    monkeypatch.setitem(Conversation._answers, "cancel", bug)
    broken.say("cancel", id="t")
    await until(lambda: broken.closed == 1011)
    sound.say("ping")
    await until(lambda: sound.all("heartbeat"))
    assert sum("a bug" in str(record.exc_info) for record in caplog.records) == 1
    for line in (sound, broken):
        await line.leave()


async def test_who_takes_nothing_is_told_no_heartbeats(monkeypatch: Any) -> None:
    """They would pile up in front of it. It hears them again as soon as it takes something."""
    monkeypatch.setattr(heart, "HEARTBEAT", 0.05)
    flow = Flow()
    flow.stuck = True
    stuck, quick = Line(as_user("1")), Line(as_user("1"))
    stuck.scope["progress.flow"] = flow
    await until(lambda: len(quick.all("heartbeat")) >= 3)
    assert not stuck.all("heartbeat")
    flow.stuck = False
    await until(lambda: stuck.all("heartbeat"))
    for line in (stuck, quick):
        await line.leave()


# --- Refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [{"progress.origin": Origin.BAD}, {"progress.origin": None}], ids=str)
async def test_a_bad_origin_is_refused_after_accepting(scope: dict[str, Any]) -> None:
    """4403, nothing said; without the origin middleware nobody is let in either."""
    if scope["progress.origin"] is None:
        line = Line(as_user("1"), origin=Origin.BAD)
        del line.scope["progress.origin"]
    else:
        line = Line(as_user("1"), scope=scope)
    await until(lambda: line.closed == 4403)
    assert line.accepted
    assert line.told == []
    await line.leave()


async def test_without_the_viewer_middleware_nobody_is_anybody() -> None:
    """A site that forgot a middleware shows nothing to anyone, instead of everything to everyone."""
    line, task = Line(None), acted()
    line.say("watch", ids=[task.id])
    await until(lambda: line.all("refused"))
    assert line.told[0]["code"] == "not_found"
    await line.leave()


async def test_an_address_that_leads_nowhere_is_accepted_and_closed() -> None:
    """4404 after accepting: a refused handshake would look like an outage."""
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    await nothing_here({"type": "websocket"}, receive, send)
    assert [message["type"] for message in said] == ["websocket.accept", "websocket.close"]
    assert said[1]["code"] == 4404


async def test_events_of_a_layer_cannot_reach_a_connection() -> None:
    """The connection has no channel, so nobody can drive it through one; only the server's messages are handled."""
    line = Line(as_user("1"))
    await until(lambda: line.accepted)
    line.incoming.put_nowait({"type": "progress.update"})
    with pytest.raises(KeyError):
        await asyncio.wait_for(line.app, 5)


async def test_more_of_mine_than_may_be_watched_are_left_out(settings: Any) -> None:
    """`mine` fills the connection up to its limit and not beyond."""
    settings.PROGRESS_MAX_WATCHES = 3
    for number in range(10):
        acted(f"t{number}")
    line = Line(as_user("1"))
    line.say("watch", mine=True)
    await until(lambda: len(line.all("watching")) >= 4)
    await asyncio.sleep(0.3)
    assert sum(len(message["items"]) for message in line.all("watching")) == 3
    await line.leave()


async def test_what_is_refused_is_counted() -> None:
    """An answer `refused` and a close for a breach count once each; a client that leaves does not."""
    before = counters.refused
    line = Line(as_user("7"))
    line.say("watch", ids=["no-such-task"])
    await until(lambda: line.all("refused"))
    assert counters.refused == before + 1
    line.incoming.put_nowait({"type": "websocket.receive", "text": "no JSON"})
    await until(lambda: line.closed == 4400)
    await line.leave()
    assert counters.refused == before + 2


async def test_who_comes_while_the_process_leaves_is_told_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """`closing` and 4012, without a look at the session; readiness is denied meanwhile."""
    monkeypatch.setattr(draining.drain, "begun", True)
    asked: list[int] = []

    async def viewer() -> Viewer:
        asked.append(1)
        return Viewer("7")

    line = Line(viewer)
    await until(lambda: line.closed == 4012)
    (closing,) = line.all("closing")
    assert (closing["code"], 0 < closing["retry_ms"] <= 5000, asked) == (4012, True, [])
    await line.leave()
    assert draining.drain.sockets == set()
    assert views.readyz(RequestFactory().get("/readyz")).status_code == 503
