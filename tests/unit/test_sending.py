"""What a message leaves behind when it is sent, without a broker: signals are called as Celery calls them."""

from __future__ import annotations

from uuid import uuid4

import pytest
from celery import shared_task
from django.contrib.auth.models import User
from kombu import Exchange, Queue

import progress
from progress.sending import before_task_publish
from progress.snapshot import State
from progress.store import Write, get_store


@shared_task(name="tests.sending.work")
def work() -> None:
    """Do nothing."""
    progress.log("working")


def send(task_id, body_id="body", **headers):
    """Send one part of a chord whose body has `body_id`."""
    chord = {"task": "tests.sending.work", "options": {"task_id": body_id}, "args": [], "kwargs": {}}
    before_task_publish(
        "tests.sending.work", ((), {}, {"chord": chord}), {"id": task_id, "root_id": task_id, "group": "g", **headers}
    )


def test_body_that_failed_with_one_part_does_not_wait_again_with_the_next():
    """Part 1 fails while part 2 is still being sent: the body stays failed."""
    store = get_store()
    send("part-1", "chord-body", group_index=0)
    store.write(Write("verdict", "chord-body", {"exec": "", "state": "FAILURE"}))
    send("part-2", "chord-body", group_index=1)
    record = store.load("chord-body")
    assert (record.state, record.run) == (State.FAILURE, 1)


@pytest.mark.parametrize(
    ("queue", "exchange", "routing_key", "known"),
    [
        (Queue("reports", Exchange("reports"), "reports"), "", "reports", "reports"),
        (Queue("reports", Exchange("reports"), "reports"), "reports", "reports", "reports"),
        (Queue("imports", Exchange("topic", "topic"), "import.#"), "topic", "import.csv", ""),
        (Queue("celery", Exchange("celery"), "celery"), "topic", "import.csv", ""),
        (None, "", "reports", "reports"),
        (None, "topic", "import.csv", ""),
    ],
)
def test_a_queue_is_named_only_where_it_is_known(queue, exchange, routing_key, known):
    """A wrong name would say that nobody listens to a queue that has nothing to do with the task."""
    declared = [] if queue is None else [queue]
    where = {"exchange": exchange, "routing_key": routing_key, "declare": declared}
    task_id = str(uuid4())
    before_task_publish("tests.sending.work", ((), {}, {}), {"id": task_id, "root_id": task_id}, **where)
    assert get_store().load(task_id).queue == known


def test_new_run_of_an_id_begins_with_an_empty_log():
    """Who starts a task under an id that somebody used before does not read their lines."""
    import asyncio

    store = get_store()
    send("log-reused", "log-body")
    asyncio.run(store.aappend_logs("log-reused", [("INFO", "secret of the first run")]))
    store.write(Write("save", "log-reused", {"exec": "a", "fence": 0, "n": 1, "state": "SUCCESS"}))
    send("log-reused", "log-body")
    assert store.load("log-reused").run == 2
    assert store.logs("log-reused").lines == []


def test_time_for_which_a_task_is_scheduled_is_told_in_utc():
    """The wire's form, whatever the site's time zone."""
    send("eta", "eta-body", eta="2026-11-21T05:46:57.216442+01:00")
    assert get_store().load("eta").snapshot()["scheduled_for"] == "2026-11-21T04:46:57.216Z"


@pytest.mark.django_db
def test_eager_task_belongs_to_whoever_runs_it():
    """It is never sent, so its owner is decided when it runs."""
    user = User.objects.create_user("eager")
    with progress.owner(user):
        task_id = work.apply().id
    from tests.processes import wait_until

    record = wait_until(lambda: (found := get_store().load(task_id)) and found.ended and found, 5, "it has ended")
    assert record.owner == str(user.pk)
