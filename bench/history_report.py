"""What `bench.history` found, for people: standard output and `docs/a-million-runs.md`."""

from __future__ import annotations

import datetime as dt
import os
import platform
import statistics
from collections.abc import Iterator
from typing import Any, Final

from tests.processes import ROOT

from .history_pages import MOST, REQUESTS, Found
from .history_rows import DAYS, USERS

SHOWN: Final = 4  # of the hardest queries, with their plans

TEXT: Final = """# The admin over a million runs

Written by `python -m bench.history`; run it on your own machine. `bench/README.md` says how it is measured.

- {machine}
- {databases}
- {rows:,} runs of {days} days, of {users:,} users and nobody, on disk with their indexes: {sizes}

## Pages

Asked for with Django's test client by a superuser and by staff with all of our permissions, {requests} times
each, about other runs each time. **Queries** are those of the superuser and of staff, whose permissions take two
more; with sessions and users, without the statements that begin and end transactions. **Rows** are what PostgreSQL
reads for the hardest query of the page, in tables and indexes.

| page | queries | SQLite ms, median | p95 | PostgreSQL ms, median | p95 | rows |
|---|---|---|---|---|---|---|
{pages}

## The recorder

One round is one batch, or one question, in the table with a million rows.

| work | queries | SQLite ms, median | p95 | PostgreSQL ms, median | p95 | rows |
|---|---|---|---|---|---|---|
{work}

From Redis into the table, by one recorder, changes per second:

| | SQLite | PostgreSQL |
|---|---|---|
{throughput}

## The bars

{bars}

To scan is a `Seq Scan` of the table in PostgreSQL's `EXPLAIN`, and a `SCAN` of it in SQLite's `EXPLAIN QUERY PLAN`.
What SQLite calls `SCAN … USING INDEX` is none where the query has a limit and needs no sorting: that reads the newest
rows in the order of the index, and stops.
"""


def tell(found: dict[str, Any], rows: int, *, write: bool) -> bool:
    """Print, and write the page if all was measured; the answer is whether every bar is kept."""
    missed = list(_missed(found))
    text = TEXT.format(
        machine=_machine(),
        databases=", ".join(each["version"] for each in found.values()),
        rows=rows,
        days=DAYS,
        users=USERS,
        requests=REQUESTS,
        sizes=", ".join(f"{each['bytes'] / 1e9:.1f} GB in {kind}" for kind, each in found.items()),
        pages="\n".join(_pages(found)),
        work="\n".join(_work(found)),
        throughput="\n".join(_throughput(found)),
        bars="\n".join(_bars(missed)),
    )
    print(text)
    _show_hardest(found)
    for line in missed:
        print(f"MISSED: {line}")
    if write:
        (ROOT / "docs" / "a-million-runs.md").write_text(text)
    return not missed


def _show_hardest(found: dict[str, Any]) -> None:
    """For whoever wants to mend it: where the most is read, and how."""
    for kind, each in found.items():
        work = {name: page for pages in each["pages"].values() for name, page in pages.items()} | each["work"]
        for name, page in sorted(work.items(), key=lambda item: -item[1].work)[:SHOWN]:
            print(f"{kind}, {name}: {page.work:,.0f} by {page.hardest}", *page.plan, sep="\n    ")


def _machine() -> str:
    today = dt.datetime.now(dt.UTC).date().isoformat()
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{today}, {platform.system()}, {os.cpu_count()} cores, {python}"


def _pages(found: dict[str, Any]) -> Iterator[str]:
    users = next(iter(found.values()))["pages"]
    for name in next(iter(users.values())):
        measured = {kind: [each["pages"][user][name] for user in users] for kind, each in found.items()}
        asked = [max(pages[place].queries for pages in measured.values()) for place in range(len(users))]
        yield _row(name, ", ".join(map(str, asked)), measured)


def _work(found: dict[str, Any]) -> Iterator[str]:
    for name in next(iter(found.values()))["work"]:
        measured = {kind: [each["work"][name]] for kind, each in found.items()}
        yield _row(name, str(max(work.queries for (work,) in measured.values())), measured)


def _row(name: str, asked: str, measured: dict[str, list[Found]]) -> str:
    cells = []
    for kind in ("SQLite", "PostgreSQL"):
        seconds = [second for each in measured.get(kind, ()) for second in each.seconds]
        cells += (
            [_ms(statistics.median(seconds)), _ms(statistics.quantiles(seconds, n=20)[-1])] if seconds else ["", ""]
        )
    read = max((each.work for each in measured.get("PostgreSQL", ())), default=0.0)
    return f"| {name} | {asked} | {' | '.join(cells)} | {read:,.0f} |"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}" if seconds > 0.01 else f"{seconds * 1000:.1f}"


def _throughput(found: dict[str, Any]) -> Iterator[str]:
    for name in next(iter(found.values()))["throughput"]:
        rates = [
            f"{found[kind]['throughput'][name]:,.0f}" if kind in found else "" for kind in ("SQLite", "PostgreSQL")
        ]
        yield f"| {name} | {' | '.join(rates)} |"


def _bars(missed: list[str]) -> Iterator[str]:
    for bar in (f"no page takes more than {MOST} queries", "nothing counts the table", "nothing scans the table"):
        times = sum(line.startswith(bar) for line in missed)
        yield f"- {f'MISSED {times} times' if times else 'kept'}: {bar}"


def _missed(found: dict[str, Any]) -> Iterator[str]:
    for kind, each in found.items():
        of_users = each["pages"].items()
        pages = [(f"{name}, {user}", page) for user, pages in of_users for name, page in pages.items()]
        for name, page in pages:
            if page.queries > MOST:
                yield f"no page takes more than {MOST} queries: {kind}, {name}: {page.queries}"
        for name, page in [*pages, *each["work"].items()]:
            yield from (f"nothing counts the table: {kind}, {name}: {query}" for query in sorted(page.counts))
            yield from (f"nothing scans the table: {kind}, {name}: {scan}" for scan in sorted(page.scans))
