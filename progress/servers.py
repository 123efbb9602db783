"""What we lean on in the ASGI servers, in one place. Contact tests fail when a server changes it.

Daphne writes into a socket's buffer without ever asking whether the reader keeps up. Its transport tells,
though: a producer that is registered on it is paused when the buffer is full and resumed when it has drained.
Daphne's `send` is a partial of a method that knows the protocol, and the protocol knows the transport.

Nor does it ask whether the application keeps up: what a client says goes into a queue without end, in messages of a
megabyte. Its protocol calls `onMessage` for each, and `_max_message_size_exceeded` for those that are too large.

uvicorn waits inside `send` until the reader has caught up, but it waits for ever, and what it closes stays until
the last byte is read. Its `send` is a method of the protocol, which knows the transport: asyncio's, that can be cut.
It reads nothing more until what came was taken.
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
UNHANDLED: Final = 100  # messages of a client that wait to be handled; more than it may say at once
UNHANDLED_BYTES: Final = 128 * 1024  # of them together, or of one
TOO_MUCH: Final = 4429  # the close code for more than that
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing throws away what nobody reads


class Flow:
    """Whether a connection takes more data. Without a transport it always does, as far as we know.

    While it takes nothing we do not listen to it either, or it could make us answer on and on; after 30 s of that
    it is cut.
    """

    def __init__(self, transport: Any = None, protocol: Any = None) -> None:
        self._transport = transport
        self._protocol = protocol
        self._open = asyncio.Event()
        self._open.set()
        self._cut: asyncio.TimerHandle | None = None
        if transport is not None:
            transport.unregisterProducer()
            transport.registerProducer(self, True)

    @property
    def direct(self) -> bool:
        """True if `write` may be called now."""
        return self._protocol is not None and self._open.is_set()

    def write(self, message: bytes) -> None:
        """Hand the bytes of a whole message to the transport; dropped when the connection is closing.

        For a message that goes to many readers: through the server each of them would cost it a task and an
        encoding of its own.
        """
        if self._protocol.state != self._protocol.STATE_OPEN:
            return
        sent = _sent_at_once(self._transport, message)
        if sent < len(message):
            self._transport.write(message[sent:])

    @property
    def stuck(self) -> bool:
        """True while the reader does not keep up."""
        return not self._open.is_set()

    async def ready(self) -> None:
        """Return when the connection takes more data."""
        await self._open.wait()

    def abort(self) -> None:
        """Cut the connection: what is in its buffer would never be read."""
        if self._transport is not None:
            self._transport.abortConnection()

    def hang_up(self) -> None:
        """The server leaves: wait for this reader no longer. What it has not taken by now is lost."""
        if self.stuck:
            self.abort()

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
        self._open.clear()
        if self._cut is None:
            self._cut = asyncio.get_running_loop().call_later(STUCK_SECONDS, self._cut_off)

    def _takes_more(self) -> None:
        self._open.set()
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None


class WaitingFlow(Flow):
    """The flow of a server whose `send` waits for the reader: of uvicorn. The application sends through `send`."""

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]], transport: Any) -> None:
        super().__init__()
        self._server_send, self._connection = send, transport
        self._sending = 0

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
            waiting = WaitingFlow(send, connection)
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


def _sent_at_once(transport: Any, message: bytes) -> int:
    """Bytes of `message` that the kernel took. Twisted's `write` alone costs two more system calls and a turn."""
    # What is encrypted, or comes after something that still waits, must take Twisted's own way.
    plain = type(transport).__module__ == "twisted.internet.tcp" and not transport.TLS
    if not plain or transport.dataBuffer or transport._tempDataBuffer:
        return 0
    sent = transport.writeSomeData(message)
    # Not a count: the connection is broken, and `write` will find out in the order that Twisted expects.
    return sent if isinstance(sent, int) and sent > 0 else 0


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


def wire(text: str) -> bytes:
    """A text message as it travels from server to client, for `Flow.write`.

    Uncompressed, which is valid whatever was negotiated.
    """
    # Autobahn is what Daphne speaks; other servers neither bring it nor come here.
    from autobahn.websocket.protocol import PreparedMessage

    message = PreparedMessage(text.encode(), isBinary=False, applyMask=False, doNotCompress=True)
    framed: bytes = message.payloadHybi
    return framed
