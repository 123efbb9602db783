"""What a task's own logger says goes into the task's log, if the task chose that; nothing else does."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.log import get_task_logger

import progress
from progress import hooks, log_capture, publisher
from progress.options import Options
from progress.reporter import Job, Reporter, running
from progress.snapshot import State

logger = logging.getLogger(__name__)
below = logging.getLogger(f"{__name__}.below")
task_logger = get_task_logger("shop.orders")
foreign = logging.getLogger("somewhere.else")
# One that Celery made a child of its own: the record passes two loggers on which the handler hangs.
both = get_task_logger(__name__)


@pytest.fixture
def app() -> Celery:
    """An app of its own, hooked as the site's is."""
    app = Celery("captures", set_as_current=False, broker="memory://", backend="cache+memory://")
    hooks.install(app)
    return app


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """The site lets everything through."""
    loggers = (logger, task_logger, foreign, logging.getLogger("celery.task"))
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.DEBUG)
    yield
    for one, level in zip(loggers, before, strict=True):
        one.setLevel(level)
    publisher.stop()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What has been logged for tasks, as level and text."""
    said: list[tuple[str, str]] = []
    monkeypatch.setattr(Reporter, "log", lambda self, line, level="INFO": said.append((level, str(line))))
    return said


def run(app: Celery, body: Callable[[], Any], **chosen: Any) -> Any:
    """Run `body` as a task with these options; its module is this one."""

    @app.task(shared=False, name=uuid4().hex)
    @progress.options(**chosen)
    def job() -> Any:
        return body()

    return job.apply(throw=False).result


def everything() -> None:
    logger.debug("detail")
    logger.info("%s rows", 3)
    below.warning("from below")
    task_logger.error("from a task logger")
    both.info("only once")
    foreign.critical("not ours")


def handlers() -> int:
    """Loggers on which the handler hangs."""
    known = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    return sum(log_capture._handler in one.handlers for one in [logging.root, *known])


def test_a_soft_time_limit_that_strikes_while_a_line_is_taken_ends_the_task(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments that do not fit are the site's matter; the task's own limit is not swallowed with them."""

    def struck(*_: object) -> None:
        raise SoftTimeLimitExceeded

    def body() -> str:
        logger.warning("a line")
        return "ran on"

    monkeypatch.setattr(Reporter, "log", struck)
    assert isinstance(run(app, body, capture_logs="INFO"), SoftTimeLimitExceeded)


def test_own_loggers_are_heard_from_the_chosen_level(app: Celery, lines: list[Any]) -> None:
    """The module's, those below it, and Celery's task loggers; each record once, with its level."""
    run(app, everything, capture_logs="INFO")
    assert lines == [
        ("INFO", "3 rows"),
        ("WARNING", "from below"),
        ("ERROR", "from a task logger"),
        ("INFO", "only once"),
    ]


@pytest.mark.parametrize(("level", "heard"), [("DEBUG", 5), ("WARNING", 2), ("ERROR", 1), ("CRITICAL", 0)])
def test_level_is_the_tasks_choice(app: Celery, lines: list[Any], level: str, heard: int) -> None:
    """What is below it stays out."""
    run(app, everything, capture_logs=level)
    assert len(lines) == heard


def test_task_that_did_not_choose_it_has_no_handler(app: Celery, lines: list[Any]) -> None:
    """It costs nothing: no logger is touched, during the task or after."""
    during: list[int] = []
    run(app, lambda: (everything(), during.append(handlers())))
    assert (lines, during, handlers()) == ([], [0], 0)


def test_handler_is_gone_when_the_task_ends(app: Celery, lines: list[Any]) -> None:
    """However it ends, and also when another one ran inside."""
    during: list[int] = []

    def fails() -> None:
        run(app, lambda: during.append(handlers()), capture_logs="INFO")
        during.append(handlers())
        raise ValueError

    assert isinstance(run(app, fails, capture_logs="INFO"), ValueError)
    logger.warning("afterwards")
    assert (during, handlers(), lines) == ([2, 2], 0, [])


def test_only_the_thread_of_the_task_is_heard(app: Celery, lines: list[Any]) -> None:
    """Another thread speaks for another task or for nobody, unless it was given the task's context."""

    def body() -> None:
        with_context = contextvars.copy_context()
        for work in (lambda: logger.warning("stranger"), lambda: with_context.run(logger.warning, "helper")):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

    run(app, body, capture_logs="INFO")
    assert lines == [("WARNING", "helper")]


def test_task_inside_a_task_is_heard_by_its_own_choice(app: Celery, lines: list[Any]) -> None:
    """The inner one did not choose it, so the outer one's handler passes nothing on for it."""

    def outer() -> None:
        logger.info("before")
        run(app, lambda: logger.info("inside"))
        logger.info("behind")

    run(app, outer, capture_logs="INFO")
    assert [text for _, text in lines] == ["before", "behind"]


class Talkative:
    """Logs while it becomes text, and fails to become any."""

    def __str__(self) -> str:
        logger.warning("I am asked for my text")
        raise RuntimeError("none")


def test_record_that_cannot_be_told_hurts_nobody(
    app: Celery, lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments that do not fit, texts that raise or log themselves: the task goes on, and there is no recursion."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr(logger, "propagate", False)  # other handlers are the site's matter

    def body() -> str:
        logger.info("%d rows", "many")
        logger.info("%s", Talkative())
        logger.info("on")
        return "done"

    assert run(app, body, capture_logs="INFO") == "done"
    assert lines == [("INFO", "on")]


def test_traceback_stays_where_tracebacks_belong(app: Celery, lines: list[Any]) -> None:
    """The log is for the owner of the task too: the message is told, the exception is not."""

    def body() -> None:
        try:
            raise ValueError("secret")
        except ValueError:
            logger.exception("Row 5 is skipped")

    run(app, body, capture_logs="INFO")
    assert lines == [("ERROR", "Row 5 is skipped")]


def test_wish_to_cancel_is_not_raised_out_of_a_logger() -> None:
    """Logging never interrupts; the next step does. The publisher is woken as by any line."""
    woken: list[int] = []
    job = Job(key="t", name="tests.job", exec="e", options=Options(capture_logs="INFO"))
    reporter = Reporter(job, lambda: woken.append(1))
    token = running.set(reporter)
    try:
        reporter.ask_cancel()
        with log_capture.capturing(job.name, __name__):
            logger.info("still here")
        with pytest.raises(progress.TaskCancelled):
            progress.advance()
    finally:
        running.reset(token)
    assert list(reporter.logs) == [("INFO", "still here")]
    assert woken == [1]


def test_task_that_has_ended_is_not_heard_any_more() -> None:
    """A helper thread that goes on logging after the end adds nothing, though another task may hold the handler."""
    job = Job(key="t", name="tests.job", exec="e", options=Options(capture_logs="INFO"))
    reporter = Reporter(job)
    token = running.set(reporter)
    try:
        with log_capture.capturing(job.name, __name__):
            logger.info("in time")
            reporter.become(State.SUCCESS)
            logger.info("too late")
    finally:
        running.reset(token)
    assert list(reporter.logs) == [("INFO", "in time")]
