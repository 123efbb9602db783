"""The HTTP side of the protocol, line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

import progress
from progress.exceptions import StoreUnavailable
from progress.snapshot import State
from progress.store import get_store
from progress.testing import MemoryStore, in_memory
from tests.acted import ActedTask

pytestmark = pytest.mark.django_db


class Clock:
    """Redis's clock, years away from ours."""

    def __init__(self) -> None:
        self.now = 4_000_000_000_000_000

    def __call__(self) -> int:
        self.now += 1000
        return self.now


@pytest.fixture(autouse=True)
def memory() -> Iterator[MemoryStore]:
    """A store in memory, whose clock is not this machine's."""
    with in_memory(MemoryStore(Clock())) as store:
        yield store


@pytest.fixture
def owner() -> User:
    return User.objects.create(username="owner")


@pytest.fixture
def other() -> User:
    return User.objects.create(username="other")


@pytest.fixture
def task(owner: User) -> ActedTask:
    return ActedTask("t", owner=str(owner.pk), hints=False).queue().run(3, 10)


def client(user: User | None = None, **options: Any) -> Client:
    found = Client(**options)
    if user is not None:
        found.force_login(user)
    return found


def staff(*permissions: str) -> User:
    user = User.objects.create(username="staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# --- GET /progress/<id>/ -----------------------------------------------------------------------------------


def test_the_owner_reads_the_snapshot(owner: User, task: ActedTask) -> None:
    """The answer is the snapshot itself, private and never stored."""
    response = client(owner).get("/progress/t/")
    record = get_store().load("t")
    assert response.status_code == 200
    assert response.json() == record.snapshot()
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "private, no-store"
    assert {"Cookie", "Authorization"} <= {each.strip() for each in response["Vary"].split(",")}


def test_unknown_and_forbidden_are_byte_for_byte_the_same(other: User, task: ActedTask) -> None:
    """Another user and nobody get 404, like for a task that does not exist, in body and headers."""
    answers = [client(who).get(f"/progress/{name}/") for who in (other, None) for name in ("t", "unknown")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert len({tuple(sorted(answer.headers.items())) for answer in answers}) == 1


def test_the_etag_is_weak_and_of_seq_and_view(owner: User, task: ActedTask) -> None:
    """It changes with every write and differs between the views."""
    tag = client(owner).get("/progress/t/")["ETag"]
    staff_tag = client(staff("view_taskrun")).get("/progress/t/")["ETag"]
    assert tag == f'W/"{task.head.seq}-public"'
    assert staff_tag == f'W/"{task.head.seq}-staff"'
    task.run(4, 10)
    assert client(owner).get("/progress/t/")["ETag"] != tag


@pytest.mark.parametrize("form", ["{tag}", '"x", {tag}', "{strong}", "*"])
def test_what_is_known_is_not_sent_again(owner: User, task: ActedTask, form: str) -> None:
    """`If-None-Match` with the tag, weak or strong, alone or in a list, is answered by 304 without a body."""
    browser = client(owner)
    tag = browser.get("/progress/t/")["ETag"]
    known = form.format(tag=tag, strong=tag.removeprefix("W/"))
    response = browser.get("/progress/t/", headers={"If-None-Match": known})
    assert (response.status_code, response.content, response["ETag"]) == (304, b"", tag)
    assert response["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize("known", ["", "garbage", 'W/"1-public"', '"'])
def test_what_is_not_known_is_sent(owner: User, task: ActedTask, known: str) -> None:
    """Another tag, or something that is none, gets the snapshot."""
    assert client(owner).get("/progress/t/", headers={"If-None-Match": known}).status_code == 200


def test_a_tag_of_the_other_view_is_not_known(owner: User, task: ActedTask) -> None:
    """Who becomes staff is not told that nothing has changed."""
    public = client(owner).get("/progress/t/")["ETag"]
    answer = client(staff("view_taskrun")).get("/progress/t/", headers={"If-None-Match": public})
    assert answer.status_code == 200


def test_a_known_tag_opens_nothing(other: User, owner: User, task: ActedTask) -> None:
    """Who may not see the task gets 404 even with its tag."""
    tag = client(owner).get("/progress/t/")["ETag"]
    for known in (tag, "*"):
        assert client(other).get("/progress/t/", headers={"If-None-Match": known}).status_code == 404


def test_staff_view_needs_the_permission(owner: User) -> None:
    """Permitted staff read the error, the owner reads that there was one, other staff read nothing."""
    ActedTask("f", owner=str(owner.pk), hints=False).queue().end(State.FAILURE, error=ValueError("secret=hunter2"))
    permitted = client(staff("view_taskrun")).get("/progress/f/").json()
    assert permitted["error"] == {"type": "ValueError", "message": "secret=hunter2"}
    mine = client(owner).get("/progress/f/")
    assert mine.json()["error"] == {"type": "error"}
    assert b"hunter2" not in mine.content
    User.objects.filter(username="staff").delete()
    assert client(staff("cancel_taskrun")).get("/progress/f/").status_code == 404


@pytest.mark.parametrize("name", ["x" * 10_000, "é", "a b", "%00", "~" + "0" * 64])
def test_any_id_in_the_address_is_answered(owner: User, name: str) -> None:
    """Strange and long ids are unknown tasks, not server errors."""
    assert client(owner).get(f"/progress/{name}/").status_code == 404


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_only_reading_is_allowed(owner: User, task: ActedTask, method: str) -> None:
    """The snapshot cannot be written."""
    assert getattr(client(owner), method)("/progress/t/").status_code == 405


# --- Bearer ------------------------------------------------------------------------------------------------


def test_a_bearer_reads_what_the_token_covers(task: ActedTask) -> None:
    """A watch token in the header opens its task and no other."""
    ActedTask("another", owner="1", hints=False).queue()
    headers = bearer(progress.watch_token("t"))
    assert client().get("/progress/t/", headers=headers).status_code == 200
    assert client().get("/progress/another/", headers=headers).status_code == 404


@pytest.mark.parametrize("token", ["forged", "a:b:c"])
def test_with_a_token_the_cookie_is_ignored(owner: User, task: ActedTask, token: str) -> None:
    """A forged token is not made good by a session."""
    assert client(owner).get("/progress/t/", headers=bearer(token)).status_code == 404


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz"])
def test_another_authorization_is_not_ours(owner: User, task: ActedTask, header: str) -> None:
    """Without a token in it the header changes nothing: the session counts."""
    assert client(owner).get("/progress/t/", headers={"Authorization": header}).status_code == 200


def test_an_expired_token_opens_nothing(monkeypatch: Any, task: ActedTask) -> None:
    """After its end a token is none."""
    import time

    headers = bearer(progress.watch_token("t", expires=10))
    assert client().get("/progress/t/", headers=headers).status_code == 200
    later = time.time() + 11
    monkeypatch.setattr("progress.tokens.time.time", lambda: later)
    assert client().get("/progress/t/", headers=headers).status_code == 404


# --- GET /progress/ ----------------------------------------------------------------------------------------


def test_several_are_read_at_once_and_the_rest_is_left_out(owner: User, task: ActedTask) -> None:
    """What may not be seen is not mentioned; ids that are no safe names are asked for here."""
    ActedTask("report 7/é", owner=str(owner.pk), hints=False).queue()
    ActedTask("foreign", owner="999", hints=False).queue()
    response = client(owner).get("/progress/", {"id": ["t", "foreign", "unknown", "report 7/é", ""]})
    assert [item["id"] for item in response.json()["items"]] == ["t", progress.key("report 7/é")]
    assert response["Cache-Control"] == "private, no-store"


def test_several_say_what_may_be_done_with_each(owner: User, task: ActedTask) -> None:
    """What a socket's `watching` says, in the order of the snapshots; ids as the client has named them."""
    ActedTask("report 7/é", owner=str(owner.pk), hints=False).queue()
    answer = client(owner).get("/progress/", {"id": ["report 7/é", "unknown", "t", "t"]}).json()
    may = {"may": ["watch", "cancel"], "until": None}
    assert answer["watching"] == [{"id": "report 7/é", **may}, {"id": "t", **may}]
    assert [item["id"] for item in answer["items"]] == [progress.key("report 7/é"), "t"]
    answer = client().get("/progress/", {"id": "t"}, headers=bearer(progress.watch_token("t"))).json()
    (item,) = answer["watching"]
    assert item["may"] == ["watch"]
    assert item["until"].endswith("Z")


def test_named_tasks_and_mine_are_asked_for_together(owner: User, task: ActedTask) -> None:
    """Those that are named come first, each once; a token has no `mine`."""
    for name in ("first", "second"):
        ActedTask(name, owner=str(owner.pk), hints=False).queue()
    ActedTask("foreign", owner="999", hints=False).queue()
    answer = client(owner).get("/progress/", {"id": ["t", "foreign"], "mine": "1"}).json()
    assert [item["id"] for item in answer["items"]] == ["t", "second", "first"]
    assert [item["id"] for item in answer["watching"]] == ["t", "second", "first"]
    headers = bearer(progress.watch_token("t"))
    answer = client(owner).get("/progress/", {"id": ["t", "first"], "mine": "1"}, headers=headers).json()
    assert [item["id"] for item in answer["items"]] == ["t"]


def test_whoever_asks_again_is_told_only_what_is_new(owner: User, task: ActedTask) -> None:
    """A weak ETag of what is shown and what may be done: another time alone is nothing new."""
    browser = client(owner)
    first = browser.get("/progress/", {"id": "t"})
    etag = first["ETag"]
    assert etag.startswith('W/"')
    known = {"If-None-Match": etag}
    second = browser.get("/progress/", {"id": "t"}, headers=known)
    assert (second.status_code, second.content, second["ETag"]) == (304, b"", etag)
    assert second["Cache-Control"] == "private, no-store"
    assert browser.get("/progress/", {"id": ["t", "unknown"]}, headers=known).status_code == 304
    task.run(4, 10)
    assert browser.get("/progress/", {"id": "t"}, headers=known).status_code == 200
    assert browser.get("/progress/", {"id": "t"})["ETag"] != etag


def test_another_view_or_right_is_news(owner: User, task: ActedTask) -> None:
    """Of the same snapshots: nobody goes on showing what another may see, or a button that does nothing."""
    viewing = staff("view_taskrun")
    headers = bearer(progress.watch_token("t"))
    answers = [
        client(owner).get("/progress/", {"id": "t"}),
        client(viewing).get("/progress/", {"id": "t"}),
        client().get("/progress/", {"id": "t"}, headers=headers),
    ]
    assert len({answer["ETag"] for answer in answers}) == 3
    assert len({json.dumps(answer.json()["watching"]) for answer in answers}) == 3


def test_events_need_a_server_that_can_go_on(owner: User, task: ActedTask) -> None:
    """501 in JSON under WSGI: ask again and again instead. What may not be seen is 404 there, too."""
    wanted = {"Accept": "text/event-stream"}
    for path in ("/progress/t/events/", "/progress/?id=t"):
        response = client(owner).get(path, headers=wanted)
        assert (response.status_code, response.json()["error"]) == (501, "no_events")
        assert response["Cache-Control"] == "private, no-store"
    assert "Accept" in response["Vary"]
    assert client().get("/progress/t/events/", headers=wanted).status_code == 404


def test_at_is_the_time_by_the_clock_of_the_records(owner: User, task: ActedTask, memory: MemoryStore) -> None:
    """Ages are differences to `at`, so it has the same clock as the times in the snapshots."""
    answer = client(owner).get("/progress/", {"id": "t"}).json()
    assert answer["items"][0]["updated_at"] <= answer["at"]
    assert answer["at"].startswith("2096-")


def test_mine_are_ones_own_newest_first(owner: User, other: User, task: ActedTask) -> None:
    """`?mine=1` lists the session's tasks, ended ones too, and never those of others."""
    ActedTask("later", owner=str(owner.pk), hints=False).queue().end()
    ActedTask("foreign", owner=str(other.pk), hints=False).queue()
    items = client(owner).get("/progress/", {"mine": "1"}).json()["items"]
    assert [item["id"] for item in items] == ["later", "t"]


def test_mine_that_is_not_asked_for_is_not_shown(owner: User, task: ActedTask) -> None:
    """`?mine=0` is a no."""
    assert client(owner).get("/progress/", {"mine": "0"}).json()["items"] == []
    assert len(client(owner).get("/progress/", {"mine": "true"}).json()["items"]) == 1


@pytest.mark.parametrize("path", ["/progress/t/", "/progress/?id=t", "/progress/healthz", "/progress/readyz"])
def test_what_can_be_read_can_be_asked_for_without_its_body(owner: User, task: ActedTask, path: str) -> None:
    """HEAD is answered like GET: load balancers and link checkers use it."""
    answer = client(owner).head(path)
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_token_and_nobody_have_no_mine(task: ActedTask) -> None:
    """`mine` needs a session."""
    for headers in ({}, bearer(progress.watch_token("t"))):
        assert client().get("/progress/", {"mine": "1"}, headers=headers).json()["items"] == []


def test_no_more_are_read_than_may_be_watched(owner: User, settings: Any) -> None:
    """One request costs a bounded read."""
    settings.PROGRESS_MAX_WATCHES = 3
    names = [ActedTask(f"t{n}", owner=str(owner.pk), hints=False).queue().id for n in range(5)]
    assert len(client(owner).get("/progress/", {"id": names}).json()["items"]) == 3


# --- POST /progress/<id>/cancel/ ---------------------------------------------------------------------------


def test_a_wish_to_cancel_is_recorded(owner: User, task: ActedTask) -> None:
    """202: the wish was kept, the snapshot says so; asking twice is no error."""
    for _ in range(2):
        response = client(owner).post("/progress/t/cancel/")
        assert (response.status_code, response.json()) == (202, {"id": "t", "action": "cancel"})
    assert get_store().load("t").snapshot()["cancel_requested"] is True
    assert get_store().control("t") == str(owner.pk)
    assert response["Cache-Control"] == "private, no-store"


def test_cancelling_unknown_and_forbidden_is_the_same(other: User, task: ActedTask) -> None:
    """404, byte for byte, and nothing is recorded."""
    answers = [client(other).post(f"/progress/{name}/cancel/") for name in ("t", "unknown")]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].content == answers[1].content == client(other).get("/progress/t/").content
    assert get_store().control("t") == ""


def test_who_may_only_watch_may_not_cancel(task: ActedTask) -> None:
    """Staff with the one permission, and a token for watching, get 403 `not_allowed`."""
    watching = client(staff("view_taskrun")).post("/progress/t/cancel/")
    token = client().post("/progress/t/cancel/", headers=bearer(progress.watch_token("t")))
    for answer in (watching, token):
        assert (answer.status_code, answer.json()) == (403, {"error": "not_allowed"})


def test_what_has_ended_cannot_be_cancelled(owner: User, task: ActedTask) -> None:
    """409 `ended`."""
    task.end()
    answer = client(owner).post("/progress/t/cancel/")
    assert (answer.status_code, answer.json()) == (409, {"error": "ended"})


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("referer", "place"),
    [
        ("http://testserver/runs/t/?all=1#log", "/runs/t/?all=1"),
        ("http://testserver/", "/"),
        ("http://elsewhere.example/runs/t/", None),
        ("http://testserver//elsewhere.example/", None),
        ("//testserver.elsewhere.example/", None),
        (None, None),
    ],
)
def test_a_form_is_answered_with_the_page_it_was_on(
    owner: User, task: ActedTask, referer: str | None, place: str | None
) -> None:
    """303 to a page of this host, else a line of text; scripts get JSON as ever."""
    headers = {"Accept": BROWSER, **({"Referer": referer} if referer else {})}
    answer = client(owner).post("/progress/t/cancel/", headers=headers)
    assert (answer.status_code, answer.headers.get("Location")) == ((303, place) if place else (202, None))
    assert place or (answer["Content-Type"], answer.content) == ("text/plain; charset=utf-8", b"Asked to cancel.\n")
    assert get_store().control("t") == str(owner.pk)
    assert "Accept" in answer["Vary"]


def test_a_form_that_asks_for_what_cannot_be_is_told_so_in_words(owner: User, other: User, task: ActedTask) -> None:
    """The codes are those that a script gets; of an end the page itself tells."""
    headers = {"Accept": BROWSER, "Referer": "http://testserver/runs/t/"}
    said = [
        (answer.status_code, answer.text)
        for answer in (
            client(other).post("/progress/t/cancel/", headers=headers),
            client(staff("view_taskrun")).post("/progress/t/cancel/", headers=headers),
        )
    ]
    assert said == [(404, "There is no such task, or it is not yours.\n"), (403, "You may not cancel it.\n")]
    task.end()
    assert client(owner).post("/progress/t/cancel/", headers=headers).status_code == 303
    del headers["Referer"]
    assert client(owner).post("/progress/t/cancel/", headers=headers).status_code == 409


def test_with_a_session_csrf_protects(owner: User, task: ActedTask) -> None:
    """Another site's form cannot cancel; our own page can."""
    browser = client(owner, enforce_csrf_checks=True)
    assert browser.post("/progress/t/cancel/").status_code == 403
    assert get_store().control("t") == ""
    browser.cookies["csrftoken"] = "a" * 32
    assert browser.post("/progress/t/cancel/", headers={"X-CSRFToken": "a" * 32}).status_code == 202


def test_with_a_bearer_token_csrf_is_not_asked(task: ActedTask) -> None:
    """No other site can make a browser send this header."""
    headers = bearer(progress.watch_token("t", actions=("watch", "cancel")))
    assert client(enforce_csrf_checks=True).post("/progress/t/cancel/", headers=headers).status_code == 202


@pytest.mark.parametrize("token", ["", "forged"])
def test_a_header_without_a_token_does_not_switch_csrf_off(owner: User, task: ActedTask, token: str) -> None:
    """Neither an empty nor a forged bearer lets a session cancel without protection."""
    browser = client(owner, enforce_csrf_checks=True)
    assert browser.post("/progress/t/cancel/", headers=bearer(token)).status_code in (403, 404)
    assert get_store().control("t") == ""


def test_a_token_that_only_cancels_does_so(task: ActedTask) -> None:
    """The actions of a token are what it allows, no more: this one cannot watch."""
    headers = bearer(progress.watch_token("t", actions=("cancel",)))
    assert client().get("/progress/t/", headers=headers).status_code == 404
    assert client().post("/progress/t/cancel/", headers=headers).status_code == 202


def test_cancelling_is_never_a_get(owner: User, task: ActedTask) -> None:
    """A link, a prefetch or an image cannot cancel."""
    for headers in ({}, bearer(progress.watch_token("t", actions=("cancel",)))):
        assert client(owner).get("/progress/t/cancel/", headers=headers).status_code == 405
    assert get_store().control("t") == ""


# --- Health ------------------------------------------------------------------------------------------------


def test_a_store_that_is_away_is_said_to_be_away(owner: User, monkeypatch: Any) -> None:
    """Every read and the cancel answer 503 with a time to come back; alive stays alive, ready is not."""

    def away(*_args: Any) -> Any:
        raise StoreUnavailable

    for name in ("load", "load_many", "write", "mine", "now"):
        monkeypatch.setattr(MemoryStore, name, away)
    browser = client(owner)
    answers = [browser.get("/progress/t/"), browser.get("/progress/?id=t"), browser.get("/progress/?mine=1")]
    answers.append(browser.post("/progress/t/cancel/"))
    assert [(each.status_code, each["Retry-After"]) for each in answers] == [(503, "5")] * 4
    assert {each.content for each in answers} == {json.dumps({"error": "unavailable"}).encode()}
    assert browser.get("/progress/healthz").status_code == 200
    assert browser.get("/progress/readyz").status_code == 503


def test_a_site_that_works_says_so() -> None:
    """Liveness and readiness need no login."""
    assert client().get("/progress/healthz").content == b"ok\n"
    assert client().get("/progress/readyz").content == b"ok\n"


def test_addresses_have_names() -> None:
    """Pages link by name."""
    assert reverse("progress:snapshot", args=["t"]) == "/progress/t/"
    assert reverse("progress:cancel", args=["t"]) == "/progress/t/cancel/"
    assert reverse("progress:several") == "/progress/"
