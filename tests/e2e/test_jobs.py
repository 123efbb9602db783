"""What somebody sees who starts a job in the browser and watches it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.processes import wait_until

from .conftest import PHONE

SAMPLE = Path(__file__).parents[2] / "tasks/static/tasks/customers.csv"


def start(page, seconds=20, steps=20):
    """Start a countdown on the home page; the run's page opens."""
    page.get_by_label("Seconds").fill(str(seconds))
    page.get_by_label("Steps").fill(str(steps))
    page.get_by_role("button", name="Start a job").click()
    page.wait_for_url("**/runs/**")


def percent(page):
    """The bar's own value, as a person sees it: 0…100, or None while it is indeterminate."""
    return page.locator("task-progress").first.evaluate(
        "bar => { const p = (bar.shadowRoot ?? bar).querySelector('progress');"
        " return p.position < 0 ? null : p.position * 100 }"
    )


def reaches(page, least, seconds=15):
    """Wait until the bar is at `least` percent."""
    wait_until(lambda: (percent(page) or 0) >= least, seconds, f"the bar at {least} %")


def shows(page, text, seconds=15):
    """Wait until the bar says `text`."""
    expect(page.locator("task-progress").first).to_contain_text(text, timeout=seconds * 1000)


def test_one_button_starts_a_job_and_the_bar_moves_until_it_is_done(site, open_page):
    """From the home page to "done" without a reload; the bar ends full."""
    page = open_page(site, site.user())
    start(page, seconds=2, steps=20)
    shows(page, "running")
    shows(page, "done")
    assert percent(page) == 100
    shows(page, "Counted 20 steps in 2 seconds.")


def test_two_browsers_show_the_same(site, open_page):
    """A second browser that joins in the middle shows the same bar and the same end."""
    login = site.user()
    first = open_page(site, login)
    start(first, seconds=3, steps=30)
    second = open_page(site, login, first.url.removeprefix(site.url))
    for page in (first, second):
        shows(page, "done")
        shows(page, "30 of 30 steps")
        assert percent(page) == 100


def test_reload_shows_at_once_where_the_job_is(site, open_page):
    """After a reload the bar begins where it was, not at zero, and goes on."""
    page = open_page(site, site.user())
    start(page, seconds=6, steps=60)
    reaches(page, 20)
    page.reload(wait_until="commit")
    page.wait_for_selector("task-progress progress", state="attached")
    assert percent(page) > 15
    shows(page, "done")


def test_jobs_started_elsewhere_appear_by_themselves(site, open_page):
    """The home page lists a job that another browser of the same person starts, live and without a reload."""
    login = site.user()
    home, other = open_page(site, login), open_page(site, login)
    start(other, seconds=2, steps=10)
    expect(home.locator("#runs task-progress")).to_contain_text("done", timeout=15_000)


def test_cancel_stops_the_job_and_says_so_only_then(site, open_page):
    """The button asks; the page says "cancelled" when the worker has stopped."""
    page = open_page(site, site.user())
    start(page, seconds=60, steps=60)
    shows(page, "running")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    shows(page, "cancelled")
    assert percent(page) < 50


def test_server_restart_under_an_open_page_heals_by_itself(own_site, open_page):
    """Daphne is killed while the job runs and comes back after its end: the page shows the end, untouched."""
    page = open_page(own_site, own_site.user())
    start(page, seconds=3, steps=30)
    shows(page, "running")
    own_site.web.kill()
    shows(page, "connection lost", seconds=20)
    own_site.web.restart()
    shows(page, "done", seconds=45)
    assert percent(page) == 100


def test_lost_network_heals_by_itself(site, open_page):
    """The browser is offline while the job ends; back online the page is right within seconds."""
    page = open_page(site, site.user())
    start(page, seconds=3, steps=30)
    shows(page, "running")
    page.context.set_offline(True)
    page.wait_for_timeout(4000)  # the job ends unseen; nothing on this page can tell when
    page.context.set_offline(False)
    shows(page, "done", seconds=20)


def test_without_javascript_the_page_shows_the_last_known_state(site, open_page):
    """A plain progress element with the state in words, served by the template tag."""
    login = site.user()
    page = open_page(site, login)
    start(page, seconds=1, steps=10)
    shows(page, "done")
    plain = open_page(site, login, page.url.removeprefix(site.url), java_script_enabled=False)
    expect(plain.locator("task-progress progress")).to_have_attribute("value", re.compile(r"^1(\.0)?$|^100$"))
    expect(plain.locator("task-progress")).to_contain_text("done")


def test_sample_file_is_imported_and_its_bad_rows_are_listed(site, open_page):
    """The file that ships: progress, then the rows that were left out, with line numbers and reasons."""
    page = open_page(site, site.user())
    page.get_by_label("CSV file").set_input_files(SAMPLE)
    page.get_by_role("button", name="Import the file").click()
    page.wait_for_url("**/runs/**")
    shows(page, "done")
    page.get_by_role("link", name=re.compile("What became of the file")).click()
    expect(page.get_by_role("table").first).to_contain_text(re.compile(r"\d+"))


def test_file_that_cannot_be_used_is_refused_with_the_reason(site, open_page, tmp_path):
    """A picture instead of a table: the page says why, in words."""
    picture = tmp_path / "customers.csv"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(2000))
    page = open_page(site, site.user())
    page.get_by_label("CSV file").set_input_files(picture)
    page.get_by_role("button", name="Import the file").click()
    page.wait_for_url("**/runs/**")
    shows(page, "failed")
    shows(page, "PNG")


def test_staff_run_a_task_from_the_admin_and_land_on_its_live_page(site, open_page):
    """The form from the task's signature; wrong input is told beside the field; a good one runs."""
    page = open_page(site, site.user(superuser=True), "/admin/task_progress/taskrun/")
    page.get_by_role("link", name="tasks.countdown").click()
    page.get_by_label("Seconds").fill("1")
    page.get_by_label("Steps").fill("5")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url("**/live/")
    shows(page, "done")


def test_other_people_find_nothing(site, open_page):
    """Somebody else's run is a page that does not exist, as is one that never was."""
    page = open_page(site, site.user())
    start(page, seconds=1, steps=5)
    stranger = open_page(site, site.user(), page.url.removeprefix(site.url))
    expect(stranger.locator("h1")).to_have_text("Nothing here")
    unknown = open_page(site, site.user(), "/runs/never-was/")
    assert stranger.locator("main").inner_text() == unknown.locator("main").inner_text()


@pytest.mark.parametrize("path", ["/", "/run", "/login/", "/admin/task_progress/taskrun/"])
def test_no_page_scrolls_sideways_on_a_phone(site, open_page, path):
    """360 pixels are enough for every page."""
    page = open_page(site, None if path == "/login/" else site.user(superuser=True), viewport=PHONE)
    if path == "/run":
        start(page, seconds=2, steps=5)
        shows(page, "running")
    elif path != "/":
        page.goto(site.url + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
