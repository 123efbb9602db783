"""The WebSocket of `docs/protocol.md`, on a real Daphne and a real Redis. The tests play the tasks themselves."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

import progress
from progress.snapshot import State
from progress.store import get_store
from tasks.tasks import countdown
from tests.acted import ActedTask
from tests.processes import Login, Site, in_this_process, wait_until
from tests.web_only import WebOnly
from tests.wire import headers_of, wire


@pytest.fixture(scope="module")
def running_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebOnly]:
    own = WebOnly(tmp_path_factory.mktemp("socket") / "site", env={"PROGRESS_MAX_WATCHES": "5"})
    try:
        yield own.start()
    finally:
        own.stop()


@pytest.fixture
def web(running_web: WebOnly, settings: Any) -> Iterator[WebOnly]:
    """Redis and Daphne in a hurry (`tests.quick_asgi`); this process writes to that Redis."""
    with in_this_process(settings, running_web.redis.url, running_web.prefix):
        yield running_web


@pytest.fixture(scope="module")
def owner(running_web: WebOnly) -> Login:
    return running_web.user()


@pytest.fixture(scope="module")
def other(running_web: WebOnly) -> Login:
    return running_web.user()


def acted(owner: Login, **options: Any) -> ActedTask:
    return ActedTask(owner=str(owner.pk), **options).queue()


# --- watch -------------------------------------------------------------------------------------------------


async def test_a_watcher_is_told_its_rights_and_then_the_newest(web: WebOnly, owner: Login) -> None:
    """`watch` is answered by `watching` with what one may do and until when, then by the snapshot."""
    task = acted(owner).run(3, 10)
    async with wire(web.ws, cookie=owner.cookie) as page:
        answer = await page.watch(task.id)
        assert answer["type"] == "watching"
        assert answer["items"] == [{"id": task.id, "may": ["watch", "cancel"], "until": None}]
        shown = await page.sees(task.id, state="PROGRESS", current=3, total=10, fraction=0.3)
        assert shown["v"] == 1
        assert shown["final"] is False


async def test_every_change_reaches_a_watcher_and_the_end_is_final(web: WebOnly, owner: Login) -> None:
    """Pushes arrive as they are made, in order, the last one final with fraction 1."""
    task = acted(owner)
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(task.id)
        await page.sees(task.id, state="PENDING")
        for step in (1, 2, 3):
            task.run(step, 3)
            await page.sees(task.id, current=step)
        task.end()
        assert (await page.sees(task.id, final=True))["fraction"] == 1
    assert list(dict.fromkeys(page.states[task.id])) == ["PENDING", "PROGRESS", "SUCCESS"]


async def test_a_late_join_sees_the_end(web: WebOnly, owner: Login) -> None:
    """Who comes after a task has ended is shown its end at once."""
    task = acted(owner).run(1, 2).end()
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(task.id)
        await page.sees(task.id, state="SUCCESS", final=True)


async def test_two_browsers_are_shown_the_same(web: WebOnly, owner: Login) -> None:
    """Two connections that watch one task end with the same snapshot."""
    task = acted(owner)
    async with wire(web.ws, cookie=owner.cookie) as one, wire(web.ws, cookie=owner.cookie) as two:
        for page in (one, two):
            await page.watch(task.id)
        task.run(1, 2)
        task.end()
        for page in (one, two):
            await page.ends(task.id)
        assert one.shown == two.shown


async def test_the_single_task_address_needs_no_message(web: WebOnly, owner: Login) -> None:
    """`/ws/progress/<id>/` watches that task from the start."""
    task = acted(owner).run(1, 4)
    async with wire(f"{web.ws}{task.id}/", cookie=owner.cookie) as page:
        await page.told("watching")
        await page.sees(task.id, current=1)
        task.end()
        await page.ends(task.id)


async def test_many_tasks_are_watched_by_one_message(web: WebOnly, owner: Login) -> None:
    """What one may not see is refused, the rest is watched; `ref` is repeated in each answer."""
    tasks = [acted(owner).run(step, 9) for step in (1, 2, 3)]
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.say("watch", ids=[*(task.id for task in tasks), "nobody-knows"], ref=7)
        refused = await page.told("refused", ref=7)
        assert refused == {"type": "refused", "ids": ["nobody-knows"], "code": "not_found", "ref": 7}
        assert [item["id"] for item in (await page.told("watching", ref=7))["items"]] == [t.id for t in tasks]
        for step, task in enumerate(tasks, 1):
            await page.sees(task.id, current=step)


async def test_more_tasks_than_allowed_are_refused_as_too_many(web: WebOnly, owner: Login) -> None:
    """Above the limit `too_many` names those that are not watched; the others stay."""
    tasks = [acted(owner) for _ in range(502)]
    ids = [task.id for task in tasks]
    async with wire(web.ws, cookie=owner.cookie) as page:
        for start in range(0, 500, 250):
            await page.watch(*ids[start : start + 250])
        answer = await page.watch(*ids[490:])
        assert answer == {"type": "refused", "ids": ids[500:], "code": "too_many", "ref": answer["ref"]}
        tasks[0].end()
        await page.ends(ids[0])


async def test_unwatched_tasks_are_told_no_more(web: WebOnly, owner: Login) -> None:
    """After `unwatch`, with ids or with all, nothing more is sent about those tasks."""
    one, two = acted(owner), acted(owner)
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(one.id, two.id)
        await page.sees(two.id, state="PENDING")
        await page.say("unwatch", ids=[one.id])
        await page.lives()
        one.end()
        two.run(1, 2)
        await page.sees(two.id, current=1)
        await page.say("unwatch", all=True)
        await page.lives()
        two.end()
        third = acted(owner).end()
        await page.watch(third.id)
        await page.ends(third.id)
        assert {page.shown[task.id]["final"] for task in (one, two)} == {False}


async def test_a_reader_may_ask_for_fewer_frames(web: WebOnly, owner: Login) -> None:
    """With `every_ms` at most one frame per interval is sent, and the newest is never held back for good."""
    task = acted(owner)
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(task.id, every_ms=300)
        await page.sees(task.id, state="PENDING")
        before, began = len(page.all("snapshots")), time.monotonic()
        for step in range(20):
            task.run(step + 1, 20)
            await asyncio.sleep(0.03)
        await page.sees(task.id, current=20)
        assert len(page.all("snapshots")) - before <= (time.monotonic() - began) / 0.3 + 2


@pytest.mark.parametrize("task_id", ["report 7/é", "名前" * 20, "x" * 10_000, "a\x00b", "..\\../", "~" + "0" * 64])
async def test_any_id_is_addressed_by_its_key(web: WebOnly, owner: Login, task_id: str) -> None:
    """Ids that are no safe names are watched by `progress.key(id)`, in messages and in the address."""
    task = acted(owner, task_id=task_id)
    async with (
        wire(web.ws, cookie=owner.cookie) as page,
        wire(f"{web.ws}{progress.key(task_id)}/", cookie=owner.cookie) as single,
    ):
        await page.watch(task.key)
        task.end()
        await page.ends(task.key)
        await single.ends(task.key)


async def test_a_raw_unicode_id_is_understood(web: WebOnly, owner: Login) -> None:
    """A raw id that fits a message or an address means the same task; the answer uses the name that was used."""
    task = acted(owner, task_id="Bericht 7 é")
    address = f"{web.ws}{quote('Bericht 7 é', safe='')}/"
    async with wire(web.ws, cookie=owner.cookie) as page, wire(address, cookie=owner.cookie) as single:
        answer = await page.watch("Bericht 7 é")
        assert answer["items"][0]["id"] == "Bericht 7 é"
        await page.sees(task.key, state="PENDING")
        await single.sees(task.key, state="PENDING")


# --- mine --------------------------------------------------------------------------------------------------


async def test_mine_shows_running_tasks_and_those_that_start_later(web: WebOnly) -> None:
    """`mine` brings the user's unfinished tasks by themselves, later ones too, never ended or foreign ones."""
    owner, other = web.user(), web.user()
    running, ended, foreign = acted(owner).run(1, 2), acted(owner).end(), acted(other)
    async with wire(web.ws, cookie=owner.cookie) as page:
        answer = await page.ask("watch", mine=True)
        assert (answer["type"], answer["items"]) == ("watching", [])
        await page.sees(running.id, current=1)
        later = acted(owner)
        await page.sees(later.id, state="PENDING")
        later.end()
        await page.ends(later.id)
        assert page.shown.keys() == {running.id, later.id}
        assert {ended.id, foreign.id}.isdisjoint(page.shown)


async def test_two_browsers_of_one_user_both_see_mine(web: WebOnly) -> None:
    """The second browser is shown the tasks that the first already watches."""
    owner = web.user()
    running = acted(owner).run(1, 2)
    async with wire(web.ws, cookie=owner.cookie) as one, wire(web.ws, cookie=owner.cookie) as two:
        await one.ask("watch", mine=True)
        await one.sees(running.id, current=1)
        await two.ask("watch", mine=True)
        await two.sees(running.id, current=1)


async def test_mine_finds_a_task_whose_push_was_lost(web: WebOnly) -> None:
    """A new task that nobody announced appears within one sweep."""
    owner = web.user()
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.ask("watch", mine=True)
        silent = acted(owner, hints=False)
        await page.sees(silent.id, state="PENDING", seconds=15)


async def test_mine_shows_a_task_that_was_over_before_anybody_could_look(web: WebOnly) -> None:
    """A task that starts after `mine` was asked for is shown even if it ends within a millisecond."""
    owner = web.user()
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.ask("watch", mine=True)
        await page.lives()
        brief = acted(owner, hints=False).end()
        await page.ends(brief.id, seconds=15)


async def test_mine_needs_a_session(web: WebOnly, owner: Login) -> None:
    """A token never covers `mine`, and without a session nobody is anybody."""
    task = acted(owner)
    async with wire(web.ws, origin=None) as page:
        token = progress.watch_token(task.id)
        answer = await page.ask("watch", mine=True, token=token)
        assert answer["code"] == "not_allowed"


# --- Rights ------------------------------------------------------------------------------------------------


async def test_forbidden_and_unknown_are_the_same_answer(web: WebOnly, owner: Login, other: Login) -> None:
    """Another user learns nothing: `not_found` for a task that is not theirs and for one that does not exist."""
    task = acted(owner).run(1, 2)
    async with wire(web.ws, cookie=other.cookie) as page:
        answers = [await page.watch(name) for name in (task.id, "0" * 36)]
        for answer in answers:
            del answer["ref"], answer["ids"]
        assert answers[0] == answers[1] == {"type": "refused", "code": "not_found"}
        for kind in ("cancel", "logs"):
            assert (await page.ask(kind, id=task.id))["code"] == "not_found"
        assert page.shown == {}


async def test_staff_see_the_staff_view_with_the_permission_only(web: WebOnly, owner: Login) -> None:
    """Permitted staff see errors and the worker; the owner sees that it failed; other staff see nothing."""
    permitted, plain = web.user(staff=True, permissions=["view_taskrun"]), web.user(staff=True)
    task = acted(owner)
    task.end(State.FAILURE, error=ValueError("secret=hunter2"))
    async with (
        wire(web.ws, cookie=permitted.cookie) as staff,
        wire(web.ws, cookie=owner.cookie) as mine,
        wire(web.ws, cookie=plain.cookie) as nobody,
    ):
        assert (await staff.watch(task.id))["items"][0]["may"] == ["watch"]
        assert (await staff.sees(task.id, final=True))["error"] == {
            "type": "ValueError",
            "message": "secret=hunter2",
        }
        await mine.watch(task.id)
        shown = await mine.sees(task.id, final=True)
        assert shown["error"] == {"type": "error"}
        assert "worker" not in shown
        assert "hunter2" not in json.dumps(mine.messages)
        assert (await nobody.watch(task.id))["code"] == "not_found"
        assert (await staff.ask("cancel", id=task.id))["code"] == "not_allowed"


async def test_a_permission_without_staff_status_counts_for_nothing(web: WebOnly, owner: Login) -> None:
    """Our permissions are for staff: a plain user who holds one sees no more than before."""
    user = web.user(permissions=["view_taskrun"])
    async with wire(web.ws, cookie=user.cookie) as page:
        assert (await page.watch(acted(owner).id))["code"] == "not_found"


async def test_a_token_covers_its_task_and_no_other(web: WebOnly, owner: Login) -> None:
    """A bearer watches what the token names, may not cancel, and is refused everything else."""
    task, foreign = acted(owner).run(1, 2), acted(owner)
    async with wire(web.ws, origin=None) as page:
        answer = await page.watch(task.id, token=progress.watch_token(task.id))
        (item,) = answer["items"]
        assert item["may"] == ["watch"]
        assert item["until"] > page.all("snapshots")[0]["at"] if page.all("snapshots") else item["until"]
        await page.sees(task.id, current=1)
        assert (await page.watch(foreign.id))["code"] == "not_found"
        assert (await page.ask("cancel", id=task.id))["code"] == "not_allowed"
        assert (await page.ask("logs", id=task.id))["code"] == "not_allowed"


async def test_a_token_for_the_root_covers_the_tree(web: WebOnly, owner: Login) -> None:
    """A token that names a workflow's root watches its members."""
    root = acted(owner)
    child = ActedTask(owner=str(owner.pk), tree=root.key).queue()
    async with wire(web.ws, origin=None) as page:
        await page.watch(child.id, token=progress.watch_token(root.id))
        await page.sees(child.id, state="PENDING")


async def test_a_token_may_allow_to_cancel(web: WebOnly, owner: Login) -> None:
    """With the action "cancel" its bearer cancels, without any session."""
    task = acted(owner).run(1, 2)
    async with wire(web.ws, origin=None) as page:
        answer = await page.watch(task.id, token=progress.watch_token(task.id, actions=("watch", "cancel")))
        assert answer["items"][0]["may"] == ["watch", "cancel"]
        assert (await page.ask("cancel", id=task.id))["type"] == "accepted"


@pytest.mark.parametrize("token", ["", "garbage", "a:b:c", "é" * 50])
async def test_a_forged_token_watches_nothing(web: WebOnly, owner: Login, token: str) -> None:
    """With a token that was not issued here a task is not found, and the socket stays."""
    task = acted(owner)
    async with wire(web.ws, origin=None) as page:
        assert (await page.watch(task.id, token=token))["code"] == "not_found"
        assert (await page.ask("token", token=token))["code"] == "expired"
        await page.lives()


async def test_when_a_token_expires_the_socket_stays(web: WebOnly, owner: Login) -> None:
    """`refused` with `expired` names its tasks, nothing more is sent about them, and the socket lives on."""
    task = acted(owner)
    async with wire(web.ws, origin=None) as page:
        await page.watch(task.id, token=progress.watch_token(task.id, expires=0.6))
        await page.sees(task.id, state="PENDING")
        await page.told("refused", ids=[task.id], code="expired")
        task.end()
        await page.lives()
        assert page.shown[task.id]["final"] is False
        await page.watch(task.id, token=progress.watch_token(task.id))
        await page.ends(task.id)


async def test_a_later_token_renews(web: WebOnly, owner: Login) -> None:
    """A token for the same task that lasts longer keeps the watch when the first one is over."""
    task = acted(owner)
    async with wire(web.ws, origin=None) as page:
        first = (await page.watch(task.id, token=progress.watch_token(task.id, expires=0.8)))["items"][0]["until"]
        renewed = (await page.ask("token", token=progress.watch_token(task.id, expires=60)))["items"]
        assert [item["id"] for item in renewed] == [task.id]
        assert renewed[0]["until"] > first
        await asyncio.sleep(1.0)  # the first token's whole life
        task.end()
        await page.ends(task.id)
        assert page.all("refused") == []


async def test_the_single_task_address_waits_for_a_token(web: WebOnly, owner: Login) -> None:
    """Without a session it waits for a first message with a token, and then watches."""
    task = acted(owner).run(1, 2)
    async with wire(f"{web.ws}{task.id}/", origin=None) as page:
        await page.say("token", token=progress.watch_token(task.id))
        await page.sees(task.id, current=1)


async def test_the_single_task_address_closes_alike_for_unknown_and_forbidden(
    web: WebOnly, other: Login, owner: Login
) -> None:
    """After 5 s it closes with 4404, whether there is such a task or not."""
    task = acted(owner)
    loop = asyncio.get_running_loop()

    async def outcome(name: str) -> tuple[int, list, bool]:
        began = loop.time()
        async with wire(f"{web.ws}{name}/", cookie=other.cookie) as page:
            code = await page.closes(8)
            told = [message for message in page.messages if message["type"] != "heartbeat"]
            return code, told, 4.5 < loop.time() - began < 6.5

    outcomes = await asyncio.gather(outcome(task.id), outcome("0" * 36))
    assert outcomes == [(4404, [], True)] * 2


async def test_logging_out_by_http_closes_the_socket(web: WebOnly) -> None:
    """When the session ends elsewhere the socket closes with 4401, which clients do not retry."""
    login = web.user()
    async with wire(web.ws, cookie=login.cookie) as page:
        await page.lives()
        web.end_session(login)
        assert await page.closes(5) == 4401


async def test_losing_a_permission_ends_the_view(web: WebOnly, owner: Login) -> None:
    """Who is no longer staff stops seeing what only staff may see; the socket stays."""
    staff = web.user(staff=True, permissions=["view_taskrun"])
    task = acted(owner)
    async with wire(web.ws, cookie=staff.cookie) as page:
        await page.watch(task.id)
        await page.sees(task.id, state="PENDING")
        set_staff(web, staff, False)
        await page.told("refused", ids=[task.id], code="not_found", seconds=5)
        task.end()
        await page.lives()
        assert page.shown[task.id]["final"] is False


def set_staff(web: WebOnly, login: Login, value: bool) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(web.data / "db.sqlite3", timeout=20)) as database, database:
        database.execute("UPDATE auth_user SET is_staff = ? WHERE id = ?", [value, login.pk])


# --- Origins -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
async def test_another_page_is_refused_with_a_code(web: WebOnly, owner: Login, origin: str) -> None:
    """A bad origin is accepted and closed with 4403: a browser can tell that from an outage."""
    async with wire(web.ws, cookie=owner.cookie, origin=origin) as page:
        assert await page.closes() == 4403
        assert page.messages == []


@pytest.mark.parametrize("origins", [["http://["], ["own", "own"], ["own", "http://evil.example"]], ids=str)
async def test_an_origin_that_is_none_or_doubled_opens_nothing(web: WebOnly, origins: list[str]) -> None:
    """Daphne itself refuses such a handshake; no browser sends it."""
    with pytest.raises(InvalidStatus) as refused:
        async with wire(web.ws, origin=[web.url if origin == "own" else origin for origin in origins]):
            pass
    assert refused.value.response.status_code == 400


async def test_without_an_origin_cookies_count_for_nothing(web: WebOnly, owner: Login) -> None:
    """A client that is no page needs a token, even if it has a cookie."""
    task = acted(owner)
    async with wire(web.ws, cookie=owner.cookie, origin=None) as page:
        assert (await page.watch(task.id))["code"] == "not_found"
        await page.watch(task.id, token=progress.watch_token(task.id))
        await page.sees(task.id, state="PENDING")


async def test_an_unknown_address_closes_with_4404(web: WebOnly, owner: Login) -> None:
    """A wrong path is no server error."""
    async with wire(web.url.replace("http", "ws", 1) + "/ws/elsewhere/", cookie=owner.cookie) as page:
        assert await page.closes() == 4404
    assert "Traceback" not in web.web.output()


# --- cancel ------------------------------------------------------------------------------------------------


async def test_cancel_is_accepted_shown_and_told_to_the_worker(web: WebOnly, owner: Login) -> None:
    """The wish is recorded, every watcher sees `cancel_requested`, and asking again is no error."""
    task = acted(owner).run(1, 2)
    async with wire(web.ws, cookie=owner.cookie) as page, wire(web.ws, cookie=owner.cookie) as second:
        await page.watch(task.id)
        await second.watch(task.id)
        answer = await page.ask("cancel", id=task.id)
        assert answer == {"type": "accepted", "id": task.id, "action": "cancel", "ref": answer["ref"]}
        await page.sees(task.id, cancel_requested=True, state="PROGRESS")
        await second.sees(task.id, cancel_requested=True)
        assert (await second.ask("cancel", id=task.id))["type"] == "accepted"
    assert get_store().control(task.key) == str(owner.pk)


async def test_cancelling_what_has_ended_is_refused(web: WebOnly, owner: Login) -> None:
    """A task that is over cannot be cancelled: `ended`."""
    task = acted(owner).end()
    async with wire(web.ws, cookie=owner.cookie) as page:
        assert (await page.ask("cancel", id=task.id))["code"] == "ended"
        assert (await page.ask("cancel", id="nobody-knows"))["code"] == "not_found"


async def test_staff_cancel_with_both_permissions(web: WebOnly, owner: Login) -> None:
    """Staff who may view and cancel do so; the record says who it was."""
    staff = web.user(staff=True, permissions=["view_taskrun", "cancel_taskrun"])
    task = acted(owner).run(1, 2)
    async with wire(web.ws, cookie=staff.cookie) as page:
        assert (await page.ask("cancel", id=task.id))["type"] == "accepted"
    assert get_store().control(task.key) == str(staff.pk)


# --- logs --------------------------------------------------------------------------------------------------


async def test_logs_come_newest_first_time_and_go_on_by_themselves(web: WebOnly, owner: Login) -> None:
    """Without a cursor the newest 200 lines come, `truncated` says that there were more, and new ones follow."""
    task = acted(owner)
    (await task.log(*(f"line {number}" for number in range(250)))).run(1, 3)
    async with wire(web.ws, cookie=owner.cookie) as page:
        answer = await page.ask("logs", id=task.id)
        assert [line["text"] for line in answer["lines"]] == [f"line {number}" for number in range(50, 250)]
        assert answer["truncated"] is True
        assert answer["lines"][0].keys() == {"at", "level", "text"}
        await page.sees(task.id, current=1)
        (await task.log("one more")).run(2, 3)
        await page.until(lambda: page.lines[task.id][-1] == "one more", 5, "the new line")
        (await task.log(*(f"last {number}" for number in range(450)))).end()
        await page.until(lambda: page.lines[task.id][-1] == "last 449", 5, "all the rest")
        assert page.lines[task.id][200:] == ["one more", *(f"last {number}" for number in range(450))]


async def test_logs_continue_from_a_cursor(web: WebOnly, owner: Login) -> None:
    """A client that comes back gets what it has not seen, nothing twice."""
    task = acted(owner)
    (await task.log("a", "b")).run(1, 3)
    async with wire(web.ws, cookie=owner.cookie) as page:
        cursor = (await page.ask("logs", id=task.id))["next"]
    (await task.log("c")).run(2, 3)
    async with wire(web.ws, cookie=owner.cookie) as page:
        answer = await page.ask("logs", id=task.id, after=cursor)
        assert ([line["text"] for line in answer["lines"]], answer["truncated"]) == (["c"], False)


async def test_lines_that_are_gone_are_said_to_be_gone(web: WebOnly, owner: Login) -> None:
    """A cursor older than the oldest kept line is answered with `truncated`."""
    task = acted(owner)
    (await task.log("first")).run(1, 3)
    async with wire(web.ws, cookie=owner.cookie) as page:
        cursor = (await page.ask("logs", id=task.id))["next"]
    await task.log(*(str(number) for number in range(1100)))
    async with wire(web.ws, cookie=owner.cookie) as page:
        answer = await page.ask("logs", id=task.id, after=cursor)
        assert answer["truncated"] is True
        await page.until(lambda: len(page.lines[task.id]) == 1000, 5, "all lines that are kept")


@pytest.mark.parametrize("after", ["garbage", "1-1-1", "-", "9" * 60, "+", "(0-0"])
async def test_a_cursor_that_is_none_is_a_bad_message(web: WebOnly, owner: Login, after: str) -> None:
    """A wrong cursor is answered, not taken for an outage."""
    task = acted(owner)
    async with wire(web.ws, cookie=owner.cookie) as page:
        assert (await page.ask("logs", id=task.id, after=after))["code"] == "bad_message"
        await page.lives()


# --- Frames that are wrong ---------------------------------------------------------------------------------

MALFORMED = ["", "{", "[]", '"watch"', "17", "null", "\x00", "[" * 8000, '{"type":"ping","ref":NaN}']


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: repr(text[:12]))
async def test_what_is_no_json_object_closes_with_4400(web: WebOnly, text: str) -> None:
    """A frame that is no JSON object is a protocol error."""
    async with wire(web.ws) as page:
        await page.connection.send(text)
        assert await page.closes() == 4400


async def test_a_binary_frame_closes_with_4400(web: WebOnly) -> None:
    """Messages are text."""
    async with wire(web.ws) as page:
        await page.connection.send(b'{"type":"ping"}')
        assert await page.closes() == 4400


BAD = [
    {"type": "dance"},
    {"type": ["watch"]},
    {},
    {"type": "watch"},
    {"type": "watch", "ids": "t"},
    {"type": "watch", "ids": [1]},
    {"type": "watch", "ids": [None]},
    {"type": "watch", "ids": [""]},
    {"type": "watch", "ids": []},
    {"type": "watch", "mine": "yes"},
    {"type": "watch", "tree": 7},
    {"type": "watch", "ids": ["t"], "every_ms": "1"},
    {"type": "watch", "ids": ["t"], "every_ms": -1},
    {"type": "watch", "ids": ["t"], "every_ms": True},
    {"type": "watch", "ids": ["t"], "token": {}},
    {"type": "unwatch"},
    {"type": "cancel"},
    {"type": "cancel", "id": 5},
    {"type": "cancel", "id": {"a": 1}},
    {"type": "logs", "id": "t", "after": 5},
    {"type": "token"},
]


@pytest.mark.parametrize("message", BAD, ids=json.dumps)
async def test_a_wrong_message_is_answered_with_its_detail(web: WebOnly, message: dict[str, Any]) -> None:
    """`bad_message` says what is wrong, repeats the `ref`, and the socket stays open."""
    async with wire(web.ws) as page:
        await page.connection.send(json.dumps({**message, "ref": "r"}))
        refused = await page.told("refused", ref="r", code="bad_message")
        assert refused["detail"]
        await page.lives()


async def test_unknown_fields_are_ignored(web: WebOnly) -> None:
    """A newer client may say more than this server understands."""
    async with wire(web.ws) as page:
        await page.say("ping", ref=1, colour="blue", ids=7)
        await page.told("heartbeat", ref=1)


async def test_texts_that_have_no_utf8_form_close_nothing_but_this_socket(web: WebOnly) -> None:
    """A lone surrogate in an id or a ref is a protocol error, not a server error."""
    async with wire(web.ws) as page:
        await page.connection.send('{"type":"watch","ids":["\\ud800"],"ref":"\\udfff"}')
        assert await page.closes() == 4400
    assert "Traceback" not in web.web.output()


@pytest.mark.parametrize("size", [16 * 1024 + 1, 1_000_000])
async def test_a_large_frame_closes_with_4429(web: WebOnly, size: int) -> None:
    """More than 16 KB in one frame is too much; exactly 16 KB is not."""
    async with wire(web.ws) as page:
        frame = json.dumps({"type": "ping", "pad": ""})
        await page.connection.send(frame.replace('""', f'"{"x" * (16 * 1024 - len(frame))}"'))
        await page.told("heartbeat")
        await page.connection.send("x" * size)
        assert await page.closes() == 4429


async def test_a_flood_closes_with_4429(web: WebOnly) -> None:
    """More than 20 frames a second, sustained, is too many; a burst of 50 is not."""
    async with wire(web.ws) as page:
        for _ in range(50):
            await page.say("ping")
        await page.lives()
        with contextlib.suppress(ConnectionClosed):  # it may come while we still speak
            for _ in range(500):
                await page.say("ping")
        assert await page.closes() == 4429


async def test_who_is_slow_reads_why_it_was_closed(web: WebOnly) -> None:
    """A page that was busy for seconds, or a train in a tunnel: the connection waits for its answer to the close."""
    async with wire(web.ws) as page:
        await page.lives()
        await page.connection.send("no message")
        time.sleep(2.5)  # noqa: ASYNC251 (this client does nothing at all meanwhile)
        with contextlib.suppress(ConnectionClosed):
            await page.say("ping")  # into a connection that is gone, this would be answered with a reset
            await page.say("ping")
        assert await page.closes() == 4400


async def test_a_client_that_leaves_is_forgotten(web: WebOnly, owner: Login) -> None:
    """A close by the client is answered with its own code, 1000."""
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(acted(owner).id)
        await page.connection.close(1000)
    assert page.close_code == 1000


# --- Time --------------------------------------------------------------------------------------------------


async def test_a_quiet_connection_hears_a_heartbeat_with_redis_time(web: WebOnly) -> None:
    """Heartbeats come by themselves and carry the time."""
    async with wire(web.ws) as page:
        beat = await page.told("heartbeat")
        assert len(beat["at"]) == len("2026-11-20T13:30:20.120Z")


# --- Strangers in the group --------------------------------------------------------------------------------

POISON: list[Any] = [
    {},
    {"type": "progress.update"},
    {"type": "websocket.disconnect", "code": 1000},
    {"type": "websocket.close"},
    {"type": "progress.update", "id": 5, "seq": 2**60},
    {"type": "progress.update", "id": "{key}", "seq": "9"},
    {"type": "progress.update", "id": "{key}", "seq": 2**60, "snapshot": "no json"},
    {"type": "progress.update", "id": "{key}", "seq": 2**60, "snapshot": "[1]"},
    {"type": "progress.update", "id": "{key}", "seq": 2**60, "snapshot": b"\xff\xfe"},
    {"type": "progress.update", "id": "{key}", "seq": 2**60, "snapshot": '{"id":"another","seq":1}'},
    {"type": "progress.update", "id": "{key}", "seq": 2**60, "snapshot": {"id": "{key}"}},
    [1, 2, 3],
    "text",
    None,
]


async def test_garbage_in_the_group_closes_nobody_and_stops_nothing(web: WebOnly, owner: Login) -> None:
    """Whatever strangers write into a group, the socket stays, shows nothing of it, and goes on at once."""
    import msgpack

    task = acted(owner)
    channel = f"{web.prefix}__group__{progress.group_name(task.id)}"
    raw = [b"", b"\xc1", b"\xff" * 100, b"\x00" * 10_000]
    for event in POISON:
        text = repr(event).replace("{key}", task.key)
        raw.append(msgpack.packb(eval(text)))
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(task.id)
        await page.sees(task.id, state="PENDING")
        loop = asyncio.get_running_loop()
        with web.redis.client() as client:
            for data in raw:
                assert client.publish(channel, data) == 1
        task.run(1, 2)
        began = loop.time()
        await page.sees(task.id, current=1)
        assert loop.time() - began < 1, "the push was lost and only the sweep brought it"
        task.end()
        await page.ends(task.id)
        assert set(page.states[task.id]) == {"PENDING", "PROGRESS", "SUCCESS"}
    assert "Traceback" not in web.web.output()


async def test_a_broken_record_harms_no_other_task(web: WebOnly, owner: Login) -> None:
    """A record that somebody damaged in Redis does not stop the sweep that other watchers live on."""
    broken, sound = acted(owner), acted(owner)
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(broken.id, sound.id)
        await page.sees(sound.id, state="PENDING")
        with web.redis.client() as client:
            name = f"{web.prefix}:task:{broken.key}"
            client.hset(name, mapping={"body": "{{{", "seq": str(2**52 + 2**51), "n": "many"})
        sound.hints = False
        sound.end()
        await page.ends(sound.id, seconds=15)
        await page.lives()


# --- Leaks -------------------------------------------------------------------------------------------------


def subscriptions(web: WebOnly) -> tuple[int, int]:
    """How many channels of this site anybody is subscribed to, and how often."""
    with web.redis.client() as client:
        channels = client.pubsub_channels(f"{web.prefix}__group__*task*")
        return len(channels), sum(count for _, count in client.pubsub_numsub(*channels)) if channels else 0


async def test_a_thousand_connections_leave_nothing_behind(web: WebOnly, owner: Login) -> None:
    """After 1 000 connects, watches and ends of all kinds, no subscription is left and the server is as quick."""
    tasks = [acted(owner) for _ in range(20)]
    gate = asyncio.Semaphore(20)

    async def visit(number: int) -> None:
        async with gate:
            headers = headers_of(web.ws, owner.cookie, "the page's own origin")
            async with connect(web.ws, additional_headers=headers, proxy=None, compression=None) as socket:
                ids = [task.id for task in tasks[number % 17 : number % 17 + 3]]
                await socket.send(json.dumps({"type": "watch", "ids": ids}))
                if number % 4 != 3:  # the others leave in the middle of it
                    await socket.recv()
                if number % 4 == 1:
                    socket.transport.abort()
                if number % 4 == 2:
                    await socket.send("{")

    await asyncio.gather(*(visit(number) for number in range(1000)))
    await asyncio.to_thread(
        wait_until, lambda: subscriptions(web) == (0, 0), 10, f"no subscription: {subscriptions(web)}"
    )
    assert "Traceback" not in web.web.output()
    assert "never awaited" not in web.web.output()
    assert "never retrieved" not in web.web.output()


# --- HTTP beside it ----------------------------------------------------------------------------------------


def get(web: WebOnly, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", web.web.port, timeout=10)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    response.body = response.read()  # type: ignore[attr-defined]
    connection.close()
    return response


async def test_http_shows_the_same_snapshot(web: WebOnly, owner: Login) -> None:
    """What the socket shows and what `GET /progress/<id>/` answers are equal."""
    task = acted(owner).run(1, 4)
    async with wire(web.ws, cookie=owner.cookie) as page:
        await page.watch(task.id)
        shown = await page.sees(task.id, current=1)
        response = await asyncio.to_thread(get, web, f"/progress/{task.id}/", Cookie=owner.cookie)
        assert json.loads(response.body) == shown  # type: ignore[attr-defined]


# --- A real worker -----------------------------------------------------------------------------------------


async def test_a_real_task_is_pushed_step_by_step(site: Site) -> None:
    """What a worker reports arrives as it is reported, not at a sweep."""
    owner = site.user()
    async with wire(site.ws, cookie=owner.cookie) as page:
        with progress.owner(owner.pk):
            task_id = countdown.delay(seconds=2, steps=8).id
        await page.watch(task_id)
        await page.ends(task_id, seconds=20)
        shown = page.shown[task_id]
        assert (shown["state"], shown["current"], shown["total"], shown["fraction"]) == ("SUCCESS", 8, 8, 1)
        assert shown["attempt"] == 1
        assert len(page.states[task_id]) >= 6


async def test_a_real_task_is_cancelled_by_its_owner(site: Site) -> None:
    """`accepted` says that the wish was kept, REVOKED comes on the worker's word, promptly."""
    owner = site.user()
    async with wire(site.ws, cookie=owner.cookie) as page:
        with progress.owner(owner.pk):
            task_id = countdown.delay(seconds=60, steps=600).id
        await page.watch(task_id)
        await page.sees(task_id, state="PROGRESS", seconds=20)
        assert (await page.ask("cancel", id=task_id))["type"] == "accepted"
        await page.sees(task_id, state="REVOKED", final=True, cancel_requested=True, seconds=5)


async def test_a_real_task_of_mine_appears_by_itself(site: Site) -> None:
    """A page that follows `mine` sees a task that is sent elsewhere, from queued to its end."""
    owner = site.user()
    async with wire(site.ws, cookie=owner.cookie) as page:
        await page.ask("watch", mine=True)
        with progress.owner(owner.pk):
            task_id = countdown.delay(seconds=1, steps=4).id
        await page.ends(task_id, seconds=20)
