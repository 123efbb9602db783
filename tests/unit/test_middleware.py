"""Finding out who is asking: it changes nothing, and its failures are nobody else's."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, override_settings

from progress.middleware import OwnerMiddleware, _look_up, _session_key

OLD, NEW = "o" * 60, "n" * 60


@pytest.mark.parametrize(
    "cookies",
    [
        b"sessionid=abc",
        b'prefs={"a": 1}; sessionid=abc',
        b"name=J\xc3\xbcrgen; sessionid=abc",
        b"a=b c; sessionid=abc",
        b"sessionid=abc; a:b c=1",
        b"session id; sessionid=abc",
    ],
)
def test_an_odd_cookie_hides_no_session(cookies: bytes) -> None:
    """Cookies of other programs on the host may look as they like."""
    assert _session_key([(b"host", b"x"), (b"cookie", cookies)]) == "abc"


def test_cookies_may_come_in_several_headers() -> None:
    """HTTP/2 splits them; nobody has a session without the cookie, or with an empty one."""
    assert _session_key([(b"cookie", b"a=1"), (b"cookie", b"sessionid=abc")]) == "abc"
    assert _session_key([(b"cookie", b"a=1")]) is None
    assert _session_key([(b"cookie", b"sessionid=")]) is None


@pytest.mark.django_db
def test_looking_logs_nobody_out_after_the_secret_key_was_changed() -> None:
    """A session of the old key is believed while that is a fallback, and keeps the name the browser knows."""
    client, user = Client(), User.objects.create(username="user")
    with override_settings(SECRET_KEY=OLD):
        client.force_login(user)
    key = client.cookies["sessionid"].value
    with override_settings(SECRET_KEY=NEW, SECRET_KEY_FALLBACKS=[OLD]):
        assert [_look_up(key).user for _ in range(2)] == [str(user.pk)] * 2
    assert Session.objects.filter(pk=key).exists()


@pytest.mark.django_db
def test_looking_empties_no_session_that_does_not_fit() -> None:
    """A session that is no longer valid is nobody's, and is left for the site to end."""
    client, user = Client(), User.objects.create(username="user")
    client.force_login(user)
    key = client.cookies["sessionid"].value
    User.objects.filter(pk=user.pk).update(password="another")
    assert _look_up(key).user == ""
    assert Session.objects.filter(pk=key).exists()


def asked_with_a_session() -> HttpRequest:
    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = "abc"
    return request


async def test_an_async_page_that_needs_no_user_is_served_while_the_database_is_away() -> None:
    """We look the user up, so when that fails it must not be the page's error."""

    async def view(_request: HttpRequest) -> HttpResponse:
        return HttpResponse("page")

    async def away() -> Any:
        raise RuntimeError("the database is away")

    request: Any = asked_with_a_session()
    request.auser = away
    assert (await OwnerMiddleware(view)(request)).content == b"page"


def test_an_async_page_under_wsgi_is_served_while_the_database_is_away() -> None:
    """The same where the request is handled in a thread: the look-up before the view raises nothing."""

    class Away:
        @property
        def pk(self) -> str:
            raise RuntimeError("the database is away")

    async def view(_request: HttpRequest) -> HttpResponse:
        return HttpResponse("page")

    request: Any = asked_with_a_session()
    request.user = Away()
    assert OwnerMiddleware(lambda _request: HttpResponse()).process_view(request, view, (), {}) is None
