"""Staff ask runs to stop: who may, what is asked before, what is said and written down afterwards."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from progress import admin_control, control
from progress.exceptions import StoreUnavailable
from progress.memory_store import MemoryStore

from .admin_pages import end, log_in, make_row, queue, record, run, url

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("progress_store")]
CANCEL = ("view_taskrun", "cancel_taskrun")


def cancel_many(client, *rows, action="cancel_selected", **more):
    """Choose an action for rows of the list; with ``post="yes"`` the answer to the page that asks."""
    data = {"action": action, "_selected_action": [row.pk for row in rows], **more}
    return client.post(url("changelist"), data, follow=True)


# --- One run -------------------------------------------------------------------------------------------------


def test_the_page_asks_first_and_only_its_answer_cancels(client):
    """To open the address changes nothing; to answer it asks the run to stop, says so and is written down."""
    user = log_in(client, *CANCEL)
    queue("one", title="Long")
    assert url("cancel", "one") in client.get(url("change", "one")).text
    asked = client.get(url("cancel", "one"))
    assert "will be asked to stop" in asked.text
    assert record("one").control == ""
    done = client.post(url("cancel", "one"), follow=True)
    assert record("one").control == str(user.pk)
    assert "“Long” was asked to stop." in done.text
    assert done.redirect_chain == [(url("change", "one"), 302)]
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.object_repr, entry.get_change_message()) == ("one", "Long", "Asked to stop")
    assert "Asked to stop" in client.get(url("history", "one")).text


def test_another_site_cannot_make_staff_cancel(client):
    """The form carries a token, and a request without one is refused."""
    log_in(client, *CANCEL)
    queue("one")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    assert strict.post(url("cancel", "one")).status_code == 403
    assert record("one").control == ""


def test_the_owner_may_cancel_and_nobody_may_without_the_right(client):
    """Without the right there is no button, and the answer says why nothing happened."""
    user = log_in(client, "view_taskrun")
    queue("mine", owner=user.pk)
    queue("theirs", owner="77")
    assert url("cancel", "theirs") not in client.get(url("change", "theirs")).text
    client.post(url("cancel", "mine"))
    answer = client.post(url("cancel", "theirs"), follow=True)
    assert (record("mine").control, record("theirs").control) == (str(user.pk), "")
    assert "may not be cancelled by you" in answer.text
    assert [entry.object_id for entry in LogEntry.objects.all()] == ["mine"]


@pytest.mark.parametrize("view", ["cancel", "terminate", "change", "history", "delete"])
def test_run_that_may_not_be_watched_does_not_exist(client, view):
    """Every page of it answers as for one that there is not, and does nothing."""
    log_in(client, "cancel_taskrun", "delete_taskrun", "start_taskrun")
    queue("theirs", owner="77")
    make_row("recorded", owner="77")
    answers = {
        (client.get(url(view, key)).status_code, client.post(url(view, key), {"post": "yes"}).status_code)
        for key in ("theirs", "recorded", "unknown")
    }
    assert answers == {(404, 404)}
    assert record("theirs").control == ""


def test_force_is_offered_after_the_first_request_and_only_to_those_who_may(client, monkeypatch):
    """First it is asked to stop; then staff with the right find a button, its owner does not."""
    told = []
    monkeypatch.setattr(control.Revocation, "send", lambda self: told.append(self) or control.Told.DONE)
    user = log_in(client, *CANCEL)
    queue("one", owner="77")
    run("one", terminable=1)
    assert url("terminate", "one") not in client.get(url("change", "one")).text
    client.post(url("terminate", "one"))
    assert (record("one").control, told) == (str(user.pk), [])
    assert url("terminate", "one") in client.get(url("change", "one")).text
    assert "will be ended by force" in client.get(url("terminate", "one")).text
    answer = client.post(url("terminate", "one"), follow=True)
    assert len(told) == 1
    assert "is ended by force" in answer.text
    messages = [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]
    assert messages == ["Asked to stop", "Ended by force"]


def test_the_buttons_are_those_that_can_do_something_now(client):
    """What has ended cannot be cancelled; what Redis has forgotten neither."""
    log_in(client, *CANCEL)
    queue("ended")
    end("ended")
    make_row("forgotten", state="PROGRESS")
    for key in ("ended", "forgotten"):
        assert url("cancel", key) not in client.get(url("change", key)).text
    assert "had ended" in client.post(url("cancel", "ended"), follow=True).text
    assert "not known to Redis any more" in client.post(url("cancel", "forgotten"), follow=True).text
    assert not LogEntry.objects.exists()


# --- Many ----------------------------------------------------------------------------------------------------


def test_many_are_asked_and_the_message_says_what_became_of_each(client):
    """First a page that says what will be; then one sentence for each kind of outcome, and an entry for each act."""
    log_in(client, *CANCEL)
    rows = {}
    for key in ("first", "second", "ended", "fixed"):
        queue(key, title=key.capitalize(), **({"cancellable": False} if key == "fixed" else {}))
        rows[key] = make_row(key, title=key.capitalize(), state="PENDING")
    end("ended")
    rows["lost"] = make_row("lost", title="Forgotten", state="PROGRESS")
    asked = cancel_many(client, *rows.values(), index="0")
    assert asked.text.count("will be asked to stop") == 2
    assert record("first").control == ""
    done = cancel_many(client, *rows.values(), post="yes")
    for sentence in (
        "2 runs were asked to stop: ",
        "1 run had ended: Ended.",
        "1 run cannot be cancelled, its task says: Fixed.",
        "1 run is not known to Redis any more: Forgotten.",
    ):
        assert sentence in done.text
    assert {entry.object_id for entry in LogEntry.objects.all()} == {"first", "second"}


def test_the_action_is_there_for_those_with_the_right_only(client):
    """Neither offered, nor done when it is asked for all the same."""
    log_in(client, "view_taskrun")
    queue("one")
    row = make_row("one")
    assert "cancel_selected" not in client.get(url("changelist")).text
    cancel_many(client, row, post="yes")
    assert record("one").control == ""


def test_workers_that_do_not_answer_keep_nobody_waiting_for_long(client, monkeypatch):
    """After the time for all of them the rest is not asked, and the message says so."""
    monkeypatch.setattr(admin_control, "PATIENCE", -1.0)
    log_in(client, *CANCEL)
    queue("one", title="One")
    done = cancel_many(client, make_row("one", title="One", state="PENDING"), post="yes")
    assert "1 run was not asked in time: One." in done.text
    assert record("one").control == ""


def test_while_redis_is_away_nothing_is_claimed(client, monkeypatch):
    """The message says that nobody was asked."""
    log_in(client, *CANCEL)
    row = make_row("one", title="One", state="PENDING")

    def refuse(*_args):
        raise StoreUnavailable

    monkeypatch.setattr(MemoryStore, "load_many", refuse)
    assert "was not asked, Redis does not answer: One." in cancel_many(client, row, post="yes").text
    assert not LogEntry.objects.exists()
