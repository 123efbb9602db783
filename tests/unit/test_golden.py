"""What earlier releases have written and said is understood by this code, and the other way round: `tests/golden`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import fields
from typing import Any

import pytest
from packaging.version import Version

from progress import groups, messages, sending
from progress.hub import Hub
from progress.options import Options
from progress.record import Record
from progress.snapshot import State
from progress.workflow import Workflow
from tests.golden.make import load, releases, version
from tests.golden.shapes import not_kept, one_of_each_shape, shape_of
from tests.schemas import CLIENT, wrong_in_message, wrong_in_snapshot

LATER = {"of_a_later_release": {"deep": [1, None]}}  # a field that this code does not know
RELEASES = releases()
ALWAYS = {
    "state",
    "seq",
    "updated_at",
    "body",
    "public",
}  # of a record: every release wrote them


def kept(name: str, releases: list[str] = RELEASES) -> list[Any]:
    """Every message of one file, of every release."""
    return [
        pytest.param(message, id=f"{release}-{kind}-{place}".replace(" ", "-"))
        for release in releases
        for kind, found in load(release)[name].items()
        for place, message in enumerate(found)
    ]


def as_stored(fields: dict[str, Any]) -> dict[bytes, bytes]:
    return {name.encode(): str(value).encode() for name, value in fields.items()}


def test_this_release_is_kept_and_one_before_it() -> None:
    """The folder of the version in pyproject.toml is there, and no later one."""
    assert len(RELEASES) > 1
    assert Version(version()) == max(map(Version, RELEASES))


def test_every_release_has_one_of_everything() -> None:
    """No file is empty, and the states that a task can be in were all written down."""
    for release in RELEASES:
        recording = load(release)
        assert sorted(recording) == ["events", "headers", "records", "said", "told", "workflows", "writes"]
        assert all(recording.values())
        states = {kind.removeprefix("task ") for kind in recording["records"]}
        assert states >= {"PENDING", "SUCCESS", "FAILURE", "REVOKED", "IGNORED", "REJECTED", "LOST"}
        assert states <= set(State)


# --- Records -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", kept("records"))
def test_records_of_every_release_are_read(stored: dict[str, str]) -> None:
    """Each makes a snapshot that fits the schema, for everybody and for staff, with what was stored in it."""
    record = Record.from_hash(as_stored(stored))
    assert (str(record.seq), record.state, record.owner) == (stored["seq"], stored["state"], stored.get("owner", ""))
    for staff in (False, True):
        assert wrong_in_snapshot(record.snapshot(staff=staff)) == []


@pytest.mark.parametrize("stored", kept("records", RELEASES[-1:]))
def test_a_record_says_the_same_with_a_field_of_a_later_release(stored: dict[str, str]) -> None:
    """What this code does not know changes nothing."""
    assert Record.from_hash(as_stored({**stored, **LATER})) == Record.from_hash(as_stored(stored))


@pytest.mark.parametrize("name", [field.name for field in fields(Record) if field.name not in ALWAYS])
def test_a_record_without_any_one_field_is_read(name: str) -> None:
    """An earlier worker did not write it; a later one may not."""
    for stored in (param.values[0] for param in kept("records", RELEASES[-1:])):
        snapshot = Record.from_hash(as_stored({key: stored[key] for key in stored if key != name})).snapshot()
        assert wrong_in_snapshot(snapshot) == []
        assert snapshot["state"] == stored["state"]


@pytest.mark.parametrize("stored", kept("workflows"))
def test_sums_of_workflows_of_every_release_are_read(stored: dict[str, str]) -> None:
    """As many parts as were counted, with a field of a later release too."""
    workflow = Workflow.from_hash(as_stored(stored))
    counts = {name: int(value) for name, value in stored.items() if name in set(State)}
    assert sum(workflow.counts.values()) == sum(counts.values()) > 0
    assert Workflow.from_hash(as_stored({**stored, **LATER})) == workflow


# --- Events ------------------------------------------------------------------------------------------------


def taken(event: dict[str, Any]) -> bool:
    """True if a hub has a use for the event."""

    async def take() -> bool:
        hub = Hub()
        hub._take(event)
        return hub.dropped == 0

    return asyncio.run(take())


@pytest.mark.parametrize("event", kept("events"))
def test_events_of_every_release_are_taken(event: dict[str, Any]) -> None:
    """None is dropped as foreign, with a field of a later release neither; the snapshots in them fit the schema."""
    if event["type"] == "progress.control":  # for a worker: see below
        return
    assert taken(event)
    assert taken({**event, **LATER})
    for name in {"snapshot", "staff"} & event.keys():
        snapshot = groups.snapshot_in(event[name], event["id"], event["seq"])
        assert snapshot is not None
        assert wrong_in_snapshot(snapshot) == []


@pytest.mark.parametrize("event", kept("events"))
def test_events_without_what_may_be_left_out_are_taken(event: dict[str, Any]) -> None:
    """Type, id and seq are what a hint consists of."""
    needed = {name: event[name] for name in ("type", "id", "seq") if name in event}
    assert event["type"] == "progress.control" or taken(needed)


# --- Headers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", kept("headers"))
def test_headers_of_every_release_say_whose_the_task_is(headers: dict[str, Any]) -> None:
    """Owner, workflow and sender are found in them, with a field of a later release too."""
    told = sending.lineage_of(headers, headers["id"], Options())
    assert told["owner"] == headers["progress-owner"]
    assert told["tree"] == headers["progress-tree"]
    assert told["part_of"] == headers["progress-part-of"]
    assert sending.lineage_of({**headers, **LATER}, headers["id"], Options()) == told


@pytest.mark.parametrize("headers", kept("headers", RELEASES[-1:]))
def test_headers_of_somebody_who_has_none_of_ours_name_a_task_of_nobody(headers: dict[str, Any]) -> None:
    """A sender without the app: the task is followed, and belongs to nobody."""
    foreign = {name: value for name, value in headers.items() if not name.startswith("progress-")}
    told = sending.lineage_of(foreign, headers["id"], Options())
    assert (told["owner"], told["part_of"]) == ("", "")
    assert told["tree"] in {headers["root_id"], headers["id"]}


# --- Pages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", kept("said"))
def test_pages_of_every_release_are_understood(said: dict[str, Any]) -> None:
    """A page that was loaded before a deploy says what it always said; unknown fields change nothing."""
    message = messages.parse(json.dumps(said))
    assert message.type == said["type"]
    assert wrong_in_message(said, CLIENT) == []
    assert messages.parse(json.dumps({**said, **LATER})) == message


@pytest.mark.parametrize("said", kept("said", RELEASES[-1:]))
@pytest.mark.parametrize("name", ["token", "every_ms", "ref", "after"])
def test_pages_that_leave_out_what_may_be_left_out_are_understood(said: dict[str, Any], name: str) -> None:
    """What is optional was not there at some time."""
    assert messages.parse(json.dumps({key: said[key] for key in said if key != name})).type == said["type"]


@pytest.mark.parametrize("told", kept("told"))
def test_servers_of_every_release_said_what_fits_the_schema(told: dict[str, Any]) -> None:
    """Who relies on the published schema understands an earlier server too: nothing became required since."""
    assert wrong_in_message(told) == []


# --- The comparison itself ---------------------------------------------------------------------------------


def recording(*messages: dict[str, Any]) -> dict[str, dict[str, list[Any]]]:
    return {"told": one_of_each_shape((message["type"], message) for message in messages)}


OLD = {"type": "a", "id": "x", "seq": 7, "at": None, "more": 1}
BEFORE = recording(OLD, {"type": "a", "id": "y", "seq": 8, "at": "t"})


@pytest.mark.parametrize(
    ("now", "missed"),
    [
        (recording({"type": "a", "id": "x", "seq": 7, "at": "t", **LATER}), []),
        (recording({"type": "a", "id": "17", "seq": 7, "at": None}), []),
        (recording({"type": "b"}), ["told: a is gone"]),
        (recording({"type": "a", "id": "x", "at": "t"}), ["told: a always had .seq, and has it no longer"]),
        (
            recording({"type": "a", "id": "x", "seq": "7", "at": "t"}),
            ["told: a had .seq as ['number'], and has it as ['digits']"],
        ),
    ],
    ids=["a field more", "an id of digits", "no such message", "a field less", "another type"],
)
def test_what_a_later_release_may_not_do_is_noticed(now: Any, missed: list[str]) -> None:
    """Fields may come. None that was always there may go, and none may become something else."""
    assert not_kept(BEFORE, now) == missed


def test_json_inside_a_text_is_looked_into() -> None:
    """A record keeps parts of its snapshot as text, and so does an event."""
    shape = shape_of({"body": '"id":"x","total":null', "staff": ""})
    assert shape == {".body": "object", ".body.id": "text", ".body.total": "null", ".staff": "object"}
