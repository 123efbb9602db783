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
