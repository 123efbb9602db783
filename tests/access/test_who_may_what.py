"""Every address and every message × everybody. A new one without a row here fails.

The rows say what is expected of each viewer. Whoever is not named may not, and what that looks like is the same for a
task that exists and for one that does not.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core import signing
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from progress import messages, watch_token
from progress.events import EventStream
from progress.models import TaskRun
from progress.permissions import Viewer, viewer_of
from progress.routing import websocket_urlpatterns
from progress.store import get_store
from progress.testing import Communicator, in_memory, record_runs
from progress.tokens import SALT
from tests.acted import ActedTask

pytestmark = pytest.mark.django_db

NOBODY, OWNER, OTHER = "anonymous", "the owner", "another user"
STAFF, VIEWING, STAFF_WITH, ROOT = "staff without", "staff who may view", "staff with everything", "superuser"
TOKEN, CANCELLING, ANOTHER = "a token of the task", "a token to cancel", "a token of another task"
EXPIRED, FORGED = "an expired token", "a forged token"
SESSIONS: Final = (NOBODY, OWNER, OTHER, STAFF, VIEWING, STAFF_WITH, ROOT)
TOKENS: Final = (TOKEN, CANCELLING, ANOTHER, EXPIRED, FORGED)
EVERYBODY: Final = (*SESSIONS, *TOKENS)

WATCHERS: Final = {OWNER, VIEWING, STAFF_WITH, ROOT, TOKEN, CANCELLING}
CANCELLERS: Final = {OWNER, STAFF_WITH, ROOT, CANCELLING}
TERMINATORS: Final = {STAFF_WITH, ROOT}
ADMINS: Final = {VIEWING, STAFF_WITH, ROOT}
MAY_ALL: Final = {STAFF_WITH, ROOT}
IN_ADMIN: Final = {STAFF, VIEWING, STAFF_WITH, ROOT}  # may enter the admin at all; others are sent to its login


@dataclass(frozen=True)
class Row:
    """An address: whom it serves, by verb. Verbs that are not named are refused with 405, or do what GET does."""

    path: str
    get: frozenset[str] | set[str] = frozenset()
    post: frozenset[str] | set[str] | None = None  # None: not allowed to anybody
    served: int = 200
    posted: int = 202
    refused: int = 404
    data: Mapping[str, str] = frozenset()  # type: ignore[assignment]


HTTP: Final = {
    "progress:several": Row("/progress/?id={task}", set(EVERYBODY)),  # what may not be seen is left out, see below
    "progress:snapshot": Row("/progress/{task}/", WATCHERS),
    # This client speaks WSGI, where no stream can be: who may is told so. What is streamed to whom stands below.
    "progress:events": Row("/progress/{task}/events/", WATCHERS, served=501),
    "progress:cancel": Row("/progress/{task}/cancel/", set(), CANCELLERS, refused=405),
    "progress:words": Row("/progress/words.js?language=de", set(EVERYBODY)),
    "progress:healthz": Row("/progress/healthz", set(EVERYBODY)),
    "progress:readyz": Row("/progress/readyz", set(EVERYBODY)),
}
ADMIN: Final = "admin:task_progress_taskrun_"
PAGES: Final = {
    ADMIN + "changelist": Row("/admin/task_progress/taskrun/", ADMINS, refused=403),
    ADMIN + "tasks": Row("/admin/task_progress/taskrun/tasks/", MAY_ALL, refused=403),
    ADMIN + "start": Row("/admin/task_progress/taskrun/tasks/tasks.countdown/run/", MAY_ALL, refused=403),
    ADMIN + "change": Row("/admin/task_progress/taskrun/{task}/change/", ADMINS),
    ADMIN + "history": Row("/admin/task_progress/taskrun/{task}/history/", ADMINS),
    ADMIN + "delete": Row("/admin/task_progress/taskrun/{task}/delete/", MAY_ALL, refused=403),
    # Whoever may see the run is asked whether to stop it, and told if that is not theirs to decide.
    ADMIN + "cancel": Row("/admin/task_progress/taskrun/{task}/cancel/", ADMINS, refused=403),
    ADMIN + "terminate": Row("/admin/task_progress/taskrun/{task}/terminate/", ADMINS, refused=403),
}


class People:
    """Everybody, and the task that they ask about."""

    def __init__(self) -> None:
        self.users: dict[str, Any] = {NOBODY: AnonymousUser()}
        for name in (OWNER, OTHER):
            self.users[name] = User.objects.create_user(name)
        for name in (STAFF, VIEWING, STAFF_WITH):
            self.users[name] = User.objects.create_user(name, is_staff=True)
        self.users[ROOT] = User.objects.create_superuser(ROOT)
        permissions = Permission.objects.filter(content_type__app_label="task_progress")
        self.users[STAFF_WITH].user_permissions.set(permissions)
        self.users[VIEWING].user_permissions.set(permissions.filter(codename="view_taskrun"))
        self.owner = str(self.users[OWNER].pk)
        self.task = ActedTask("the-task", owner=self.owner, tree="the-flow")
        self.task.queue().run(1, 2)
        over = signing.dumps(["the-task", ["cancel", "watch"], "", time.time() - 1], salt=SALT, compress=False)
        self.tokens = {
            TOKEN: watch_token("the-task"),
            CANCELLING: watch_token("the-task", actions=("watch", "cancel")),
            ANOTHER: watch_token("another", actions=("watch", "cancel")),
            EXPIRED: over,
            FORGED: watch_token("the-task")[:-3] + "AAA",
        }

    def client(self, who: str) -> Client:
        """A browser of theirs, or a program with their token. Forged requests are looked for, as on a real site."""
        if who in self.tokens:
            return Client(enforce_csrf_checks=True, headers={"authorization": f"Bearer {self.tokens[who]}"})
        client = Client(enforce_csrf_checks=True)
        if who != NOBODY:
            client.force_login(self.users[who])
        return client


@pytest.fixture
def people(settings: Any) -> Iterator[People]:
    settings.STORAGES = {**settings.STORAGES}
    with in_memory():
        everybody = People()
        record_runs()
        yield everybody


def names(patterns: list[Any], namespace: str = "") -> Iterator[str]:
    """Every address of ours that the site's URL configuration has."""
    for each in patterns:
        if isinstance(each, URLResolver):
            yield from names(each.url_patterns, f"{each.namespace}:" if each.namespace else namespace)
        elif isinstance(each, URLPattern) and each.name:
            yield namespace + each.name


def posting(client: Client, path: str, data: Any = None) -> Any:
    """A POST as a page of the site sends it."""
    secret = "a" * 32
    client.cookies["csrftoken"] = secret
    return client.post(path, data or {}, headers={"X-CSRFToken": secret})


def test_every_address_has_a_row() -> None:
    """A new endpoint is entered here, with what it is to whom."""
    found = {
        name
        for name in names(get_resolver().url_patterns)
        if name.startswith(("progress:", ADMIN)) and not name.endswith("_add")
    }
    assert found == {*HTTP, *PAGES}
    sockets = [str(getattr(each.pattern, "_route", each.pattern)) for each in websocket_urlpatterns]
    assert sockets == ["ws/progress/", "ws/progress/<str:task_id>/", ""]


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("name", HTTP)
def test_address_serves_whom_its_row_names(people: People, name: str, who: str) -> None:
    """Everybody else is refused, and learns nothing about whether the task exists."""
    row, client = HTTP[name], people.client(who)
    there, nowhere = (client.get(row.path.format(task=task)) for task in ("the-task", "no-such-task"))
    if row.get == set(EVERYBODY):
        assert there.status_code == nowhere.status_code == 200
    elif who in row.get:
        assert (there.status_code, nowhere.status_code) == (row.served, 404)
    else:
        assert (there.status_code, there.content) == (nowhere.status_code, nowhere.content)
        assert there.status_code == row.refused


@pytest.mark.parametrize("who", EVERYBODY)
def test_list_leaves_out_what_may_not_be_seen(people: People, who: str) -> None:
    """And has what may be: in the staff view for permitted staff alone."""
    people.task.reporter.update(meta={"private": "for staff"})
    people.task.run(1, 2)
    items = people.client(who).get("/progress/?id=the-task&id=no-such-task").json()["items"]
    assert [item["id"] for item in items] == (["the-task"] if who in WATCHERS else [])
    assert ("for staff" in str(items)) == (who in ADMINS)
    mine = people.client(who).get("/progress/?mine=1").json()["items"]
    assert [item["id"] for item in mine] == (["the-task"] if who == OWNER else [])


async def streamed(viewer: Viewer, token: str | None) -> str:
    """All that is told of the task, and of one that there is none of, by a stream of events."""
    wish = {"type": "watch", "ids": ["the-task", "no-such-task"], "token": token}
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def session() -> Viewer:
        return viewer

    scope = {"headers": [], "progress.viewer": session, "progress.session": "theirs"}
    stream = EventStream(messages.parse(json.dumps(wish)), 0, scope, asyncio.Event().wait, send)
    async with Communicator():  # which ends the hub
        await asyncio.wait_for(stream.run({"type": "http.response.start", "status": 200, "headers": []}), 10)
    return b"".join(message.get("body", b"") for message in sent).decode()


@pytest.mark.parametrize("who", EVERYBODY)
def test_events_are_streamed_to_whom_may_watch(people: People, who: str) -> None:
    """The end of the task, in the staff view for permitted staff alone; to others nothing of it."""
    people.task.reporter.update(meta={"private": "for staff"})
    people.task.run(1, 2).end()
    viewer = viewer_of(people.users.get(who, AnonymousUser()))
    told = async_to_sync(streamed)(viewer, people.tokens.get(who))
    refused = [] if who in WATCHERS else ["the-task"]
    assert json.dumps([*refused, "no-such-task"], separators=(",", ":")) in told
    assert told.count('"state":"SUCCESS"') == (who in WATCHERS)
    assert ("for staff" in told) == (who in ADMINS)
    assert ("tests.acted" in told) == (who in WATCHERS)


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("force", [False, True], ids=["cancel", "terminate"])
def test_only_who_may_cancels(people: People, who: str, force: bool) -> None:
    """A session needs the CSRF token, too; whoever may watch and not cancel is told so, others are told nothing."""
    client, data = people.client(who), {"terminate": "1"} if force else {}
    if who in SESSIONS:
        assert client.post("/progress/the-task/cancel/", data).status_code == 403
        assert client.get("/progress/the-task/cancel/").status_code == 405
    answers = [posting(client, f"/progress/{task}/cancel/", data) for task in ("the-task", "no-such-task")]
    allowed = TERMINATORS if force else CANCELLERS
    if who in allowed:
        assert answers[0].status_code == 202
    elif who in WATCHERS:
        assert (answers[0].status_code, answers[0].json()["error"]) == (403, "not_allowed")
    else:
        assert answers[0].content == answers[1].content
        assert answers[0].status_code == 404
    assert answers[1].status_code == 404


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("verb", ["put", "patch", "delete", "options", "trace"])
@pytest.mark.parametrize("name", HTTP)
def test_other_verbs_do_nothing_for_anybody(people: People, name: str, verb: str, who: str) -> None:
    """405 whoever asks, or 403 where a session lacks the CSRF token; never an answer about a task."""
    response = getattr(people.client(who), verb)(HTTP[name].path.format(task="the-task"))
    assert response.status_code in (403, 405)
    assert b"the-task" not in response.content


# --- The admin ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("name", PAGES)
def test_admin_page_serves_whom_its_row_names(people: People, name: str, who: str) -> None:
    """Who may not enter the admin is sent to its login, whatever is asked for; a token opens no page."""
    row, client = PAGES[name], people.client(who)
    response = client.get(row.path.format(task="the-task"))
    if who not in IN_ADMIN:
        assert response.status_code == 302
        assert response.headers["Location"].startswith("/admin/login/")
    elif who in row.get:
        assert response.status_code == 200
    else:
        assert response.status_code in (403, 404)
        assert b"tests.acted" not in response.content


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("name", [name for name in PAGES if "{task}" in PAGES[name].path])
def test_admin_pages_do_not_tell_what_exists(people: People, name: str, who: str) -> None:
    """Whoever may not see the run gets the same answer for one that does not exist."""
    row, client = PAGES[name], people.client(who)
    if who in ADMINS:
        assert client.get(row.path.format(task="no-such-task")).status_code in (302, 404)
        return
    there, nowhere = (client.get(row.path.format(task=task)) for task in ("the-task", "no-such-task"))
    assert there.status_code == nowhere.status_code
    assert there.content.replace(b"the-task", b"") == nowhere.content.replace(b"no-such-task", b"")


@pytest.mark.parametrize("who", [*SESSIONS, TOKEN])
@pytest.mark.parametrize("name", PAGES)
def test_admin_page_changes_nothing_without_a_csrf_token(people: People, name: str, who: str) -> None:
    """Another site's form is refused, whoever is logged in."""
    response = people.client(who).post(PAGES[name].path.format(task="the-task"), {"post": "yes"})
    assert response.status_code == 403
    assert TaskRun.objects.filter(task_id="the-task").exists()
    assert not people.task.head or not people.task.head.control


@pytest.mark.parametrize("who", [*SESSIONS, TOKEN])
@pytest.mark.parametrize("act", ["cancel", "terminate", "delete", "start"])
def test_only_who_may_acts_in_the_admin(people: People, act: str, who: str) -> None:
    """The form of a page that somebody else was shown does nothing for others."""
    path = PAGES[ADMIN + act].path.format(task="the-task")
    response = posting(people.client(who), path, {"post": "yes", "seconds": "0", "steps": "1"})
    record = get_store().load("the-task")
    assert record is not None
    happened = {
        "cancel": bool(record.control),
        "terminate": bool(record.control),
        "delete": not TaskRun.objects.filter(task_id="the-task").exists(),
        "start": response.status_code == 302 and "/change/" in response.headers["Location"],
    }
    assert happened[act] == (who in MAY_ALL)


# --- The socket ------------------------------------------------------------------------------------------------

# Type of a message: what is said, who gets the answer, and its type.
SAID: Final[dict[str, tuple[dict[str, Any], set[str], str]]] = {
    "watch": ({"ids": ["the-task"]}, WATCHERS, "watching"),
    "cancel": ({"id": "the-task"}, CANCELLERS, "accepted"),
    "logs": ({"id": "the-task"}, {OWNER, *ADMINS}, "logs"),
    "token": ({}, {TOKEN, CANCELLING, ANOTHER}, "watching"),
    "ping": ({}, set(EVERYBODY), "heartbeat"),
}
NOT_ANSWERED: Final = {"unwatch"}  # it takes away and tells nothing


def test_every_message_has_a_row() -> None:
    """A new type of message is entered here."""
    assert set(messages._FORMS) == set(SAID) | NOT_ANSWERED


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("kind", [kind for kind in SAID if kind != "token"])
def test_message_is_answered_for_whom_its_row_names(people: People, kind: str, who: str) -> None:
    """Others are refused; unless they may watch, what they are told does not depend on the task's existence."""
    fields, allowed, expected = SAID[kind]

    async def talk() -> tuple[dict[str, Any], dict[str, Any]]:
        async with Communicator(people.users.get(who)) as client:
            if who in TOKENS:
                await client.ask("token", token=people.tokens[who])
            there = await client.ask(kind, **fields)
            wrong = {name: _elsewhere(value) for name, value in fields.items()}
            return there, await client.ask(kind, **wrong)

    there, nowhere = async_to_sync(talk)()
    if who in allowed:
        assert there["type"] == expected
    elif who in WATCHERS:
        assert (there["type"], there["code"]) == ("refused", "not_allowed")
    else:
        assert (there["type"], there["code"]) == ("refused", "not_found")
        assert _nameless(there) == _nameless(nowhere)


@pytest.mark.parametrize("who", TOKENS)
def test_token_is_taken_if_it_is_valid(people: People, who: str) -> None:
    """One that is over or forged is refused, and says nothing about its task."""

    async def talk() -> dict[str, Any]:
        async with Communicator() as client:
            return await client.ask("token", token=people.tokens[who])

    answer = async_to_sync(talk)()
    assert answer["type"] == ("watching" if who in SAID["token"][1] else "refused")
    assert "the-task" not in str(answer)


@pytest.mark.parametrize("who", EVERYBODY)
def test_address_of_one_task_closes_for_whom_it_is_not(people: People, who: str) -> None:
    """4404, for a task that exists as for one that does not; a valid token in time opens it."""

    async def talk(task: str) -> Any:
        async with Communicator(people.users.get(who), task_id=task) as client:
            if who in TOKENS:
                return (await client.ask("token", token=people.tokens[who]))["type"]
            if who in WATCHERS and task == "the-task":
                return (await client.next(task))["state"]
            return (await client.ask("watch", ids=[task]))["code"]

    answers = [async_to_sync(talk)(task) for task in ("the-task", "no-such-task")]
    if who in TOKENS:
        assert answers[0] == answers[1] == ("watching" if who in SAID["token"][1] else "refused")
    else:
        assert answers == ["PROGRESS" if who in WATCHERS else "not_found", "not_found"]


@pytest.mark.parametrize("who", EVERYBODY)
def test_workflow_and_own_tasks(people: People, who: str) -> None:
    """A workflow is watched by whoever may watch its tasks; one's own by whoever is somebody, never by a token."""
    people.tokens |= {
        TOKEN: watch_token("the-flow"),
        CANCELLING: watch_token("the-flow", actions=("cancel", "watch")),
    }

    async def talk() -> list[str]:
        async with Communicator(people.users.get(who)) as client:
            if who in TOKENS:
                await client.ask("token", token=people.tokens[who])
            tree, mine = await client.ask("watch", tree="the-flow"), await client.ask("watch", mine=True)
            return [tree["type"], mine["type"]]

    somebody = who in SESSIONS and who != NOBODY
    expected = ["watching" if who in WATCHERS else "refused", "watching" if somebody else "refused"]
    assert async_to_sync(talk)() == expected


def test_rows_fit_the_rules(people: People) -> None:
    """The people here are who they are called."""
    held = {who: sorted(viewer_of(user).permissions) for who, user in people.users.items()}
    assert held[STAFF] == held[OWNER] == []
    assert held[VIEWING] == ["task_progress.view_taskrun"]
    assert held[STAFF_WITH] == held[ROOT]
    assert len(held[ROOT]) == 5


def _elsewhere(value: Any) -> Any:
    return ["no-such-task"] if isinstance(value, list) else "no-such-task"


def _nameless(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in ("ids", "ref")}
