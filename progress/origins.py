"""Which pages may open a socket. Browsers send cookies with a WebSocket from any page, so the origin decides.

Present: it must be the request's own host (one of `ALLOWED_HOSTS`) or listed in `PROGRESS_ORIGINS`. Doubled:
refused. Absent (command-line tools, mobile apps): cookies are ignored, a token is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from .conf import conf

DEFAULT_PORTS = {"http": 80, "https": 443}
DEVELOPMENT_HOSTS = [".localhost", "127.0.0.1", "[::1]"]  # what Django allows when DEBUG and none are set


class Origin(Enum):
    """What the origin of a connection means."""

    OWN = "own"  # a page that may use the session
    NONE = "none"  # no page: only a token counts
    BAD = "bad"


def judge(headers: Iterable[tuple[bytes, bytes]]) -> Origin:
    """What the headers of a WebSocket handshake say about the page that opened it."""
    known = list(headers)
    origins = _values(known, b"origin")
    if not origins:
        return Origin.NONE
    if len(origins) > 1 or "," in origins[0]:
        return Origin.BAD
    hosts = _values(known, b"host")
    if len(hosts) != 1 or not _host_is_allowed(hosts[0]):
        return Origin.BAD
    return Origin.OWN if _fits(origins[0], hosts[0], _scheme(known)) else Origin.BAD


class OriginCheck:
    """ASGI middleware: writes the judgement into the scope. The consumer refuses after accepting, with a code,
    so that a browser can tell a bad origin from an outage.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Judge, then go on."""
        await self.app({**scope, "progress.origin": judge(scope["headers"])}, receive, send)


def _values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin1").strip() for key, value in headers if key.lower() == name]


def _host_is_allowed(host: str) -> bool:
    allowed = settings.ALLOWED_HOSTS or (DEVELOPMENT_HOSTS if settings.DEBUG else [])
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, allowed)


def _scheme(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """The page's scheme, as far as a trusted proxy tells it; None = unknown, not compared."""
    trusted = settings.SECURE_PROXY_SSL_HEADER
    if not trusted:
        return None
    name, secure = trusted
    values = _values(headers, name.removeprefix("HTTP_").replace("_", "-").lower().encode())
    return "https" if values and values[0].split(",")[0].strip() == secure else "http"


def _fits(origin: str, host: str, scheme: str | None) -> bool:
    if origin in conf.PROGRESS_ORIGINS:
        return True
    try:
        parts = urlsplit(origin)
        there, here = _place(parts), _place(urlsplit(f"{parts.scheme}://{host}"))
    except ValueError:  # "http://[" and the like
        return False
    if parts.scheme not in DEFAULT_PORTS or (scheme is not None and parts.scheme != scheme):
        return False
    # A browser names scheme, host and port, and nothing else: no user, no path.
    whole = origin.lower() == f"{parts.scheme}://{parts.netloc}".lower() and "@" not in parts.netloc
    return whole and there == here


def _place(parts: SplitResult) -> tuple[str | None, int | None]:
    """Host and port; "example.com." is another host than "example.com", to a browser too."""
    return parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
