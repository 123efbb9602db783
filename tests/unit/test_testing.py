"""The kit for the tests of a site: no Redis, no worker, no waiting, and nothing is left out."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from django.contrib.auth.models import Permission, User
from hypothesis import given
from hypothesis import strategies as st

import progress
from progress import groups, publisher, testing
from progress import store as stores
from progress.exceptions import ProgressError
from progress.memory_store import MemoryStore
from progress.store import get_store
from progress.testing import Communicator, Told, collect, in_memory
from tests.acted import ActedTask
from tests.unit.test_hooks import fresh_app

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def app() -> Celery:
    return fresh_app()


@pytest.fixture
def rows(app: Celery) -> Any:
    """A task as a site has it."""

    @app.task(name="tests.rows")
    @progress.options(title="{count} rows", unit="rows", show_result=True)
    def rows(count: int = 3) -> int:
        for number in progress.track(range(count)):
            progress.log(f"Row {number}", level="WARNING" if number else "INFO")
        return count

    return rows


def user(pk: int = 1, **changes: Any) -> Any:
    """Somebody who is logged in; the database is not asked."""
    known = {"pk": pk, "is_anonymous": False, "is_active": True, "is_staff": False, "is_superuser": False}
    return SimpleNamespace(**{**known, **changes})


# --- collect() ---------------------------------------------------------------------------------------------


def test_every_change_of_a_task_is_told_in_order(rows: Any) -> None:
    """One snapshot per call that changes something, however fast they follow; the result is kept."""
    told = collect(rows, 2)
    assert [(each["state"], each["current"]) for each in told] == [
        ("STARTED", 0),
        ("PROGRESS", 0),  # the total became known
        ("PROGRESS", 0),  # a line
        ("PROGRESS", 1),
        ("PROGRESS", 1),  # a line
        ("PROGRESS", 2),
        ("SUCCESS", 2),
    ]
    assert told.states == ["STARTED", "PROGRESS", "SUCCESS"]
    assert told.fractions == [None, 0, 0.5, 0.9999, 1]
    assert told.logs == [("INFO", "Row 0"), ("WARNING", "Row 1")]
    assert told.get() == 2
    assert told.last["result"] == 2
    assert told.last["title"] == "2 rows"
    assert told.ends == [told[-1]]
    assert [each["seq"] for each in told] == sorted({each["seq"] for each in told})


@given(st.lists(st.tuples(st.sampled_from(["advance", "update", "log"]), st.integers(0, 99)), max_size=40))
def test_nothing_is_sampled_and_nothing_is_merged(calls: list[tuple[str, int]]) -> None:
    """As many snapshots as calls, and one each for the start and the end."""

    def body() -> None:
        for name, value in calls:
            getattr(progress, name)(value)

    told = collect(body)
    changes = [call for call in calls if call != ("advance", 0)]
    assert len(told) == len(changes) + 2
    assert [text for _, text in told.logs] == [str(value) for name, value in calls if name == "log"]


def test_a_function_is_called_as_the_body_of_a_task() -> None:
    """What it reports is told; what it returns is kept."""

    def reads(lines: list[str]) -> str:
        progress.update(message="Reading")
        return "".join(progress.track(lines))

    told = collect(reads, lines=["a", "b"])
    assert told.get() == "ab"
    assert told.messages == ["", "Reading"]
    assert told.last["name"].endswith("reads")
    assert told.last["fraction"] == 1
    assert progress.reporter().job.key == "", "afterwards no task is running"


@pytest.mark.parametrize("as_a_task", [True, False])
def test_a_failure_is_told_and_raised_when_asked_for(app: Celery, as_a_task: bool) -> None:
    """`collect` itself does not raise, so that what was told can be looked at."""

    def fails() -> None:
        progress.advance(7)
        raise ValueError("no such row")

    told = collect(app.task(name="tests.fails")(fails) if as_a_task else fails)
    assert told.states == ["STARTED", "PROGRESS", "FAILURE"]
    assert told.last["error"] == {"type": "error"}
    assert told.staff[-1]["error"] == {"type": "ValueError", "message": "no such row"}
    with pytest.raises(ValueError, match="no such row"):
        told.get()


def test_a_block_collects_whatever_is_run_in_it(app: Celery, rows: Any) -> None:
    """Tasks that are applied, also by other tasks, each with its own snapshots."""

    @app.task(name="tests.outer")
    def outer() -> None:
        progress.log("outer")
        rows.apply(args=[1])
        progress.advance()

    with collect() as told:
        outer.apply()
        inside = len(told)
        rows.apply(args=[1], task_id="mine")
    assert {each["name"] for each in told} == {"tests.outer", "tests.rows"}
    assert [each["state"] for each in told.of("mine")] == ["STARTED", *["PROGRESS"] * 3, "SUCCESS"]
    assert len(told.of("tests.outer")) + len(told.of("tests.rows")) == len(told)
    assert len(told.ends) == 3
    assert len(told) > inside
    assert told.logs == [("INFO", "outer"), ("INFO", "Row 0"), ("INFO", "Row 0")]
    with pytest.raises(ProgressError, match="nothing to call"):
        told.get()


def test_a_task_that_is_sent_is_told_as_queued(app: Celery, rows: Any) -> None:
    """`delay()` leaves a record; with a broker in memory nobody runs it."""
    with collect() as told:
        task_id = rows.delay(3).id
    assert [(each["id"], each["state"]) for each in told] == [(task_id, "PENDING")]


def test_what_happens_after_the_block_is_not_told(rows: Any) -> None:
    """It ends where it ends."""
    with in_memory():
        with collect() as told:
            rows.apply()
        before = len(told)
        rows.apply()
    assert len(told) == before


def test_threads_of_a_task_are_told_completely() -> None:
    """Each call of each thread, and the exact sum."""

    def body() -> None:
        mine = progress.reporter()
        threads = [threading.Thread(target=lambda: [mine.advance() for _ in range(50)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    told = collect(body)
    assert told.last["current"] == 200
    assert [each["current"] for each in told] == sorted(each["current"] for each in told)


def test_the_next_step_after_a_cancel_raises() -> None:
    """A test can cancel at a place of its choice and see the body clean up."""
    cleaned: list[bool] = []

    def rows() -> Iterator[int]:
        yield 1
        told.cancel()
        yield 2
        yield 3

    def body() -> None:
        try:
            for _ in progress.track(rows()):
                pass
        finally:
            cleaned.append(True)
            progress.log("cleaned up")

    with collect() as told:
        inner = collect(body)
    assert inner.states == told.states == ["STARTED", "PROGRESS", "REVOKED"]
    assert told.last["cancel_requested"]
    assert cleaned == [True]
    assert told.logs == [("INFO", "cleaned up")]
    with pytest.raises(progress.TaskCancelled):
        inner.get()


def test_nothing_told_is_an_error_that_says_why() -> None:
    """A test that looks at nothing fails instead of passing."""
    with collect() as told, pytest.raises(ProgressError, match="was the task run eagerly"):
        _ = told.last
    with pytest.raises(ProgressError, match="inside of collect"):
        told.cancel("t")


def test_a_told_says_what_happened(rows: Any) -> None:
    """Its text is what a failed assertion shows."""
    assert repr(collect(rows, 1)).splitlines()[:2] == ["Told:", "tests.rows STARTED 0 ''"]


# --- in_memory() -------------------------------------------------------------------------------------------


def test_neither_redis_nor_a_thread_is_used(settings: Any, rows: Any) -> None:
    """Whatever the settings say: an address where nothing is, and no thread is there that was not before."""
    settings.PROGRESS_STORE = "redis"
    settings.PROGRESS_REDIS_URL = "redis://127.0.0.1:1/0"
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": ["redis://127.0.0.1:1/0"]},
        }
    }
    publisher.stop()
    threads = set(threading.enumerate())
    with in_memory() as store:
        result = rows.apply(args=[3])
        record = store.load(result.id)
        assert record is not None
        assert (record.state, get_store()) == ("SUCCESS", store)
        assert type(groups.layer()).__name__ == "InMemoryChannelLayer"
        assert set(threading.enumerate()) <= threads
    assert type(groups.layer()).__name__ == "RedisPubSubChannelLayer"


def test_everything_is_as_before_afterwards() -> None:
    """Store, publisher and layer, also after an error; blocks may be nested."""

    def found() -> list[Any]:
        return [stores._stores, publisher._publisher, groups.layer()]

    def breaks() -> None:
        with in_memory() as outer:
            with in_memory() as inner:
                assert get_store() is inner is not outer
            assert get_store() is outer
            raise KeyError

    before = found()
    with pytest.raises(KeyError):
        breaks()
    assert all(now is then for now, then in zip(found(), before, strict=True))


def test_a_store_of_ones_own_is_used() -> None:
    """A subclass that counts or fails, a clock."""
    mine = MemoryStore(clock=lambda: 1_000_000)
    with in_memory(mine) as store:
        assert store is mine
        assert get_store().now() == 1_000_000


def test_views_see_what_was_collected(rows: Any, client: Any, db: None) -> None:
    """A site's views and the collected snapshots come from one store."""
    owner = User.objects.create(username="owner")
    client.force_login(owner)
    with in_memory(), progress.owner(owner):
        told = collect(rows, 1)
        assert client.get(f"/progress/{told.last['id']}/").json() == told.last
        assert [each["id"] for each in client.get("/progress/?mine=1").json()["items"]] == [told.last["id"]]


# --- Communicator ------------------------------------------------------------------------------------------


async def test_a_task_is_watched_as_by_a_browser() -> None:
    """What is stored is shown at once, and the end is the end."""
    with in_memory():
        task = ActedTask("t", owner="1").queue()
        async with Communicator(user()) as client:
            answer = await client.watch("t")
            assert (answer["type"], answer["items"][0]["may"]) == ("watching", ["watch", "cancel"])
            assert (await client.next("t"))["state"] == "PENDING"
            task.run(1, 2)
            assert (await client.next("t"))["fraction"] == 0.5
            task.run(2, 2)
            task.end()
            assert (await client.end("t"))["fraction"] == 1
            assert client.heard[0] == answer


async def test_a_task_that_runs_meanwhile_is_watched(rows: Any) -> None:
    """Applied in a thread beside the client, and in its own loop."""
    with in_memory(), progress.owner(user()):
        async with Communicator(user()) as client:
            for number, run in enumerate((rows.apply, lambda **given: asyncio.to_thread(rows.apply, **given))):
                task_id = f"t{number}"
                ActedTask(task_id, owner="1").queue()
                await client.watch(task_id)
                if answer := run(args=[50], task_id=task_id):
                    await answer if asyncio.iscoroutine(answer) else None
                end = await client.end(task_id)
                assert (end["state"], end["current"]) == ("SUCCESS", 50)


async def test_nobody_sees_what_is_not_theirs() -> None:
    """Nobody and another user are refused as for a task that does not exist; a token helps; so does the address."""
    with in_memory():
        ActedTask("t", owner="1").queue()
        for other in (None, user(2)):
            async with Communicator(other) as client:
                known, unknown = await client.watch("t"), await client.watch("nothing")
                assert (known["type"], known["code"]) == ("refused", "not_found")
                assert {**known, "ids": [], "ref": ""} == {**unknown, "ids": [], "ref": ""}
                assert (await client.cancel("t"))["code"] == "not_found"
                with pytest.raises(AssertionError, match=r"Expected a snapshot of t within 0.1 s"):
                    await client.next("t", seconds=0.1)
        async with Communicator() as client:
            assert (await client.watch("t", token=progress.watch_token("t")))["type"] == "watching"
            assert (await client.next("t"))["state"] == "PENDING"
        async with Communicator(user(), task_id="t") as client:
            assert (await client.next("t"))["state"] == "PENDING"


async def test_a_refusal_ends_the_waiting() -> None:
    """Who waits for what is refused is told so at once."""
    with in_memory():
        async with Communicator() as client:
            await client.say("watch", ids=["t"])
            with pytest.raises(AssertionError, match="Expected a snapshot of t, got not_found"):
                await client.next("t")


async def test_a_close_is_said() -> None:
    """A frame that is no message closes with 4400, and waiting says so."""
    with in_memory():
        async with Communicator(user()) as client:
            await client._line.send_input({"type": "websocket.receive", "text": "[]"})
            with pytest.raises(AssertionError, match="closed with 4400"):
                await client.next("t")
            assert client.close_code == 4400


async def test_cancelling_reaches_the_store() -> None:
    """The answer says that the wish was recorded."""
    with in_memory() as store:
        ActedTask("t", owner="1").queue().run(1, 2)
        async with Communicator(user()) as client:
            assert (await client.cancel("t"))["type"] == "accepted"
        record = store.load("t")
        assert record is not None
        assert record.control == "1"


@pytest.mark.django_db(transaction=True)
async def test_staff_see_the_staff_view() -> None:
    """Their permissions are looked up as on a site."""
    with in_memory():
        ActedTask("t", owner="owner").queue().run(1, 2)
        person = await User.objects.acreate(username="staff", is_staff=True)
        async with Communicator(person) as client:
            assert (await client.watch("t"))["type"] == "refused"
        permission = await Permission.objects.aget(codename="view_taskrun")
        await person.user_permissions.aadd(permission)
        person = await User.objects.aget(pk=person.pk)
        async with Communicator(person) as client:
            await client.watch("t")
            assert "worker" in await client.next("t")


async def test_clients_leave_nothing_behind() -> None:
    """After the last one no task of the event loop is left, and the next test has a hub of its own."""
    before = asyncio.all_tasks()
    with in_memory():
        ActedTask("t", owner="1").queue()
        async with Communicator(user()) as one, Communicator(user()) as two:
            await one.watch("t")
            await two.watch("t")
    assert asyncio.all_tasks() == before


# --- The plugin --------------------------------------------------------------------------------------------


def test_the_fixtures_give_a_store_and_what_was_told(
    progress_store: MemoryStore, progress_told: Told, rows: Any
) -> None:
    """Both are of this test alone, and of one another."""
    assert len(progress_told) == 0
    rows.apply(task_id="t")
    assert progress_told.states[-1] == "SUCCESS"
    assert progress_store.load("t") is not None


SUITE = {
    "conftest.py": 'pytest_plugins = ["progress.pytest_plugin"]\n',
    "test_without.py": """
import sys, threading

def test_nothing_is_loaded():
    assert "progress.testing" not in sys.modules
    assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
""",
    "test_with.py": """
import django
from django.conf import settings

def test_fixtures(progress_told):
    import progress
    from progress.testing import collect
    collect(lambda: progress.log("a line"))
    assert progress_told.logs == [("INFO", "a line")]
""",
}
SETTINGS = """
SECRET_KEY = "k"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "progress"]
"""


@pytest.mark.parametrize(
    "plugins", ["-p no:asyncio", "-p no:asyncio -p no:django"], ids=["with pytest-django", "alone"]
)
def test_a_suite_that_uses_no_fixture_is_not_changed(tmp_path: Path, plugins: str) -> None:
    """The plugin loads nothing until a fixture is asked for, and needs no other plugin."""
    for name, text in {**SUITE, "site_settings.py": SETTINGS}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "conftest.py").write_text(SUITE["conftest.py"] + "import django\ndjango.setup()\n")
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:randomly", *plugins.split()]
    env = {"DJANGO_SETTINGS_MODULE": "site_settings", "PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": ""}
    files = [str(tmp_path / name) for name in ("test_without.py", "test_with.py")]
    done = subprocess.run(
        [*command, "-c", "/dev/null", "--rootdir", str(tmp_path), "-p", "no:cacheprovider", *files],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_kit_needs_no_server() -> None:
    """A site that serves its sockets with something else than Daphne can load it."""
    script = """
import sys
sys.modules["daphne"] = None
import django
django.setup()
import progress.testing
print("loaded")
"""
    env = {"DJANGO_SETTINGS_MODULE": "django.conf.global_settings", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "loaded\n", done.stderr


def test_the_kit_is_a_list() -> None:
    """Its public names, each with a promise."""
    assert testing.__all__ == sorted(testing.__all__, key=lambda name: (name[0].islower(), name))
    assert all(getattr(testing, name).__doc__ for name in testing.__all__)


@pytest.mark.django_db
def test_record_runs_writes_the_history_of_a_test() -> None:
    """A site tests what it does with `run_finished` without a server."""
    from progress.models import TaskRun
    from progress.testing import record_runs
    from tests import jobs

    with in_memory():
        jobs.quick.apply()
        assert record_runs() > 0
        assert record_runs() == 0
    assert list(TaskRun.objects.values_list("name", "state")) == [("tests.jobs.quick", "SUCCESS")]
