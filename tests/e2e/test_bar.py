"""What `<task-progress>` keeps in a page of somebody else: life cycle, details, cancelling, notices.

The element is the real one in a real Chromium under the site's own policy. The server is played by the page, so that
each snapshot comes when the test says so.
"""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from playwright.sync_api import Page, expect

from tests.processes import wait_until

from .conftest import PHONE, WIDE
from .test_appearance import AXE

# A WebSocket whose other end is this page: `snap(id, changes)` says something, `sent` is what was asked.
SERVER = """async () => {
  const wires = [];
  const now = () => new Date().toISOString();
  Object.assign(window, { sent: [], may: {}, snaps: {}, trees: {}, told: [] });
  window.ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();
  window.WebSocket = class {
    readyState = 0;
    constructor() {
      wires.push(this);
      queueMicrotask(() => { this.readyState = 1; this.onopen?.({}); });
    }
    send(text) {
      const message = JSON.parse(text);
      sent.push(message);
      const { type, ids, tree } = message;
      if (type === "ping") this.say({ type: "heartbeat", at: now() });
      if (type === "watch" && ids) this.show(ids);
      if (type === "watch" && tree) {
        this.say({ type: "tree", id: tree, tree, at: now(), seq: 1, ...trees[tree] });
        this.show(trees[tree].members);
      }
    }
    show(ids) {
      this.say({ type: "watching", items: ids.map((id) => ({ id, may: may[id] ?? ["watch"], until: null })) });
      this.say({ type: "snapshots", at: now(), items: ids.map((id) => snaps[id]).filter(Boolean) });
    }
    say(frame) { this.onmessage?.({ data: JSON.stringify(frame) }); }
    close() { this.readyState = 3; }
  };
  let seq = 1_000;
  window.snap = (id, changes = {}) => {
    snaps[id] = {
      v: 1, id, seq: (seq += 1), attempt: 1, run: 1, name: "tasks.work", title: `Task ${id}`, state: "PROGRESS",
      final: false, current: 63, total: 100, fraction: 0.63, queued_at: ago(12), started_at: ago(10),
      updated_at: now(), finished_at: null, ...changes,
    };
    const open = wires.filter(({ readyState }) => readyState === 1);
    for (const wire of open) wire.say({ type: "snapshots", at: now(), items: [snaps[id]] });
    return snaps[id];
  };
  window.done = (id, changes = {}) =>
    snap(id, { state: "SUCCESS", final: true, fraction: 1, current: 100, finished_at: now(), ...changes });
  window.add = (id, attributes = {}) => {
    const bar = document.createElement("task-progress");
    for (const [name, value] of Object.entries({ "task-id": id, ...attributes })) bar.setAttribute(name, value);
    document.querySelector("main").append(bar);
    return bar;
  };
  window.look = (visibility) => {
    Object.defineProperty(document, "visibilityState", { configurable: true, get: () => visibility });
    document.dispatchEvent(new Event("visibilitychange"));
  };
  for (const name of ["change", "end", "leave"]) {
    document.addEventListener(`task-progress:${name}`, (event) => {
      if (name === "leave") event.preventDefault();
      told.push([name, event.target.getAttribute("task-id"), event.detail.url ?? ""]);
    });
  }
  window.socket = (await import("/static/progress/progress-socket.js")).ProgressSocket.shared("/ws/progress/");
  document.querySelector("main").replaceChildren();
  // Bars are painted in the order in which they had news: when this one has been, all before it have.
  window.probe = document.createElement("task-progress");
  probe.setAttribute("task-id", "probe");
  probe.hidden = true;
  document.body.append(probe);
  window.painted = () => new Promise((done) => {
    const { seq } = snap("probe");
    const see = ({ detail }) => {
      if (detail.seq < seq) return;
      probe.removeEventListener("task-progress:change", see);
      requestAnimationFrame(() => setTimeout(done));
    };
    probe.addEventListener("task-progress:change", see);
  });
}"""


@pytest.fixture
def page(site, open_page):
    """A page of the site in which nothing is left but the element and a server that the test plays."""
    return played(open_page(site, None, "/login/"))


def played(page: Page) -> Page:
    page.evaluate(SERVER)
    return page


def painted(page: Page) -> None:
    """Wait until what came has been painted."""
    page.evaluate("painted()")


def told(page: Page, name: str) -> list[list[str]]:
    """The events of that name so far: which task, and where to."""
    return [rest for kind, *rest in page.evaluate("told") if kind == name]


def comes(page: Page, expression: str) -> None:
    """Wait until it is true in the page. (Playwright's own way evaluates a text, which the policy forbids.)"""
    wait_until(lambda: page.evaluate(expression), 10, expression)


def attends(page: Page) -> None:
    """Wait until what tells of ends has been loaded, and knows the bars of the page."""
    comes(page, "performance.getEntriesByType('resource').some(({ name }) => name.endsWith('task-notice.js'))")
    painted(page)


def bar(page: Page, task: str):
    return page.locator(f"task-progress[task-id='{task}']")


# --- Life cycle --------------------------------------------------------------------------------------------


def test_an_end_that_the_page_was_made_with_is_never_told(page):
    """Two bars of it, and each swap for a fresh one, as a page does that renews itself at an end: no end is told."""
    page.evaluate("""() => {
      const json = JSON.stringify(done("a"));
      for (let n = 0; n < 5; n += 1) {
        add("a", { snapshot: json });
        const bars = document.querySelectorAll("task-progress");
        if (n > 1) bars[0].replaceWith(bars[0].cloneNode());
      }
    }""")
    expect(bar(page, "a").first).to_contain_text("done")
    assert page.evaluate("told.filter(([name]) => name === 'end')") == []


def test_properties_and_attributes_are_one(page):
    """What is set by a property is read by the attribute and the other way round; false and null take it away."""
    page.evaluate("snap('a'); window.bar = add('a', { compact: '' })")
    assert page.evaluate("[bar.taskId, bar.compact, bar.token, bar.successUrl]") == ["a", True, False, False]
    page.evaluate("Object.assign(bar, { compact: false, token: null, successUrl: '/x', heading: 2 })")
    assert page.evaluate("bar.getAttributeNames().sort()") == ["heading", "success-url", "task-id"]
    expect(bar(page, "a").get_by_role("heading", level=2)).to_have_text("Task a")


def test_an_id_that_comes_later_or_changes_is_shown(page):
    """The element watches what its attribute says now, and no longer what it said before."""
    page.evaluate("snap('a'); snap('b', { fraction: 0.1 }); window.bar = document.createElement('task-progress')")
    page.evaluate("document.querySelector('main').append(bar)")
    page.evaluate("bar.taskId = 'a'")
    expect(page.locator("main task-progress")).to_contain_text("63 %")
    page.evaluate("bar.setAttribute('task-id', 'b')")
    expect(page.locator("main task-progress")).to_contain_text("10 %")
    expect(page.locator("main task-progress")).to_contain_text("Task b")
    assert page.evaluate("sent.some(({ type, ids }) => type === 'unwatch' && ids.includes('a'))")


def test_a_thousand_swaps_leave_nothing_behind(page):
    """Listeners, timers and watches after 1 000 insertions and removals are what they were before."""
    page.evaluate("""async () => {
      probe.remove();
      const { watchTree } = await import('/static/progress/wishes.js');
      watchTree(socket, 'warm')(); // it listens for as long as the page lives
      window.listeners = 0; window.intervals = 0;
      const { addEventListener: on, removeEventListener: off } = EventTarget.prototype;
      socket.addEventListener = function (...all) { listeners += 1; on.apply(this, all); };
      socket.removeEventListener = function (...all) { listeners -= 1; off.apply(this, all); };
      const { setInterval: start, clearInterval: stop } = window;
      window.setInterval = (...all) => { intervals += 1; return start(...all); };
      window.clearInterval = (id) => { if (id !== undefined) intervals -= 1; stop(id); };
      trees.a = trees.warm = { members: ["b"], known: 2 };
      snap("b"); snap("a", { rate: 5, children: { known: 1, ended: 0, failed: 0 }, stages: [] });
      for (let n = 0; n < 1_000; n += 1) {
        const html = `<task-progress task-id="a" notify="title"></task-progress>`;
        document.querySelector("main").replaceChildren(document.createRange().createContextualFragment(html));
        if (n % 100) continue;
        await new Promise((done) => setTimeout(done, 300));
        document.querySelector("task-progress").shadowRoot.querySelector("summary")?.click();
        await new Promise((done) => setTimeout(done, 300));
      }
      document.querySelector("main").replaceChildren();
      await new Promise((done) => setTimeout(done));
    }""")
    assert page.evaluate("[listeners, intervals]") == [0, 0]
    watched = page.evaluate("""() => sent.reduce((ids, message) => {
      for (const id of message.ids ?? [message.tree].filter(Boolean)) {
        if (message.type === "watch") ids.add(id); else ids.delete(id);
      }
      return ids;
    }, new Set()).size""")
    assert watched == 0
    assert page.evaluate("sent.some(({ tree }) => tree === 'a')")


def test_paint_stops_when_its_slice_of_the_frame_is_used(page):
    """However many bars have news, however slow the page is with each: the next frame comes, and all are shown."""
    page.evaluate("""() => {
      window.frames_ = [0];
      document.addEventListener("task-progress:change", () => {
        frames_[frames_.length - 1] += 1;
        for (const start = performance.now(); performance.now() - start < 4;);
      });
      for (let n = 0; n < 60; n += 1) { snap(`t${n}`); add(`t${n}`); }
      (function next() { frames_.push(0); if (frames_.length < 2_000) requestAnimationFrame(next); })();
    }""")
    comes(page, "frames_.reduce((a, b) => a + b) >= 60")
    assert max(page.evaluate("frames_")) <= 4


def test_a_move_within_the_page_changes_nothing(page):
    """`moveBefore()`: no message to the server, the open disclosure stays open."""
    page.evaluate("snap('a', { children: { known: 1, ended: 0, failed: 0 } }); trees.a = { members: [], known: 1 }")
    page.evaluate("window.bar = add('a'); document.querySelector('main').append(document.createElement('section'))")
    bar(page, "a").get_by_text("0 of 1 parts").click()
    painted(page)
    before = page.evaluate("sent.length")
    page.evaluate("document.querySelector('section').moveBefore(bar, null)")
    painted(page)
    assert page.evaluate(f"sent.slice({before}).filter(({{ type }}) => type !== 'ping')") == []
    assert bar(page, "a").locator("details").evaluate("details => details.open")


# --- What is said ------------------------------------------------------------------------------------------


def test_the_bar_has_a_name_a_value_and_words(page):
    """`role=progressbar`, named by the title, with percent and state as its text."""
    page.evaluate("snap('a'); add('a')")
    it = page.get_by_role("progressbar", name="Task a")
    expect(it).to_have_attribute("aria-valuetext", "63 %, running")
    assert it.evaluate("bar => bar.position") == pytest.approx(0.63)


def test_a_title_of_the_page_takes_the_place_of_the_tasks(page):
    """Slot `title`; it names the bar, too."""
    page.evaluate("snap('a'); add('a').innerHTML = '<b slot=title>Your import</b>'")
    expect(page.get_by_role("progressbar", name="Your import")).to_be_visible()
    expect(page.get_by_text("Task a")).to_be_hidden()


def test_what_may_be_cut_stands_in_full_in_the_tool_tip(page):
    """Message, count, state and age; the title of a compact bar, too."""
    long = "nothing is lost, " * 40
    page.evaluate(
        "text => { snap('a', { message: text, rate: 5, title: text }); add('a'); add('a', { compact: '' }) }", long
    )
    wide, compact = bar(page, "a").first, bar(page, "a").last
    expect(wide.locator(".message")).to_have_attribute("title", long)
    expect(wide.locator(".count")).to_have_attribute("title", "63 of 100")
    expect(wide.locator(".words")).to_have_attribute("title", "running")
    expect(compact.locator(".name")).to_have_attribute("title", long)


def test_rate_and_end_are_not_said_of_what_stands_still(page):
    """A burst that is over: nothing has come for 5 s and the time of three more."""
    page.evaluate("snap('a', { rate: 95, started_at: ago(60) }); add('a')")
    expect(bar(page, "a")).to_contain_text(re.compile("95/s · about 10 s left"))
    page.evaluate("snap('a', { rate: 95, started_at: ago(60), updated_at: ago(6) })")
    painted(page)
    expect(bar(page, "a").locator(".eta")).to_have_text("")


def test_announcements_are_seldom_but_for_the_end(page):
    """Of reports in a row only those are announced that come 5 s after the last one that was; the end always."""
    page.evaluate("""() => {
      window.heard = [];
      snap("a"); const bar = add("a");
      const live = bar.shadowRoot.querySelector("[aria-live=polite]");
      const note = () => heard.push([performance.now(), live.textContent]);
      new MutationObserver(note).observe(live, { childList: true });
    }""")
    for percent in range(20):
        page.evaluate("percent => snap('a', { fraction: percent / 100 })", percent)
        painted(page)
    heard = page.evaluate("heard")
    assert heard
    assert all(later - before >= 4900 for (before, _), (later, _) in pairwise(heard))
    page.evaluate("done('a')")
    comes(page, "heard.at(-1)[1] === 'Task a: done'")


def test_nothing_shifts_from_the_first_report_to_the_last(page):
    """Percent, rate, button and message come into places that were kept for them."""
    page.evaluate(
        "may.a = ['watch', 'cancel']; snap('a', { state: 'PENDING', attempt: 0, fraction: null, total: null, "
        "current: 0, started_at: null }); add('a')"
    )
    expect(bar(page, "a").get_by_role("button", name="Cancel")).to_be_visible()
    page.evaluate("""() => { window.shift = 0;
      new PerformanceObserver((list) => { for (const entry of list.getEntries()) shift += entry.value })
        .observe({ type: "layout-shift", buffered: false }) }""")
    for percent in range(0, 100, 10):
        page.evaluate("percent => snap('a', { fraction: percent / 100, rate: 7, message: `at ${percent}` })", percent)
        painted(page)
    page.evaluate("snap('a', { fraction: 0.99, cancel_requested: true })")
    expect(bar(page, "a").get_by_role("button", name="Cancel")).to_be_hidden()
    painted(page)
    assert page.evaluate("shift") == 0


@pytest.mark.needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_state(site, open_page, scheme):
    """Waiting, running, stages, parts, ended, failed, refused, with an open dialog."""
    page = played(open_page(site, None, "/login/", color_scheme=scheme))
    everything(page)
    page.evaluate(AXE.read_text())
    audit = "axe.run('main', {resultTypes: ['violations']}).then(result => result.violations)"
    found = page.evaluate(audit)
    bar(page, "cancellable").get_by_role("button", name="Cancel").click()
    found += page.evaluate(audit)
    assert [(fault["id"], [node["target"] for node in fault["nodes"]]) for fault in found] == []


@pytest.mark.parametrize("viewport", [PHONE, WIDE], ids=["phone", "wide"])
def test_no_state_needs_more_than_the_width_of_the_page(site, open_page, viewport):
    """Nor does the policy of the page forbid any part of it."""
    page = open_page(site, None, "/login/", viewport=viewport)
    refused = []
    page.on("console", lambda said: refused.append(said.text) if "Content Security Policy" in said.text else None)
    everything(played(page))
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert refused == []


def everything(page: Page) -> None:
    """One bar for each state that looks different."""
    page.evaluate("""() => {
      may.cancellable = ["watch", "cancel"];
      const stages = [
        { name: "read", current: 9, total: 9, weight: 1, state: "done", from: 0, to: 4_000 },
        { name: "write", current: 1, total: 9, weight: 1, state: "running" },
        { name: "a heading of some length", current: 3, weight: 1, state: "running", depth: 1 },
      ];
      const ended = { final: true, finished_at: ago(1) };
      snap("waiting", { state: "PENDING", attempt: 0, current: 0, total: null, fraction: null, started_at: null });
      snap("running"); snap("cancellable", { rate: 12 }); snap("unknown", { fraction: null, total: null });
      snap("stages", { stages });
      snap("failed", { ...ended, state: "FAILURE", error: { type: "error", message: "It broke." } });
      done("done", { result: "all of it", stages: [{ ...stages[0], to: 9_000 }] });
      snap("cancelled", { ...ended, state: "REVOKED", cancel_requested: true });
      snap("lost", { state: "LOST" });
      done("part-1"); snap("part-2");
      trees.parent = { members: ["part-1", "part-2"], known: 3 };
      snap("parent", { children: { known: 2, ended: 1, failed: 0 } });
      for (const id of Object.keys(snaps)) if (id !== "probe") add(id);
      for (const id of ["running", "done", "parent"]) add(id, { compact: "", href: "/" });
    }""")
    bar(page, "parent").first.get_by_text("1 of 2 parts").click()
    expect(bar(page, "parent").first.get_by_role("listitem")).to_have_count(2)
    painted(page)


# --- Details -----------------------------------------------------------------------------------------------


def test_stages_are_a_list_in_a_list(page):
    """Each with its name, its count and its state in words, within the one that it is a part of."""
    page.evaluate("""() => { snap("a", { stages: [
      { name: "read", current: 9, total: 9, weight: 1, state: "done" },
      { name: "write", current: 1, total: 9, weight: 1, state: "running" },
      { name: "header", current: 2, total: null, weight: 1, state: "failed", depth: 1 },
      { name: "publish", current: 0, total: null, weight: 1, state: "waiting" },
    ] }); add("a") }""")
    items = bar(page, "a").get_by_role("listitem")
    expect(items).to_have_count(4)
    assert [re.sub(r"\s+", " ", text).strip() for text in items.all_inner_texts()] == [
        "read 9 of 9 done",
        "write 1 of 9 running header 2 failed",
        "header 2 failed",
        "publish waiting",
    ]


def test_parts_are_watched_while_they_are_shown_and_no_longer(page):
    """A disclosure opens them as lines in time; shutting it, or taking the bar away, ends the watch."""
    page.evaluate("""() => {
      trees.a = { members: ["a", "b", "c"], known: 3 };
      done("b", { started_at: ago(8), finished_at: ago(4) }); snap("c");
      snap("a", { children: { known: 2, ended: 1, failed: 0 } }); window.bar = add("a");
    }""")
    disclosure = bar(page, "a").locator("summary")
    expect(disclosure).to_have_text("1 of 2 parts")
    wanted = "sent.filter(({ tree }) => tree).length"
    given_up = "sent.filter(({ type, ids }) => type === 'unwatch' && ids.includes('a')).length"
    assert page.evaluate(wanted) == 0
    disclosure.press("Enter")
    rows = bar(page, "a").get_by_role("listitem")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("done · took 0:04")
    expect(rows.nth(1)).to_contain_text("running · 63 %")
    page.evaluate("snap('c', { fraction: 0.8 })")
    expect(rows.nth(1)).to_contain_text("80 %")
    disclosure.press("Enter")
    comes(page, f"{given_up} === 1")
    disclosure.press("Enter")
    comes(page, f"{wanted} === 2")
    page.evaluate("bar.remove()")
    comes(page, f"{given_up} >= 2")


def test_a_finished_run_shows_where_its_time_went(page):
    """A strip to look at, whose pieces are as long as what they stand for, and the same in words."""
    page.evaluate("""() => { done("a", { queued_at: ago(30), started_at: ago(20), finished_at: ago(0), stages: [
      { name: "read", current: 1, weight: 1, state: "done", from: 0, to: 5_000 },
      { name: "write", current: 1, weight: 1, state: "done", from: 5_000, to: 20_000 },
    ] }); add("a") }""")
    legend = bar(page, "a").locator(".legend")
    expect(legend).to_have_text(re.compile(r"waited 0:10\s*read: 0:05\s*write: 0:1[45]|waited 0:10.*"))
    widths = bar(page, "a").locator(".strip span").evaluate_all("all => all.map((one) => one.offsetWidth)")
    assert widths[1] / widths[0] == pytest.approx(1 / 2, rel=0.05)
    assert widths[2] / widths[1] == pytest.approx(3, rel=0.05)


def test_a_part_that_cannot_be_loaded_breaks_nothing_and_is_tried_again(site, open_page):
    """The bar goes on without its details; when the way is free again they come by themselves."""
    page = open_page(site, None, "/login/")
    page.route("**/task-details.js", lambda route: route.abort())
    played(page).evaluate(
        "window.stages = [{ name: 'read', current: 1, weight: 1, state: 'running' }]; snap('a', { stages }); add('a')"
    )
    expect(bar(page, "a")).to_contain_text("63 %")
    page.evaluate("snap('a', { stages, fraction: 0.7 })")
    expect(bar(page, "a")).to_contain_text("70 %")
    expect(bar(page, "a")).not_to_contain_text("read")
    page.unroute("**/task-details.js")
    expect(bar(page, "a")).to_contain_text("read", timeout=20_000)


# --- Cancelling --------------------------------------------------------------------------------------------


@pytest.fixture
def cancelling(page):
    """A bar whose task one may cancel; `asked` says what was sent, `answer(status, body)` answers it."""
    page.evaluate("""() => {
      window.asked = [];
      window.fetch = (url, { method, headers }) => new Promise((done) => {
        asked.push([method, new URL(url).pathname, headers["X-CSRFToken"]]);
        window.answer = (status, body = {}) => done(new Response(JSON.stringify(body), { status }));
      });
      may.a = ["watch", "cancel"]; snap("a"); window.bar = add("a", { csrf: "secret" });
    }""")
    return page


def button(page: Page):
    return bar(page, "a").get_by_role("button", name="Cancel", exact=True)


def test_cancelling_asks_first_and_escape_lets_it_run(cancelling):
    """By keyboard alone: the safe answer has the focus, Escape gives it back to the button."""
    button(cancelling).press("Enter")
    dialog = cancelling.get_by_role("dialog", name="Cancel this task?")
    expect(dialog.get_by_role("button", name="Let it run")).to_be_focused()
    cancelling.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button(cancelling)).to_be_focused()
    button(cancelling).press("Enter")
    cancelling.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    assert cancelling.evaluate("asked") == []


def test_a_wish_to_cancel_is_sent_once_and_the_task_says_what_becomes_of_it(cancelling):
    """However often one presses, and in however many bars; the button goes when the task knows."""
    cancelling.evaluate("add('a', { confirm: 'no' })")
    button(cancelling).first.click()
    cancelling.get_by_role("dialog").get_by_role("button", name="Cancel the task").click()
    for _ in range(2):
        button(cancelling).last.dispatch_event("click")
    comes(cancelling, "asked.length > 0")
    assert cancelling.evaluate("asked") == [["POST", "/progress/a/cancel/", "secret"]]
    cancelling.evaluate("answer(202)")
    expect(bar(cancelling, "a").first).to_contain_text("asked to cancel")
    cancelling.evaluate("snap('a', { cancel_requested: true })")
    expect(bar(cancelling, "a").first).to_contain_text("cancelling…")
    expect(button(cancelling)).to_have_count(0)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (503, "unavailable", "not sent, no connection"),
        (409, "ended", "it has already ended"),
        (403, "not_allowed", "you may not cancel it"),
    ],
)
def test_a_wish_that_was_not_taken_is_told_in_words(cancelling, status, error, words):
    """And may be sent again."""
    cancelling.evaluate("bar.confirm = 'no'")
    button(cancelling).click()
    comes(cancelling, "asked.length > 0")
    cancelling.evaluate("([status, error]) => window.answer(status, { error })", [status, error])
    expect(bar(cancelling, "a")).to_contain_text(words)
    button(cancelling).click()
    assert len(cancelling.evaluate("asked")) == 2


def test_the_question_goes_when_there_is_nothing_left_to_cancel(cancelling):
    """The task ends while somebody thinks about it."""
    button(cancelling).click()
    expect(cancelling.get_by_role("dialog")).to_be_visible()
    cancelling.evaluate("done('a')")
    expect(cancelling.get_by_role("dialog")).to_have_count(0)
    assert cancelling.evaluate("asked") == []


# --- Notices -----------------------------------------------------------------------------------------------


def test_an_end_is_told_once_per_execution(page):
    """Not for one that the page was rendered with, and not again when its parts are counted in it later."""
    page.evaluate("add('b', { snapshot: JSON.stringify(done('b')) }); snap('a'); add('a')")
    painted(page)
    page.evaluate("done('a'); done('a', { children: { known: 1, ended: 1, failed: 0 } })")
    painted(page)
    assert told(page, "end") == [["a", ""]]
    page.evaluate("snap('a', { attempt: 2 }); done('a', { attempt: 2 })")
    assert told(page, "end") == [["a", ""], ["a", ""]]


def test_the_title_tells_of_ends_while_nobody_looks(page):
    """Once per task, in however many bars, with a count for several; whoever looks finds the old title again."""
    page.evaluate(
        "document.title = 'Jobs'; for (const id of ['a', 'a', 'b']) { snap(id); add(id, { notify: 'title' }) }"
    )
    attends(page)
    painted(page)
    page.evaluate("look('hidden'); done('a')")
    comes(page, "document.title === '✓ done – Jobs'")
    page.evaluate("snap('b', { state: 'FAILURE', final: true, finished_at: ago(0) })")
    comes(page, "document.title === '✗ 2 ended, 1 failed – Jobs'")
    page.evaluate("look('visible')")
    assert page.title() == "Jobs"


def test_an_end_that_was_there_at_first_is_no_news(page):
    """Neither in the title nor by leaving the page."""
    page.evaluate("document.title = 'Jobs'; look('hidden')")
    page.evaluate("add('a', { notify: 'title', 'success-url': '/x', snapshot: JSON.stringify(done('a')) })")
    page.evaluate("done('b'); add('b', { notify: 'title', 'success-url': '/x' })")
    attends(page)
    page.evaluate("done('a'); done('b')")
    page.evaluate("() => new Promise((done) => setTimeout(done))")
    assert (page.title(), told(page, "leave")) == ("Jobs", [])


def test_success_leads_to_another_page_once(page):
    """One event before it, which can be cancelled; a doubled end, and a second bar, do not lead there again."""
    page.evaluate("snap('a'); add('a', { 'success-url': '/there' }); add('a', { 'success-url': '/there' })")
    attends(page)
    page.evaluate("done('a'); done('a')")
    comes(page, "told.some(([name]) => name === 'leave')")
    painted(page)
    assert told(page, "leave") == [["a", page.evaluate("new URL('/there', location).href")]]


def test_success_really_leads_there(page):
    """The page is left for the address, where nobody objects."""
    page.evaluate("""() => {
      document.addEventListener("task-progress:leave", (event) => event.stopImmediatePropagation(), true);
      snap("a"); add("a", { "success-url": "/login/?left" }) }""")
    attends(page)
    page.evaluate("done('a')")
    page.wait_for_url("**/login/?left")


@pytest.mark.parametrize("address", ["javascript:document.title='x'", "data:text/html,x", "http://["])
def test_nobody_is_led_to_what_is_no_page(page, address):
    """Scripts and data are no addresses to go to; the console says so."""
    warned = []
    page.on("console", lambda said: warned.append(said.text) if "success-url" in said.text else None)
    page.evaluate("address => { snap('a'); add('a', { 'success-url': address }) }", address)
    attends(page)
    page.evaluate("done('a')")
    painted(page)
    comes(page, "told.some(([name]) => name === 'end')")
    assert told(page, "leave") == []
    assert len(warned) == 1


def test_permission_for_notifications_is_asked_for_by_a_click_only(page):
    """Whoever refuses is told so, and the button goes; whoever agrees is told of the end."""
    page.evaluate("""() => {
      window.asked = 0; window.notices = [];
      window.Notification = class {
        static permission = "default";
        static async requestPermission() { asked += 1; return (this.permission = window.verdict); }
        constructor(title, { body }) { notices.push([title, body]); }
      };
      document.hasFocus = () => false;
      window.verdict = "denied";
      snap("a"); add("a", { notify: "desktop" });
    }""")
    offer = bar(page, "a").get_by_role("button", name="Tell me when it is done")
    expect(offer).to_be_visible()
    assert page.evaluate("asked") == 0
    offer.click()
    expect(bar(page, "a")).to_contain_text("This browser does not let the page tell you.")
    expect(bar(page, "a").locator(".tell")).to_have_count(0)
    page.evaluate(
        "Notification.permission = 'default'; verdict = 'granted'; snap('b'); add('b', { notify: 'desktop' })"
    )
    bar(page, "b").get_by_role("button", name="Tell me when it is done").click()
    expect(bar(page, "b")).to_contain_text("You will be told.")
    page.evaluate("done('b'); done('b')")
    comes(page, "notices.length")
    assert page.evaluate("notices") == [["done", "Task b"]]
