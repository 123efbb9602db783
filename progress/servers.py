"""What we lean on in the ASGI servers, in one place. Contact tests fail when a server changes it.

Daphne writes into a socket's buffer without ever asking whether the reader keeps up. Its transport tells,
though: a producer that is registered on it is paused when the buffer is full and resumed when it has drained.
Daphne's `send` is a partial of a method that knows the protocol, and the protocol knows the transport.

Nor does it ask whether the application keeps up: what a client says goes into a queue without end, in messages of a
megabyte. Its protocol calls `onMessage` for each, and `_max_message_size_exceeded` for those that are too large. One
second after a close frame without an answer it resets the connection: who was slow never reads why it was closed.

uvicorn waits inside `send` until the reader has caught up, but it waits for ever, and what it closes stays until
the last byte is read. Its `send` is a method of the protocol, which knows the transport: asyncio's, that can be cut.
It reads nothing more until what came was taken.

A message for many readers is framed once and given to their transports, past the server: its own way costs a task, an
encoding and a frame for each. Where anything is unusual that way is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .counters import counters

logger = logging.getLogger(__name__)

STUCK_SECONDS: Final = 30.0  # a reader that takes nothing for so long is cut
CLOSING_SECONDS: Final = 10  # for a client to answer a close frame, as uvicorn waits
UNHANDLED: Final = 100  # messages of a client that wait to be handled; more than it may say at once
UNHANDLED_BYTES: Final = 128 * 1024  # of them together, or of one
TOO_MUCH: Final = 4429  # the close code for more than that
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing throws away what nobody reads


class Flow:
    """Whether a connection takes more data. Without a transport it always does, as far as we know.

    While it takes nothing we do not listen to it either, or it could make us answer on and on; after 30 s of that
    it is cut.
    """

    # Asked for each reader of each message: what is asked lies together.
    __slots__ = ("_cut", "_dialogue", "_open", "_opened", "_send_at_once", "_transport", "stuck")

    def __init__(self, transport: Any = None, protocol: Any = None) -> None:
        self.stuck = False  # True while the reader does not keep up
        self._transport = transport
        self._dialogue, self._opened = protocol, getattr(protocol, "STATE_OPEN", None)
        self._send_at_once = None if protocol is None else kernels_send(transport)
        self._open: asyncio.Event | None = None  # made when somebody has to wait: most never do
        self._cut: asyncio.TimerHandle | None = None
        if protocol is not None:
            protocol.closeHandshakeTimeout = CLOSING_SECONDS
        if transport is not None:
            transport.unregisterProducer()
            transport.registerProducer(self, True)

    @property
    def direct(self) -> bool:
        """True if `write` writes now."""
        return not self.stuck and self._dialogue is not None and self._dialogue.state == self._opened

    def write(self, message: bytes) -> bool:
        """Hand over a whole message, after all that was sent before. False: the server has to send it."""
        if not self.direct:
            return False
        transport, sent = self._transport, 0
        # Twisted's `write` costs two more system calls and a turn, and is for what comes after something that waits.
        if self._send_at_once is not None and not transport.dataBuffer and not transport._tempDataLen:
            try:
                sent = self._send_at_once(message)
            except OSError:
                sent = 0  # the kernel takes nothing now, or the connection is broken: `write` will find out
        if sent < len(message):
            transport.write(message[sent:])
        return True

    async def ready(self) -> None:
        """Return when the connection takes more data."""
        while self.stuck:
            self._open = self._open or asyncio.Event()
            await self._open.wait()

    def abort(self) -> None:
        """Cut the connection: what is in its buffer would never be read."""
        if self._transport is not None:
            self._transport.abortConnection()

    def hang_up(self) -> None:
        """The server leaves: wait for this reader no longer. What it has not taken by now is lost."""
        if self.stuck:
            self.abort()

    def over(self) -> None:
        """Nothing more is sent."""

    def _cut_off(self) -> None:
        logger.info("A reader took nothing for %d s and is cut", STUCK_SECONDS)
        counters.cut += 1
        self.abort()

    # Twisted's IPushProducer.

    def pauseProducing(self) -> None:  # noqa: N802
        """Twisted: the buffer is full."""
        self._transport.pauseProducing()
        self._takes_nothing()

    def resumeProducing(self) -> None:  # noqa: N802
        """Twisted: the buffer has drained."""
        self._transport.resumeProducing()
        self._takes_more()

    def stopProducing(self) -> None:  # noqa: N802
        """Twisted: the connection is gone."""
        self._takes_more()

    def _takes_nothing(self) -> None:
        self.stuck = True
        if self._cut is None:
            self._cut = asyncio.get_running_loop().call_later(STUCK_SECONDS, self._cut_off)

    def _takes_more(self) -> None:
        self.stuck = False
        if self._open is not None:
            self._open.set()
            self._open = None
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None


class WaitingFlow(Flow):
    """The flow of a server whose `send` waits for the reader: of uvicorn. The application sends through `send`.

    With a `protocol` that is known to speak WebSocket, `write` goes to the transport while that has nothing to send.
    """

    __slots__ = ("_connection", "_sending", "_server_send")

    def __init__(
        self, send: Callable[[dict[str, Any]], Awaitable[None]], transport: Any, protocol: Any = None
    ) -> None:
        super().__init__()
        self._server_send, self._connection = send, transport
        self._dialogue, self._opened = dialogue_of(protocol)
        self._sending = 0

    @property
    def direct(self) -> bool:
        """True if `write` writes now."""
        return (
            not self.stuck
            and self._dialogue is not None
            and self._dialogue.state is self._opened
            and not self._connection.get_write_buffer_size()
            and not self._connection.is_closing()  # cut, which its protocol does not know yet
        )

    def write(self, message: bytes) -> bool:
        """As `Flow.write`. The transport keeps what the kernel does not take, and then this is not `direct`."""
        dialogue, connection = self._dialogue, self._connection
        # As `direct`, without the call: for a thousand readers that is a fortieth of what a message costs.
        if (
            self.stuck
            or dialogue is None
            or dialogue.state is not self._opened
            or connection.get_write_buffer_size()
            or connection.is_closing()
        ):
            return False
        connection.write(message)
        return True

    async def send(self, message: dict[str, Any]) -> None:
        """Send as the server does, which waits before it sends, not after."""
        if not self._connection.get_write_buffer_size():
            await self._server_send(message)  # at once: no clock is needed
            return
        self._sending += 1
        self._takes_nothing()
        try:
            await self._server_send(message)
        except Exception:
            self.over()  # it is closing already, and might be so for ever
            raise
        finally:
            self._sending -= 1
            if not self._sending:
                self._takes_more()

    def abort(self) -> None:
        """Cut the connection; the system, too, keeps nothing for this reader."""
        with contextlib.suppress(OSError, AttributeError):  # it is gone already, or is no socket
            self._connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._connection.abort()

    def hang_up(self) -> None:
        """As `Flow.hang_up`; uvicorn would wait ten seconds for an answer to the close frame, too."""
        if self._connection.get_write_buffer_size():
            self.abort()
        else:
            self._connection.close()

    def over(self) -> None:
        """Nothing more is sent. A reader who never takes the rest would keep the connection, and the server."""
        if self._connection.get_write_buffer_size():
            asyncio.get_running_loop().call_later(STUCK_SECONDS, self._cut_off)

    def _cut_off(self) -> None:
        if self._connection.get_write_buffer_size():  # else the rest was taken meanwhile, or the client has gone
            super()._cut_off()


class FlowControl:
    """Outermost ASGI wrapper: gives each socket its `Flow` as ``scope["progress.flow"]``."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Reach for the transport while `send` is still the server's own."""
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
        elif (connection := asyncio_transport(send)) is not None:
            waiting = WaitingFlow(send, connection, send.__self__)
            try:
                await self.app({**scope, "progress.flow": waiting}, receive, waiting.send)
            finally:
                waiting.over()
        else:
            transport = daphne_transport(send)
            protocol = None if transport is None else send.args[0]
            if isinstance(queue := getattr(receive, "__self__", None), asyncio.Queue) and protocol is not None:
                bound_intake(protocol, queue)
            await self.app({**scope, "progress.flow": Flow(transport, protocol)}, receive, send)


def bound_intake(protocol: Any, queue: asyncio.Queue[Any]) -> None:
    """Close with 4429 a client of Daphne that says much more than is handled. What it says after that is dropped."""
    hear = protocol.onMessage
    sizes: deque[int] = deque()  # of what waits, oldest first

    def refuse(*_why: Any) -> None:
        counters.refused += 1
        protocol.failedByMe = True  # Autobahn: keep nothing more of what comes
        protocol.sendClose(code=TOO_MUCH)

    def hear_if_bounded(payload: bytes, is_binary: bool) -> None:
        if protocol.state != protocol.STATE_OPEN:
            return
        while len(sizes) > queue.qsize():
            sizes.popleft()
        if len(sizes) >= UNHANDLED or sum(sizes) + len(payload) > UNHANDLED_BYTES:
            refuse()
            return
        sizes.append(len(payload))
        hear(payload, is_binary)

    protocol.maxMessagePayloadSize = protocol.maxFramePayloadSize = UNHANDLED_BYTES
    protocol._max_message_size_exceeded = refuse
    protocol.onMessage = hear_if_bounded


def kernels_send(transport: Any) -> Callable[[bytes], int] | None:
    """`send` of the socket below a transport of Twisted's; None for what is encrypted, or another kind.

    Kept, it cannot reach another's connection: that of a closed socket raises `OSError`.
    """
    if type(transport).__module__ != "twisted.internet.tcp" or transport.TLS:
        return None
    send: Callable[[bytes], int] = transport.socket.send
    return send


def dialogue_of(protocol: Any) -> tuple[Any, Any]:
    """What knows the `state` of a WebSocket of uvicorn's, and which one means open. None for another protocol."""
    if not type(protocol).__module__.startswith("uvicorn.protocols.websockets."):
        return None, None
    dialogue = getattr(protocol, "conn", protocol)  # `websockets-sansio` and `wsproto` keep it apart
    opened = getattr(type(getattr(dialogue, "state", None)), "OPEN", None)
    return (None, None) if opened is None else (dialogue, opened)


def daphne_transport(send: Any) -> Any:
    """The Twisted transport behind Daphne's `send`; None on any other server."""
    if not isinstance(send, functools.partial) or not send.args:
        return None
    transport = getattr(send.args[0], "transport", None)
    if not all(hasattr(transport, name) for name in ("registerProducer", "abortConnection")):
        return None
    return transport


def asyncio_transport(send: Any) -> Any:
    """The transport of asyncio behind uvicorn's `send`; None on any other server."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if not all(hasattr(transport, name) for name in ("abort", "get_extra_info", "get_write_buffer_size")):
        return None
    return transport
