"""Processes that report leave in time and with everything said; forks and a Redis that is away hurt nobody."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from celery import current_app

import progress
from progress import redis_writes, sending
from progress.redis_clients import WRITE_TIMEOUT
from tests import jobs, processes
from tests.complaints import complaints
from tests.processes import ROOT, Redis, Uvicorn, Web, Worker, in_this_process, is_running, wait_until
from tests.watching import end_of, has_begun, record_of, running, send

LEAVES_WITHIN = 2.0  # seconds after its last task
STARTS_WITHIN = 20.0  # seconds; Celery's main process looks for dead children every five


@pytest.fixture
def env(redis_url: str, tmp_path: Path, settings: Any) -> dict[str, str]:
    """The environment of a process of the shipped site, on the Redis, prefix and queue of this test."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "DATA_DIR": str(tmp_path / "data"),
        "REDIS_URL": redis_url,
        "PROGRESS_PREFIX": settings.PROGRESS_PREFIX,
        "CELERY_QUEUE": settings.PROGRESS_PREFIX,
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(ROOT),
    }


@pytest.fixture
def workers(env: dict[str, str], tmp_path: Path) -> Iterator[Any]:
    """Starts workers of this test alone."""
    started: list[Worker] = []

    def start(name: str, **options: Any) -> Worker:
        started.append(Worker(tmp_path, env, name=name, **options))
        return started[-1].start()

    yield start
    for worker in started:
        worker.kill()


def states_of(*task_ids: str) -> list[str | None]:
    """The states that the store has now."""
    return [record.state if (record := record_of(task_id)) else None for task_id in task_ids]


def result_of(task_id: str, seconds: float = 20) -> Any:
    """What Celery's backend, in the broker's Redis, has as the task's result."""

    def done() -> Any:
        meta = current_app.backend.get_task_meta(task_id, cache=False)
        return meta if meta["status"] in {"SUCCESS", "FAILURE"} else None

    meta = wait_until(done, seconds, f"{task_id} is done")
    assert meta["status"] == "SUCCESS", meta
    return meta["result"]


# --- Leaving -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads", "gevent"])
def test_worker_leaves_as_soon_as_one_that_tracks_nothing(env: dict[str, str], tmp_path: Path, pool: str) -> None:
    """A warm shutdown after the last task, in every pool: Celery's own time, and less than a second for us.

    Tried up to three times: a machine may stand still once.
    """
    for _ in range(3):
        if (longer := leaves_later(env, tmp_path, pool)) < 1.0:
            break
    assert longer < 1.0


def leaves_later(env: Mapping[str, str], folder: Path, pool: str) -> float:
    """By how many seconds a worker leaves later than one beside it that tracks nothing."""
    settings = {"ours": "project.settings", "untracked": "tests.untracked_settings"}
    workers = {
        name: Worker(
            folder,
            {**env, "DJANGO_SETTINGS_MODULE": module, "CELERY_QUEUE": name},
            name=name,
            pool=pool,
            concurrency=1,
        ).start(wait=False)
        for name, module in settings.items()
    }
    left: dict[str, float] = {}
    try:
        for worker in workers.values():
            worker.wait_ready()
        ids = [send(jobs.count, 3, options={"queue": name}) for name in settings]
        assert [result_of(task_id) for task_id in ids] == [3, 3]
        assert end_of(ids[0]).state == "SUCCESS"
        for worker in workers.values():
            worker.signal(signal.SIGTERM)
        began = time.monotonic()

        def gone() -> bool:
            for name, worker in workers.items():
                if not worker.alive:
                    left.setdefault(name, time.monotonic() - began)
            return len(left) == 2

        wait_until(gone, 15, "both have left")
        assert [worker.returncode for worker in workers.values()] == [0, 0]
    finally:
        for worker in workers.values():
            worker.kill()
    return left["ours"] - left["untracked"]


def test_worker_that_is_told_to_leave_says_the_last_state_of_its_task(workers: Any) -> None:
    """A task that ends during the warm shutdown is shown as ended."""
    worker = workers("leaving", concurrency=1)
    task_id = send(jobs.count, 20, 0.02)
    has_begun(task_id)
    assert worker.stop(20) == 0
    record = record_of(task_id)
    assert record is not None
    assert (record.state, record.snapshot()["current"]) == ("SUCCESS", 20)


def test_child_that_is_replaced_leaves_in_time(workers: Any) -> None:
    """With a new child per task nothing is lost, and no old child lingers."""
    workers("recycling", concurrency=1, args=["--max-tasks-per-child", "1"])
    pids = []
    for _ in range(3):
        record = end_of(send(jobs.count, 3), STARTS_WITHIN)
        assert record.state == "SUCCESS"
        pids.append(int(record.process.partition("-")[0]))
    assert len(set(pids)) == 3
    for pid in pids[:-1]:
        wait_until(lambda pid=pid: not is_running(pid), LEAVES_WITHIN, f"child {pid} has left")


EAGER = """
import sys, time, asyncio, os
import django; django.setup()
from asgiref.sync import sync_to_async
from tests import jobs
ids = sys.argv[1:]

def run(task_id, steps=3):
    jobs.count.apply((steps, 0.001), task_id=task_id)
"""

PROGRAMS = {
    "script": EAGER + "\nfor task_id in ids: run(task_id)\n",
    "event loop": EAGER
    + """
async def main():
    run(ids[0])
    await asyncio.gather(*(sync_to_async(run, thread_sensitive=False)(task_id) for task_id in ids[1:]))
asyncio.run(main())
""",
    "thread": EAGER
    + """
import threading
threads = [threading.Thread(target=run, args=(task_id,)) for task_id in ids]
for thread in threads: thread.start()
for thread in threads: thread.join()
""",
    "exit by error": EAGER + "\nfor task_id in ids: run(task_id)\nprint(time.time()); 1 / 0\n",
    "sys.exit": EAGER + "\nfor task_id in ids: run(task_id)\nprint(time.time()); sys.exit(3)\n",
}


def leave(command: list[str], env: Mapping[str, str], folder: Path) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a program that prints the time (s) as its last act; the answer is how long it took to leave after that.

    It is run up to three times until that is in time: a machine may stand still once.
    """
    for _ in range(3):
        done = subprocess.run(
            command, cwd=folder, env=dict(env), capture_output=True, text=True, timeout=60, check=False
        )
        left = time.time()
        times = [line for line in done.stdout.splitlines() if line.replace(".", "", 1).isdigit()]
        assert times, f"It did not come to its end:\n{done.stdout}\n{done.stderr}"
        if (took := left - float(times[-1])) < LEAVES_WITHIN:
            break
    return done, took


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_that_runs_tasks_itself_leaves_in_time_with_everything_said(
    env: dict[str, str], tmp_path: Path, name: str
) -> None:
    """Any Python program: nothing to close, nothing to wait for, and the last state is in the store."""
    script, ids = tmp_path / "program.py", [uuid4().hex for _ in range(4)]
    script.write_text(PROGRAMS[name] + "\nprint(time.time())\n")
    _, took = leave([sys.executable, str(script), *ids], env, tmp_path)
    assert took < LEAVES_WITHIN
    for task_id in ids:
        record = record_of(task_id)
        assert record is not None, "the process left before its task was written"
        assert (record.state, record.snapshot()["current"]) == ("SUCCESS", 3)


def test_shell_that_sends_and_reports_leaves_in_time(env: dict[str, str]) -> None:
    """``manage.py shell -c``: one task sent, one run there."""
    sent, ran = uuid4().hex, uuid4().hex
    code = (
        "import time; from tests import jobs; "
        f"jobs.count.apply_async((3,), task_id={sent!r}); jobs.count.apply((3,), task_id={ran!r}); print(time.time())"
    )
    _, took = leave([sys.executable, str(ROOT / "manage.py"), "shell", "-c", code], env, ROOT)
    assert took < LEAVES_WITHIN
    assert states_of(sent, ran) == ["PENDING", "SUCCESS"]


def test_test_suite_leaves_in_time(env: dict[str, str], tmp_path: Path) -> None:
    """A pytest run whose tests run tasks ends when its tests do."""
    task_id = uuid4().hex
    (tmp_path / "test_one.py").write_text(
        "import time\n\n\ndef test_one():\n    from tests import jobs\n\n"
        f"    assert jobs.count.apply((3,), task_id={task_id!r}).result == 3\n    print(time.time())\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-c", os.devnull]
    command += ["--rootdir", str(tmp_path), "--ds", "project.settings", str(tmp_path / "test_one.py")]
    done, took = leave(command, env, tmp_path)
    assert done.returncode == 0, done.stdout
    assert took < LEAVES_WITHIN
    assert end_of(task_id, 1).state == "SUCCESS"


class EagerWeb(Web):
    """Daphne with an application that runs tasks itself."""

    def command(self) -> list[str]:
        return [*super().command()[:-1], "tests.eager_asgi:application"]


def test_web_process_that_runs_tasks_itself_leaves_in_time(env: dict[str, str], tmp_path: Path) -> None:
    """Eager tasks in Daphne, in its event loop and in its threads, do not keep it from leaving."""
    web = EagerWeb(tmp_path, env).start()
    try:
        ids = []
        for path in ("/loop", "/thread"):
            connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
            connection.request("GET", path)
            ids.append(connection.getresponse().read().decode())
            connection.close()
        began = time.monotonic()
        web.stop(10)
        assert time.monotonic() - began < LEAVES_WITHIN
    finally:
        web.kill()
    assert states_of(*ids) == ["SUCCESS", "SUCCESS"]


def answer_of(web: Web, path: str) -> Any:
    """The JSON that a page answers with."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=15)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


@pytest.mark.parametrize("server", [Web, Uvicorn])
def test_views_that_run_tasks_eagerly_do_not_lock_up(env: dict[str, str], tmp_path: Path, server: type[Web]) -> None:
    """`task_always_eager` in plain and in async views, eight requests of each at once: all count right."""
    web = server(tmp_path, {**env, "DJANGO_SETTINGS_MODULE": "tests.eager_settings"}).start()
    paths = ["/in_thread", "/in_thread_with_loop", "/in_loop", "/in_loop_with_loop"] * 8
    try:
        with ThreadPoolExecutor(len(paths)) as pool:
            answers = list(pool.map(lambda path: answer_of(web, path), paths))
        began = time.monotonic()
        web.stop(10)
        assert time.monotonic() - began < LEAVES_WITHIN
    finally:
        web.kill()
    for answer in answers:
        record = record_of(answer["id"])
        assert record is not None
        assert (record.state, record.snapshot()["current"]) == ("SUCCESS", answer["account"])
    assert complaints(web.output()) == []


# --- Forks ---------------------------------------------------------------------------------------------------

FORKS = """
import multiprocessing, threading
from progress.store import Write, get_store
parent, in_threads, *children = ids
import progress, celery
under_way, go_on = threading.Event(), threading.Event()

@celery.shared_task(name="busy")
def busy():
    for _ in progress.track(iter(int, 1)):
        progress.log("line")
        under_way.set()
        if go_on.wait(0.001):
            return "done"

# The publisher is at work, in a thread of its own, while this thread forks.
thread = threading.Thread(target=busy.apply, kwargs={"task_id": in_threads})
thread.start()
under_way.wait()
get_store().write(Write("watch", in_threads, {"span": 60_000_000}))  # ten writes a second from now on
fork(children)
go_on.set()
thread.join()
run(parent, 7)
print(time.time())
"""

FORK_WITH = {
    "os.fork": """
def fork(children):
    pids = []
    for task_id in children:
        pid = os.fork()
        if pid == 0:
            run(task_id)
            sys.exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
""",
    "multiprocessing": """
def fork(children):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=run, args=(task_id,)) for task_id in children]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
""",
}


@pytest.mark.parametrize("way", FORK_WITH)
def test_forked_children_all_report_and_so_does_their_parent(env: dict[str, str], tmp_path: Path, way: str) -> None:
    """Forks from a process whose publisher is at work: no child inherits a lock, none disturbs the parent."""
    script, ids = tmp_path / "forks.py", [uuid4().hex for _ in range(2 + 8)]
    script.write_text(EAGER + FORK_WITH[way] + FORKS)
    _, took = leave([sys.executable, "-W", "ignore", str(script), *ids], env, tmp_path)
    assert took < LEAVES_WITHIN
    assert states_of(*ids) == ["SUCCESS"] * len(ids)
    records = [record_of(task_id) for task_id in ids]
    assert len({record.process for record in records if record}) == 1 + 8
    assert records[0] is not None
    assert records[0].snapshot()["current"] == 7


def test_children_of_a_pool_whose_siblings_are_killed_report(workers: Any) -> None:
    """32 children are killed while the main process tells of the ones before: every later task is followed."""
    worker = workers("killed", concurrency=4)
    for _ in range(8):
        dead = [send(jobs.dies) for _ in range(4)]
        alive = [send(jobs.count, 2, 0.01) for _ in range(4)]
        assert {end_of(task_id, STARTS_WITHIN).state for task_id in alive} == {"SUCCESS"}
        assert {end_of(task_id, STARTS_WITHIN).state for task_id in dead} == {"FAILURE"}
    assert worker.alive
    assert "Progress could not" not in worker.output()


def test_thread_of_the_publisher_imports_nothing(env: dict[str, str], tmp_path: Path) -> None:
    """A fork while another thread imports leaves the child with a module that can never be imported."""
    script = tmp_path / "imports.py"
    script.write_text(
        EAGER
        + """
import threading
from progress import publisher, groups
from progress.store import Write
here = threading.get_ident()
def seen(event, arguments):
    if event == "import" and threading.get_ident() != here:
        print("imported", arguments[0], flush=True)
sys.addaudithook(seen)
publisher.get_publisher().submit(Write("verdict", ids[0], {"exec": "", "state": "FAILURE"}))
publisher.get_publisher().announce("group", {"type": "progress.update"})
publisher.stop()
run(ids[1])
print(time.time())
"""
    )
    ids = [uuid4().hex, uuid4().hex]
    # By its name, as in a container: an address needs no look-up.
    named = {**env, "REDIS_URL": env["REDIS_URL"].replace("127.0.0.1", "localhost")}
    done, _ = leave([sys.executable, str(script), *ids], named, tmp_path)
    assert [line for line in done.stdout.splitlines() if line.startswith("imported")] == []
    assert states_of(*ids) == ["FAILURE", "SUCCESS"]


# --- A Redis that is away ------------------------------------------------------------------------------------


class Apart:
    """A worker whose records are in a Redis of their own; the broker is another one."""

    def __init__(self, folder: Path, env: Mapping[str, str], pool: str) -> None:
        self.records = Redis(folder, name="records")
        apart = {"DJANGO_SETTINGS_MODULE": "tests.apart_settings", "RECORDS_URL": self.records.url}
        self.worker = Worker(folder, {**env, **apart}, name="apart", pool=pool, concurrency=1)


@pytest.fixture
def apart(env: dict[str, str], tmp_path: Path, settings: Any, request: pytest.FixtureRequest) -> Iterator[Apart]:
    """Started by the test, in the order that it wants. Its parameter is the worker's pool.

    What a Redis that is away costs is tried here, so this process is as impatient in writing as a site's.
    """
    place = Apart(tmp_path, env, getattr(request, "param", "prefork"))
    broker = env["REDIS_URL"]
    with (
        in_this_process(settings, place.records.url, settings.PROGRESS_PREFIX),
        patch.object(redis_writes, "WRITE_TIMEOUT", WRITE_TIMEOUT),
    ):
        before = {name: current_app.conf[name] for name in ("broker_url", "result_backend")}
        current_app.conf.update(broker_url=broker, result_backend=broker)
        try:
            yield place
        finally:
            current_app.conf.update(before)
            place.worker.kill()
            place.records.kill()


in_pools = pytest.mark.parametrize("apart", ["prefork", "threads", "gevent"], indirect=True)


@in_pools
def test_redis_that_is_away_from_the_start_costs_neither_task_nor_sender(apart: Apart, tmp_path: Path) -> None:
    """Tasks are sent, run and succeed; their ends are written when Redis comes, by processes that are still there."""
    apart.worker.start()
    (tmp_path / "gate").touch()
    began = time.monotonic()
    task_id = send(jobs.measures_calls, str(tmp_path / "gate"), seconds=0.2)
    assert time.monotonic() - began < 0.5
    assert result_of(task_id) < 0.1
    apart.records.start()
    record = end_of(task_id)
    assert (record.state, record.attempt, record.snapshot()["title"]) == ("SUCCESS", 1, "Measure")


@in_pools
def test_redis_that_stalls_costs_no_call_more_than_a_tenth_of_a_second(apart: Apart, tmp_path: Path) -> None:
    """Stopped in the middle of a task: it runs on as before, and its end is written when Redis answers again."""
    apart.records.start()
    apart.worker.start()
    gate = tmp_path / "gate"
    with progress.owner("7"):
        task_id = send(jobs.measures_calls, str(gate), seconds=1.5)
    running(task_id)
    apart.records.suspend()
    # A second one starts, and is cancelled by nobody, while nothing answers.
    gate.touch()
    second = send(jobs.measures_calls, str(gate), seconds=0.2)
    assert result_of(task_id) < 0.1
    assert result_of(second) < 0.1
    apart.records.resume()
    assert [end_of(each).state for each in (task_id, second)] == ["SUCCESS", "SUCCESS"]
    assert end_of(task_id).snapshot()["current"] > 50


def test_redis_that_lost_everything_is_told_again(apart: Apart, tmp_path: Path) -> None:
    """Killed and empty in the middle of a task: owner, title and attempt come back, and seq rises on."""
    apart.records.start()
    apart.worker.start()
    gate = tmp_path / "gate"
    with progress.owner("7"):
        task_id = send(jobs.measures_calls, str(gate), seconds=0.1)
    before = running(task_id)
    apart.worker.suspend()  # or it may tell before anybody has looked
    apart.records.kill()
    apart.records.start()
    assert record_of(task_id) is None
    apart.worker.resume()
    gate.touch()
    record = end_of(task_id)
    assert (record.state, record.owner, record.attempt) == ("SUCCESS", "7", 1)
    assert record.snapshot()["title"] == "Measure"
    assert record.seq > before.seq
    assert record.fence == before.fence


def test_sending_costs_little_while_redis_does_not_answer(apart: Apart) -> None:
    """`.delay()` waits 50 ms at most, once; from then on a look-aside of less than a millisecond."""
    apart.records.start()
    apart.records.suspend()
    times = []
    for _ in range(20):
        headers = {"id": uuid4().hex, "retries": 0}
        began = time.perf_counter()
        sending.before_task_publish(sender=jobs.quick.name, body=((), {}, {}), headers=headers)
        times.append(time.perf_counter() - began)
        assert headers[sending.TREE] == headers["id"]
    assert times[0] < 0.1
    assert sorted(times[1:])[len(times) // 2] < 0.001


def test_worker_process_keeps_four_connections(apart: Apart) -> None:
    """One to write, one to be asked at a start, two of the layer. A main process renews leases over one, and has
    the layer's as well once it had something to tell."""

    def connections() -> int:
        processes.disconnect()  # those of this process
        with apart.records.client() as client:
            return len(client.client_list()) - 1

    apart.records.start()
    apart.worker.start()
    assert wait_until(connections, 5, "the main process has begun to look for leases") == 1
    for task_id in [send(jobs.count, 20, 0.001) for _ in range(10)]:
        result_of(task_id)
    assert 1 <= connections() <= 5
    killed = send(jobs.dies)
    assert end_of(killed, STARTS_WITHIN).state == "FAILURE"
    assert 1 <= connections() <= 2  # the main process's; the child's are gone with it
