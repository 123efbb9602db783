"""`PROGRESS_AUTHORIZE`: it grants, it never takes away, it cannot break anything, and it tells nobody what exists."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.db import OperationalError
from django.test import Client

from progress import authorize
from progress.access import Access
from progress.authorize import Run, allowed, granted, is_granted
from progress.grants import Grants
from progress.permissions import Viewer, viewer_of
from progress.store import get_store
from progress.testing import Communicator, in_memory
from tasks.models import Start
from tests.acted import ActedTask

ACTIONS = ("watch", "cancel", "terminate", "start", "rerun", "arguments", "logs")
SOMEBODYS = Run("t", "shop.report", "100", "t", "Report", {"state": "PENDING"})


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    authorize._answers.forget()
    authorize._accounts.clear()
    authorize._complained.clear()
    with in_memory():
        yield
    authorize._answers.forget()


class Asked:
    """A site's function that says yes to some, and remembers what it was asked."""

    def __init__(self, *grants: tuple[str, str]) -> None:
        self.grants, self.calls = set(grants), list[tuple[Any, str, Run]]()

    def __call__(self, user: Any, action: str, run: Run) -> bool:
        self.calls.append((user, action, run))
        return (str(getattr(user, "pk", None) or "-"), action) in self.grants


def person(pk: int = 7) -> Any:
    return SimpleNamespace(pk=pk, is_active=True, is_staff=False, is_anonymous=False)


@pytest.mark.parametrize("action", ACTIONS)
def test_what_the_rules_do_not_allow_the_function_may_grant(settings: Any, action: str) -> None:
    """Each action by itself, and to nobody else."""
    settings.PROGRESS_AUTHORIZE = Asked(("7", action))
    assert [each for each in ACTIONS if allowed(person(), each, SOMEBODYS)] == [action]
    assert not any(allowed(person(8), each, SOMEBODYS) for each in ACTIONS)


def test_owner_is_not_asked_about(settings: Any) -> None:
    """What the rules allow needs no answer, and no answer takes it away."""
    settings.PROGRESS_AUTHORIZE = asked = Asked()
    assert allowed(person(100), "watch", SOMEBODYS)
    assert allowed(person(100), "cancel", SOMEBODYS)
    assert asked.calls == []


@pytest.mark.parametrize("answer", [False, None, 1, "yes", [True]])
def test_only_true_grants(settings: Any, answer: Any) -> None:
    """A query that was returned by mistake is no yes."""
    settings.PROGRESS_AUTHORIZE = lambda user, action, run: answer
    assert not allowed(person(), "watch", SOMEBODYS)


def test_function_that_raises_grants_nothing_and_is_logged(settings: Any, caplog: Any) -> None:
    """The page or the socket goes on; whoever looks after the site reads why."""

    def fail(user: Any, action: str, run: Run) -> bool:
        raise LookupError("no such team")

    settings.PROGRESS_AUTHORIZE = fail
    assert not allowed(person(), "watch", SOMEBODYS)
    assert "no such team" in caplog.text


def test_answer_is_asked_for_once_a_minute(settings: Any, monkeypatch: Any) -> None:
    """Per user, action and run; then again."""
    settings.PROGRESS_AUTHORIZE = asked = Asked(("7", "watch"))
    for _ in range(5):
        assert allowed(person(), "watch", SOMEBODYS)
    assert len(asked.calls) == 1
    later = time.monotonic() + authorize.BELIEVED
    monkeypatch.setattr(authorize.time, "monotonic", lambda: later)
    assert allowed(person(), "watch", SOMEBODYS)
    assert len(asked.calls) == 2


def test_answers_take_a_bounded_room(settings: Any, monkeypatch: Any) -> None:
    """Somebody may ask about any number of ids."""
    settings.PROGRESS_AUTHORIZE = Asked()
    monkeypatch.setattr(authorize, "REMEMBERED", 10)
    for number in range(50):
        is_granted(Viewer("7"), "watch", Run(f"t{number}"))
    assert len(authorize._answers._kept) == 10


async def test_function_that_hangs_costs_a_socket_two_seconds_and_grants_nothing(
    settings: Any, monkeypatch: Any, caplog: Any
) -> None:
    """Nobody waits for ever, and others are not held up by it."""
    monkeypatch.setattr(authorize, "TIMEOUT", 0.1)
    let_go = threading.Event()
    settings.PROGRESS_AUTHORIZE = lambda user, action, run: let_go.wait(10)
    try:
        (told,) = await granted(Viewer("7"), [(Run("hangs", "shop.report"), "watch")])
        assert told.answer is None
    finally:
        let_go.set()
    assert "has not answered" in caplog.text


async def test_crowd_waits_its_turn_as_long_as_the_function_answers(settings: Any, monkeypatch: Any) -> None:
    """Nobody is told "not found" because others were first."""
    monkeypatch.setattr(authorize, "TIMEOUT", 0.2)
    waited = threading.Event()  # for nothing: it is never set
    settings.PROGRESS_AUTHORIZE = lambda user, action, run: not waited.wait(0.02)
    began = time.monotonic()
    told = await asyncio.gather(*(granted(Viewer(str(number)), [(SOMEBODYS, "watch")]) for number in range(100)))
    assert [grant.answer for (grant,) in told] == [True] * 100
    assert time.monotonic() - began > authorize.TIMEOUT, "they did not have to wait"


async def test_a_page_and_a_review_wait_for_no_crowd(settings: Any) -> None:
    """What only waits for its turn a page asks in its own thread; what is shown already is reviewed apart."""
    let_go, begun = threading.Event(), threading.Semaphore(0)

    def answer(user: Any, action: str, run: Run) -> bool:
        if run.task_id.startswith("slow"):
            begun.release()
            let_go.wait(10)
        if run.task_id == "queued":
            let_go.wait(0.2)  # so that the second page comes while the first one asks
        return True

    settings.PROGRESS_AUTHORIZE = answer
    viewer, queued = Viewer("7"), (Run("queued", "shop.report"), "watch")
    slow = [(Run(f"slow-{number}", "shop.report"), "watch") for number in range(3)]  # as many as there are threads
    crowd = asyncio.create_task(granted(viewer, [*slow, queued]))
    try:
        for _ in slow:
            assert await asyncio.to_thread(begun.acquire, timeout=5)
        (reviewed,) = await granted(viewer, [(SOMEBODYS, "watch")], again=True)
        assert reviewed.answer
        pages = [asyncio.to_thread(is_granted, viewer, "watch", queued[0]) for _ in range(2)]
        assert await asyncio.gather(*pages) == [True, True]
        assert not crowd.done()
    finally:
        let_go.set()
    assert [grant.answer for grant in await crowd] == [True] * 4


async def test_nobody_waits_behind_a_function_that_hangs(settings: Any, monkeypatch: Any) -> None:
    """When no thread moves, those in the queue get no answer either, and what they have asked is asked later."""
    monkeypatch.setattr(authorize, "TIMEOUT", 0.1)
    let_go, asked = threading.Event(), list[str]()

    def hangs(user: Any, action: str, run: Run) -> bool:
        asked.append(run.task_id)
        return let_go.wait(10)

    settings.PROGRESS_AUTHORIZE = hangs
    wanted = [(Run(f"t{number}", "shop.report"), "watch") for number in range(5)]
    try:
        assert [grant.answer for grant in await granted(Viewer("7"), wanted)] == [None] * 5
        assert len(asked) == 3  # as many as there are threads
    finally:
        let_go.set()
    monkeypatch.setattr(authorize, "TIMEOUT", 10.0)
    assert [grant.answer for grant in await granted(Viewer("7"), wanted)] == [True] * 5
    assert len(asked) == 5


def test_unknown_is_asked_about_like_forbidden(settings: Any) -> None:
    """As many questions and as many readings, and the same bytes: nobody learns what exists by measuring."""
    settings.PROGRESS_AUTHORIZE = asked = Asked()
    ActedTask("there", owner="1").queue()
    answers = []
    for name in ("there", "nowhere"):
        before = len(asked.calls)
        response = Client().get(f"/progress/{name}/")
        answers.append((response.status_code, response.content, len(asked.calls) - before))
    assert answers[0] == answers[1] == (404, b'{"error": "not_found"}', 1)
    assert [run.name for _, _, run in asked.calls] == ["tests.acted", ""]


async def test_fifty_sockets_that_ask_the_same_at_once_cost_one_call(settings: Any) -> None:
    """They wait for the same answer, and all get it; so does a page in another thread."""
    calls, let_go = list[str](), threading.Event()

    def slow(user: Any, action: str, run: Run) -> bool:
        calls.append(action)
        return let_go.wait(10)

    settings.PROGRESS_AUTHORIZE = slow
    asking = [asyncio.create_task(granted(Viewer("7"), [(SOMEBODYS, "watch")])) for _ in range(50)]
    page = asyncio.create_task(asyncio.to_thread(is_granted, Viewer("7"), "watch", SOMEBODYS))
    async with asyncio.timeout(5):
        while not calls:  # noqa: ASYNC110 (what is waited for is told to nobody)
            await asyncio.sleep(0.01)
    let_go.set()
    assert [told.answer for (told,) in await asyncio.gather(*asking)] == [True] * 50
    assert await page
    assert calls == ["watch"]


async def test_database_that_is_away_takes_away_no_grant(settings: Any, monkeypatch: Any) -> None:
    """Whoever watches goes on watching; whoever comes is not let in. A mistake in the function ends the view."""
    answers: list[Any] = [True, OperationalError("away"), OperationalError("away"), LookupError("no such row")]

    def site(user: Any, action: str, run: Run) -> bool:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    settings.PROGRESS_AUTHORIZE = site
    granted_so_far, run, nothing_waits = Grants(), {"t": SOMEBODYS}, {"t": ["watch"]}
    await granted_so_far.ask(Viewer("7"), run, nothing_waits)
    assert granted_so_far.of("t") == {"watch"}
    authorize._answers.forget()
    await granted_so_far.ask(Viewer("7"), run, nothing_waits)
    assert granted_so_far.of("t") == {"watch"}
    authorize._answers.forget()
    newcomer = Grants()
    await newcomer.ask(Viewer("7"), run, nothing_waits)
    assert newcomer.of("t") == frozenset()
    authorize._answers.forget()
    await granted_so_far.ask(Viewer("7"), run, nothing_waits)
    assert granted_so_far.of("t") == frozenset()


@pytest.mark.django_db
def test_user_object_is_loaded_anew_when_it_is_old(settings: Any) -> None:
    """It remembers its permissions and groups: a right that was taken away must not live on in it."""
    settings.PROGRESS_AUTHORIZE = lambda user, action, run: user.has_perm("auth.view_group")
    user = get_user_model().objects.create_user("ann")
    user.user_permissions.add(Permission.objects.get(codename="view_group"))
    viewer = viewer_of(user)
    assert is_granted(viewer, "watch", SOMEBODYS)  # and now the object remembers
    user.user_permissions.clear()
    authorize._answers.forget()
    assert is_granted(viewer, "watch", SOMEBODYS)
    authorize._answers.forget()
    authorize._accounts.clear()
    assert not is_granted(replace(viewer, since=viewer.since - authorize.FRESH), "watch", SOMEBODYS)
    get_user_model().objects.update(is_active=False)
    authorize._answers.forget()
    authorize._accounts.clear()
    settings.PROGRESS_AUTHORIZE = lambda user, action, run: not user.is_anonymous
    assert not is_granted(replace(viewer, since=viewer.since - authorize.FRESH), "watch", SOMEBODYS)


def test_failing_function_is_complained_of_once_a_minute(settings: Any, caplog: Any) -> None:
    """It is asked thousands of times; the log stays readable."""

    def fail(user: Any, action: str, run: Run) -> bool:
        raise LookupError("no such team")

    settings.PROGRESS_AUTHORIZE = fail
    for number in range(20):
        assert not is_granted(Viewer("7"), "watch", Run(f"t{number}", "shop.report"))
    assert sum("PROGRESS_AUTHORIZE failed" in record.message for record in caplog.records) == 1


async def test_end_by_force_is_granted_with_a_wish_to_cancel(settings: Any) -> None:
    """Both are asked about then, and both are needed; the socket and the page agree."""
    asked = []
    for grants in ({"watch", "cancel", "terminate"}, {"watch", "terminate"}, {"watch", "cancel"}):
        settings.PROGRESS_AUTHORIZE = lambda user, action, run, grants=grants: action in grants
        authorize._answers.forget()
        ActedTask("t", owner="1").queue()
        async with Communicator(person()) as client:
            asked.append((await client.ask("cancel", id="t", terminate=True)).get("code", "accepted"))
    assert asked == ["accepted", "not_allowed", "not_allowed"]


async def test_unknown_is_refused_whatever_the_function_says(settings: Any) -> None:
    """Its yes about nothing does not count, and at the socket both answers look the same."""
    settings.PROGRESS_AUTHORIZE = lambda user, action, run: run.name == ""
    ActedTask("there", owner="1").queue()
    async with Communicator(person()) as client:
        there, nowhere = await client.watch("there"), await client.watch("nowhere")
    for answer in (there, nowhere):
        del answer["ref"], answer["ids"]
    assert there == nowhere == {"type": "refused", "code": "not_found"}


async def test_granted_watcher_sees_the_public_view_and_what_is_granted_besides(settings: Any) -> None:
    """To watch is not to see what staff see; logs and cancelling are asked for when they are wanted."""
    settings.PROGRESS_AUTHORIZE = asked = Asked(("7", "watch"), ("7", "logs"))
    task = ActedTask("t", owner="1").queue()
    task.end(error=ValueError("inner secret"))
    async with Communicator(person()) as client:
        assert (await client.watch("t"))["items"][0]["may"] == ["watch"]
        assert "inner secret" not in str(await client.next("t"))
        assert (await client.ask("logs", id="t"))["type"] == "logs"
        assert (await client.cancel("t"))["code"] == "not_allowed"
    first, second, third = (action for _, action, _ in asked.calls)
    assert ({first, second}, third) == ({"watch", "cancel"}, "logs")  # threads ask the first two, in any order


async def test_run_of_the_same_id_by_somebody_else_is_asked_about_anew(settings: Any) -> None:
    """What was granted for last night's report is not granted for tonight's."""
    settings.PROGRESS_AUTHORIZE = lambda user, action, run: action == "watch" and run.owner == "1"
    ActedTask("report", owner="1").queue().run(1, 2).end()
    async with Communicator(person()) as client:
        assert (await client.watch("report"))["type"] == "watching"
        await client.next("report")
        ActedTask("report", owner="2").queue()
        with pytest.raises(AssertionError, match="not_found"):
            await client.end("report")


async def test_workflow_is_asked_about_by_its_id(settings: Any) -> None:
    """The function is told of it as a run with the name "workflow"."""
    settings.PROGRESS_AUTHORIZE = lambda user, action, run: run.name == "workflow" and run.owner == "1"
    ActedTask("a", owner="1", tree="flow").queue()
    async with Communicator(person()) as client:
        assert (await client.ask("watch", tree="flow"))["type"] == "watching"
        assert (await client.ask("watch", tree="other"))["type"] == "refused"


async def test_nothing_is_remembered_of_what_was_refused(settings: Any) -> None:
    """A client that asks about very many ids takes no room."""
    settings.PROGRESS_AUTHORIZE = Asked()
    access = Access()
    for number in range(50):
        await access.sort_out([f"t{number}"], {}, _read)
    assert access._of_tasks._told == {}


async def _read(keys: Any) -> dict[str, Any]:
    return {}


# --- As the documentation shows it --------------------------------------------------------------------------------


def documented(number: int) -> Any:
    """The function in an example of docs/permissions.md, as it stands there."""
    page = (Path(__file__).parents[2] / "docs/permissions.md").read_text()
    made: dict[str, Any] = {}
    exec(re.findall(r"```python\n(def authorize.*?)```", page, re.DOTALL)[number], made)
    return made["authorize"]


@pytest.mark.django_db
def test_example_with_groups(settings: Any) -> None:
    """Whoever is in the team sees its tasks; nobody else, and no others."""
    settings.PROGRESS_AUTHORIZE = documented(0)
    ann = get_user_model().objects.create_user("ann")
    ann.groups.add(Group.objects.create(name="shop"))
    bob = get_user_model().objects.create_user("bob")
    assert allowed(ann, "watch", SOMEBODYS)
    assert not allowed(ann, "cancel", SOMEBODYS)
    assert not allowed(ann, "watch", Run("u", "bank.report", "100"))
    assert not allowed(bob, "watch", SOMEBODYS)
    assert not allowed(AnonymousUser(), "watch", SOMEBODYS)


@pytest.mark.django_db
def test_example_with_an_object(settings: Any) -> None:
    """Whoever the row of the run belongs to watches it; no row, no right."""
    settings.PROGRESS_AUTHORIZE = documented(1)
    ann, bob = (get_user_model().objects.create_user(name) for name in ("ann", "bob"))
    run = Run(Start.objects.create(user=ann, once=uuid4(), task="shop.report").task_id, "shop.report", "100")
    assert allowed(ann, "watch", run)
    assert not allowed(ann, "cancel", run)
    assert not allowed(ann, "watch", SOMEBODYS)
    assert not allowed(bob, "watch", run)
    assert not allowed(AnonymousUser(), "watch", run)


@pytest.mark.django_db
@pytest.mark.parametrize("codename", ["view_taskrun", "rerun_taskrun", "see_arguments_taskrun", "start_taskrun"])
def test_staff_need_a_permission_for_each_role(codename: str) -> None:
    """One permission allows what it says and nothing else, of runs that one may see; without being staff nothing."""
    action = {"view_taskrun": "watch", "rerun_taskrun": "rerun", "start_taskrun": "start"}.get(codename, "arguments")
    user = get_user_model().objects.create_user("stella", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename=codename))
    alone = {"watch": {"watch", "logs"}, "start": {"start"}}.get(action, set())  # the others: of what one may see
    assert {each for each in ACTIONS if allowed(user, each, SOMEBODYS)} == alone
    user.user_permissions.add(Permission.objects.get(codename="view_taskrun"))
    user = get_user_model().objects.get()  # a user object remembers its permissions
    assert {each for each in ACTIONS if allowed(user, each, SOMEBODYS)} == {"watch", "logs", action}
    user.is_staff = False
    assert not any(allowed(user, each, SOMEBODYS) for each in ACTIONS)
    assert viewer_of(user).account is user
    assert get_store() is not None
