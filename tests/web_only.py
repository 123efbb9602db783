"""A site without a worker: Redis and Daphne, in settings and patience of the test's choice."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from .processes import Site, Web, migrated_database


class ChosenWeb(Web):
    """Daphne with another ASGI application than the shipped one."""

    application = "tests.quick_asgi:application"

    def command(self) -> Sequence[str]:
        return [*super().command()[:-1], self.application]


class WebOnly(Site):
    """Redis and Daphne. `env` goes to Daphne, `settings` names its settings module."""

    def __init__(
        self, folder: Path, *, env: Mapping[str, str] | None = None, settings: str = "project.settings"
    ) -> None:
        super().__init__(folder, env={"DJANGO_SETTINGS_MODULE": settings, **(env or {})})
        self.web = ChosenWeb(folder, self.env)

    def start(self) -> Self:
        """Start both and wait until they are ready."""
        shutil.copy(migrated_database(), self.data / "db.sqlite3")
        self.redis.start()
        self.web.start()
        return self
