"""What a run consists of: each part on a site of its own, with the lines that it adds to the verdict."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable
from typing import Final

from tests.processes import ROOT

from . import deaths, outage, readers, restarts
from .checker import Finding
from .rig import Rig
from .sizes import Sizes
from .storm import Storm
from .verdict import Line

Part = Callable[[Rig, Sizes, random.Random], list[Line]]


def _storm(rig: Rig, sizes: Sizes, dice: random.Random) -> list[Line]:
    for name in ("main", "second"):
        rig.worker(name, concurrency=sizes.at_once)
    for worker in rig.workers:
        worker.wait_ready()
    storm = Storm(rig, sizes, dice)
    storm.rage()
    return storm.lines()


def _merge(_rig: Rig, sizes: Sizes, dice: random.Random) -> list[Line]:
    """The page's own code is given true histories, shuffled, doubled, replayed and with holes."""
    env = {**os.environ, "MERGE_MESSAGES": str(sizes.messages), "MERGE_SEED": str(dice.randrange(2**31))}
    done = subprocess.run(
        ["node", "tests/js/merge.mjs"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    told = json.loads(done.stdout.strip().splitlines()[-1]) if done.stdout.strip() else {}
    messages = told.pop("messages", 0)
    wrong = [f"{name}: {count}" for name, count in told.items() if count]
    wrong += [] if done.returncode == 0 and messages >= sizes.messages else [done.stderr[-500:] or "too few messages"]
    return [Line("3 Never backwards, in the page", "0", Finding(f"{messages} shuffled messages", wrong))]


def _deaths(rig: Rig, sizes: Sizes, _dice: random.Random) -> list[Line]:
    return deaths.run(rig, sizes)


def _outage(rig: Rig, sizes: Sizes, _dice: random.Random) -> list[Line]:
    rig.worker("main", concurrency=4).wait_ready()
    return outage.run(rig, sizes)


def _readers(rig: Rig, sizes: Sizes, _dice: random.Random) -> list[Line]:
    return readers.run(rig, sizes)


def _restarts(rig: Rig, sizes: Sizes, _dice: random.Random) -> list[Line]:
    return [*restarts.deaf(rig, name="Daphne"), *restarts.run(rig, sizes, name="Daphne")]


def _uvicorn(rig: Rig, sizes: Sizes, _dice: random.Random) -> list[Line]:
    return [*restarts.deaf(rig, name="uvicorn"), *restarts.run(rig, sizes, name="uvicorn")]


PARTS: Final[dict[str, Part]] = {
    "storm": _storm,
    "merge": _merge,
    "deaths": _deaths,
    "outage": _outage,
    "readers": _readers,
    "restarts": _restarts,
    "uvicorn": _uvicorn,
}
