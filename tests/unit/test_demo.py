"""`manage.py demo`: what it makes, for whom, and that it can be called again."""

from __future__ import annotations

import asyncio
import re
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.urls import reverse

import progress
from progress import store as stores
from progress.memory_store import MemoryStore
from progress.models import TaskRun
from progress.permissions import ARGUMENTS, CANCEL, RERUN, START, VIEW
from progress.snapshot import State
from progress.store import Write, get_store
from tasks.demo import EXAMPLES

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_store(settings, monkeypatch):
    settings.DEBUG = True
    monkeypatch.setattr(stores, "_stores", {})


def demo(*arguments):
    out = StringIO()
    call_command("demo", *arguments, stdout=out)
    return out.getvalue()


def runs():
    return {row.task_id: row for row in TaskRun.objects.all()}


def test_there_is_a_run_in_each_state():
    """In Redis, and the same in the history; RECEIVED is never stored."""
    demo()
    rows = runs()
    assert {row.state for row in rows.values()} == {str(state) for state in State} - {"RECEIVED", "STARTED"}
    assert {key: str(get_store().load(key).state) for key in rows} == {key: row.state for key, row in rows.items()}
    assert len(rows) == len(EXAMPLES)
    assert rows["demo-cancelling"].cancelled_by == str(User.objects.get(username="stella").pk)
    assert rows["demo-waiting"].snapshot()["waits_for"] == "demo-running"


def test_they_have_what_there_is_to_be_seen():
    """Stages, log lines, parts, arguments, a hidden one, an error and a result."""
    demo()
    rows = runs()
    known = rows["demo-running"].snapshot()
    assert [stage["state"] for stage in known["stages"]] == ["done", "running"]
    assert known["rate"] == 3
    assert not [row.title for row in rows.values() if "{" in row.title]
    assert len(get_store().logs("demo-running").lines) == 3
    assert get_store().load("demo-parts").snapshot()["children"] == {"known": 3, "ended": 1, "failed": 0}
    assert rows["demo-failure"].arguments["given"] == {"entries": 120}
    assert rows["demo-failure"].arguments["hidden"] == ["api_token"]
    assert "not there any more" in rows["demo-failure"].snapshot()["error"]["message"]
    assert rows["demo-success"].snapshot()["result"].startswith("999 rows")
    assert [step.state for step in rows["demo-success"].timeline] == ["PENDING", "STARTED", "PROGRESS", "SUCCESS"]


def test_the_two_users_have_different_rights(client, settings):
    """Ann sees her runs and no admin; Stella sees all runs, and not what they were called with."""
    said = demo("--password", "open sesame")
    settings.DEBUG = False
    assert "ann / open sesame" in said
    ann, stella = User.objects.get(username="ann"), User.objects.get(username="stella")
    assert (ann.is_staff, stella.is_staff, stella.is_superuser) == (False, True, False)
    assert [stella.has_perm(each) for each in (VIEW, CANCEL, START)] == [True] * 3
    assert [stella.has_perm(each) for each in (ARGUMENTS, RERUN)] == [False] * 2
    assert client.login(username="ann", password="open sesame")
    home = client.get(reverse("home")).text
    assert "Countdown of 30 s" in home
    assert "access.log" not in home
    assert client.get("/admin/").status_code == 302
    assert client.login(username="stella", password="open sesame")
    assert len(re.findall("<task-progress ", client.get("/admin/task_progress/taskrun/").text)) == len(EXAMPLES)
    page = client.get("/admin/task_progress/taskrun/demo-failure/change/").text
    assert "Refused" in page
    assert "api_token" not in page


def test_called_again_it_makes_no_doubles():
    """The same runs, the same users, and nothing that stood was touched."""
    demo()
    before = {key: (row.run, row.seq) for key, row in runs().items()}
    demo()
    assert {key: (row.run, row.seq) for key, row in runs().items()} == before
    assert sorted(User.objects.values_list("username", flat=True)) == ["ann", "stella"]


def test_called_again_it_puts_back_what_has_changed():
    """Whether it ended, was asked to stop, or is not there any more; each is in the history once."""
    demo()
    store = get_store()
    store.write(Write("verdict", "demo-queued", {"exec": "", "state": "REVOKED"}))
    store.write(Write("cancel", "demo-running", {"by": "1"}))
    TaskRun.objects.filter(task_id="demo-running").update(state="LOST")
    demo()
    assert {str(store.load(key).state) for key in ("demo-queued", "demo-running")} == {"PENDING", "PROGRESS"}
    assert store.load("demo-running").control == ""
    assert TaskRun.objects.count() == len(EXAMPLES)
    assert runs()["demo-running"].state == "PROGRESS"


def test_nobody_presumes_the_running_ones_lost():
    """No sign of life was promised, so none is missed."""
    demo()
    expired = asyncio.run(get_store().aexpired(100))
    assert expired.keys == []


def test_each_call_makes_up_a_new_password():
    """And says it; the old one is none any more."""
    first, second = (re.search(r"ann / (\S{12}) ", demo())[1] for _ in range(2))
    assert first != second
    assert User.objects.get(username="ann").check_password(second)


def test_somebody_elses_account_is_left_alone():
    """A user of that name who is not of the demo keeps the password, and nothing is made."""
    real = User.objects.create_user("stella", "stella@example.org", "her own")
    with pytest.raises(CommandError, match="stella"):
        demo()
    real.refresh_from_db()
    assert real.check_password("her own")
    assert not TaskRun.objects.exists()
    assert not User.objects.filter(username="ann").exists()


def test_site_that_may_matter_is_left_alone(settings):
    """Where DEBUG is off somebody has to say so."""
    settings.DEBUG = False
    with pytest.raises(CommandError, match="--yes"):
        demo()
    assert not User.objects.exists()
    demo("--yes")
    assert User.objects.count() == 2


def test_redis_that_is_away_is_told(monkeypatch):
    """In a sentence, with what to do."""

    def refuse(*_args, **_kwargs):
        raise progress.StoreUnavailable

    monkeypatch.setattr(MemoryStore, "load", refuse)
    with pytest.raises(CommandError, match="Start Redis"):
        demo()
