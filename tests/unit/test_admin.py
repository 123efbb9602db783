"""Staff start tasks in the admin: who may start what, what the form says, where they land, what is written down."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.models import User
from django.urls import include, path
from kombu import Producer

from progress.admin import TaskRunAdmin
from progress.exceptions import StoreUnavailable
from progress.memory_store import MemoryStore
from progress.models import TaskRun

from .admin_pages import log_in, make_row, queue, url

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("progress_store")]
GREET = "tests.admin.greet"
START = ("start_taskrun",)
RERUN = ("view_taskrun", "start_taskrun", "rerun_taskrun", "see_arguments_taskrun")


@pytest.fixture
def sent(monkeypatch):
    """What reached the broker: (task, arguments)."""
    calls = []
    monkeypatch.setattr(
        Producer, "publish", lambda _, body, headers=None, **__: calls.append((headers["task"], body[1]))
    )
    return calls


# --- Run a task ----------------------------------------------------------------------------------------------


def test_staff_with_the_permission_find_the_task_and_its_form(client):
    """The page names runnable tasks only; each leads to a form with its arguments and its help."""
    log_in(client, *START)
    page = client.get(url("tasks"))
    assert GREET in page.text
    assert "progress.ping" not in page.text
    form = client.get(url("start", GREET))
    assert "Say hello." in form.text
    assert {"name", "times"} <= form.context["form"].fields.keys()


def test_who_may_only_start_tasks_is_led_from_the_list_to_them(client):
    """The index of the admin shows the way, the list redirects; a page of somebody's history is not theirs."""
    log_in(client, *START)
    assert url("changelist") in client.get("/admin/").text
    assert client.get(url("changelist")).url == url("tasks")


def test_one_may_see_ones_own_recent_runs_beside_the_tasks(client):
    """Mine, not those of others."""
    user = log_in(client, *START)
    queue("mine", owner=user.pk, title="My own")
    queue("theirs", owner="other", title="Not mine")
    page = client.get(url("tasks")).text
    assert "My own" in page
    assert url("change", "mine") in page
    assert "Not mine" not in page


def test_starting_sends_the_task_and_lands_on_its_live_page(client, sent):
    """A good form sends exactly one task with its values, leaves an entry under its key and opens the run."""
    user = log_in(client, *START)
    answer = client.post(url("start", GREET), {"name": "Ann", "times": "2"})
    assert sent == [(GREET, {"name": "Ann", "times": 2})]
    entry = LogEntry.objects.get(user=user)
    assert answer.url == url("change", entry.object_id)
    assert (entry.action_flag, entry.object_repr) == (ADDITION, "Greet Ann")
    assert entry.get_change_message() == f"Started {GREET}"


def test_the_entry_in_the_log_leads_to_the_run(client, sent):
    """Django's own link from the log opens the page, before anything is written into the history."""
    log_in(client, *START)
    client.post(url("start", GREET), {"name": "Ann"})
    entry = LogEntry.objects.get()
    assert not TaskRun.objects.exists()
    page = client.get(entry.get_admin_url())
    assert (page.status_code, "Greet Ann" in page.text) == (200, True)


def test_task_without_arguments_is_started_by_its_button(client, sent):
    """An empty form is a good one, where nothing is to be filled in."""
    log_in(client, *START)
    assert client.post(url("start", "tests.admin.nothing")).status_code == 302
    assert [name for name, _ in sent] == ["tests.admin.nothing"]


def test_untracked_task_is_started_and_nobody_is_led_to_a_page_that_is_not_there(client, sent):
    """It says that there is nothing to watch."""
    log_in(client, *START)
    answer = client.post(url("start", "tests.admin.untracked"), follow=True)
    assert answer.redirect_chain == [(url("tasks"), 302)]
    assert "nothing to watch" in answer.text
    assert [name for name, _ in sent] == ["tests.admin.untracked"]


def test_wrong_input_is_told_beside_the_field_and_sends_nothing(client, sent):
    """A bad value shows the form again, with status 422."""
    log_in(client, *START)
    answer = client.post(url("start", GREET), {"name": "Ann", "times": "often"})
    assert (answer.status_code, sent) == (422, [])
    assert "times" in answer.context["form"].errors
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("permissions", [(), ("view_taskrun",), ("rerun_taskrun",)])
def test_staff_without_the_permission_can_start_nothing(client, sent, permissions):
    """Neither the list of tasks, nor a form, nor its target is open to them."""
    log_in(client, *permissions)
    answers = [
        client.get(url("tasks")),
        client.get(url("start", GREET)),
        client.post(url("start", GREET), {"name": "x"}),
    ]
    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert sent == []


@pytest.mark.parametrize("name", ["progress.ping", "no.such.task"])
def test_task_that_is_not_declared_runnable_does_not_exist_here(client, name):
    """Not even a superuser starts what did not say that it may be started."""
    client.force_login(User.objects.create_superuser("root"))
    assert client.get(url("start", name)).status_code == 404


def test_broker_that_does_not_answer_is_told_and_nothing_is_claimed(client, monkeypatch):
    """The person reads what failed; there is no log entry of a start that did not happen."""
    log_in(client, *START)

    def refuse(*_args, **_kwargs):
        raise ConnectionError("no broker here")

    monkeypatch.setattr(Producer, "publish", refuse)
    answer = client.post(url("start", GREET), {"name": "Ann"})
    assert "could not be sent" in answer.text
    assert not LogEntry.objects.exists()


def test_tasks_can_be_started_while_redis_is_away(client, sent, monkeypatch):
    """The page says that it cannot show the run, and the start is in the log."""
    log_in(client, *START)

    def refuse(*_args, **_kwargs):
        raise StoreUnavailable

    for name in ("load", "load_many", "mine"):
        monkeypatch.setattr(MemoryStore, name, refuse)
    assert client.get(url("tasks")).status_code == 200
    answer = client.post(url("start", GREET), {"name": "Ann"}, follow=True)
    assert (answer.status_code, len(sent)) == (503, 1)
    assert "Redis does not answer" in answer.text
    assert LogEntry.objects.get().object_repr == GREET


# --- Run again -----------------------------------------------------------------------------------------------


def test_the_form_of_a_run_is_filled_in_as_it_was_called(client, sent):
    """What was kept stands in its fields; sending it starts the same, and both runs have an entry that says so."""
    log_in(client, *RERUN)
    make_row("old", arguments={"given": {"name": "Ann", "times": 3}, "hidden": [], "left_out": []})
    again = url("start", GREET, query="?again=old&run=1")
    assert again.replace("&", "&amp;") in client.get(url("change", "old")).text
    form = client.get(again).context["form"]
    assert (form["name"].value(), form["times"].value()) == ("Ann", 3)
    client.post(again, {"name": "Ann", "times": "3"})
    assert sent == [(GREET, {"name": "Ann", "times": 3})]
    told = {(entry.action_flag, entry.object_id == "old") for entry in LogEntry.objects.all()}
    assert told == {(ADDITION, False), (CHANGE, True)}


@pytest.mark.parametrize("why", ["hidden", "left_out"])
def test_what_was_not_kept_is_blank_and_must_be_written_again(client, sent, why):
    """Even an argument with a default: to leave it out would start something else."""
    log_in(client, *RERUN)
    make_row("old", arguments={"given": {"name": "Ann"}, "hidden": [], "left_out": [], why: ["times"]})
    again = url("start", GREET, query="?again=old")
    field = client.get(again).context["form"]["times"]
    assert (field.value(), field.field.required) == (None, True)
    assert client.post(again, {"name": "Ann", "times": ""}).status_code == 422
    assert sent == []


def test_who_may_not_see_arguments_fills_in_an_empty_form(client):
    """The form does not tell what the page hides."""
    log_in(client, "view_taskrun", "start_taskrun", "rerun_taskrun")
    make_row("old", arguments={"given": {"name": "Annabel"}, "hidden": [], "left_out": []})
    page = client.get(url("start", GREET, query="?again=old"))
    assert page.context["form"]["name"].value() is None
    assert "Annabel" not in page.text + client.get(url("change", "old")).text


@pytest.mark.parametrize("permissions", [("view_taskrun", "start_taskrun"), ("start_taskrun", "rerun_taskrun")])
def test_starting_again_needs_the_right_to_and_to_see_the_run(client, permissions):
    """Otherwise there is no such run to start again, and no button."""
    log_in(client, *permissions)
    make_row("old", owner="somebody")
    assert client.get(url("start", GREET, query="?again=old")).status_code == 404


def test_many_are_started_again_and_those_that_cannot_be_are_named(client, sent):
    """First a page that asks, then one message that says what became of each."""
    log_in(client, *RERUN)
    kept = {"given": {"name": "Ann"}, "hidden": [], "left_out": []}
    whole = make_row("whole", title="Whole", arguments=kept)
    secret = make_row("secret", title="Secret", arguments={**kept, "hidden": ["times"]})
    foreign = make_row("foreign", title="Foreign", name="no.such.task", arguments=kept)
    changed = make_row("changed", title="Changed", arguments={**kept, "given": {"gone": "Ann"}})
    by_place = make_row("place", title="By place", arguments={**kept, "given": {"0": "Ben"}})
    unknown = make_row("unknown", title="Unknown")
    data = {
        "action": "rerun_selected",
        "_selected_action": [r.pk for r in (whole, secret, foreign, changed, by_place, unknown)],
    }
    asked = client.post(url("changelist"), {**data, "index": "0"})
    assert (asked.status_code, sent) == (200, [])
    assert "times was not kept" in asked.text
    done = client.post(url("changelist"), {**data, "post": "yes"}, follow=True)
    assert sorted(arguments["name"] for _, arguments in sent) == ["Ann", "Ben"]
    assert "2 runs were started again: " in done.text
    for row, why in [
        (secret, "by its form"),
        (foreign, "its task"),
        (changed, "it takes no argument gone by now"),
        (unknown, "not known"),
    ]:
        assert f"{why}" in done.text.replace("&#x27;", "'"), row
    assert LogEntry.objects.filter(object_id="whole").exists()


# --- Any admin site --------------------------------------------------------------------------------------------


def site_called(name):
    """An admin site with our pages."""
    site = admin.AdminSite(name=name)
    site.register(TaskRun, TaskRunAdmin)
    return site


inner, outer = site_called("inner"), site_called("outer")
urlpatterns = [
    path("inner/", inner.urls),
    path("outer/", outer.urls),
    path("admin/", admin.site.urls),
    path("", include("tasks.urls")),
]


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("site", ["inner", "outer"])
def test_every_link_stays_in_its_own_admin_site(client, sent, site):
    """Two sites at once: no page of one leads into the other, and a start lands in the one it came from."""
    client.force_login(User.objects.create_superuser("root"))
    make_row("one", arguments={"given": {"name": "Ann"}, "hidden": [], "left_out": []})
    queue("two")
    pages = [
        url("changelist", site=site),
        url("tasks", site=site),
        url("start", GREET, site=site),
        url("change", "one", site=site),
        url("change", "two", site=site),
        url("history", "one", site=site),
        url("cancel", "two", site=site),
        url("delete", "one", site=site),
    ]
    others = {"/inner/", "/outer/", "/admin/"} - {f"/{site}/"}
    for address in pages:
        page = client.get(address)
        assert page.status_code == 200, address
        assert not [other for other in others if f'="{other}' in page.text], address
    assert client.post(url("start", GREET, site=site), {"name": "Ann"}).url.startswith(f"/{site}/")
