"""A Redis as a company runs it: it knows one user, whose password no URL takes as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from tests.processes import Redis

SECRET = "p%25@/:?#w"
ENCODED = quote(SECRET, safe="")


class GuardedRedis(Redis):
    """Only `user` may come in, over TCP or by a socket in the file system."""

    user = "shop"

    @property
    def url(self) -> str:
        return f"redis://{self.user}:{ENCODED}@127.0.0.1:{self.port}/0"

    @property
    def socket(self) -> Path:
        return self.folder / "redis socket"

    def command(self) -> Sequence[str]:
        command = super().command()
        lines = ["user default off", f'user {self.user} on ">{SECRET}" ~* &* +@all', f'unixsocket "{self.socket}"']
        with Path(command[1]).open("a") as config:
            config.write("\n".join(lines) + "\n")
        return command
