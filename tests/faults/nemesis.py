"""What breaks, one thing at a time, and how it is mended."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis

from progress import key
from progress.groups import snapshot
from tests.processes import wait_until

from .checker import FAILOVER, FORGETS
from .history import Fault
from .rig import Rig


def _nothing(_rig: Rig) -> None:
    """It mends itself."""


@dataclass(frozen=True, slots=True)
class Breakage:
    """One kind of fault."""

    begin: Callable[[Rig], None]
    heal: Callable[[Rig], None] = _nothing
    brief: bool = False  # it is over at once


def _kill_worker(rig: Rig) -> None:
    rig.workers[0].kill()


def _kill_worker_main(rig: Rig) -> None:
    rig.workers[0].kill_main()


def _start_worker(rig: Rig) -> None:
    rig.workers[0].kill()  # what is left of it
    rig.workers[0].start()


def _kill_child(rig: Rig) -> None:
    main = rig.workers[0].pid
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    if children:
        with suppress(ProcessLookupError):
            os.kill(int(children[0]), signal.SIGKILL)


def _start_empty(rig: Rig) -> None:
    shutil.rmtree(rig.redis.folder / f"{rig.redis.name}-data")
    rig.redis.start()


def _redis(command: Callable[[redis.Redis], Any]) -> Callable[[Rig], None]:
    def do(rig: Rig) -> None:
        with rig.redis.client() as client, suppress(redis.RedisError):
            command(client)

    return do


def _garbage(rig: Rig) -> None:
    """What nobody could decode, and what looks like ours and is not, in the groups of what is watched."""
    prefix = rig.env["PROGRESS_PREFIX"]
    watched = sorted({each for client in rig.crowd.clients for each in client.ids})[-20:]
    with rig.redis.client() as client:
        for task_id in watched:
            channel = f"{prefix}__group__{snapshot.group(prefix, 'task', key(task_id))}"
            for junk in (b"", b"\xc1\xff", b"\x93\x01\x02\x03", b"\x81\xa4type\xa7unknown", b"not msgpack" * 50):
                client.publish(channel, junk)


def _restart_web(rig: Rig) -> None:
    rig.web.stop()


def _start_web(rig: Rig) -> None:
    rig.web.start()


FAULTS: Final[dict[str, Breakage]] = {
    "whole worker killed": Breakage(_kill_worker, _start_worker),
    "worker's main process killed": Breakage(_kill_worker_main, _start_worker),
    "worker's child killed": Breakage(_kill_child, brief=True),
    "worker stopped": Breakage(lambda rig: rig.workers[0].suspend(), lambda rig: rig.workers[0].resume()),
    "Redis killed": Breakage(lambda rig: rig.redis.kill(), lambda rig: rig.redis.start() and None),
    "Redis killed with its data": Breakage(lambda rig: rig.redis.kill(), _start_empty),
    FAILOVER: Breakage(lambda rig: rig.fall_behind(), lambda rig: rig.fail_over()),
    "Redis stopped": Breakage(lambda rig: rig.redis.suspend(), lambda rig: rig.redis.resume()),
    "Redis emptied": Breakage(_redis(lambda client: client.flushall()), brief=True),
    "Redis slow": Breakage(_redis(lambda client: client.execute_command("CLIENT", "PAUSE", 2500)), brief=True),
    "subscribers cut": Breakage(_redis(lambda client: client.client_kill_filter(_type="pubsub")), brief=True),
    "connections cut": Breakage(_redis(lambda client: client.client_kill_filter(_type="normal")), brief=True),
    "garbage in the groups": Breakage(_garbage, brief=True),
    "layer half-open": Breakage(lambda rig: rig.on_proxy(rig.proxy.swallow_present)),
    "layer cut": Breakage(lambda rig: rig.on_proxy(rig.proxy.cut), brief=True),
    "layer slow": Breakage(lambda rig: _delay(rig, 0.5), lambda rig: _delay(rig, 0)),
    "web process killed": Breakage(lambda rig: rig.web.kill(), _start_web),
    "web process stopped by SIGTERM": Breakage(_restart_web, _start_web),
    "web process frozen": Breakage(lambda rig: rig.web.suspend(), lambda rig: rig.web.resume()),
}


def _delay(rig: Rig, seconds: float) -> None:
    rig.proxy.up = rig.proxy.down = seconds


class Nemesis:
    """Breaks one thing after the other, each kind once before any comes twice, in an order that the seed decides."""

    def __init__(self, rig: Rig, dice: random.Random, hold: tuple[float, float]) -> None:
        self.done: list[Fault] = []
        self._rig, self._dice, self._hold = rig, dice, hold
        self._names: list[str] = []

    @property
    def has_forgotten(self) -> bool:
        """True if the last fault was one after which Redis knows less than before."""
        return bool(self.done) and self.done[-1].name in (*FORGETS, FAILOVER)

    @property
    def kinds(self) -> int:
        """How many kinds of faults there have been."""
        return len({fault.name for fault in self.done})

    def strike(self) -> Fault:
        """Break something, wait a while, mend it. Returns what it was."""
        if not self._names:
            self._names = self._dice.sample(sorted(FAULTS), len(FAULTS))
        name = self._names.pop()
        breakage, began = FAULTS[name], time.monotonic()
        breakage.begin(self._rig)
        if not breakage.brief:
            pause(self._dice.uniform(*self._hold))
        breakage.heal(self._rig)
        if name.startswith("Redis"):
            wait_until(self._rig.redis.is_ready, 20, "Redis answers again")
        fault = Fault(name, began, time.monotonic())
        self.done.append(fault)
        return fault


def pause(seconds: float) -> None:
    """Let the run go on for a while."""
    threading.Event().wait(seconds)
