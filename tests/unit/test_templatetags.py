"""`{% task_progress %}`: what a page shows before, or without, JavaScript."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.template import Context, Template
from django.test import override_settings
from django.urls import include, path, set_script_prefix
from django.utils import translation

import progress
from progress.exceptions import StoreUnavailable
from progress.store import Write, get_store
from progress.templatetags import progress as tags

SOURCE = Path(progress.__file__).parent / "static" / "progress"

pytestmark = pytest.mark.usefixtures("progress_store")


class Elements(HTMLParser):
    """The elements of a fragment with their attributes, and all its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def one(self, tag):
        (attributes,) = [attributes for name, attributes in self.found if name == tag]
        return attributes


def user(pk=1, **changes):
    """Somebody who is logged in; the database is not asked."""
    known = {"pk": pk, "is_anonymous": False, "is_active": True, "is_staff": False}
    return SimpleNamespace(**{**known, **changes})


def task(task_id="a", owner="1", state="PROGRESS", public='"meta":{}', staff='"meta":{},"worker":"w1"', **texts):
    """A task that somebody has reported on."""
    body = {
        "id": progress.key(task_id),
        "name": "tasks.import_csv",
        "title": "Import customers.csv",
        "current": 630,
        "total": 1000,
        "unit": "rows",
        "message": "Reading rows",
        "retries": 0,
        "max_retries": 3,
        **texts,
    }
    args = {"exec": "e", "fence": 0, "n": 1, "state": state, "owner": owner, "tree": "the-tree", "fraction": "0.63"}
    written = json.dumps(body)[1:-1]
    get_store().write(Write("save", body["id"], {**args, "body": written, "public": public, "staff": staff}))
    return task_id


def render(task_id, who=None, options="", **context):
    """What the tag makes of `task_id` for the user `who`."""
    request = SimpleNamespace(user=who or AnonymousUser())
    template = Template("{% load progress %}{% task_progress task_id " + options + " %}")
    return template.render(Context({"task_id": task_id, "request": request, **context}))


def test_owner_sees_the_last_known_state_without_javascript():
    """Title, a plain progress bar, state, count and message stand in the page itself."""
    page = Elements(render(task(), user()))
    assert page.one("progress") == {"max": "1", "value": "0.63", "aria-label": "Import customers.csv"}
    assert "Import customers.csv" in page.text
    assert "running · 630 of 1,000 rows · Reading rows" in page.text


def test_element_carries_what_the_script_needs():
    """Key, address of the socket, and the very snapshot that was rendered."""
    element = Elements(render(task(), user())).one("task-progress")
    assert element["task-id"] == "a"
    assert element["socket"] == "/ws/progress/"
    record = get_store().load("a")
    assert json.loads(element["snapshot"]) == record.snapshot()


@pytest.mark.parametrize("who", [None, user(2), user(1, is_active=False)])
def test_forbidden_and_unknown_are_the_same_page(who):
    """Nobody learns from the mark-up whether a task exists."""
    task("exists")
    forbidden, unknown = render("exists", who), render("exists-not", who)
    assert forbidden.replace("exists", "x") == unknown.replace("exists-not", "x")
    assert "customers" not in forbidden
    assert "There is nothing to show here." in forbidden


def test_page_without_a_request_shows_nothing_of_a_task():
    """A template that is rendered for nobody, in an e-mail, say, leaks nothing."""
    html = Template("{% load progress %}{% task_progress 'a' %}").render(Context())
    assert html == render("a")
    task()
    assert Template("{% load progress %}{% task_progress 'a' %}").render(Context()) == html


def test_page_lives_on_while_the_store_is_away(monkeypatch):
    """The bar is missing then, not the page."""

    def load(_key):
        raise StoreUnavailable

    monkeypatch.setattr(get_store(), "load", load)
    assert "There is nothing to show here." in render("a", user())


def test_token_opens_the_task_it_names_and_no_other():
    """A watch token shows its task to people without a session, and travels as an attribute."""
    task("a")
    task("b")
    token = progress.watch_token("a")
    page = Elements(render("a", options="token=token", token=token))
    assert page.one("task-progress")["token"] == token
    assert "running" in page.text
    assert "There is nothing to show here." in render("b", options="token=token", token=token)
    assert "running" in render("b", options="token=token", token=progress.watch_token("the-tree"))


@pytest.mark.parametrize("token", ["nonsense", "a:b:c", "ä"])
def test_damaged_token_is_no_error(token):
    """It opens nothing; the page is shown all the same."""
    task()
    assert "There is nothing to show here." in render("a", options="token=token", token=token)


@pytest.mark.django_db
def test_permitted_staff_get_the_staff_view():
    """Who may see all runs sees what the public view leaves out."""
    staff = User.objects.create_user("staff", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_taskrun"))
    task(owner="someone else")
    assert json.loads(Elements(render("a", staff)).one("task-progress")["snapshot"])["worker"] == "w1"
    plain = User.objects.create_user("plain", is_staff=True)
    assert "There is nothing to show here." in render("a", plain)


@pytest.mark.parametrize(
    "payload",
    [
        '"><script>alert(1)</script>',
        "' onmouseover='alert(1)",
        "</task-progress><img src=x onerror=alert(1)>",
        "{{ request }}{% now 'Y' %}",
        "&lt;b&gt; \u2028 \x00",
    ],
)
def test_text_of_tasks_stays_text(payload):
    """Whatever a task calls itself or says, no element and no attribute comes of it."""
    page = Elements(render(task(title=payload, message=payload, unit=payload, name=payload), user()))
    plain = Elements(render(task("plain"), user()))
    shape = [(tag, sorted(attributes)) for tag, attributes in page.found]
    assert shape == [(tag, sorted(attributes)) for tag, attributes in plain.found]
    assert json.loads(page.one("task-progress")["snapshot"])["title"] == payload
    assert page.one("progress")["aria-label"] == payload


def test_hostile_ids_stay_text():
    """An id is addressed by its key, which has no character that means something in HTML."""
    page = Elements(render(task('"><script>'), user()))
    assert page.one("task-progress")["task-id"] == progress.key('"><script>')
    assert "running" in page.text


def test_key_of_an_unsafe_id_is_taken_as_it_is():
    """Views hand over keys; a key addresses itself."""
    key = progress.key(task("naïve id"))
    assert Elements(render(key, user())).one("task-progress")["task-id"] == key
    assert "running" in render(key, user())


def test_options_become_attributes():
    """`href`, `heading` and `compact` work with and without the script."""
    page = Elements(render(task(), user(), "href='/runs/a/' heading=2 compact=True"))
    element = page.one("task-progress")
    assert (element["href"], element["heading"], "compact" in element) == ("/runs/a/", "2", True)
    assert page.one("a") == {"href": "/runs/a/"}
    assert page.one("h2") == {"data-title": None}


def test_notices_and_cancelling_are_set_by_options():
    """What is not asked for leaves no attribute; addresses stay text."""
    wanted = """notify='title badge' success_url='/a?b=1&c=<2>' csrf='secret' confirm=False http='/p/'"""
    element = Elements(render(task(), user(), wanted)).one("task-progress")
    names = ("notify", "success-url", "csrf", "confirm", "http")
    assert [element[name] for name in names] == ["title badge", "/a?b=1&c=<2>", "secret", "no", "/p/"]
    assert not set(names) & set(Elements(render(task(), user())).one("task-progress"))


@override_settings(ROOT_URLCONF="tests.unit.test_templatetags")
def test_http_addresses_are_found_where_a_site_has_put_them():
    """A site that includes `progress.urls` elsewhere need not say so in each bar."""
    assert Elements(render(task(), user())).one("task-progress")["http"] == "/jobs/live/"


urlpatterns = [path("jobs/live/", include("progress.urls"))]


def test_snapshot_that_the_view_has_read_is_not_read_again(monkeypatch):
    """Fifty bars on a page need not be fifty look-ups."""
    known = get_store().load(task()).snapshot()
    monkeypatch.setattr(get_store(), "load", lambda _key: pytest.fail("looked up"))
    assert "running" in render("a", options="snapshot=known", known=known)


@pytest.mark.parametrize(
    ("who", "options", "changes", "there"),
    [
        (user(), "", {}, True),
        (user(), "compact=True", {}, False),
        (user(), "", {"cancel_requested": True}, False),
        (user(), "", {"cancellable": False}, False),
        (user(), "", {"final": True, "state": "SUCCESS"}, False),
        (user(2), "", {}, False),
        (None, "", {}, False),
    ],
)
def test_who_may_cancel_finds_a_form_where_no_script_runs(who, options, changes, there):
    """It posts to the address that scripts use, with Django's token, and stands where scripts do not see it."""
    known = {**get_store().load(task()).snapshot(), **changes}
    html = render("a", who, f"snapshot=known {options}", known=known, csrf_token="t0ken")
    assert ("<form" in html) == there
    form = re.search(r"<noscript>.*?<form method=\"post\" action=\"([^\"]*)\">(.*?)</form></noscript>", html)
    assert there == bool(form and form[1] == "/progress/a/cancel/" and 'value="t0ken"' in form[2])


def test_no_form_stands_where_the_page_has_no_csrf_token():
    """It would be refused: a template rendered without a request's context, say."""
    assert "<form" not in render(task(), user())


@pytest.mark.parametrize(("state", "said"), [("FAILURE", "last said: Reading rows"), ("SUCCESS", "Reading rows")])
def test_a_message_of_a_bad_end_is_said_to_be_the_last(state, said):
    """33 seconds to go, say, is not true of what was cancelled."""
    known = {**get_store().load(task()).snapshot(), "state": state, "final": True}
    assert said in Elements(render("a", user(), "snapshot=known", known=known)).text.split(" · ")[-1].strip()


def test_socket_follows_the_script_prefix():
    """A site below a path finds its socket there."""
    set_script_prefix("/site/")
    try:
        assert Elements(render("a")).one("task-progress")["socket"] == "/site/ws/progress/"
    finally:
        set_script_prefix("/")


def test_numbers_in_attributes_know_no_language():
    """`value="0,63"` would be no number."""
    with translation.override("de"):
        assert Elements(render(task(), user(), "heading=1")).one("progress")["value"] == "0.63"


@pytest.mark.parametrize(
    ("snapshot", "value"),
    [
        ({"state": "PROGRESS", "final": False, "fraction": None}, ""),
        ({"state": "PENDING", "final": False, "fraction": None}, "0"),
        ({"state": "FAILURE", "final": True, "fraction": None}, "0"),
        ({"state": "LOST", "final": False, "fraction": None}, "0"),
        ({"state": "PROGRESS", "final": False, "fraction": 0.9999}, "0.9999"),
        ({"state": "SUCCESS", "final": True, "fraction": 1}, "1"),
    ],
)
def test_bar_moves_only_for_what_runs(snapshot, value):
    """Without a value a browser shows endless motion: right for unknown totals, a lie for the rest."""
    assert tags._value(snapshot) == value


@pytest.mark.parametrize(
    ("outcome", "shown"),
    [
        ({"state": "SUCCESS", "result": "998 rows <stored>"}, "998 rows <stored>"),
        ({"state": "SUCCESS", "result": {"rows": 1}}, '{"rows": 1}'),
        ({"state": "FAILURE", "error": {"type": "Refused", "message": "No <text>."}}, "No <text>."),
        ({"state": "FAILURE", "error": {"type": "error"}}, "The reason is not shown here."),
    ],
)
def test_outcome_is_told_without_javascript(outcome, shown):
    """Result or error, as far as the snapshot has it, stand in the page as text."""
    known = {**get_store().load(task()).snapshot(), "final": True, **outcome}
    page = Elements(render("a", options="snapshot=known", known=known))
    assert shown in page.text
    assert "Load it again" not in page.text


def test_state_is_told_in_the_words_of_the_browser():
    """What stands in the page without JavaScript is what the element would say."""
    page = Elements(
        render("a", options="snapshot=known", known={**get_store().load(task()).snapshot(), "attempt": 2})
    )
    assert "running again (2)" in page.text


def test_type_of_a_snapshot_names_every_field_that_is_sent():
    """The JavaScript type has each field of both views."""
    record = get_store().load(task(rate=1.0, scheduled_for=None, logs_to=None, parent=None, root="a"))
    declared = (SOURCE / "protocol.d.ts").read_text()
    interface = declared.partition("interface Snapshot {")[2].partition("\n}")[0]
    fields = set(re.findall(r"^  (\w+)\??:", interface, re.MULTILINE))
    assert {*record.snapshot(), *record.snapshot(staff=True)} <= fields
