"""The published schemas say what the code does: no field more, none less, in both directions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import progress
from progress import consumers, heart, messages, snapshot
from progress.exceptions import StoreUnavailable
from progress.memory_store import MemoryStore
from progress.messages import BadMessage
from progress.options import Options
from progress.outcome import outcome
from progress.record import Record
from progress.reporter import Job, Reporter
from progress.snapshot import FINAL, State
from progress.stages import Standing
from progress.testing import Communicator, collect, in_memory
from progress.tokens import watch_token
from tests.acted import ActedTask
from tests.schemas import CLIENT, MESSAGES, SERVER, SNAPSHOT, SOCKET, wrong_in_message, wrong_in_snapshot
from tests.unit.test_docs import _server_table, names
from tests.unit.test_testing import user

ROOT = Path(__file__).resolve().parents[2]
TYPES = (ROOT / "progress/static/progress/protocol.d.ts").read_text()
META = ROOT / "node_modules/@asyncapi/specs/schemas/3.0.0.json"
STAGE = SNAPSHOT["$defs"]["stage"]

# --- Any snapshot that can be ------------------------------------------------------------------------------

texts = st.text(max_size=1000)
counts = st.one_of(st.integers(-10, 2**70), st.floats(), st.none())
times = st.sampled_from([0, 1, 1_700_000_000_000_000, 9_000_000_000_000_000])
keys = st.from_regex(snapshot.SAFE_NAME, fullmatch=True)
metas = st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=20), st.none()), max_size=3)


def _play(reporter: Reporter, calls: list[Any]) -> None:
    for name, value, other in calls:
        if name == "update":
            reporter.update(total=value, message=other, unit=other, title=other)
            reporter.update(current=value)
        elif name == "meta":
            reporter.update(meta={**value, "private": {"a": 1}})
        elif name == "plan":
            reporter.stages({other: 3, "write": 1})
        elif name == "stage":
            with reporter.stage(other), reporter.stage("inside"):
                reporter.update(current=value, total=10)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """What a store may hold, whatever was reported and however it ended."""
    options = draw(
        st.builds(
            Options,
            show_error=st.booleans(),
            show_result=st.booleans(),
            unit=texts,
            stall_after=st.one_of(st.none(), st.integers(1, 9)),
        )
    )
    job = Job(
        key=draw(keys),
        name=draw(texts),
        exec="e",
        options=options,
        title=draw(texts),
        parent=draw(st.one_of(st.none(), keys)),
        root=draw(st.one_of(st.none(), keys)),
        retries=draw(st.integers(0, 9)),
        max_retries=draw(st.one_of(st.none(), st.integers(0, 9))),
        worker=draw(texts),
    )
    reporter = Reporter(job)
    calls = st.one_of(
        st.tuples(st.sampled_from(["update", "stage", "plan"]), counts, texts),
        st.tuples(st.just("meta"), metas, texts),
    )
    _play(reporter, draw(st.lists(calls, max_size=4)))
    state = draw(st.sampled_from(State))
    ended: dict[str, Any] = {}
    if state is State.SUCCESS:
        ended = outcome(options, task="tasks.any", result=draw(st.one_of(st.none(), texts, metas, st.floats())))
    elif state is State.FAILURE:
        ended = outcome(options, task="tasks.any", error=ValueError(draw(texts)))
    known = draw(st.integers(0, 3))
    return Record(
        **{**reporter.texts(state), **ended},
        seq=draw(st.integers(1, 2**53 - 1)),
        attempt=draw(st.integers(0, 5)),
        run=draw(st.integers(1, 5)),
        state=state,
        control=draw(st.sampled_from(["", "1"])),
        queued_at=draw(times),
        started_at=draw(times),
        updated_at=draw(times.filter(bool)),
        finished_at=draw(times),
        waits=draw(st.one_of(st.just(""), keys)),
        parts_known=known,
        parts_ended=draw(st.integers(0, known)),
        parts_failed=draw(st.integers(0, known)),
        parts_weight=known * 1_000_000,
    )


@given(records(), st.booleans())
def test_every_snapshot_fits_its_schema(record: Record, staff: bool) -> None:
    """In both views, whatever a task says."""
    assert wrong_in_snapshot(record.snapshot(staff=staff)) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seq", 0),
        ("state", "DONE"),
        ("final", True),
        ("fraction", 1),
        ("fraction", 1.5),
        ("current", "3"),
        ("total", 0),
        ("updated_at", "2026-11-20 13:30:23"),
        ("id", "a b"),
        ("meta", None),
        ("stages", [{"name": "read"}]),
    ],
)
def test_what_is_no_snapshot_does_not_fit(field: str, value: Any) -> None:
    """The schema is no mere list of names."""
    good = everything()[0].snapshot() | {"state": "PROGRESS", "final": False, "fraction": 0.5}
    assert wrong_in_snapshot(good) == []
    assert wrong_in_snapshot({**good, field: value}) != []
    if field in SNAPSHOT["required"]:
        del good[field]
        assert wrong_in_snapshot(good) != []


# --- Fields, name by name ----------------------------------------------------------------------------------


def everything() -> list[Record]:
    """Records that have every field between them, and one that has as few as there can be."""
    found = []
    options = Options(show_error=True, show_result=True, stall_after=5, cancellable=False)
    for ended in (
        outcome(options, task="tasks.any", result={"rows": 3}),
        outcome(options, task="tasks.any", error=ValueError("no")),
    ):
        state = State.FAILURE if "error" in ended["outcome"] else State.SUCCESS
        reporter = Reporter(Job(key="k", name="n", exec="e", options=options, worker="w", root="k"))
        reporter.stages({f"stage {number}": 1 for number in range(60)})
        with reporter.stage("read"), reporter.stage("a part"):
            reporter.update(current=3, total=3)
            texts = {**reporter.texts(State.PROGRESS), **ended}
        found.append(Record(**texts, seq=1, state=state, updated_at=1, parts_known=2, parts_weight=2))
    brief = Reporter(Job(key="k", name="n", exec="e", options=Options()))
    with brief.stage("read"):
        pass  # few enough to have their times
    found.append(Record(**brief.texts(State.PROGRESS), seq=1, state=State.PROGRESS, updated_at=1))
    bare = Reporter(Job(key="k", name="n", exec="", options=Options()))
    waiting = Record(**bare.texts(State.PENDING), seq=1, updated_at=1, queue="reports", unserved=1)
    return [*found, waiting, Record(**bare.texts(State.PENDING), seq=1, updated_at=1)]


def test_the_schema_has_every_field_that_is_sent_and_no_other() -> None:
    """Of snapshots, of their stages, children and errors; only the staff view has `worker`."""
    staff = [record.snapshot(staff=True) for record in everything()]
    assert set().union(*staff) == set(SNAPSHOT["properties"])
    public = set().union(*(record.snapshot() for record in everything()))
    assert set(SNAPSHOT["properties"]) - public == {"worker"}
    stages = [stage for each in staff for stage in each.get("stages", ())]
    assert set().union(*stages) == set(STAGE["properties"])
    assert set(staff[0]["children"]) == set(SNAPSHOT["properties"]["children"]["properties"])
    assert set(staff[1]["error"]) == set(SNAPSHOT["properties"]["error"]["properties"])


def test_what_is_required_is_always_there() -> None:
    """In a task of which next to nothing is known, too."""
    snapshots = [record.snapshot() for record in everything()]
    always = set.intersection(*map(set, snapshots))
    nullable = {name for each in snapshots for name, value in each.items() if value is None}
    assert set(SNAPSHOT["required"]) == always - nullable - {"fraction"}
    assert set(STAGE["required"]) == {"name", "current", "weight", "state"}


def test_limits_and_states_are_those_of_the_code() -> None:
    """Lengths, the form of a key, the states, and which of them are final."""
    fields = SNAPSHOT["properties"]
    lengths = {name: fields[name]["maxLength"] for name in fields if "maxLength" in fields[name]}
    assert lengths == {
        "name": snapshot.NAME_BYTES,
        "title": snapshot.TITLE_BYTES,
        "unit": snapshot.UNIT_BYTES,
        "message": snapshot.MESSAGE_BYTES,
        "worker": snapshot.WORKER_BYTES,
    }
    assert STAGE["properties"]["name"]["maxLength"] == snapshot.STAGE_NAME_BYTES
    assert fields["id"]["pattern"] == f"^({snapshot.SAFE_NAME.pattern})$"
    assert fields["seq"]["maximum"] == snapshot.EXACT - 1
    assert fields["v"]["const"] == snapshot.VERSION
    assert fields["state"]["enum"] == [str(state) for state in State]
    assert set(SNAPSHOT["allOf"][0]["if"]["properties"]["state"]["enum"]) == set(FINAL)
    assert STAGE["properties"]["state"]["enum"] == [str(standing) for standing in Standing]
    line = MESSAGES["logs"]["payload"]["properties"]["lines"]["items"]["properties"]
    assert line["text"]["maxLength"] == snapshot.LOG_LINE_CHARACTERS


def interface(name: str) -> dict[str, str]:
    """Fields of an interface in the page's types, each with its type."""
    found = re.search(rf"export interface {name} \{{\n(.*?)\n\}}", TYPES, re.DOTALL)
    assert found, name
    return dict(re.findall(r"^  (\w+\??): (.+);$", found[1], re.MULTILINE))


def test_the_pages_types_have_the_same_fields() -> None:
    """Of snapshots and of what is in them; what may be missing is marked so."""
    fields = interface("Snapshot")
    assert {name.rstrip("?") for name in fields} == set(SNAPSHOT["properties"])
    assert {name for name in fields if not name.endswith("?")} <= set(SNAPSHOT["required"])
    parts = {
        "stages": STAGE["properties"],
        "children": SNAPSHOT["properties"]["children"]["properties"],
        "error": SNAPSHOT["properties"]["error"]["properties"],
    }
    for name, properties in parts.items():
        inside = fields[f"{name}?"]
        if named := re.match(r"(\w+)\[\]", inside):
            found = {field.rstrip("?") for field in interface(named[1])}
        else:
            found = set(re.findall(r"(\w+)\??: ", inside))
        assert found == set(properties), name
    line = MESSAGES["logs"]["payload"]["properties"]["lines"]["items"]["properties"]
    assert set(interface("LogLine")) == set(line)


def test_the_pages_types_have_the_same_messages() -> None:
    """Every message of the server, field by field; `ref` is common to all."""
    frame = re.search(r"export type Frame = (.*?);\n\n", TYPES, re.DOTALL)
    assert frame
    told = dict(re.findall(r'type: "(\w+)"; (.*?) \}\n', frame[1].replace(")", "\n")))
    assert set(told) == set(SERVER)
    for kind, fields in told.items():
        outer = re.sub(r"\{[^}]*\}", "", fields)
        assert set(re.findall(r"(\w+)\??: ", outer)) == set(MESSAGES[SERVER[kind]]["payload"]["properties"]) - {
            "type",
            "ref",
        }


# --- Client to server --------------------------------------------------------------------------------------


def test_every_message_of_a_client_has_its_schema() -> None:
    """The messages that the parser knows, what each needs and what it may have."""
    forms = {}
    for kind, name in CLIENT.items():
        payload = MESSAGES[name]["payload"]
        needed = frozenset(payload["required"]) - {"type"}
        forms[kind] = (needed, frozenset(payload["properties"]) - needed - {"type", "ref"})
    assert forms == dict(messages._FORMS)


@pytest.mark.parametrize("kind", CLIENT)
def test_examples_of_a_client_are_understood(kind: str) -> None:
    """The parser takes each of them, and so does the schema."""
    examples = [example["payload"] for example in MESSAGES[CLIENT[kind]]["examples"]]
    assert examples
    for example in examples:
        assert wrong_in_message(example, CLIENT) == []
        assert messages.parse(json.dumps(example)).type == kind


sound = {
    "ids": st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3),
    "id": st.just("a"),
    "mine": st.just(True),
    "terminate": st.just(True),
    "all": st.just(True),
    "tree": st.just("a"),
    "token": st.just("a"),
    "every_ms": st.sampled_from([0, 0.5, 250, 60_000]),
    "after": st.sampled_from(["1-0", "1763645023123-12"]),
    "ref": st.sampled_from([1, "a", [], {}]),
    "unknown": st.just(1),
}
too_many = [str(number) for number in range(501)]
odd = st.sampled_from([False, -1, 60_001, "", "x-1", "1234567890123456-0", [], [""], [1], {}, too_many])


@st.composite
def said(draw: st.DrawFn) -> dict[str, Any]:
    """A message, most fields of which are its own, and at most one of them odd."""
    kind = draw(st.sampled_from(sorted(CLIENT)))
    own = sorted(set(MESSAGES[CLIENT[kind]]["payload"]["properties"]) - {"type"})
    chosen = draw(st.sets(st.sampled_from([*own, "unknown"])))
    message = {"type": kind, **{name: draw(sound[name]) for name in sorted(chosen)}}
    if draw(st.booleans()):
        message[draw(st.sampled_from([*own, "type"]))] = draw(odd)
    return message


@settings(max_examples=500)
@given(said())
def test_the_schema_and_the_parser_agree(message: dict[str, Any]) -> None:
    """What the schema allows is understood, what it does not is refused; field by field, value by value."""
    try:
        messages.parse(json.dumps(message))
        understood = True
    except BadMessage:
        understood = False
    assert understood == (wrong_in_message(message, CLIENT) == [])


# --- Server to client --------------------------------------------------------------------------------------


def test_every_message_of_the_server_has_its_schema() -> None:
    """Those of the page on the wire, with their fields, and the codes of refusals."""
    table, refusals = _server_table()
    documented = {names(cells[0])[0]: cells[1] for cells in table}
    assert set(documented) == set(SERVER)
    for kind, cell in documented.items():
        outer = re.sub(r"`\[?\{[^`]*`", "", cell)
        listed = set(MESSAGES[SERVER[kind]]["payload"]["properties"]) - {"type", "ref"}
        assert set(names(outer)) == listed, kind
    codes = MESSAGES["refused"]["payload"]["properties"]["code"]["enum"]
    assert set(codes) == {names(cells[0])[0] for cells in refusals}


@pytest.mark.parametrize("kind", SERVER)
def test_examples_of_the_server_fit(kind: str) -> None:
    """Each message has one at least."""
    examples = [example["payload"] for example in MESSAGES[SERVER[kind]]["examples"]]
    assert examples
    assert [wrong for example in examples for wrong in wrong_in_message(example)] == []


async def a_long_conversation(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the owner of some tasks is told who says everything that can be said, until Redis is away."""
    tasks = [ActedTask(name, owner="1", tree="w").queue() for name in ("a", "b", "c", "d")]
    async with Communicator(user()) as client:
        await client.ask("ping")
        await client.watch("a", "b", every_ms=10)
        await client.watch("unknown")
        await client.watch("c", "d")
        await client.watch(mine=True)
        await client.ask("watch", tree="w")
        await client.ask("watch")
        await tasks[0].log("one", "two")
        await client.ask("logs", id="a")
        await client.ask("logs", id="a", after="1-0")
        await client.cancel("a")
        await client.ask("token", token="none")
        await client.ask("token", token=watch_token("d"))
        tasks[0].run(1, 2).end(State.FAILURE, error=ValueError("no"))
        await client.end("a")
        await client.cancel("a")
        await client.say("unwatch", all=True)

        async def away(*_args: Any) -> Any:
            raise StoreUnavailable

        monkeypatch.setattr(MemoryStore, "aload_many", away)
        await client.say("watch", ids=["another"])
        with pytest.raises(AssertionError, match="closed with 4012"):
            await client.next("another")
        return client.heard


async def test_whatever_the_server_says_fits(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Every message of a conversation in which all of them occur, and most refusals."""
    settings.PROGRESS_MAX_WATCHES = 3
    with in_memory():
        heard = await a_long_conversation(monkeypatch)
    assert {message["type"] for message in heard} == set(SERVER)
    refusals = {message["code"] for message in heard if message["type"] == "refused"}
    assert refusals >= {"not_found", "too_many", "bad_message", "expired", "ended"}
    wrong = {json.dumps(message): found for message in heard if (found := wrong_in_message(message))}
    assert wrong == {}
    for message in heard:
        assert set(message) <= set(MESSAGES[SERVER[message["type"]]]["payload"]["properties"])


def test_snapshots_that_are_collected_fit() -> None:
    """Those that a site's tests look at are the ones of the wire."""

    def body() -> None:
        with progress.stage("read"):
            for _ in progress.track("abc"):
                progress.log("a line")
        progress.update(message="Writing", meta={"a": 1})

    told = collect(body)
    assert [wrong for each in [*told, *told.staff] for wrong in wrong_in_snapshot(each)] == []


# --- The documents themselves ------------------------------------------------------------------------------


def test_the_schema_is_one() -> None:
    """It is valid by the rules of JSON Schema."""
    jsonschema.Draft202012Validator.check_schema(SNAPSHOT)
    for message in MESSAGES.values():
        jsonschema.Draft202012Validator.check_schema(message["payload"])


@pytest.mark.needs_asyncapi
def test_the_page_is_valid_by_the_rules_of_asyncapi() -> None:
    """By the schema that its authors publish."""
    meta = json.loads(META.read_text())
    assert [error.message for error in jsonschema.Draft7Validator(meta).iter_errors(SOCKET)] == []


def test_both_addresses_take_all_messages() -> None:
    """Every message is in both channels, and in one of the two directions."""
    for channel in SOCKET["channels"].values():
        assert {ref["$ref"] for ref in channel["messages"].values()} == {
            f"#/components/messages/{name}" for name in MESSAGES
        }
    assert sorted([*CLIENT.values(), *SERVER.values()]) == sorted(MESSAGES)
    assert {name: SOCKET["operations"][name]["action"] for name in ("hear", "tell")} == {
        "hear": "receive",
        "tell": "send",
    }


def test_the_addresses_lead_to_the_consumer() -> None:
    """They are routed as the page says."""
    from progress.routing import websocket_urlpatterns

    routed = {str(pattern.pattern) for pattern in websocket_urlpatterns if "progress" in str(pattern.pattern)}
    addresses = [channel["address"] for channel in SOCKET["channels"].values()]
    assert {address.lstrip("/").replace("{task_id}", "<str:task_id>") for address in addresses} == routed


def test_numbers_on_the_page_are_those_of_the_code() -> None:
    """Ids in a message, the pause between frames, the form of a cursor, the code of a planned close."""
    ids = SOCKET["components"]["schemas"]["ids"]
    assert ids["maxItems"] == messages.MAX_IDS
    assert MESSAGES["logsAfter"]["payload"]["properties"]["after"]["pattern"] == f"^{messages.CURSOR.pattern}$"
    assert MESSAGES["closing"]["examples"][0]["payload"]["code"] == consumers.RESTART
    promised = re.search(r"([0-9]+) s", MESSAGES["heartbeat"]["summary"])
    assert promised
    assert int(promised[1]) > heart.HEARTBEAT
