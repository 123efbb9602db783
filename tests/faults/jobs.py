"""Tasks that write down themselves what they do, so that what is shown can be held against it."""

from __future__ import annotations

import time
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore

import progress

from .history import note


def _work(task: Any, oracle: str, steps: int, pause: float, how: str, chatty: int) -> int:
    """`steps` steps of `pause` seconds with `chatty` reports each, then the end that `how` names."""
    execution = progress.reporter().job.exec or task.request.id
    note(oracle, id=task.request.id, exec=execution, what="start")
    slowest = overslept = 0.0
    try:
        for _ in range(steps):
            before = time.monotonic()
            time.sleep(pause)
            overslept += max(time.monotonic() - before - pause - 0.1, 0.0)
            for _ in range(chatty):
                before = time.perf_counter()
                progress.update(message=execution, total=steps * chatty)
                progress.advance()
                slowest = max(slowest, time.perf_counter() - before)
    except progress.TaskCancelled:
        time.sleep(0.3)  # a body may take its time to tidy up; nobody may call it cancelled meanwhile
        note(oracle, id=task.request.id, exec=execution, what="stop", end="REVOKED")
        raise
    how = "SUCCESS" if how == "RETRY" and task.request.retries else how
    note(oracle, id=task.request.id, exec=execution, what="stop", end=how, slowest=slowest, overslept=overslept)
    if how == "FAILURE":
        raise ValueError("It was to fail")
    if how == "IGNORED":
        raise Ignore
    if how == "RETRY":
        raise task.retry(countdown=0.5, max_retries=1)
    return steps


@shared_task(bind=True, ignore_result=True)
def work(task: Any, oracle: str, steps: int, pause: float, how: str = "SUCCESS", chatty: int = 1) -> int:
    """Acknowledged when it starts: killed, it never runs again."""
    return _work(task, oracle, steps, pause, how, chatty)


@shared_task(bind=True, ignore_result=True, acks_late=True)
def late(task: Any, oracle: str, steps: int, pause: float, how: str = "SUCCESS", chatty: int = 1) -> int:
    """Acknowledged when it ends: it is delivered again when it takes too long, and runs twice at once."""
    return _work(task, oracle, steps, pause, how, chatty)


@shared_task(bind=True, ignore_result=True)
def talks(task: Any, oracle: str, lines: int, steps: int, pause: float) -> int:
    """Begins with a long log."""
    for number in range(lines):
        progress.log(f"{number} {'x' * 480}")
    return _work(task, oracle, steps, pause, "SUCCESS", 1)


@shared_task(bind=True, ignore_result=True, name="untracked.work")
def untracked(task: Any, oracle: str) -> None:
    """Nothing of ours sees it."""
    note(oracle, id=task.request.id, exec=task.request.id, what="start")
    note(oracle, id=task.request.id, exec=task.request.id, what="stop", end="SUCCESS")
