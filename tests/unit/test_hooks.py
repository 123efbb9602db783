"""The two wrappers round a task's class: they see what Celery does not tell, and change nothing else."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, Task
from celery.app import trace
from celery.exceptions import SoftTimeLimitExceeded

import progress
from progress import hooks, publisher
from progress.record import Record
from progress.reporter import Reporter
from progress.store import get_store

Run = Callable[..., tuple[Any, Record]]


class App(Celery):
    """An app of its own: what is registered here is seen by no other test."""

    def __init__(self, *, backend: str = "cache+memory://", **conf: Any) -> None:
        super().__init__("hooks", set_as_current=False, broker="memory://", backend=backend)
        self.conf.update(conf)

    def task(self, *args: Any, **options: Any) -> Any:
        return super().task(*args, **{**options, "shared": False})


def fresh_app(**conf: Any) -> App:
    """An app that is hooked as the site's is."""
    app = App(**conf)
    hooks.install(app)
    return app


@pytest.fixture
def app() -> Celery:
    return fresh_app()


@pytest.fixture(params=["worker", "eager"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a task as a worker would, or eagerly; the answer is its result and its record."""
    if request.param == "worker":
        trace._install_stack_protection()

    def call(task: Any, *args: Any, **kwargs: Any) -> tuple[Any, Record]:
        task_id = uuid4().hex
        if request.param == "eager":
            result = task.apply(args, kwargs, task_id=task_id).result
        else:
            tracer = trace.build_tracer(task.name, task, app=task.app)
            about = {"id": task_id, "delivery_info": {}, "retries": 0}
            traced = tracer(task_id, args, kwargs, about)
            result = traced.info.retval if traced.info else traced.retval
        publisher.stop()
        record = get_store().load(task_id)
        assert record is not None
        return result, record

    yield call
    trace.reset_worker_optimizations(fresh_app())


# --- The body --------------------------------------------------------------------------------------------------


def test_body_sees_its_own_request(app: Celery, run: Run) -> None:
    """`self.request.id` is right inside the body, although a method stands before it."""
    seen: list[Any] = []

    @app.task(bind=True)
    def job(self: Task, value: int) -> int:
        seen.extend([self.request.id, self.request.called_directly, self.request.args])
        return value + 1

    result, record = run(job, 1)
    assert result == 2
    assert seen == [record.snapshot()["id"], False, (1,)]


def test_task_called_as_a_function_is_only_a_function(app: Celery, run: Run) -> None:
    """A body that calls itself, or another task, is one execution with one record."""

    @app.task
    def other(steps: int) -> int:
        return sum(1 for _ in progress.track(range(steps)))

    @app.task(bind=True)
    def job(self: Task, depth: int) -> list[Any]:
        progress.advance()
        return [] if depth == 0 else [self.request.id, other(2), *self(depth - 1)]

    result, record = run(job, 2)
    task_id = record.snapshot()["id"]
    assert result == [task_id, 2, task_id, 2]
    assert (record.state, record.attempt, record.snapshot()["current"]) == ("SUCCESS", 1, 7)


def test_what_the_body_raises_is_what_celery_sees(app: Celery, run: Run) -> None:
    """The exception passes unchanged."""
    error = ValueError("mine")

    @app.task
    def job() -> None:
        raise error

    result, record = run(job)
    assert result is error
    assert record.state == "FAILURE"


def test_autoretry_and_bound_retry_still_retry(app: Celery) -> None:
    """`autoretry_for` wraps the body beneath us: three executions of one id, and the last one is shown."""

    @app.task(bind=True, autoretry_for=(OSError,), default_retry_delay=0, max_retries=3)
    def job(self: Task) -> int:
        progress.update(message=f"try {self.request.retries}")
        if self.request.retries < 2:
            raise OSError
        return int(self.request.retries)

    task_id = uuid4().hex
    result = job.apply(task_id=task_id)
    publisher.stop()
    assert result.result == 2
    record = get_store().load(task_id)
    assert record is not None
    assert (record.state, record.attempt, record.snapshot()["message"]) == ("SUCCESS", 3, "try 2")
    assert progress.reporter().job.name == ""


# --- update_state ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meta", "shown"),
    [
        ({"current": 3, "total": 10, "message": "rows"}, (3, 10, "rows")),
        ({"current": 3, "total": None, "description": "rows"}, (3, None, "rows")),
        ({"percent": 40, "description": "half"}, (40, 100, "half")),
        ({"extra": Decimal(5), "current": 1, "total": 2, "percent": 50}, (1, 2, "")),
        ({"message": 5}, (0, None, "5")),
        ({"unknown": "x"}, (0, None, "")),
        ({"current": "many", "message": "x"}, (0, None, "")),
        ({"current": float("nan"), "total": -1}, (0, None, "")),
        ("no mapping", (0, None, "")),
        (None, (0, None, "")),
    ],
)
def test_meta_of_update_state_is_shown(app: Celery, run: Run, meta: Any, shown: Any) -> None:
    """`current`, `total`, `percent`, `message` or `description`, as tasks write it; anything else is harmless."""

    @app.task(bind=True)
    def job(self: Task) -> None:
        self.update_state(state="PROGRESS", meta=meta)

    snapshot = run(job)[1].snapshot()
    assert (snapshot["current"], snapshot["total"], snapshot["message"]) == shown
    assert snapshot["state"] == "SUCCESS"


def test_original_update_state_is_called_with_what_was_given(app: Celery, run: Run) -> None:
    """Positions and names reach Celery as the task wrote them, and its answer comes back."""
    calls: list[Any] = []

    class Base(Task):
        def update_state(self, *args: Any, **kwargs: Any) -> Any:
            calls.append((args, kwargs))
            return "answer"

    @app.task(bind=True, base=Base)
    def job(self: Task) -> list[Any]:
        return [
            self.update_state(None, "PROGRESS", {"current": 1}, extra=2),
            self.update_state(state="PROGRESS", meta={"current": 2}),
        ]

    result, record = run(job)
    assert result == ["answer", "answer"]
    assert calls == [
        ((None, "PROGRESS", {"current": 1}), {"extra": 2}),
        ((), {"state": "PROGRESS", "meta": {"current": 2}}),
    ]
    assert record.snapshot()["current"] == 2


def test_error_of_update_state_is_its_own(app: Celery, run: Run) -> None:
    """A backend that is down raises in the body, as it does without us; nothing is reported then."""

    class Base(Task):
        def update_state(self, *args: Any, **kwargs: Any) -> Any:
            raise ConnectionError("backend is down")

    @app.task(bind=True, base=Base)
    def job(self: Task) -> None:
        self.update_state(state="PROGRESS", meta={"current": 9})

    result, record = run(job)
    assert isinstance(result, ConnectionError)
    assert (record.state, record.snapshot()["current"]) == ("FAILURE", 0)


def test_a_soft_time_limit_that_strikes_in_update_state_ends_the_task(app: Celery, run: Run) -> None:
    """What we make of a meta is kept from the task; its own limit is not."""

    class Struck(str):
        def __str__(self) -> str:
            raise SoftTimeLimitExceeded

    @app.task(bind=True)
    def job(self: Task) -> str:
        self.update_state(state="PROGRESS", meta={"current": 9, "message": Struck("at 9")})
        return "ran on"

    result, record = run(job)
    assert isinstance(result, SoftTimeLimitExceeded)
    assert record.state == "FAILURE"


def test_final_state_in_update_state_is_no_end(app: Celery, run: Run) -> None:
    """Whatever a task writes into its backend, it ends when it ends."""

    @app.task(bind=True)
    def job(self: Task) -> None:
        self.update_state(state="FAILURE", meta={"current": 5, "exc_type": "X", "exc_message": "", "exc_module": "y"})
        progress.update(message="still running")

    record = run(job)[1]
    assert (record.state, record.snapshot()["message"], record.snapshot()["current"]) == (
        "SUCCESS",
        "still running",
        0,
    )


@pytest.mark.parametrize("conf", [{"backend": "disabled://"}, {"task_ignore_result": True}])
def test_no_backend_is_needed(conf: dict[str, Any], run: Run) -> None:
    """With `ignore_result`, or no result backend at all, a task is followed to its end all the same."""
    app = fresh_app(**conf)

    @app.task(bind=True)
    def job(self: Task) -> str:
        self.update_state(state="PROGRESS", meta={"current": 1, "total": 2})
        return "done"

    result, record = run(job)
    assert result == "done"
    assert (record.state, record.snapshot()["total"]) == ("SUCCESS", 2)


# --- What the site has written itself --------------------------------------------------------------------------


class Counting(Task):
    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return ["counted", super().__call__(*args, **kwargs)]

    def update_state(self, share: float) -> None:
        super().update_state(state="PROGRESS", meta={"current": share})


def note(function: Any) -> Any:
    @functools.wraps(function)
    def call(self: Task, *args: Any, **kwargs: Any) -> Any:
        return ["noted", function(self, *args, **kwargs)]

    return call


class Noted(Task):
    """Its methods carry ``__wrapped__``: an annotation of Celery's own kind would take the decorator off."""

    abstract = True

    @note
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


class Below(Counting):
    """Inherits a method that is wrapped already."""

    abstract = True


@pytest.mark.parametrize(("base", "expected"), [(Counting, "counted"), (Noted, "noted"), (Below, "counted")])
def test_own_base_class_is_kept(app: Celery, run: Run, base: type[Task], expected: str) -> None:
    """`__call__` of a site's base class runs once, round the body, decorated or inherited."""

    @app.task(bind=True, base=base)
    def job(self: Task) -> str:
        progress.advance()
        return "body"

    result, record = run(job)
    assert result == [expected, "body"]
    assert (record.state, record.snapshot()["current"]) == ("SUCCESS", 1)


def test_update_state_of_another_signature_is_called_as_it_was(app: Celery, run: Run) -> None:
    """A base class may give it any arguments; they are not ours to name."""

    @app.task(bind=True, base=Counting)
    def job(self: Task) -> None:
        self.update_state(0.5)

    result, record = run(job)
    assert result == ["counted", None]
    assert record.state == "SUCCESS"


def around(name: str) -> Callable[[Any], Any]:
    def wrap(original: Any) -> Any:
        def call(self: Task, *args: Any, **kwargs: Any) -> Any:
            return [name, original(self, *args, **kwargs)]

        return call

    return wrap


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({"*": {"@__call__": around("all")}}, ["all", "body"]),
        ({"hooks.job": {"@__call__": around("one")}}, ["one", "body"]),
        ({"*": {"rate_limit": "7/m"}}, "body"),
        ([{"*": {"@__call__": around("first")}}, {"*": {"@__call__": around("second")}}], None),
        (({"hooks.job": {"rate_limit": "7/m"}, "*": {"@__call__": around("both")}}), None),
    ],
)
def test_annotations_of_the_site_are_applied_as_without_us(run: Run, annotations: Any, expected: Any) -> None:
    """`task_annotations` for all tasks and for one, one or several: what Celery makes of them stays."""
    results = []
    for hooked in (True, False):
        app = App(task_annotations=annotations)
        if hooked:
            hooks.install(app)

        @app.task(name="hooks.job")
        def job() -> str:
            progress.advance()
            return "body"

        result, record = run(job)
        results.append((result, job.rate_limit))
        if hooked:
            assert record.snapshot()["current"] == 1
    assert results[0] == results[1]
    if expected is not None:
        assert results[0][0] == expected


def test_installing_twice_changes_nothing(app: Celery) -> None:
    """Each method is wrapped once, whether the task was there before or came later."""

    @app.task
    def job() -> None: ...

    app.finalize()
    cls = type(app.tasks[job.name])
    before = (cls.__call__, cls.update_state)
    hooks.install(app)
    hooks.install(app)
    assert (cls.__call__, cls.update_state) == before


def test_task_that_was_there_before_is_wrapped_too(run: Run) -> None:
    """The order in which a site imports its parts does not matter."""
    app = App()

    @app.task(bind=True)
    def job(self: Task) -> None:
        self.update_state(state="PROGRESS", meta={"current": 4})

    app.finalize()
    hooks.install(app)
    assert run(job)[1].snapshot()["current"] == 4


def test_untracked_task_is_not_touched(app: Celery, settings: Any) -> None:
    """`PROGRESS_IGNORE` leaves a task exactly as Celery runs it, and no record is made."""
    settings.PROGRESS_IGNORE = ["*"]

    @app.task(bind=True)
    def job(self: Task) -> Any:
        progress.advance()
        self.update_state(state="PROGRESS", meta={"current": 1})
        return self.request.id

    task_id = uuid4().hex
    assert job.apply(task_id=task_id).result == task_id
    publisher.stop()
    assert get_store().load(task_id) is None


def test_logger_is_heard_wherever_the_body_runs(app: Celery, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`capture_logs` works in a worker and eagerly, under annotations or not, and ends with the body."""
    said: list[str] = []
    logger = logging.getLogger(__name__)
    monkeypatch.setattr(logger, "level", logging.INFO)
    monkeypatch.setattr(Reporter, "log", lambda self, line, level="INFO": said.append(f"{level} {line}"))

    @app.task(on_success=lambda *args: logger.info("after the body"))
    @progress.options(capture_logs="INFO")
    def job() -> str:
        logger.info("in the body")
        return "done"

    assert run(job)[0] == "done"
    assert said == ["INFO in the body"]
    assert not logger.handlers
