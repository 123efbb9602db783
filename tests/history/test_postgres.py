"""The history in a real PostgreSQL: everything that SQLite forgives, it does not."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import environ
import pytest
from django.db import connections

from progress import history
from progress import recorder as module
from progress.models import TaskRun
from progress.recorder import Recorder, write
from progress.redis_store import RedisStore
from progress.store import Change, Write, get_store
from tests import jobs
from tests.postgres import Postgres
from tests.processes import Login, Site, in_this_process, wait_until
from tests.visitor import Visitor
from tests.watching import end_of, send

pytestmark = pytest.mark.needs_postgres
ALIAS = "postgres"
ENDS = {
    "quick": (jobs.quick, "SUCCESS"),
    "fails": (jobs.fails, "FAILURE"),
    "ignores": (jobs.ignores, "IGNORED"),
    "rejects": (jobs.rejects, "REJECTED"),
    "retries": (jobs.retries, "SUCCESS"),
    "dies": (jobs.dies, "FAILURE"),
}
ODD = "nul \x00, half a pair \ud83d, whole \U0001f642, bell \x07, rtl \u202e, 'quote\" \\u0000 %s {0}"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    try:
        yield server.start()
    finally:
        server.discard()


@pytest.fixture(scope="module")
def whole(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    env = {"DATABASE_URL": postgres.url, "DJANGO_SUPERUSER_PASSWORD": uuid4().hex}
    running = Site(tmp_path_factory.mktemp("site") / "site", env=env)
    try:
        running.start()
        visitor(running).get("/healthz")  # its server records from its first connection on
        yield running
    finally:
        running.stop()


@pytest.fixture
def site(whole: Site, settings: Any) -> Iterator[Site]:
    """The whole site on PostgreSQL; its tables are there for this process as well."""
    with in_this_process(settings, whole.redis.url, whole.prefix):
        yield whole


@pytest.fixture
def store(redis_url: str) -> RedisStore:
    """A Redis whose changes the site does not see: who records them is this test's to say."""
    found = get_store()
    assert isinstance(found, RedisStore)
    return found


class ToPostgres:
    """Django's router: runs are kept there, and so are those of nothing else."""

    def db_for_read(self, model: type, **_: Any) -> str | None:
        return ALIAS if model is TaskRun else None

    db_for_write = db_for_read


@pytest.fixture
def routed(whole: Site, postgres: Postgres, settings: Any, django_db_blocker: Any) -> Iterator[None]:
    """This process keeps its runs in PostgreSQL."""
    told = connections.configure_settings(
        {"default": dict(connections.settings["default"]), ALIAS: environ.Env.db_url_config(postgres.url)}
    )
    connections.settings[ALIAS] = told[ALIAS]
    settings.DATABASE_ROUTERS = [ToPostgres()]
    with django_db_blocker.unblock():
        yield
        connections[ALIAS].close()
    del connections[ALIAS], connections.settings[ALIAS]


def visitor(site: Site, session: str = "") -> Visitor:
    return Visitor(site, Login("", 0, session, ""))


@pytest.fixture(scope="module")
def boss(whole: Site) -> Visitor:
    """A superuser who has logged in as people do."""
    whole.manage("createsuperuser", "--noinput", "--username", "boss", "--email", "boss@example.com")
    answer = visitor(whole).post("/login/", username="boss", password=whole.env["DJANGO_SUPERUSER_PASSWORD"])
    found = re.search(r"sessionid=(\w+)", " ".join(answer.headers.get_all("Set-Cookie") or []))
    assert found, answer.text
    return visitor(whole, found[1])


def row(postgres: Postgres, task_id: str) -> dict[str, Any]:
    """What the database says about a run; {} if it says nothing."""
    found = postgres.ask("SELECT * FROM task_progress_taskrun WHERE task_id = %s", [task_id])
    return found[0] if found else {}


def life(store: RedisStore, key: str) -> None:
    """Have Redis told what a sender and a worker would tell: queued, started, ended."""
    texts = {"body": f'"id":"{key}","name":"shop.report"', "owner": "7", "history": 1}
    store.write(
        Write("queue", key, {**texts, "arguments": f'{{"given":{{"key":"{key}"}},"hidden":[],"left_out":[]}}'})
    )
    store.write(Write("save", key, {"exec": "e", "fence": 0, "n": 1, "state": "STARTED", **texts}))
    record = store.load(key)
    assert record is not None
    store.write(Write("save", key, {"exec": "e", "fence": record.fence, "n": 2, "state": "SUCCESS", **texts}))


def changes_of(store: RedisStore) -> list[Change]:
    reader = store.open_changes()
    try:
        return reader.read(1000, 0)
    finally:
        reader.close()


# --- With the whole site -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ENDS)
def test_every_end_is_in_the_history(site: Site, postgres: Postgres, kind: str) -> None:
    """However a task ends, PostgreSQL says so within seconds, with its states and what it was called with."""
    job, state = ENDS[kind]
    task_id = send(job)
    end_of(task_id)
    wait_until(lambda: row(postgres, task_id).get("state") == state, 15, f"the history says {state}")
    found = row(postgres, task_id)
    assert found["name"] == f"tests.jobs.{job.name.rpartition('.')[2]}"
    assert found["finished_at"] >= found["queued_at"]
    assert found["states"][-1][2] == state
    assert found["arguments"] == {"given": {}, "hidden": [], "left_out": []}


def test_text_with_odd_characters_reaches_the_table(site: Site, postgres: Postgres, boss: Visitor) -> None:
    """PostgreSQL takes no NUL and no half of a pair: what people see in their place is what is kept."""
    task_id = send(jobs.says, ODD)
    record = end_of(task_id)
    wait_until(lambda: row(postgres, task_id).get("state") == "FAILURE", 15, "the history says so")
    found = row(postgres, task_id)
    assert found["public"] == record.text()
    assert found["title"] == record.snapshot()["title"]
    assert "whole \U0001f642" in found["title"]
    assert "\\u0000 %s {0}" in record.snapshot()["error"]["message"]
    told = found["arguments"]
    assert "text" in told["given"] or told["left_out"] == ["text"]
    page = boss.get(f"/admin/task_progress/taskrun/{task_id}/change/")
    assert page.status == 200
    assert "whole \U0001f642" in page.text


def test_admin_shows_what_is_in_postgresql(site: Site, postgres: Postgres, boss: Visitor) -> None:
    """The list, one that is filtered and searched, and the page of a run."""
    task_id = send(jobs.quick)
    wait_until(lambda: row(postgres, task_id).get("state") == "SUCCESS", 15, "it is recorded")
    pages = "/admin/task_progress/taskrun/"
    for query in ("", "?state=SUCCESS&queued=week&task=tests.jobs.quick", f"?q={task_id}", "?q=tests.jobs.quick"):
        page = boss.get(pages + query)
        assert page.status == 200, query
        assert task_id in page.text, query
    assert boss.get(f"{pages}{task_id}/change/").status == 200
    assert task_id not in boss.get(f"{pages}?state=REJECTED&q={task_id}").text.partition('id="result_list"')[2]


def test_database_that_falls_while_runs_end_loses_nothing(site: Site, postgres: Postgres) -> None:
    """It is gone for a while and recovers: every run that ended meanwhile is there, each once."""
    before = [send(jobs.quick, number) for number in range(60)]
    wait_until(lambda: row(postgres, before[0]), 15, "the first is recorded")
    postgres.kill()
    during = [send(jobs.quick, number) for number in range(60)]
    for task_id in (*before, *during):
        end_of(task_id, 30)
    postgres.start()
    wanted = dict.fromkeys((*before, *during), "SUCCESS")

    def recorded() -> list[dict[str, Any]]:
        return postgres.ask(
            "SELECT task_id, state FROM task_progress_taskrun WHERE task_id = ANY(%s)", [list(wanted)]
        )

    wait_until(lambda: {each["task_id"]: each["state"] for each in recorded()} == wanted, 30, "all are there")
    assert len(recorded()) == len(wanted)


# --- Recorders in this process -------------------------------------------------------------------------------------


def test_two_recorders_at_once_write_each_run_once_and_whole(
    routed: None, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes of one run go to both, in turns: no row is doubled, none lacks a state or its arguments."""
    monkeypatch.setattr(module, "AT_ONCE", 7)  # so that most runs are torn apart
    prefix = uuid4().hex[:8]
    keys = [f"{prefix}-{number}" for number in range(500)]
    recorders = [Recorder(), Recorder()]
    threads = [threading.Thread(target=each.run) for each in recorders]
    for thread in threads:
        thread.start()
    try:
        for key in keys:
            life(store, key)
        wait_until(lambda: not store.client(1).xlen(f"{store.prefix}:changes"), 40, "everything is written")
    finally:
        for each, thread in zip(recorders, threads, strict=True):
            each.stop()
            thread.join(10)
    rows = list(TaskRun.objects.filter(task_id__startswith=prefix))
    assert sorted(each.task_id for each in rows) == sorted(keys)
    for each in rows:
        assert [step.state for step in each.timeline] == ["PENDING", "STARTED", "SUCCESS"]
        assert each.state == "SUCCESS"
        assert each.arguments["given"] == {"key": each.task_id}


def test_row_that_two_make_at_the_same_moment_is_made_once(
    routed: None, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither finds it, both insert it: who comes second adds to what is there."""
    key = uuid4().hex
    life(store, key)
    changes = changes_of(store)
    assert len(changes) == 3
    together, waited = threading.Barrier(2, timeout=10), threading.local()

    def fold(rows: history.Rows, change: Change) -> history.Folded | None:
        if not getattr(waited, "once", False):
            waited.once = True
            together.wait()  # both have looked and nothing was there
        return history.fold(rows, change)

    monkeypatch.setattr(module, "fold", fold)
    failed: list[BaseException] = []

    def record(part: list[Change]) -> None:
        try:
            write(part)
        except BaseException as error:
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=record, args=(part,)) for part in (changes[:1], changes[1:])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not failed
    kept = TaskRun.objects.get(task_id=key)
    assert [step.state for step in kept.timeline] == ["PENDING", "STARTED", "SUCCESS"]
    assert kept.arguments["given"] == {"key": key}


def test_rows_in_opposite_order_do_not_lock_each_other_out(
    routed: None, store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Two recorders that make the same many rows at once, one in reverse, are both done without a dead lock."""
    prefix = uuid4().hex[:8]
    for number in range(300):
        life(store, f"{prefix}-{number}")
    changes = changes_of(store)
    batches = [changes[start : start + 180] for start in range(0, 900, 180)]
    together = threading.Barrier(2, timeout=10)
    failed: list[BaseException] = []

    def record(reverse: bool) -> None:
        try:
            for batch in batches:
                together.wait()
                write(batch[::-1] if reverse else batch)
        except BaseException as error:
            failed.append(error)
            together.abort()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=record, args=(reverse,)) for reverse in (False, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert not failed
    assert not caplog.records
    assert set(TaskRun.objects.filter(task_id__startswith=prefix).values_list("state", flat=True)) == {"SUCCESS"}


def test_change_that_postgresql_refuses_does_not_hold_up_the_others(
    routed: None, store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody else wrote a NUL into a name; what is beside it is written, and the log names the run."""
    keys = [uuid4().hex for _ in range(3)]
    for key in keys:
        name = "shop\\u0000report" if key == keys[1] else "shop.report"
        store.write(Write("queue", key, {"body": f'"id":"{key}","name":"{name}"', "owner": "7", "history": 1}))
    write(changes_of(store))
    found = TaskRun.objects.filter(task_id__in=keys).values_list("task_id", flat=True)
    assert set(found) == {keys[0], keys[2]}
    assert f"{keys[1]!r} cannot be kept" in caplog.text
