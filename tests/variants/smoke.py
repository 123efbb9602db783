"""What is tried in every variant, by the Python of its environment, with real Redis, worker, server and socket.

``python -m tests.variants.smoke LAYER POOL/SERVER …`` runs the variants of one environment that share a channel
layer, one after the other, and prints a line of JSON for each.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from tests.complaints import complaints
from tests.processes import Login, Site, Uvicorn, Web, Worker, group_exists, migrated_database, wait_until
from tests.wire import Wire, wire

IDLE: Final = 30.0  # seconds that a socket with nothing to say has to stay open
CLEAN: Final = {0, -15}  # exit statuses after SIGTERM; uvicorn passes the signal on to itself
SERVERS: Final[dict[str, type[Web]]] = {"daphne": Web, "uvicorn": Uvicorn}


class VariantSite(Site):
    """A Redis, and beside it a server of each kind and a worker of each pool."""

    def __init__(self, folder: Path, layer: str, pools: Iterable[str], servers: Iterable[str]) -> None:
        super().__init__(folder, env={"DJANGO_SETTINGS_MODULE": "tests.variants.settings", "LAYER": layer})
        self.webs = {name: SERVERS[name](folder, self.env, name=name) for name in servers}
        self.pools = {pool: self._worker_of(pool) for pool in pools}

    def _worker_of(self, pool: str) -> Worker:
        return Worker(self.folder, {**self.env, "CELERY_QUEUE": self.queue(pool)}, name=pool, pool=pool)

    def queue(self, pool: str) -> str:
        """The queue that this pool alone listens to."""
        return f"{self.prefix}-{pool}"

    def start(self) -> VariantSite:
        """Start everything and wait until all of it is ready."""
        shutil.copy(migrated_database(), self.data / "db.sqlite3")
        self.redis.start()
        servers = [*self.webs.values(), *self.pools.values()]
        for server in servers:
            server.start(wait=False)
        for server in servers:
            server.wait_ready()
        return self

    def stop(self) -> None:
        """Kill what runs."""
        for server in (*self.pools.values(), *self.webs.values(), self.redis):
            server.kill()


class Trial:
    """What is done with one site."""

    def __init__(self, site: VariantSite, owner: Login) -> None:
        self.site, self.owner = site, owner

    def open(self, server: str) -> Any:
        """A socket of the owner's to this server."""
        return wire(self.site.webs[server].url.replace("http", "ws", 1) + "/ws/progress/", cookie=self.owner.cookie)

    def send(self, task: Any, pool: str, *args: Any) -> str:
        """Send a task of the owner's to this pool."""
        import progress

        with progress.owner(self.owner.pk):
            return str(task.apply_async(args, task_id=str(uuid4()), queue=self.site.queue(pool)).id)

    async def pool_and_server(self, pool: str, server: str) -> None:
        """A task that reports a thousand times is watched to its right end; another is cancelled by its watcher."""
        async with self.open(server) as page:
            await self.counted(page, pool)
            await self.cancelled(page, pool)

    async def counted(self, page: Wire, pool: str) -> None:
        """What is shown at the end is what the task has counted itself."""
        from tests import jobs

        account = self.site.folder / f"account-{uuid4().hex}"
        task_id = await asyncio.to_thread(self.send, jobs.keeps_an_account, pool, str(account))
        await page.watch(task_id)
        await page.ends(task_id, seconds=20)
        shown = page.shown[task_id]
        wanted = {"state": "SUCCESS", "current": int(account.read_text()), "fraction": 1}
        found = {name: shown[name] for name in wanted}
        assert found == wanted, f"Expected {wanted}, got {found}"

    async def cancelled(self, page: Wire, pool: str) -> None:
        """The wish reaches the body, whose `finally` runs, and then it is shown."""
        from tests import jobs

        notes = self.site.folder / f"notes-{uuid4().hex}"
        task_id = await asyncio.to_thread(self.send, jobs.advances, pool, str(notes))
        await page.watch(task_id)
        await page.sees(task_id, state="PROGRESS")
        answer = await page.ask("cancel", id=task_id)
        assert answer["type"] == "accepted", answer
        await page.sees(task_id, state="REVOKED")
        assert notes.read_text() == "began finally", notes.read_text()

    async def idle(self, page: Wire, opened: float) -> None:
        """A socket that nobody used for 30 s is open, and the server has replaced nothing meanwhile."""
        await asyncio.sleep(max(0.0, opened + IDLE - time.monotonic()))
        assert page.close_code is None, f"closed with {page.close_code}"
        await page.lives()

    def check(self) -> None:
        """`manage.py check` has nothing to say against these settings."""
        self.site.manage("check", "--fail-level", "WARNING")

    def trap(self) -> None:
        """`manage.py check` warns of the core layer's plain settings if, and only if, they drop idle consumers."""
        plain = Site.manage(_With(self.site, LAYER="plain core"), "check")  # type: ignore[arg-type]
        warned = "task_progress.W003" in plain.stdout + plain.stderr
        dropped = asyncio.run(_drops_idle_consumers(self.site.redis.url))
        assert warned == dropped, f"The check says {warned}, the layer {dropped}"

    def leave(self) -> None:
        """Told to, everybody leaves by himself, cleanly, with nothing bad in his log and nobody left behind."""
        servers = [*self.site.pools.values(), *self.site.webs.values()]
        for server in servers:
            server.signal(signal.SIGTERM)
        for server in servers:
            wait_until(lambda server=server: not server.alive, 15, f"{server.name} has left")
            assert server.returncode in CLEAN, f"{server.name} ended with {server.returncode}:\n{server.output()}"
            assert not group_exists(server.pid), f"{server.name} has left processes behind"
            assert not (bad := complaints(server.output())), f"{server.name} wrote: {bad}"


class _With:
    """A site whose commands run in another environment."""

    def __init__(self, site: Site, **env: str) -> None:
        self.env = {**site.env, **env}


async def _drops_idle_consumers(url: str) -> bool:
    """Whether a core layer that was given nothing but a URL loses a consumer that hears nothing for 7 s."""
    from channels_redis.core import RedisChannelLayer
    from redis.exceptions import TimeoutError as RedisTimeout

    layer = RedisChannelLayer(hosts=[url], prefix="trap")
    channel = await layer.new_channel()
    try:
        async with asyncio.timeout(7):
            await layer.receive(channel)
    except RedisTimeout:
        return True
    except TimeoutError:
        return False
    finally:
        await layer.close_pools()
    raise AssertionError("A message came that nobody sent")


# --- Running and telling -----------------------------------------------------------------------------------


def tell(what: str, began: float, error: str = "") -> bool:
    """Print what came of one part."""
    print(json.dumps({"what": what, "seconds": round(time.monotonic() - began, 1), "error": error}), flush=True)
    return not error


async def told(what: str, part: Callable[[], Awaitable[None]]) -> bool:
    """Do one part and print what came of it."""
    began = time.monotonic()
    try:
        await part()
    except (Exception, asyncio.CancelledError) as error:
        return tell(what, began, "".join(traceback.format_exception_only(error)).strip()[:3000])
    return tell(what, began)


async def try_all(trial: Trial, layer: str, ways: list[tuple[str, str]]) -> bool:
    """Every part; True if all went well."""
    good = []
    async with AsyncExitStack() as stack:
        opened = time.monotonic()
        idle = {server: await stack.enter_async_context(trial.open(server)) for server in trial.site.webs}
        good.append(await told("check", lambda: asyncio.to_thread(trial.check)))
        for pool, server in ways:
            good.append(await told(f"{pool}/{server}", lambda p=pool, s=server: trial.pool_and_server(p, s)))
        if layer == "core":
            good.append(await told("trap", lambda: asyncio.to_thread(trial.trap)))
        for server, page in idle.items():
            good.append(await told(f"idle/{server}", lambda page=page: trial.idle(page, opened)))
    good.append(await told("leave", lambda: asyncio.to_thread(trial.leave)))
    return all(good)


def main(layer: str, *pairs: str) -> int:
    """Run the variants of one layer in a folder of their own; 0 if all went well."""
    ways = [(pool, server) for pool, _, server in (pair.partition("/") for pair in pairs)]
    folder = Path(tempfile.mkdtemp(prefix="progress-variant-"))
    site = VariantSite(folder / "site", layer, *(dict.fromkeys(column) for column in zip(*ways, strict=True)))
    os.environ.update(site.env)
    import django

    django.setup()
    began = time.monotonic()
    good = False
    try:
        site.start()
        tell("start", began)
        good = asyncio.run(try_all(Trial(site, site.user()), layer, ways))
    except Exception:
        tell("start", began, traceback.format_exc()[-3000:])
    finally:
        site.stop()
        if good:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(json.dumps({"logs": str(folder)}), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))  # not without stopping the servers
    sys.exit(main(*sys.argv[1:]))
