"""The elements in each language that is shipped, and from right to left: the words, and that none is cut off."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from .conftest import PHONE, WIDE
from .test_admin import list_shows
from .test_jobs import reaches, shows, start

STATES = json.loads((Path(__file__).parents[1] / "js/states.json").read_text())
LANGUAGES = ["en", "de", "zh-CN"]  # as browsers ask for them
SAID = {  # while it runs, soon before its end, and at its end
    "de": ("läuft", "noch etwa", "fertig", "aktualisiert"),
    "zh-CN": ("运行中", "大约还需", "已完成", "更新"),
}
# A bar for each situation that docs/words.md lists, with everything that may stand beside it.
SHOW = """
async ([cases, state]) => {
  const { ProgressSocket } = await import(document.querySelector("script[src*=task-progress]").src
    .replace("task-progress", "progress-socket"));
  await import(document.querySelector("script[src*=task-progress]").src.replace("task-progress", "more-words"));
  const from = "2026-01-01T00:00:00.000Z";
  const base = {
    v: 1, name: "tasks.import_customers", title: "customers.csv", message: "", current: 630_000, total: 1_000_000,
    fraction: 0.63, unit: "", rate: 3_000, started_at: "2025-12-31T23:57:00.000Z", updated_at: from, retries: 0,
    max_retries: null, scheduled_for: null, waits_for: null, run: 1, final: false, queued_at: from, error: null,
  };
  const known = cases.map(({ snapshot }, place) => (
    { may: [], snapshot: { ...base, id: `t${place}`, seq: 1, ...snapshot } }));
  ProgressSocket.provide("/pretended/", Object.assign(new EventTarget(), {
    state, transport: "websocket", serverTime: Date.parse(from) + 12_000,
    task: (id) => known[id.slice(1)], watch() {}, unwatch() {}, merge() {},
  }));
  const main = document.querySelector("main");
  main.replaceChildren(...cases.map((_, place) => {
    const bar = document.createElement("task-progress");
    bar.setAttribute("socket", "/pretended/");
    bar.setAttribute("task-id", `t${place}`);
    return bar;
  }));
}
"""
# Texts whose place is too small for them. A task's own message may be long, and is there in full for its reader.
CUT = """
() => [...document.querySelectorAll("task-progress")].flatMap((bar) =>
  [...bar.shadowRoot.querySelectorAll("*")].filter((node) =>
    node.checkVisibility() && node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).overflowX === "hidden"
    && !node.closest(".live, .text")).map((node) => node.textContent))
"""
WIDER_THAN_THE_WINDOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("language", SAID)
def test_a_run_is_watched_in_the_language_of_the_browser(site, open_page, language):
    """From running to done: state, time left and age; a page without JavaScript says the same state."""
    login = site.user()
    starter = open_page(site, login)
    start(starter, seconds=16, steps=60)
    shows(starter, "running")
    path = starter.url.removeprefix(site.url)
    running, soon, ended, age = SAID[language]
    plain = open_page(site, login, path, locale=language, java_script_enabled=False)
    expect(plain.locator("task-progress")).to_contain_text(running)
    page = open_page(site, login, path, locale=language)
    assert page.locator("html").get_attribute("lang") == {"de": "de", "zh-CN": "zh-hans"}[language]
    assert page.locator("html").get_attribute("dir") == "ltr"
    shows(page, running)
    shows(page, soon)
    shows(page, age)
    shows(page, ended, 30)


def test_english_pages_load_no_catalogue(site, open_page):
    """What has nothing to say is not asked for; a language that the site does not have is answered in English."""
    page = open_page(site, site.user(), locale="fr")
    assert page.locator("html").get_attribute("lang") == "en"
    expect(page.locator("script[src*='words.js']")).to_have_count(0)
    german = open_page(site, site.user(), locale="de")
    expect(german.locator("script[src*='words.js?language=de']")).to_have_count(1)


STAFF = {  # the admin's own script, the action, its button, and what became of it
    "de": (r"1 von \d+ ausgewählt", "Ausgewählte Läufe abbrechen", "Abbrechen", "1 Lauf wurde um Abbruch gebeten"),
    "zh-CN": (r"选中了 \d+ 个中的 1 个", "取消所选运行", "取消", "1 个运行已被请求停止"),
}


@pytest.mark.parametrize("language", STAFF)
def test_staff_cancel_in_their_language(site, open_page, language):
    """Filter, action, question and message are translated, and the admin's own scripts keep their own words."""
    boss = site.user(superuser=True)
    start(open_page(site, boss), seconds=60, steps=60)
    page = open_page(site, boss, locale=language)
    list_shows(page, site, 1, f"?owner={boss.pk}")
    selected, action, button, became = STAFF[language]
    shows(page, SAID[language][0])
    page.locator("input.action-select").first.check()
    expect(page.locator(".action-counter")).to_have_text(re.compile(selected))
    page.locator("select[name=action]").select_option(label=action)
    page.locator("button[name=index]").click()
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text(became)


@pytest.mark.parametrize("language", SAID)
def test_a_form_that_was_filled_in_wrongly_is_explained_in_the_language_of_the_reader(site, open_page, language):
    """Cards, labels and errors of the jobs; nothing on the page claims to be in another language."""
    page = open_page(site, site.user(), locale=language, viewport=PHONE)
    assert page.locator("main [lang]").count() == 0
    page.locator("#job-export > summary").click()
    page.locator("#export-placed_from").fill("2024-03-02")
    page.locator("#export-placed_until").fill("2024-03-01")
    page.locator("#job-export button").click()
    wrong = {"de": "Das liegt vor dem ersten Tag, 2024-03-02.", "zh-CN": "早于起始日 2024-03-02。"}
    expect(page.locator("#job-export .errorlist")).to_contain_text(wrong[language])
    page.wait_for_load_state()
    assert page.evaluate(WIDER_THAN_THE_WINDOW) <= 0


@pytest.mark.parametrize(("direction", "arrow"), [("ltr", "←"), ("rtl", "→")])
def test_the_way_back_points_to_where_one_came_from(site, open_page, direction, arrow):
    """Backwards is where lines of this direction begin."""
    page = open_page(site, site.user(), "/exports/")
    page.evaluate("(direction) => { document.documentElement.dir = direction }", direction)
    content = page.locator(".back a").evaluate("(link) => getComputedStyle(link, '::before').content")
    assert arrow in content


@pytest.mark.parametrize("connection", ["live", "offline"])
@pytest.mark.parametrize("direction", ["ltr", "rtl"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_has_its_place(site, open_page, language, size, direction, connection):
    """No page is wider than its window, and no sentence is cut off, in any situation."""
    page = open_page(site, site.user(), locale=language, viewport=size)
    page.evaluate("(direction) => { document.documentElement.dir = direction }", direction)
    page.evaluate(SHOW, [STATES, connection])
    expect(page.locator("task-progress .state").last).not_to_be_empty()
    assert page.evaluate(WIDER_THAN_THE_WINDOW) <= 0
    assert page.evaluate(CUT) == []


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_a_bar_is_read_from_right_to_left(site, open_page, size):
    """In a page of that direction the bar grows from the right, and its words stand on the right."""
    login = site.user()
    page = open_page(site, login, viewport=size)
    start(page, seconds=4, steps=40)
    page.evaluate("() => { document.documentElement.dir = 'rtl' }")
    reaches(page, 10)
    assert page.evaluate(WIDER_THAN_THE_WINDOW) <= 0
    places = page.locator("task-progress").evaluate(
        """(bar) => {
          const at = (name) => bar.shadowRoot.querySelector(name).getBoundingClientRect();
          const words = bar.shadowRoot.querySelector(".state").firstChild;
          const range = document.createRange();
          range.selectNodeContents(words);
          return { box: at(".box").right, words: range.getBoundingClientRect().right, left: at(".box").left };
        }"""
    )
    assert places["box"] - places["words"] < 40
    assert places["words"] - places["left"] > 100
