"""What a site's own function has granted to one connection, and when it must be asked again."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Final

from .authorize import Grant, Run, granted
from .conf import conf
from .permissions import Viewer

NONE: Final[frozenset[str]] = frozenset()


class Grants:
    """By key, of tasks or of workflows. Empty, and without a cost, on sites that have no such function."""

    def __init__(self) -> None:
        self._told: dict[str, dict[str, Grant]] = {}

    def of(self, key: str) -> frozenset[str]:
        """The actions that are granted."""
        told = self._told.get(key)
        return frozenset(action for action, grant in told.items() if grant.answer) if told else NONE

    def forget(self, key: str) -> None:
        """Nothing of what was granted counts any more."""
        self._told.pop(key, None)

    def due(self) -> dict[str, list[str]]:
        """What must be asked again now: keys, and their actions."""
        now = time.monotonic()
        found = {}
        for key, told in self._told.items():
            if actions := [action for action, grant in told.items() if grant.until <= now]:
                found[key] = actions
        return found

    async def ask(
        self, viewer: Viewer, runs: Mapping[str, Run], actions: Mapping[str, Collection[str]], *, again: bool = False
    ) -> None:
        """Ask about these actions with these runs, perhaps `again`.

        Where there is no answer, what counted before goes on counting.
        """
        if conf.PROGRESS_AUTHORIZE is None:
            self._told.clear()
            return
        wanted = [(key, action) for key in runs for action in actions.get(key, ())]
        known = {key: self._told.setdefault(key, {}) for key, _ in wanted}
        told = await granted(viewer, [(runs[key], action) for key, action in wanted], again=again)
        for (key, action), grant in zip(wanted, told, strict=True):
            before = known[key].get(action)
            answer = grant.answer if grant.answer is not None else bool(before and before.answer)
            known[key][action] = Grant(answer, grant.until)  # what was forgotten meanwhile is another dictionary
