"""What `make run` needs before anything is started: a place, a secret, a database with a user, a Redis."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from project.redis_server import RedisProgram, find_redis, free_port

ROOT: Final = Path(__file__).resolve().parent.parent
PATIENCE: Final = 60.0  # seconds until everything works, or it is said what does not
ANYWHERE: Final = {"0.0.0.0", "::"}  # noqa: S104 (what it means to listen there is the point)  # nosec B104


class CannotRun(Exception):
    """It makes no sense to go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where this copy of the site lives."""

    host: str
    port: int
    data: Path
    patience: float = PATIENCE

    @property
    def logs(self) -> Path:
        """One file per program, of the present or the last run."""
        return self.data / "log"

    @property
    def here(self) -> str:
        """The address on this machine."""
        return f"http://{bracketed('127.0.0.1' if self.host in ANYWHERE else self.host)}:{self.port}/"

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Place:
        """From HOST, PORT, DATA_DIR and READY_WITHIN."""
        text = env.get("PORT") or "8000"
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
            raise CannotRun(f"PORT must be a number from 1 to 65535, got {text!r}.")
        data = Path(env.get("DATA_DIR") or ROOT / "var").resolve()
        patience = float(env.get("READY_WITHIN") or PATIENCE)
        return cls(env.get("HOST") or "127.0.0.1", int(text), data, patience)


@dataclass(frozen=True, slots=True)
class OwnRedis:
    """The Redis that this run starts."""

    program: RedisProgram
    config: Path
    url: str


def make_folders(place: Place) -> None:
    try:
        place.logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotRun(f"DATA_DIR must be a folder that can be written to: {error}.") from None


@contextlib.contextmanager
def only_one(place: Place) -> Iterator[None]:
    """Two runs on one folder would write into each other's Redis."""
    with (place.data / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotRun(
                f"it runs already with DATA_DIR={place.data}. Stop that one, or choose another place for this: "
                "make run DATA_DIR=var2 PORT=8001"
            ) from None
        yield


def check_port_is_free(place: Place) -> None:
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotRun(f"HOST={place.host} is no address of this machine: {error}.") from None
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise CannotRun(
                f"port {place.port} on {place.host} cannot be used: {error.strerror}. Stop what listens there, or "
                f"choose another port: make run PORT={place.port % 65535 + 1}"
            ) from None


def own_redis(place: Place) -> OwnRedis:
    program, port, password = find_redis(), free_port(), secrets.token_urlsafe(24)
    # A later major version cannot always read what an earlier one wrote, nor Redis what Valkey wrote.
    folder = place.data / "redis" / f"{program.kind}-{program.version[0]}"
    folder.mkdir(parents=True, exist_ok=True)
    text = program.config(port=port, folder=folder, password=password, keep=True)
    config = _write_private(place.data / "redis" / "redis.conf", text)
    return OwnRedis(program, config, f"redis://:{password}@127.0.0.1:{port}/0")


def settings(place: Place, redis_url: str) -> dict[str, str]:
    """What the site's processes are told through the environment."""
    # In a Redis that several copies share, each needs names of its own: pub/sub ignores database numbers.
    name = "progress-" + hashlib.sha256(str(place.data).encode()).hexdigest()[:8]
    hosts = [host for host in (os.environ.get("ALLOWED_HOSTS") or "localhost,127.0.0.1,[::1]").split(",") if host]
    reached_at = lan_address() if place.host in ANYWHERE else place.host
    if reached_at and bracketed(reached_at) not in hosts:
        hosts.append(bracketed(reached_at))
    return {
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "DATA_DIR": str(place.data),
        "REDIS_URL": redis_url,
        "SECRET_KEY": os.environ.get("SECRET_KEY") or _secret_key(place),
        "PROGRESS_PREFIX": os.environ.get("PROGRESS_PREFIX") or name,
        "CELERY_QUEUE": os.environ.get("CELERY_QUEUE") or name,
        "ALLOWED_HOSTS": ",".join(hosts),
    }


def _secret_key(place: Place) -> str:
    path = place.data / "secret.key"
    if not path.exists():
        _write_private(path, secrets.token_urlsafe(48) + "\n")
    return path.read_text().strip()


def prepare_database(place: Place) -> str:
    """Migrate, make the first user, and return the line that tells how to log in."""
    import django
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.db import connections

    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    users = get_user_model()._default_manager
    path = place.data / "login.txt"
    if not users.filter(username="admin").exists():
        password = os.environ.get("DEMO_PASSWORD") or secrets.token_urlsafe(9)
        users.create_superuser(username="admin", password=password)
        _write_private(path, f"user: admin\npassword: {password}\n")
    connections.close_all()  # the programs are forked from here and have their own
    if path.exists():
        name, password = (line.partition(": ")[2] for line in path.read_text().splitlines()[:2])
        late = os.environ.get("DEMO_PASSWORD", password) not in ("", password)
        note = "; DEMO_PASSWORD counts at the first run only" if late else ""
        return f"Log in as {name} with the password {password} (kept in {path}{note})"
    return "Log in as admin. Its password is not kept here; to change it: manage.py changepassword admin"


def _write_private(path: Path, text: str) -> Path:
    """Write a file that only its owner may read, from its first moment on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return path


@contextlib.contextmanager
def described(place: Place) -> Iterator[None]:
    """While it runs, ``manage.py`` in another terminal finds the same Redis: settings read this file."""
    names = ("REDIS_URL", "SECRET_KEY", "PROGRESS_PREFIX", "CELERY_QUEUE", "ALLOWED_HOSTS")
    path = _write_private(place.data / "run.env", "".join(f"{name}={os.environ[name]}\n" for name in names))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def lan_address() -> str:
    """This machine's address as others in its network see it, or "". Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket only looks up the route; the address is reserved for documentation.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        address: str = probe.getsockname()[0]
        return "" if address.startswith("127.") else address


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
