"""The servers that are measured: the shipped site with the tutorial's consumer in it, and programs that only pass on.

Each one is a single process, whose CPU and memory `bench.rig` reads.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.processes import Uvicorn, Web, migrated_database

from .rig import Rig, cpu_of, memory_of


class Measured(Web):
    """A server with its own figures."""

    @property
    def ws(self) -> str:
        """Where its sockets are, without a slash at the end."""
        return self.url.replace("http", "ws", 1)

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far."""
        return cpu_of(self.pid)

    @property
    def memory(self) -> int:
        """Bytes that it has for itself."""
        return memory_of(self.pid)


class OnDaphne(Measured):
    """Daphne with `bench.asgi`, as `docs/running.md` has it for crowds."""

    def command(self) -> Sequence[str]:
        listens = f"tcp:port={self.port}:interface=127.0.0.1:backlog=4096"
        options = ("-e", listens, "--websocket_connect_timeout", "60", "--verbosity", "0")
        return [sys.executable, "-m", "daphne", *options, "bench.asgi:application"]


class OnUvicorn(Uvicorn, Measured):
    """The same on uvicorn and uvloop, as its own extra `standard` has it, with the options for crowds."""

    application = "bench.asgi:application"
    pings = 60  # seconds between two of a connection

    def command(self) -> Sequence[str]:
        crowd = ("--backlog", "4096", "--ws-ping-interval", str(self.pings), "--ws-ping-timeout", "20")
        return [*super().command(), *crowd, "--loop", "uvloop", "--log-level", "warning"]


class Passing(Measured):
    """A program of `bench.peers` that sends everything published to a Redis channel to every socket."""

    def __init__(self, rig: Rig, module: str, channel: str, folder: Path) -> None:
        super().__init__(folder, rig.env, name=module)
        self.module, self.channel, self._redis = module, channel, rig.redis

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", f"bench.peers.{self.module}", str(self.port), self._redis.url, self.channel]


def site(kind: type[Measured], rig: Rig, name: str, extra: Mapping[str, str] | None = None) -> Measured:
    """The shipped site on one kind of server, with a migrated database; started. Whoever asks stops it."""
    data = Path(rig.env["DATA_DIR"])
    data.mkdir(parents=True, exist_ok=True)
    database = data / "db.sqlite3"
    if not database.exists():
        import shutil

        shutil.copy(migrated_database(), database)
    server = kind(rig.folder, {**rig.env, **(extra or {})}, name=name)
    server.start()
    return server
