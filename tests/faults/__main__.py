"""`python -m tests.faults [--soak] [--seed N] [--write]`: 0 = all kept, 1 = something missed, 2 = the rig broke."""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path


def main() -> int:
    """Measure every promise that faults can touch, and print the table."""
    arguments = parsed()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from . import verdict
    from .sizes import BRIEF, SOAK

    sizes, seed, began = SOAK if arguments.soak else BRIEF, arguments.seed, time.monotonic()
    print(f"Seed {seed}. {dataclasses.asdict(sizes)}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    lines: list[verdict.Line] = []
    try:
        lines = parts(folder, sizes, random.Random(seed), arguments.only)
    except Exception:
        traceback.print_exc()
        print(f"The rig itself broke. What it wrote is in {folder}", file=sys.stderr)
        return 2
    print(verdict.table(lines), flush=True)
    missed = [line for line in lines if not line.finding.kept]
    verdict.complain(missed)
    print(f"{len(lines) - len(missed)} of {len(lines)} kept, in {time.monotonic() - began:.0f} s, seed {seed}.")
    if arguments.write:
        from project.redis_server import find_redis

        kind = "make soak" if arguments.soak else "make faults"
        program = find_redis()
        verdict.write(lines, seed=seed, kind=kind, redis=program.label, took=time.monotonic() - began)
    if missed:
        print(f"What everybody wrote is in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="decides what is sent and what breaks"
    )
    parser.add_argument("--soak", action="store_true", help="10 000 ends; hours")
    parser.add_argument("--write", action="store_true", help="put the table into docs/promises.md")
    parser.add_argument("--only", default="", help="one part: storm, deaths, outage, readers, restarts or uvicorn")
    return parser.parse_args()


def parts(folder: Path, sizes: object, dice: random.Random, only: str) -> list[object]:
    """Every part on a site of its own, one after the other."""
    from . import deaths, outage, readers, restarts
    from .rig import Rig
    from .sizes import Sizes
    from .storm import Storm
    from .verdict import Line

    assert isinstance(sizes, Sizes)

    def storm(rig: Rig) -> list[Line]:
        rig.worker("main", concurrency=4)
        rig.worker("second", concurrency=4)
        for worker in rig.workers:
            worker.wait_ready()
        raging = Storm(rig, sizes, dice)
        raging.rage()
        return raging.lines()

    def in_outage(rig: Rig) -> list[Line]:
        rig.worker("main", concurrency=4).wait_ready()
        return outage.run(rig, sizes)

    def on_daphne(rig: Rig) -> list[Line]:
        return [*restarts.deaf(rig, name="Daphne"), *restarts.run(rig, sizes, name="Daphne")]

    def on_uvicorn(rig: Rig) -> list[Line]:
        return [*restarts.deaf(rig, name="uvicorn"), *restarts.run(rig, sizes, name="uvicorn")]

    chosen: dict[str, Callable[[Rig], list[Line]]] = {
        "storm": storm,
        "deaths": lambda rig: deaths.run(rig, sizes),
        "outage": in_outage,
        "readers": lambda rig: readers.run(rig, sizes),
        "restarts": on_daphne,
        "uvicorn": on_uvicorn,
    }
    lines: list[Line] = []
    for name, part in chosen.items():
        if only in ("", name):
            began = time.monotonic()
            with Rig(folder / name, uvicorn=name == "uvicorn") as rig:
                lines += part(rig)
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return list(lines)


if __name__ == "__main__":
    sys.exit(main())
