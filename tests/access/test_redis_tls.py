"""Records and hints over TLS, in every form of URL and host that promises it. The broker stays plain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from progress import redis_url, watch_token
from progress.exceptions import StoreUnavailable
from progress.redis_store import RedisStore
from tasks.tasks import countdown
from tests.processes import Redis, Site, in_this_process
from tests.tls_end import Authority, TlsEnd
from tests.watching import send
from tests.wire import wire


@dataclass(frozen=True)
class Ends:
    """One Redis behind two TLS ends: one for everybody, one for who has a certificate."""

    redis: Redis
    authority: Authority
    stranger: Authority
    open: TlsEnd
    closed: TlsEnd
    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    folder = tmp_path_factory.mktemp("tls")
    server = Redis(folder).start()
    authority, stranger = Authority(folder / "ours"), Authority(folder / "theirs", "stranger")
    certificate, key = authority.issue("client")
    open_end = TlsEnd(server.port, authority).start()
    closed_end = TlsEnd(server.port, authority, authority).start()
    try:
        yield Ends(server, authority, stranger, open_end, closed_end, certificate, key)
    finally:
        open_end.stop()
        closed_end.stop()
        server.kill()


def forms(ends: Ends) -> dict[str, Any]:
    """Hosts as a channel layer takes them, and the last of them as PROGRESS_REDIS_URL does."""
    trusted = f"ssl_ca_certs={ends.authority.file}"
    shown = f"ssl_certfile={ends.certificate}&ssl_keyfile={ends.key}"
    return {
        "a URL": f"rediss://127.0.0.1:{ends.open.port}/0?{trusted}",
        "a URL with a name": f"rediss://localhost:{ends.open.port}/0?{trusted}&ssl_check_hostname=true",
        "a URL that asks for no proof": f"rediss://127.0.0.1:{ends.open.port}/0?ssl_cert_reqs=none",
        "a URL with a certificate of ours": f"rediss://127.0.0.1:{ends.closed.port}/0?{trusted}&{shown}",
        "an address": {"address": f"rediss://127.0.0.1:{ends.open.port}/0", "ssl_ca_certs": str(ends.authority.file)},
        "a mapping": {
            "host": "127.0.0.1",
            "port": ends.open.port,
            "ssl": True,
            "ssl_ca_certs": str(ends.authority.file),
            "ssl_cert_reqs": "required",
        },
    }


FORMS = (
    *("a URL", "a URL with a name", "a URL that asks for no proof", "a URL with a certificate of ours"),
    *("an address", "a mapping"),
)


@pytest.mark.parametrize("form", FORMS)
async def test_records_are_read_and_written_over_tls(ends: Ends, form: str) -> None:
    """By threads and by event loops, and nothing goes past it."""
    before = ends.open.accepted + ends.closed.accepted
    store = RedisStore(redis_url.of_hosts([forms(ends)[form]]), "tls")
    try:
        assert store.now() > 0
        assert store.load("none") is None
        assert await store.aload_many(["none"]) == [None]
    finally:
        for client in store._clients.values():
            client.close()
        await store.aclose()
    assert ends.open.accepted + ends.closed.accepted >= before + 2


@pytest.mark.parametrize("wrong", ["another authority", "no authority", "no certificate", "no TLS"])
def test_what_cannot_be_trusted_is_not_spoken_to(ends: Ends, wrong: str) -> None:
    """A server that proves nothing, and a server that wants a proof: no record is sent."""
    url = {
        "another authority": f"rediss://127.0.0.1:{ends.open.port}/0?ssl_ca_certs={ends.stranger.file}",
        "no authority": f"rediss://127.0.0.1:{ends.open.port}/0",
        "no certificate": f"rediss://127.0.0.1:{ends.closed.port}/0?ssl_ca_certs={ends.authority.file}",
        "no TLS": f"redis://127.0.0.1:{ends.open.port}/0",
    }[wrong]
    store = RedisStore(url, "tls")
    try:
        with pytest.raises(StoreUnavailable):
            store.load("none")
    finally:
        for client in store._clients.values():
            client.close()


async def test_a_task_is_followed_from_end_to_end_over_tls(ends: Ends, tmp_path: Path, settings: Any) -> None:
    """Worker, hub and history speak TLS to the records' Redis and to the layer; the broker is another, and plain."""
    url = forms(ends)["a URL"]
    env = {"DJANGO_SETTINGS_MODULE": "tests.apart_settings", "RECORDS_URL": url}
    site = Site(tmp_path / "site", env=env)
    try:
        site.start()
        with in_this_process(settings, site.redis.url, site.prefix):
            settings.PROGRESS_REDIS_URL = settings.CHANNEL_LAYERS["default"]["CONFIG"]["hosts"][0]["address"] = url
            task = send(countdown, seconds=6, steps=60)
            token = watch_token(task)
            async with wire(site.ws, origin=None) as page:
                await page.watch(task, token=token)
                await page.sees(task, state="PROGRESS", seconds=30)
                await page.ends(task, seconds=30)
        with closing(site.redis.client()) as plain, closing(ends.redis.client()) as behind:
            assert not list(plain.scan_iter(f"{site.prefix}:*"))
            assert behind.exists(f"{site.prefix}:task:{task}")
    finally:
        site.stop()
