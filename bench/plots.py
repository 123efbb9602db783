"""One picture per scenario, for light and dark pages, in `docs/img/bench`. Needs matplotlib."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from .figures import Spread
from .report import heading, short
from .results import ROOT, Found

FOLDER: Final = ROOT / "docs" / "img" / "bench"
LOGARITHMIC: Final = 30.0  # times between the least and the most, from which a linear axis would hide the least
WIDTH: Final = 8.0  # inches, of 72 units


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours on a page of GitHub's, which shows through."""

    name: str
    text: str
    faint: str
    ours: str
    theirs: str


THEMES: Final = (
    Theme("light", text="#1f2328", faint="#d1d9e0", ours="#1a7f37", theirs="#8c959f"),
    Theme("dark", text="#e6edf3", faint="#3d444d", ours="#3fb950", theirs="#7d8590"),
)


def draw(found: dict[str, Found]) -> None:
    """Write the pictures of all scenarios that have one, and remove those that no scenario has."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    drawn = set()
    for name, each in found.items():
        for theme in THEMES if each["plot"] else ():
            file = FOLDER / f"{name}-{theme.name}.svg"
            picture(each, theme, file)
            drawn.add(file)
    for file in set(FOLDER.glob("*.svg")) - drawn:
        file.unlink()


def picture(found: Found, theme: Theme, file: Path) -> None:
    """Bars with the medians of one column, and whiskers from the lowest to the highest."""
    column = next(column for column in found["columns"] if column["name"] == found["plot"])
    sides = {
        side: Spread.of(values) for side, figures in found["rows"].items() if (values := figures.get(column["name"]))
    }
    # "none" leaves text as text; the salt makes the ids in the file the same each time.
    fixed = {"svg.fonttype": "none", "svg.hashsalt": "bench", "font.sans-serif": ["DejaVu Sans"], "font.size": 10}
    with mpl.rc_context(fixed):
        figure = Figure(figsize=(WIDTH, 0.75 + 0.36 * len(sides)), layout="constrained")
        _bars(figure.add_subplot(), sides, set(found.get("ours") or sides), column, theme)
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    lines = [line.rstrip() for line in file.read_text().splitlines()]
    file.write_text("\n".join(lines) + "\n")


def _bars(axes: Any, sides: dict[str, Spread], ours: set[str], column: dict[str, Any], theme: Theme) -> None:
    names = [_plain(side) for side in sides]
    medians = [spread.median for spread in sides.values()]
    around = [
        [spread.median - spread.low for spread in sides.values()],
        [spread.high - spread.median for spread in sides.values()],
    ]
    colours = [theme.ours if side in ours else theme.theirs for side in sides]
    whiskers = {"ecolor": theme.text, "elinewidth": 1, "capsize": 3}
    bars = axes.barh(names, medians, xerr=around, color=colours, height=0.62, error_kw=whiskers)
    least, most = min(spread.low for spread in sides.values()), max(spread.high for spread in sides.values())
    logarithmic = least > 0 and most / least > LOGARITHMIC
    if logarithmic:
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(lambda value, _position: f"{value:,.10g}")
    for bar, spread in zip(bars, sides.values(), strict=True):
        beyond = (spread.high, bar.get_y() + bar.get_height() / 2)
        style = {"va": "center", "color": theme.text, "fontweight": "bold"}
        axes.annotate(short(spread.median), beyond, xytext=(7, 0), textcoords="offset points", **style)
    axes.margins(x=0.12)
    axes.invert_yaxis()  # the first side on top
    better = "more" if column.get("more_is_better") else "less"
    scale = ", logarithmic scale" if logarithmic else ""
    axes.set_xlabel(f"{heading(column)} ({better} is better{scale})", color=theme.text)
    axes.tick_params(colors=theme.text, length=0)
    axes.grid(axis="x", color=theme.faint, linewidth=0.7)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _plain(markdown: str) -> str:
    """A name without its mark-up, narrow enough to stand beside a bar."""
    return textwrap.fill(re.sub(r"[`*]", "", markdown), 40)
