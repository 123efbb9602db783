"""How a stream of events is written, and how an answer of a view becomes one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from progress import event_requests, limits, messages
from progress.draining import Drain, drain
from progress.event_flow import RequestFlow, flow_of, notice_vanished
from progress.event_outbox import EventOutbox, event
from progress.event_requests import CONTENT_TYPE, PLACE, last_seen, wants_events
from progress.events import Answer, EventStream, EventStreams
from progress.exceptions import StoreUnavailable
from progress.limits import Limits
from progress.outbox import Shown
from progress.permissions import Viewer
from progress.servers import Flow, WaitingFlow
from progress.snapshot import encode
from progress.testing import Communicator
from tests.acted import ActedTask
from tests.wire import until

HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", CONTENT_TYPE.encode())]}


class Sent(list[dict[str, Any]]):
    """What a server was given to send."""

    async def __call__(self, message: dict[str, Any]) -> None:
        self.append(message)

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self).decode()


def shown(key: str, seq: int, *, final: bool = False) -> Shown:
    public = json.dumps({"id": key, "seq": seq})
    return Shown(key, seq, public, public, logs_to=None, now=lambda: "now", final=final)


# --- How it is written ---------------------------------------------------------------------------------------


def test_an_event_has_its_fields_and_an_empty_line() -> None:
    """The id and the time to come back only where they are given."""
    assert event("heartbeat", "{}") == "event: heartbeat\ndata: {}\n\n"
    assert event("snapshot", "{}", seq=7) == "event: snapshot\nid: 7\ndata: {}\n\n"
    assert event("closing", "{}", retry_ms=1500) == "event: closing\nretry: 1500\ndata: {}\n\n"


@given(st.text(), st.sampled_from(["\n", "\r", "\r\n", "\n\n", " "]))
def test_no_data_begins_an_event_of_its_own(text: str, between: str) -> None:
    """Line ends between the tokens of a JSON text, and texts with anything in them, stay one line of that JSON."""
    value = {"message": text, "meta": [text]}
    data = "{" + between + encode(value)[1:] + between
    (kind, line, *empty) = event("snapshot", data).split("\n")
    assert (kind, empty) == ("event: snapshot", ["", ""])
    assert "\r" not in line
    assert json.loads(line.removeprefix("data: ")) == value


def outbox(send: Any, *, seen: int = 0) -> tuple[EventOutbox, list[set[str]]]:
    """An outbox, and what had ended each time that it had sent something."""
    noted: list[set[str]] = []
    found = EventOutbox(send, Flow(), lambda: "now", seen=seen, sent=lambda: noted.append(set(found.ended)))
    return found, noted


async def test_each_snapshot_is_an_event_of_its_own() -> None:
    """Several in one write; what was overtaken is skipped."""
    sent = Sent()
    found, _ = outbox(sent)
    for each in (shown("a", 1), shown("b", 2), shown("a", 3)):
        found.put(each, False)
    await until(lambda: sent)
    assert sent.text == "".join(
        event("snapshot", json.dumps({"id": key, "seq": seq}), seq=seq) for key, seq in (("a", 3), ("b", 2))
    )
    assert sent[0]["more_body"] is True
    found.close()


async def test_what_the_client_has_is_not_sent_again() -> None:
    """Nothing that is not newer; that it has ended is known all the same."""
    sent = Sent()
    found, noted = outbox(sent, seen=5)
    found.put(shown("a", 5, final=True), False)
    assert found.ended == {"a"}
    assert noted == [{"a"}]
    found.put(shown("a", 6), False)
    await until(lambda: sent)
    assert found.ended == set()
    assert sent.text.count("event:") == 1
    found.close()


async def test_a_task_has_ended_when_that_was_sent() -> None:
    """Not while it waits to be sent: the stream would end before its last event."""
    gate = asyncio.Event()

    async def send(_message: dict[str, Any]) -> None:
        await gate.wait()

    found, noted = outbox(send)
    found.put(shown("a", 1, final=True), False)
    await until(lambda: found.idle)
    assert found.ended == set()
    gate.set()
    await until(lambda: noted)
    assert noted == [{"a"}]
    found.close()


# --- What is asked -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("text/event-stream", True),
        ("TEXT/Event-Stream; q=0.9, */*;q=0.1", True),
        ("text/event-stream, application/json", False),
        ("*/*", False),
        ("", False),
        ("text/event-stream-of-mine", False),
    ],
)
def test_json_is_the_default(accept: str, wanted: bool) -> None:
    """Events are for who names them, and no JSON."""
    assert wants_events(RequestFactory().get("/", headers={"Accept": accept})) is wanted


@pytest.mark.parametrize(("said", "seen"), [("12", 12), (" 7 ", 7), ("", 0), ("-1", 0), ("1e3", 0), ("٣", 0)])
def test_the_last_event_is_a_number_or_none(said: str, seen: int) -> None:
    """Whatever else a client says there counts for nothing."""
    request = RequestFactory().get("/")
    request.META["HTTP_LAST_EVENT_ID"] = said
    assert last_seen(request) == seen


def test_where_nothing_can_go_on_the_answer_says_so() -> None:
    """Under WSGI, or without the wrapper: 501, in JSON, with what to do."""
    response = event_requests.stream(RequestFactory().get("/"), ["t"])
    assert response.status_code == 501
    assert json.loads(response.content)["error"] == "no_events"
    assert "with_progress" in json.loads(response.content)["detail"]


# --- From an answer to a stream ------------------------------------------------------------------------------


def http(path: str = "/progress/t/events/", accept: bytes = b"text/event-stream") -> dict[str, Any]:
    return {"type": "http", "path": path, "headers": [(b"accept", accept)], "http_version": "1.1"}


async def never() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError("Nobody says anything.")


@pytest.mark.parametrize(
    "scope",
    [http("/", b"text/html"), http("/progress/", b"*/*"), {"type": "websocket", "path": "/x/events/", "headers": []}],
)
async def test_other_requests_pass_untouched(scope: dict[str, Any]) -> None:
    """The very objects of the server."""
    calls: list[tuple[Any, ...]] = []

    async def site(*call: Any) -> None:
        calls.append(call)

    sent = Sent()
    await EventStreams(site)(scope, never, sent)
    assert calls == [(scope, never, sent)]
    assert calls[0][0] is scope


@pytest.mark.parametrize(
    ("status", "kind"), [(200, b"text/html"), (302, CONTENT_TYPE.encode()), (500, b"text/plain")]
)
async def test_what_a_middleware_answers_instead_is_passed_on(status: int, kind: bytes) -> None:
    """A login page, an error: the stream that the view wanted does not begin."""
    head = {**HEAD, "status": status, "headers": [(b"content-type", kind)]}
    body = {"type": "http.response.body", "body": b"x"}

    async def site(scope: Any, _receive: Any, send: Any) -> None:
        scope[PLACE].message = messages.parse('{"type":"watch","ids":["t"]}')
        await send(head)
        await send(body)

    sent = Sent()
    await EventStreams(site)(http(), never, sent)
    assert sent == [head, body]


async def test_streams_of_the_sites_own_are_passed_on_as_they_come() -> None:
    """Without a wish of ours nothing is kept back."""
    sent = Sent()
    parts: list[int] = []

    async def site(_scope: Any, _receive: Any, send: Any) -> None:
        for message in (HEAD, {"type": "http.response.body", "body": b"1", "more_body": True}):
            await send(message)
            parts.append(len(sent))

    await EventStreams(site)(http(), never, sent)
    assert parts == [1, 2]


async def test_nobody_is_streamed_to_who_left_before_it_began() -> None:
    """A server says it once only, and the application was told."""

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def site(scope: Any, receive: Any, send: Any) -> None:
        scope[PLACE].message = messages.parse('{"type":"watch","ids":["t"]}')
        assert (await receive())["type"] == "http.disconnect"
        await send(HEAD)

    sent = Sent()
    await EventStreams(site)(http(), gone, sent)
    assert sent == []


async def test_the_answer_of_the_application_is_complete_before_the_stream_begins() -> None:
    """What it has taken for the request is given back by then: head and body of it are kept."""
    sent = Sent()
    answer = Answer(never, sent)
    answer.wish.message = messages.parse('{"type":"watch","ids":["t"]}')
    await answer.send(HEAD)
    await answer.send({"type": "http.response.body", "body": b""})
    assert sent == []
    assert answer.head == HEAD


# --- A stream ------------------------------------------------------------------------------------------------


def stream_of(
    task: ActedTask, sent: Any, viewer: Viewer | Exception, receive: Callable[[], Any] = never, **wish: Any
) -> EventStream:
    async def session() -> Viewer:
        if isinstance(viewer, Exception):
            raise viewer
        return viewer

    scope = {**http(), "progress.viewer": session, "progress.session": f"session {id(sent)}"}
    message = messages.parse(json.dumps({"type": "watch", "ids": [task.id], **wish}))
    return EventStream(message, 0, scope, receive, sent)


@pytest.fixture
def counted(settings: Any, monkeypatch: Any) -> Limits:
    """Two connections for a user, counted by themselves."""
    settings.PROGRESS_MAX_CONNECTIONS, settings.PROGRESS_MAX_JOINS = 2, 0
    mine = Limits()
    monkeypatch.setattr(limits, "limits", mine)
    return mine


async def test_streams_count_as_connections(counted: Limits, progress_store: Any) -> None:
    """One over the limit is told 429 and when to come back; who ends makes room."""
    task = ActedTask("t", owner="7").queue()
    async with Communicator():
        sents = [Sent() for _ in range(3)]
        running = [asyncio.create_task(stream_of(task, sent, Viewer("7")).run(HEAD)) for sent in sents[:2]]
        await until(lambda: all("snapshot" in sent.text for sent in sents[:2]))
        await stream_of(task, sents[2], Viewer("7")).run(HEAD)
        head, body = sents[2]
        assert head["status"] == 429
        assert dict(head["headers"])[b"retry-after"] == b"30"
        assert dict(head["headers"])[b"content-type"] == b"application/json"
        assert json.loads(body["body"]) == {"error": "too_many"}
        task.end()
        await asyncio.gather(*running)
        assert counted.open == 0


@pytest.mark.parametrize("error", [TimeoutError(), RuntimeError("no session")], ids=repr)
async def test_when_nobody_knows_who_it_is_it_may_come_later(
    progress_store: Any, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """503 with a time, before anything was streamed; only what is a mistake is logged."""
    sent = Sent()
    async with Communicator():
        await stream_of(ActedTask("t"), sent, error).run(HEAD)
    assert sent[0]["status"] == 503
    assert 1 <= int(dict(sent[0]["headers"])[b"retry-after"]) <= 5
    assert ("could not be opened" in caplog.text) == isinstance(error, RuntimeError)


async def test_a_server_that_is_about_to_leave_begins_no_stream(progress_store: Any, monkeypatch: Any) -> None:
    """503: come back to the next one."""
    monkeypatch.setattr(drain, "begun", True)
    sent = Sent()
    async with Communicator():
        await stream_of(ActedTask("t"), sent, Viewer("7")).run(HEAD)
    assert sent[0]["status"] == 503


async def test_while_the_store_is_away_a_stream_says_when_to_come_back(progress_store: Any, monkeypatch: Any) -> None:
    """`closing` with a time, after the heartbeat that shows that the way is open."""

    async def away(*_args: Any) -> Any:
        raise StoreUnavailable

    monkeypatch.setattr("progress.hub.Hub.read", away)
    sent = Sent()
    async with Communicator():
        await asyncio.wait_for(stream_of(ActedTask("t"), sent, Viewer("7")).run(HEAD), 10)
    assert [line for line in sent.text.splitlines() if line.startswith("event")] == [
        "event: heartbeat",
        "event: closing",
    ]
    assert "\nretry: " in sent.text
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_whoever_leaves_takes_everything_along(progress_store: Any) -> None:
    """Nothing is sent after that, and nothing runs on."""
    left = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    sent = Sent()
    async with Communicator():
        before = asyncio.all_tasks()
        stream = stream_of(ActedTask("t", owner="7").queue(), sent, Viewer("7"), receive)
        running = asyncio.create_task(stream.run(HEAD))
        await until(lambda: "snapshot" in sent.text)
        assert stream in drain.sockets
        left.set()
        await asyncio.wait_for(running, 10)
        assert sent[-1].get("more_body") is True
        assert stream not in drain.sockets
        assert not stream.conversation._hub._tasks
        await until(lambda: not [each for each in asyncio.all_tasks() - before if "EventStream" in repr(each)])


# --- Servers -------------------------------------------------------------------------------------------------


class Request:
    """Something that looks enough like Twisted's."""

    def __init__(self) -> None:
        self.producer: Any = None
        self.channel: Any = object()
        self.transport = self
        self.cut = False

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802
        self.producer = None

    def abortConnection(self) -> None:  # noqa: N802
        self.cut = True


async def test_daphnes_request_pauses_the_stream_and_is_cut_when_that_lasts(monkeypatch: Any) -> None:
    """The producer is taken off before the answer ends: Twisted would complain."""
    monkeypatch.setattr("progress.servers.STUCK_SECONDS", 0.05)
    request, sent = Request(), Sent()
    flow = RequestFlow(sent, request)
    assert request.producer is flow
    flow.pauseProducing()
    assert flow.stuck
    await until(lambda: request.cut)
    flow.stopProducing()
    assert not flow.stuck
    await flow.send({"type": "http.response.body", "body": b"x", "more_body": True})
    assert request.producer is flow
    await flow.send({"type": "http.response.body", "body": b""})
    assert request.producer is None
    del request.channel  # as Twisted does when the request is finished
    flow.over()


async def test_a_server_that_leaves_cuts_who_takes_nothing(progress_store: Any, monkeypatch: Any) -> None:
    """Its last word is not waited for longer than it takes to tell the others."""
    leaving = Drain()
    monkeypatch.setattr("progress.events.drain", leaving)
    monkeypatch.setattr("progress.draining.TELLING", 0.05)
    monkeypatch.setattr("progress.draining.ANSWERING", 0.05)
    request, sent = Request(), Sent()
    flow = RequestFlow(sent, request)
    monkeypatch.setattr("progress.events.flow_of", lambda _send: (flow, flow.send))
    async with Communicator():
        running = asyncio.create_task(stream_of(ActedTask("t", owner="7").queue(), sent, Viewer("7")).run(HEAD))
        await until(lambda: "snapshot" in sent.text)
        flow.pauseProducing()
        await asyncio.wait_for(leaving.run(), 10)
        assert request.cut
        flow.stopProducing()  # as Twisted says when the connection is gone
        await asyncio.wait_for(running, 10)
    assert not leaving.sockets


async def test_an_unknown_server_sends_for_itself() -> None:
    """Its `send` is used as it is."""
    sent = Sent()
    flow, send = flow_of(sent)
    assert send is sent
    assert not isinstance(flow, RequestFlow | WaitingFlow)
    assert not flow.stuck
    flow.over()


@pytest.mark.parametrize("connection", [None, object()])
def test_a_socket_that_knows_no_such_option_is_left_alone(connection: Any) -> None:
    """Elsewhere than on Linux, and behind other loops."""
    notice_vanished(connection)
    assert not hasattr(connection, "setsockopt")
