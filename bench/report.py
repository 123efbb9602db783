"""`docs/benchmarks.md`: what `bench/results.json` says, for people."""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from .figures import Spread
from .results import ROOT, Found
from .scenarios import SCENARIOS

PAGE: Final = ROOT / "docs" / "benchmarks.md"
HEAD: Final = """# Benchmarks

Written by `make bench` from `bench/results.json`; `bench/README.md` says how it is measured, and what each scenario
is for. Run it on your own machine: {all}`make bench ONLY="fanout latency"` is some of it, and `make bench-compare`
holds a run against this one.

- All sides of a scenario take turns within one run, and who begins changes, where it does not say otherwise. A figure
  is the median of the repetitions, with the lowest and the highest behind it.
- Absolute figures move with the machine. Ratios are what to compare: they are taken pair by pair, each repetition
  against the same one of the other side, and the bars are about their median.
- Every server is one process. Its CPU is user and system time of that process alone, from `/proc`. Everything talks
  over loopback. Daphne and uvicorn are started as [running.md](running.md#when-everybody-comes-back-at-once) has it
  for crowds; the channel layer is that of `channels_redis.pubsub`.
- The pictures show the same medians, with whiskers from the lowest to the highest; ours are green."""
DIGITS: Final = 3  # that mean something


def write(found: dict[str, Found], only: Sequence[str] | None = None) -> int:
    """Write the page and its pictures. Prints what `only` names; 1 if one of those misses a bar."""
    PAGE.write_text(page(found))
    _draw(found)
    return tell({name: found[name] for name in found if name in (only or ())})


def tell(found: dict[str, Found]) -> int:
    """Print what was found; 1 if a bar is missed."""
    for name in in_order(found):
        print(section(name, found[name]))
    return int(any(not kept(bar) for each in found.values() for bar in each["bars"]))


def _draw(found: dict[str, Found]) -> None:
    try:
        from . import plots  # needs matplotlib, which the rest of this does not
    except ImportError as error:
        print(f"The pictures were not drawn: {error}", file=sys.stderr)
    else:
        plots.draw(found)


def page(found: dict[str, Found]) -> str:
    """The whole page. The same results give the same text."""
    names = in_order(found)
    if not names:
        return f"{HEAD.format(all='')}\n\nNothing was measured yet.\n"
    shared = _one({_versions(found[name]["machine"]) for name in names})
    together = _minutes(sum(each["seconds"] for each in found.values()))
    top = HEAD.format(all=f"all of it takes {together}, ")
    head = [top, *([f"- {_dates(found)}\n{shared}"] if shared else [f"- {_dates(found)}"])]
    parts = ["\n".join(head), _bars(found), *(section(name, found[name], alone=not shared) for name in names)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def in_order(found: dict[str, Found]) -> list[str]:
    """The scenarios that there are, as the page has them."""
    known = [name for name in SCENARIOS if name in found]
    return known + sorted(set(found) - set(known))


def section(name: str, found: Found, *, alone: bool = True) -> str:
    """One scenario. `alone` says on which machine it was measured."""
    return "\n\n".join(part for part in _parts(name, found, alone) if part)


def _parts(name: str, found: Found, alone: bool) -> Iterator[str]:
    yield f"## {found['title']}"
    yield inspect.cleandoc(found["how"])
    yield _table(found)
    yield "\n".join(f"- **{column['name']}**: {column['what']}" for column in found["columns"] if column["what"])
    if found["plot"]:
        yield _picture(name, found)
    yield "\n".join(f"- Not measured: **{side}**. {_sentence(why)}" for side, why in found["missing"].items())
    yield "\n\n".join(inspect.cleandoc(note) for note in found["notes"])
    yield _verdicts(found["bars"])
    again = f'`make bench ONLY="{name}"` measures it again, in {_minutes(found["seconds"])}'
    yield f"{_repetitions(found)}{again}."
    if alone:
        yield f"- {found['machine']['date']}\n{_versions(found['machine'])}"


# --- The bars ----------------------------------------------------------------------------------------------


def kept(bar: Found) -> bool:
    """True if the median is within the limit."""
    median = Spread.of(bar["values"]).median
    return bool(median <= bar["limit"] if bar["sense"] == "at most" else median >= bar["limit"])


def _bars(found: dict[str, Found]) -> str:
    lines = ["## The bars", "", "| scenario | what | bar | reached | |", "|---|---|---|---|---|"]
    missed = []
    for name in in_order(found):
        title = found[name]["title"]
        for number, bar in enumerate(found[name]["bars"]):
            scenario = "" if number else f"[{title}](#{anchor(title)})"
            lines.append(_row([scenario, bar["text"], *_limit_and_reached(bar), _word(bar)]))
            if not kept(bar):
                why = " ".join(bar["why"].split()) or "Not explained yet."
                near = f" How near: {_sentence(' '.join(bar['near'].split()))}" if bar.get("near") else ""
                missed.append(f"- {title}, {bar['text']}: {_sentence(why)}{near}")
    if missed:
        lines += ["", "What is missed, and what the limit is made of:", "", *missed]
    return "\n".join(lines)


def _verdicts(bars: Sequence[Found]) -> str:
    lines = []
    for bar in bars:
        limit, reached = _limit_and_reached(bar)
        lines.append(f"- {_word(bar)}: {bar['text']}: {reached}; the bar is {limit}")
    return "\n".join(lines)


def _limit_and_reached(bar: Found) -> list[str]:
    limit, median = bar["limit"], Spread.of(bar["values"]).median
    shown = f"{limit:,.0f}" if limit == int(limit) else f"{limit:.{DIGITS}g}"
    # A digit more where the rounded figure would not show on which side of the limit it is.
    digits = DIGITS + (short(median) == short(limit) and median != limit)
    return [f"{bar['sense']} {shown} {bar['unit']}".strip(), spread(bar["values"], bar["unit"], digits)]


def _word(bar: Found) -> str:
    return "kept" if kept(bar) else "**MISSED**"


# --- Tables and figures ------------------------------------------------------------------------------------


def _table(found: Found) -> str:
    columns = found["columns"]
    lines = [_row(["", *map(heading, columns)]), f"|{'---|' * (len(columns) + 1)}"]
    for side, figures in found["rows"].items():
        lines.append(_row([side, *(spread(figures.get(column["name"], ())) for column in columns)]))
    return "\n".join(lines)


def heading(column: dict[str, Any]) -> str:
    """A column's name and unit."""
    return f"{column['name']}, {column['unit']}" if column["unit"] else str(column["name"])


def spread(values: Sequence[float], unit: str = "", digits: int = DIGITS) -> str:
    """The median, with the lowest and the highest behind it where they differ from it."""
    if not values:
        return "–"
    found = Spread.of(values)
    low, median, high = (short(value, digits) for value in (found.low, found.median, found.high))
    around = "" if low == median == high else f" ({low} … {high})"
    return f"{median} {unit}".strip() + around


def short(value: float, digits: int = DIGITS) -> str:
    """Three digits that mean something, or as many as are asked for."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.{digits}g}")
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(decimals, 0)}f}"


def _row(cells: Sequence[str]) -> str:
    escaped = [cell.replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(escaped)} |".replace("|  |", "| |")


def _picture(name: str, found: Found) -> str:
    column = next(column for column in found["columns"] if column["name"] == found["plot"])
    alt = re.sub(r'[`*"<>]', "", f"{found['title']}: {heading(column)}, as in the table")
    return (
        "<picture>\n"
        f'  <source media="(prefers-color-scheme: dark)" srcset="img/bench/{name}-dark.svg">\n'
        f'  <img src="img/bench/{name}-light.svg" alt="{alt}">\n'
        "</picture>"
    )


# --- Words -------------------------------------------------------------------------------------------------


def anchor(title: str) -> str:
    """Where a link to a heading leads."""
    return re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")


def _versions(machine: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    nginx = f", nginx {machine['nginx']}" if machine["nginx"] else ""
    return (
        f"- {machine['system']}, {machine['cores']} cores ({machine['cpu']}){_memory(machine)}\n"
        f"- {machine['python']}, {machine['redis']} on loopback{nginx}\n"
        f"- {packages}"
    )


def _memory(machine: dict[str, Any]) -> str:
    return f", {machine['memory']}" if "memory" in machine else ""


def _dates(found: dict[str, Found]) -> str:
    dates = sorted({each["machine"]["date"] for each in found.values()})
    return dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"


def _repetitions(found: Found) -> str:
    counts = {len(values) for figures in found["rows"].values() for values in figures.values()}
    return f"{count} repetitions. " if (count := _one(counts)) else ""


def _one(found: set[Any]) -> Any:
    """The only element, or None."""
    return next(iter(found)) if len(found) == 1 else None


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
