"""Tasks are started for rows of a model in the admin: one, many at once, without JavaScript, wide and on a phone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.processes import wait_until

from .conftest import PHONE
from .test_appearance import AXE
from .test_jobs import SAMPLE, open_job, shows

UPLOADS = "/admin/tasks/upload/"


@pytest.fixture
def anna(site):
    """Staff with all rights."""
    return site.user(superuser=True)


def upload(page, site):
    """Import the sample file on the home page, to the end."""
    page.goto(site.url)
    open_job(page, "Import customers")
    page.get_by_label("CSV file").set_input_files(SAMPLE)
    page.get_by_role("button", name="Import the file").click()
    page.wait_for_url("**/runs/**")
    shows(page, "done")


def own_uploads(site, anna):
    """The list of what Anna has uploaded."""
    return f"{UPLOADS}?q={anna.name}"


def ask_for_all(page, site, anna):
    """Tick all uploads and choose the action; the page asks."""
    page.goto(site.url + own_uploads(site, anna))
    page.locator("#action-toggle").check()
    page.get_by_label("Action:").select_option(label="Import again for the selected uploads")
    page.get_by_role("button", name="Go").click()


def test_many_rows_are_started_at_once_and_share_one_live_bar(site, anna, open_page):
    """Tick, ask, start: the total moves to the end without a reload, and each leads to its own page."""
    page = open_page(site, anna)
    upload(page, site)
    upload(page, site)
    ask_for_all(page, site, anna)
    expect(page.locator("#content")).to_contain_text("2 times, once for each of these")
    page.get_by_role("button", name="Import again").click()
    page.wait_for_url("**/upload/runs/**")
    page.evaluate("window.loaded = 1")
    total = page.locator(".run-total")
    expect(total).to_contain_text("2 of 2 ended")
    expect(total.locator("progress.total")).to_have_js_property("position", 1)
    assert page.evaluate("window.loaded") == 1
    assert page.locator("task-progress").count() == 2
    page.locator("task-progress").first.get_by_role("link").click()
    expect(page.locator("#run-details")).to_contain_text("tasks.import_csv")


def test_one_row_is_started_from_its_page_without_javascript(site, anna, open_page):
    """Its button, the page that asks, the bar as it was when the page was made; and who did it."""
    page = open_page(site, anna)
    upload(page, site)
    plain = open_page(site, anna, own_uploads(site, anna), java_script_enabled=False)
    plain.locator("#result_list tbody th a").first.click()
    plain.locator(".object-tools").get_by_role("link", name="Import again").click()
    plain.get_by_role("button", name="Import again").click()
    plain.wait_for_url("**/runs/")

    def done():
        plain.reload()
        return "done" in plain.locator("task-progress").inner_text()

    wait_until(done, 15, "the import is done")
    plain.get_by_role("link", name=re.compile("^Back to")).click()
    plain.get_by_role("link", name="History").click()
    expect(plain.locator("#change-history")).to_contain_text("Started tasks.import_csv: ")


@pytest.mark.needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 900}, PHONE], ids=["wide", "phone"])
def test_pages_keep_the_policy_contrast_and_width(site, anna, open_page, scheme, viewport):
    """Nothing inline, AA contrast of what is ours, nothing wider than the screen."""
    page = open_page(site, anna, color_scheme=scheme, viewport=viewport)
    said = []
    page.on("console", lambda line: said.append(line.text) if "Content Security Policy" in line.text else None)
    upload(page, site)
    upload(page, site)
    ask_for_all(page, site, anna)
    hold(page)
    page.get_by_role("button", name="Import again").click()
    page.wait_for_url("**/upload/runs/**")
    hold(page)
    page.goto(site.url + own_uploads(site, anna))
    page.locator("#result_list tbody th a").first.click()
    page.locator(".object-tools").get_by_role("link", name="Runs", exact=True).click()
    hold(page)
    assert said == []


def hold(page):
    """Hold the page that is open against contrast and width."""
    page.wait_for_load_state()
    expect(page.locator("#content-main")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, page.url
    page.evaluate(AXE.read_text())
    rules = ["color-contrast", "label", "link-name", "button-name", "aria-progressbar-name"]
    found = page.evaluate(f"axe.run('#content-main', {{runOnly: {rules}}}).then(result => result.violations)")
    faults = [node["html"] for fault in found for node in fault["nodes"] if re.search("run-|task-", node["html"])]
    assert faults == [], page.url
