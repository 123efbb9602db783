"""What we lean on in Celery, so that an upgrade that changes it fails here and says so."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, Task, current_app, signals
from celery.app import trace
from celery.app.annotations import prepare, resolve_all

from tests import jobs, signal_log
from tests.processes import ROOT, Worker, wait_until
from tests.watching import send


class Witness:
    """A worker that writes down every signal it sends."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.log = folder / "signals"
        self.log.touch()
        include = ["--include", "tests.jobs,tests.signal_log"]
        self.worker = Worker(
            folder, {**env, "SIGNAL_LOG": str(self.log)}, name="witness", concurrency=1, args=include
        )

    def signals(self, task_id: str) -> dict[str, list[str]]:
        """What each kind of process sent about a task, in order."""
        told: dict[str, list[str]] = {"main": [], "child": []}
        for line in self.log.read_text().splitlines():
            entry = json.loads(line)
            if entry["id"] == task_id:
                told[entry["where"]].append(f"{entry['signal']} {entry['detail']}".strip())
        return told


@pytest.fixture
def witness(redis_url: str, tmp_path: Path, settings: Any) -> Iterator[Witness]:
    """A worker on the Redis and queue of this test. Nothing of it is tracked: this is Celery alone."""
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.untracked_settings",
        "DATA_DIR": str(tmp_path / "data"),
        "REDIS_URL": redis_url,
        "CELERY_QUEUE": settings.PROGRESS_PREFIX,
        "PYTHONPATH": str(ROOT),
    }
    place = Witness(tmp_path, env)
    try:
        place.worker.start()
        yield place
    finally:
        place.worker.kill()


# How a task ends → what the child sends, what the main process sends. `docs/architecture.md` explains the table.
TABLE: dict[str, tuple[Any, list[str], list[str]]] = {
    "returns": (jobs.quick.si(), ["prerun", "success", "postrun SUCCESS"], []),
    "raises": (jobs.fails.si(), ["prerun", "failure ValueError", "postrun FAILURE"], []),
    "retries": (
        jobs.retries.si(times=1, countdown=0),
        ["prerun", "retry Retry", "postrun RETRY", "prerun", "success", "postrun SUCCESS"],
        ["received dict"],
    ),
    "ignores": (jobs.ignores.si(), ["prerun", "postrun IGNORED:"], []),
    "replaces": (
        jobs.replaces.si(),
        ["prerun", "postrun IGNORED: Replaced by new task", "prerun", "success", "postrun SUCCESS"],
        ["received dict"],
    ),
    "rejects": (jobs.rejects.si(), ["prerun", "postrun REJECTED"], ["failure Reject"]),
    "child killed": (jobs.dies.si(), ["prerun"], ["failure WorkerLostError"]),
    "soft limit": (
        jobs.exceeds_soft_limit.si(),
        ["prerun", "failure SoftTimeLimitExceeded", "postrun FAILURE"],
        [],
    ),
    "hard limit": (
        jobs.exceeds_hard_limit.si(),
        ["prerun", "postrun None"],
        ["failure TimeLimitExceeded", "failure TimeLimitExceeded"],
    ),
    "expired": (jobs.quick.si().set(expires=-1), [], ["revoked expired"]),
}


def test_signals_of_every_end_are_those_of_the_table(witness: Witness) -> None:
    """Which signals fire, in which process, in which order, and how often, for each way in which a task ends."""
    ids = {name: signature.apply_async().id for name, (signature, _, _) in TABLE.items()}
    hold = send(jobs.hold, "/nowhere")
    wait_until(lambda: witness.signals(hold)["child"], 30, "the last one runs, so all before it have ended")
    current_app.control.revoke(hold, terminate=True)
    wait_until(lambda: len(witness.signals(hold)["child"]) == 2, 10, "the child was terminated")
    expected = {name: {"child": child, "main": main} for name, (_, child, main) in TABLE.items()}
    for name, told in expected.items():
        if name != "expired":  # it never comes so far
            told["main"].insert(0, "received dict")
        wait_until(lambda name=name, told=told: witness.signals(ids[name]) == told, 10, f"{name}: {told}")
    assert {name: witness.signals(task_id) for name, task_id in ids.items()} == expected
    assert witness.signals(hold) == {
        "child": ["prerun", "postrun None"],
        "main": ["received dict", "revoked terminated"],
    }


def test_task_received_can_give_the_execution_a_name_that_reaches_the_child(
    redis_url: str, tmp_path: Path, settings: Any
) -> None:
    """`request_dict` is what the child's `task.request` is made of; custom headers survive a retry, not a child."""
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "DATA_DIR": str(tmp_path / "data"),
        "REDIS_URL": redis_url,
        "PROGRESS_PREFIX": settings.PROGRESS_PREFIX,
        "CELERY_QUEUE": settings.PROGRESS_PREFIX,
    }
    place = Witness(tmp_path, env)
    place.worker.start()
    try:
        ids = [send(signal_log.own_headers, options={"headers": {"mine": "x"}}) for _ in range(2)]
        ids.append(send(signal_log.own_headers, retry=True, options={"headers": {"mine": "x"}}))
        own, other, retried = (result_of(task_id) for task_id in ids)
    finally:
        place.worker.kill()
    assert own["mine"] == "x"
    assert own["exec"] != other["exec"]
    assert len(own["exec"]) == 16
    assert (retried["mine"], retried["progress-tree"]) == ("x", ids[2])


def result_of(task_id: str) -> Any:
    """The result in Celery's backend."""

    def done() -> Any:
        meta = current_app.backend.get_task_meta(task_id, cache=False)
        return meta["result"] if meta["status"] == "SUCCESS" else None

    return wait_until(done, 20, f"{task_id} is done")


def test_custom_headers_do_not_reach_children(redis_url: str) -> None:
    """A child is sent with headers of its own: `owner` and `tree` have to be handed down by us."""
    sent: list[dict[str, Any]] = []

    def note(headers: dict[str, Any], **_: Any) -> None:
        sent.append(dict(headers))

    signals.before_task_publish.connect(note)
    try:
        jobs.sends_a_child.apply(task_id="parent", headers={"mine": "x"})
    finally:
        signals.before_task_publish.disconnect(note)
    assert [headers.get("mine") for headers in sent] == [None]
    assert [headers["parent_id"] for headers in sent] == ["parent"]


def test_headers_may_be_changed_before_the_message_is_sent(redis_url: str) -> None:
    """What `before_task_publish` puts into `headers` is in the message; `body` carries chain and chord."""
    seen: list[tuple[Any, Any]] = []

    def change(headers: dict[str, Any], body: Any, **_: Any) -> None:
        headers["added"] = "by a handler"
        seen.append((headers["id"], body))

    signals.before_task_publish.connect(change)
    try:
        result = (jobs.adds.si(1) | jobs.adds.s(2)).apply_async()
    finally:
        signals.before_task_publish.disconnect(change)
    with current_app.connection_for_read() as connection:
        message = connection.SimpleQueue(current_app.conf.task_default_queue).get(timeout=5)
    ((first, body),) = seen
    assert message.headers["added"] == "by a handler"
    assert message.headers["id"] == first
    args, kwargs, embed = body
    assert (list(args), kwargs) == ([1], {})
    assert [step["options"]["task_id"] for step in embed["chain"]] == [result.id]
    assert embed["chord"] is None
    message.ack()


def test_annotation_objects_are_asked_for_every_task() -> None:
    """`task_annotations` takes objects with `annotate` and `annotate_any`; the class of the task is what they get."""
    asked: list[Any] = []

    class Annotation:
        def annotate(self, task: Any) -> dict[str, Any]:
            asked.append(task)
            return {"rate_limit": "3/m"}

        def annotate_any(self) -> None:
            """Nothing more."""

    app = Celery("contact", set_as_current=False, broker="memory://", backend="disabled://")
    app.conf.task_annotations = Annotation()

    @app.task(shared=False)
    def job() -> None: ...

    assert job.rate_limit == "3/m"
    assert type(app.tasks[job.name]) in asked
    assert [list(changes) for changes in resolve_all(prepare({"*": {"@run": 1}}), job)] == [["@run"]]


def test_annotated_call_is_what_the_worker_calls() -> None:
    """A `__call__` on the task's class is not optimised away, and `_protected` keeps the request as it is."""
    app = Celery("contact", set_as_current=False, broker="memory://", backend="disabled://")
    seen: list[Any] = []

    class Base(Task):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            seen.append((self.request.id, self.request._protected))
            return self.run(*args, **kwargs)

    @app.task(shared=False, base=Base)
    def job() -> int:
        return 1

    assert trace.task_has_custom(app.tasks[job.name], "__call__")
    tracer = trace.build_tracer(job.name, app.tasks[job.name], app=app)
    assert tracer("a", (), {}, {"id": "a", "delivery_info": {}}).retval == 1
    assert seen == [("a", 0)]


def test_exit_handlers_of_threads_run_before_executors_are_joined() -> None:
    """`threading._register_atexit` calls back in reverse order, before the workers of executors are waited for."""
    order: list[str] = []
    registered = list(threading._threading_atexits)  # type: ignore[attr-defined]
    try:
        threading._register_atexit(order.append, "first")  # type: ignore[attr-defined]
        threading._register_atexit(order.append, "second")  # type: ignore[attr-defined]
        for call in reversed(threading._threading_atexits[len(registered) :]):  # type: ignore[attr-defined]
            call()
    finally:
        threading._threading_atexits[:] = registered  # type: ignore[attr-defined]
    assert order == ["second", "first"]
    names = [getattr(call, "func", call).__qualname__ for call in registered]
    assert names.index("stop") > names.index("_python_exit")
