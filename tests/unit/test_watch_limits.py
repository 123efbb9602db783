"""No way of watching passes by the limit of a connection, and none ends what another one has asked for."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from progress.options import Options
from progress.record import UNIT, Record
from progress.reporter import Job
from progress.testing import Communicator, in_memory
from tests.acted import ActedTask


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    with in_memory():
        yield


def owner() -> Any:
    return SimpleNamespace(pk=1, is_active=True, is_staff=False, is_anonymous=False)


def queued(*names: str, tree: str = "") -> list[ActedTask]:
    return [ActedTask(name, owner="1", tree=tree).queue() for name in names]


async def test_following_a_log_counts_as_a_watch(settings: Any) -> None:
    """The next task is refused, whatever is asked of it."""
    settings.PROGRESS_MAX_WATCHES = 1
    queued("a", "b")
    async with Communicator(owner()) as client:
        await client.watch("a")
        assert (await client.ask("logs", id="b"))["code"] == "too_many"
        assert (await client.ask("logs", id="a"))["type"] == "logs"


async def test_members_of_workflows_count_as_watches(settings: Any) -> None:
    """The sums come whole, the members up to the limit."""
    settings.PROGRESS_MAX_WATCHES = 2
    queued("a", "b", "c", tree="first")
    queued("d", "e", "f", tree="second")
    async with Communicator(owner()) as client:
        await client.ask("watch", tree="first")
        await client.ask("watch", tree="second")
        await client.ask("ping")
        assert (await client.ask("watch", ids=["g", "a"]))["type"] in ("refused", "watching")
        watched = [item["id"] for told in client.heard if told["type"] == "watching" for item in told["items"]]
        assert len({*watched} - {"first", "second"}) == 2


async def test_what_was_asked_for_by_name_outlives_its_workflow() -> None:
    """Unwatching a workflow ends what came with it."""
    tasks = queued("a", "b", tree="whole")
    async with Communicator(owner()) as client:
        await client.watch("a")
        await client.ask("watch", tree="whole")
        await client.next("b")
        await client.say("unwatch", ids=["whole"])
        await client.ask("ping")
        tasks[0].run(1, 2)
        while (shown := await client.next("a"))["state"] != "PROGRESS":
            pass
        assert shown["current"] == 1


def test_the_smallest_weight_still_counts() -> None:
    """A size in fractions must not make the sum of the weights zero."""
    job = Job("k", "n", "x", Options(), weight=1e-9)
    assert job.lineage["weight"] == 1
    assert Record(state="SUCCESS", parts_known=1, parts_weight=0).snapshot()["fraction"] == 1
    assert Job("k", "n", "x", Options()).lineage.get("weight", UNIT) == UNIT
