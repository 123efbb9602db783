"""The table: promise, bar, measured, verdict. What was not measured was not kept."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from .checker import Finding

PAGE = Path(__file__).resolve().parents[2] / "docs/promises.md"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the verdict."""

    promise: str
    bar: str
    finding: Finding

    @property
    def verdict(self) -> str:
        """Kept, or missed."""
        return "kept" if self.finding.kept else "MISSED"


def table(lines: Iterable[Line]) -> str:
    """The verdict as a Markdown table."""
    rows = [f"| {each.promise} | {each.bar} | {each.finding.measured} | {each.verdict} |" for each in lines]
    return "\n".join(["| promise | bar | measured | verdict |", "|---|---|---|---|", *rows])


def machine() -> str:
    """What it ran on."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return f"{os.cpu_count()} cores, {pages * size / 2**30:.0f} GiB, {platform.system()} {platform.machine()}"


def versions(redis: str) -> str:
    """With which releases."""
    names = ("django", "channels", "channels-redis", "redis", "celery", "daphne", "uvicorn")
    found = [f"{name} {version(name)}" for name in names]
    return f"Python {platform.python_version()}, " + ", ".join(found) + f", {redis}"


def write(lines: Iterable[Line], *, kind: str, part: str, seed: int, redis: str, took: float) -> None:
    """Put the table into its place in the page. `kind` is the make target, `part` is "" for all of it."""
    text = PAGE.read_text()
    before, mark, rest = text.partition(f"<!-- {kind} -->\n")
    if not mark:
        raise ValueError(f"{PAGE.name} must have a line '<!-- {kind} -->' before its table, and has none.")
    after = rest[rest.find("\n## ") :] if "\n## " in rest else ""
    what = f"`{kind}`" + (f", the part {part}" if part else "")
    when = f"{datetime.now(UTC):%Y-%m-%d}, {what}, seed {seed}, {took / 60:.0f} minutes"
    told = f"{when}. {machine()}.\n{versions(redis)}."
    PAGE.write_text(f"{before}{mark}\n{told}\n\n{table(lines)}\n{after}")


def complain(lines: Iterable[Line], most: int = 12) -> None:
    """Print what was wrong, the first few of each."""
    for line in lines:
        for each in line.finding.wrong[:most]:
            print(f"  {line.promise}: {each}", file=sys.stderr)
        if (more := len(line.finding.wrong) - most) > 0:
            print(f"  {line.promise}: and {more} more", file=sys.stderr)
