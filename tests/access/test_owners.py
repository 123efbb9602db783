"""Whose task is it? Decided when it is sent, by whoever's request sends it, with no code at the call site."""

from __future__ import annotations

import asyncio
import json
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from celery import current_app
from django.contrib.auth import get_user_model, logout
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, JsonResponse
from django.test import AsyncClient, Client
from django.urls import path

import progress
from progress.middleware import OwnerMiddleware, viewer_of_session
from progress.owners import current_request, owner_id
from progress.permissions import Viewer
from progress.store import get_store
from tasks.tasks import countdown

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]
User = get_user_model()


# --- Views as sites have them ------------------------------------------------------------------------------


def send() -> JsonResponse:
    return JsonResponse({"id": countdown.delay(seconds=0, steps=1).id})


def plain(request: HttpRequest) -> JsonResponse:
    return send()


async def asynchronous(request: HttpRequest) -> JsonResponse:
    return send()


async def asynchronous_with_user(request: HttpRequest) -> JsonResponse:
    user = await request.auser()
    assert user is not None
    return send()


async def in_a_thread(request: HttpRequest) -> JsonResponse:
    return await sync_to_async(send)()


def token_authenticated(request: HttpRequest) -> JsonResponse:
    """As DRF and JWT packages do: who it is turns out inside the view."""
    request.user = User.objects.get(username=request.headers["X-User"])
    return send()


async def token_authenticated_async(request: HttpRequest) -> JsonResponse:
    request.user = await User.objects.aget(username=request.headers["X-User"])
    return send()


def rest_framework(request: HttpRequest) -> JsonResponse:
    from rest_framework.authentication import BaseAuthentication
    from rest_framework.request import Request
    from rest_framework.response import Response
    from rest_framework.views import APIView

    class ByHeader(BaseAuthentication):
        def authenticate(self, request: Request) -> Any:
            return User.objects.get(username=request.headers["X-User"]), None

    class View(APIView):
        authentication_classes = (ByHeader,)

        def post(self, request: Request) -> Response:
            assert request.user.is_authenticated
            return Response(json.loads(send().content))

    answer = View.as_view()(request)
    return JsonResponse(answer.data)


def on_behalf(request: HttpRequest) -> JsonResponse:
    with progress.owner(User.objects.get(username=request.headers["X-User"])):
        return send()


def for_nobody(request: HttpRequest) -> JsonResponse:
    with progress.owner(None):
        return send()


def logging_out(request: HttpRequest) -> JsonResponse:
    logout(request)
    return send()


VIEWS = {
    view.__name__: view
    for view in (
        plain,
        asynchronous,
        asynchronous_with_user,
        in_a_thread,
        token_authenticated,
        token_authenticated_async,
        rest_framework,
        on_behalf,
        for_nobody,
        logging_out,
    )
}
urlpatterns = [path(f"{name}/", view) for name, view in VIEWS.items()]


@pytest.fixture(autouse=True)
def site(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


@pytest.fixture
def user() -> Any:
    return User.objects.create(username="user")


@pytest.fixture
def another() -> Any:
    return User.objects.create(username="another")


def post(view: str, user: Any = None, *, asynchronous: bool = False, **headers: str) -> str:
    """The owner of the task that the view sent."""
    if asynchronous:

        async def ask() -> Any:
            client = AsyncClient()
            if user is not None:
                await client.aforce_login(user)
            return await client.post(f"/{view}/", headers=headers)

        response = asyncio.run(ask())
    else:
        browser = Client()
        if user is not None:
            browser.force_login(user)
        response = browser.post(f"/{view}/", headers=headers)
    record = get_store().load(response.json()["id"])
    assert record is not None
    return record.owner


# --- Requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True], ids=["wsgi", "asgi"])
@pytest.mark.parametrize("view", ["plain", "asynchronous", "asynchronous_with_user", "in_a_thread"])
def test_the_user_of_the_session_owns_what_the_view_sends(user: Any, view: str, asynchronous: bool) -> None:
    """Sync and async views under both kinds of server, whether or not the view looked at the user."""
    assert post(view, user, asynchronous=asynchronous) == str(user.pk)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["wsgi", "asgi"])
@pytest.mark.parametrize("view", ["plain", "asynchronous", "in_a_thread"])
def test_a_visitor_without_a_session_owns_nothing(view: str, asynchronous: bool) -> None:
    """Anonymous is nobody: the task belongs to no one, so nobody but staff sees it."""
    assert post(view, asynchronous=asynchronous) == ""


@pytest.mark.parametrize("asynchronous", [False, True], ids=["wsgi", "asgi"])
@pytest.mark.parametrize("view", ["token_authenticated", "token_authenticated_async", "rest_framework"])
def test_who_is_authenticated_inside_the_view_is_the_owner(
    user: Any, another: Any, view: str, asynchronous: bool
) -> None:
    """DRF, JWT and API keys: the user at the moment of sending counts, with a session or without."""
    headers = {"X-User": "another"}
    assert post(view, asynchronous=asynchronous, **headers) == str(another.pk)
    assert post(view, user, asynchronous=asynchronous, **headers) == str(another.pk)


def test_who_has_logged_out_owns_nothing_more(user: Any) -> None:
    """A task that is sent after the logout in the same request is nobody's."""
    assert post("logging_out", user) == ""


def test_a_request_leaves_nothing_behind(user: Any) -> None:
    """A task that is sent after a request, in the same thread, is not that user's."""
    assert post("plain", user) == str(user.pk)
    assert current_request.get() is None
    assert get_store().load(countdown.delay(seconds=0, steps=1).id).owner == ""


def test_a_view_that_fails_leaves_nothing_behind(user: Any) -> None:
    """An exception ends the request's claim too, in both worlds."""

    def fails(request: HttpRequest) -> Any:
        raise LookupError

    async def fails_async(request: HttpRequest) -> Any:
        raise LookupError

    request = HttpRequest()
    request.user = user
    with pytest.raises(LookupError):
        OwnerMiddleware(fails)(request)
    with pytest.raises(LookupError):
        asyncio.run(OwnerMiddleware(fails_async)(request))
    assert current_request.get() is None


def test_two_requests_at_once_do_not_mix(user: Any, another: Any) -> None:
    """Concurrent async requests of two users: each task has the owner of its own request."""

    async def both() -> list[str]:
        clients = []
        for each in (user, another):
            client = AsyncClient()
            await client.aforce_login(each)
            clients.append(client)
        answers = await asyncio.gather(*(client.post("/in_a_thread/") for client in clients * 10))
        return [answer.json()["id"] for answer in answers]

    owners = [get_store().load(key).owner for key in asyncio.run(both())]
    assert owners == [str(user.pk), str(another.pk)] * 10


# --- Said so -----------------------------------------------------------------------------------------------


def test_an_owner_can_be_named(user: Any, another: Any) -> None:
    """`progress.owner(user)` counts more than the request; `None` names nobody."""
    assert post("on_behalf", user, **{"X-User": "another"}) == str(another.pk)
    assert post("for_nobody", user) == ""


@pytest.mark.parametrize(
    ("named", "owner"),
    [
        (7, "7"),
        ("7", "7"),
        (SimpleNamespace(pk=uuid.UUID(int=5)), "00000000-0000-0000-0000-000000000005"),
        (AnonymousUser(), ""),
        (None, ""),
    ],
)
def test_owners_travel_as_text(named: Any, owner: str) -> None:
    """A user of any model, a primary key, or nobody."""
    assert owner_id(named) == owner
    with progress.owner(named):
        assert get_store().load(countdown.delay(seconds=0, steps=1).id).owner == owner


def test_named_owners_nest_and_end() -> None:
    """The innermost counts; after the block it is as before, even after an exception."""
    with progress.owner("1"):
        with pytest.raises(LookupError), progress.owner("2"):
            raise LookupError
        assert get_store().load(countdown.delay(seconds=0, steps=1).id).owner == "1"


def test_a_site_can_say_whose_the_rest_is(settings: Any, user: Any) -> None:
    """`PROGRESS_OWNER` is asked with name and headers where no request and no name tells, and only there."""
    asked = []

    def hook(name: str, headers: Any) -> Any:
        asked.append((name, headers["id"]))
        return user

    settings.PROGRESS_OWNER = hook
    task_id = countdown.delay(seconds=0, steps=1).id
    assert get_store().load(task_id).owner == str(user.pk)
    assert asked == [("tasks.countdown", task_id)]
    with progress.owner("9"):
        assert get_store().load(countdown.delay(seconds=0, steps=1).id).owner == "9"
    assert len(asked) == 1


def test_a_hook_that_fails_does_not_fail_the_sender(settings: Any) -> None:
    """A mistake in the site's hook is logged; the task is sent all the same."""

    def hook(name: str, headers: Any) -> Any:
        raise RuntimeError("a mistake")

    settings.PROGRESS_OWNER = hook
    assert countdown.delay(seconds=0, steps=1).id


def test_the_owner_travels_in_the_message(user: Any) -> None:
    """Worker and children learn it from the headers, not from the database."""
    with progress.owner(user):
        countdown.delay(seconds=0, steps=1)
    with current_app.connection_for_read() as connection:
        message = connection.default_channel.basic_get(current_app.conf.task_default_queue)
    assert message.headers["progress-owner"] == str(user.pk)


def test_an_owner_finds_the_task_among_mine(user: Any) -> None:
    """What one has sent is listed under one's name at once."""
    with progress.owner(user):
        task_id = countdown.delay(seconds=0, steps=1).id
    assert get_store().mine(str(user.pk)) == [task_id]


# --- Who opens a socket ------------------------------------------------------------------------------------


def test_a_session_has_its_viewer_and_a_foreign_one_nobody(user: Any) -> None:
    """A session key is looked up; unknown, empty and logged-out ones are nobody."""
    browser = Client()
    browser.force_login(user)
    session = browser.cookies["sessionid"].value

    async def viewers(*keys: str | None) -> list[Viewer]:
        return [await viewer_of_session(key) for key in keys]

    assert asyncio.run(viewers(session, "unknown", "", None)) == [Viewer(str(user.pk)), *[Viewer()] * 3]
    browser.logout()
    assert asyncio.run(viewers(session)) == [Viewer()]


def test_a_thousand_sockets_of_one_session_cost_one_query(user: Any, monkeypatch: Any) -> None:
    """The answer is shared for half a minute, also by those who ask at the same moment."""
    from progress import middleware

    looked: list[str] = []
    original = middleware._look_up
    monkeypatch.setattr(middleware, "_look_up", lambda key: looked.append(key) or original(key))
    browser = Client()
    browser.force_login(user)
    session = browser.cookies["sessionid"].value

    async def many() -> set[Viewer]:
        return set(await asyncio.gather(*(viewer_of_session(session) for _ in range(1000))))

    assert asyncio.run(many()) == {Viewer(str(user.pk))}
    assert looked == [session]


def test_a_crowd_waits_its_turn_as_long_as_the_database_answers(monkeypatch: Any) -> None:
    """Thousands come back at once after a restart: nobody is sent away because others were first."""
    import time

    from progress import middleware

    def takes_its_time(key: str) -> Viewer:
        time.sleep(0.1)
        return Viewer(key)

    monkeypatch.setattr(middleware, "LOOKUP_TIMEOUT", 3.0)  # longer than a machine stands still
    monkeypatch.setattr(middleware, "CROWD_TIMEOUT", 60.0)
    monkeypatch.setattr(middleware, "_look_up", takes_its_time)
    sessions = [f"session-{number}" for number in range(200)]

    async def many() -> list[Viewer]:
        return await asyncio.gather(*map(viewer_of_session, sessions))

    began = time.monotonic()
    assert asyncio.run(many()) == [Viewer(session) for session in sessions]
    assert time.monotonic() - began > 1.5 * middleware.LOOKUP_TIMEOUT, "they did not have to wait"


def test_who_comes_again_shares_the_look_up_that_waits(monkeypatch: Any) -> None:
    """However old it is: a second one would stand behind it in the same queue."""
    import threading

    from progress import middleware

    released, looked = threading.Event(), list[str]()

    def held_up(key: str) -> Viewer:
        looked.append(key)
        released.wait(10)
        return Viewer(key)

    monkeypatch.setattr(middleware, "_look_up", held_up)
    monkeypatch.setattr(middleware, "CACHE_SECONDS", 0.0)
    first = [f"first-{number}" for number in range(4)]  # one for each thread

    async def again() -> list[Viewer]:
        before = [asyncio.create_task(viewer_of_session(session)) for session in first]
        waits = asyncio.create_task(viewer_of_session("waits"))
        await asyncio.sleep(0.05)
        comes_again = asyncio.create_task(viewer_of_session("waits"))
        await asyncio.sleep(0)
        released.set()
        return await asyncio.gather(waits, comes_again, *before)

    assert asyncio.run(again()) == [Viewer("waits")] * 2 + [Viewer(session) for session in first]
    assert sorted(looked) == [*first, "waits"]


def test_a_slow_database_makes_nobody_wait_for_long(monkeypatch: Any) -> None:
    """A look-up that hangs ends in `TimeoutError`, and one that failed is tried again."""
    import threading

    from progress import middleware

    hanging = threading.Event()
    monkeypatch.setattr(middleware, "LOOKUP_TIMEOUT", 0.05)
    monkeypatch.setattr(middleware, "_look_up", lambda key: hanging.wait(10) and Viewer("1"))

    async def slow() -> Viewer:
        with pytest.raises(TimeoutError):
            await viewer_of_session("slow")
        hanging.set()
        monkeypatch.setattr(middleware, "LOOKUP_TIMEOUT", 10.0)
        await asyncio.sleep(0.05)
        return await viewer_of_session("slow")

    assert asyncio.run(slow()) == Viewer("1")
    answers = iter([RuntimeError("away"), Viewer("2")])

    def fails_once(key: str) -> Viewer:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(middleware, "_look_up", fails_once)

    async def again() -> Viewer:
        with pytest.raises(RuntimeError):
            await viewer_of_session("failing")
        return await viewer_of_session("failing")

    assert asyncio.run(again()) == Viewer("2")
