"""What came of the variants, for people: line by line, as a table, and in docs/supported.md."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .environments import ROOT
from .plan import Environment

if TYPE_CHECKING:
    from .__main__ import Batch

PAGE: Final = ROOT / "docs" / "supported.md"
BEGIN, END = "<!-- written by `make matrix` -->", "<!-- end -->"
PACKAGES: Final = ("django", "redis", "celery", "channels", "channels-redis", "daphne", "uvicorn", "gevent")


def say(batch: Batch) -> None:
    """One line for a batch that is done, and more if anything was wrong."""
    print(f"{'ok    ' if batch.good else 'FAILED'} {batch.environment.name} {batch.layer}", flush=True)
    if batch.good:
        return
    for part in batch.parts:
        if part["error"]:
            print(f"       {part['what']}: {part['error']}")
    print("       " + batch.trouble.strip().replace("\n", "\n       "), flush=True)


def of(batches: Iterable[Batch]) -> str:
    """One line for each part of each batch."""
    rows = []
    for batch in batches:
        for part in batch.parts:
            result = "FAILED" if part["error"] else "ok"
            rows.append((f"{batch.environment.name} {batch.layer} {part['what']}", result, f"{part['seconds']:.1f}"))
        if not batch.parts:
            rows.append((f"{batch.environment.name} {batch.layer}", "FAILED", ""))
    width = max((len(row[0]) for row in rows), default=7)
    return "\n".join(f"{name:{width}}  {result:6}  {seconds:>6}" for name, result, seconds in _headed(rows))


def _headed(rows: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return [("variant", "result", "s"), *rows]


def write(batches: Sequence[Batch], versions: Mapping[Environment, Mapping[str, str]], page: Path = PAGE) -> None:
    """Put the table of a whole run between the marks of the page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = [
        f"| Python | {' | '.join(PACKAGES)} | variants | went well |",
        "|" + "---|" * (len(PACKAGES) + 3),
    ]
    for environment, together in groupby(batches, key=lambda batch: batch.environment):
        parts = list(together)
        count = sum(len(batch.variants) for batch in parts)
        well = sum(len(batch.variants) for batch in parts if batch.good)
        found = versions[environment]
        columns = " | ".join(found.get(name, "") for name in PACKAGES)
        python = environment.python + (", the lowest" if environment.lowest else "")
        lines.append(f"| {python} | {columns} | {count} | {well} |")
    lines.append(f"\n{platform.system()} {platform.machine()}.")
    page.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{after}")
