"""Where there is no Redis: the site's own tests, and a build."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from .adopting import adopt, blocks, leave, new_site
from .building import bare_environment, run

# Runs the site's tests, and tells of every connection and every thread.
NOTING = """
import json, socket, sys, threading
connections, threads = [], []
def note(event, args):
    if event == "socket.connect" and args[0].family != getattr(socket, "AF_UNIX", None):
        connections.append(str(args[1]))
sys.addaudithook(note)
start = threading.Thread.start
threading.Thread.start = lambda self: (threads.append(self.name), start(self))[1]
from django.core.management import execute_from_command_line
try:
    execute_from_command_line(["manage.py", "test", "--settings", "shop.suite_settings"])
finally:
    print("NOTED", json.dumps({"connections": connections, "threads": threads}))
"""


@pytest.fixture
def environment(python: Path, tmp_path: Path) -> dict[str, str]:
    """No Redis, no broker, no database: what a build or a test run has."""
    return {**bare_environment(python), "SHOP_DATA": str(tmp_path / "data"), "HOME": str(tmp_path)}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The shop, adopted, with the line that the documents have for its tests."""
    made = new_site(tmp_path / "site")
    adopt(made)
    (line,) = [block for block in blocks("docs/adding-to-a-site.md", "python") if "PROGRESS_STORE" in block]
    with (made / "shop" / "suite_settings.py").open("a") as settings:
        settings.write(line)
    return made


def suite(python: Path, site: Path, environment: dict[str, str]) -> tuple[list[str], dict[str, Any]]:
    """What the site's test run says, without what differs each time, and what it opened."""
    said = run(python, "-c", NOTING, cwd=site, env=environment, both=True)
    noted = re.search(r"^NOTED (.*)$", said, re.MULTILINE)
    assert noted
    lines = [re.sub(r"\d+\.\d+(e-\d+)?s|\[[0-9a-f-]{36}\]|\.+", "", line) for line in said.splitlines()]
    return [line for line in lines if not line.startswith(("NOTED", '  File "'))], json.loads(noted[1])


def test_the_eager_suite_of_the_site_does_not_notice(python: Path, site: Path, environment: dict[str, str]) -> None:
    """The same tests pass, with the same number of queries; no line is logged and no connection opened for us."""
    with_us = suite(python, site, environment)
    leave(site)
    without_us = suite(python, site, environment)
    assert with_us[0] == without_us[0]
    assert any(line == "OK" for line in with_us[0])
    assert with_us[1]["connections"] == without_us[1]["connections"] == []


def test_a_suite_that_was_told_nothing_passes_too(python: Path, site: Path, environment: dict[str, str]) -> None:
    """Without the line for tests there is a warning that names it, and nothing else is different."""
    settings = site / "shop" / "suite_settings.py"
    settings.write_text(settings.read_text().replace('PROGRESS_STORE = "memory"', ""))
    said, _ = suite(python, site, environment)
    assert any(line == "OK" for line in said)
    assert any("PROGRESS_STORE = 'memory'" in line for line in said)
    assert not any("progress" in line and "Traceback" in line for line in said)


def test_a_build_needs_nothing_that_runs(python: Path, site: Path, environment: dict[str, str]) -> None:
    """Checks and static files, with hosts that do not exist; the files are all there, with their hashed names."""
    assert "no issues" in run(python, "manage.py", "check", "--fail-level", "WARNING", cwd=site, env=environment)
    run(python, "manage.py", "collectstatic", "--no-input", cwd=site, env=environment)
    collected = Path(environment["SHOP_DATA"]) / "static" / "progress"
    assert {path.name for path in collected.glob("*.js")} >= {"task-progress.js", "progress-socket.js"}
    assert list(collected.glob("task-progress.*.js"))
