"""A real PostgreSQL for tests: a cluster of its own on a free loopback port, as Debian's package brings it."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

from project.redis_server import free_port

from .processes import Server, is_running, wait_until

UNPRIVILEGED = ("postgres", "nobody")  # PostgreSQL refuses to run as root; the first of these that exists
GIVE_WAY = 10.0  # seconds until whatever has not left is killed
NAME = "progress"  # of the superuser and of the database


def programs() -> Path | None:
    """The folder of the newest `initdb` and `postgres` on this machine; None if there are none.

    Debian keeps them out of PATH.
    """
    found = shutil.which("initdb")
    if found and shutil.which("postgres"):
        return Path(found).resolve().parent
    folders = [each.parent for each in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(folders, key=lambda folder: float(folder.parent.name), default=None)


class Postgres(Server):
    """A PostgreSQL of its own. What was committed outlives `kill` and `restart`; `discard` ends and removes it.

    `data` is where the cluster lives, made if it is not there, and left there. Without it that is a folder which
    `discard` removes: pytest's own are closed to the user that it has to run as where the tests run as root.
    """

    def __init__(self, folder: Path, *, data: Path | None = None, port: int = 0, name: str = "postgres") -> None:
        super().__init__(name, folder)
        self.port = port or free_port()
        self._own = data is None
        self.data = data or Path(tempfile.mkdtemp(prefix="progress-postgres-"))
        if self._own:
            atexit.register(shutil.rmtree, self.data, ignore_errors=True)
        self.cwd = self.data

    @property
    def url(self) -> str:
        """As `DATABASE_URL` has it."""
        return f"postgres://{NAME}@127.0.0.1:{self.port}/{NAME}"

    @property
    def options(self) -> Mapping[str, Any]:
        """What `subprocess` is told beside the command: who runs it."""
        if os.geteuid():
            return {}
        owner = self._owner()
        return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}

    def command(self) -> Sequence[str]:
        return [
            *(str(_folder() / "postgres"), "-D", str(self.data)),
            *("-c", "listen_addresses=127.0.0.1", "-p", str(self.port)),
            *("-c", "unix_socket_directories="),  # a path of a test is too long for one
            *("-c", "fsync=off"),  # outlives the program, not the machine
        ]

    def start(self, *, wait: bool = True) -> Self:
        if not (self.data / "PG_VERSION").exists():
            self._make()
        return super().start(wait=wait)

    def is_ready(self) -> bool:
        import psycopg  # not in every environment that imports this package

        with suppress(psycopg.OperationalError), closing(self.connect("postgres", connect_timeout=2)) as connection:
            made = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [NAME]).fetchone()
            if made is None:
                connection.execute(f"CREATE DATABASE {NAME}")
            return True
        return False

    def connect(self, database: str = NAME, **options: Any) -> Any:
        """A psycopg connection for the test itself, which commits each statement. Close it."""
        import psycopg

        where = {"host": "127.0.0.1", "port": self.port, "user": NAME, "dbname": database}
        return psycopg.connect(**where, autocommit=True, **options)

    def ask(self, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The rows that a query answers, by name of column."""
        from psycopg.rows import dict_row

        with closing(self.connect(row_factory=dict_row)) as connection:
            return list(connection.execute(query, parameters).fetchall())

    def kill(self) -> None:
        """Have it fall: all connections are cut and nothing is tidied, so the next start recovers.

        By its own "immediate shutdown" (SIGQUIT): killed by SIGKILL it would leave shared memory in the machine.
        """
        if self._process is None:
            return
        children = self._children()
        self.resume()
        self.signal(signal.SIGQUIT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GIVE_WAY)
        super().kill()
        # Each of its processes leads a group of its own.
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, children)), GIVE_WAY, "its processes are gone")

    def discard(self) -> None:
        """End it, and remove the data if nobody said where it is to be."""
        self.kill()
        if self._own:
            shutil.rmtree(self.data)

    def _children(self) -> list[int]:
        found = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in found.read_text().split()] if self.alive and found.exists() else []

    def _owner(self) -> pwd.struct_passwd:
        there = {each.pw_name: each for each in pwd.getpwall()}
        return next(there[name] for name in UNPRIVILEGED if name in there)

    def _make(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        if not os.geteuid():
            owner = self._owner()
            os.chown(self.data, owner.pw_uid, owner.pw_gid)
        # Not the collation "C", in which more can be answered from an index than on most machines.
        command = [str(_folder() / "initdb"), "-D", str(self.data), "-U", NAME, "-A", "trust"]
        command += ["-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
        done = subprocess.run(
            command, cwd=self.data, capture_output=True, text=True, timeout=60, check=False, **self.options
        )
        if done.returncode:
            raise AssertionError(f"initdb ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def _folder() -> Path:
    found = programs()
    if found is None:
        raise AssertionError("There is no PostgreSQL here. Install it: apt install postgresql")
    return found
