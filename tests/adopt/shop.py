"""The shop with its servers: gunicorn for pages, one Daphne for sockets, a worker, a front before them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.guarded_redis import SECRET, GuardedRedis
from tests.processes import Redis, Server, free_port, listening

from .building import bare_environment, run
from .front import Front

PASSWORD = "correct horse battery staple"
# Equal in all environments of the shop, as when one was made from a copy of the other.
PEOPLE = {name: uuid.uuid5(uuid.NAMESPACE_URL, name) for name in ("ann", "bob")}
PEOPLE_SCRIPT = """
from django.contrib.auth import get_user_model
for name, key in {people}.items():
    get_user_model().objects.create_user(name, password={password!r}, id=key)
"""


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Program(Server):
    """One program of the shop."""

    def __init__(self, shop: Shop, name: str, command: Sequence[str], *, port: int = 0, says: str = "") -> None:
        super().__init__(f"{shop.name}-{name}", shop.data, shop.env)
        self.cwd, self.port, self._command, self._says = shop.site, port, list(command), says

    def command(self) -> Sequence[str]:
        return self._command

    def is_ready(self) -> bool:
        return listening(self.port) if self.port else self._says in self.output()


class Shop:
    """One environment of the shop. Several share a Redis, and differ in `prefix`, broker queue and database."""

    def __init__(
        self,
        name: str,
        site: Path,
        python: Path,
        redis: GuardedRedis,
        broker: Redis,
        *,
        database: int,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.site, self.python, self.redis = name, site, python, redis
        self.data = site.parent / f"{name}-data"
        self.data.mkdir()
        self.env = {
            **bare_environment(python),
            "HOME": str(self.data),  # where gunicorn keeps a socket
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "SHOP_DATA": str(self.data),
            "SHOP_REDIS_HOST": "127.0.0.1",
            "SHOP_REDIS_PORT": str(redis.port),
            "SHOP_REDIS_PASSWORD": SECRET,
            "SHOP_BROKER": f"redis://127.0.0.1:{broker.port}/{database}",
            "SCRIPT_NAME": "/shop",  # gunicorn's
            **(env or {}),
        }
        pages, sockets, bin_ = free_port(), free_port(), str(python.parent)
        self.web = Program(
            self,
            "gunicorn",
            [f"{bin_}/gunicorn", "--workers", "2", "--threads", "8", "--bind", f"127.0.0.1:{pages}", "shop.wsgi"],
            port=pages,
        )
        # Either the settings know the script name, and the front takes it off; or Daphne knows it, and gets it.
        known = self.env.get("SHOP_SCRIPT_NAME", "")
        root_path = [] if known else ["--root-path", "/shop"]
        self.sockets = Program(
            self,
            "daphne",
            [f"{bin_}/daphne", "-b", "127.0.0.1", "-p", str(sockets), *root_path, "shop.asgi:application"],
            port=sockets,
        )
        self.worker = self.new_worker("worker", "--pool", "prefork", "--concurrency", "2")
        self.front = Front(pages, sockets, "/shop/ws/", take_off=known)

    def new_worker(self, name: str, *arguments: str) -> Program:
        """A worker, not yet started."""
        node = f"{name}-{self.name}@localhost"
        command = [str(self.python.parent / "celery"), "-A", "shop", "worker", "--loglevel", "INFO"]
        return Program(
            self, name, [*command, "--hostname", node, "--without-gossip", *arguments], says=f"{node} ready."
        )

    @property
    def programs(self) -> tuple[Program, ...]:
        return (self.web, self.sockets, self.worker)

    @property
    def url(self) -> str:
        """Where its pages are, without a slash at the end."""
        return f"http://127.0.0.1:{self.front.port}/shop"

    def manage(self, *arguments: str) -> str:
        """What ``manage.py`` says on its standard output."""
        return run(self.python, "manage.py", *arguments, cwd=self.site, env=self.env)

    def script(self, text: str) -> str:
        """What a script says that runs with the site's settings."""
        code = f"import django\ndjango.setup()\n{text}"
        return run(self.python, "-c", code, cwd=self.site, env=self.env)

    def prepare(self) -> Self:
        """Database, people, static files."""
        self.manage("migrate", "--verbosity", "0")
        people = {name: str(key) for name, key in PEOPLE.items()}
        self.script(PEOPLE_SCRIPT.format(people=people, password=PASSWORD))
        self.manage("collectstatic", "--no-input", "--verbosity", "0")
        return self

    def start(self) -> Self:
        """Start everything and wait until all of it is ready."""
        for program in self.programs:
            program.start(wait=False)
        for program in self.programs:
            program.wait_ready()
        self.front.start()
        return self

    def stop(self) -> None:
        """Kill what runs."""
        for program in self.programs:
            program.kill()
        self.front.stop()

    # --- As a client ---------------------------------------------------------------------------------------

    def ask(
        self, path: str, body: Mapping[str, Any] | None = None, *, bearer: str = "", seconds: float = 20
    ) -> Answer:
        """GET, or POST of `body` as JSON; every status is an answer."""
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        data = None
        if body is not None:
            headers["Content-Type"], data = "application/json", json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return Answer(answer.status, answer.read(), dict(answer.headers))
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read(), dict(error.headers))

    def jwt(self, name: str) -> str:
        """A JSON Web Token of one of the people."""
        answer = self.ask("/api/token/", {"username": name, "password": PASSWORD})
        assert answer.status == 200, answer
        return str(answer.json["access"])

    def export(self, person: str, **options: Any) -> dict[str, Any]:
        """Start an export as `person` through the API; the answer says id, token and where the sockets are."""
        answer = self.ask("/api/exports/", options, bearer=self.jwt(person))
        assert answer.status == 202, answer
        return dict(answer.json)

    @contextmanager
    def socket(self, path: str = "/ws/progress/") -> Iterator[Socket]:
        """An open socket without a session, as a program opens it."""
        address = self.url.replace("http", "ws", 1) + path
        with connect(address, proxy=None, compression=None) as connection:
            yield Socket(connection)


class Socket:
    """One end of a socket that speaks JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def say(self, **message: Any) -> None:
        self.connection.send(json.dumps(message))

    def hear(self, seconds: float = 10) -> dict[str, Any]:
        """The next message."""
        return dict(json.loads(self.connection.recv(seconds)))

    def until(self, kind: str, seconds: float = 10) -> dict[str, Any]:
        """The next message of that type."""
        while (message := self.hear(seconds))["type"] != kind:
            pass
        return message

    def end_of(self, task_id: str, seconds: float = 30) -> list[dict[str, Any]]:
        """All snapshots of a task up to its end."""
        seen: list[dict[str, Any]] = []
        while not seen or not seen[-1]["final"]:
            seen += [item for item in self.until("snapshots", seconds)["items"] if item["id"] == task_id]
        return seen

    def close_code(self, seconds: float = 15) -> int | None:
        """The code with which the server closes, whatever it says before."""
        with suppress(ConnectionClosed):
            while True:
                self.hear(seconds)
        return self.connection.close_code
