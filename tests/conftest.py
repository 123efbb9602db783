"""Fixtures for all tests, and the rule that nothing is left out in silence."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from . import postgres, processes
from .processes import Redis, Site, in_this_process

pytest_plugins = ["progress.pytest_plugin"]  # as a site would: what we ship, we use

# What takes long says nothing but that the machine was busy.
hypothesis.settings.register_profile(
    "any-machine", hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any-machine")

CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
LOG_TAIL = 60  # lines of each server's log in the report of a failed test

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))),
    None,
)
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Marker → what the tests that carry it need, and whether this machine has it.
NEEDS = {
    "needs_chromium": ("Chromium", CHROMIUM is not None),
    "needs_postgres": ("PostgreSQL", postgres.programs() is not None),
    "needs_nginx": ("nginx", shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is not None),
    "needs_node": ("Node.js", shutil.which("node") is not None),
    "needs_axe": ("axe-core (npm ci)", (Path(__file__).parents[1] / "node_modules/axe-core").is_dir()),
    "needs_asyncapi": (
        "the schemas of AsyncAPI (npm ci)",
        (Path(__file__).parents[1] / "node_modules/@asyncapi/specs").is_dir(),
    ),
}
left_out = pytest.StashKey[dict[str, int]]()
not_run = pytest.StashKey[list[str]]()


# --- Real servers ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A real Redis for the whole session. Tests use `redis_url`, which empties it first."""
    server = Redis(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(redis_server: Redis, settings: Any) -> Iterator[str]:
    """An empty real Redis; store, channel layer and Celery of this process use it."""
    client = redis_server.client()
    client.flushall()
    client.close()
    with in_this_process(settings, redis_server.url, "progress-tests"):
        yield redis_server.url


@pytest.fixture(scope="session")
def running_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The whole site, once per session. Tests use `site`."""
    running = Site(tmp_path_factory.mktemp("site") / "site")
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def site(running_site: Site, settings: Any) -> Iterator[Site]:
    """The whole site, for tests that break nothing in it; this process uses its Redis, prefix and queue."""
    with in_this_process(settings, running_site.redis.url, running_site.prefix):
        yield running_site


@pytest.fixture
def own_site(tmp_path: Path, settings: Any) -> Iterator[Site]:
    """A site for this test alone, to kill what it likes."""
    own = Site(tmp_path / "site")
    try:
        own.start()
        with in_this_process(settings, own.redis.url, own.prefix):
            yield own
    finally:
        own.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A real Chromium, driven by Playwright's synchronous API. Only for tests/e2e: see the Makefile."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=15_000)  # as long as actions do: a machine may stand still for most of five
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        yield chromium
        chromium.close()


# --- Nothing is left out in silence ------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    config.stash[left_out] = {}
    config.stash[not_run] = []
    config.pluginmanager.register(NotRun(config.stash[not_run]))
    for marker, (need, _) in NEEDS.items():
        config.addinivalue_line("markers", f"{marker}: left out, loudly, where {need} is missing")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out what this machine cannot run. Where CI is set, nothing may be missing."""
    kept, removed = [], []
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("needs_chromium")
        missing = [need for marker, (need, there) in NEEDS.items() if item.get_closest_marker(marker) and not there]
        for need in missing:
            config.stash[left_out][need] = config.stash[left_out].get(need, 0) + 1
        (removed if missing else kept).append(item)
    if removed and CI:
        missed = ", ".join(config.stash[left_out])
        raise pytest.UsageError(f"CI is set, so every test must run, but this machine lacks: {missed}. Install it.")
    if removed:
        config.hook.pytest_deselected(items=removed)
        items[:] = kept


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Note what did not run, and show the servers' logs beside a failure."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed:
        for server in processes.started:
            tail = "\n".join(server.output().splitlines()[-LOG_TAIL:])
            report.sections.append((f"log of {server.name} ({server.log})", tail))


def pytest_runtest_setup(item: pytest.Item) -> None:
    # Servers of earlier tests have ended and have nothing to say about this one.
    processes.started[:] = [server for server in processes.started if server.alive]


class NotRun:
    """Notes what did not run. Reports reach the process that decides, also when others run the tests."""

    def __init__(self, found: list[str]) -> None:
        self.found = found

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped or hasattr(report, "wasxfail"):
            self.found.append(report.nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What one of several processes has left out, all of them have."""
    node.config.stash[left_out].update(getattr(node, "workeroutput", {}).get("left_out", {}))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where CI is set, a skipped or expected-to-fail test is a failure. So is a run of no tests at all."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash[left_out]
        return
    if CI and session.config.stash[not_run] and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    # Everything that was chosen needs what this machine lacks: said below, and no failure of this run.
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.stash[left_out]:
        session.exitstatus = pytest.ExitCode.OK


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for need, count in config.stash[left_out].items():
        terminalreporter.write_sep("!", f"{need} is missing: {count} tests were LEFT OUT", red=True, bold=True)
    if CI and config.stash[not_run]:
        terminalreporter.write_sep("!", "CI is set and these tests did not run:", red=True, bold=True)
        for nodeid in config.stash[not_run]:
            terminalreporter.write_line(nodeid)
