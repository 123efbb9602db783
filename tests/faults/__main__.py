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
from pathlib import Path

import django

from project.redis_server import find_redis

from . import verdict
from .checker import Finding
from .parts import PARTS
from .rig import Rig
from .sizes import BRIEF, SOAK, Sizes
from .verdict import Line


def main() -> int:
    """Measure every promise that faults can touch, and print the table."""
    arguments = parsed()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    sizes, seed, began = SOAK if arguments.soak else BRIEF, arguments.seed, time.monotonic()
    print(f"Seed {seed}. {dataclasses.asdict(sizes)}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    lines: list[Line] = []
    try:
        lines = measured(folder, sizes, random.Random(seed), arguments.only)
    except Exception:
        traceback.print_exc()
        print(f"The rig itself broke. What it wrote is in {folder}", file=sys.stderr)
        return 2
    print(verdict.table(lines), flush=True)
    missed = [line for line in lines if not line.finding.kept]
    verdict.complain(missed)
    print(f"{len(lines) - len(missed)} of {len(lines)} kept, in {time.monotonic() - began:.0f} s, seed {seed}.")
    if arguments.write:
        kind = "make soak" if arguments.soak else "make faults"
        program = find_redis()
        took = time.monotonic() - began
        verdict.write(lines, kind=kind, part=arguments.only, seed=seed, redis=program.label, took=took)
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
    parser.add_argument("--only", default="", choices=PARTS, help="one part; the verdict is not the whole one then")
    return parser.parse_args()


def measured(folder: Path, sizes: Sizes, dice: random.Random, only: str) -> list[Line]:
    """Every part, one after the other, each on a site of its own. A part that does not come to its end is a miss."""
    lines: list[Line] = []
    for name, part in PARTS.items():
        if only not in ("", name):
            continue
        began = time.monotonic()
        try:
            with Rig(folder / name, uvicorn=name == "uvicorn", replicated=name == "storm") as rig:
                lines += part(rig, sizes, dice)
        except AssertionError as error:  # something that was waited for did not come about
            lines.append(Line(f"The part {name}", "comes to its end", Finding("it did not", [str(error)[:2000]])))
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return lines


if __name__ == "__main__":
    sys.exit(main())
