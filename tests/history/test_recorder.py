"""The history says what happened to every run, whoever dies on the way."""

from __future__ import annotations

import json
import sqlite3
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from progress import recorder as module
from progress import redis_changes
from progress.exceptions import StoreUnavailable
from progress.models import TaskRun
from progress.recorder import Recorder
from progress.redis_store import RedisStore
from progress.signals import run_finished
from progress.store import Write, get_store
from tests import jobs
from tests.processes import Site, wait_until
from tests.watching import end_of, send

in_database = pytest.mark.django_db(transaction=True)
ENDS = {
    "quick": (jobs.quick, "SUCCESS"),
    "fails": (jobs.fails, "FAILURE"),
    "ignores": (jobs.ignores, "IGNORED"),
    "rejects": (jobs.rejects, "REJECTED"),
    "retries": (jobs.retries, "SUCCESS"),
    "dies": (jobs.dies, "FAILURE"),
}


def row(site: Site, task_id: str) -> dict[str, Any]:
    """What the site's database says about a run; {} if it says nothing."""
    with closing(sqlite3.connect(site.data / "db.sqlite3", timeout=20)) as database:
        database.row_factory = sqlite3.Row
        found = database.execute("SELECT * FROM task_progress_taskrun WHERE task_id = ?", [task_id]).fetchone()
        return dict(found) if found else {}


@pytest.fixture
def recorded(site: Site) -> Site:
    """A site that has been visited: its server records from then on."""
    urllib.request.urlopen(site.url + "/healthz", timeout=10).close()
    return site


@pytest.fixture
def store(redis_url: str) -> RedisStore:
    found = get_store()
    assert isinstance(found, RedisStore)
    return found


@pytest.fixture
def recorder(store: RedisStore) -> Iterator[Recorder]:
    made = Recorder()
    yield made
    made.close()


@pytest.fixture
def heard() -> Iterator[list[tuple[str, int, str]]]:
    """What `run_finished` said: id, attempt, state."""
    told: list[tuple[str, int, str]] = []

    def hear(run: TaskRun, **_: Any) -> None:
        assert not connection.in_atomic_block, "the row must be committed when others hear of it"
        told.append((run.task_id, run.attempt, run.state))

    run_finished.connect(hear)
    yield told
    run_finished.disconnect(hear)


def tell(store: RedisStore, write: Write) -> None:
    """Write, however long a busy machine takes."""

    def told() -> bool:
        try:
            return store.write(write).now > 0
        except StoreUnavailable:
            return False

    wait_until(told, 10, "it is written")


def life(store: RedisStore, key: str, *states: str, **told: Any) -> None:
    """Have Redis told what a sender and a worker would tell."""
    texts = {"body": f'"id":"{key}","name":"shop.report"', "owner": "7", "history": 1}
    tell(store, Write("queue", key, {**texts, **told}))
    for number, state in enumerate(states, 1):
        fence = 0 if number == 1 else _fence(store, key)
        tell(store, Write("save", key, {"exec": "e", "fence": fence, "n": number, "state": state, **texts}))


def _fence(store: RedisStore, key: str) -> int:
    record = store.load(key)
    return record.fence if record else 0


def waiting(store: RedisStore) -> int:
    """How many changes nobody has written down."""
    return int(store.client(1).xlen(f"{store.prefix}:changes"))


# --- With the whole site -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ENDS)
def test_every_end_is_in_the_history(recorded: Site, kind: str) -> None:
    """However a task ends, the table says so within seconds, and no worker or sender has touched the database."""
    job, state = ENDS[kind]
    task_id = send(job)
    end_of(task_id)
    wait_until(lambda: row(recorded, task_id).get("state") == state, 15, f"the history says {state}")
    found = row(recorded, task_id)
    assert found["name"] == f"tests.jobs.{job.name.rpartition('.')[2]}"
    assert found["finished_at"]
    assert json.loads(found["public"])["final"]


def test_what_a_task_was_called_with_is_in_the_history(recorded: Site) -> None:
    """By name, also where it was given by position; but nothing that is hidden."""
    task_id = send(jobs.count, 3, seconds=0.0)
    wait_until(lambda: row(recorded, task_id).get("arguments") is not None, 15, "its arguments are kept")
    told = json.loads(row(recorded, task_id)["arguments"])
    assert told == {"given": {"steps": 3, "seconds": 0.0}, "hidden": [], "left_out": []}


# --- Whoever dies ----------------------------------------------------------------------------------------------


@in_database
def test_change_that_a_dead_recorder_has_read_is_written_by_another(
    store: RedisStore, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, heard: list[tuple[str, int, str]]
) -> None:
    """It died between reading and writing; nothing is lost, and a finished run is told."""
    life(store, "t", "STARTED", "SUCCESS")
    dead = store.open_changes()
    assert len(dead.read(100, 0)) == 3
    assert recorder.record() == 0
    monkeypatch.setattr(redis_changes, "TAKE_OVER_AFTER", 0.0)
    monkeypatch.setattr(redis_changes, "TAKE_OVER_EVERY", 0.0)
    assert recorder.record() == 3
    assert TaskRun.objects.get().state == "SUCCESS"
    assert heard == [("t", 1, "SUCCESS")]
    assert waiting(store) == 0
    dead.close()


@in_database
def test_end_is_told_again_by_whoever_takes_over_after_the_row_was_written(
    store: RedisStore, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, heard: list[tuple[str, int, str]]
) -> None:
    """At least once: a process that dies after its commit may not have told anybody."""
    life(store, "t", "SUCCESS")

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_tell", die)
        with pytest.raises(KeyboardInterrupt):
            recorder.record()
    assert TaskRun.objects.get().state == "SUCCESS"
    monkeypatch.setattr(redis_changes, "TAKE_OVER_AFTER", 0.0)
    other = Recorder()
    other.record()
    other.close()
    assert heard == [("t", 1, "SUCCESS")]


@in_database
def test_database_that_is_away_delays_the_history_and_loses_nothing(
    store: RedisStore, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read waits in the recorder, what was not waits in Redis."""
    life(store, "t", "SUCCESS")
    real, failures = module._save_together, [1, 2]

    def away(changes: Any) -> Any:
        if failures:
            failures.pop()
            raise OperationalError("database is locked")
        return real(changes)

    monkeypatch.setattr(module, "_save_together", away)
    monkeypatch.setattr(module, "RETRY_AFTER", (0.01,))
    assert recorder.record() == 2
    assert TaskRun.objects.get().state == "SUCCESS"


@in_database
def test_recorder_goes_on_when_redis_was_emptied(store: RedisStore, recorder: Recorder) -> None:
    """The stream and its group are gone; they come back with the next read."""
    life(store, "before", "SUCCESS")
    recorder.record()
    store.client(1).flushall()
    life(store, "after", "SUCCESS")
    wait_until(lambda: recorder.record() == 2, 5, "the next changes are read")
    assert set(TaskRun.objects.values_list("task_id", "state")) == {("before", "SUCCESS"), ("after", "SUCCESS")}


@in_database
def test_change_that_cannot_be_kept_does_not_hold_up_the_others(
    store: RedisStore, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody damaged it; what is beside it is written, and the log names it."""
    life(store, "good", "SUCCESS")
    client, name = store.client(1), f"{store.prefix}:changes"
    client.xadd(name, {"key": "bad", "seq": "5", "state": "SUCCESS", "body": '"id":'})
    client.xadd(name, {"nothing": "of ours"})
    recorder.record()
    assert list(TaskRun.objects.values_list("task_id", flat=True)) == ["good"]
    assert "'bad' cannot be kept" in caplog.text
    assert waiting(store) == 0


@in_database
def test_two_recorders_share_the_work(store: RedisStore) -> None:
    """Both write, each row once, and none is torn."""
    for number in range(300):
        life(store, f"t{number}", "STARTED", "SUCCESS")
    recorders = [Recorder(), Recorder()]
    threads = [threading.Thread(target=each.run) for each in recorders]
    for thread in threads:
        thread.start()
    wait_until(lambda: waiting(store) == 0, 60, "everything is written")
    for each, thread in zip(recorders, threads, strict=True):
        each.stop()
        thread.join(10)
    assert TaskRun.objects.count() == 300
    assert set(TaskRun.objects.values_list("state", flat=True)) == {"SUCCESS"}
    assert {len(found.states) for found in TaskRun.objects.all()} == {3}


# --- What is missing ---------------------------------------------------------------------------------------------


@in_database
def test_end_that_was_never_told_is_found_by_looking_again(
    store: RedisStore, recorder: Recorder, heard: list[tuple[str, int, str]]
) -> None:
    """The stream is short of room for as long as nobody records; a row must not say "started" for ever."""
    life(store, "t", "STARTED")
    recorder.record()
    store.write(
        Write("save", "t", {"exec": "e", "fence": _fence(store, "t"), "n": 9, "state": "SUCCESS", "owner": "7"})
    )
    store.client(1).delete(f"{store.prefix}:changes")
    recorder.look_again()
    assert TaskRun.objects.get().state == "SUCCESS"
    assert heard == [("t", 1, "SUCCESS")]


@in_database
def test_run_that_redis_knows_nothing_of_is_lost_in_the_history_too(
    store: RedisStore, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody writes its record again, so nobody runs it. A sign of life that comes later takes it back."""
    from progress import history

    life(store, "t", "STARTED")
    recorder.record()
    fence = _fence(store, "t")
    store.client(1).delete(f"{store.prefix}:task:t")
    recorder.look_again()
    assert TaskRun.objects.get().state == "STARTED", "a lost record comes back within seconds"
    monkeypatch.setattr(history, "GONE_AFTER", history.dt.timedelta(0))
    recorder.look_again()
    assert TaskRun.objects.get().state == "LOST"
    store.write(
        Write(
            "save",
            "t",
            {
                "exec": "e",
                "fence": fence,
                "n": 9,
                "age": 60_000_000,  # it began before it was given up
                "state": "SUCCESS",
                "owner": "7",
                "history": 1,
                "body": '"id":"t"',
            },
        )
    )
    wait_until(lambda: recorder.record() > 0, 5, "the end is told")
    assert [step.state for step in TaskRun.objects.get().timeline] == ["PENDING", "STARTED", "LOST", "SUCCESS"]


def test_nothing_is_kept_where_nobody_records(store: RedisStore, settings: Any) -> None:
    """A site without a history pays nothing for it in Redis; neither does a task that is to have none."""
    settings.PROGRESS_RECORDER = ""
    life(store, "t", "SUCCESS")
    settings.PROGRESS_RECORDER = "server"
    life(store, "private", "SUCCESS", history=0)
    assert waiting(store) == 0 or {change.key for change in store.open_changes().read(9, 0)} == set()


# --- Looked up, told, forgotten ------------------------------------------------------------------------------------


@in_database
def test_end_that_redis_lost_is_known_from_the_history(store: RedisStore, recorder: Recorder) -> None:
    """A replica took over that had not heard of it: the task is not presumed lost."""
    from progress import history

    client, name = store.client(1), f"{store.prefix}:task:t"
    life(store, "t", "STARTED")
    replica = client.dump(name)
    end = {"exec": "e", "fence": _fence(store, "t"), "n": 2, "state": "SUCCESS", "owner": "7", "body": '"id":"t"'}
    tell(store, Write("save", "t", end))
    recorder.record()
    client.delete(name)
    client.restore(name, 0, replica)
    behind = store.load("t")
    assert behind is not None
    verdict = history.end_of("t", behind)
    assert verdict is not None
    assert store.write(verdict).accepted
    assert (found := store.load("t")) is not None
    assert found.state == "SUCCESS"
    assert history.end_of("unknown", behind) is None


@in_database
def test_end_of_the_night_before_is_no_end_of_tonight(store: RedisStore, recorder: Recorder) -> None:
    """The id is used again after Redis has forgotten it; a worker that was killed tonight has not succeeded."""
    from progress import history

    life(store, "nightly", "STARTED", "SUCCESS")
    recorder.record()
    store.client(1).delete(f"{store.prefix}:task:nightly")
    life(store, "nightly", "STARTED")
    tonight = store.load("nightly")
    assert tonight is not None
    assert history.end_of("nightly", tonight) is None
    recorder.record()
    assert list(TaskRun.objects.order_by("run").values_list("run", "state")) == [(1, "SUCCESS"), (2, "STARTED")]
    assert history.end_of("nightly", tonight) is None


@in_database
def test_redis_that_goes_away_after_the_commit_does_not_make_all_be_told_again(
    store: RedisStore, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, heard: list[tuple[str, int, str]]
) -> None:
    """What is repeated then is only to say that it is done."""
    life(store, "t", "SUCCESS")
    real, failures = redis_changes.RedisChanges.done, [1, 2, 3]

    def away(changes: Any, done: Any) -> None:
        if failures:
            failures.pop()
            raise StoreUnavailable
        real(changes, done)

    monkeypatch.setattr(redis_changes.RedisChanges, "done", away)
    monkeypatch.setattr(module, "RETRY_AFTER", (0.01,))
    assert recorder.record() == 2
    assert heard == [("t", 1, "SUCCESS")]
    assert waiting(store) == 0


@in_database
def test_receivers_that_take_their_time_are_not_doubled_by_another_recorder(
    store: RedisStore, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, heard: list[tuple[str, int, str]]
) -> None:
    """Whoever is still telling says so; nobody takes that over."""
    for number in range(10):
        life(store, f"t{number}", "SUCCESS")
    monkeypatch.setattr(redis_changes, "TAKE_OVER_EVERY", 0.0)
    monkeypatch.setattr(module, "KEEP_EVERY", 0.0)
    other = store.open_changes()
    taken: list[Any] = []

    def take_a_minute(**_: Any) -> None:
        taken.extend(other.read(100, 0.0))
        a_minute_passes(store)

    run_finished.connect(take_a_minute)
    try:
        recorder.record()
    finally:
        run_finished.disconnect(take_a_minute)
        other.close()
    assert taken == []
    assert len(heard) == 10


def a_minute_passes(store: RedisStore) -> None:
    """As far as Redis knows since when somebody has read what is not done."""
    name, client = f"{store.prefix}:changes", store.client(10)
    for each in client.xpending_range(name, redis_changes.GROUP, "-", "+", 100):
        client.xclaim(name, redis_changes.GROUP, each["consumer"], 0, [each["message_id"]], idle=60_000, justid=True)


@in_database
def test_change_that_the_database_never_takes_does_not_hold_up_the_others(
    store: RedisStore, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Some databases call a value that they cannot keep an operational error, as they call being away."""
    life(store, "good", "SUCCESS")
    life(store, "odd", "SUCCESS")
    real = module._save_together

    def refuse(changes: Any) -> Any:
        if any(change.key == "odd" for change in changes):
            raise OperationalError("Incorrect string value")
        return real(changes)

    monkeypatch.setattr(module, "_save_together", refuse)
    recorder.record()
    assert list(TaskRun.objects.values_list("task_id", flat=True)) == ["good"]
    assert "'odd' cannot be kept" in caplog.text


@in_database
def test_run_that_was_superseded_while_nobody_recorded_does_not_stay_open(
    store: RedisStore, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end was dropped from the stream, and its id is used again by now."""
    from progress import history

    life(store, "t", "STARTED")
    recorder.record()
    store.write(
        Write("save", "t", {"exec": "e", "fence": _fence(store, "t"), "n": 9, "state": "SUCCESS", "owner": "7"})
    )
    life(store, "t", "STARTED")  # Redis calls this the second run
    monkeypatch.setattr(history, "GONE_AFTER", history.dt.timedelta(0))
    recorder.look_again()
    assert list(TaskRun.objects.values_list("run", "state")) == [(1, "LOST")]


@in_database
def test_one_round_fails_at_once_where_the_database_is_away(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduled command must not wait for ever; what was not written waits in Redis."""
    life(store, "t", "SUCCESS")

    def away(_: Any) -> Any:
        raise OperationalError("no such table")

    monkeypatch.setattr(module, "_save_together", away)
    monkeypatch.setattr(module, "_database_takes_writes", lambda: False)
    with pytest.raises(CommandError, match=r"manage\.py migrate"):
        call_command("record_runs", "--once")
    assert waiting(store) == 2


@in_database
def test_receiver_that_fails_keeps_nobody_from_hearing(
    store: RedisStore, recorder: Recorder, heard: list[tuple[str, int, str]], caplog: pytest.LogCaptureFixture
) -> None:
    """Its error is logged with its name; the run is told to the others and not again."""

    def fail(**_: Any) -> None:
        raise ValueError("no mail today")

    run_finished.connect(fail)
    try:
        life(store, "t", "FAILURE")
        recorder.record()
    finally:
        run_finished.disconnect(fail)
    assert heard == [("t", 1, "FAILURE")]
    assert "no mail today" in caplog.text
    assert recorder.record() == 0


@in_database
def test_old_runs_are_pruned_and_running_ones_stay(
    store: RedisStore, recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    """`manage.py prune_runs` says how many; a run that goes on is history only when it is over."""
    life(store, "over", "SUCCESS")
    life(store, "runs", "STARTED")
    call_command("record_runs", "--once")
    call_command("prune_runs", "--days", "1")
    call_command("prune_runs", "--days", "0")
    assert capsys.readouterr().out.split("\n")[:3] == ["4 changes written.", "0 runs deleted.", "1 runs deleted."]
    assert list(TaskRun.objects.values_list("task_id", flat=True)) == ["runs"]


@in_database
def test_recorder_of_a_server_ends_with_it(store: RedisStore) -> None:
    """One thread per process, however often it is asked for; it leaves when it is told to."""
    module.start_in_server()
    module.start_in_server()
    assert module._here is not None
    _, _, thread = module._here
    assert [each.name for each in threading.enumerate()].count("progress-recorder") == 1
    life(store, "t", "SUCCESS")
    wait_until(lambda: TaskRun.objects.filter(state="SUCCESS").exists(), 10, "it records")
    module.stop_in_server()
    wait_until(lambda: not thread.is_alive(), 5, "it has ended")


def test_process_that_records_ends_at_sigterm(own_site: Site, tmp_path: Path) -> None:
    """`manage.py record_runs` is a program for a process manager."""
    import signal
    import subprocess
    import sys

    from tests.processes import ROOT

    process = subprocess.Popen([sys.executable, "manage.py", "record_runs"], cwd=ROOT, env=own_site.env)
    own_site.web.kill()  # nobody else writes now
    task_id = send(jobs.quick)
    wait_until(lambda: row(own_site, task_id).get("state") == "SUCCESS", 30, "the command records")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
