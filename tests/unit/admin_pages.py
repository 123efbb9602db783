"""What the tests of the admin share: staff with rights, rows of the history, live records."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from celery import shared_task
from django.contrib.auth.models import Permission, User
from django.urls import reverse

import progress
from progress.models import TaskRun
from progress.record import Record
from progress.store import Write, get_store

NOW = dt.datetime(2026, 11, 20, 12, 0, tzinfo=dt.UTC)


@shared_task(name="tests.admin.greet")
@progress.options(runnable=True, title="Greet {name}")
def greet(name: str, times: int = 1) -> None:
    """Say hello."""


@shared_task(name="tests.admin.nothing")
@progress.options(runnable=True)
def nothing() -> None:
    """Do nothing."""


@shared_task(name="tests.admin.untracked")
@progress.options(runnable=True, track=False)
def untracked() -> None:
    """Nobody sees it."""


def url(view: str, *args: str, query: str = "", site: str = "admin") -> str:
    """The address of a page of ours."""
    return reverse(f"{site}:task_progress_taskrun_{view}", args=args) + query


def log_in(client: Any, *codenames: str, name: str = "staff") -> User:
    """Log in a member of staff with these permissions."""
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    assert user.user_permissions.count() == len(codenames), codenames
    client.force_login(user)
    return user


def make_row(task_id: str = "one", ago: float = 0, **values: Any) -> TaskRun:
    """A row as the recorder writes it, of a run that was queued `ago` seconds before noon."""
    queued = NOW - dt.timedelta(seconds=ago)
    state = values.get("state", "SUCCESS")
    told = {
        "v": 1,
        "id": task_id,
        "seq": 1,
        "run": values.get("run", 1),
        "name": values.get("name", "tests.admin.greet"),
        "title": values.get("title", "Greet Ann"),
        "state": state,
        "final": state in ("SUCCESS", "FAILURE", "REVOKED"),
        "current": 0,
        "updated_at": queued.isoformat(),
    }
    at = int(queued.timestamp() * 1_000_000)
    return TaskRun.objects.create(
        **{
            "task_id": task_id,
            "seq": 1,
            "name": "tests.admin.greet",
            "title": "Greet Ann",
            "state": state,
            "attempt": 1,
            "queued_at": queued,
            "started_at": queued,
            "finished_at": queued + dt.timedelta(seconds=5) if told["final"] else None,
            "states": [[1, at, "PENDING", 0], [2, at + 2_000_000, "STARTED", 1], [3, at + 5_000_000, state, 1]],
            "public": json.dumps(told),
            "staff": json.dumps({**told, "worker": "w1"}),
            **values,
        }
    )


def queue(task_id: str, owner: Any = "", name: str = "tests.admin.greet", title: str = "Live", **told: Any) -> None:
    """A live record, as if the task had just been sent."""
    body = json.dumps({"id": task_id, "name": name, "title": title, **told}, separators=(",", ":"))[1:-1]
    get_store().write(Write("queue", task_id, {"owner": str(owner), "body": body, "name": name}))


def record(task_id: str) -> Record:
    """What the store knows of a task."""
    found = get_store().load(task_id)
    assert found is not None
    return found


def run(task_id: str, state: str = "STARTED", n: int = 1, **more: Any) -> None:
    """A worker has begun, or goes on with, the task."""
    fence = record(task_id).fence if n > 1 else 0
    saved = {"exec": "e", "fence": fence, "n": n, "age": 0, "state": state, "owner": record(task_id).owner, **more}
    assert get_store().write(Write("save", task_id, saved)).accepted


def end(task_id: str, state: str = "SUCCESS") -> None:
    """A worker has run the task to its end."""
    run(task_id)
    run(task_id, state, n=2)
