"""`PROGRESS_AUTHORIZE`: it grants, it never takes away, it cannot break anything, and it tells nobody what exists."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.test import Client

from progress import authorize
from progress.access import Access
from progress.authorize import Run, allowed, granted, is_granted
from progress.permissions import Viewer, viewer_of
from progress.store import get_store
from progress.testing import Communicator, in_memory
from tests.acted import ActedTask

ACTIONS = ("watch", "cancel", "terminate", "start", "rerun", "arguments", "logs")
SOMEBODYS = Run("t", "shop.report", "100", "t", "Report", {"state": "PENDING"})


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    authorize._answers.forget()
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
    monkeypatch.setattr(authorize, "BELIEVED", 0.0)
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
        assert await granted(Viewer("7"), ["watch"], [Run("hangs", "shop.report")]) == {}
    finally:
        let_go.set()
    assert "did not answer" in caplog.text


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
    assert [action for _, action, _ in asked.calls] == ["cancel", "watch", "logs"]


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
    assert access._asked == access._granted == {}


async def _read(keys: Any) -> dict[str, Any]:
    return {}


# --- As the documentation shows it --------------------------------------------------------------------------------


def by_team(user: Any, action: str, run: Run) -> bool:
    return run.name.startswith("shop.") and action in ("watch", "logs") and user.groups.filter(name="shop").exists()


def by_object(user: Any, action: str, run: Run) -> bool:
    from tasks.models import Start

    start = Start.objects.filter(task_id=run.task_id).first()
    return start is not None and action == "watch" and start.user_id == user.pk


@pytest.mark.django_db
def test_example_with_groups(settings: Any) -> None:
    """Whoever is in the team sees its tasks; nobody else, and no others."""
    settings.PROGRESS_AUTHORIZE = by_team
    ann = get_user_model().objects.create_user("ann")
    ann.groups.add(Group.objects.create(name="shop"))
    bob = get_user_model().objects.create_user("bob")
    assert allowed(ann, "watch", SOMEBODYS)
    assert not allowed(ann, "cancel", SOMEBODYS)
    assert not allowed(ann, "watch", Run("u", "bank.report", "100"))
    assert not allowed(bob, "watch", SOMEBODYS)
    assert not allowed(AnonymousUser(), "watch", Run("u", "bank.report", "100"))


@pytest.mark.django_db
@pytest.mark.parametrize("codename", ["view_taskrun", "rerun_taskrun", "see_arguments_taskrun", "start_taskrun"])
def test_staff_need_a_permission_for_each_role(codename: str) -> None:
    """One permission allows what it says and nothing else; without being staff it allows nothing."""
    action = {"view_taskrun": "watch", "rerun_taskrun": "rerun", "start_taskrun": "start"}.get(codename, "arguments")
    user = get_user_model().objects.create_user("stella", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename=codename))
    expected = {"watch", "logs"} if action == "watch" else {action}
    assert {each for each in ACTIONS if allowed(user, each, SOMEBODYS)} == expected
    user.is_staff = False
    assert not any(allowed(user, each, SOMEBODYS) for each in ACTIONS)
    assert viewer_of(user).account is user
    assert get_store() is not None
