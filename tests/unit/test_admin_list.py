"""The list of runs in the admin: who sees it, how runs are found, and how little is asked for it."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from progress import admin_filters
from progress.exceptions import StoreUnavailable
from progress.memory_store import MemoryStore
from progress.models import TaskRun

from .admin_pages import NOW, log_in, make_row, queue, record, run, url

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("progress_store")]
GREET = "tests.admin.greet"


def titles(client, query=""):
    """What the list shows, in its order."""
    return [str(row) for row in client.get(url("changelist", query=query)).context["cl"].result_list]


def test_the_newest_run_is_first_and_each_leads_to_its_page(client):
    """By the time of queueing; keys are quoted as Django quotes them."""
    log_in(client, "view_taskrun")
    make_row("my_old", ago=60, title="Old")
    make_row("my_new", title="New")
    assert titles(client) == ["New", "Old"]
    assert url("change", "my_5Fnew") in client.get(url("changelist")).text


@pytest.mark.parametrize("permissions", [(), ("cancel_taskrun",), ("delete_taskrun",), ("see_arguments_taskrun",)])
def test_nobody_sees_the_list_without_the_right_to_view(client, permissions):
    """Staff with other rights only: 403."""
    log_in(client, *permissions)
    assert client.get(url("changelist")).status_code == 403


def test_rows_are_neither_added_nor_changed(client):
    """Not even by a superuser: what happened, happened."""
    client.force_login(User.objects.create_superuser("root"))
    row = make_row("one")
    assert client.get("/admin/task_progress/taskrun/add/").status_code == 404
    client.post(url("change", "one"), {"state": "FAILURE", "title": "Forged"})
    row.refresh_from_db()
    assert (row.state, row.title) == ("SUCCESS", "Greet Ann")


# --- Live ----------------------------------------------------------------------------------------------------


def test_rows_show_what_redis_knows_now(client):
    """The recorder is a second behind; the page is not, with or without JavaScript."""
    log_in(client, "view_taskrun")
    queue("one", title="Moving")
    run("one")
    make_row("one", title="Moving", state="PENDING", started_at=None)
    page = client.get(url("changelist")).text
    assert f'task-id="one" socket="/ws/progress/" href="{url("change", "one")}" compact' in page
    assert record("one").state == "STARTED"
    assert "<p><bdi>running</bdi></p>" in page


def test_run_that_redis_has_forgotten_is_shown_as_it_was_recorded(client):
    """No element looks for what nobody knows any more; what has not ended says so."""
    log_in(client, "view_taskrun")
    make_row("done", title="Ended")
    make_row("gone", title="Vanished", state="PROGRESS")
    page = client.get(url("changelist")).text
    assert "<task-progress" not in page
    assert re.search(r"Ended</a> <span>done</span>", page)
    assert re.search(r"Vanished</a> <span>last heard: running", page)


def test_of_a_reused_id_only_the_newest_run_is_live(client):
    """The element watches the id: in the row of an earlier run it would show the later one."""
    log_in(client, "view_taskrun")
    queue("nightly", title="Tonight")
    assert record("nightly").run == 1
    make_row("nightly", run=1, ago=60, title="Before")  # Redis has forgotten it, and counts from 1 again
    tonight = make_row("nightly", run=2, title="Tonight", state="PENDING")
    tonight.queued_at = dt.datetime.fromtimestamp(record("nightly").queued_at / 1_000_000, dt.UTC)
    tonight.save()
    page = client.get(url("changelist")).text
    assert page.count("<task-progress") == 1
    assert url("change", "nightly", query="?run=1") in page


def test_the_list_is_there_while_redis_is_not(client, monkeypatch):
    """From the table; what may still move goes on looking for the socket."""
    log_in(client, "view_taskrun")
    make_row("done", title="Ended")
    make_row("going", title="Going", state="PROGRESS")

    def refuse(*_args):
        raise StoreUnavailable

    monkeypatch.setattr(MemoryStore, "load_many", refuse)
    page = client.get(url("changelist")).text
    assert 'task-id="going"' in page
    assert 'task-id="done"' not in page


# --- Finding -------------------------------------------------------------------------------------------------


@pytest.fixture
def several(client):
    """Four runs of several kinds, and who looks at them."""
    user = log_in(client, "view_taskrun", name="anna")
    make_row("mine-1", owner=str(user.pk), title="Mine", tree="t1")
    make_row("theirs-1", ago=1, owner="77", title="Theirs", state="FAILURE")
    make_row("nobodys-1", ago=2, title="Nobody's", name="tests.admin.nothing")
    make_row("ancient-1", ago=90 * 86400, title="Ancient", name="gone.task")
    return user


def test_filters(client, several):
    """State, task, owner, workflow and the combination of them."""
    assert titles(client, "?state=FAILURE") == ["Theirs"]
    assert titles(client, "?task=tests.admin.nothing") == ["Nobody's"]
    assert titles(client, "?task=gone.task") == ["Ancient"]
    assert titles(client, f"?owner={several.pk}") == ["Mine"]
    assert titles(client, "?owner=77") == ["Theirs"]
    assert titles(client, "?owner=-") == ["Nobody's", "Ancient"]
    assert titles(client, "?tree=t1") == ["Mine"]
    assert titles(client, f"?task={GREET}&state=SUCCESS") == ["Mine"]


def test_filter_by_the_day_of_queueing(client, several, monkeypatch):
    """Today begins at midnight in the time zone of the site; seven and thirty days end now."""
    monkeypatch.setattr(admin_filters.timezone, "localtime", lambda *_: NOW)
    make_row("yesterday", ago=86400, title="Yesterday")
    make_row("month", ago=20 * 86400, title="Month")
    today = ["Mine", "Theirs", "Nobody's"]
    assert titles(client, "?queued=today") == today
    assert titles(client, "?queued=week") == [*today, "Yesterday"]
    assert titles(client, "?queued=month") == [*today, "Yesterday", "Month"]


def test_search_by_id_by_task_and_by_user(client, several):
    """The first of these that fits: an exact id, the beginning of a task's name, a user's name."""
    assert titles(client, "?q=theirs-1") == ["Theirs"]
    assert titles(client, "?q=theirs") == []
    assert titles(client, "?q=tests.admin.no") == ["Nobody's"]
    assert titles(client, "?q=tests.admin.") == ["Mine", "Theirs", "Nobody's"]
    assert titles(client, "?q=anna") == ["Mine"]
    assert titles(client, "?q=gone.task") == ["Ancient"]


def test_a_beginning_that_fits_many_tasks_says_what_is_not_shown(client, several, monkeypatch):
    """Five tasks are looked through, and the page names them."""
    monkeypatch.setattr(admin_filters, "tracked_names", lambda: [f"many.{n}" for n in range(7)])
    make_row("m", name="many.0", title="Of many")
    page = client.get(url("changelist", query="?q=many"))
    assert [str(row) for row in page.context["cl"].result_list] == ["Of many"]
    assert "The names of 7 tasks begin with “many”" in page.text


def test_conditions_together_are_held_against_the_rarest_of_them(client, several, monkeypatch):
    """Of many runs of one kind only the newest are looked through, and the page says so; a rare kind is whole."""
    monkeypatch.setattr(admin_filters, "COUNTED", 3)
    for number in range(5):
        make_row(f"more-{number}", ago=10 + number, owner="77", title=f"More {number}", state="REVOKED")
    rare = client.get(url("changelist", query="?owner=77&state=FAILURE"))
    assert [str(row) for row in rare.context["cl"].result_list] == ["Theirs"]
    assert "looked through" not in rare.text
    both = client.get(url("changelist", query="?owner=77&state=REVOKED"))
    assert "The newest 3 whose owner is" in both.text
    assert titles(client, f"?task={GREET}&q=tests.admin.nothing") == []


@pytest.mark.parametrize("query", ["?arguments__password__startswith=a", "?title__contains=a", "?staff__contains=x"])
def test_no_other_column_can_be_asked(client, several, query):
    """A look-up in the address would read the whole table, or guess hidden values letter by letter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("logging.Logger.error", lambda *_args, **_kwargs: None)
        assert client.get(url("changelist", query=query)).status_code == 400


def test_no_other_order_can_be_asked(client, several):
    """Only the index by time answers quickly."""
    for order in ("?o=1", "?o=-2.3", "?o=4"):
        assert titles(client, order) == titles(client)


# --- What it costs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?state=SUCCESS",
        f"?task={GREET}",
        "?owner=77",
        "?q=anna",
        "?q=tests.",
        "?q=mine-1",
        "?tree=t1&p=1",
        "?owner=77&state=FAILURE&q=tests.admin.greet&queued=month",
    ],
)
def test_ten_queries_at_most_and_none_counts_or_reads_the_table(client, several, query):
    """However many rows a page has; every query for rows uses an index of theirs, whatever the filter."""
    for number in range(60):
        make_row(f"more-{number}", ago=number, owner=str(several.pk), tree="t1")
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert client.get(url("changelist", query=query)).status_code == 200
    assert len(asked) <= 10
    ours = [each["sql"] for each in asked if "task_progress_taskrun" in each["sql"]]
    assert ours
    for sql in ours:
        assert "COUNT(*)" not in sql or f"LIMIT {admin_filters.COUNTED + 1}" in sql
        assert "LIKE" not in sql
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            plan = [row[-1] for row in cursor.fetchall()]
        assert not [step for step in plan if step.startswith("SCAN task_progress") and "INDEX" not in step], (
            sql,
            plan,
        )


def test_counting_stops_and_says_so(client, several, monkeypatch):
    """The number is not the truth any more, and the page says which it is."""
    monkeypatch.setattr(admin_filters, "COUNTED", 3)
    page = client.get(url("changelist"))
    assert page.context["cl"].result_count == 3
    assert "there are more" in page.text
    few = client.get(url("changelist", query="?state=FAILURE"))
    assert few.context["cl"].result_count == 1
    assert "there are more" not in few.text


# --- Deleting ------------------------------------------------------------------------------------------------


def test_deleting_needs_its_permission_and_leaves_an_entry_under_the_key(client):
    """One from its page, many from the list."""
    log_in(client, "view_taskrun")
    row = make_row("one", title="One")
    assert client.post(url("delete", "one"), {"post": "yes"}).status_code == 403
    many = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    client.post(url("changelist"), many)
    assert TaskRun.objects.count() == 1
    log_in(client, "view_taskrun", "delete_taskrun", name="other")
    assert client.post(url("delete", "one"), {"post": "yes"}).url == url("changelist")
    second = make_row("two", title="Two")
    asked = client.post(url("changelist"), {**many, "_selected_action": [second.pk], "post": "", "index": "0"})
    assert "Two" in asked.text
    client.post(url("changelist"), {**many, "_selected_action": [second.pk]})
    assert not TaskRun.objects.exists()
    entries = LogEntry.objects.filter(action_flag=DELETION).order_by("pk")
    assert [(entry.object_id, entry.object_repr) for entry in entries] == [("one", "One"), ("two", "Two")]


def test_an_act_takes_what_was_ticked_and_never_all_pages(client):
    """Nobody has looked at the rest."""
    log_in(client, "view_taskrun", "delete_taskrun")
    ticked = make_row("one")
    make_row("two")
    data = {"action": "delete_selected", "_selected_action": [ticked.pk], "select_across": "1", "post": "yes"}
    client.post(url("changelist"), data)
    assert [row.task_id for row in TaskRun.objects.all()] == ["two"]
