"""What somebody sees who starts a job in the browser and watches it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.network.bars import becomes
from tests.processes import wait_until
from tests.watching import end_of

from .conftest import PHONE

SAMPLE = Path(__file__).parents[2] / "tasks/static/tasks/customers.csv"


def start(page, seconds=20, steps=20):
    """Start a countdown on the home page; the run's page opens."""
    page.get_by_label("Seconds").fill(str(seconds))
    page.get_by_label("Steps").fill(str(steps))
    page.get_by_role("button", name="Start a job").click()
    page.wait_for_url("**/runs/**")


def open_job(page, title):
    """Open the form of a job on the home page."""
    page.get_by_role("heading", name=title).click()


def start_job(page, title, button, **fields):
    """Fill in and send the form of a job; fields are named by their ids. The run's page opens."""
    open_job(page, title)
    for field, value in fields.items():
        page.locator(f"#{field.replace('__', '-')}").fill(str(value))
    page.get_by_role("button", name=button).click()
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
    start(page, seconds=8, steps=20)
    shows(page, "running")
    shows(page, "done", 30)
    reaches(page, 100)
    shows(page, "Counted 20 steps in 8 seconds.")


def test_two_browsers_show_the_same(site, open_page):
    """A second browser that joins in the middle shows the same bar and the same end."""
    login = site.user()
    first = open_page(site, login)
    start(first, seconds=3, steps=30)
    second = open_page(site, login, first.url.removeprefix(site.url))
    for page in (first, second):
        shows(page, "done")
        shows(page, "30 of 30 steps")
        reaches(page, 100)


def test_reload_shows_at_once_where_the_job_is(site, open_page):
    """After a reload the bar begins where it was, not at zero, and goes on."""
    page = open_page(site, site.user())
    start(page, seconds=6, steps=60)
    reaches(page, 20)
    page.reload(wait_until="commit")
    page.wait_for_selector("task-progress progress", state="attached")
    # Between what was rendered and what is painted first, it has none.
    wait_until(lambda: percent(page) is not None, 15, "a bar with a value")
    assert percent(page) > 15
    shows(page, "done")


def test_jobs_started_elsewhere_appear_by_themselves(site, open_page):
    """The home page lists a job that another browser of the same person starts, live and without a reload."""
    login = site.user()
    home, other = open_page(site, login), open_page(site, login)
    becomes(home, state="live")
    start(other, seconds=2, steps=10)
    expect(home.locator("#runs task-progress")).to_contain_text("done")


def test_cancel_stops_the_job_and_says_so_only_then(site, open_page):
    """The button asks; the page says "cancelled" when the worker has stopped."""
    page = open_page(site, site.user())
    start(page, seconds=60, steps=60)
    shows(page, "running")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the task").click()
    shows(page, "cancelled")
    assert percent(page) < 50


def test_lost_network_heals_by_itself(site, open_page):
    """The browser is offline while the job ends; back online the page is right within seconds."""
    page = open_page(site, site.user())
    start(page, seconds=3, steps=30)
    becomes(page, state="live")
    page.context.set_offline(True)
    end_of(page.url.split("/")[-2], 20)
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


def test_without_javascript_a_run_is_cancelled_by_a_form(site, open_page):
    """The button brings the same page back, which says that it was asked to stop, and soon that it did."""
    login = site.user()
    page = open_page(site, login)
    start(page, seconds=60, steps=60)
    shows(page, "running")
    plain = open_page(site, login, page.url.removeprefix(site.url), java_script_enabled=False)
    plain.locator("task-progress").get_by_role("button", name="Cancel the task").click()
    assert plain.url == page.url
    shows(page, "cancelled")
    plain.reload()
    expect(plain.locator("task-progress")).to_contain_text("cancelled")
    expect(plain.locator("task-progress button")).to_have_count(0)


def test_who_runs_it_appears_on_the_page_of_staff(own_site, open_page):
    """The worker's name comes when there is one, without loading the page again."""
    own_site.worker.suspend()
    page = open_page(own_site, own_site.user(superuser=True))
    start(page, seconds=60, steps=60)
    worker = page.locator("#run-worker")
    expect(worker).to_be_hidden()
    own_site.worker.resume()
    shows(page, "running")
    expect(worker).to_contain_text("@")


def test_sample_file_is_imported_and_its_bad_rows_are_listed(site, open_page):
    """The file that ships: progress, then the rows that were left out, with line numbers and reasons."""
    page = open_page(site, site.user())
    open_job(page, "Import customers")
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
    open_job(page, "Import customers")
    page.get_by_label("CSV file").set_input_files(picture)
    page.get_by_role("button", name="Import the file").click()
    page.wait_for_url("**/runs/**")
    shows(page, "failed")
    shows(page, "PNG")


def test_an_export_can_be_downloaded_as_soon_as_it_is_written(site, open_page, tmp_path):
    """The link appears without a reload when the file is whole; what is saved is the file."""
    page = open_page(site, site.user())
    start_job(page, "Export orders", "Export the orders", export__at_least=5000)
    shows(page, "done")
    link = page.get_by_role("link", name=re.compile("Download orders-"))
    with page.expect_download() as download:
        link.click()
    saved = tmp_path / "saved.csv"
    download.value.save_as(saved)
    assert re.fullmatch(r"orders-\d{4}-\d\d-\d\d-\d+\.csv", download.value.suggested_filename)
    assert len(saved.read_text("utf-8-sig").splitlines()) == 5001
    page.get_by_role("link", name="All your exports").click()
    expect(page.get_by_role("link", name=download.value.suggested_filename).first).to_be_visible()


def test_every_host_of_a_rollout_has_its_bar_and_failures_are_counted(site, open_page):
    """The parts appear by themselves, move by themselves, and are counted by themselves."""
    page = open_page(site, site.user())
    start_job(
        page,
        "Install software",
        "Install on all hosts",
        install__hosts="web-1 down-2",
        install__packages="nginx",
    )
    parts = page.locator("#outcome task-progress")
    expect(parts).to_have_count(2)
    expect(parts.nth(0)).to_contain_text("done", timeout=20_000)
    expect(parts.nth(1)).to_contain_text("failed", timeout=20_000)
    expect(page.locator("#outcome")).to_contain_text("2 of 2 ended, 1 failed.", timeout=20_000)
    expect(page.get_by_role("button", name="Call off the rest")).to_have_count(0)


def test_what_a_rollout_has_not_done_is_called_off_by_one_button(site, open_page):
    """Its parts say that they are cancelled, and the page says why."""
    page = open_page(site, site.user())
    packages = " ".join(f"package-{number}" for number in range(20))
    start_job(
        page,
        "Install software",
        "Install on all hosts",
        install__hosts="web-1 web-2 web-3",
        install__packages=packages,
    )
    parts = page.locator("#outcome task-progress")
    expect(parts).to_have_count(3, timeout=20_000)  # before, there is nothing that could be cancelled
    page.get_by_role("button", name="Call off the rest").click()
    for place in range(3):
        expect(parts.nth(place)).to_contain_text("cancelled", timeout=20_000)
    expect(page.locator("main")).to_contain_text("The rest was called off.")


def test_lines_of_a_log_appear_as_they_are_written(site, open_page):
    """Until somebody presses "Cancel"."""
    folder = site.data / "log"
    folder.mkdir(exist_ok=True)
    path = folder / "followed.log"
    path.write_text("the first line\n")
    page = open_page(site, site.user(staff=True))
    start_job(page, "Follow a log", "Follow the file", tail__file="followed.log")
    log = page.locator("task-log")
    expect(log).to_contain_text("the first line")
    with path.open("a") as writer:
        writer.write("2026-11-20 ERROR the second line\n")
    expect(log.locator('[data-level="ERROR"]')).to_contain_text("the second line")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the task").click()
    shows(page, "cancelled")


def test_a_feed_that_breaks_off_is_synced_by_a_second_attempt(site, open_page):
    """The page says that it is tried again, and ends with all entries."""
    page = open_page(site, site.user())
    start_job(page, "Sync a feed", "Sync the feed", feed__entries=240, feed__breaks_after=20)
    shows(page, "attempt 2 of 3")
    shows(page, "done")
    shows(page, "240 entries synced.")


def test_mistakes_in_a_form_are_shown_beside_their_fields(site, open_page):
    """The job's form comes back opened; a screen reader hears the mistake with its field."""
    page = open_page(site, site.user())
    open_job(page, "Install software")
    page.get_by_label("Hosts").fill("web_1")
    page.get_by_role("button", name="Install on all hosts").click()
    hosts = page.get_by_label("Hosts")
    expect(hosts).to_be_visible()
    expect(hosts).to_have_attribute("aria-invalid", "true")
    expect(hosts).to_have_accessible_description(re.compile("“web_1”: expected names such as"))
    assert page.url.endswith("/start/install/")


def test_every_job_can_be_started_without_javascript(site, open_page):
    """Forms open, are sent and lead to the run's page, whose parts are listed after a reload."""
    page = open_page(site, site.user(), java_script_enabled=False)
    start_job(page, "Install software", "Install on all hosts", install__hosts="web-1", install__packages="nginx")

    def listed():
        page.reload()
        return page.locator("#outcome progress").count()

    wait_until(listed, 15, "the part is listed")
    expect(page.locator("#outcome")).to_contain_text("web-1")


def test_staff_run_a_task_from_the_admin_and_land_on_its_live_page(site, open_page):
    """The form from the task's signature; wrong input is told beside the field; a good one runs."""
    page = open_page(site, site.user(superuser=True), "/admin/task_progress/taskrun/tasks/")
    page.get_by_role("main").get_by_role("link", name="tasks.countdown").click()
    page.get_by_label("Seconds").fill("1")
    page.get_by_label("Steps").fill("5")
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/change/")
    shows(page, "done")


def test_other_people_find_nothing(site, open_page):
    """Somebody else's run is a page that does not exist, as is one that never was."""
    page = open_page(site, site.user())
    start(page, seconds=1, steps=5)
    stranger = open_page(site, site.user(), page.url.removeprefix(site.url))
    expect(stranger.locator("h1")).to_have_text("Nothing here")
    unknown = open_page(site, site.user(), "/runs/never-was/")
    assert stranger.locator("main").inner_text() == unknown.locator("main").inner_text()


WIDEST = """
window.widest = 0;
(function look() {
  window.widest = Math.max(window.widest, document.documentElement?.scrollWidth ?? 0);
  requestAnimationFrame(look);
})();
"""


@pytest.mark.parametrize(
    "path", ["/", "/run", "/login/", "/exports/", "/rollout", "/job", "/admin/task_progress/taskrun/"]
)
def test_no_page_scrolls_sideways_on_a_phone(site, open_page, path):
    """360 pixels are enough for every page, also with a long form opened and with long names, in every frame."""
    page = open_page(site, None if path == "/login/" else site.user(superuser=True), viewport=PHONE)
    page.add_init_script(WIDEST)
    page.reload()
    if path == "/job":
        open_job(page, "Export orders")
        expect(page.get_by_label("Orders to have")).to_be_visible()
    elif path == "/rollout":
        names = {"install__hosts": "web-" + "1" * 58, "install__packages": "p" * 60}
        start_job(page, "Install software", "Install on all hosts", **names)
        expect(page.locator("#outcome")).to_contain_text("1 of 1 ended", timeout=20_000)
    elif path == "/exports/":
        start_job(page, "Export orders", "Export the orders", export__at_least=10)
        shows(page, "done")
        page.goto(site.url + path)
    elif path == "/run":
        start(page, seconds=2, steps=5)
        shows(page, re.compile("running|done"))
    elif path != "/":
        page.goto(site.url + path)
    # The first frame. As a function: a text would be evaluated at each look, which the policy forbids.
    page.wait_for_function("() => window.widest > 0")
    assert page.evaluate("window.widest") <= PHONE["width"]
