"""A workflow as a whole: every part is counted once, whatever becomes of it, and the last end is the end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group

import progress
from progress.store import Write, get_store
from progress.trees import read_trees
from progress.workflow import Workflow
from tests import jobs
from tests.processes import Login, Site, wait_until
from tests.watching import end_of, record_of, send, when
from tests.wire import wire


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The file for which `hold` waits."""
    return tmp_path / "gate"


def sums(tree: str) -> Workflow:
    """The workflow as a server reads it."""
    store = get_store()
    ((workflow,), (first,)) = store.load_workflows([tree]), store.load_many([tree])
    return (workflow or Workflow()).beginning_with(tree, first)


def all_ended(tree: str, known: int, seconds: float = 20) -> Workflow:
    """The workflow once so many parts are known and all of them have ended."""
    wait_until(lambda: sums(tree).known == sums(tree).ended == known, seconds, f"{known} ends in {sums(tree)}")
    return sums(tree)


def forget_results(result: Any) -> tuple[str, list[str]]:
    """The ids of a group; its results would listen to Redis until they are collected."""
    return result.id, [part.id for part in result.children]


# --- Sums ------------------------------------------------------------------------------------------------------


def test_group_is_counted_under_its_own_id(site: Site, gate: Path) -> None:
    """Known from the moment it is sent, below 1 until the last end, then 1."""
    name, parts = forget_results(group(jobs.hold.si(str(gate)), jobs.quick.si(), jobs.count.si(2)).delay())
    wait_until(lambda: sums(name).ended == 2, 15, "two of three have ended")
    held = sums(name)
    assert (held.known, held.failed, list(held.members)) == (3, 0, parts)
    assert held.fraction is not None
    assert 0.66 < held.fraction < 1
    gate.touch()
    assert all_ended(name, 3).fraction == 1
    assert sums(name).counts == {"SUCCESS": 3}


def test_failed_and_cancelled_parts_have_ended(site: Site, gate: Path) -> None:
    """A failure counts as one; being cancelled is an end, but no failure."""
    name, parts = forget_results(group(jobs.advances.si(str(gate)), jobs.fails.si(), jobs.quick.si()).delay())
    when(parts[0], lambda record: record.state == "PROGRESS")
    site.manage("shell", "-c", f"from progress.control import cancel; cancel({parts[0]!r}, '7')")
    ended = all_ended(name, 3)
    assert ended.counts == {"FAILURE": 1, "REVOKED": 1, "SUCCESS": 1}
    assert (ended.failed, ended.fraction) == (1, 1)


def test_retried_part_is_one_part_and_takes_nothing_back(site: Site) -> None:
    """Two attempts are one task: neither the number of parts nor the fraction moves the wrong way."""
    name, parts = forget_results(group(jobs.retries.si(times=2, countdown=0.3), jobs.quick.si()).delay())
    seen = [0.0]

    def look() -> bool:
        workflow = sums(name)
        assert workflow.known == 2
        seen.append(workflow.fraction or 0)
        return workflow.ended == 2

    wait_until(look, 20, "both have ended")
    assert seen == sorted(seen)
    assert end_of(parts[0]).attempt == 3
    assert sums(name).counts == {"SUCCESS": 2}


def test_chain_is_counted_as_a_whole_from_the_start(site: Site, gate: Path) -> None:
    """By the id of its first step, which any of its steps leads to; a failure ends all that waits."""
    result = chain(jobs.hold.si(str(gate)), jobs.fails.si(), jobs.quick.si()).delay()
    last, first = result.id, result.parent.parent.id
    del result
    assert record_of(last).tree == first  # type: ignore[union-attr]
    assert (sums(first).known, len(sums(first).members)) == (3, 3)
    gate.touch()
    assert all_ended(first, 3).counts == {"FAILURE": 2, "SUCCESS": 1}


def test_chord_counts_its_body(site: Site, gate: Path) -> None:
    """Parts and body are one workflow; while the body waits it is not over."""
    result = chord([jobs.hold.si(str(gate)), chain(jobs.quick.si(), jobs.quick.si())])(jobs.adds.si(1, 2))
    body, header = result.id, result.parent.id
    del result
    assert record_of(body).tree == progress.key(header)  # type: ignore[union-attr]
    assert sums(header).known == 4
    gate.touch()
    assert all_ended(header, 4).counts == {"SUCCESS": 4}


def test_body_of_a_failed_chord_stays_failed(site: Site) -> None:
    """Also while a chain among the parts goes on, whose last step carries the body with it."""
    parts = [jobs.fails.si(), chain(jobs.quick.si(), jobs.quick.si(), jobs.quick.si())]
    result = chord(parts)(jobs.adds.s())
    body, header = result.id, result.parent.id
    del result
    assert all_ended(header, 5).counts == {"FAILURE": 2, "SUCCESS": 3}
    record = record_of(body)
    assert record is not None
    assert (record.state, record.run, record.attempt) == ("FAILURE", 1, 0)


def test_killed_part_is_counted_once(site: Site) -> None:
    """The verdict on a child that was killed is told by the main process, maybe twice; it counts once."""
    name, _ = forget_results(group(jobs.dies.si(), jobs.quick.si()).delay())
    assert all_ended(name, 2).counts == {"FAILURE": 1, "SUCCESS": 1}


# --- Senders -----------------------------------------------------------------------------------------------------


def test_sender_shows_its_parts_and_is_not_done_before_the_last(site: Site, gate: Path) -> None:
    """Its body has returned: state SUCCESS, but the fraction says how far its parts are, by their weights."""
    parent = send(jobs.sends_parts, path=str(gate), fails_too=True)
    record = when(parent, lambda found: found.state == "SUCCESS" and found.parts_ended == 2, 20)
    told = record.snapshot()
    assert told["children"] == {"known": 3, "ended": 2, "failed": 1}
    assert told["fraction"] == pytest.approx(0.5), "two of four by weight: the part that holds counts twice"
    gate.touch()
    record = when(parent, lambda found: found.parts_ended == 3, 20)
    assert (record.snapshot()["fraction"], record.snapshot()["children"]["failed"]) == (1, 1)
    assert all_ended(parent, 4).failed == 1


def test_task_that_goes_on_as_a_chord_has_its_parts(site: Site, gate: Path) -> None:
    """`replace()` keeps the id; the parts of what took its place are its children."""
    parent = send(jobs.replaced_by_parts, path=str(gate))
    when(parent, lambda found: found.parts_known == 2 and found.parts_ended == 1, 20)
    assert record_of(parent).snapshot()["fraction"] != 1  # type: ignore[union-attr]
    gate.touch()
    record = end_of(parent)
    assert (record.state, record.parts_known, record.parts_ended) == ("SUCCESS", 2, 2)
    assert record.snapshot()["fraction"] == 1


def test_steps_of_a_chain_are_no_children_of_one_another(site: Site) -> None:
    """What comes after a task is sent by it only in Celery's eyes."""
    result = chain(jobs.quick.si(), jobs.quick.si()).delay()
    last, first = result.id, result.parent.id
    del result
    end_of(last)
    assert "children" not in end_of(first).snapshot()


# --- Watching ----------------------------------------------------------------------------------------------------


@pytest.fixture
def owner(site: Site) -> Login:
    return site.user()


async def test_watching_a_group_result_shows_all_of_it(site: Site, owner: Login, gate: Path) -> None:
    """One watch: the sums, the members, and the end of everything."""
    with progress.owner(owner.pk):
        name, parts = forget_results(group(jobs.hold.si(str(gate)), jobs.quick.si()).delay())
    async with wire(site.ws, cookie=owner.cookie) as page:
        answer = await page.ask("watch", tree=name)
        assert answer["type"] == "watching"
        assert [item["id"] for item in answer["items"]] == [name]
        told = await page.told("tree", id=name, known=2, ended=1)
        assert set(told["members"]) == set(parts)
        assert told["fraction"] < 1
        await page.sees(parts[0])
        await asyncio.to_thread(gate.touch)
        await page.ends(*parts)
        assert (await page.told("tree", id=name, ended=2))["fraction"] == 1


@pytest.mark.parametrize("by", ["the sender", "a part", "a group inside"])
async def test_any_id_of_a_workflow_leads_to_it(site: Site, owner: Login, gate: Path, by: str) -> None:
    """The task that sent it, one of its parts; a group inside a task is watched on its own."""
    with progress.owner(owner.pk):
        parent = send(jobs.sends_parts, path=str(gate))
    when(parent, lambda found: found.parts_known == 3, 20)
    part = sums(parent).members[1]
    inner = record_of(part).group  # type: ignore[union-attr]
    wanted = {"the sender": parent, "a part": part, "a group inside": inner}[by]
    known = 3 if by == "a group inside" else 4
    async with wire(site.ws, cookie=owner.cookie) as page:
        await page.ask("watch", tree=wanted)
        await page.told("tree", id=wanted, known=known)
        await asyncio.to_thread(gate.touch)
        await page.told("tree", id=wanted, known=known, ended=known)


async def test_strangers_learn_nothing_of_a_workflow(site: Site, owner: Login, gate: Path) -> None:
    """Forbidden and unknown are one answer; a token for the group opens it."""
    await asyncio.to_thread(gate.touch)
    with progress.owner(owner.pk):
        name, _ = forget_results(group(jobs.hold.si(str(gate)), jobs.quick.si()).delay())
    all_ended(name, 2)
    stranger = site.user()
    async with wire(site.ws, cookie=stranger.cookie) as page:
        forbidden = await page.ask("watch", tree=name)
        unknown = await page.ask("watch", tree="no-such-workflow")
        assert {**forbidden, "ids": [], "ref": ""} == {**unknown, "ids": [], "ref": ""}
        assert forbidden["code"] == "not_found"
        await page.ask("watch", tree=name, token=progress.watch_token(name))
        assert (await page.told("tree", id=name))["ended"] == 2


async def test_unwatching_a_workflow_ends_its_members_too(site: Site, owner: Login, gate: Path) -> None:
    """After it nothing is said about any of them."""
    with progress.owner(owner.pk):
        name, parts = forget_results(group(jobs.hold.si(str(gate)), jobs.hold.si(str(gate))).delay())
    async with wire(site.ws, cookie=owner.cookie) as page:
        await page.ask("watch", tree=name)
        for part in parts:
            await page.sees(part)
        await page.say("unwatch", ids=[name])
        await page.lives()
        heard = len([message for message in page.messages if message["type"] in ("tree", "snapshots")])
        await asyncio.to_thread(gate.touch)
        all_ended(name, 2)
        await page.lives()
        assert heard == len([message for message in page.messages if message["type"] in ("tree", "snapshots")])


async def test_workflows_of_many_readers_are_read_together(redis_url: str) -> None:
    """Unknown ones are left out; the task that a workflow begins with is one of its parts."""
    store = get_store()
    store.write(Write("queue", "first", {"owner": "7", "body": '"id":"first"'}))
    store.write(Write("queue", "part", {"owner": "7", "tree": "first", "body": '"id":"part"'}))
    found = await read_trees(["first", "nobody"])
    await store.aclose()  # type: ignore[attr-defined]
    assert list(found) == ["first"]
    assert (found["first"].known, found["first"].members) == (2, ("first", "part"))
