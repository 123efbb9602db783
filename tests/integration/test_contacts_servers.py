"""What we lean on in Daphne, Twisted, Autobahn, uvicorn, Channels and channels_redis without their promise.

Each of these fails when an upgrade changes it, and names where we use it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
import sys
import uuid
from typing import Any

import pytest
import redis
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import channel_layers, get_channel_layer

from progress import servers
from progress.counters import counters
from progress.event_flow import VANISHED_AFTER, notice_vanished
from progress.outbox import wire
from progress.servers import (
    Flow,
    FlowControl,
    WaitingFlow,
    asyncio_transport,
    daphne_transport,
    dialogue_of,
    kernels_send,
)
from tests.wire import until

# --- Daphne, Twisted, Autobahn (servers.py) ----------------------------------------------------------------


def test_daphnes_send_is_a_partial_that_knows_the_protocol() -> None:
    """`send` is `functools.partial(handle_reply, protocol)`: the first argument leads to the transport."""
    from daphne.server import Server

    assert "send=partial(self.handle_reply, protocol)" in inspect.getsource(Server.create_application)


def test_the_protocols_transport_takes_a_producer() -> None:
    """Daphne's protocols are Autobahn's, whose `transport` is Twisted's: it pauses us, reads on, and can be cut."""
    from autobahn.twisted.websocket import WebSocketServerProtocol
    from daphne.ws_protocol import WebSocketProtocol
    from twisted.internet.tcp import Server

    assert issubclass(WebSocketProtocol, WebSocketServerProtocol)
    for name in (
        "registerProducer",
        "unregisterProducer",
        "abortConnection",
        "pauseProducing",
        "resumeProducing",
        "write",
    ):
        assert callable(getattr(Server, name)), name
    assert WebSocketProtocol.STATE_OPEN == WebSocketServerProtocol.STATE_OPEN


def test_a_transport_has_the_buffers_that_we_look_into() -> None:
    """What waits to be written is in `dataBuffer`, or is counted; `TLS` says whether it is encrypted."""
    from twisted.internet.abstract import FileDescriptor
    from twisted.internet.tcp import Connection

    plain = FileDescriptor.__new__(FileDescriptor)
    FileDescriptor.__init__(plain, reactor=object())
    assert (plain.dataBuffer, plain._tempDataLen) == (b"", 0)
    assert Connection.TLS is False


def test_only_a_plain_connection_of_twisteds_is_written_to_past_it() -> None:
    """Its `socket` is Python's own, whose kept `send` raises once it is closed. Encrypted ones go another way."""
    from twisted.internet import tcp

    transport = tcp.Server.__new__(tcp.Server)
    near, far = socket.socketpair()
    with near, far:
        transport.socket = near
        send = kernels_send(transport)
        assert send is not None
        assert (send(b"x"), far.recv(1)) == (1, b"x")
        transport.TLS = True
        assert kernels_send(transport) is None
        assert kernels_send(FakeTransport()) is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        send(b"x")


def test_a_lost_connection_tells_its_producer() -> None:
    """`stopProducing` is called when the connection is gone: whoever waits for it is set free."""
    from twisted.internet.abstract import FileDescriptor

    assert "stopProducing" in inspect.getsource(FileDescriptor.connectionLost)


@pytest.mark.parametrize("text", ["", "{}", "é" * 100, "x" * 70_000])
def test_a_prepared_message_is_one_text_frame(text: str) -> None:
    """What we write past the server is what the server would have written: final, text, unmasked."""
    from websockets.frames import Opcode
    from websockets.protocol import CLIENT, OPEN, Protocol

    client = Protocol(CLIENT, state=OPEN, max_size=None)
    client.receive_data(wire(text))
    (frame,) = client.events_received()
    assert (frame.opcode, frame.fin, bytes(frame.data).decode()) == (Opcode.TEXT, True, text)


class FakeTransport:
    """Something that looks enough like Twisted's."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_args: self.calls.append(name)


def test_the_transport_is_found_behind_a_partial_only() -> None:
    """On another server there is none, whatever its `send` is, and nothing is raised."""

    class Protocol:
        transport = FakeTransport()

    async def handle_reply(protocol: Any, message: Any) -> None: ...

    assert daphne_transport(functools.partial(handle_reply, Protocol())) is Protocol.transport
    for send in (
        handle_reply,
        functools.partial(handle_reply),
        functools.partial(handle_reply, object()),
        functools.partial(handle_reply, type("P", (), {"transport": None})()),
        None,
    ):
        assert daphne_transport(send) is None


async def test_the_site_takes_the_producer_of_its_sockets() -> None:
    """Twisted allows one producer: the one that is registered is taken off first."""
    transport = FakeTransport()
    Flow(transport)
    assert transport.calls == ["unregisterProducer", "registerProducer"]


# --- Channels (consumers.py, hub.py, subscription.py) ------------------------------------------------------


async def test_a_consumer_that_only_its_client_talks_to_needs_a_way_to_send() -> None:
    """Our own loop takes the place of `AsyncConsumer.__call__`, and sets no more than this."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    consumer = AsyncWebsocketConsumer()
    consumer.base_send = send
    await consumer.accept()
    await consumer.send(text_data="hello")
    await consumer.close(4404)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert (sent[1]["text"], sent[2]["code"]) == ("hello", 4404)


def test_the_methods_that_we_override_exist() -> None:
    """Connect, receive, disconnect, close and the handlers that call them have the shape that we rely on."""
    for name, arguments in {
        "connect": [],
        "receive": ["text_data", "bytes_data"],
        "disconnect": ["code"],
        "close": ["code", "reason"],
        "websocket_connect": ["message"],
        "websocket_receive": ["message"],
        "websocket_disconnect": ["message"],
        "accept": ["subprotocol", "headers"],
    }.items():
        parameters = list(inspect.signature(getattr(AsyncWebsocketConsumer, name)).parameters)
        assert parameters == ["self", *arguments], name


def test_a_new_backend_instance_can_be_made() -> None:
    """`make_backend` gives another instance than the shared one each time."""
    made = [channel_layers.make_backend("default") for _ in range(2)]
    assert made[0] is not made[1]
    assert get_channel_layer() not in made


# --- channels_redis ----------------------------------------------------------------------------------------


@pytest.fixture
async def layer(redis_url: str) -> Any:
    made = channel_layers.make_backend("default")
    yield made
    await made.flush()


async def received(layer: Any, channel: str) -> Any:
    async with asyncio.timeout(5):
        return await layer.receive(channel)


async def test_a_group_reaches_a_channel_of_our_own(layer: Any) -> None:
    """`new_channel`, `group_add`, `group_send`, `receive`, without a consumer; joining twice delivers once."""
    channel = await layer.new_channel()
    for _ in range(2):
        await layer.group_add("g", channel)
    await arrived(layer, channel)
    await layer.group_send("g", {"type": "t", "n": 1})
    await layer.group_send("g", {"type": "t", "n": 2})
    assert [(await received(layer, channel))["n"] for _ in range(2)] == [1, 2]
    await layer.group_discard("g", channel)
    await layer.group_discard("g", channel)


async def arrived(layer: Any, channel: str) -> None:
    """Subscriptions take effect in order: when a message to the channel itself arrives, the group is joined."""
    mark = uuid.uuid4().hex
    await layer.send(channel, {"type": "mark", "mark": mark})
    while (await received(layer, channel)).get("mark") != mark:
        pass


async def test_a_group_is_one_redis_channel_of_a_known_name(layer: Any, redis_url: str) -> None:
    """Tests and the doctor count subscriptions under `<prefix>__group__<group>`."""
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    await arrived(layer, channel)
    with redis.Redis.from_url(redis_url) as client:
        assert client.pubsub_numsub("progress-tests__group__g") == [(b"progress-tests__group__g", 1)]


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\xff" * 20, b"\x93\x01", b"\xa2\xff\xfe"])
async def test_what_cannot_be_decoded_is_a_value_error_and_keeps_the_channel(
    layer: Any, redis_url: str, data: bytes
) -> None:
    """Garbage raises `ValueError` out of `receive`; the next message is received as if nothing had happened."""
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    await arrived(layer, channel)
    with redis.Redis.from_url(redis_url) as client:
        client.publish("progress-tests__group__g", data)
    await layer.group_send("g", {"type": "t", "n": 1})
    with pytest.raises(ValueError):  # noqa: PT011 (each kind of garbage has a text of its own)
        await received(layer, channel)
    assert (await received(layer, channel))["n"] == 1


async def test_a_flushed_layer_has_no_tasks_and_no_connections_left(redis_url: str) -> None:
    """`flush` ends the receiving task: an instance that we replace leaves nothing behind."""
    before = asyncio.all_tasks()
    made = channel_layers.make_backend("default")
    channel = await made.new_channel()
    await made.group_add("g", channel)
    assert asyncio.all_tasks() > before
    await made.flush()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_a_layer_whose_redis_is_away_says_so_and_leaves_a_task(redis_url: str, settings: Any) -> None:
    """`new_channel` raises, but its receiving task runs on: that is why we flush what we give up."""
    from project.redis_server import free_port

    config = settings.CHANNEL_LAYERS["default"]["CONFIG"]
    nowhere = {**config, "hosts": [f"redis://127.0.0.1:{free_port()}"]}
    made = channel_layers._make_backend("default", nowhere)
    before = asyncio.all_tasks()
    with pytest.raises(redis.ConnectionError):
        await made.new_channel()
    assert len(asyncio.all_tasks() - before) == 1
    await made.flush()
    assert asyncio.all_tasks() == before


# --- uvicorn (servers.py) ----------------------------------------------------------------------------------


def test_uvicorns_send_is_a_method_of_the_protocol_and_waits_before_it_sends() -> None:
    """`send.__self__.transport` is asyncio's transport; a full one is waited for at the beginning of `send`."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    protocol = WebSocketsSansIOProtocol.__new__(WebSocketsSansIOProtocol)
    protocol.transport = Asyncios()
    assert asyncio_transport(protocol.send) is protocol.transport
    assert daphne_transport(protocol.send) is None
    assert "self.app(self.scope, self.receive, self.send)" in inspect.getsource(protocol.run_asgi)
    first = inspect.getsource(protocol.send).splitlines()[1].strip()
    assert first == "await self.writable.wait()"


class Asyncios(asyncio.Transport):
    """A transport as asyncio documents it, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.unread = 0
        self.aborted = False
        self.written: list[bytes] = []

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.aborted

    def write(self, data: Any) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True


def sansio(state: Any) -> Any:
    """uvicorn's protocol with a connection in this state."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
    from websockets.server import ServerProtocol

    protocol = WebSocketsSansIOProtocol.__new__(WebSocketsSansIOProtocol)
    protocol.conn = ServerProtocol()
    protocol.conn.state = state
    return protocol


async def test_a_transport_that_is_empty_is_written_to_past_uvicorn() -> None:
    """Only while the WebSocket is open, nothing waits, nobody is waited for, and the connection was not cut."""
    from websockets.protocol import State

    transport, protocol = Asyncios(), sansio(State.CONNECTING)
    flow = WaitingFlow(protocol.send, transport, protocol)
    assert not flow.write(b"too early")
    protocol.conn.state = State.OPEN
    assert flow.write(b"in time")
    transport.unread = 1
    assert not flow.write(b"before what waits")
    transport.unread = 0
    flow._takes_nothing()
    assert not flow.write(b"before what is sent")
    flow._takes_more()
    transport.aborted = True
    assert not flow.write(b"after the cut")
    transport.aborted = False
    protocol.conn.state = State.CLOSING
    assert not flow.write(b"after the close frame")
    assert transport.written == [b"in time"]


def test_an_unknown_protocol_is_not_written_to_past_the_server() -> None:
    """Whatever it looks like: another server's, uvicorn's for HTTP, or one that a site has changed."""
    from uvicorn.protocols.http.h11_impl import RequestResponseCycle
    from websockets.protocol import State

    class Changed(type(sansio(State.OPEN))):  # type: ignore[misc]
        pass

    for protocol in (None, object(), Changed.__new__(Changed), RequestResponseCycle.__new__(RequestResponseCycle)):
        assert dialogue_of(protocol) == (None, None)
    assert dialogue_of(sansio(State.OPEN))[1] is State.OPEN


async def test_a_send_that_waits_too_long_ends_by_cutting(monkeypatch: pytest.MonkeyPatch) -> None:
    """While `send` waits the connection counts as stuck; after the patience it is cut, and nobody waits any more."""
    monkeypatch.setattr(servers, "STUCK_SECONDS", 0.05)
    transport, gone, cut = Asyncios(), asyncio.Event(), counters.cut
    transport.abort = gone.set  # type: ignore[method-assign]
    sent: list[Any] = []

    async def send(message: Any) -> None:
        if transport.unread:
            await gone.wait()
            raise ConnectionError
        sent.append(message)

    flow = WaitingFlow(send, transport)
    await flow.send({"number": 1})
    assert (sent, flow.stuck, flow.direct, flow.write(b"")) == ([{"number": 1}], False, False, False)
    transport.unread = 1
    waiting = [asyncio.create_task(flow.send({"number": number})) for number in (2, 3)]
    await asyncio.sleep(0)
    assert flow.stuck
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 2
    assert not flow.stuck
    await asyncio.wait_for(flow.ready(), 1)
    assert counters.cut == cut + 1


async def test_what_is_left_when_the_application_ends_is_thrown_away_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that takes the rest is not cut, one that takes nothing is."""
    monkeypatch.setattr(servers, "STUCK_SECONDS", 0.05)
    slow, deaf = Asyncios(), Asyncios()
    for transport in (slow, deaf):
        transport.unread = 100

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "websocket.accept"})

        protocol = type("Protocol", (), {"transport": transport, "send": _nothing})()
        await FlowControl(application)({"type": "websocket"}, None, protocol.send)
    slow.unread = 0
    await until(lambda: deaf.aborted)
    assert not slow.aborted


async def test_what_the_server_is_closing_already_is_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that answers no ping is closed by uvicorn, which then waits for him; the application hears nothing."""
    monkeypatch.setattr(servers, "STUCK_SECONDS", 0.05)
    closing = Asyncios()
    closing.unread = 100

    async def send(message: Any) -> None:
        raise RuntimeError("Unexpected ASGI message, after sending 'websocket.close'.")

    with pytest.raises(RuntimeError):
        await WaitingFlow(send, closing).send({"type": "websocket.send"})
    await until(lambda: closing.aborted)


async def _nothing(_protocol: Any, _message: Any) -> None:
    """A `send` that takes everything."""


# --- What a client says (servers.py) -----------------------------------------------------------------------


class Hearing:
    """What of Daphne's protocol is used to bound what a client says."""

    STATE_OPEN = 3

    def __init__(self) -> None:
        self.state = self.STATE_OPEN
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.closed_with: int | None = None

    def onMessage(self, payload: bytes, is_binary: bool) -> None:  # noqa: N802
        self.queue.put_nowait({"type": "websocket.receive", "bytes": payload})

    def sendClose(self, code: int) -> None:  # noqa: N802
        self.closed_with, self.state = code, 2


def test_daphne_and_autobahn_have_what_bounds_a_client() -> None:
    """The names that `bound_intake` overrides exist, and are asked at the protocol itself."""
    from autobahn.websocket.protocol import WebSocketProtocol as Autobahn
    from daphne.server import Server
    from daphne.ws_protocol import WebSocketProtocol

    assert "receive=input_queue.get" in inspect.getsource(Server.create_application)
    assert list(inspect.signature(WebSocketProtocol.onMessage).parameters) == ["self", "payload", "isBinary"]
    begin = inspect.getsource(Autobahn.onMessageFrameBegin)
    assert "self.maxMessagePayloadSize" in begin
    assert "self._max_message_size_exceeded(" in begin
    assert "if not self.failedByMe:" in inspect.getsource(Autobahn.onMessageFrameData)


def test_autobahn_reads_how_long_to_wait_for_an_answer_when_it_closes() -> None:
    """From the protocol, each time: `Flow` sets it on one connection. Its own second is too short."""
    from autobahn.twisted.websocket import WebSocketServerFactory
    from autobahn.websocket.protocol import WebSocketProtocol as Autobahn

    assert "self.closeHandshakeTimeout,\n" in inspect.getsource(Autobahn.sendCloseFrame)
    assert WebSocketServerFactory().closeHandshakeTimeout == 1


def test_a_client_that_says_more_than_is_handled_is_closed_with_4429() -> None:
    """By count and by size; what is said afterwards is not kept. What has been handled counts no more."""
    for size, most in ((10, servers.UNHANDLED), (16 * 1024, servers.UNHANDLED_BYTES // (16 * 1024))):
        protocol = Hearing()
        servers.bound_intake(protocol, protocol.queue)
        for _ in range(3 * most):  # handled one by one
            protocol.onMessage(b"x" * size, False)
            protocol.queue.get_nowait()
        assert protocol.closed_with is None
        for _ in range(3 * most):
            protocol.onMessage(b"x" * size, False)
        assert (protocol.closed_with, protocol.queue.qsize()) == (4429, most)


# --- Streams of events (event_flow.py) -----------------------------------------------------------------------


def test_daphnes_request_takes_a_producer_and_leads_to_the_transport() -> None:
    """Its `send` knows the request, Twisted's: that passes a producer to the channel, which pauses and resumes it."""
    from daphne.http_protocol import WebRequest
    from twisted.web.http import HTTPChannel, Request

    assert issubclass(WebRequest, Request)
    assert "self.transport = self.channel.transport" in inspect.getsource(Request.__init__)
    assert "self.channel.registerProducer(producer, streaming)" in inspect.getsource(Request.registerProducer)
    for name in ("pauseProducing", "resumeProducing", "stopProducing"):
        assert f"self._requestProducer.{name}()" in inspect.getsource(getattr(HTTPChannel, name))


def test_uvicorns_send_of_an_answer_leads_to_the_transport() -> None:
    """Of both its ways to speak HTTP: the cycle that `send` belongs to has it."""
    from uvicorn.protocols.http import h11_impl

    parameters = inspect.signature(h11_impl.RequestResponseCycle).parameters
    assert "transport" in parameters
    assert "self.flow.drain()" in inspect.getsource(h11_impl.RequestResponseCycle.send)


def test_the_system_can_be_told_to_give_up_a_client() -> None:
    """`TCP_USER_TIMEOUT`, in ms, where there is such an option: on Linux."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    with socket.socket() as connection:
        notice_vanished(connection)
        found = None if option is None else connection.getsockopt(socket.IPPROTO_TCP, option)
    assert found == (VANISHED_AFTER * 1000 if sys.platform == "linux" else None)
