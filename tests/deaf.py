"""Browsers that take nothing, as a phone in a tunnel: they say something and then never read."""

from __future__ import annotations

import json
import select
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.frames import Frame, Opcode

from .processes import Login, Web, wait_until


@contextmanager
def deaf_reader(web: Web, owner: Login, *messages: str) -> Iterator[socket.socket]:
    """A connection that says something and then never reads."""
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(10)
        raw.connect(("127.0.0.1", web.port))
        handshake = (
            f"GET /ws/progress/ HTTP/1.1\r\nHost: {urlsplit(web.url).netloc}\r\nOrigin: {web.url}\r\n"
            f"Cookie: {owner.cookie}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {b64encode(b'0' * 16).decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        raw.sendall(handshake.encode())
        assert raw.recv(12) == b"HTTP/1.1 101"
        for message in messages:
            raw.sendall(text_frame(message))
        yield raw


def text_frame(text: str) -> bytes:
    """A client's frame."""
    data: bytes = Frame(Opcode.TEXT, text.encode()).serialize(mask=True)
    return data


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def is_cut(raw: socket.socket) -> bool:
    """True if the other side has given up the connection. Reads nothing and says nothing."""
    poller = select.poll()
    poller.register(raw, select.POLLRDHUP)
    return bool(poller.poll(0))


def ask_until_cut(raw: socket.socket, question: Mapping[str, Any], seconds: float = 60) -> None:
    """Ask the same on and on without reading an answer, until the other side has given up."""
    frame, unsaid = text_frame(json.dumps(question)), b""
    raw.setblocking(False)

    def cut() -> bool:
        nonlocal unsaid
        unsaid = unsaid or frame
        with suppress(OSError):  # nobody reads what we ask, either; or it is cut
            unsaid = unsaid[raw.send(unsaid) :]
        return is_cut(raw)

    wait_until(lambda: threading.Event().wait(0.04) or cut(), seconds, "the asking client is cut")
