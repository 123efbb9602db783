"""What was measured, for people (standard output, `docs/benchmarks.md`) and for programs (`bench/results.json`)."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from project.redis_server import find_redis

from .timing import Spread

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "Django",
    "channels",
    "channels-redis",
    "redis",
    "celery",
    "celery-progress",
    "daphne",
    "autobahn",
    "tqdm",
)
CHEAPER = 8  # times; what the hub has to be, per delivery
# Ours → what it must not be dearer than.
NOT_DEARER = {
    "`for row in progress.track(rows)`": "tqdm: `for row in tqdm(rows)`",
    "`reporter.advance()`, the handle": "tqdm: `bar.update(1)`",
    "`progress.advance()`, the function": "tqdm: `bar.update(1)`",
}
HUB, TUTORIAL = "the hub", "the tutorial's consumer"


def tell(found: dict[str, Any], seconds: float) -> bool:
    """Print and write the results; the answer is whether every bar is kept."""
    machine = _machine()
    bars = list(_bars(found))
    lines = [*_head(machine), *_report(found["report"]), *_fanout(found["fanout"]), *_verdict(bars)]
    text = "\n".join(lines) + "\n"
    print(text)
    print(f"Took {seconds:.0f} s.")
    (ROOT / "docs" / "benchmarks.md").write_text(text)
    told = {"machine": machine, **found, "bars": [{"bar": bar, "kept": kept} for bar, kept in bars]}
    content = json.dumps(told, indent=1, default=_plain, ensure_ascii=False)
    (ROOT / "bench" / "results.json").write_text(content + "\n")
    return all(kept for _, kept in bars)


def _plain(value: Any) -> Any:
    return asdict(value) if isinstance(value, Spread) else str(value)


def _machine() -> dict[str, Any]:
    cpu = Path("/proc/cpuinfo")
    models = [line for line in cpu.read_text().splitlines() if line.startswith("model name")] if cpu.exists() else []
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "system": platform.system(),
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": os.cpu_count(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "redis": find_redis().label,
        "packages": {name: version(name) for name in PACKAGES},
    }


def _head(machine: dict[str, Any]) -> list[str]:
    packages = ", ".join(f"{name} {found}" for name, found in machine["packages"].items())
    return [
        "# Benchmarks",
        "",
        "Written by `make bench`; run it on your own machine, absolute figures move with it. Ratios within one run",
        "are what to compare. `bench/README.md` says how it is measured.",
        "",
        f"- {machine['date']}, {machine['system']}, {machine['cores']} cores ({machine['cpu']})",
        f"- {machine['python']}, {machine['redis']} on loopback",
        f"- {packages}",
        "",
    ]


def _report(found: dict[str, Any]) -> list[str]:
    rows: dict[str, Spread] = found["rows"]
    unit = rows["tqdm: `bar.update(1)`"].median
    lines = [
        "## What one report costs the task",
        "",
        "Wall time of the thread that reports, net of the bare loop; medians, with the lowest and the highest, of",
        f"{found['repetitions']} repetitions that take turns. Ours runs with its publisher at work: somebody",
        "watches, and ten times a second the state is stored in Redis and announced.",
        "",
        "| how | µs per report | lowest … highest | tqdm's `update(1)` = 1 |",
        "|---|---|---|---|",
    ]
    for name, spread in sorted(rows.items(), key=lambda row: row[1].median):
        cells = (_short(spread.median), f"{_short(spread.low)} … {_short(spread.high)}", _short(spread.median / unit))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    share = f"{found['publisher_share'] * 100:.1f}"
    lines += [
        "",
        f"Beside the task, the publisher's thread takes {share} % of a core while somebody watches and every look",
        "finds something new.",
        "",
    ]
    return lines


def _fanout(found: dict[str, Any]) -> list[str]:
    hub, tutorial = found["rows"][HUB], found["rows"][TUTORIAL]
    lines = [
        "## What one delivered message costs the server",
        "",
        f"{found['watchers']:,} sockets watch one task on one Daphne (pub/sub layer). {found['messages']} steps,",
        "each when all sockets have the one before, so that both ways deliver every one to everybody. CPU (user",
        f"and system) of the server process alone; medians of {found['repetitions']} runs that take turns.",
        "",
        "| | CPU µs per delivery | lowest … highest | deliveries per second | connects per second |",
        "|---|---|---|---|---|",
    ]
    for name, row in ((HUB, hub), (TUTORIAL, tutorial)):
        cpu = row["cpu_us_per_delivery"]
        cells = (
            _short(cpu.median),
            f"{_short(cpu.low)} … {_short(cpu.high)}",
            _short(row["deliveries_per_second"].median),
            _short(row["connects_per_second"].median),
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        f"A burst of {found['burst']} steps as fast as the publisher sends them, until everybody has the last. The",
        "hub skips what is overtaken; the tutorial's consumer delivers everything.",
        "",
        "| | CPU s | s until all have the newest | frames delivered |",
        "|---|---|---|---|",
    ]
    for name, row in ((HUB, hub), (TUTORIAL, tutorial)):
        cells = [_short(row[column].median) for column in ("burst_cpu_seconds", "burst_seconds", "burst_deliveries")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append("")
    return lines


def _bars(found: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    rows = found["report"]["rows"]
    for ours, theirs in NOT_DEARER.items():
        ratio = rows[ours].median / rows[theirs].median
        yield f"{ours} costs {ratio:.2f} of {theirs}; not dearer is the bar", ratio <= 1
    fanout = found["fanout"]["rows"]
    times = fanout[TUTORIAL]["cpu_us_per_delivery"].median / fanout[HUB]["cpu_us_per_delivery"].median
    yield f"a delivery by the hub is {times:.1f} times cheaper; {CHEAPER} times is the bar", times >= CHEAPER


def _verdict(bars: list[tuple[str, bool]]) -> list[str]:
    return ["## The bars", "", *[f"- {'kept' if kept else 'MISSED'}: {bar}" for bar, kept in bars]]


def _short(value: float) -> str:
    """Three digits that mean something."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
