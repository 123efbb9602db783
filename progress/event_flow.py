"""What we lean on in the ASGI servers for an answer that goes on. Contact tests fail when a server changes it.

Daphne writes whatever it is given into the connection's buffer. Its `send` is a partial of a method that knows the
request, and the request, Twisted's, takes a producer: that is paused when the buffer is full and resumed when it has
drained. uvicorn waits inside `send`, for streams as for sockets (`servers.py`).

A client that has vanished without a word takes every event, as far as its kernel's silence tells: the system would
try to reach it for a quarter of an hour. It is told to give up earlier.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .servers import Flow, WaitingFlow, asyncio_transport, daphne_transport

Send = Callable[[dict[str, Any]], Awaitable[None]]

# Seconds. Longer than a reader may take nothing: who is there and does not read is cut by us, and the log says so.
VANISHED_AFTER: Final = 60


class RequestFlow(Flow):
    """The flow of an answer of Daphne's. The application sends through `send`."""

    def __init__(self, send: Send, request: Any) -> None:
        super().__init__()
        self._server_send, self._request = send, request
        request.registerProducer(self, True)

    async def send(self, message: dict[str, Any]) -> None:
        """Send as the server does, which never waits."""
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.over()  # Twisted expects that of whoever finishes a request
        await self._server_send(message)

    def abort(self) -> None:
        """Cut the connection: what is in its buffer would never be read."""
        if self._request.transport is not None:
            self._request.transport.abortConnection()

    def over(self) -> None:
        """Nothing more is sent."""
        self._takes_more()
        channel = getattr(self._request, "channel", None)  # Twisted deletes it when the request is finished
        if channel is not None and self._request.producer is self:
            self._request.unregisterProducer()

    def pauseProducing(self) -> None:  # noqa: N802
        """Twisted: the buffer is full. What the client says meanwhile, the channel bounds itself."""
        self._takes_nothing()

    def resumeProducing(self) -> None:  # noqa: N802
        """Twisted: the buffer has drained."""
        self._takes_more()


def flow_of(send: Send) -> tuple[Flow, Send]:
    """The flow of an HTTP answer, and what to send it through. `send` has to be the server's own."""
    if (connection := asyncio_transport(send)) is not None:
        notice_vanished(connection.get_extra_info("socket"))
        waiting = WaitingFlow(send, connection)
        return waiting, waiting.send
    if (connection := daphne_transport(send)) is not None:
        notice_vanished(getattr(connection, "socket", None))
        request = RequestFlow(send, send.args[0])  # type: ignore[attr-defined]  # a partial, as `daphne_transport` found
        return request, request.send
    return Flow(), send


def notice_vanished(connection: Any) -> None:
    """Have the system give up a client that confirms nothing for a minute. Where it cannot, nothing happens."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
    if option is not None and connection is not None:
        with contextlib.suppress(
            OSError, AttributeError, TypeError
        ):  # no TCP, gone, or another loop's idea of a socket
            connection.setsockopt(socket.IPPROTO_TCP, option, VANISHED_AFTER * 1000)
