"""What one connection may see and do: the union of its session, its tokens, and what the site grants."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final

from .authorize import Run
from .claims import Claim
from .grants import NONE, Grants
from .permissions import Rights, Viewer, rights
from .record import Record
from .revocations import Revocations, revocations
from .tokens import WatchToken, read_token

MAX_TOKENS: Final = 100  # per connection; the oldest are forgotten
Read = Callable[[Sequence[str]], Awaitable[dict[str, Record]]]
Sorted = tuple[dict[str, Claim], list[str]]  # what may be watched, and what not

SHOWN: Final = ("watch", "cancel")  # what the site is asked about as soon as somebody wants to watch


class Access:
    """The rights of one connection. Whoever changes `viewer` looks at what is watched again."""

    def __init__(self) -> None:
        self.viewer = Viewer()
        self._tokens: list[WatchToken] = []
        self._revocations: Revocations | None = None  # with the first token
        self._not_void_at = 0  # what the revocations had learnt when no token was void
        self._of_tasks, self._of_trees = Grants(), Grants()

    def rights(self, key: str, claim: Claim) -> Rights:
        """What may be done with the task `key`."""
        return rights(key, claim, self.viewer, self._tokens, self._of_tasks.of(key))

    def tree_rights(self, key: str, claim: Claim) -> Rights:
        """What may be done with the workflow `key`."""
        return rights(key, claim, self.viewer, self._tokens, self._of_trees.of(key))

    async def rights_now(self, key: str, record: Record | None, actions: Collection[str]) -> frozenset[str]:
        """What may be done with the task, after the site was asked about `actions`, too."""
        await self._ask({key: record}, actions)
        return NONE if record is None else self.rights(key, Claim.of(record)).actions

    async def sort_out(self, keys: Sequence[str], known: Mapping[str, Claim], read: Read) -> Sorted:
        """Which of `keys` may be watched. Unknown and forbidden cost the same one read, what is `known` none."""
        claims = {key: known[key] for key in keys if key in known}
        if unread := [key for key in keys if key not in claims]:
            records = await read(unread)
            claims |= {key: Claim.of(record) for key, record in records.items()}
            await self._ask({key: records.get(key) for key in unread}, SHOWN)
        forbidden = self.over(claims)
        allowed = {key: claims[key] for key in keys if key in claims and key not in forbidden}
        refused = [key for key in keys if key not in allowed]
        for key in refused:
            self.forget(key)
        return allowed, refused

    def may_read_logs(self, key: str, claim: Claim) -> bool:
        """Log lines are not made for a public: its owner, permitted staff and whom the site lets; no token."""
        own = bool(self.viewer.user and self.viewer.user == claim.owner)
        return own or "logs" in self._of_tasks.of(key) or self.rights(key, claim).staff

    # --- The site's own function ---------------------------------------------------------------------------

    async def _ask(self, records: Mapping[str, Record | None], actions: Collection[str]) -> None:
        """Ask about what is not allowed without it; about what does not exist as well."""
        missing = {}
        for key, record in records.items():
            known = NONE if record is None else self.rights(key, Claim.of(record)).actions
            missing[key] = [action for action in actions if action not in known]
        runs = {key: Run.of(key, record) for key, record in records.items() if missing[key]}
        await self._of_tasks.ask(self.viewer, runs, missing)

    async def ask_tree(self, key: str, run: Run, claim: Claim | None) -> None:
        """Ask about a workflow. No claim: there is none."""
        known = NONE if claim is None else self.tree_rights(key, claim).actions
        await self._of_trees.ask(self.viewer, {key: run}, {key: [each for each in SHOWN if each not in known]})

    async def ask_again(self, read: Read, trees: Mapping[str, Run]) -> None:
        """Ask about what was answered too long ago. Raises `StoreUnavailable`; then all is as before."""
        of_trees = self._of_trees.due()
        runs = {key: run for key, run in trees.items() if key in of_trees}
        await self._of_trees.ask(self.viewer, runs, of_trees, again=True)
        if of_tasks := self._of_tasks.due():
            # Of what Redis has forgotten nothing can be shown; it is asked about again when it is back.
            records = await read(list(of_tasks))
            runs = {key: Run.of(key, each) for key, each in records.items()}
            await self._of_tasks.ask(self.viewer, runs, of_tasks, again=True)

    def is_due(self) -> bool:
        """True if something must be looked at again now: an answer of the site is old, or a token was revoked."""
        return self._is_revoked() or bool(self._of_tasks.due() or self._of_trees.due())

    def _is_revoked(self) -> bool:
        known = self._revocations
        if known is None or known.learnt == self._not_void_at:
            return False
        learnt = known.learnt
        if any(known.voids(token.about, token.issued) for token in self._tokens):
            return True
        self._not_void_at = learnt
        return False

    def forget(self, key: str) -> None:
        """Nothing of what was granted for this task counts any more."""
        self._of_tasks.forget(key)

    def forget_tree(self, key: str) -> None:
        """Nothing of what was granted for this workflow counts any more."""
        self._of_trees.forget(key)

    # --- Tokens --------------------------------------------------------------------------------------------

    async def add_token(self, text: str) -> None:
        """Take a token. Raises `InvalidToken`, and `StoreUnavailable` when nobody knows what is revoked."""
        self._revocations, self._not_void_at = revocations(), 0
        await self._revocations.alook()
        token = read_token(text)
        self.drop_tokens()
        self._tokens = [*self._tokens[1 - MAX_TOKENS :], token]

    def drop_tokens(self) -> None:
        """Keep only the tokens that count."""
        self._tokens = [token for token in self._tokens if not token.over]

    def next_expiry(self) -> float | None:
        """Seconds until the next token is over; None if there is none."""
        coming = [token.expires for token in self._tokens if not token.expired]
        return max(min(coming) - time.time(), 0.0) if coming else None

    # --- All of them ---------------------------------------------------------------------------------------

    def over(self, claims: Mapping[str, Claim]) -> list[str]:
        """Which of the tasks that are watched may no longer be watched."""
        return [key for key, claim in claims.items() if "watch" not in self.rights(key, claim).actions]

    def item(self, key: str, claim: Claim, name: str) -> dict[str, Any]:
        """What the answer to ``watch`` says about one task."""
        return item_of(self.rights(key, claim), name)

    def tree_item(self, key: str, claim: Claim, name: str) -> dict[str, Any]:
        """What the answer to ``watch`` says about one workflow."""
        return item_of(self.tree_rights(key, claim), name)


def item_of(right: Rights, name: str) -> dict[str, Any]:
    """What watchers are told of their right to one task, or to one workflow."""
    may = [action for action in ("watch", "cancel", "terminate") if action in right.actions]
    return {"id": name, "may": may, "until": right.until}
