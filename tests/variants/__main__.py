"""``python -m tests.variants``: try the site in many surroundings, and print a table of what came of it.

Without arguments: each value once, and most pairs (`plan.pairwise`). With ``--all``: the whole product, and the table
in docs/supported.md is written anew. Exits 1 if anything failed, 2 if a Python is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from threading import Lock

from . import plan, table
from .environments import ROOT, NoPython, find_python, installed, make
from .plan import Environment, Variant

FOLDER = ROOT / ".venv" / "variants"
LONGEST = 300  # seconds for the variants of one environment that share a layer


@dataclass
class Batch:
    """The variants of one environment that share a channel layer: they are tried by one process."""

    environment: Environment
    layer: str
    variants: list[Variant]
    parts: list[dict[str, object]] = field(default_factory=list)
    trouble: str = ""

    @property
    def good(self) -> bool:
        """True if everything that was to be tried was, and went well."""
        tried = {part["what"] for part in self.parts}
        wanted = {f"{variant.pool}/{variant.server}" for variant in self.variants} | {"leave"}
        return not self.trouble and wanted <= tried and not any(part["error"] for part in self.parts)


class Runner:
    """Makes each environment once and runs batches in it."""

    def __init__(self) -> None:
        self._locks: dict[Environment, Lock] = {}
        self.versions: dict[Environment, dict[str, str]] = {}

    def run(self, batch: Batch) -> Batch:
        """Try the variants of a batch; what came of them is in the batch."""
        try:
            with self._locks.setdefault(batch.environment, Lock()):
                python = make(batch.environment, FOLDER)
                self.versions.setdefault(batch.environment, installed(python))
            self._try(python, batch)
        except Exception as error:  # whatever it is, the other batches go on
            batch.trouble = str(error)
        table.say(batch)
        return batch

    def _try(self, python: Path, batch: Batch) -> None:
        pairs = [f"{variant.pool}/{variant.server}" for variant in batch.variants]
        command = [python, "-W", "ignore::DeprecationWarning", "-m", "tests.variants.smoke", batch.layer, *pairs]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PROGRESS_"))}
        output, errors, status = _ended(command, env)
        for line in output.splitlines():
            told = json.loads(line)
            if "what" in told:
                batch.parts.append(told)
            else:
                batch.trouble += f"logs: {told['logs']}\n"
        if status:
            batch.trouble += f"ended with {status}\n{errors[-3000:]}"


def _ended(command: Sequence[str | Path], env: Mapping[str, str]) -> tuple[str, str, int]:
    """What a program wrote on both its outputs, and its exit status. It is told to end when it takes too long."""
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        output, errors = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        process.terminate()  # it takes its servers with it
        output, errors = process.communicate()
        return output, f"It took more than {LONGEST} s.\n{errors}", 1
    return output, errors, process.returncode


def batches(variants: Sequence[Variant]) -> Iterator[Batch]:
    """The variants as they are tried together."""
    for (environment, layer), together in groupby(variants, key=lambda one: (one.environment, one.layer)):
        yield Batch(environment, layer, list(together))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.variants", description=__doc__)
    parser.add_argument("--all", action="store_true", help="the whole product")
    parser.add_argument("--list", action="store_true", help="name the variants and do nothing")
    parser.add_argument("--missing", action="store_true", help="name the Pythons that are missing and do nothing")
    parser.add_argument("--only", default="", help="variants whose name contains this")
    parser.add_argument("--jobs", type=int, default=3, help="batches side by side (3)")
    asked = parser.parse_args()
    chosen = sorted(one for one in (plan.whole() if asked.all else plan.pairwise()) if asked.only in one.name)
    chosen.sort(key=lambda one: (one.environment, one.layer))
    if asked.list:
        print("\n".join(one.name for one in chosen))
        return 0
    missing = _missing(chosen)
    if asked.missing:
        print(" ".join(missing))
        return 0
    if missing:
        print("\n".join(missing.values()), file=sys.stderr)
        return 2
    return _run(list(batches(chosen)), asked.jobs, record=asked.all and not asked.only)


def _missing(variants: Sequence[Variant]) -> dict[str, str]:
    """The Pythons that are missing, and what to do about each."""
    found = {}
    for version in sorted({one.environment.python for one in variants}):
        try:
            find_python(version)
        except NoPython as error:
            found[version] = str(error)
    return found


def _run(todo: list[Batch], jobs: int, *, record: bool) -> int:
    began = time.monotonic()
    runner = Runner()
    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(runner.run, todo))
    print(table.of(done))
    good = bool(done) and all(batch.good for batch in done)
    print(f"\n{sum(len(batch.variants) for batch in done)} variants in {time.monotonic() - began:.0f} s: ", end="")
    print("all went well" if good else "NOT all went well")
    if good and record:
        table.write(done, runner.versions)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
