"""What a site's own function adds to the rules: `PROGRESS_AUTHORIZE` `(user, action, run) -> bool`.

It can only grant. Whoever may do something by the rules in `permissions.py` is not asked about; an answer that is not
True, an exception and a time-out grant nothing. It is also asked about runs that do not exist (then `run.name` is
empty, and the answer does not count), so that forbidden and unknown take the same time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from django.db import InterfaceError, OperationalError
from django.db.models import Model

from .claims import Claim
from .conf import conf
from .database_pool import DatabasePool
from .native_pool import QueuedCall, wait_in_turn
from .permissions import ARGUMENTS, RERUN, START, Rights, Viewer, rights, viewer_of
from .record import Record
from .tokens import WatchToken

logger = logging.getLogger(__name__)

TIMEOUT: Final = 2.0  # seconds that a socket waits for a function that answers nobody
CROWD_TIMEOUT: Final = 20.0  # seconds that it waits for its turn, as long as others are answered
REVIEW_TIMEOUT: Final = 5.0  # the same where it is asked again about what is shown already
BELIEVED: Final = 45.0  # seconds that an answer counts; a view that it allowed ends within 60, see `reviews.py`
AGAIN_AFTER: Final = 5.0  # seconds; when the function gave no answer
FRESH: Final = 5.0  # seconds; an older user object is loaded anew, for it remembers its permissions
REMEMBERED: Final = 10_000  # answers, and users
COMPLAIN_EVERY: Final = 60.0  # seconds

# Staff may do these by a permission alone; whose run it is does not matter.
_OF_STAFF: Final = {"start": START, "rerun": RERUN, "arguments": ARGUMENTS}
# Not Channels' shared thread: one slow answer would hold up every socket of the process.
# Whoever has no session may ask about very much, and shall not keep the others waiting; nor shall a crowd those whose
# views are reviewed: these have to end in time.
_threads: Final = DatabasePool(3, "progress-authorize")
_threads_for_reviews: Final = DatabasePool(1, "progress-authorize-reviews")
_threads_for_nobody: Final = DatabasePool(1, "progress-authorize-nobody")

Place = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """What the function is told of a run. `task_id` is empty for a task that is to be started, `name` for a run that
    does not exist. `owner` is ``str(pk)`` of a user, or "". `snapshot` is the public view; {} if there is none.
    """

    task_id: str = ""
    name: str = ""
    owner: str = ""
    tree: str = ""
    title: str = ""
    snapshot: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, key: str, record: Record | None) -> Run:
        """The run that a record is of; without one, a run that does not exist."""
        if record is None:
            return cls(key)
        told = record.snapshot()
        return cls(key, str(told.get("name", "")), record.owner, record.tree, str(told.get("title", "")), told)


class Grant(NamedTuple):
    """What the function said; None = nothing. It counts until then (seconds, monotonic)."""

    answer: bool | None
    until: float


def allowed(user: Any, action: str, run: Run) -> bool:
    """True if `user` may do this with the run, by the rules or by `PROGRESS_AUTHORIZE`. May ask the database.

    Actions: "watch", "cancel", "terminate", "start", "rerun", "arguments" (see them), "logs". A task that cannot be
    cancelled is not looked for here.
    """
    viewer = viewer_of(user)
    if action in _OF_STAFF:
        # A run that one may not see is none that one starts again, or whose arguments one sees.
        by_rule = _OF_STAFF[action] in viewer.permissions and (action == "start" or viewer.staff)
    elif action == "logs":
        by_rule = viewer.staff or (viewer.user != "" and viewer.user == run.owner)
    else:
        by_rule = action in rights(run.task_id, Claim(run.owner, run.tree), viewer).actions
    return by_rule or is_granted(viewer, action, run)


def rights_of(
    key: str, record: Record | None, viewer: Viewer, tokens: Iterable[WatchToken] = (), *actions: str
) -> Rights:
    """What may be done with the task of a record; of `actions`, those too that only the function allows.

    No record: nothing, after as many questions. May ask the database.
    """
    tokens = list(tokens)
    claim = None if record is None else Claim.of(record)
    known = Rights() if claim is None else rights(key, claim, viewer, tokens)
    missing = [action for action in actions if action not in known.actions]
    if conf.PROGRESS_AUTHORIZE is None or not missing:
        return known
    run = Run.of(key, record)
    granted = frozenset(action for action in missing if is_granted(viewer, action, run))
    return known if claim is None or not granted else rights(key, claim, viewer, tokens, granted)


def is_granted(viewer: Viewer, action: str, run: Run) -> bool:
    """What the function says, called here; its answer is believed for 45 s. May ask the database.

    Takes as long as the function does. While another thread asks the same, this one waits 2 s for that answer; for no
    queue, though: what only waits for its turn is asked here.
    """
    if conf.PROGRESS_AUTHORIZE is None:
        return False
    asked, is_mine = _answers.claim(_place(viewer, action, run))
    if is_mine or _answers.take(asked):
        _ask(asked, viewer, action, run)
    try:
        return bool(asked.told.result(TIMEOUT)) and bool(run.name)
    except TimeoutError:
        return False


async def granted(viewer: Viewer, wanted: Sequence[tuple[Run, str]], *, again: bool = False) -> list[Grant]:
    """What the function says of each pair of a run and an action; `again` of what it has granted before.

    It has 2 s for an answer. When thousands come at once, each waits for its turn, up to 20 s, as long as others are
    answered, and up to 5 s `again`.
    """
    if conf.PROGRESS_AUTHORIZE is None or not wanted:
        return [Grant(False, time.monotonic() + BELIEVED)] * len(wanted)
    asked, pool = list[_Question](), _threads_for_reviews if again else _threads
    if not viewer.user:
        pool = _threads_for_nobody
    for run, action in wanted:
        question, is_mine = _answers.claim(_place(viewer, action, run))
        asked.append(question)
        if is_mine:
            question.call = pool.submit(_in_thread, question, viewer, action, run)
    waiting = [asyncio.wrap_future(question.told) for question in asked if not question.told.done()]
    began = time.monotonic()
    if not await wait_in_turn(waiting, lambda: _moved(asked), TIMEOUT, REVIEW_TIMEOUT if again else CROWD_TIMEOUT):
        waited = time.monotonic() - began
        _complain("PROGRESS_AUTHORIZE has not answered for %.0f s, for itself or a queue; it grants nothing", waited)
    return [question.grant(run) for question, (run, _) in zip(asked, wanted, strict=True)]


def _moved(asked: Iterable[_Question]) -> float:
    """When anything has last happened to those of the questions that are open (s, monotonic)."""
    return max((question.moved for question in asked if not question.told.done()), default=time.monotonic())


def _place(viewer: Viewer, action: str, run: Run) -> Place:
    return (viewer.user, action, run.task_id, run.name, run.owner, str(run.snapshot.get("run", "")))


# --- Asking ------------------------------------------------------------------------------------------------------


class _Question:
    """One call of the function, and what came of it. Whoever asks the same meanwhile waits for this answer."""

    def __init__(self) -> None:
        self.told: Future[bool | None] = Future()
        self.told.set_running_or_notify_cancel()  # or a socket that stops waiting would cancel it for all
        self.asked = time.monotonic()
        self.until = self.asked + BELIEVED
        self.call: QueuedCall | None = None  # None: a page asks, in its own thread

    @property
    def moved(self) -> float:
        """As of a call in a pool."""
        return self.asked if self.call is None else self.call.moved

    def settle(self, answer: bool | None) -> None:
        if answer is None:
            self.until = time.monotonic() + AGAIN_AFTER
        self.told.set_result(answer)

    def grant(self, run: Run) -> Grant:
        if not self.told.done():
            return Grant(None, 0.0)  # asked for again soon: the answer may be there then
        answer = self.told.result()
        return Grant(None if answer is None else answer and bool(run.name), self.until)


class _Answers:
    """Questions whose answers still count, or are waited for. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held for a few operations on the dictionary, never while somebody is asked
        self._kept: OrderedDict[Place, _Question] = OrderedDict()

    def claim(self, place: Place) -> tuple[_Question, bool]:
        """The question about this, and whether it is new: then the caller has to ask it."""
        with self._lock:
            known = self._kept.get(place)
            if known is not None and time.monotonic() < known.until:
                return known, False
            fresh = self._kept[place] = _Question()
            self._kept.move_to_end(place)
            while len(self._kept) > REMEMBERED:
                self._kept.popitem(last=False)
            return fresh, True

    def take(self, question: _Question) -> bool:
        """Take a question out of the queue in which it waits. True for one caller alone, who has to ask it."""
        with self._lock:
            call = question.call
            return call is not None and not call.cancelled() and call.cancel()

    def forget(self) -> None:
        """Ask again."""
        with self._lock:
            self._kept.clear()


_answers: Final = _Answers()
_accounts: OrderedDict[str, tuple[float, Any]] = OrderedDict()
_complained: list[float] = []


def _in_thread(question: _Question, viewer: Viewer, action: str, run: Run) -> None:
    if time.monotonic() - question.asked > CROWD_TIMEOUT:
        question.settle(None)  # nobody waits any more, and others do
    else:
        _ask(question, viewer, action, run)


def _ask(question: _Question, viewer: Viewer, action: str, run: Run) -> None:
    answer: bool | None = False
    try:
        function = conf.PROGRESS_AUTHORIZE
        answer = function is not None and function(_account(viewer), action, run) is True
    except (OperationalError, InterfaceError) as error:
        answer = None  # the database is away: no reason to take away what was granted
        _complain("PROGRESS_AUTHORIZE could not be asked, so it grants nothing: %r", error)
    except Exception as error:  # noqa: BLE001 (a site's function: its mistake grants nothing, and breaks nothing)
        _complain("PROGRESS_AUTHORIZE failed, so it grants nothing", error=error)
    finally:
        question.settle(answer)


def _account(viewer: Viewer) -> Any:
    from django.contrib.auth.models import AnonymousUser  # a table: this module is known before Django's apps are

    account = viewer.account
    if account is None:
        return AnonymousUser()
    if time.monotonic() - viewer.since < FRESH or not isinstance(account, Model):
        return account
    at, known = _accounts.get(viewer.user, (0.0, None))
    if known is None or time.monotonic() - at >= FRESH:
        found = account.__class__._default_manager.filter(pk=account.pk).first()
        known = found if getattr(found, "is_active", False) else AnonymousUser()
        _accounts[viewer.user] = (time.monotonic(), known)
        while len(_accounts) > REMEMBERED:
            _accounts.popitem(last=False)
    return known


def _complain(message: str, *values: object, error: Exception | None = None) -> None:
    """Warn once a minute: a function that fails is asked very often."""
    now = time.monotonic()
    if not _complained or now - _complained[0] >= COMPLAIN_EVERY:
        _complained[:] = [now]
        logger.warning(message, *values, exc_info=error)
