"""A view ends with the right to it, within a minute, on a socket or a stream: in a hurry, by `tests.quick_asgi`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from progress import revoke_token, revoke_tokens, watch_token
from tests.acted import ActedTask
from tests.processes import Login, in_this_process, wait_until
from tests.sse import Stream
from tests.web_only import WebOnly
from tests.wire import wire

SOON = 10  # seconds; the site reviews its connections every fifth of one


@pytest.fixture(scope="module")
def running_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebOnly]:
    own = WebOnly(tmp_path_factory.mktemp("revocation") / "site", settings="tests.authorized_settings")
    try:
        yield own.start()
    finally:
        own.stop()


@pytest.fixture
def web(running_web: WebOnly, settings: Any) -> Iterator[WebOnly]:
    """Redis and Daphne; this process writes to that Redis, and signs with that key."""
    settings.SECRET_KEY = running_web.env.get("SECRET_KEY", settings.SECRET_KEY)
    with in_this_process(settings, running_web.redis.url, running_web.prefix):
        yield running_web


def change(web: WebOnly, statement: str, *values: Any) -> None:
    """Change the site's database behind the back of every connection."""
    with closing(sqlite3.connect(web.data / "db.sqlite3", timeout=20)) as database, database:
        assert database.execute(statement, values).rowcount > 0


def grant(web: WebOnly, *lines: str) -> None:
    (web.data / "grants.txt").write_text("\n".join(lines))


WAYS: dict[str, Callable[[WebOnly, Login], None]] = {
    "logout": lambda web, user: web.end_session(user),
    "new password": lambda web, user: change(web, "UPDATE auth_user SET password = 'x' WHERE id = ?", user.pk),
    "deactivated": lambda web, user: change(web, "UPDATE auth_user SET is_active = 0 WHERE id = ?", user.pk),
}


@pytest.mark.parametrize("way", WAYS)
async def test_connection_of_a_session_that_is_over_is_closed(web: WebOnly, way: str) -> None:
    """4401, and nothing more is shown: whoever left must not go on watching."""
    user = web.user()
    task = ActedTask(owner=str(user.pk)).queue()
    async with wire(web.ws, cookie=user.cookie) as page:
        await page.watch(task.id)
        await page.sees(task.key, state="PENDING")
        WAYS[way](web, user)
        assert await page.closes(SOON) == 4401
        task.run(1, 2)
        assert page.shown[task.key]["state"] == "PENDING"


async def test_staff_who_lose_the_permission_see_no_more(web: WebOnly) -> None:
    """The socket stays, the task goes: refused like one that does not exist."""
    staff = web.user(staff=True, permissions=["view_taskrun"])
    task = ActedTask(owner="999").queue()
    async with wire(web.ws, cookie=staff.cookie) as page:
        await page.watch(task.id)
        await page.sees(task.key, state="PENDING")
        change(web, "DELETE FROM auth_user_user_permissions WHERE user_id = ?", staff.pk)
        await page.told("refused", SOON, ids=[task.key], code="not_found")
        await page.lives()


async def test_what_the_site_grants_and_takes_back_is_followed(web: WebOnly) -> None:
    """The function's answer counts for less than a minute, also for whoever has no session."""
    user = web.user()
    task = ActedTask(owner="999").queue()
    grant(web, f"{user.name} watch {task.key}", f"{user.name} cancel {task.key}", f"- watch {task.key}")
    async with wire(web.ws, cookie=user.cookie) as page, wire(web.ws) as nobody:
        answer = await page.watch(task.id)
        assert answer["items"][0]["may"] == ["watch", "cancel"]
        assert (await nobody.watch(task.id))["items"][0]["may"] == ["watch"]
        grant(web)
        for each in (page, nobody):
            await each.told("refused", SOON, ids=[task.key], code="not_found")
            await each.lives()
        grant(web, f"{user.name} watch {task.key}")

        async with asyncio.timeout(SOON):
            while (await page.watch(task.id))["type"] != "watching":  # noqa: ASYNC110 (told to nobody)
                await asyncio.sleep(0.2)  # the answer of before is believed for a while
        assert (await page.ask("cancel", id=task.id))["code"] == "not_allowed"


REVOKING: dict[str, Callable[[str, str], None]] = {
    "the token": lambda token, task: revoke_token(token),
    "the task's tokens": lambda token, task: revoke_tokens(task),
    "the user's tokens": lambda token, task: revoke_tokens(user=77),
}


@pytest.mark.parametrize("way", REVOKING)
async def test_view_by_a_token_ends_when_it_is_revoked(web: WebOnly, way: str) -> None:
    """Refused like what does not exist, on the open socket and over HTTP; a token issued later counts."""
    task, other = ActedTask(owner="999").queue(), ActedTask(owner="999").queue()
    token = watch_token(task.id, user=77)
    async with wire(web.ws, origin=None) as client:
        assert (await client.watch(task.id, token=token))["type"] == "watching"
        await client.watch(other.id, token=watch_token(other.id))
        REVOKING[way](token, task.id)
        await client.told("refused", SOON, ids=[task.key], code="not_found")
        assert (await client.watch(task.id, token=token))["type"] == "refused"
        assert (await client.watch(task.id, token=watch_token(task.id, user=77)))["type"] == "watching"
        other.run(1, 2)
        await client.sees(other.key, state="PROGRESS")


async def test_token_that_is_over_is_renewed_on_the_same_socket(web: WebOnly) -> None:
    """`refused` with `expired`, then `token`, then it goes on: no new connection is needed."""
    task = ActedTask(owner="999").queue()
    async with wire(web.ws, origin=None) as client:
        await client.watch(task.id, token=watch_token(task.id, expires=0.5))
        await client.told("refused", SOON, ids=[task.key], code="expired")
        answer = await client.watch(task.id, token=watch_token(task.id))
        assert answer["type"] == "watching"
        task.run(1, 2)
        await client.sees(task.key, state="PROGRESS")


# --- The same over a stream of events ------------------------------------------------------------------------------


def test_a_stream_ends_for_the_task_that_the_site_takes_back(web: WebOnly) -> None:
    """Refused like what does not exist; what is still granted goes on, and with nothing left the stream is over."""
    user = web.user()
    task, other = ActedTask(owner="999").queue(), ActedTask(owner="999").queue()
    grant(web, f"{user.name} watch {task.key}", f"{user.name} watch {other.key}")
    alone, both = f"/progress/{task.id}/events/", (task.id, other.id)
    with Stream(web.url, alone, cookie=user.cookie) as one, Stream(web.url, ids=both, cookie=user.cookie) as several:
        for stream in (one, several):
            stream.sees(task.key, state="PENDING")
        grant(web, f"{user.name} watch {other.key}")
        for stream in (one, several):
            stream.told("refused", SOON, ids=[task.key], code="not_found")
        assert one.ends(SOON)[-1] == "refused"
        task.run(1, 2)
        other.run(1, 2)
        several.sees(other.key, state="PROGRESS")
        assert {each["state"] for each in several.snapshots(task.key)} == {"PENDING"}
        assert not several.ended
    assert Stream(web.url, alone, cookie=user.cookie).finished() == 404


def test_a_stream_begins_when_the_site_has_changed_its_mind(web: WebOnly) -> None:
    """A yes is believed as late as a no: what was not there is, as soon as the site grants it."""
    user = web.user()
    task = ActedTask(owner="999").queue()
    address = f"/progress/{task.id}/events/"
    grant(web)
    assert Stream(web.url, address, cookie=user.cookie).finished() == 404
    grant(web, f"{user.name} watch {task.key}")
    wait_until(lambda: begins(web, address, user), SOON, "a stream of what is granted")


def begins(web: WebOnly, address: str, user: Login) -> bool:
    with Stream(web.url, address, cookie=user.cookie) as stream:
        return stream.status == 200 and bool(stream.told("watching"))


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_of_a_session_that_is_over_is_ended(web: WebOnly, way: str) -> None:
    """`closing` with 4401, and nothing more is shown."""
    user = web.user()
    task = ActedTask(owner=str(user.pk)).queue()
    with Stream(web.url, f"/progress/{task.id}/events/", cookie=user.cookie) as stream:
        stream.sees(task.key, state="PENDING")
        WAYS[way](web, user)
        assert stream.told("closing", SOON)["code"] == 4401
        stream.ends(SOON)
        task.run(1, 2)
        assert {each["state"] for each in stream.snapshots(task.key)} == {"PENDING"}


@pytest.mark.parametrize("way", REVOKING)
def test_a_stream_by_a_token_ends_when_it_is_revoked(web: WebOnly, way: str) -> None:
    """Refused like what does not exist; the next request with it finds nothing."""
    task = ActedTask(owner="999").queue()
    token = watch_token(task.id, user=77)
    with Stream(web.url, f"/progress/{task.id}/events/", token=token) as stream:
        stream.sees(task.key, state="PENDING")
        REVOKING[way](token, task.id)
        stream.told("refused", SOON, ids=[task.key], code="not_found")
        assert stream.ends(SOON)[-1] == "refused"
    assert Stream(web.url, f"/progress/{task.id}/events/", token=token).finished() == 404
