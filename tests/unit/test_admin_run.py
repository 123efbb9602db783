"""The page of a run in the admin: from before it is written down until after Redis has forgotten it."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType

from progress.admin_timeline import clock, span, steps, strip
from progress.memory_store import MemoryStore
from progress.models import Step, TaskRun
from progress.snapshot import State, key
from progress.store import LogPage

from .admin_pages import NOW, end, log_in, make_row, queue, run, url

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("progress_store")]


def page_of(client, task_id, query=""):
    """The page of a run, which must be there."""
    answer = client.get(url("change", task_id, query=query))
    assert answer.status_code == 200
    return answer.text


def test_the_page_is_there_before_the_recorder_has_written(client):
    """From the live record alone: element, state, owner, log."""
    user = log_in(client, "view_taskrun")
    queue("one", owner=user.pk, title="Just sent")
    assert not TaskRun.objects.exists()
    page = page_of(client, "one")
    assert "<task-progress" in page
    assert "<task-log" in page
    assert "Just sent" in page
    assert "queued" in page
    assert f">{user.username}</a>" in page


def test_the_page_is_there_after_redis_has_forgotten(client):
    """From the row alone: how it ended, without an element that looks for what is gone."""
    log_in(client, "view_taskrun")
    make_row("one", title="Long ago")
    page = page_of(client, "one")
    assert "<task-progress" not in page
    assert "Long ago" in page
    assert "<strong>done</strong>" in page


def test_the_row_is_brought_up_to_date_with_the_record(client):
    """The recorder is behind: the page shows the newer state and adds it to how it went; it writes nothing."""
    log_in(client, "view_taskrun")
    queue("one", title="New")
    run("one")
    row = make_row("one", title="New", state="PENDING", states=[[1, int(NOW.timestamp() * 1e6), "PENDING", 0]])
    page = page_of(client, "one")
    assert "<span>started</span>" in page
    row.refresh_from_db()
    assert (row.state, len(row.states)) == ("PENDING", 1)


def test_facts(client):
    """Who, where, in which workflow, sent by whom, cancelled by whom; with links to what belongs together."""
    log_in(client, "view_taskrun")
    canceller = User.objects.create_user("carla")
    make_row(
        "one", state="REVOKED", cancelled_by=str(canceller.pk), queue="fast", worker="w@h", tree="t1", parent="p_1"
    )
    page = page_of(client, "one")
    for fact in ("carla", "fast", "w@h", "?tree=t1", url("change", "p_5F1")):
        assert fact in page
    make_row("two", attempt=3)
    assert "The last took" in page_of(client, "two")


def test_timeline_names_who_asked_to_cancel(client):
    """A step of its own between the states."""
    log_in(client, "view_taskrun")
    canceller = User.objects.create_user("carla")
    at = int(NOW.timestamp() * 1e6)
    states = [
        [1, at, "PENDING", 0],
        [2, at + 1, "STARTED", 1],
        [3, at + 2, "CANCELLING", 1],
        [4, at + 3, "REVOKED", 1],
    ]
    make_row("one", state="REVOKED", cancelled_by=str(canceller.pk), states=states)
    assert "carla asked to cancel it" in page_of(client, "one")


def test_lines_of_the_log_say_their_level_once(client, monkeypatch):
    """As they do with JavaScript: not that of ordinary lines, and not what the text says itself."""
    log_in(client, "view_taskrun")
    queue("one")
    said = [("INFO", "opened"), ("ERROR", "ERROR: no paper"), ("WARNING", "low on ink")]
    lines = [{"at": NOW.isoformat(), "level": level, "text": text} for level, text in said]
    monkeypatch.setattr(MemoryStore, "logs", lambda *_: LogPage(lines, "1-0", False))
    page = page_of(client, "one")
    for line in ("</time> opened<", "</time> ERROR: no paper<", "</time> WARNING low on ink<"):
        assert line in page


def test_arguments_are_for_those_with_the_right(client):
    """What was hidden and what was left out are named, never shown."""
    kept = {"given": {"city": "Rome", "few": [1, 2]}, "hidden": ["password"], "left_out": ["blob"]}
    log_in(client, "view_taskrun")
    make_row("one", arguments=kept)
    assert "Rome" not in page_of(client, "one")
    log_in(client, "view_taskrun", "see_arguments_taskrun", name="trusted")
    page = page_of(client, "one")
    assert "<code>Rome</code>" in page
    assert "<code>[1, 2]</code>" in page
    assert "<dt>password</dt><dd><em>hidden</em>" in page
    assert "<dt>blob</dt><dd><em>not kept" in page


def test_the_error_is_shown_to_permitted_staff_and_not_to_the_owner(client):
    """An owner without the right to view sees the public view."""
    user = log_in(client, "start_taskrun")
    told = {"id": "one", "seq": 1, "name": "n", "title": "T", "state": "FAILURE", "final": True}
    public = json.dumps({**told, "error": {"type": "error"}})
    staff = json.dumps({**told, "error": {"type": "ValueError", "message": "secret text"}})
    make_row("one", owner=str(user.pk), state="FAILURE", public=public, staff=staff)
    page = page_of(client, "one")
    assert "secret text" not in page
    assert "The reason is not shown here." in page
    log_in(client, "view_taskrun", name="viewer")
    assert "ValueError: secret text" in page_of(client, "one")


def test_every_run_of_a_reused_id_has_its_page(client):
    """Without a number the newest; the others are linked, and no live element of the newest stands in their pages."""
    log_in(client, "view_taskrun")
    for number in (1, 2, 3):
        make_row("nightly", run=number, ago=100 - number, title=f"Night {number}")
    assert "<h1>Night 3</h1>" in page_of(client, "nightly")
    page = page_of(client, "nightly", "?run=1")
    assert "<h1>Night 1</h1>" in page
    assert url("change", "nightly", query="?run=2") in page
    assert client.get(url("change", "nightly", query="?run=9")).status_code == 404


def test_an_id_that_is_no_safe_name_is_addressed_by_its_key(client):
    """And Django's own links from its log lead there."""
    user = log_in(client, "view_taskrun")
    hashed = key("any id/at all?")
    queue(hashed, title="Odd")
    kind = ContentType.objects.get_for_model(TaskRun).pk
    entry = LogEntry.objects.create(
        user=user, content_type_id=kind, object_id=hashed, object_repr="Odd", action_flag=CHANGE
    )
    assert "Odd" in client.get(entry.get_admin_url()).text


def test_history_page_tells_who_did_what_and_leads_back(client):
    """Django's page, under the key of the task: also of a run that nobody has written down."""
    user = log_in(client, "view_taskrun")
    queue("my_run", title="Mine")
    kind = ContentType.objects.get_for_model(TaskRun).pk
    LogEntry.objects.create(
        user=user,
        content_type_id=kind,
        object_id="my_run",
        object_repr="Mine",
        action_flag=CHANGE,
        change_message="Sang",
    )
    page = client.get(url("history", "my_5Frun")).text
    assert "Sang" in page
    assert url("change", "my_5Frun") in page


def test_nothing_that_a_task_says_becomes_mark_up(client):
    """Title, message, error, argument, log line: text."""
    log_in(client, "view_taskrun", "see_arguments_taskrun")
    bad = '<img src=x onerror="alert(1)">'
    told = {"id": "one", "seq": 1, "name": bad, "title": bad, "state": "FAILURE", "final": True, "message": bad}
    text = json.dumps({**told, "error": {"type": bad, "message": bad}, "result": bad})
    make_row("one", name=bad, title=bad, state="FAILURE", public=text, staff=text, arguments={"given": {bad: bad}})
    queue("two", title=bad, name=bad, message=bad)
    for address in (url("change", "one"), url("change", "two"), url("changelist"), url("history", "one")):
        assert "<img src=x" not in client.get(address).text


def test_page_of_a_run_takes_ten_queries_at_most(client, django_assert_max_num_queries):
    """With owner, canceller, other runs and all buttons."""
    user = log_in(client, "view_taskrun", "cancel_taskrun", "start_taskrun", "rerun_taskrun", "delete_taskrun")
    for number in range(1, 30):
        make_row("one", run=number, owner=str(user.pk), cancelled_by=str(user.pk))
    queue("two", owner=user.pk)
    end("two")
    for task_id in ("one", "two"):
        with django_assert_max_num_queries(10):
            page_of(client, task_id)


# --- How it went -----------------------------------------------------------------------------------------------


def test_steps_say_how_long_each_state_lasted():
    """The last one lasts on, or is the end."""
    at = [NOW, NOW + dt.timedelta(seconds=2), NOW + dt.timedelta(minutes=2)]
    came = [Step(at[0], "PENDING", 0), Step(at[1], "STARTED", 2), Step(at[2], "FAILURE", 2)]
    told = [(step.words, step.mood, step.lasted) for step in steps(came)]
    assert told == [("queued", "wait", "2.0 s"), ("started (attempt 2)", "run", "1 min 58 s"), ("failed", "bad", "")]


def test_every_state_has_words_and_a_look():
    """No state is told by its name alone."""
    for state in State:
        (step,) = steps([Step(NOW, state, 1)])
        assert step.words != state
        assert step.mood in {"wait", "run", "good", "bad", "over"}


def test_the_strip_is_as_long_as_the_run_and_no_part_vanishes():
    """Parts in proportion, within 0…1000, up to now while it runs; nothing at all where nothing lasted."""
    came = [Step(NOW, "PENDING", 0), Step(NOW + dt.timedelta(milliseconds=1), "STARTED", 1)]
    parts = strip(came, NOW + dt.timedelta(hours=1))
    assert [(part.mood, part.width >= 6) for part in parts] == [("wait", True), ("run", True)]
    assert all(part.x >= 0 and part.x + part.width <= 1000 for part in parts)
    assert strip([], NOW) == []
    assert strip(came[:1], NOW) == []


@pytest.mark.parametrize(
    ("seconds", "words", "counted"),
    [
        (0.08, "80 ms", "0:00"),
        (1.26, "1.3 s", "0:01"),
        (12.4, "12 s", "0:12"),
        (245, "4 min 5 s", "4:05"),
        (7800, "2 h 10 min", "2:10:00"),
        (273600, "3 d 4 h", "76:00:00"),
        (-5, "0 ms", "0:00"),
    ],
)
def test_durations_in_words(seconds, words, counted):
    """As people read them, and as the pages count them."""
    assert (span(dt.timedelta(seconds=seconds)), clock(dt.timedelta(seconds=seconds))) == (words, counted)


# --- What a site grants ----------------------------------------------------------------------------------------


def only_greetings(user, action, run):
    """Lets everybody watch and start what is called so."""
    return action in ("watch", "start") and "greet" in run.name


def test_what_the_site_grants_opens_one_run_and_no_list(client, settings):
    """Staff without our permissions, whom `PROGRESS_AUTHORIZE` lets watch and start one kind of task."""
    settings.PROGRESS_AUTHORIZE = only_greetings
    log_in(client)
    queue("shared", owner="77")
    queue("other", owner="77", name="tests.admin.nothing")
    assert page_of(client, "shared")
    assert client.get(url("change", "other")).status_code == 404
    assert client.get(url("changelist")).url == url("tasks")
    tasks = client.get(url("tasks")).text
    assert ("tests.admin.greet" in tasks, "tests.admin.nothing" in tasks) == (True, False)
    assert client.get(url("start", "tests.admin.nothing")).status_code == 403
