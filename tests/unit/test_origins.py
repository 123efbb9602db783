"""Which pages may open a socket."""

from __future__ import annotations

from typing import Any

import pytest

from progress.origins import Origin, OriginCheck, judge

OWN, NONE, BAD = Origin.OWN, Origin.NONE, Origin.BAD
PROXY = {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}
SITE = "example.com"

# name: (origins, host, settings, other headers, judgement)
TABLE: dict[str, tuple[list[str], str, dict[str, Any], dict[str, str], Origin]] = {
    "its own": (["https://example.com"], SITE, {}, {}, OWN),
    "its own over http": (["http://example.com"], SITE, {}, {}, OWN),
    "its own in capitals": (["https://EXAMPLE.com"], "Example.COM", {}, {}, OWN),
    "its own with the default port": (["https://example.com:443"], SITE, {}, {}, OWN),
    "its own on another port": (["http://example.com:8000"], "example.com:8000", {}, {}, OWN),
    "another port": (["https://example.com:9999"], SITE, {}, {}, BAD),
    "the default port of the other scheme": (["http://example.com:443"], SITE, {}, {}, BAD),
    "another scheme": (["ftp://example.com"], SITE, {}, {}, BAD),
    "an extension": (["chrome-extension://abcdef"], SITE, {}, {}, BAD),
    "another host": (["https://evil.example"], SITE, {}, {}, BAD),
    "a subdomain": (["https://sub.example.com"], SITE, {}, {}, BAD),
    "a longer name": (["https://example.com.evil.example"], SITE, {}, {}, BAD),
    "a name before an at": (["https://example.com@evil.example"], SITE, {}, {}, BAD),
    "a name before an at, on our host": (["https://evil.example@example.com"], SITE, {}, {}, BAD),
    "with a dot behind it": (["https://example.com."], SITE, {}, {}, BAD),
    "with a dot behind it, as the host": (["https://example.com."], "example.com.", {}, {}, OWN),
    "with a slash behind it": (["https://example.com/"], SITE, {}, {}, BAD),
    "with a path": (["https://example.com/page"], SITE, {}, {}, BAD),
    "with a question": (["https://example.com?"], SITE, {}, {}, BAD),
    "port that is none": (["https://example.com:99999"], SITE, {}, {}, BAD),
    "the sandbox": (["null"], SITE, {}, {}, BAD),
    "empty": ([""], SITE, {}, {}, BAD),
    "no URL": (["http://["], SITE, {}, {}, BAD),
    "without a scheme": (["example.com"], SITE, {}, {}, BAD),
    "doubled": (["https://example.com", "https://example.com"], SITE, {}, {}, BAD),
    "doubled in one": (["https://example.com, https://evil.example"], SITE, {}, {}, BAD),
    "missing": ([], SITE, {}, {}, NONE),
    "missing on a host that is not ours": ([], "evil.example", {}, {}, NONE),
    "the same host, not allowed": (["https://evil.example"], "evil.example", {}, {}, BAD),
    "no host": (["https://example.com"], "", {}, {}, BAD),
    "listed": (["https://app.example"], SITE, {"PROGRESS_ORIGINS": ["https://app.example"]}, {}, OWN),
    "listed with another port": (
        ["https://app.example:1"],
        SITE,
        {"PROGRESS_ORIGINS": ["https://app.example"]},
        {},
        BAD,
    ),
    "listed, host not allowed": (
        ["https://app.example"],
        "evil.example",
        {"PROGRESS_ORIGINS": ["https://app.example"]},
        {},
        BAD,
    ),
    "trusted for CSRF": (["https://app.example"], SITE, {"CSRF_TRUSTED_ORIGINS": ["https://app.example"]}, {}, OWN),
    "trusted for CSRF, but we have a list": (
        ["https://app.example"],
        SITE,
        {"CSRF_TRUSTED_ORIGINS": ["https://app.example"], "PROGRESS_ORIGINS": []},
        {},
        BAD,
    ),
    "a wildcard is no origin": (
        ["https://a.app.example"],
        SITE,
        {"PROGRESS_ORIGINS": ["https://*.app.example"]},
        {},
        BAD,
    ),
    "https behind the proxy": (["https://example.com"], SITE, PROXY, {"x-forwarded-proto": "https"}, OWN),
    "http behind an https proxy": (["http://example.com"], SITE, PROXY, {"x-forwarded-proto": "https"}, BAD),
    "https, but the proxy had http": (["https://example.com"], SITE, PROXY, {"x-forwarded-proto": "http"}, BAD),
    "https, and the proxy says nothing": (["https://example.com"], SITE, PROXY, {}, BAD),
    "a header that nobody trusts": (["http://example.com"], SITE, {}, {"x-forwarded-proto": "https"}, OWN),
    "development": (["http://localhost:8000"], "localhost:8000", {"DEBUG": True, "ALLOWED_HOSTS": []}, {}, OWN),
    "development by address": (
        ["http://127.0.0.1:8000"],
        "127.0.0.1:8000",
        {"DEBUG": True, "ALLOWED_HOSTS": []},
        {},
        OWN,
    ),
    "development by IPv6": (["http://[::1]:8000"], "[::1]:8000", {"DEBUG": True, "ALLOWED_HOSTS": []}, {}, OWN),
    "development, another host": (
        ["http://evil.example"],
        "evil.example",
        {"DEBUG": True, "ALLOWED_HOSTS": []},
        {},
        BAD,
    ),
    "nothing allowed": (["http://localhost"], "localhost", {"DEBUG": False, "ALLOWED_HOSTS": []}, {}, BAD),
    "rebinding": (["http://rebound.example:8000"], "rebound.example:8000", {}, {}, BAD),
}


def headers(origins: list[str], host: str, other: dict[str, str]) -> list[tuple[bytes, bytes]]:
    pairs = [("Host", host), *(("Origin", origin) for origin in origins), *other.items()]
    return [(name.lower().encode(), value.encode("latin1")) for name, value in pairs]


@pytest.mark.parametrize(("origins", "host", "chosen", "other", "expected"), TABLE.values(), ids=TABLE)
def test_an_origin_is_judged_by_host_port_and_scheme(
    settings: Any, origins: list[str], host: str, chosen: dict[str, Any], other: dict[str, str], expected: Origin
) -> None:
    """Its own host or listed: may use the session. Absent: a token is needed. Everything else is refused."""
    settings.ALLOWED_HOSTS = ["example.com"]
    for name, value in chosen.items():
        setattr(settings, name, value)
    assert judge(headers(origins, host, other)) is expected


def test_two_host_headers_are_refused(settings: Any) -> None:
    """Nobody can say which of two hosts a proxy believed."""
    settings.ALLOWED_HOSTS = ["example.com"]
    doubled = [*headers(["https://example.com"], "example.com", {}), (b"host", b"example.com")]
    assert judge(doubled) is Origin.BAD


async def test_the_judgement_travels_in_the_scope(settings: Any) -> None:
    """The middleware refuses nothing: it writes down what the consumer then says with a close code."""
    settings.ALLOWED_HOSTS = ["example.com"]
    seen = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append(scope["progress.origin"])

    for origin in ("https://example.com", "https://evil.example"):
        await OriginCheck(app)({"type": "websocket", "headers": headers([origin], "example.com", {})}, None, None)
    assert seen == [Origin.OWN, Origin.BAD]
