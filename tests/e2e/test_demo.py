"""The page of examples: every element in every state, for everybody, in every look."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import expect

from .conftest import PHONE, WIDE
from .test_appearance import AXE

LOOKS = [
    ("light", WIDE, "ltr"),
    ("dark", WIDE, "ltr"),
    ("light", PHONE, "ltr"),
    ("dark", PHONE, "ltr"),
    ("light", PHONE, "rtl"),
]
NAMES = ["light-wide", "dark-wide", "light-phone", "dark-phone", "rtl-phone"]
STATES = {
    "waiting": [
        "waiting for a worker",
        "no worker listens to “reports”",
        "scheduled, in 2 h",
        "the step before it",
        "will not start",
    ],
    "running": [
        "running",
        "done, its parts go on",
        "web-2",
        "nothing new for 4 min",
        "running again (2)",
        "attempt 2 of 4",
    ],
    "stopping": [
        "retrying, attempt 2 of 4, in",
        "cancelling…",
    ],
    "attributes": ["Tell me when it is done"],
    "ends": [
        "done",
        "publish: less than 1 s",
        "last said: Reading rows",
        "failed",
        "cancelled",
        "expired",
        "was ignored",
        "was rejected",
        "lost (presumed)",
        "interrupted",
    ],
    "connection": [
        "the state of 36 s ago",
        "the state of 12 s ago",
        "load the page again",
        "not available",
        "looking for it",
    ],
    "list": [
        "2 running, 1 waiting, 1 failed, 1 done",
        "3 of 6 ended, 1 failed",
        "2 of 3 ended, 1 failed",
        "None yet.",
    ],
    "log": [
        "3 new lines",
        "Older lines are no longer kept.",
        "No lines yet.",
        "owner of the task only",
        "Connection lost",
    ],
}


@pytest.fixture
def demo(site: Any, open_page: Any) -> Any:
    """Opens the page, without a login, and waits until all of it is there."""

    def open_(query: str = "", **options: Any) -> Any:
        page = open_page(site, None, "/login/", **options)
        page.said = []
        page.on("console", lambda line: page.said.append(line.text))
        page.goto(f"{site.url}/demo/{query}")
        expect(page.locator("[data-ready]")).to_be_attached(timeout=20_000)
        expect(page.locator("#list task-list").last.locator("li")).to_have_count(500, timeout=20_000)
        expect(page.locator("#list task-list").last).to_contain_text("215")
        expect(page.locator("#running-5 .member")).to_have_count(5)  # what the page does by itself
        return page

    return open_


def test_every_state_is_there(demo):
    """What a person reads in each section; the connection's states are those of the real socket."""
    page = demo()
    for section, sentences in STATES.items():
        for sentence in sentences:
            expect(page.locator(f"#{section}")).to_contain_text(sentence)
    states = page.evaluate(
        "import('/static/progress/progress-socket.js').then(({ProgressSocket}) => Object.fromEntries("
        "['live', 'connecting', 'stale', 'offline', 'refused'].map("
        "name => [name, ProgressSocket.shared(`/demo/${name}/`).state])))"
    )
    assert states == {name: name for name in states}


@pytest.mark.needs_axe
@pytest.mark.parametrize(("scheme", "viewport", "direction"), LOOKS, ids=NAMES)
def test_axe_finds_nothing_and_nothing_overflows(demo, scheme, viewport, direction):
    """Roles, labels and contrast of all states, light and dark, wide and on a phone, from right to left, too."""
    page = demo(f"?dir={direction}", color_scheme=scheme, viewport=viewport)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    wide = page.evaluate(
        "[...document.querySelectorAll('.stage')].filter(each => each.scrollWidth > each.clientWidth + 1)"
        ".map(each => each.parentElement.id)"
    )
    assert wide == []
    page.evaluate(AXE.read_text())
    # Of five hundred like rows, a few are enough.
    context = {"include": ["body"], "exclude": ["#list-5 li:nth-child(n+4)"]}
    found = page.evaluate(
        "context => axe.run(context, {resultTypes: ['violations']}).then(r => r.violations)", context
    )
    faults = [(fault["id"], [node["target"] for node in fault["nodes"]][:5]) for fault in found]
    assert faults == [], json.dumps(faults, indent=1)


@pytest.mark.parametrize("language", ["en", "de", "zh-hans"])
def test_page_works_under_the_strict_policy(demo, language):
    """No violation, no complaint, nothing from elsewhere, in each language."""
    page = demo(f"?language={language}")
    assert page.said == []


def test_every_control_is_reached_by_the_keyboard_and_shows_it(demo):
    """One Tab after another leads through all of them, and each has an outline when it has the focus."""
    page = demo()
    count = page.evaluate(
        "(() => { const inside = root => [...root.querySelectorAll('*')].flatMap(each =>"
        " [each, ...(each.shadowRoot ? inside(each.shadowRoot) : [])]);"
        " return inside(document).filter(each => each.tabIndex >= 0 && !each.disabled"
        " && !each.matches('a:not([href])')"
        " && each.checkVisibility({visibilityProperty: true})"
        " && !each.getRootNode().host?.closest('#list-5 li')).length })()"
    )
    assert count > 80
    seen = set()
    for _ in range(count + 5):
        page.keyboard.press("Tab")
        found = page.evaluate(
            "(() => { let each = document.activeElement;"
            " while (each.shadowRoot?.activeElement) each = each.shadowRoot.activeElement;"
            " window.reached ??= new Map(); if (!reached.has(each)) reached.set(each, reached.size);"
            " const {outlineStyle, outlineWidth} = getComputedStyle(each);"
            " return [reached.get(each), each === document.body ||"
            " (outlineStyle !== 'none' && parseFloat(outlineWidth) >= 1),"
            " each.outerHTML.slice(0, 120)] })()"
        )
        assert found[1], found[2]
        seen.add(found[0])
    assert len(seen) >= count


def test_nothing_moves_where_motion_is_not_wanted(demo):
    """No animation runs and no transition is declared, in any shadow tree."""
    moving = (
        "[document, ...[...document.querySelectorAll('*')].map(each => each.shadowRoot).filter(Boolean)]"
        ".flatMap(root => root.getAnimations()).length"
    )
    assert demo(reduced_motion="no-preference").evaluate(moving) > 0  # or the test could not fail
    assert demo(reduced_motion="reduce").evaluate(moving) == 0


def test_forced_colours_keep_bars_and_words(demo):
    """The system's colours are taken, bars have an outline, and states are words, not colours alone."""
    page = demo(forced_colors="active")
    bar = page.locator("#running task-progress").first.locator("progress").first
    expect(bar).to_be_visible()
    outline, size = bar.evaluate("each => [getComputedStyle(each).outlineStyle, each.getBoundingClientRect().height]")
    assert outline != "none"
    assert size >= 4
    expect(page.locator("#ends")).to_contain_text("failed")


def test_forced_colours_tell_dots_and_bars_apart(demo):
    """What waits is hollow, what failed is square and its bar hatched; the logo and the buttons are there."""
    page = demo(forced_colors="active")
    look = """each => {
      const root = each.querySelector("task-progress").shadowRoot;
      const dot = getComputedStyle(root.querySelector(".state"), "::before");
      const tone = getComputedStyle(root.querySelector(".bar")).getPropertyValue("--tone"); // what it is filled with
      return [dot.backgroundColor === "rgba(0, 0, 0, 0)", dot.borderRadius, tone.split("(")[0]];
    }"""
    seen = {name: page.locator(f"#{name}").evaluate(look) for name in ("waiting-1", "running-1", "ends-1", "ends-3")}
    assert seen == {
        "waiting-1": [True, "50%", "Highlight"],
        "running-1": [False, "50%", "Highlight"],
        "ends-1": [False, "50%", "Highlight"],
        "ends-3": [False, "0px", "repeating-linear-gradient"],
    }
    assert "gradient" in page.locator(".mark").evaluate("each => getComputedStyle(each).backgroundImage")


def test_from_right_to_left_texts_keep_their_order_and_their_beginning(demo):
    """English words on a page in Arabic: the first letter is in sight, and stands before the second."""
    page = demo("?dir=rtl")
    first = """each => {
      const range = document.createRange();
      const box = each.closest(".text, .head").getBoundingClientRect();
      const lefts = [0, 1].map((at) => {
        range.setStart(each.firstChild, at);
        range.setEnd(each.firstChild, at + 1);
        return range.getBoundingClientRect().left - box.left;
      });
      return [lefts[0] >= 0, lefts[0] < lefts[1], lefts[0] > 100];
    }"""
    assert page.locator("#texts-1 .message").evaluate(first)[:2] == [True, True]
    assert page.locator("#texts-2 .message").evaluate(first) == [True, False, True]
    assert page.locator("#list-1 .counts").evaluate(first) == [True, True, True]


def test_last_line_of_a_log_is_not_covered_when_the_connection_is_lost(demo):
    """And what says so is on the ground of the log, light and dark; what is said of older lines is in sight."""
    page = demo(color_scheme="dark")
    covered, grounds = page.locator("#log task-log").last.evaluate(
        """each => {
          const line = [...each.querySelectorAll(".task-log-line")].at(-1);
          const note = each.querySelector(".task-log-foot > p");
          const ground = (node) => getComputedStyle(node).backgroundColor;
          const covered = line.getBoundingClientRect().bottom - note.getBoundingClientRect().top;
          return [covered, [ground(each), ground(note)]];
        }"""
    )
    assert covered <= 0.5
    assert grounds[0] == grounds[1]
    older = page.locator("#log-4 .task-log-note").first
    assert older.evaluate("each => each.offsetTop - each.parentElement.scrollTop - each.parentElement.offsetTop") >= 0


def test_a_wish_that_was_not_sent_is_told_for_a_while_beside_the_age(site, open_page):
    """What was lost and how old this is stay to be read."""
    page = open_page(site, None, "/demo/")  # nothing else is waited for: the words go after 10 s
    example = page.locator("#stopping-3 .updated")
    said = "not sent, no connection · connection lost, showing the state of 12 s ago"
    expect(example).to_contain_text(said, timeout=20_000)
    expect(example).not_to_contain_text("not sent", timeout=20_000)
    expect(example).to_contain_text("connection lost, showing the state of 12 s ago")


def test_cancel_button_of_an_example_works(demo):
    """The replayed server takes the wish, and the bar says so: the examples are the real elements."""
    page = demo()
    example = page.locator("#running-1")
    example.get_by_role("button", name="Cancel", exact=True).click()
    example.get_by_role("button", name="Cancel the task").click()
    expect(example).to_contain_text("cancelling")
    page.locator("#attributes").get_by_role("button", name="Tell me when it is done").click()
    expect(page.locator("#attributes")).to_contain_text("You will be told.")


def test_mark_up_beside_an_element_is_the_elements_own(demo):
    """Put into a page it makes the same element; only where the page is connected to is left out."""
    page = demo()
    differences = page.evaluate(
        """[...document.querySelectorAll(".example:has(button[data-copy])")].filter((example) => {
          const live = example.querySelector(".stage").firstElementChild;
          const text = example.querySelector("pre").textContent;
          const made = new DOMParser().parseFromString(text, "text/html").body.firstElementChild;
          return [...made.attributes].some(({ name, value }) => live.getAttribute(name) !== value && value !== "{…}")
            || live.localName !== made.localName;
        }).map((example) => example.id)"""
    )
    assert differences == []


def test_without_javascript_the_last_known_states_are_there(site, open_page):
    """The page says what is missing, and shows what the template tag writes."""
    page = open_page(site, None, "/demo/", java_script_enabled=False)
    expect(page.locator("#plain")).to_contain_text("999 rows stored")
    expect(page.locator("#plain progress")).to_have_count(3)
    expect(page.locator(".markup").first).to_contain_text("<task-progress")
