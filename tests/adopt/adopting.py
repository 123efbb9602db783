"""What a person does to a site: add the lines of the README, literally, and take them out again."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.processes import ROOT

SITE = Path(__file__).resolve().parent / "site"
FILES = ("settings.py", "urls.py", "asgi.py")


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def five_lines() -> dict[str, list[str]]:
    """The lines of the README, by the file that its blocks name in their first line and nothing else."""
    found: dict[str, list[str]] = {}
    for block in blocks("README.md", "python"):
        first, *lines = block.splitlines()
        if (name := first.removeprefix("# ")) in FILES:
            found.setdefault(name, []).extend(line for line in lines if line.strip())
    return found


def new_site(folder: Path) -> Path:
    """A copy of the shop, as it was before."""
    shutil.copytree(SITE, folder)
    return folder


def adopt(site: Path) -> None:
    """Add the five lines, and what the documents say to put into a page and into a client."""
    for name, lines in five_lines().items():
        with (site / "shop" / name).open("a") as file:
            file.write("\n" + "\n".join(lines) + "\n")
    (tag,) = [block for block in blocks("README.md", "html") if "{% task_progress" in block]
    page = site / "templates" / "export.html"
    page.write_text(page.read_text().replace("{% block content %}", "{% block content %}\n" + tag))
    (client,) = [block for block in blocks("docs/adding-to-a-site.md", "js") if "export function show" in block]
    (site / "static" / "live.js").write_text(client)


def leave(site: Path) -> None:
    """Take out what `adopt` put in."""
    for name, lines in five_lines().items():
        file = site / "shop" / name
        kept = [line for line in file.read_text().splitlines() if line not in lines]
        file.write_text("\n".join(kept) + "\n")
    for name in ("templates/export.html", "static/live.js"):
        shutil.copy(SITE / name, site / name)
