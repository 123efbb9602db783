"""What one connection may see and do: the union of its session and the tokens it was given."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from .claims import Claim
from .permissions import Rights, Viewer, rights
from .tokens import WatchToken, read_token

MAX_TOKENS: Final = 100  # per connection; the oldest are forgotten


class Access:
    """The rights of one connection. Asks nobody: whoever changes `viewer` looks at what is watched again."""

    def __init__(self) -> None:
        self.viewer = Viewer()
        self._tokens: list[WatchToken] = []

    def rights(self, key: str, claim: Claim) -> Rights:
        """What may be done with the task `key`."""
        return rights(key, claim, self.viewer, self._tokens)

    def may_read_logs(self, key: str, claim: Claim) -> bool:
        """Log lines are not made for a public: its owner and permitted staff see them, a token does not do."""
        return bool(self.viewer.user and self.viewer.user == claim.owner) or self.rights(key, claim).staff

    def add_token(self, text: str) -> None:
        """Take a token. Raises `InvalidToken`."""
        token = read_token(text)
        self._tokens = [*[known for known in self._tokens if not known.expired][1 - MAX_TOKENS :], token]

    def next_expiry(self) -> float | None:
        """Seconds until the next token is over; None if there is none."""
        coming = [token.expires for token in self._tokens if not token.expired]
        return max(min(coming) - time.time(), 0.0) if coming else None

    def over(self, claims: Mapping[str, Claim]) -> list[str]:
        """Which of the tasks that are watched may no longer be watched."""
        return [key for key, claim in claims.items() if "watch" not in self.rights(key, claim).actions]

    def item(self, key: str, claim: Claim, name: str) -> dict[str, Any]:
        """What the answer to ``watch`` says about one task."""
        right = self.rights(key, claim)
        may = [action for action in ("watch", "cancel", "terminate") if action in right.actions]
        return {"id": name, "may": may, "until": right.until}
