"""What a site's own function adds to the rules: `PROGRESS_AUTHORIZE` `(user, action, run) -> bool`.

It can only grant. Whoever may do something by the rules in `permissions.py` is not asked about; an answer that is not
True, an exception and a time-out grant nothing. It is also asked about runs that do not exist (then `run.name` is
empty, and the answer does not count), so that forbidden and unknown take the same time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from django.contrib.auth.models import AnonymousUser
from django.db import close_old_connections

from .claims import Claim
from .conf import conf
from .permissions import ARGUMENTS, RERUN, START, Rights, Viewer, rights, viewer_of
from .record import Record
from .tokens import WatchToken

logger = logging.getLogger(__name__)

TIMEOUT: Final = 2.0  # seconds that a socket waits for an answer
BELIEVED: Final = 50.0  # seconds that an answer counts; a view that it allowed ends within 60
REMEMBERED: Final = 10_000  # answers

# Staff may do these by a permission alone; whose run it is does not matter.
_OF_STAFF: Final = {"start": START, "rerun": RERUN, "arguments": ARGUMENTS}
# Not Channels' shared thread: one slow answer would hold up every socket of the process.
_threads: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="progress-authorize")


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


def allowed(user: Any, action: str, run: Run) -> bool:
    """True if `user` may do this with the run, by the rules or by `PROGRESS_AUTHORIZE`. May ask the database.

    Actions: "watch", "cancel", "terminate", "start", "rerun", "arguments" (see them), "logs". A task that cannot be
    cancelled is not looked for here.
    """
    viewer = viewer_of(user)
    if action in _OF_STAFF:
        by_rule = _OF_STAFF[action] in viewer.permissions
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
    granted = frozenset(action for action in missing if is_granted(viewer, action, Run.of(key, record)))
    return known if claim is None or not granted else rights(key, claim, viewer, tokens, granted)


def is_granted(viewer: Viewer, action: str, run: Run) -> bool:
    """What the function says. Its answer is believed for 50 s. May ask the database; takes as long as that does."""
    if conf.PROGRESS_AUTHORIZE is None:
        return False
    place = (viewer.user, action, run.task_id, run.name, run.owner)
    answer = _answers.get(place)
    if answer is None:
        answer = _ask(viewer, action, run)
        _answers.put(place, answer)
    return answer and bool(run.name)


async def granted(viewer: Viewer, actions: Iterable[str], runs: Iterable[Run]) -> dict[str, frozenset[str]]:
    """Which of `actions` the function grants, by task id. All answers together are waited for 2 s; the rest is no."""
    wanted = [(run, action) for run in runs for action in actions]
    if conf.PROGRESS_AUTHORIZE is None or not wanted:
        return {}
    loop = asyncio.get_running_loop()
    asked = [loop.run_in_executor(_threads, _in_thread, viewer, action, run) for run, action in wanted]
    done, late = await asyncio.wait(asked, timeout=TIMEOUT)
    for answer in late:
        answer.cancel()
    if late:
        logger.warning("PROGRESS_AUTHORIZE did not answer within %.0f s, so it grants nothing", TIMEOUT)
    found: dict[str, set[str]] = {}
    for (run, action), answer in zip(wanted, asked, strict=True):
        if answer in done and answer.result():
            found.setdefault(run.task_id, set()).add(action)
    return {key: frozenset(actions) for key, actions in found.items()}


def _in_thread(viewer: Viewer, action: str, run: Run) -> bool:
    close_old_connections()
    try:
        return is_granted(viewer, action, run)
    finally:
        close_old_connections()


def _ask(viewer: Viewer, action: str, run: Run) -> bool:
    try:
        function: Callable[..., Any] | None = conf.PROGRESS_AUTHORIZE
        account = AnonymousUser() if viewer.account is None else viewer.account
        return function is not None and function(account, action, run) is True
    except Exception:
        logger.exception("PROGRESS_AUTHORIZE failed, so it does not grant %r", action)
        return False


class _Answers:
    """Answers that still count. Threads share it: every operation on it is one of a dictionary's own."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, ...], tuple[float, bool]] = OrderedDict()

    def get(self, place: tuple[str, ...]) -> bool | None:
        at, answer = self._kept.get(place, (0.0, False))
        return answer if at and time.monotonic() - at < BELIEVED else None

    def put(self, place: tuple[str, ...], answer: bool) -> None:
        self._kept.pop(place, None)
        self._kept[place] = (time.monotonic(), answer)
        while len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)

    def forget(self) -> None:
        """Ask again."""
        self._kept.clear()


_answers: Final = _Answers()
