"""A rollout with a real worker: its parts are tasks of their own, fail alone and are called off together."""

from __future__ import annotations

import re

from tests.processes import Site, wait_until
from tests.visitor import Visitor
from tests.watching import end_of, record_of, running, when


def parts_of(visitor: Visitor, task_id: str) -> list[str]:
    """The ids of the parts that the page of a rollout shows with a bar."""
    page = visitor.get(f"/runs/{task_id}/").text.partition('id="outcome"')[2].partition("<task-log")[0]
    return re.findall(r'<task-progress task-id="([^"]+)"', page)


def test_every_host_is_a_part_and_a_failed_one_fails_no_other(site: Site) -> None:
    """Four hosts: three get everything, one with a second attempt, one never answers. The sums are exact."""
    visitor = Visitor(site, site.user())
    task_id = visitor.start("install", hosts="web-1 web-2 flaky-3 down-4", packages="nginx")
    parent = end_of(task_id)
    assert parent.snapshot()["result"] == "Sent to 4 hosts. Each of them goes on by itself."
    parts = parts_of(visitor, task_id)
    ends = [end_of(part, 40) for part in parts]
    assert [record.state for record in ends] == ["SUCCESS", "SUCCESS", "SUCCESS", "FAILURE"]
    assert [record.snapshot()["title"] for record in ends] == ["web-1", "web-2", "flaky-3", "down-4"]
    assert [record.attempt for record in ends] == [1, 1, 2, 3]
    assert ends[3].snapshot()["error"]["message"] == "down-4 does not answer."
    assert {record.owner for record in ends} == {parent.owner}
    assert {record.tree for record in ends} == {task_id}
    whole = when(task_id, lambda record: record.parts_ended == 4)
    assert whole.snapshot()["children"] == {"known": 4, "ended": 4, "failed": 1}
    assert "failed.\n" in visitor.get(f"/runs/{task_id}/").text
    assert "Call off the rest" not in visitor.get(f"/runs/{task_id}/").text


def test_calling_off_stops_what_runs_and_what_waits(site: Site) -> None:
    """With two at a time and six to do: those that run stop within a step, the others do not begin."""
    visitor = Visitor(site, site.user())
    hosts = " ".join(f"web-{number}" for number in range(6))
    packages = " ".join(f"package-{number}" for number in range(20))
    task_id = visitor.start("install", hosts=hosts, packages=packages)
    end_of(task_id)
    parts = parts_of(visitor, task_id)
    assert len(parts) == 6
    running(parts[0])
    found = re.search(r'action="(/rollouts/\d+/stop/)"', visitor.get(f"/runs/{task_id}/").text)
    assert found
    assert visitor.post(found[1]).status == 302
    ends = [end_of(part, 20) for part in parts]
    assert {record.state for record in ends} == {"REVOKED"}
    assert visitor.get(f"/runs/{task_id}/").text.count("The rest was called off.") == 1


def test_one_part_can_be_cancelled_alone(site: Site) -> None:
    """A part is a task as any other: its page has a button, and the rest goes on."""
    visitor = Visitor(site, site.user())
    packages = " ".join(f"package-{number}" for number in range(5))
    task_id = visitor.start("install", hosts="web-1 web-2", packages=packages)
    end_of(task_id)
    one, two = parts_of(visitor, task_id)
    running(one)
    assert visitor.post(f"/progress/{one}/cancel/").status == 202
    assert end_of(one).state == "REVOKED"
    assert end_of(two, 30).state == "SUCCESS"


def test_a_single_process_does_all_parts(own_site: Site) -> None:
    """The task that sends does not wait for what it sends: with one process to run everything, all of it ends."""
    own_site.worker.stop()
    own_site.add_worker("alone", concurrency=1)
    visitor = Visitor(own_site, own_site.user())
    task_id = visitor.start("install", hosts="web-1 web-2 web-3", packages="nginx")
    end_of(task_id)
    parts = parts_of(visitor, task_id)
    wait_until(lambda: all(record.ended for part in parts if (record := record_of(part))), 30, "all parts have ended")
    assert [end_of(part).state for part in parts] == ["SUCCESS"] * 3
