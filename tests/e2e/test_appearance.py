"""What every page keeps: a strict policy for content, contrast, a layout that stands still."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from .test_jobs import open_job, reaches, shows, start, start_job

AXE = Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"


def opened(site, open_page, path, **options):
    """The page at `path` of somebody who has one job.

    "/run" is that job's page, as a rule while it runs, "/rollout" that of one with parts, "/export" that of a written
    file, "/mistakes" the home page after a form with mistakes, "/exports/" the list with a file in it.
    """
    page = open_page(site, None if path == "/login/" else site.user(superuser=True), **options)
    if path == "/login/":
        page.goto(site.url + path)
        return page
    if path == "/mistakes":
        open_job(page, "Install software")
        page.get_by_label("Hosts").fill("web_1")
        page.get_by_role("button", name="Install on all hosts").click()
        expect(page.locator(".errorlist")).to_be_visible()
        return page
    if path == "/rollout":
        names = {"install__hosts": "web-1 down-2", "install__packages": "nginx"}
        start_job(page, "Install software", "Install on all hosts", **names)
        expect(page.locator("#outcome task-progress")).to_have_count(2)
        return page
    if path in ("/export", "/exports/"):
        start_job(page, "Export orders", "Export the orders", export__at_least=10)
        shows(page, "done")
        expect(page.get_by_role("link", name="Download")).to_be_visible()
        if path == "/exports/":
            page.goto(site.url + path)
        return page
    start(page, seconds=4, steps=40)
    shows(page, re.compile("running|done"))
    if path != "/run":
        page.goto(site.url + path)
    return page


@pytest.mark.needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/run", "/login/", "/mistakes", "/rollout", "/export", "/exports/"])
def test_axe_finds_nothing(site, open_page, path, scheme):
    """Roles, labels and AA contrast, in light and dark."""
    page = opened(site, open_page, path, color_scheme=scheme)
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(result => result.violations)")
    assert [(fault["id"], [node["target"] for node in fault["nodes"]]) for fault in found] == []


@pytest.mark.parametrize("path", ["/", "/run", "/rollout", "/login/", "/exports/", "/admin/task_progress/taskrun/"])
def test_pages_work_under_the_strict_policy_that_they_are_sent_with(site, open_page, path):
    """No inline script, no inline style, nothing from elsewhere: the browser reports no violation."""
    page = open_page(site, None if path == "/login/" else site.user(superuser=True), path="/login/")
    violations = []
    page.on("console", lambda said: violations.append(said.text) if "Content Security Policy" in said.text else None)
    answer = page.goto(site.url + ("/" if path in ("/run", "/rollout") else path))
    assert answer.headers["content-security-policy"].startswith("default-src 'none';")
    if path == "/run":
        start(page, seconds=1, steps=10)
        shows(page, "done")
    elif path == "/rollout":  # its parts are put into the page by a script
        names = {"install__hosts": "web-1", "install__packages": "nginx"}
        start_job(page, "Install software", "Install on all hosts", **names)
        expect(page.locator("#outcome task-progress")).to_contain_text("done", timeout=20_000)
    else:
        expect(page.locator("h1").first).to_be_visible()
    assert violations == []


def test_nothing_shifts_while_a_bar_moves(site, open_page):
    """From the first step to the last no element changes its place."""
    page = open_page(site, site.user())
    start(page, seconds=8, steps=80)
    shows(page, "running")
    page.evaluate(
        """() => {
          window.shift = 0;
          window.ended = Infinity; // from then on there is more to show
          document.addEventListener("task-progress:end", () => { window.ended = performance.now() });
          new PerformanceObserver((list) => {
            for (const each of list.getEntries()) if (each.startTime < window.ended) window.shift += each.value;
          }).observe({ type: "layout-shift", buffered: false });
        }"""
    )
    reaches(page, 90, 30)
    assert page.evaluate("window.shift") == 0
