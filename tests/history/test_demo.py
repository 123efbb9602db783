"""`manage.py demo` with a real Redis."""

from __future__ import annotations

import re

import pytest
from django.core.management import call_command

from progress.models import TaskRun
from progress.store import get_store
from tasks.demo import EXAMPLES
from tests.processes import wait_until
from tests.visitor import Visitor

RUNS = "/admin/task_progress/taskrun/"

pytestmark = pytest.mark.django_db


def test_the_demo_stands_in_redis_as_in_memory(redis_url):
    """Each run is in its state, with its log; called again, nothing that stands is touched."""
    call_command("demo", "--yes")
    states = {run.task_id: (run.state, run.seq) for run in TaskRun.objects.all()}
    assert {key: state for key, (state, _) in states.items()} == {
        f"demo-{example.name}": str(example.state) for example in EXAMPLES
    }
    records = {key: get_store().load(key) for key in states}
    assert {key: (str(record.state), record.seq) for key, record in records.items() if key != "demo-parts"} == {
        key: value
        for key, value in states.items()
        if key != "demo-parts"  # which its parts count in
    }
    assert records["demo-parts"].snapshot()["children"] == {"known": 3, "ended": 1, "failed": 0}
    assert len(get_store().logs("demo-running").lines) == 3
    call_command("demo", "--yes")
    assert {run.task_id: (run.state, run.seq) for run in TaskRun.objects.all()} == states


def test_beside_a_running_site_each_run_is_listed_once(own_site):
    """Servers, workers and recorder leave it as it is; what somebody has cancelled is put back by another call."""
    staff = Visitor(own_site, own_site.user(superuser=True))

    def listed():
        return sorted(re.findall(r'task-id="(demo-[\w-]+)"', staff.get(RUNS).text))

    def states():
        return {key: get_store().load(key).state for key in expected}

    expected = sorted(f"demo-{example.name}" for example in EXAMPLES)
    said = own_site.manage("demo", "--yes", "--password", "open sesame").stdout
    assert "stella / open sesame" in said
    wait_until(lambda: listed() == expected, 10, "each run is listed once")
    before = states()
    assert staff.post(f"{RUNS}demo-queued/cancel/").status == 302
    wait_until(lambda: get_store().load("demo-queued").control, 10, "it was asked to stop")
    own_site.manage("demo", "--yes")
    wait_until(lambda: listed() == expected, 10, "each run is listed once again")
    assert states() == before
