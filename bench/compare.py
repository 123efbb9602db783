"""A fresh run against the committed one: what got better, what got worse.

Ratios count wherever they were measured. Absolute figures are told, and are judged where the machine is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

from .figures import Spread
from .report import in_order, kept, spread
from .results import Found

TOLERANCE: Final = 0.1  # medians that differ by less are the same
SAME_MACHINE: Final = ("cpu", "cores", "python")

Verdict = Literal["better", "same", "worse", "other machine"]


def tell(committed: dict[str, Found], fresh: dict[str, Found]) -> int:
    """Print how `fresh` stands to `committed`, scenario by scenario.

    1 if the value of a bar got worse, or a bar that was kept is missed by every repetition, or a new one is missed.
    """
    failures: list[str] = []
    for name in in_order(fresh):
        print(f"\n{fresh[name]['title']} ({name})")
        if name not in committed:
            print("  was not measured before")
            continue
        before, now = committed[name], fresh[name]
        for change in _versions(before["machine"], now["machine"]):
            print(f"  {change}")
        same = same_machine(before["machine"], now["machine"])
        if not same:
            print(f"  another machine: {_machine(before)} then, {_machine(now)} now; absolute figures are not judged")
        for line in _figures(before, now, same):
            print(f"  {line}")
        for line, failed in _bars(before, now, same):
            print(f"  {line}")
            if failed:
                failures.append(f"{name}: {line}")
    print("\nNothing got worse that a bar is about." if not failures else "\nWorse:")
    for line in failures:
        print(f"  {line}")
    return int(bool(failures))


def judge(before: Sequence[float], now: Sequence[float], *, more_is_better: bool) -> Verdict:
    """Something changed if the medians differ by more than `TOLERANCE` and the spreads do not overlap."""
    old, new = Spread.of(before), Spread.of(now)
    apart = new.low > old.high or new.high < old.low
    if not apart or abs(new.median - old.median) <= TOLERANCE * abs(old.median):
        return "same"
    return "better" if (new.median > old.median) == more_is_better else "worse"


def same_machine(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """True if absolute figures can be compared."""
    return all(before[each] == now[each] for each in SAME_MACHINE)


def _versions(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Which versions are others."""
    old, new = ({**each["packages"], "Redis": each["redis"]} for each in (before, now))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name} {old.get(name, 'not there')} then, {new.get(name, 'not there')} now"


def _machine(found: Found) -> str:
    return ", ".join(str(found["machine"][each]) for each in SAME_MACHINE)


def _figures(before: Found, now: Found, same: bool) -> Iterator[str]:
    for side, figures in now["rows"].items():
        for column in now["columns"]:
            old, new = before["rows"].get(side, {}).get(column["name"]), figures.get(column["name"])
            if not old or not new:
                if old or new:
                    yield f"{side}, {column['name']}: {spread(old or [])} then, {spread(new or [])} now"
                continue
            more = column.get("more_is_better", False)
            verdict = judge(old, new, more_is_better=more) if same else "other machine"
            yield _line(f"{side}, {column['name']}", old, new, column["unit"], verdict)
    for side in before["rows"].keys() - now["rows"].keys():
        yield f"{side}: not measured now. {now['missing'].get(side, '')}".rstrip()


def _bars(before: Found, now: Found, same: bool) -> Iterator[tuple[str, bool]]:
    """Each bar, and whether it fails the comparison."""
    known = {bar["text"]: bar for bar in before["bars"]}
    for bar in now["bars"]:
        text = f"bar {'kept' if kept(bar) else 'MISSED'}: {bar['text']}"
        old = known.pop(bar["text"], None)
        if old is None:
            yield f"{text}: {spread(bar['values'], bar['unit'])}, new", not kept(bar)
            continue
        # A ratio was taken within one run, so it does not matter on which machine.
        comparable = same or bar["unit"] == "×"
        more = bar["sense"] == "at least"
        verdict = judge(old["values"], bar["values"], more_is_better=more) if comparable else "other machine"
        lost = kept(old) and not any(kept({**bar, "values": [value]}) for value in bar["values"])
        yield _line(text, old["values"], bar["values"], bar["unit"], verdict), lost or verdict == "worse"
    for text in known:
        yield f"bar gone: {text}", False


def _line(what: str, old: Sequence[float], new: Sequence[float], unit: str, verdict: Verdict) -> str:
    before, now = Spread.of(old).median, Spread.of(new).median
    times = f", {now / before:.2f} of it" if before else ""
    told = "not judged" if verdict == "other machine" else verdict
    return f"{told}: {what}: {spread(old, unit)} then, {spread(new, unit)} now{times}"
