"""The documents say what the code does: settings, wire, commands, and the Python that they show."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from celery import Task
from celery.utils.log import get_task_logger
from django import urls as django_urls
from django.conf import settings as django_settings
from django.core.management import get_commands, load_command_class
from django.urls import resolve

import progress
from progress import consumers, control, conversation, groups, heart, messages, publisher, urls
from progress.conf import NAMES, conf
from progress.options import NAMES as OPTIONS
from progress.options import Options
from progress.record import Record
from progress.reporter import Job, Reporter, outcome
from progress.rules import apply
from progress.snapshot import FINAL, State
from progress.stages import Standing
from progress.store import get_store

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "bench" / "README.md", *sorted(DOCS.rglob("*.md"))]
# Settings whose default is worked out from others; the page says how in words.
WORKED_OUT = {"PROGRESS_CHANNEL_LAYER", "PROGRESS_ORIGINS", "PROGRESS_REDIS_URL"}
# What the protocol names and this version does not speak; the page says so.
RESERVED_FIELDS = {"children"}


def read(page: str) -> str:
    return (ROOT / page).read_text()


def section(page: str, heading: str) -> str:
    """The part of a page below a heading, up to the next of the same or a higher level."""
    found = re.search(rf"^(#+) {re.escape(heading)}$", text := read(page), re.MULTILINE)
    assert found, f"{page} has no heading {heading!r}"
    below = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", below, re.MULTILINE)
    return below[: end.start()] if end else below


def rows(text: str) -> list[list[str]]:
    """The rows of the tables in `text`, without heads and rules."""
    lines = [line.strip() for line in text.splitlines()]
    found = []
    for before, line in zip(["", *lines], lines, strict=False):
        is_row = line.startswith("|") and not re.fullmatch(r"[|\s:-]+", line)
        is_head = not before.startswith("|")
        if is_row and not is_head:
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))])
    return found


def names(cell: str) -> list[str]:
    """What stands in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def keyed(text: str) -> dict[str, list[str]]:
    """Table rows by the name in the first cell."""
    return {name: cells for cells in rows(text) for name in names(cells[0])[:1]}


# --- Settings ----------------------------------------------------------------------------------------------


@pytest.fixture
def bare_settings(settings: Any) -> Any:
    """No setting of ours is set."""
    for name in NAMES:
        if hasattr(settings, name):
            delattr(settings, name)
    return settings


def test_every_setting_is_documented_once() -> None:
    """The settings page lists all settings, and nothing that is none."""
    listed = [names(cells[0])[0] for cells in rows(read("docs/settings.md")) if "PROGRESS_" in cells[0]]
    site = [name for name in listed if listed.count(name) > 1]
    assert sorted(set(listed)) == sorted(NAMES)
    # The environment of the shipped site repeats a name, nothing else does.
    assert set(site) <= set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', read("project/settings.py")))


def test_documented_defaults_are_the_defaults(bare_settings: Any) -> None:
    """What the settings page calls a default is what an unset setting gives."""
    table = keyed(read("docs/settings.md").split("\n## ")[0])
    literal = {name: ast.literal_eval(names(cells[1])[0]) for name, cells in table.items() if name not in WORKED_OUT}
    assert literal == {name: getattr(conf, name) for name in NAMES if name not in WORKED_OUT}


def test_worked_out_defaults_are_worked_out_as_documented(bare_settings: Any) -> None:
    """Layer, Redis and origins are taken from where the settings page says."""
    bare_settings.CSRF_TRUSTED_ORIGINS = ["https://a.example"]
    bare_settings.CHANNEL_LAYERS = {"default": {"CONFIG": {"hosts": [{"address": "redis://one:1/0"}]}}}
    assert (conf.PROGRESS_CHANNEL_LAYER, conf.PROGRESS_REDIS_URL) == ("default", "redis://one:1/0")
    assert conf.PROGRESS_ORIGINS == ["https://a.example"]
    bare_settings.CHANNEL_LAYERS = {**bare_settings.CHANNEL_LAYERS, "progress": {}}
    assert conf.PROGRESS_CHANNEL_LAYER == "progress"


def test_the_shipped_sites_environment_is_documented() -> None:
    """Every variable that the shipped site reads stands on the settings page, and no other."""
    read_by_settings = re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', read("project/settings.py"))
    said_by_run = re.search(r"environment: ([A-Z_, ]+)", read("project/run.py"))
    assert said_by_run
    documented = {name for cells in rows(section("docs/settings.md", "The shipped site")) for name in names(cells[0])}
    assert documented == {*read_by_settings, *re.findall("[A-Z_]+", said_by_run[1])}


def test_every_option_of_a_task_is_documented_with_its_default() -> None:
    """The table of options is that of `Options`."""
    table = keyed(section("docs/reporting.md", "What is shown"))
    documented = {name: ast.literal_eval(names(cells[1])[0]) for name, cells in table.items()}
    assert documented == {name: getattr(Options(), name) for name in OPTIONS}


# --- The wire ----------------------------------------------------------------------------------------------


def record_with_everything() -> list[Record]:
    """A task that ended well and one that failed, both with every field that there can be, and one that waits."""
    shown = Options(unit="rows", show_error=True, show_result=True, stall_after=60, cancellable=False)
    ended = []
    for state, end in (
        (State.SUCCESS, outcome(shown, task="tasks.any", result={"rows": 3})),
        (State.FAILURE, outcome(shown, task="tasks.any", error=ValueError("no"))),
    ):
        reporter = Reporter(Job(key="k", name="n", exec="e", options=shown, worker="w@host", root="k"))
        reporter.update(current=3, total=3, meta={"a": 1, "private": {"b": 2}})
        reporter.stages({f"stage {place}": 1 for place in range(50)})
        args = {"exec": "e", "fence": 0, "n": 1, "state": state, **reporter.texts(state), **end}
        _, record = apply(None, "save", args, 1_700_000_000_000_000)
        assert record is not None
        ended.append(record)
    _, waiting = apply(None, "queue", {"queue": "reports", **reporter.texts(State.PENDING)}, 1_700_000_000_000_000)
    assert waiting is not None
    return [*ended, waiting]


def test_the_snapshot_table_has_every_field_and_no_other() -> None:
    """Fields on the wire and fields in the protocol page are the same, in both views."""
    documented = set(keyed(section("docs/protocol.md", "Snapshot").split("\n### ")[0]))
    snapshots = [record.snapshot(staff=True) for record in record_with_everything()]
    assert set().union(*snapshots) == documented
    public = set().union(*[record.snapshot() for record in record_with_everything()])
    assert documented - public == {"worker"}


def test_members_of_a_stage_are_documented() -> None:
    """The table of stages has what a stage can have, with the standings that there are."""
    reporter = Reporter(Job(key="k", name="n", exec="e", options=Options()))
    with reporter.stage("first"):
        pass
    with reporter.stage("outer"), reporter.stage("inner"):
        reporter.update(current=1, total=2)
        listed = Record(state="PROGRESS", **reporter.texts(State.PROGRESS)).snapshot()["stages"]
    table = keyed(section("docs/protocol.md", "Stages"))
    assert set(table) == set().union(*listed)
    assert names(table["state"][2]) == [str(standing) for standing in Standing]


def test_the_example_is_a_snapshot_as_it_is_sent() -> None:
    """The page's example has the fields of a running task, in their order on the wire."""
    example = re.search(r"```json\n(.*?)```", section("docs/protocol.md", "Snapshot"), re.DOTALL)
    assert example
    reporter = Reporter(Job(key="k", name="n", exec="e", options=Options()))
    args = {"exec": "e", "fence": 0, "n": 1, "state": "PROGRESS", **reporter.texts(State.PROGRESS)}
    _, record = apply(None, "save", args, 1_700_000_000_000_000)
    assert record is not None
    assert list(ast.literal_eval(_as_python(example[1]))) == list(record.snapshot())


def _as_python(text: str) -> str:
    return re.sub(r"\b(true|false|null)\b", lambda word: {"null": "None"}.get(word[0], word[0].title()), text)


def test_the_states_are_documented_with_what_is_final() -> None:
    """Every state stands in the table, and "final" says which are."""
    table = keyed(section("docs/protocol.md", "States"))
    assert set(table) == {state.value for state in State}
    assert {name for name, cells in table.items() if cells[1] == "yes"} == {state.value for state in FINAL}


def test_the_event_in_a_group_is_documented() -> None:
    """The table of the group has the fields of an event."""
    assert set(keyed(section("docs/protocol.md", "The group"))) == set(groups.hint("k", 1, "{}", "{}"))


def test_client_messages_are_documented_with_their_fields() -> None:
    """Each message that the server understands, with what it needs and what it may have."""
    table = keyed(section("docs/protocol.md", "Client to server"))
    documented = {name: (frozenset(names(cells[1])), frozenset(names(cells[2]))) for name, cells in table.items()}
    assert documented == dict(messages._FORMS)


def test_server_messages_are_documented() -> None:
    """Each message and each refusal that the server can send stands on the page, and no other."""
    source = "".join(Path(module.__file__ or "").read_text() for module in (consumers, conversation))
    source += read("progress/outbox.py") + read("progress/log_tails.py") + read("progress/tree_watches.py")
    sent = set(re.findall(r'_say\("(\w+)"|"type": ?"(\w+)"|"type":"(\w+)"', source))
    told = {name for found in sent for name in found if name}
    documented = {names(cells[0])[0] for cells in _server_table()[0]}
    assert documented == told
    refusals = set(re.findall(r'_refuse\([^"\n]*"(\w+)"|_take_token\(message, "(\w+)"|"code": "(\w+)"', source))
    refusals |= {(decision.code,) for decision in vars(control).values() if isinstance(decision, control.Decision)}
    refusals |= set(re.findall(r'_drop_what_is_over\((?:self, )?"(\w+)"|_drop_what_is_over, "(\w+)"', source))
    assert {names(cells[0])[0] for cells in _server_table()[1]} == {
        name for found in refusals for name in found if name
    }


def _server_table() -> tuple[list[list[str]], list[list[str]]]:
    text = section("docs/protocol.md", "Server to client").split("### ")[0]
    first, _, second = text.partition("\n| refusal | |")
    return rows(first), rows("\n| refusal | |" + second)


def test_close_codes_are_those_of_the_consumer() -> None:
    """Every code that the consumer closes with is in the table; 1000 is the client's."""
    documented = {int(cells[0]) for cells in rows(section("docs/protocol.md", "Close codes"))}
    codes = {
        consumers.RESTART,
        consumers.PROTOCOL,
        consumers.SESSION,
        consumers.ORIGIN,
        consumers.NOTHING_HERE,
        consumers.TOO_MANY,
        consumers.FAILED,
    }
    assert documented == {1000, *codes}


def test_limits_are_those_of_the_code() -> None:
    """The numbers in the table of limits are the ones that are applied."""
    limits = {
        cells[0]: cells[1] for cells in rows("\n| limit | |\n" + section("docs/protocol.md", "Client to server"))
    }
    assert limits["a frame"].startswith(f"{messages.MAX_FRAME_BYTES // 1024} KB")
    assert f"{messages.FRAMES_PER_SECOND:.0f} per second sustained, {messages.BURST} at once" in limits["frames"]
    assert limits["ids in one message"] == str(messages.MAX_IDS)
    ids = f"{messages.IDS_PER_SECOND:.0f} per second sustained, {messages.IDS_BURST} at once"
    assert ids in limits["ids in all messages"]
    promised = re.search(r"at least every ([0-9]+) s", section("docs/protocol.md", "Server to client"))
    assert promised
    assert int(promised[1]) > heart.HEARTBEAT
    assert f"waits {consumers.TOKEN_WAIT:.0f} s for a first message" in section("docs/protocol.md", "WebSocket")


def test_http_addresses_are_routed() -> None:
    """Every address in the table of HTTP leads to a view, and every view stands in it."""
    requests = [names(cells[0])[0] for cells in rows(section("docs/protocol.md", "HTTP"))]
    paths = [request.split()[1].split("?")[0].replace("<id>", "some-id") for request in requests]
    assert {resolve(path).url_name for path in paths} == {pattern.name for pattern in urls.urlpatterns}


def test_what_is_called_missing_is_missing() -> None:
    """The list of what is not there yet is not out of date."""
    snapshots = [record.snapshot(staff=True) for record in record_with_everything()]
    assert not RESERVED_FIELDS & set().union(*snapshots)
    found = {pattern.name for pattern in urls.urlpatterns}
    assert found == {"several", "snapshot", "events", "cancel", "words", "healthz", "readyz"}
    listed = section("docs/protocol.md", "Not there yet")
    assert all(word in listed for word in ("metrics", "4408"))


# --- Commands ----------------------------------------------------------------------------------------------


def test_documented_commands_exist_with_their_options() -> None:
    """Whatever a page says to give to `manage.py` is a command, and its options are options."""
    ours = {name for name, app in get_commands().items() if app == "progress"}
    named = {found for page in PAGES for found in re.findall(r"manage\.py (\w+)", page.read_text())}
    assert ours <= named
    assert named <= set(get_commands())
    for cells in rows(section("docs/protocol.md", "Command line")):
        usage = names(cells[0])[0]
        parser = load_command_class("progress", usage.split()[1]).create_parser("manage.py", usage.split()[1])
        known = {option for action in parser._actions for option in action.option_strings}
        assert set(re.findall(r"--[\w-]+", usage)) <= known, usage


def test_documented_make_targets_exist() -> None:
    """Whatever a page says to make can be made."""
    targets = set(re.findall(r"^([a-z][\w-]*):", read("Makefile"), re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"`make ([a-z-]+)`", page.read_text())}
    named |= {target for page in PAGES for target in re.findall(r"^make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    assert named
    assert named <= targets


# --- Python and links --------------------------------------------------------------------------------------


def python_blocks(page: str) -> Iterator[Any]:
    text = read(page)
    for found in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
        line = text[: found.start()].count("\n") + 2
        yield pytest.param(page, line, found[1], id=f"{page}:{line}")


def a_sensible_namespace() -> dict[str, Any]:
    """What the examples take for granted: rows to read, somewhere to put them, a user, a site to be added to."""
    from celery import shared_task

    work = dict.fromkeys(("store", "work", "check", "digest", "keep"), lambda *_args: None)
    return {
        "__name__": "examples",
        "shared_task": shared_task,
        "progress": progress,
        "read": lambda _source: ["a", "b", ""],
        "open_target": MagicMock(),
        "pages_kept": lambda: 1,
        "pages_from": _pages_from,
        "asyncio": asyncio,
        "ThreadPoolExecutor": ThreadPoolExecutor,
        "get_task_logger": get_task_logger,
        "convert": MagicMock(),
        "user": SimpleNamespace(pk=1),
        "INSTALLED_APPS": [],
        "MIDDLEWARE": [],
        "urlpatterns": [],
        "include": django_urls.include,
        "path": django_urls.path,
        "application": MagicMock(),
        **work,
    }


async def _pages_from(start: str) -> AsyncIterator[str]:
    for page in range(3):
        yield f"{start}/{page}"


# What the examples define, and how it is then called. All else does what it does when the block is executed.
CALLS: dict[str, tuple[Any, ...]] = {
    "import_rows": ("file.csv",),
    "convert": (30,),
    "sync_accounts": (),
    "checksum": ([b"a", b"b"],),
    "load": ("file.csv",),
    "mirror": (["a", "b", "c"],),
    "crawl": ("start",),
    "thumbnails": (["a", "b"],),
    "check_and_store": ("file.csv",),
    "reindex": (["a", ""],),
    "clean": (["a", ""],),
    "monthly": ("May",),
    "export": (["a", "b"],),
    "old_style": (["a", "b"],),
    "nightly": (SimpleNamespace(pk=1),),
    "invite": ("some-id",),
    "digest_all": ([b"a", b"b"],),
}


@pytest.fixture
def own_tasks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tasks that are made here are unknown afterwards; the publisher that followed them ends."""
    from celery import _state, current_app

    before = set(current_app.tasks)
    monkeypatch.setattr(_state, "_on_app_finalizers", set(_state._on_app_finalizers))
    yield
    publisher.stop()
    for name in set(current_app.tasks) - before:
        current_app.tasks.pop(name)


@pytest.mark.parametrize(("page", "line", "code"), [*python_blocks("README.md"), *python_blocks("docs/reporting.md")])
def test_python_examples_run(page: str, line: int, code: str, own_tasks: None) -> None:
    """Every Python block in README and the page on reporting runs; its tasks succeed and are followed to the end."""
    namespace = a_sensible_namespace()
    before = dict(namespace)
    exec(compile("\n" * (line - 1) + code, page, "exec"), namespace)
    for name in [name for name in CALLS if namespace.get(name) is not before.get(name)]:
        made = namespace[name]
        if not isinstance(made, Task):
            made(*CALLS[name])
            continue
        result = made.apply(args=CALLS[name], throw=True)
        publisher.stop()  # it has said all by then
        record = get_store().load(progress.key(result.id))
        assert record is not None
        assert record.state == State.SUCCESS


def test_every_task_on_the_page_is_called() -> None:
    """No example is only defined and never run."""
    defined = {
        name for page in ("README.md", "docs/reporting.md") for name in re.findall(r"^def (\w+)", read(page), re.M)
    }
    assert defined <= set(CALLS)
    assert "import_rows" in defined


def test_the_tutorial_layers_are_the_recommended_ones() -> None:
    """Layer settings on the two pages agree with the shipped project's."""
    shipped = _layers(read("project/settings.py"))
    assert "channels_redis.pubsub.RedisPubSubChannelLayer" in shipped
    for page in ("docs/settings.md", "docs/from-the-tutorial.md"):
        text = read(page)
        assert shipped[0] == _layers(text)[0]
        assert '"socket_keepalive": False' in text
        assert '"socket_timeout": None' in text


def _layers(text: str) -> list[str]:
    return re.findall(r'"BACKEND": "(channels[^"]+)"', text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Links between the documents, to their headings and to files of the project are not broken."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, (
                target
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    """A path of the project in backticks is one."""
    for name in re.findall(r"`((?:progress|tests|bench|docs|project|tasks|static)/[\w/.-]+\.\w+)`", page.read_text()):
        place = ROOT / "progress" / name if name.startswith("static/") else ROOT / name
        assert place.exists(), f"{page.name}: {name}"
    for path, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text()):
        assert re.search(rf"def {test}\(", (ROOT / path).read_text()), f"{page.name}: {path}::{test}"


def test_the_permissions_that_are_named_exist() -> None:
    """A permission on a page is one of the app's."""
    from progress.permissions import PERMISSIONS

    for page in PAGES:
        named = set(re.findall(r"task_progress\.\w+_taskrun", page.read_text()))
        assert named <= {*PERMISSIONS, "task_progress.delete_taskrun"}


def test_no_page_names_a_machine() -> None:
    """Documents are for everybody: no absolute path but those of a URL or a Linux system file."""
    assert django_settings.configured
    for page in PAGES:
        paths = re.findall(r"(?<![\w.<>:/])/(?:home|root|work|tmp|Users|usr|opt)/[\w/.-]*", page.read_text())
        assert not paths, f"{page.name}: {paths}"
