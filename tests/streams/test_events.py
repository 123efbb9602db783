"""Server-Sent Events as `docs/protocol.md` has them, on a real Daphne, a real uvicorn and a real Redis."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import progress
from progress import revoke_token, watch_token
from progress.exceptions import StoreUnavailable
from progress.snapshot import State
from tasks.tasks import countdown
from tests.acted import ActedTask
from tests.deaf import is_cut, memory
from tests.processes import Login, Site, Uvicorn, Web, in_this_process, wait_until
from tests.sse import Stream
from tests.web_only import WebOnly

LEAVES_WITHIN = 10.0  # seconds, as promised
READERS = 20  # who take nothing
EACH = 256 * 1024  # bytes that one of them may cost


class QuickUvicorn(Uvicorn):
    application = "tests.quick_asgi:application"


class Both(WebOnly):
    """One Redis, one Daphne and one uvicorn, in a hurry (`tests.quick_asgi`)."""

    def start(self) -> Both:
        super().start()
        self.servers: dict[str, Web] = {
            "daphne": self.web,
            "uvicorn": QuickUvicorn(self.folder, self.env, name="uvicorn").start(),
        }
        return self

    def stop(self) -> None:
        for server in self.servers.values():
            server.kill()
        super().stop()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    own = Both(tmp_path_factory.mktemp("events") / "site", settings="tests.fewer_watches_settings")
    try:
        yield own.start()
    finally:
        own.stop()


@pytest.fixture
def both(running: Both, settings: Any) -> Iterator[Both]:
    """This process writes to their Redis. Neither has written an error when the test is over."""
    for server in running.servers.values():
        if not server.alive:
            server.start()
    with in_this_process(settings, running.redis.url, running.prefix):
        yield running
    for server in running.servers.values():
        assert [line for line in server.output().splitlines() if "ERROR" in line or "Traceback" in line] == []


@pytest.fixture(params=["daphne", "uvicorn"])
def server(request: Any, both: Both) -> Web:
    return both.servers[request.param]


@pytest.fixture
def owner(running: Both) -> Login:
    return running.user()


def acted(owner: Login, **options: Any) -> ActedTask:
    return ActedTask(owner=str(owner.pk), **options).queue()


def several(server: Web, tasks: Iterable[ActedTask], **options: Any) -> Stream:
    return Stream(server.url, ids=tuple(task.id for task in tasks), **options)


def single(server: Web, task: ActedTask | str, **options: Any) -> Stream:
    name = task if isinstance(task, str) else task.id
    return Stream(server.url, f"/progress/{name}/events/", **options)


def watchers(both: Both) -> int:
    """How often anybody is subscribed to anything of this site's that is watched."""
    with both.redis.client() as client:
        channels = [
            name for kind in ("task", "owner") for name in client.pubsub_channels(f"{both.prefix}__group__*.{kind}.*")
        ]
        return sum(count for _, count in client.pubsub_numsub(*channels)) if channels else 0


# --- What is told, and when it ends --------------------------------------------------------------------------


def test_a_task_is_shown_from_what_is_known_to_its_end(server: Web, owner: Login) -> None:
    """A heartbeat, the right, each snapshot as it comes with its `seq` as id; the end is that of the task."""
    task = acted(owner)
    with single(server, task, cookie=owner.cookie) as stream:
        assert stream.status == 200
        stream.sees(task.key, state="PENDING")
        for step in (1, 2, 3):
            task.run(step, 3)
            stream.sees(task.key, current=step)
        task.end()
        assert stream.ends()[:3] == ["heartbeat", "watching", "snapshot"]
    assert stream.events[1].data["items"] == [{"id": task.id, "may": ["watch", "cancel"], "until": None}]
    shown = [each for each in stream.events if each.kind == "snapshot"]
    seqs = [int(each.id) for each in shown]
    assert seqs == sorted(set(seqs)) == [each.data["seq"] for each in shown]
    assert [each.data["final"] for each in shown] == [False] * (len(shown) - 1) + [True]
    assert shown[-1].data["fraction"] == 1


def test_nothing_on_the_way_is_invited_to_hold_it_back(server: Web, owner: Login) -> None:
    """Content type and headers that proxies, caches and browsers go by; the cookie decides, so it varies."""
    task = acted(owner)
    for stream in (single(server, task, cookie=owner.cookie), several(server, [task], cookie=owner.cookie)):
        with stream:
            stream.sees(task.key)
            assert stream.headers["Content-Type"] == "text/event-stream"
            assert stream.headers["Cache-Control"] == "private, no-store, no-transform"
            assert stream.headers["X-Accel-Buffering"] == "no"
            assert {"Content-Length", "Content-Encoding", "ETag"}.isdisjoint(stream.headers)
            assert {"Cookie", "Authorization"} <= set(stream.headers["Vary"].split(", "))
    assert "Accept" in stream.headers["Vary"].split(", ")


def test_curl_shows_it(server: Web, owner: Login) -> None:
    """`curl -N` with a token, whatever it accepts: lines of events, an empty line behind each, exit 0 at the end."""
    task = acted(owner).run(1, 2).end()
    address = f"{server.url}/progress/{task.id}/events/"
    header = f"Authorization: Bearer {watch_token(task.id)}"
    shown = subprocess.run(
        ["curl", "-N", "-sS", "--max-time", "20", "-H", header, address], capture_output=True, text=True, check=True
    ).stdout
    heartbeat, watching, last, nothing = shown.split("\n\n")
    assert heartbeat.startswith('event: heartbeat\ndata: {"type":"heartbeat","at":"')
    assert watching.startswith('event: watching\ndata: {"type":"watching","items":[{"id":"')
    kind, seq, data = last.split("\n")
    snapshot = json.loads(data.removeprefix("data: "))
    assert (kind, seq, snapshot["state"]) == ("event: snapshot", f"id: {snapshot['seq']}", "SUCCESS")
    assert nothing == ""


def test_the_first_event_comes_before_anything_was_looked_up(both: Both, server: Web, owner: Login) -> None:
    """At once, so that a client knows that nothing holds events back; with the time that snapshots are aged by."""
    task = acted(owner)
    with several(server, [task], cookie=owner.cookie) as stream:
        stream.sees(task.key)
        first = stream.events[0]
        assert first.kind == "heartbeat"
        assert first.at - stream.began < 2
        with both.redis.client() as client:
            seconds, _ = client.time()
        assert abs(datetime.fromisoformat(first.data["at"]).timestamp() - seconds) < 10


def test_a_quiet_stream_has_heartbeats(server: Web, owner: Login) -> None:
    """Every second here, every ten in earnest: silence is the end of it."""
    with single(server, acted(owner), cookie=owner.cookie) as stream:
        wait_until(lambda: [each.kind for each in stream.events].count("heartbeat") >= 3, 10, "three heartbeats")
        stream.told("heartbeat")


def test_several_end_when_all_have_ended(server: Web, owner: Login) -> None:
    """One stream for many tasks, each in snapshots of its own; what may not be seen is refused, not waited for."""
    tasks = [acted(owner) for _ in range(3)]
    ids = (*(task.id for task in tasks), "no-such-task")
    with Stream(server.url, ids=ids, cookie=owner.cookie) as stream:
        for task in tasks:
            stream.sees(task.key, state="PENDING")
        assert stream.told("refused")["ids"] == ["no-such-task"]
        for task in tasks[:2]:
            task.end()
            stream.sees(task.key, final=True)
        tasks[2].run(1, 2)
        stream.sees(tasks[2].key, current=1)
        assert not stream.ended
        tasks[2].end(State.FAILURE, error=ValueError("x"))
        stream.ends()
    assert [stream.snapshots(task.key)[-1]["final"] for task in tasks] == [True] * 3


def test_fifty_tasks_share_one_stream(server: Web, owner: Login) -> None:
    """As many bars as a page has: all are shown, and each comes to its end."""
    tasks = [acted(owner) for _ in range(50)]
    with several(server, tasks, cookie=owner.cookie) as stream:
        for step in (1, 2, 3):
            for task in tasks:
                task.run(step, 3)
        for task in tasks:
            task.end()
        stream.ends(20)
    assert [stream.snapshots(task.key)[-1]["state"] for task in tasks] == ["SUCCESS"] * 50


def test_a_lost_task_is_waited_for(server: Web, owner: Login) -> None:
    """LOST may be taken back, so it ends no stream."""
    task = acted(owner).run(1, 3)
    with single(server, task, cookie=owner.cookie) as stream:
        stream.sees(task.key, current=1)
        task.run(1, 3, State.LOST)
        stream.sees(task.key, state="LOST")
        task.run(2, 3)
        stream.sees(task.key, state="PROGRESS", current=2)
        task.end()
        stream.ends()


def test_mine_shows_what_runs_and_what_starts_later_and_never_ends(both: Both, server: Web) -> None:
    """The user's unfinished tasks, and those to come as they are sent; beside others that were named."""
    user, boss = both.user(), both.user(staff=True, permissions=["view_taskrun"])
    running = acted(user).run(1, 2)
    with Stream(server.url, query={"mine": "1"}, cookie=user.cookie) as stream:
        stream.sees(running.key, current=1)
        running.end()
        stream.sees(running.key, final=True)
        later = acted(user)
        stream.told("watching", items=[{"id": later.key, "may": ["watch", "cancel"], "until": None}])
        stream.sees(later.key, state="PENDING")
        assert not stream.ended
    own = acted(boss)
    with several(server, [later], query={"mine": "1"}, cookie=boss.cookie) as stream:
        stream.sees(later.key)
        stream.sees(own.key)


def test_a_reader_may_ask_for_fewer_events(server: Web, owner: Login) -> None:
    """`every_ms`: what is overtaken in between is skipped, the newest and the end are not."""
    task = acted(owner)
    with single(server, task, cookie=owner.cookie, query={"every_ms": "700"}) as stream:
        stream.sees(task.key, state="PENDING")
        for step in range(1, 21):
            task.run(step, 20)
        stream.sees(task.key, current=20)
        task.end()
        stream.ends()
    assert len(stream.snapshots(task.key)) <= 5
    shown = [each.at for each in stream.events if each.kind == "snapshot"]
    assert all(later - earlier > 0.5 for earlier, later in pairwise(shown))


def test_any_id_is_watched_by_its_name(server: Web, owner: Login) -> None:
    """Several may have ids that are no safe names; they are called as in the request."""
    task = acted(owner, task_id="report 7/é").end()
    with several(server, [task], cookie=owner.cookie) as stream:
        stream.ends()
    assert stream.told("watching")["items"][0]["id"] == "report 7/é"
    assert stream.snapshots(task.key)[-1]["state"] == "SUCCESS"


# --- Coming back ---------------------------------------------------------------------------------------------


def test_whoever_comes_back_is_told_only_what_is_newer(server: Web, owner: Login) -> None:
    """`Last-Event-ID` of a task that goes on: nothing twice."""
    task = acted(owner).run(1, 3)
    with single(server, task, cookie=owner.cookie) as stream:
        seen = stream.sees(task.key, current=1)["seq"]
    with single(server, task, cookie=owner.cookie, headers={"Last-Event-ID": str(seen)}) as stream:
        stream.told("watching")
        task.run(2, 3)
        stream.sees(task.key, current=2)
        assert all(each["seq"] > seen for each in stream.snapshots(task.key))
        task.end()
        stream.ends()


def test_whoever_has_seen_the_end_need_not_come_back(server: Web, owner: Login) -> None:
    """204, which an `EventSource` takes for good; whoever has seen less is shown the end."""
    task = acted(owner).run(1, 3)
    before = task.head
    task.end()
    end = task.head
    assert before is not None
    assert end is not None
    with single(server, task, cookie=owner.cookie, headers={"Last-Event-ID": str(end.seq)}) as stream:
        assert (stream.status, stream.ends(), stream.body) == (204, [], b"")
    for seen in (str(before.seq), "", "nonsense", "-1", "9" * 30):
        with single(server, task, cookie=owner.cookie, headers={"Last-Event-ID": seen}) as stream:
            assert stream.ends() == ["heartbeat", "watching", "snapshot"]


def test_the_last_event_of_several_says_nothing_of_the_others(server: Web, owner: Login) -> None:
    """Numbers of different tasks have no order: all are shown again."""
    tasks = [acted(owner).end() for _ in range(2)]
    assert tasks[1].head is not None
    last = {"Last-Event-ID": str(tasks[1].head.seq)}
    with several(server, tasks, cookie=owner.cookie, headers=last) as stream:
        stream.ends()
        assert all(stream.snapshots(task.key) for task in tasks)


# --- Who -----------------------------------------------------------------------------------------------------


def test_forbidden_and_unknown_are_one_answer(both: Both, server: Web, owner: Login) -> None:
    """404 for one, `refused` among several; byte for byte the same."""
    other, task = both.user(), acted(owner)
    found = []
    for name in (task.id, "no-such-task"):
        with single(server, name, cookie=other.cookie) as stream:
            stream.ends()
            found.append((stream.status, stream.body, {**stream.headers, "Date": ""}))
    assert found[0] == found[1]
    assert found[0][0] == 404
    with Stream(server.url, ids=(task.id, "no-such-task"), cookie=other.cookie) as stream:
        assert stream.ends() == ["heartbeat", "refused"]
    assert stream.events[1].data == {"type": "refused", "ids": [task.id, "no-such-task"], "code": "not_found"}


def test_staff_see_their_view_and_owners_theirs(both: Both, server: Web, owner: Login) -> None:
    """The same task on two streams: what is private to staff is in one of them."""
    staff = both.user(staff=True, permissions=["view_taskrun"])
    task = acted(owner)
    task.reporter.update(meta={"private": "for staff alone"})
    with single(server, task, cookie=owner.cookie) as his, single(server, task, cookie=staff.cookie) as theirs:
        task.run(1, 2)
        his.sees(task.key, current=1)
        assert theirs.sees(task.key, current=1)["meta"] == {"private": "for staff alone"}
        task.end(State.FAILURE, error=ValueError("only staff may read this"))
        his.ends()
        theirs.ends()
    assert "for staff" not in "".join(his.lines)
    assert his.snapshots(task.key)[-1]["error"] == {"type": "error"}
    assert "only staff may read this" in theirs.snapshots(task.key)[-1]["error"]["message"]


def test_a_token_watches_its_task_and_the_cookie_is_ignored(both: Both, server: Web, owner: Login) -> None:
    """As over a socket: it covers its task, never `mine`; with one that counts for nothing, nothing is seen."""
    task, own = acted(owner), acted(owner)
    with several(server, [task, own], query={"mine": "1"}, token=watch_token(task.id), cookie=owner.cookie) as stream:
        item = stream.told("watching")["items"][0]
        assert (item["id"], item["may"]) == (task.id, ["watch"])
        assert item["until"] is not None
        stream.told("refused", ids=[own.id], code="not_found")
        stream.told("refused", ids=[], code="not_allowed")
        task.end()
        stream.ends()
    with single(server, own, token="nonsense", cookie=owner.cookie) as stream:
        assert stream.status == 404
    with several(server, [own], token="nonsense", cookie=owner.cookie) as stream:
        assert stream.ends() == ["heartbeat", "refused"]


def test_a_token_that_expires_ends_the_view(server: Web, owner: Login) -> None:
    """`expired` for its task, and nothing is left to wait for."""
    task = acted(owner)
    with single(server, task, token=watch_token(task.id, expires=5)) as stream:
        stream.sees(task.key)
        assert stream.ends()[-1] == "refused"
    assert stream.told("refused") == {"type": "refused", "ids": [task.key], "code": "expired"}


def test_a_revoked_token_ends_the_view(server: Web, owner: Login) -> None:
    """Like what does not exist."""
    task = acted(owner)
    token = watch_token(task.id)
    with single(server, task, token=token) as stream:
        stream.sees(task.key)
        revoke_token(token)
        stream.ends()
    assert stream.told("refused")["code"] == "not_found"


def test_logging_out_ends_the_view(both: Both, server: Web) -> None:
    """`closing` with 4401 and no time to come back; nothing more is shown."""
    user = both.user()
    task = acted(user)
    with single(server, task, cookie=user.cookie) as stream:
        stream.sees(task.key)
        both.end_session(user)
        assert stream.ends()[-1] == "closing"
    assert stream.told("closing") == {"type": "closing", "code": 4401}
    with single(server, task, cookie=user.cookie) as stream:
        assert stream.status == 404


def test_a_lost_permission_ends_the_view(both: Both, server: Web, owner: Login) -> None:
    """The task of somebody else is refused from then on, like one that does not exist."""
    staff = both.user(staff=True, permissions=["view_taskrun"])
    task = acted(owner)
    with single(server, task, cookie=staff.cookie) as stream:
        stream.sees(task.key)
        with closing(sqlite3.connect(both.data / "db.sqlite3", timeout=20)) as database, database:
            database.execute("DELETE FROM auth_user_user_permissions WHERE user_id = ?", [staff.pk])
        stream.ends()
    assert stream.told("refused") == {"type": "refused", "ids": [task.key], "code": "not_found"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=lambda headers: " ".join(*headers.items()),
)
def test_a_page_of_another_site_opens_nothing_with_a_cookie(
    both: Both, server: Web, owner: Login, headers: dict[str, str]
) -> None:
    """403 whether or not the task exists: it could not read the stream, but would take connections away."""
    task = acted(owner)
    for stream in (
        single(server, task, cookie=owner.cookie, headers=headers),
        single(server, "no-such-task", cookie=owner.cookie, headers=headers),
        several(server, [task], cookie=owner.cookie, headers=headers),
    ):
        with stream:
            stream.ends()
            assert (stream.status, stream.body) == (403, b'{"error": "bad_origin"}')
    with single(server, task, token=watch_token(task.id), headers=headers) as stream:
        stream.sees(task.key)  # a token is sent by who means it


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}])
def test_a_page_of_the_same_origin_names_none(server: Web, owner: Login, headers: dict[str, str]) -> None:
    """Browsers send no `Origin` there; one that is its own is as good."""
    task = acted(owner).end()
    for told in (headers, {**headers, "Origin": server.url}):
        with single(server, task, cookie=owner.cookie, headers=told) as stream:
            assert stream.ends()[-1] == "snapshot"


# --- What is no stream ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({}, "watch needs ids, mine or tree."),
        ({"mine": "0"}, "watch needs ids, mine or tree."),
        ({"id": "a", "every_ms": "soon"}, "every_ms must be a number from 0 to 60000."),
        ({"id": "a", "every_ms": "60001"}, "every_ms must be a number from 0 to 60000."),
        ({"id": "a", "every_ms": "nan"}, "every_ms must be a number from 0 to 60000."),
    ],
)
def test_a_wrong_wish_is_answered_with_its_detail(
    server: Web, owner: Login, query: dict[str, str], detail: str
) -> None:
    """400 before anything is opened, with the words of the socket."""
    with Stream(server.url, query=query, cookie=owner.cookie) as stream:
        stream.ends()
        assert (stream.status, json.loads(stream.body)) == (400, {"error": "bad_message", "detail": detail})


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/event-stream, application/json", "text/html"])
def test_json_stays_what_is_answered_unless_events_are_wanted(server: Web, owner: Login, accept: str) -> None:
    """Only who accepts events and no JSON is streamed to."""
    task = acted(owner)
    with several(server, [task], cookie=owner.cookie, headers={"Accept": accept}) as stream:
        stream.ends()
        assert stream.headers["Content-Type"] == "application/json"
        assert [item["id"] for item in json.loads(stream.body)["items"]] == [task.key]


def test_head_opens_no_stream(both: Both, server: Web, owner: Login) -> None:
    """Its headers alone."""
    with single(server, acted(owner), cookie=owner.cookie, method="HEAD") as stream:
        stream.ends()
        assert (stream.status, stream.headers["Content-Type"], stream.events) == (200, "text/event-stream", [])
    wait_until(lambda: watchers(both) == 0, 10, "nobody watches")


def test_more_tasks_than_allowed_are_refused(server: Web, owner: Login) -> None:
    """60 here; the others are shown."""
    tasks = [acted(owner).end() for _ in range(62)]
    with several(server, tasks, cookie=owner.cookie) as stream:
        stream.ends()
    assert stream.told("refused") == {
        "type": "refused",
        "ids": [task.id for task in tasks[60:]],
        "code": "too_many",
    }
    assert {each.data["id"] for each in stream.events if each.kind == "snapshot"} == {task.key for task in tasks[:60]}


# --- Leaving -------------------------------------------------------------------------------------------------


def test_who_leaves_is_forgotten(both: Both, server: Web, owner: Login) -> None:
    """By closing, by a reset in the middle of it, before the first event, or at the end: nobody is subscribed."""
    wait_until(lambda: watchers(both) == 0, 10, "nobody watches")
    for number in range(30):
        tasks = [acted(owner) for _ in range(3)]
        stream = several(server, tasks, cookie=owner.cookie, query={"mine": "1"} if number % 2 else {})
        if number % 3 == 0:
            for task in tasks:
                stream.sees(task.key)
            assert watchers(both) >= 3
        if number % 3 == 1:
            linger = struct.pack("ii", 1, 0)
            stream.connection.sock and stream.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        stream.close()
    with single(server, acted(owner).end(), cookie=owner.cookie) as stream:
        stream.ends()
    wait_until(lambda: watchers(both) == 0, 10, "nobody watches")


def test_a_stream_holds_no_thread_of_the_server(both: Both, server: Web, owner: Login) -> None:
    """What Django takes for a request (a thread, a connection to the database) is given back when it begins."""
    task = acted(owner)

    def threads() -> int:
        return len(list(Path(f"/proc/{server.pid}/task").iterdir()))

    def databases() -> int:
        held = [os.readlink(each) for each in Path(f"/proc/{server.pid}/fd").iterdir() if each.is_symlink()]
        return sum(name.endswith("db.sqlite3") for name in held)

    with single(server, task, cookie=owner.cookie) as first:
        first.sees(task.key)
        before = threads()
        with ExitStack() as stack:
            for _ in range(20):
                stream = stack.enter_context(single(server, task, cookie=owner.cookie))
                stream.sees(task.key)
            assert threads() - before <= 8  # pools of a few, whoever comes
            wait_until(lambda: databases() <= 4, 10, "connections to the database are closed")
            task.end()


@contextmanager
def deaf(server: Web, owner: Login, tasks: Iterable[ActedTask]) -> Iterator[socket.socket]:
    """A stream that nobody reads."""
    query = "&".join(f"id={task.id}" for task in tasks)
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(10)
        raw.connect(("127.0.0.1", server.port))
        head = f"GET /progress/?{query} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAccept: text/event-stream\r\n"
        raw.sendall(f"{head}Cookie: {owner.cookie}\r\n\r\n".encode())
        assert raw.recv(12) == b"HTTP/1.1 200"
        yield raw


def unread(server: Web, raw: socket.socket) -> int:
    """Bytes that the system holds for a client of the server."""
    ends = [f"{port:04X}" for port in (server.port, raw.getsockname()[1])]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, here, there, _, queues, *_ = line.split()
        if [here.partition(":")[2], there.partition(":")[2]] == ends:
            return int(queues.partition(":")[0], 16)
    raise AssertionError("The client has no connection.")


def chatter(tasks: list[ActedTask], steps: Iterable[int]) -> Iterator[int]:
    """Much more than the buffers of the system take."""

    def written(task: ActedTask, step: int) -> bool:
        try:
            task.reporter.update(message="m" * 1500, meta={"pad": "m" * 700})
            task.run(step, 9000)
        except StoreUnavailable:
            return False  # a task's writes wait 50 ms for a busy machine
        return True

    for step in steps:
        for task in tasks:
            wait_until(partial(written, task, step), 10, "Redis takes what is written")
        yield step


def test_a_reader_that_does_not_read_is_cut_and_delays_nobody(both: Both, server: Web, owner: Login) -> None:
    """It costs little memory whatever the rate, is cut after its patience (2 s here), others see the newest."""
    tasks = [acted(owner) for _ in range(20)]
    with several(server, tasks, cookie=owner.cookie) as page:
        page.sees(tasks[-1].key)
        before = memory(server.pid)
        grown = [0]
        with ExitStack() as stack:
            raws = [stack.enter_context(deaf(server, owner, tasks)) for _ in range(READERS)]
            for step in chatter(tasks, range(1, 2000)):
                page.sees(tasks[-1].key, current=step, seconds=5)
                grown.append(memory(server.pid) - before)
                if all(map(is_cut, raws)):
                    break
            assert all(map(is_cut, raws))
        assert "took nothing for 2 s" in server.output()
        assert max(grown) <= READERS * EACH
        for task in tasks:
            task.end()
        page.ends()
    wait_until(lambda: watchers(both) == 0, 10, "nobody watches")


# --- The server leaves ---------------------------------------------------------------------------------------


def test_a_server_that_leaves_says_when_to_come_back(both: Both, server: Web, owner: Login) -> None:
    """SIGTERM: each stream is told `closing` with a time of its own, and ended; the server is gone at once."""
    task = acted(owner)
    with ExitStack() as stack:
        streams = [stack.enter_context(single(server, task, cookie=owner.cookie)) for _ in range(20)]
        for stream in streams:
            stream.sees(task.key)
        began = time.monotonic()
        assert server.stop(15) in (0, -15)
        assert time.monotonic() - began < 5
        for stream in streams:
            assert stream.ends()[-1] == "closing"
        told = [stream.told("closing") for stream in streams]
        assert {each["code"] for each in told} == {4012}
        assert len({each["retry_ms"] for each in told}) > 10
        last = streams[0].events[-1]
        assert last.retry == str(last.data["retry_ms"])


def test_a_reader_that_does_not_read_does_not_keep_it_from_leaving(both: Both, server: Web, owner: Login) -> None:
    """SIGTERM while somebody takes nothing: the process leaves in time."""
    tasks = [acted(owner) for _ in range(20)]
    with several(server, tasks, cookie=owner.cookie) as page, ExitStack() as stack:
        raw = stack.enter_context(deaf(server, owner, tasks))
        waiting: list[int] = []
        for step in chatter(tasks, range(1, 2000)):
            page.sees(tasks[-1].key, current=step)
            if is_cut(raw):  # the machine stood still for as long as the server is patient
                raw, waiting = stack.enter_context(deaf(server, owner, tasks)), []
            waiting.append(unread(server, raw))
            if waiting[-4:] == waiting[-1:] * 4:  # the system takes no more for it, and the server some
                break
        assert not is_cut(raw)
        began = time.monotonic()
        server.stop(20)
        assert time.monotonic() - began < LEAVES_WITHIN
    assert not server.alive


# --- A real task ---------------------------------------------------------------------------------------------


def test_a_real_task_is_streamed_step_by_step(site: Site) -> None:
    """From a worker, through the shipped site: it is shown running, and to its end."""
    user = site.user()
    with progress.owner(user.pk):
        task_id = countdown.delay(seconds=8, steps=16).id
    with Stream(site.url, f"/progress/{task_id}/events/", cookie=user.cookie) as stream:
        stream.ends(30)
    shown = stream.snapshots(task_id)
    assert shown[-1]["state"] == "SUCCESS"
    assert "PROGRESS" in {each["state"] for each in shown}
