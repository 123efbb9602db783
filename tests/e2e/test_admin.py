"""The ten things to click of docs/admin.md, against the real site with its worker and its recorder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.processes import wait_until

from .conftest import PHONE
from .test_appearance import AXE
from .test_jobs import shows

PAGE = Path(__file__).parents[2] / "docs/admin.md"
RUNS = "/admin/task_progress/taskrun/"


@pytest.fixture
def anna(site):
    """Staff with all rights."""
    return site.user(superuser=True)


started: list[str] = []

CALL_OFF = """async (keys) => {
  const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
  const asked = { method: "POST", headers: { "X-CSRFToken": token } };
  for (const key of keys) await fetch(`/progress/${key}/cancel/`, asked);
}"""


@pytest.fixture
def page(site, anna, open_page):
    """The list of runs, as Anna sees it. What is started by it is called off, or the site's workers would be busy."""
    started.clear()
    page = open_page(site, anna, RUNS)
    yield page
    if started:
        page.goto(site.url + RUNS)
        page.evaluate(CALL_OFF, started)


def fill_in(page, site, task="tasks.countdown", **values):
    """Open the form of a task and fill it in."""
    page.goto(site.url + RUNS)
    page.get_by_role("link", name="Run a task").click()
    page.get_by_role("link", name=task).click()
    for name, value in values.items():
        page.locator(f"[name={name}]").fill(str(value))


def press_run(page):
    page.get_by_role("button", name="Run", exact=True).click()


def start(page, site, **values):
    """Start a countdown by its form; its page opens. The answer is its id."""
    fill_in(page, site, **{"seconds": 60, "steps": 60, **values})
    press_run(page)
    page.wait_for_url("**/change/")
    started.append(page.url.split("/")[-3])
    return started[-1]


def agree(page):
    """Cancel, when the page that asks is there: the one before has a button of that name, too."""
    expect(page.get_by_text("will be asked to stop").first).to_be_visible()
    page.get_by_role("button", name="Cancel").click()


def rows(page):
    return page.locator("#result_list tbody tr")


def list_shows(page, site, count, query=""):
    """Load the list until it has this many rows: the recorder may be a second behind."""

    def shown():
        page.goto(site.url + RUNS + query)
        return rows(page).count() == count

    wait_until(shown, 15, f"{count} rows")


def test_1(page, site):
    """Run a task."""
    fill_in(page, site, seconds=8, steps=20)
    expect(page.get_by_text("Count down, and say so at every step.")).to_be_visible()
    press_run(page)
    page.wait_for_url("**/change/")
    shows(page, "running")
    shows(page, "done", 30)
    # What stands below the bar came along, without a reload.
    expect(page.locator(".run-steps li").last).to_contain_text("done")
    expect(page.locator("#run-details")).to_contain_text("Counted 20 steps in 8 seconds.")


def test_2(page, site, anna):
    """Wrong input."""
    fill_in(page, site, steps="1.5")
    press_run(page)
    expect(page.locator(".form-row.errors")).to_contain_text("whole number")
    assert page.locator("[name=steps]").input_value() == "1.5"
    page.goto(site.url + RUNS + f"?owner={anna.pk}")
    assert rows(page).count() == 0


def test_3(page, site, anna, open_page):
    """Watch the list."""
    start(page, site, seconds=12, steps=60)
    mine = f"?owner={anna.pk}"
    list_shows(page, site, 1, mine)
    bar = rows(page).locator("task-progress")
    expect(bar).to_contain_text("running")
    expect(bar).to_contain_text("done", timeout=30_000)
    expect(rows(page).locator(".run-duration")).to_have_text(re.compile(r"0:(1[2-9]|2\d)"))
    expect(page.locator(".run-newer")).to_be_hidden()
    start(open_page(site, anna), site, seconds=1, steps=5)
    expect(page.locator(".run-newer")).to_contain_text("You have a newer run.")


def test_4(page, site, anna):
    """Cancel."""
    start(page, site)
    shows(page, "running")
    page.locator("#run-details").get_by_role("link", name="Cancel").click()
    agree(page)
    expect(page.locator(".messagelist")).to_contain_text("was asked to stop")
    shows(page, "cancelled")
    expect(page.locator(".run-steps")).to_contain_text(f"{anna.name} asked to cancel it")
    expect(page.locator(".run-facts").first).to_contain_text(anna.name)
    expect(page.locator("#run-details").get_by_role("link", name="Cancel")).to_have_count(0)


def test_5(page, site):
    """Run again."""
    first = start(page, site, seconds=1, steps=7)
    shows(page, "done")
    page.get_by_role("link", name="Run again").click()
    expect(page.locator("[name=steps]")).to_have_value("7")
    page.locator("[name=steps]").fill("8")
    press_run(page)
    page.wait_for_url("**/change/")
    assert first not in page.url
    shows(page, "8 of 8 steps")


def test_6(page, site, anna):
    """Many at once."""
    start(page, site, seconds=1, steps=2)
    shows(page, "done")
    for _ in range(2):
        start(page, site)
        shows(page, "running")
    list_shows(page, site, 3, f"?owner={anna.pk}")
    page.locator("#action-toggle").check()
    page.get_by_label("Action:").select_option(label="Cancel selected runs")
    page.get_by_role("button", name="Go").click()
    agree(page)
    expect(page.locator(".messagelist")).to_contain_text("2 runs were asked to stop: Countdown of 60 s,")
    expect(page.locator(".messagelist")).to_contain_text("1 run had ended: Countdown of 1 s.")
    expect(rows(page).filter(has_text="cancelled")).to_have_count(2)


def test_7(page, site, anna):
    """Filter."""
    start(page, site)
    shows(page, "running")
    page.locator("#run-details").get_by_role("link", name="Cancel").click()
    agree(page)
    shows(page, "cancelled")
    list_shows(page, site, 1, f"?owner={anna.pk}&state=REVOKED")
    page.goto(site.url + RUNS)
    page.get_by_role("link", name="Revoked").click()
    page.wait_for_url("**state=REVOKED**")
    own = rows(page).filter(has_text=anna.name)
    expect(own).to_have_count(1)
    own.get_by_role("link", name=anna.name).click()
    page.wait_for_url(f"**owner={anna.pk}**")
    expect(rows(page)).to_have_count(1)


def test_8(page, site, anna):
    """Search."""
    key = start(page, site, seconds=1, steps=2)
    list_shows(page, site, 1, f"?q={key}")
    for term, found in ((key, 1), ("tasks.count", None), (anna.name, 1)):
        page.goto(site.url + RUNS)
        page.locator("#searchbar").fill(term)
        page.get_by_role("button", name="Search").click()
        page.wait_for_url("**q=**")
        expect(rows(page).filter(has_text=anna.name)).to_have_count(1)
        assert found is None or rows(page).count() == found


def test_9(page, site):
    """Read the log."""
    folder = site.data / "log"
    folder.mkdir(exist_ok=True)
    file = folder / "clicked.log"
    file.write_text("the first line\n")
    fill_in(page, site, "tasks.tail_log", file="clicked.log", minutes=0.5)
    press_run(page)
    page.wait_for_url("**/change/")
    shows(page, "running")
    with file.open("a") as log:
        log.write("a line that comes later\n")
    expect(page.locator("task-log")).to_contain_text("a line that comes later")
    plain = page.context.browser.new_context(java_script_enabled=False)
    plain.add_cookies(page.context.cookies())
    still = plain.new_page()
    still.goto(page.url)
    expect(still.locator("task-log")).to_contain_text("a line that comes later")
    plain.close()


def test_10(page, site, anna):
    """See who did what."""
    start(page, site)
    page.locator("#run-details").get_by_role("link", name="Cancel").click()
    agree(page)
    page.get_by_role("link", name="History").click()
    history = page.locator("#change-history")
    expect(history).to_contain_text("Started tasks.countdown")
    expect(history).to_contain_text("Asked to stop")
    assert history.get_by_text(anna.name).count() == 2
    page.locator(".breadcrumbs").get_by_role("link", name="Countdown of 60 s").click()
    shows(page, "cancelled")


def test_the_page_lists_the_ten_that_are_tried_here():
    """Number by number, by their names in docs/admin.md."""
    listed = re.findall(r"^(\d+)\. \*\*(.+?)\*\*", PAGE.read_text(), re.MULTILINE)
    tried = {number: globals()[f"test_{number}"].__doc__ for number, _ in listed}
    assert [number for number, _ in listed] == [str(n) for n in range(1, 11)]
    assert tried == dict(listed)


# --- What every page keeps -------------------------------------------------------------------------------------


@pytest.mark.needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 900}, PHONE], ids=["wide", "phone"])
def test_pages_keep_the_policy_contrast_and_width(site, anna, open_page, scheme, viewport):
    """Nothing inline, AA contrast of what is ours, nothing wider than the screen: list, tasks, form, run."""
    page = open_page(site, anna, color_scheme=scheme, viewport=viewport)
    said = []
    page.on("console", lambda line: said.append(line.text) if "Content Security Policy" in line.text else None)
    key = start(page, site, seconds=300)
    shows(page, "running")
    list_shows(page, site, 1, f"?owner={anna.pk}")
    run = f"{RUNS}{key}/"
    paths = [
        f"{RUNS}?owner={anna.pk}",
        f"{RUNS}tasks/",
        f"{RUNS}tasks/tasks.countdown/run/",
        f"{run}change/",
        f"{run}cancel/",
    ]
    for path in paths:
        page.goto(site.url + path)
        expect(page.locator("#content")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
        page.evaluate(AXE.read_text())
        rules = ["color-contrast", "label", "link-name", "button-name"]
        asked = f"axe.run('#content-main', {{runOnly: {rules}}}).then(result => result.violations)"
        found = page.evaluate(asked)
        # Django's own parts of these pages are not ours to mend.
        faults = [
            node["html"] for fault in found for node in fault["nodes"] if re.search(r"run-|task-", node["html"])
        ]
        assert faults == [], path
    page.goto(f"{site.url}{run}cancel/")
    page.get_by_role("button", name="Cancel").click()
    shows(page, "cancelled")
    assert said == []


def test_every_column_of_the_list_is_in_sight_beside_the_filters(page, site):
    """On a screen of 1280 px, with the navigation at one side and the filters at the other."""
    list_shows(page, site, 1, f"?q={start(page, site)}")
    expect(page.locator("#result_list task-progress [part=bar]")).to_be_visible()
    results = page.locator(".results")
    assert results.evaluate("each => [each.scrollWidth - each.clientWidth, innerWidth]") == [0, 1280]


def test_without_javascript_a_run_is_started_watched_and_cancelled(site, anna, open_page):
    """Everything but that it moves by itself."""
    page = open_page(site, anna, RUNS, java_script_enabled=False)
    start(page, site)

    def after_a_reload(text):
        def seen():
            page.reload()
            return text in page.locator("#content-main").inner_text()

        wait_until(seen, 15, text)

    after_a_reload("running")
    page.locator("#run-details").get_by_role("link", name="Cancel").click()
    agree(page)
    expect(page.locator(".messagelist")).to_contain_text("was asked to stop")
    after_a_reload("cancelled")
