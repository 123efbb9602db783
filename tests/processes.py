"""Real servers for tests: Redis, Celery workers, Daphne, and the whole site made of them.

Everything listens on free loopback ports, runs in a process group of its own, writes to a log file that is shown
when a test fails, and is killed by its own pid.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from unittest.mock import patch
from uuid import uuid4

import redis

from project.redis_server import find_redis, free_port

ROOT = Path(__file__).resolve().parent.parent
BEAT = 0.02  # seconds between two looks at a condition
STILL = 0.3  # seconds; who comes later than that out of a sleep was on a machine that stood still
PATIENCE = 10.0  # seconds that a test waits for Redis where a site gives up: a machine may stand still
T = TypeVar("T")

# Everything that was started in this session, for the report of a failed test.
started: list[Server] = []


def wait_until(condition: Callable[[], T], seconds: float = 10, what: str = "") -> T:
    """Wait until `condition()` is true and return what it returned. Fails the test after `seconds`.

    The time for which the machine stands still does not count.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if (before := time.monotonic()) > deadline:
            raise AssertionError(f"Not within {seconds} s: {what or condition}. Last answer: {found!r}")
        time.sleep(BEAT)
        deadline += stood_still(before, BEAT)
    return found


def stood_still(since: float, pause: float) -> float:
    """Seconds for which nothing moved in a `pause` that began at `since` (monotonic) and has just ended."""
    return max(time.monotonic() - since - pause - STILL, 0.0)


def listening(port: int, host: str = "127.0.0.1") -> bool:
    """True if somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def is_running(pid: int) -> bool:
    """True if there is such a process and it is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return _stat(pid)[:1] != ["Z"]


def group_exists(pgid: int) -> bool:
    """True if any process of that group is left. Zombies are not: in a container, often nobody reaps orphans."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return False
    if not Path("/proc/self/stat").exists():
        return True
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    found = [_stat(pid) for pid in pids]
    return any(stat[2] == str(pgid) and stat[0] != "Z" for stat in found if stat)


def _stat(pid: int) -> list[str]:
    """State, parent, group, … of a process on Linux; [] elsewhere and when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


class Server(ABC):
    """One program in its own process group. Subclasses say what to start and when it is ready."""

    ready_within: float = 60  # seconds; a busy machine takes its time
    cwd: Path = ROOT

    def __init__(self, name: str, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.folder = folder
        self.env = dict(os.environ if env is None else env)
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._began_at = 0  # byte of the log at which the present run begins

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program and its arguments."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What `subprocess` is told beside the command."""
        return {}

    def is_ready(self) -> bool:
        """True once it can be used: as soon as it runs, for a program that nobody waits for."""
        return self.alive

    @property
    def pid(self) -> int:
        """Of the main process, which leads the group."""
        if self._process is None:
            raise AssertionError(f"{self.name} was not started.")
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Its exit status, or None while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self, *, wait: bool = True) -> Self:
        """Start it. Without `wait`, call `wait_ready` later."""
        if self.alive:
            raise AssertionError(f"{self.name} runs already (pid {self.pid}).")
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._began_at = log.tell()
            self._process = subprocess.Popen(
                list(self.command()),
                cwd=self.cwd,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self.options,
            )
        if self not in started:
            started.append(self)
        return self.wait_ready() if wait else self

    def wait_ready(self, seconds: float | None = None) -> Self:
        """Wait until it does its work. Fails with its log when it ends instead."""

        def ready_or_gone() -> bool:
            if not self.alive:
                raise AssertionError(
                    f"{self.name} ended with {self.returncode}:\n{shlex.join(self.command())}\n{self.output()}"
                )
            return self.is_ready()

        try:
            wait_until(ready_or_gone, seconds or self.ready_within, f"{self.name} is ready")
        except AssertionError:
            self.kill()
            raise
        return self

    def output(self) -> str:
        """What the present run has written so far."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._began_at)
            return log.read().decode("utf-8", "replace")

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to the main process, or to its whole group."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def suspend(self) -> None:
        """Freeze the whole group: sockets stay open, nothing answers."""
        self.signal(signal.SIGSTOP, group=True)

    def resume(self) -> None:
        """Let a suspended group go on."""
        self.signal(signal.SIGCONT, group=True)

    def stop(self, seconds: float = 15) -> int:
        """Ask it to end (SIGTERM) and return the exit status; whatever is left after `seconds` is killed."""
        if self._process is None:
            return 0
        self.resume()
        self.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()
        return self._process.wait()

    def kill(self) -> None:
        """SIGKILL the whole group and wait until it is gone."""
        if self._process is None:
            return
        pgid = self._process.pid
        # The leader is reaped last: until then nobody else can be given its pid.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pgid, signal.SIGKILL)
        self._process.wait()
        wait_until(lambda: not group_exists(pgid), 10, f"the processes of {self.name} are gone")

    def kill_main(self) -> None:
        """SIGKILL the main process alone; its children are left to notice it."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def restart(self, *, wait: bool = True) -> Self:
        """Stop it and start it again, on the same port."""
        self.stop()
        return self.start(wait=wait)


class Redis(Server):
    """A Redis of its own. With `keep`, its data outlives a restart."""

    def __init__(self, folder: Path, *, port: int = 0, keep: bool = False, name: str = "redis") -> None:
        super().__init__(name, folder)
        self.port = port or free_port()
        self.keep = keep

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str]:
        program = find_redis()
        data = self.folder / f"{self.name}-data"
        data.mkdir(exist_ok=True)
        config = self.folder / f"{self.name}.conf"
        config.write_text(program.config(port=self.port, folder=data, keep=self.keep))
        return [str(program.path), str(config)]

    def is_ready(self) -> bool:
        with closing(self.client()) as client, suppress(redis.RedisError):
            return bool(client.ping())
        return False

    def client(self, **options: Any) -> redis.Redis:
        """A client for the test itself. Close it."""
        return redis.Redis.from_url(self.url, **{"socket_timeout": 20.0, **options})


class Worker(Server):
    """A Celery worker of the shipped project.

    It also knows the tasks in ``tests/jobs.py``, if that file exists. `args` are further arguments of
    ``celery worker``.
    """

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str],
        *,
        name: str = "worker",
        pool: str = "prefork",
        concurrency: int = 2,
        args: Sequence[str] = (),
    ) -> None:
        super().__init__(name, folder, env)
        self.pool, self.concurrency, self.args = pool, concurrency, tuple(args)
        self.node = f"{name}-{uuid4().hex[:8]}@localhost"

    def command(self) -> Sequence[str]:
        include = ["--include", "tests.jobs"] if importlib.util.find_spec("tests.jobs") else []
        return [
            *(sys.executable, "-m", "celery", "-A", "celery_worker", "worker", "--loglevel", "INFO"),
            *("--hostname", self.node, "--pool", self.pool, "--concurrency", str(self.concurrency)),
            *("--without-gossip", "--without-mingle"),
            *include,
            *self.args,
        ]

    def is_ready(self) -> bool:
        return f"{self.node} ready." in self.output()


class Web(Server):
    """Daphne with the shipped project."""

    def __init__(self, folder: Path, env: Mapping[str, str], *, port: int = 0, name: str = "web") -> None:
        super().__init__(name, folder, env)
        self.port = port or free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        address = ("-b", "127.0.0.1", "-p", str(self.port))
        return [sys.executable, "-m", "daphne", *address, "project.asgi:application"]

    def is_ready(self) -> bool:
        return listening(self.port)


class Uvicorn(Web):
    """uvicorn with the shipped project, or with another `application`."""

    application = "project.asgi:application"

    def command(self) -> Sequence[str]:
        address = ("--host", "127.0.0.1", "--port", str(self.port))
        sockets = ("--ws", "websockets-sansio", "--ws-per-message-deflate", "false", "--lifespan", "off")
        return [sys.executable, "-m", "uvicorn", *address, *sockets, "--no-access-log", self.application]


@dataclass(frozen=True)
class Login:
    """A user of a site, with an open session. `cookie` is the value of the header `Cookie`."""

    name: str
    pk: int
    session: str
    password: str

    @property
    def cookie(self) -> str:
        return f"sessionid={self.session}"


class Site:
    """The whole site: Redis, worker, Daphne and a migrated database in a folder of their own.

    `env` adds to (or overrides) the environment of every process; `concurrency`, `pool` and `worker_args` are the
    first worker's. More workers: `add_worker`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        pool: str = "prefork",
        concurrency: int = 2,
        worker_args: Sequence[str] = (),
        keep_redis: bool = False,
        redis_url: str = "",
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.redis = Redis(folder, keep=keep_redis)
        self.prefix = f"site-{uuid4().hex[:8]}"
        self.env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DATA_DIR": str(self.data),
            "DATABASE_URL": "",
            # A proxy between the site and its Redis, say, has an address of its own.
            "REDIS_URL": redis_url or self.redis.url,
            "PROGRESS_PREFIX": self.prefix,
            "CELERY_QUEUE": self.prefix,
            "PYTHONUNBUFFERED": "1",
            # A test may be many pages of one user at once.
            "PROGRESS_MAX_CONNECTIONS": "0",
            "PROGRESS_MAX_JOINS": "0",
            **(env or {}),
        }
        if not self.env["DATABASE_URL"]:
            del self.env["DATABASE_URL"]
        self.worker = Worker(folder, self.env, pool=pool, concurrency=concurrency, args=worker_args)
        self.web = Web(folder, self.env)
        self._workers = [self.worker]

    @property
    def url(self) -> str:
        """Where its pages are, without a slash at the end."""
        return self.web.url

    @property
    def ws(self) -> str:
        """The address of the socket for several tasks."""
        return self.url.replace("http", "ws", 1) + "/ws/progress/"

    def start(self) -> Self:
        """Start everything and wait until all of it is ready."""
        if "DATABASE_URL" in self.env:
            self.manage("migrate", "--verbosity", "0")
        else:
            shutil.copy(migrated_database(), self.data / "db.sqlite3")
        self.redis.start()
        for server in (self.web, self.worker):
            server.start(wait=False)
        for server in (self.web, self.worker):
            server.wait_ready()
        return self

    def stop(self) -> None:
        """Kill what runs. Tests that care how a process ends stop it themselves."""
        for server in (*self._workers, self.web, self.redis):
            server.kill()

    def add_worker(self, name: str, **options: Any) -> Worker:
        """Start one more worker; the options are those of `Worker`."""
        worker = Worker(self.folder, self.env, name=name, **options)
        self._workers.append(worker)
        return worker.start()

    def manage(self, *args: str, check: bool = True, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run ``manage.py`` with the site's environment."""
        done = subprocess.run(
            [sys.executable, "manage.py", *args],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"manage.py {shlex.join(args)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def user(
        self, name: str = "", *, staff: bool = False, superuser: bool = False, permissions: Sequence[str] = ()
    ) -> Login:
        """Make a user who is logged in. `permissions` are code names such as "view_taskrun"."""
        name = name or f"user-{uuid4().hex[:8]}"
        with closing(sqlite3.connect(self.data / "db.sqlite3", timeout=20)) as database, database:
            return _add_user(database, name, staff or superuser, superuser, permissions)

    def end_session(self, login: Login) -> None:
        """Log a user out behind the back of every open connection."""
        with closing(sqlite3.connect(self.data / "db.sqlite3", timeout=20)) as database, database:
            database.execute("DELETE FROM django_session WHERE session_key = ?", [login.session])


def migrated_database() -> Path:
    """An empty migrated database; migrating once per session saves seconds per site."""
    from django.conf import settings

    path = Path(settings.DATA_DIR) / "migrated.sqlite3"
    if not path.exists():
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DATABASE_URL": f"sqlite:///{fresh}",
        }
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=env, check=True)
        with closing(sqlite3.connect(fresh)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        fresh.rename(path)
    return path


def _add_user(
    database: sqlite3.Connection, name: str, staff: bool, superuser: bool, permissions: Sequence[str]
) -> Login:
    """Write the rows that Django would write: a process of the site's would take a second and a half."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.hashers import PBKDF2PasswordHasher
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore

    password = uuid4().hex
    # The site uses Django's own hashers, the tests a quick one.
    hashed = PBKDF2PasswordHasher().encode(password, uuid4().hex, iterations=1)
    user = User(username=name, password=hashed)
    row = (name, hashed, staff, superuser)
    cursor = database.execute(
        "INSERT INTO auth_user (username, password, is_staff, is_superuser, is_active, first_name, last_name,"
        " email, date_joined) VALUES (?, ?, ?, ?, 1, '', '', '', datetime('now'))",
        row,
    )
    pk = cursor.lastrowid or 0
    for codename in permissions:
        found = database.execute("SELECT id FROM auth_permission WHERE codename = ?", [codename]).fetchone()
        if found is None:
            raise AssertionError(f"The site has no permission {codename!r}.")
        database.execute(
            "INSERT INTO auth_user_user_permissions (user_id, permission_id) VALUES (?, ?)", [pk, found[0]]
        )
    content = {
        SESSION_KEY: str(pk),
        BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
        HASH_SESSION_KEY: user.get_session_auth_hash(),
    }
    session = uuid4().hex
    database.execute(
        "INSERT INTO django_session (session_key, session_data, expire_date)"
        " VALUES (?, ?, datetime('now', '+1 day'))",
        [session, SessionStore().encode(content)],
    )
    return Login(name, pk, session, password)


@contextmanager
def in_this_process(settings: Any, url: str, prefix: str) -> Iterator[None]:
    """Let the test itself store, send and publish through the Redis at `url`, as a process of the site would, though
    with more patience.

    `settings` is the fixture of pytest-django.
    """
    from celery import current_app

    from progress import publisher

    disconnect()
    layer = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": url, "socket_keepalive": False}], "prefix": prefix},
    }
    settings.PROGRESS_STORE = "redis"
    settings.PROGRESS_REDIS_URL = url
    settings.PROGRESS_PREFIX = prefix
    settings.CHANNEL_LAYERS = {"default": layer}
    names = {"broker_url": url, "result_backend": url, "task_default_queue": prefix}
    before = {name: current_app.conf[name] for name in names}
    current_app.conf.update(names)
    with patient():
        try:
            yield
        finally:
            publisher.stop()
            current_app.conf.update(before)
            disconnect()


@contextmanager
def patient() -> Iterator[None]:
    """Let the stores of this process wait for an answer for `PATIENCE`, where a write gives up after 50 ms."""
    from progress import redis_clients, redis_logs, redis_store, redis_writes

    with ExitStack() as limits:
        limits.enter_context(patch.object(redis_writes, "WRITE_TIMEOUT", PATIENCE))
        for module in (redis_clients, redis_logs, redis_store, redis_writes):
            limits.enter_context(patch.object(module, "READ_TIMEOUT", PATIENCE))
        yield


def disconnect() -> None:
    """Close every connection that this process keeps: the publisher's, the stores', Celery's."""
    from celery import current_app
    from kombu import pools

    from progress import publisher, store

    publisher.stop()
    for kept in store._stores.values():
        for client in getattr(kept, "_clients", {}).values():
            client.close()
    store._stores.clear()
    app = current_app._get_current_object()
    if (backend := app._backend_cache or getattr(app._local, "backend", None)) is not None:
        consumer = getattr(backend, "result_consumer", None)
        if consumer is not None and consumer._pubsub is not None:
            consumer.stop()
            consumer.subscribed_to.clear()  # results that are collected later would connect once more
        if hasattr(getattr(backend, "client", None), "close"):  # the memory backend has nothing to close
            backend.client.close()
    app._backend_cache = None
    app._local.__dict__.pop("backend", None)
    pools.reset()
    app._after_fork()
    app.amqp.__dict__.pop("queues", None)
    app.amqp.__dict__.pop("router", None)


@atexit.register
def kill_everything() -> None:
    """The last resort, when pytest was interrupted between a start and its fixture."""
    for server in started:
        if server.alive:
            with suppress(AssertionError):
                server.kill()
