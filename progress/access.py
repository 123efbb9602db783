"""What one connection may see and do: the union of its session, its tokens, and what the site grants."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from .authorize import Run, granted
from .claims import Claim
from .conf import conf
from .permissions import Rights, Viewer, rights
from .record import Record
from .revocations import revocations
from .tokens import WatchToken, read_token

MAX_TOKENS: Final = 100  # per connection; the oldest are forgotten
NONE: Final[frozenset[str]] = frozenset()
Read = Callable[[Sequence[str]], Awaitable[dict[str, Record]]]
Sorted = tuple[dict[str, Claim], list[str]]  # what may be watched, and what not

SHOWN: Final = ("watch", "cancel")  # what the site is asked about as soon as somebody wants to watch


class Access:
    """The rights of one connection. Whoever changes `viewer` looks at what is watched again."""

    def __init__(self) -> None:
        self.viewer = Viewer()
        self._tokens: list[WatchToken] = []
        self._granted: dict[str, frozenset[str]] = {}  # by the site's own function
        self._asked: dict[str, tuple[Run, frozenset[str]]] = {}  # what it was asked about

    def rights(self, key: str, claim: Claim) -> Rights:
        """What may be done with the task `key`."""
        return rights(key, claim, self.viewer, self._tokens, self._granted.get(key, NONE))

    async def rights_now(self, key: str, record: Record | None, actions: Collection[str]) -> frozenset[str]:
        """What may be done with the task, after the site was asked about `actions`, too."""
        claim = Claim.of(record) if record else None
        await self.ask([(Run.of(key, record), claim)], actions)
        return NONE if claim is None else self.rights(key, claim).actions

    async def sort_out(self, keys: Sequence[str], known: Mapping[str, Claim], read: Read) -> Sorted:
        """Which of `keys` may be watched. Unknown and forbidden cost the same one read, what is `known` none."""
        claims = {key: known[key] for key in keys if key in known}
        if unread := [key for key in keys if key not in claims]:
            records = await read(unread)
            claims |= {key: Claim.of(record) for key, record in records.items()}
            await self.ask((Run.of(key, records.get(key)), claims.get(key)) for key in unread)
        forbidden = self.over(claims)
        allowed = {key: claims[key] for key in keys if key in claims and key not in forbidden}
        refused = [key for key in keys if key not in allowed]
        for key in refused:
            self.forget(key)
        return allowed, refused

    def may_read_logs(self, key: str, claim: Claim) -> bool:
        """Log lines are made for no public: its owner, permitted staff and whom the site lets; a token won't do."""
        own = bool(self.viewer.user and self.viewer.user == claim.owner)
        return own or "logs" in self._granted.get(key, NONE) or self.rights(key, claim).staff

    # --- The site's own function -----------------------------------------------------------------------------

    async def ask(self, runs: Iterable[tuple[Run, Claim | None]], actions: Collection[str] = SHOWN) -> None:
        """Ask the site about what is not allowed without it. No claim: there is no such run; it is asked as well."""
        if conf.PROGRESS_AUTHORIZE is None:
            return
        wanted: dict[frozenset[str], list[Run]] = {}
        for run, claim in runs:
            known = NONE if claim is None else self.rights(run.task_id, claim).actions
            if missing := frozenset(actions) - known:
                wanted.setdefault(missing, []).append(run)
                self._asked[run.task_id] = (run, self._asked.get(run.task_id, (run, NONE))[1] | missing)
        for missing, asked in wanted.items():
            found = await granted(self.viewer, sorted(missing), asked)
            for run in asked:
                kept = self._granted.get(run.task_id, NONE) - missing
                self._granted[run.task_id] = kept | found.get(run.task_id, NONE)

    async def ask_again(self) -> None:
        """Ask about everything that was asked about before; what was granted may not be any more."""
        for actions in {actions for _, actions in self._asked.values()}:
            runs = [run for run, asked in self._asked.values() if asked == actions]
            found = await granted(self.viewer, sorted(actions), runs)
            self._granted |= {run.task_id: found.get(run.task_id, NONE) for run in runs if run.task_id in self._asked}

    def forget(self, key: str) -> None:
        """Nothing of what was granted for this task counts any more."""
        self._granted.pop(key, None)
        self._asked.pop(key, None)

    # --- Tokens ------------------------------------------------------------------------------------------------

    async def add_token(self, text: str) -> None:
        """Take a token. Raises `InvalidToken`, and `StoreUnavailable` when nobody knows what is revoked."""
        await revocations().alook()
        token = read_token(text)
        self._tokens = [*[known for known in self._tokens if not known.over][1 - MAX_TOKENS :], token]

    def next_expiry(self) -> float | None:
        """Seconds until the next token is over; None if there is none."""
        coming = [token.expires for token in self._tokens if not token.expired]
        return max(min(coming) - time.time(), 0.0) if coming else None

    # --- Both ----------------------------------------------------------------------------------------------------

    def over(self, claims: Mapping[str, Claim]) -> list[str]:
        """Which of the tasks that are watched may no longer be watched."""
        return [key for key, claim in claims.items() if "watch" not in self.rights(key, claim).actions]

    def item(self, key: str, claim: Claim, name: str) -> dict[str, Any]:
        """What the answer to ``watch`` says about one task."""
        right = self.rights(key, claim)
        may = [action for action in ("watch", "cancel", "terminate") if action in right.actions]
        return {"id": name, "may": may, "until": right.until}
