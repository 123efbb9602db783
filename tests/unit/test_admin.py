"""Staff in the admin: who may start what, and where they land."""

from __future__ import annotations

import pytest
from celery import current_app, shared_task
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse

import progress
from progress.store import Write, get_store

pytestmark = pytest.mark.django_db
LIST = "admin:task_progress_taskrun_changelist"


@shared_task(name="tests.admin.greet")
@progress.options(runnable=True, title="Greet {name}")
def greet(name: str, times: int = 1) -> None:
    """Say hello."""


@pytest.fixture
def sent(monkeypatch):
    """What reached the broker: (task, arguments)."""
    calls = []
    monkeypatch.setattr(
        current_app.amqp,
        "send_task_message",
        lambda producer, name, message, **_: calls.append((name, message.body[1])),
    )
    return calls


@pytest.fixture
def staff(client):
    """A logged-in member of staff with the named permissions."""

    def log_in(*codenames, name="staff"):
        user = User.objects.create_user(name, password="x", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client.force_login(user)
        return user

    return log_in


def test_staff_with_the_permission_find_the_task_and_its_form(client, staff):
    """The list names runnable tasks only; each leads to a form with its arguments and its help."""
    staff("start_taskrun")
    page = client.get(reverse(LIST))
    assert "tests.admin.greet" in page.text
    assert "progress.ping" not in page.text
    form = client.get(reverse("admin:task_progress_taskrun_start", args=["tests.admin.greet"]))
    assert "Say hello." in form.text
    assert form.context["form"].fields.keys() == {"name", "times"}


def test_starting_sends_the_task_and_lands_on_its_live_page(client, staff, sent, django_capture_on_commit_callbacks):
    """A good form sends exactly one task with its values, leaves a log entry and opens the run."""
    user = staff("start_taskrun")
    url = reverse("admin:task_progress_taskrun_start", args=["tests.admin.greet"])
    answer = client.post(url, {"name": "Ann", "times": "2"})
    assert sent == [("tests.admin.greet", {"name": "Ann", "times": 2})]
    entry = LogEntry.objects.get(user=user)
    assert answer.url == reverse("admin:task_progress_taskrun_live", args=[entry.object_id])
    assert entry.get_change_message() == "Started tests.admin.greet"


def test_wrong_input_is_told_beside_the_field_and_sends_nothing(client, staff, sent):
    """A bad value shows the form again, with status 422."""
    staff("start_taskrun")
    url = reverse("admin:task_progress_taskrun_start", args=["tests.admin.greet"])
    answer = client.post(url, {"name": "Ann", "times": "often"})
    assert (answer.status_code, sent) == (422, [])
    assert "times" in answer.context["form"].errors


@pytest.mark.parametrize("permissions", [(), ("view_taskrun",)])
def test_staff_without_the_permission_can_start_nothing(client, staff, sent, permissions):
    """Neither the form nor its target is open to them."""
    staff(*permissions)
    url = reverse("admin:task_progress_taskrun_start", args=["tests.admin.greet"])
    assert [client.get(url).status_code, client.post(url, {"name": "x"}).status_code] == [403, 403]
    assert sent == []


@pytest.mark.parametrize("name", ["progress.ping", "no.such.task"])
def test_task_that_is_not_declared_runnable_does_not_exist_here(client, staff, name):
    """Not even a superuser starts what did not say that it may be started."""
    client.force_login(User.objects.create_superuser("root"))
    assert client.get(reverse("admin:task_progress_taskrun_start", args=[name])).status_code == 404


def test_live_page_of_somebody_elses_run_needs_the_view_permission(client, staff):
    """Foreign and unknown runs are the same 404; with the permission the foreign one opens."""
    get_store().write(
        Write("queue", "foreign", {"owner": "somebody", "body": '"id":"foreign","name":"n","title":"T"'})
    )
    foreign = reverse("admin:task_progress_taskrun_live", args=["foreign"])
    unknown = reverse("admin:task_progress_taskrun_live", args=["unknown"])
    staff("start_taskrun")
    assert [client.get(foreign).status_code, client.get(unknown).status_code] == [404, 404]
    staff("start_taskrun", "view_taskrun", name="viewer")
    assert [client.get(foreign).status_code, client.get(unknown).status_code] == [200, 404]


def test_broker_that_does_not_answer_is_told_and_nothing_is_claimed(client, staff, monkeypatch):
    """The person reads what failed; there is no log entry of a start that did not happen."""
    staff("start_taskrun")

    def refuse(*_args, **_kwargs):
        raise ConnectionError("no broker here")

    monkeypatch.setattr(current_app.amqp, "send_task_message", refuse)
    url = reverse("admin:task_progress_taskrun_start", args=["tests.admin.greet"])
    answer = client.post(url, {"name": "Ann"})
    assert "could not be sent" in answer.text
    assert not LogEntry.objects.exists()
