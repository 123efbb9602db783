"""Tasks that end in every way a task can end. Workers started by `tests.processes` know them."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import functools
import json
import logging
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

from celery import Task, chord, group, shared_task
from celery.exceptions import Ignore, Reject
from celery.utils.log import get_task_logger

import progress

logger = get_task_logger(__name__)

# --- Lives ---------------------------------------------------------------------------------------------------


@shared_task
def quick(number: int = 7) -> int:
    return number


@shared_task
@progress.options(title="Count {steps}", unit="steps")
def count(steps: int = 5, seconds: float = 0.0) -> int:
    """Takes `seconds` per step."""
    for _ in progress.track(range(steps)):
        time.sleep(seconds)
    return steps


@shared_task
def hold(path: str, *ignored: Any) -> str:
    """Runs until the file `path` exists."""
    progress.update(message="holding")
    while not Path(path).exists():
        time.sleep(0.01)
    return "released"


@shared_task
def silent(path: str) -> None:
    """Runs until the file `path` exists, and says nothing."""
    while not Path(path).exists():
        time.sleep(0.01)


@shared_task
@progress.options(track=False)
def untracked(began: str, path: str) -> None:
    """Leaves a file `began`, runs until the file `path` exists, and nobody follows it."""
    Path(began).touch()
    while not Path(path).exists():
        time.sleep(0.01)


@shared_task(ignore_result=True)
def without_result() -> int:
    progress.advance()
    return 5


@shared_task
@progress.options(show_result=True)
def open_result(result: Any = "42") -> Any:
    return result


@shared_task
def fails(*ignored: Any, text: str = "secret text") -> None:
    raise ValueError(text)


@shared_task
@progress.options(show_error=True)
def fails_openly(text: str = "the file is empty") -> None:
    raise ValueError(text)


class Unprintable(Exception):
    """As some drivers raise it."""

    def __str__(self) -> str:
        raise RuntimeError("no text for you")


@shared_task(ignore_result=True, store_errors_even_if_ignored=False)
def fails_unprintably() -> None:
    raise Unprintable


@shared_task(bind=True, max_retries=3)
def retries(self: Task, times: int = 1, countdown: float = 0.5) -> int:
    """Fails `times` times."""
    progress.update(current=self.request.retries + 1, total=times + 1)
    if self.request.retries < times:
        raise self.retry(countdown=countdown, exc=ValueError("not yet"))
    return int(self.request.retries)


@shared_task(bind=True, autoretry_for=(ConnectionError,), retry_backoff=0, max_retries=2, default_retry_delay=0)
@progress.options(title="Fetch {name}")
def autoretries(self: Task, name: str, times: int = 1) -> int:
    if self.request.retries < times:
        raise ConnectionError("not yet")
    return int(self.request.retries)


@shared_task
def ignores() -> None:
    raise Ignore


@shared_task(acks_late=True)
def rejects() -> None:
    raise Reject("no use", requeue=False)


@shared_task(acks_late=True)
def rejects_once(path: str) -> str:
    """Goes back into the queue the first time."""
    if not Path(path).exists():
        Path(path).touch()
        raise Reject("later", requeue=True)
    return "taken"


@shared_task(bind=True)
def replaces(self: Task) -> None:
    raise self.replace(quick.s(8))


@shared_task
@progress.options(cancellable=False)  # asks Redis nothing before it starts
def dies(report: bool = False) -> None:
    """Kills its own process, after a report that was written if `report`."""
    if report:
        for step in progress.track(range(1000)):
            if step == 20:
                break
            time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(acks_late=True, reject_on_worker_lost=True)
def dies_once(path: str) -> str:
    """Is delivered again after its process died."""
    progress.advance()
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "second life"


@shared_task(time_limit=1)
def exceeds_hard_limit() -> None:
    progress.update(current=1, total=2)
    time.sleep(60)


@shared_task(soft_time_limit=1)
def exceeds_soft_limit() -> None:
    progress.update(current=1, total=2)
    time.sleep(60)


# --- Cancelling ------------------------------------------------------------------------------------------------


def _body(path: str, step: Any) -> str:
    """Reports until it is stopped, and notes in the file `path` what it went through."""
    notes = Path(path)
    notes.write_text("began ")
    try:
        for number in range(2000):
            try:
                step(number)
            except Exception:
                notes.write_text(notes.read_text() + "swallowed ")
            time.sleep(0.01)
    finally:
        notes.write_text(notes.read_text() + "finally")
    return "done"


@shared_task
def advances(path: str, *ignored: Any) -> str:
    return _body(path, lambda number: progress.advance())


@shared_task
def updates(path: str) -> str:
    return _body(path, lambda number: progress.update(current=number, message=f"at {number}"))


@shared_task
def tracks(path: str) -> str:
    steps = progress.track(range(2000))
    return _body(path, lambda number: next(steps))


@shared_task(bind=True)
def updates_state(self: Task, path: str) -> str:
    return _body(path, lambda number: self.update_state(state="PROGRESS", meta={"current": number}))


@shared_task
@progress.options(cancellable=False)
def unstoppable(path: str, steps: int = 150) -> str:
    for _ in progress.track(range(steps)):
        time.sleep(0.01)
    Path(path).write_text("ran to its end")
    return "done"


@shared_task
def touches(path: str, *ignored: Any) -> str:
    Path(path).touch()
    return path


# --- What the hooks see ----------------------------------------------------------------------------------------


@shared_task(bind=True)
def states(self: Task, meta: dict[str, Any]) -> None:
    self.update_state(state="PROGRESS", meta=meta)


@shared_task(bind=True)
def tells_its_id(self: Task) -> str:
    return str(self.request.id)


@shared_task(bind=True)
def calls_plainly(self: Task, depth: int = 2) -> list[Any]:
    """Calls itself and another task as plain functions."""
    if depth == 0:
        return [self.request.id]
    return [self.request.id, count(3), *calls_plainly(depth - 1)]


class Counting(Task):
    """A site's own base class."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return [f"called {self.name}", super().__call__(*args, **kwargs)]

    def update_state(self, share: float) -> None:  # another signature than Celery's
        super().update_state(state="PROGRESS", meta={"current": share, "total": 1})


def _decorated(function: Any) -> Any:
    @functools.wraps(function)
    def call(self: Task, *args: Any, **kwargs: Any) -> Any:
        return ["decorated", function(self, *args, **kwargs)]

    return call


class Decorated(Task):
    """A base class whose method carries ``__wrapped__``, which Celery's own annotations take off."""

    abstract = True
    __call__ = _decorated(Task.__call__)


@shared_task(bind=True, base=Counting)
def with_own_base(self: Task) -> str:
    self.update_state(0.5)
    return str(self.request.id)


@shared_task(bind=True, base=Decorated)
def with_decorated_base(self: Task) -> str:
    progress.advance()
    return str(self.request.id)


# --- Families --------------------------------------------------------------------------------------------------


@shared_task
def adds(*numbers: Any) -> int:
    return sum(number if isinstance(number, int) else sum(number) for number in numbers)


@shared_task
def sends_a_child() -> str:
    return str(quick.delay().id)


# --- What reporting costs --------------------------------------------------------------------------------------


@shared_task
@progress.options(title="Measure")
def measures_calls(path: str, seconds: float = 1.0) -> float:
    """Reports for `seconds`, and on until the file `path` exists; returns what the dearest call took (s)."""
    dearest, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end or not Path(path).exists():
        began = time.monotonic()
        progress.advance()
        progress.update(message="still here", total=10_000)
        progress.log("still here")
        dearest = max(dearest, time.monotonic() - began)
        time.sleep(0.005)
    return dearest


# --- In every pool ---------------------------------------------------------------------------------------------


@shared_task
def keeps_an_account(path: str, steps: int = 1000) -> int:
    """Advances by random numbers, and writes what they add up to into the file `path`."""
    account = 0
    for _ in range(steps):
        step = random.randint(1, 9)
        account += step
        progress.advance(step)
        time.sleep(0)  # where tasks share a thread: somebody else's turn
    progress.update(total=account)
    Path(path).write_text(str(account))
    return account


@shared_task
def runs_a_loop(path: str, steps: int = 1000) -> int:
    """Like `keeps_an_account`, from four tasks of an event loop inside its body."""

    async def part(steps: int) -> int:
        account = 0
        for _ in range(steps):
            step = random.randint(1, 9)
            account += step
            progress.advance(step)
            await asyncio.sleep(0)
        return account

    async def parts() -> list[int]:
        return await asyncio.gather(*(part(steps // 4) for _ in range(4)))

    account = sum(asyncio.run(parts()))
    Path(path).write_text(str(account))
    return account


@shared_task
def runs_threads(path: str, steps: int = 1000) -> int:
    """Like `keeps_an_account`, from four threads; two bring the context of their task, two its reporter."""
    reporter = progress.reporter()
    account: list[int] = []

    def part(advance: Any) -> None:
        for _ in range(steps // 4):
            step = random.randint(1, 9)
            account.append(step)
            advance(step)

    ways = [functools.partial(part, reporter.advance)] * 2
    ways += [functools.partial(contextvars.copy_context().run, part, progress.advance) for _ in range(2)]
    threads = [threading.Thread(target=way) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    Path(path).write_text(str(sum(account)))
    return sum(account)


@shared_task
def sleeps(path: str, seconds: float = 60) -> None:
    """Begins the file `path` and then does nothing that could be interrupted between two steps."""
    progress.update(current=1, total=2)
    Path(path).touch()
    time.sleep(seconds)


@shared_task
@progress.options(capture_logs="INFO", stall_after=30)
def has_stages(path: str, fails: bool = False) -> None:
    """Reads, then writes half and waits until the file `path` exists. Its logger says what it does."""
    progress.stages({"read": 3, "write": 1})
    with progress.stage("read"):
        logger.info("Reading %s", "rows")
        logging.getLogger("somewhere.else").warning("of no account")
        for _ in progress.track(range(4), unit="rows"):
            pass
    with progress.stage("write"):
        progress.update(total=2)
        progress.advance()
        while not Path(path).exists():
            time.sleep(0.01)
            progress.update(message="waiting")
        if fails:
            raise ValueError("The disk is full.")


@shared_task
def sends_parts(path: str, fails_too: bool = False) -> str:
    """Sends a part that holds until the file `path` exists, one that is quick and one that may fail, and returns."""
    last = fails.si() if fails_too else quick.si()
    parts = [hold.si(path).set(headers={"progress-weight": 2}), quick.si(), last]
    return str(group(parts).delay().id)


@shared_task(bind=True)
def replaced_by_parts(self: Task, path: str) -> None:
    """Goes on as a chord under the same id."""
    raise self.replace(chord([hold.si(path), quick.si(1)], adds.si(1, 2)))


# --- Lost and found --------------------------------------------------------------------------------------------


@shared_task
def steps(path: str, *ignored: Any) -> str:
    """Reports every 0.1 s until the file `path` exists."""
    while not Path(path).exists():
        progress.advance()
        time.sleep(0.1)
    return "released"


@shared_task(acks_late=True)
def late_steps(path: str) -> str:
    """Like `steps`; its message stays the broker's until it ends. The file ``<path>.1`` ends its first execution.

    Each execution adds a line to ``<path>.begun``.
    """
    begun = Path(f"{path}.begun")
    with begun.open("a") as notes:
        notes.write(f"{os.getpid()}\n")
    own = Path(f"{path}.{len(begun.read_text().splitlines())}")
    while not Path(path).exists() and not own.exists():
        progress.advance()
        time.sleep(0.1)
    return "released"


@shared_task(acks_late=True, reject_on_worker_lost=True)
def late_dies_once(path: str) -> str:
    """Reports, and kills its own process when the file `path` exists; its second execution returns."""
    begun = Path(f"{path}.begun")
    again = begun.exists()
    begun.touch()
    while not again and not Path(path).exists():
        progress.advance()
        time.sleep(0.05)
    if not again:
        os.kill(os.getpid(), signal.SIGKILL)
    progress.advance()
    while not Path(f"{path}.end").exists():
        time.sleep(0.05)
    return "second life"


@shared_task
def holds_the_interpreter(path: str, seconds: float) -> str:
    """Reports, and when the file `path` exists lets no other thread of its process run for so long, as a C extension
    or a hard `re` may.
    """
    progress.update(message="holding")
    while not Path(path).exists():
        time.sleep(0.01)
    end = time.monotonic() + seconds
    library = ctypes.PyDLL(None)  # calls keep the interpreter's lock
    while (left := end - time.monotonic()) > 0:
        library.usleep(int(min(left, 30) * 1_000_000))
    return "came back"


@shared_task
def outlived(path: str) -> str:
    """Leaves a forked process and a thread behind, which go on reporting until the file ``<path>.stop`` exists.

    Each writes a line into ``<path>.<who>`` per report that it has made.
    """
    stop = Path(f"{path}.stop")
    reporter = progress.reporter()

    def go_on(who: str, report: Any) -> None:
        with Path(f"{path}.{who}").open("a", buffering=1) as notes:
            end = time.monotonic() + 60
            while not stop.exists() and time.monotonic() < end:
                report()
                notes.write("reported\n")
                time.sleep(0.02)

    progress.update(current=3, total=10)
    pid = os.fork()
    if pid == 0:
        try:
            go_on("fork", progress.advance)
        finally:
            os._exit(0)
    threading.Thread(target=go_on, args=("thread", reporter.advance), daemon=True).start()
    while not all(Path(f"{path}.{who}").exists() for who in ("fork", "thread")):
        time.sleep(0.01)
    return "left"


# --- Stopped, and when -----------------------------------------------------------------------------------------


def _note(path: str, word: str) -> None:
    """Append a line to the file `path`: what happened, and when (µs since 1970, as Redis counts)."""
    with Path(path).open("a") as notes:
        notes.write(f"{word} {time.time_ns() // 1000}\n")


@shared_task
def works(path: str, reports: bool = True, stubborn: bool = False) -> str:
    """Works until the file ``<path>.release`` exists, then tidies up; notes when it begins, is hit, and stops.

    One that is `stubborn` goes on whatever hits it.
    """
    progress.update(message="working")
    _note(path, "start")  # from here on a wish that stops it is noted, too
    hit = False
    try:
        while not Path(f"{path}.release").exists():
            try:
                time.sleep(0.02)
                if reports:
                    progress.advance()
            except BaseException:
                if not hit:
                    _note(path, "hit")
                hit = True
                if not stubborn:
                    raise
        return "released"
    finally:
        time.sleep(0.3)  # tidying up takes its time
        _note(path, "stop")


@shared_task(bind=True, max_retries=3)
def works_again(self: Task, path: str) -> str:
    """Asks to be tried again in 0.8 s, each time."""
    _note(path, "start")
    _note(path, "stop")
    raise self.retry(countdown=0.8)


@shared_task
def leaves_a_thread(path: str) -> None:
    """Reports until it is stopped, and leaves a thread behind that does the same and notes each step."""

    def go_on() -> None:
        try:
            while True:
                _note(path, "step")
                time.sleep(0.02)
                progress.advance()
        except progress.TaskCancelled:
            _note(path, "stop")

    # It begins when the body is being stopped, so that the body is the first to be hit.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(go_on,))
    _note(path, "start")
    try:
        while True:
            progress.advance()
            time.sleep(0.02)
    finally:
        thread.start()


@shared_task(soft_time_limit=1)
def exceeds_soft_limit_chattily() -> None:
    """Reports in all ways, without a pause, until the limit is raised somewhere inside of that."""
    for number in range(10**9):
        progress.update(current=number % 50, total=100, message=f"at {number}", meta={"number": number})
        progress.advance()
        progress.log("still here")


@shared_task
def leaves(status: int = 3) -> None:
    """Ends its process as a program would."""
    progress.advance()
    raise SystemExit(status)


# --- What a database may not like ------------------------------------------------------------------------------


@shared_task
@progress.options(title="Say {text}", show_error=True)
def says(text: str) -> None:
    """Says `text` in every way there is, and fails with it."""
    progress.update(message=text, meta={"text": text})
    progress.log(text)
    raise ValueError(text)


@shared_task
@progress.options(title="Sign {user} in with {password}", show_error=True, show_result=True)
def signs_in(user: str, password: str, server: dict[str, str] | None = None, fails: bool = False) -> dict[str, str]:
    """Knows a password, returns it under a telling name, or says it in its error."""
    if fails:
        raise ValueError(f"{user} is not {password}")
    return {"user": user, "token": password}


@shared_task
@progress.options(title="Open with {password} and {server}")
def knows_secrets(path: str, how: str, customer: str, password: str, server: dict[str, str]) -> str:
    """Says those of the file `path` (JSON), each in its place; ends `how` it is told when ``<path>.go`` exists."""
    texts: dict[str, str] = json.loads(Path(path).read_text())
    progress.update(message=texts["message"], meta={"private": texts["private"]})
    progress.log(texts["log"])
    while not Path(f"{path}.go").exists():
        progress.advance()
        time.sleep(0.05)
    if how == "returns":
        return texts["result"]
    raise ValueError(texts["error"]) if how == "fails" else PermissionError(texts["redacted"])


@shared_task
@progress.options(store_arguments=False)
def forgets_arguments(text: str) -> int:
    return len(text)


# --- What pages watch over bad lines -----------------------------------------------------------------------------


@shared_task
@progress.options(title="Count until told", unit="steps")
def counts_until(path: str, total: int = 100_000) -> str:
    """Reports some fifty times a second until the file `path` exists."""
    for number in range(total):
        progress.update(current=number, total=total)
        if Path(path).exists():
            return "told"
        time.sleep(0.02)
    raise AssertionError(f"Nobody made {path}.")
