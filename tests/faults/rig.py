"""One site to be broken: Redis for the records and one for messages, proxies, a web process, workers, clients."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.processes import ROOT, Login, Redis, Site, Uvicorn, Web, Worker, migrated_database, wait_until
from tests.tcp_proxy import TcpProxy

from .clients import Client, Crowd
from .history import History, executions


class FaultsWorker(Worker):
    """A worker that knows our tasks and takes them from queues of its own."""

    queues: str = "main"

    def command(self) -> Sequence[str]:
        return [*super().command(), "--include", "tests.faults.jobs", "--queues", self.queues]


class Rig:
    """Starts everything, and ends it. A context manager; `folder` keeps what was written."""

    def __init__(self, folder: Path, *, uvicorn: bool = False, replicated: bool = False) -> None:
        self.folder = folder
        self.oracle = folder / "oracle.jsonl"
        self.broker = Redis(folder, name="broker")
        self.site = Site(folder / "site", keep_redis=True)
        self.redis = self.site.redis
        self.replica = Redis(folder, keep=True, name="replica") if replicated else None
        self._proxy_loop = asyncio.new_event_loop()
        self.proxy = TcpProxy(self.redis.port)  # the layer's way
        self.records = TcpProxy(self.redis.port)  # and the records', where another Redis may take over
        self._proxy_thread = threading.Thread(target=self._proxy_loop.run_forever, name="proxy")
        self.env = self.site.env | {"DJANGO_SETTINGS_MODULE": "tests.faults.settings", "BROKER_URL": self.broker.url}
        self.web: Web = (Uvicorn if uvicorn else Web)(folder, self.env)
        self.workers: list[FaultsWorker] = []
        self.crowd = Crowd()
        self._sender: subprocess.Popen[str] | None = None
        self.user: Login

    def __enter__(self) -> Rig:
        """Start everything but workers."""
        shutil.copy(migrated_database(), self.site.data / "db.sqlite3")
        self.user = self.site.user("watcher", superuser=True)
        self._proxy_thread.start()
        for proxy in (self.proxy, self.records):
            asyncio.run_coroutine_threadsafe(proxy.start(), self._proxy_loop).result(5)
        self.env["LAYER_URL"] = f"redis://127.0.0.1:{self.proxy.port}/0"
        if self.replica is not None:
            self.env["REDIS_URL"] = f"redis://127.0.0.1:{self.records.port}/0"
        self.web.env = self.env
        self.broker.start()
        self.redis.start()
        self.web.start(wait=False)
        self._sender = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.sender"],
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.folder / "sender.log").open("w"),
            text=True,
        )
        self.web.wait_ready()
        return self

    def __exit__(self, *_error: object) -> None:
        """End everything that was started here."""
        try:
            self.crowd.close()
        finally:
            self._end()

    def _end(self) -> None:
        if self._sender is not None:
            self._sender.kill()
            self._sender.wait()
        for server in (*self.workers, self.web, self.redis, self.broker, *([self.replica] if self.replica else [])):
            with suppress(AssertionError):
                server.resume()
            server.kill()
        for proxy in (self.proxy, self.records):
            asyncio.run_coroutine_threadsafe(proxy.stop(), self._proxy_loop).result(5)
        self._proxy_loop.call_soon_threadsafe(self._proxy_loop.stop)
        self._proxy_thread.join()
        self._proxy_loop.close()

    def worker(self, name: str, *, queues: str = "main", concurrency: int = 4, pool: str = "prefork") -> FaultsWorker:
        """Start one more worker, without waiting for it."""
        fresh = FaultsWorker(self.folder, self.env, name=name, concurrency=concurrency, pool=pool)
        fresh.queues = queues
        self.workers.append(fresh)
        fresh.start(wait=False)
        return fresh

    def fall_behind(self) -> None:
        """A replica has everything; from now on it hears of nothing more."""
        assert self.replica is not None
        self.replica.start()
        with self.replica.client() as client:
            client.replicaof("127.0.0.1", self.redis.port)
            wait_until(lambda: client.info("replication").get("master_link_status") == "up", 20, "it has everything")
            client.replicaof("NO", "ONE")

    def fail_over(self) -> None:
        """The replica takes over, at the same address; what was written since `fall_behind` is lost."""
        assert self.replica is not None
        self.redis.kill()
        self.redis, self.replica = self.replica, self.redis
        for proxy in (self.proxy, self.records):
            proxy.target_port = self.redis.port
            self.on_proxy(proxy.cut)

    def on_proxy(self, call: Any) -> None:
        """Do this to the proxy, in its own loop."""
        self._proxy_loop.call_soon_threadsafe(call)

    def send(self, task: str, *args: Any, queue: str = "main", task_id: str = "", **kwargs: Any) -> tuple[str, float]:
        """Send a task as the site would. Returns its id and how long it took (s). Raises what the site would see."""
        task_id = task_id or str(uuid4())
        name = task if "." in task else f"tests.faults.jobs.{task}"
        order = {
            "task": name,
            "id": task_id,
            "args": [str(self.oracle), *args],
            "kwargs": kwargs,
            "queue": queue,
            "owner": self.user.pk,
        }
        assert self._sender is not None
        assert self._sender.stdin is not None
        assert self._sender.stdout is not None
        self._sender.stdin.write(json.dumps(order) + "\n")
        self._sender.stdin.flush()
        answer = json.loads(self._sender.stdout.readline())
        if answer["error"]:
            raise RuntimeError(f"Sending failed: {answer['error']}")
        return task_id, float(answer["took"])

    def client(self, name: str, ids: Sequence[str] = (), *, single: str = "") -> Client:
        """A client of this site; not yet living."""
        url = self.web.url.replace("http", "ws", 1) + f"/ws/progress/{single and single + '/'}"
        return Client(name, url, self.user.cookie, {*ids, *([single] if single else [])}, single=bool(single))

    def counted(self) -> dict[str, int]:
        """The counters of the web process."""
        with urllib.request.urlopen(f"{self.web.url}/counters/", timeout=5) as answer:
            found: dict[str, int] = json.load(answer)
            return found

    def history(self) -> History:
        """What happened and what was shown so far."""
        return History(
            executions(self.oracle),
            self.crowd.seen,
            watches={client.name: client.ever | client.ids for client in self.crowd.clients},
            gone={(client.name, task) for client in self.crowd.clients for task in client.gone},
        )
