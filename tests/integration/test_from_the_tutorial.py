"""`docs/from-the-tutorial.md` is run as it stands: its consumer, its page script, its checks of a layer."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from channels.layers import channel_layers, get_channel_layer
from channels.testing import WebsocketCommunicator
from redis import Redis as Client

import progress
from progress.publisher import get_publisher
from progress.reporter import Job, Reporter
from progress.snapshot import State
from progress.store import Write, get_store
from tests.processes import wait_until

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "from-the-tutorial.md"
OWNER = SimpleNamespace(pk=7, is_active=True, is_staff=False, is_anonymous=False)
STRANGER = SimpleNamespace(pk=8, is_active=True, is_staff=False, is_anonymous=False)


def block(first_line: str, language: str = "python") -> str:
    """The block of the page that begins with this comment."""
    found = re.search(rf"```{language}\n({re.escape(first_line)}.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, f"the page has no block that begins with {first_line!r}"
    return found[1]


def executed(code: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), namespace)
    return namespace


def layer_settings(first_line: str, url: str) -> dict[str, Any]:
    code = block(first_line).replace("redis://127.0.0.1:6379/0", url)
    layers: dict[str, Any] = executed(code)["CHANNEL_LAYERS"]
    return layers


@pytest.fixture
async def tutorial_layer(redis_url: str, settings: Any) -> AsyncIterator[str]:
    """The page's pub/sub layer, on the tests' Redis."""
    settings.CHANNEL_LAYERS = layer_settings("# settings.py: pub/sub", redis_url)
    settings.PROGRESS_IDLE_INTERVAL = 0.1  # seconds; this consumer tells no worker that it watches
    yield redis_url
    # This loop's connections end with it: nobody else can close them.
    await get_store().aclose()
    await get_channel_layer().flush()


def page_consumer() -> Any:
    """The consumer of the page. Its database access is of no use here: it is given the user."""
    return executed(block("# consumers.py"))["BarConsumer"]


def open_as(user: Any, task_id: str) -> WebsocketCommunicator:
    socket = WebsocketCommunicator(page_consumer().as_asgi(), f"/ws/bar/{task_id}/")
    socket.scope["user"] = user
    socket.scope["url_route"] = {"kwargs": {"task_id": task_id}}
    return socket


def running_task(task_id: str) -> Reporter:
    """A task of the owner's in this process, followed by the real publisher."""
    publisher = get_publisher()
    job = Job(key=progress.key(task_id), name="tests.bar", exec="e1", options=options(), owner="7")
    reporter = Reporter(job, publisher.wake)
    publisher.follow(reporter)
    wait_until(lambda: get_store().load(job.key) is not None, 10, "the task is stored")
    return reporter


def options() -> Any:
    from progress.options import Options

    return Options(unit="rows", show_result=True)


async def until(socket: WebsocketCommunicator, **wanted: Any) -> list[dict[str, Any]]:
    """All snapshots up to one that is as `wanted`."""
    shown = []
    async with asyncio.timeout(15):
        while True:
            shown.append(json.loads(await socket.receive_from(timeout=15)))
            if wanted.items() <= shown[-1].items():
                return shown


def test_the_consumer_is_as_short_as_the_tutorials() -> None:
    """Whoever reads it has read thirty lines, blank ones not counted."""
    code = block("# consumers.py")
    body = next(node for node in ast.parse(code).body if isinstance(node, ast.ClassDef))
    lines = [line for line in code.splitlines()[body.lineno - 1 :] if line.strip()]
    assert len(lines) <= 30


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("task_id", ["nightly-report", "ünïcode id"])
async def test_the_tutorials_consumer_follows_a_task_on_our_group(tutorial_layer: str, task_id: str) -> None:
    """It shows what is known, then everything newer up to the end, in order, whatever the id looks like."""
    task = await asyncio.to_thread(running_task, task_id)
    task.update(current=1, total=3)
    socket = open_as(OWNER, task_id)
    accepted, _ = await socket.connect(timeout=10)
    assert accepted
    task.update(current=2, message="Two")
    shown = await until(socket, current=2, message="Two")
    task.update(current=3)
    task.become(State.SUCCESS, result="all of it")
    shown += await until(socket, state="SUCCESS", final=True, fraction=1, result="all of it")
    numbers = [snapshot["seq"] for snapshot in shown]
    assert numbers == sorted(set(numbers))
    await socket.disconnect()


@pytest.mark.django_db(transaction=True)
async def test_the_tutorials_consumer_shows_the_end_to_a_late_comer(tutorial_layer: str) -> None:
    """A page that is opened after the end shows it: the record is read, nothing has to be sent."""
    task = await asyncio.to_thread(running_task, "over")
    task.become(State.SUCCESS)
    await asyncio.to_thread(wait_until, lambda: get_store().load("over").ended, 10, "the end is stored")
    socket = open_as(OWNER, "over")
    assert (await socket.connect(timeout=10))[0]
    assert [snapshot["state"] for snapshot in await until(socket, final=True)] == ["SUCCESS"]
    await socket.disconnect()


@pytest.mark.django_db(transaction=True)
async def test_the_tutorials_consumer_turns_strangers_away(tutorial_layer: str) -> None:
    """Somebody else's task and one that does not exist are refused alike."""
    await asyncio.to_thread(running_task, "private")
    for user, task_id in ((STRANGER, "private"), (OWNER, "no-such-task")):
        accepted, _ = await open_as(user, task_id).connect(timeout=10)
        assert not accepted


@pytest.mark.django_db(transaction=True)
async def test_the_tutorials_consumer_reads_when_a_hint_has_no_snapshot(tutorial_layer: str) -> None:
    """An event without `snapshot` makes it look at the record."""
    task = await asyncio.to_thread(running_task, "hinted")
    task.update(current=1)
    socket = open_as(OWNER, "hinted")
    assert (await socket.connect(timeout=10))[0]
    await until(socket, current=1)
    record = get_store().load("hinted")
    answer = get_store().write(Write("cancel", "hinted", {"by": "7"}))
    assert answer.head.seq > record.seq
    event = {"type": "progress.update", "v": 1, "id": "hinted", "seq": answer.head.seq}
    await get_channel_layer().group_send(progress.group_name("hinted"), event)
    assert (await until(socket, cancel_requested=True))[-1]["seq"] == answer.head.seq
    await socket.disconnect()


# --- The page's script -------------------------------------------------------------------------------------

STUB = """
const bar = {dataset: {task: "some-id"}, nextElementSibling: {}, value: 0};
const sockets = [];
globalThis.document = {querySelector: (selector) => (selector === "progress[data-task]" ? bar : null)};
Object.defineProperty(globalThis, "location", {value: {origin: "https://site.example:8443"}});
globalThis.WebSocket = class { constructor(url) { this.url = url; sockets.push(this); } };
const {readFileSync} = await import("node:fs");
(0, eval)(readFileSync(0, "utf8"));
const tell = (snapshot) => sockets[0].onmessage({data: JSON.stringify(snapshot)});
tell({fraction: null, state: "PENDING", message: ""});
const before = bar.value;
tell({fraction: 0.63, state: "PROGRESS", message: "<b>Reading</b>"});
const text = bar.nextElementSibling.textContent;
console.log(JSON.stringify({url: sockets[0].url, before, value: bar.value, text}));
"""


@pytest.mark.needs_node
def test_the_pages_script_moves_the_bar() -> None:
    """Five lines connect to the consumer's address and show bar and message, the message as text."""
    script = block("const bar", "js")
    assert len(script.strip().splitlines()) == 5
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", STUB],
        input=script,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "url": "wss://site.example:8443/ws/bar/some-id/",
        "before": 0,
        "value": 0.63,
        "text": "PROGRESS <b>Reading</b>",
    }


# --- The checks of a layer ---------------------------------------------------------------------------------

LAYERS = ["# settings.py: pub/sub", "# settings.py: core", "# settings.py: in memory"]


@pytest.mark.parametrize("first_line", LAYERS)
def test_the_check_for_every_layer_hears_itself(
    first_line: str, redis_url: str, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pasted into a shell, the second check prints its message on each of the page's three layers."""
    settings.CHANNEL_LAYERS = layer_settings(first_line, redis_url)
    executed(block("# in the shell, for every layer"))
    assert capsys.readouterr().out == "{'type': 'hello.there'}\n"


def test_the_tutorials_check_answers_on_the_core_layer(
    redis_url: str, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """`send`, then `receive`: the core layer has kept the message."""
    settings.CHANNEL_LAYERS = layer_settings("# settings.py: core", redis_url)
    executed(block("# in the shell\n"))
    output = capsys.readouterr().out
    assert ast.literal_eval(output)["type"] == "hello.there"


async def test_the_tutorials_check_waits_on_pub_sub_until_somebody_sends_again(tutorial_layer: str) -> None:
    """What was sent before anybody had subscribed is gone; a `receive` subscribes and hears the next."""
    layer = channel_layers.make_backend("default")
    await layer.send("hello", {"type": "hello.there"})
    waiting = asyncio.ensure_future(layer.receive("hello"))
    client = Client.from_url(tutorial_layer)
    try:
        await asyncio.to_thread(wait_until, lambda: client.pubsub_channels(), 10, "receive has subscribed")
        # From here on it would hear whatever is published; the first message is not among it.
        done, _ = await asyncio.wait([waiting], timeout=1)
        assert not done
        await layer.send("hello", {"type": "hello.again"})
        async with asyncio.timeout(10):
            assert (await waiting)["type"] == "hello.again"
    finally:
        waiting.cancel()
        await layer.flush()
        client.close()
