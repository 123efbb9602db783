"""What a list and a log do while a page changes, on the page of examples: its server is the test."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import expect

from .conftest import OpenPage

SNAPSHOT = """(id, more) => ({v: 1, id, seq: (window.last = (window.last ?? 1e15) + 1), attempt: 1, run: 1, name: "n",
  title: id, state: "PROGRESS", final: false, current: 1, total: 2, fraction: .5, updated_at: "2026-11-20T13:30:00Z",
  queued_at: new Date(Date.parse("2026-11-20T13:00:00Z") + window.last % 1e6 * 1000).toISOString(), ...more})"""


@pytest.fixture
def lists(site: Any, open_page: OpenPage) -> Any:
    """The page, with a list and a log of our own in it, which hear what the test says: ``say(id, {…})``."""
    page = open_page(site, None, "/demo/")
    expect(page.locator("[data-ready]")).to_be_attached(timeout=20_000)
    page.evaluate(
        """async () => {
          const { ProgressSocket } = await import("/static/progress/progress-socket.js");
          const socket = (window.socket = ProgressSocket.shared("/demo/none/"));
          const snapshot = SNAPSHOT;
          const at = "2026-11-20T13:30:00Z";
          window.say = (id, more = {}) => socket.take({ type: "snapshots", at, items: [snapshot(id, more)] });
          document.querySelector("#content").innerHTML =
            `<task-list id="own" socket="/demo/none/" limit="3" label="Mine" href="/runs/{id}/"></task-list>`;
        }""".replace("SNAPSHOT", SNAPSHOT)
    )
    return page


def test_rows_come_newest_first_and_ended_ones_leave_first(lists):
    """What ends stays until there is no room; then it makes way, the oldest of it first."""
    rows = lists.locator("#own li")
    for name in ("a", "b", "c"):
        lists.evaluate("name => say(name)", name)
    expect(rows).to_have_text([re.compile(f"^{name}") for name in "cba"])
    lists.evaluate("say('b', {state: 'SUCCESS', final: true, queued_at: '2026-11-20T12:00:00Z'})")
    expect(lists.locator("#own")).to_contain_text("2 running, 1 done")
    expect(rows.nth(1)).to_have_attribute("data-state", "SUCCESS")
    lists.evaluate("say('d')")
    expect(rows).to_have_text([re.compile(f"^{name}") for name in "dca"])
    assert rows.first.get_by_role("link").get_attribute("href") == "/runs/d/"


def test_a_row_may_be_kept_out_and_counts_are_told(lists):
    """By the two events."""
    lists.evaluate(
        """() => {
          own.addEventListener("task-list:added", (event) => event.detail.id === "secret" && event.preventDefault());
          own.addEventListener("task-list:counts", (event) => (window.counts = event.detail));
          say("secret"); say("open", {state: "FAILURE", final: true});
        }"""
    )
    expect(lists.locator("#own")).to_contain_text("1 failed")
    expect(lists.locator("#own li")).to_have_count(1)
    assert lists.evaluate("counts.failed") == 1
    assert lists.evaluate("counts.running") == 0


def test_a_thousand_swaps_leave_nothing_behind(lists):
    """List and log are put in and taken out a thousand times: the socket has as many listeners as before."""
    counts = lists.evaluate(
        """async () => {
          let listeners = 0;
          const [add, remove] = [socket.addEventListener, socket.removeEventListener];
          socket.addEventListener = function (...given) { listeners += 1; return add.apply(this, given); };
          socket.removeEventListener = function (...given) { listeners -= 1; return remove.apply(this, given); };
          const swap = () => {
            const box = document.createElement("div");
            box.innerHTML = `<task-list socket="/demo/none/"></task-list>
              <task-log task-id="running" socket="/demo/none/"></task-log>`;
            content.append(box);
            box.remove();
          };
          const found = [];
          for (let round = 1; round <= 1000; round += 1) {
            swap();
            if (round % 100 === 0) await new Promise(requestAnimationFrame);
            if (round === 100 || round === 1000) found.push([listeners, document.adoptedStyleSheets.length]);
          }
          return found;
        }"""
    )
    assert counts[0] == counts[1]
    assert counts[1][0] <= 2  # those that the logs of a socket keep for all of them
    lists.evaluate("say('later')")
    expect(lists.locator("#own li")).to_have_count(1)  # the one that stayed still follows


def test_rows_of_a_server_are_kept_and_counted(lists):
    """A swap brings them; what is over needs no bar to count in the total."""
    lists.evaluate(
        """() => {
          content.innerHTML = `<task-list id="own" socket="/demo/none/" ids="a" total><ul>
            <li data-state="FAILURE">over</li>
            <li id="kept"><task-progress task-id="a" socket="/demo/none/" compact></task-progress></li>
          </ul></task-list>`;
          say("a");
        }"""
    )
    expect(lists.locator("#own")).to_contain_text("1 of 2 ended, 1 failed")
    expect(lists.locator("#own li")).to_have_count(2)
    expect(lists.locator("#kept")).to_contain_text("running")
    assert lists.locator("#own").evaluate("own => own.shadowRoot.querySelector('progress').value") == 0.75


def test_counts_are_announced_seldom(lists):
    """Nothing at first; then no sooner than 5 s after the last time, and only what is true then."""
    lists.evaluate("say('a')")
    expect(lists.locator("#own")).to_contain_text("1 running")
    said = lists.evaluate(
        """async () => {
          const live = own.shadowRoot.querySelector("[role=status]");
          const said = [];
          const note = () => said.push([performance.now(), live.textContent]);
          new MutationObserver(note).observe(live, { childList: true });
          for (const id of ["b", "c", "a", "b", "c"]) {
            say(id, said.length ? { state: "FAILURE", final: true } : {});
            await new Promise((done) => setTimeout(done, 1200));
          }
          await new Promise((done) => setTimeout(done, 5200));
          return said;
        }"""
    )
    assert said[0][1].startswith("Mine: ")
    assert all(later - before >= 4900 for (before, _), (later, _) in pairwise(said))
    assert (
        said[-1][1]
        == f"Mine: {lists.locator('#own').evaluate('own => own.shadowRoot.querySelector(`p`).textContent')}"
    )


def test_a_log_follows_another_task(lists):
    """Lines of the task before are gone; a button leads to those that came while somebody read older ones."""
    lists.evaluate(
        """() => {
          content.innerHTML = `<task-log id="own" task-id="log" socket="/demo/live/"
            tabindex="0" aria-label="Log"></task-log>`;
        }"""
    )
    log = lists.locator("#own")
    expect(log.locator(".task-log-line")).to_have_count(63)
    log.evaluate("log => (log.scrollTop = 0)")
    log.evaluate("log => new Promise(requestAnimationFrame)")
    lists.evaluate(
        """async () => {
          const { ProgressSocket } = await import("/static/progress/progress-socket.js");
          const lines = [{ at: "2026-11-20T13:31:00Z", level: "INFO", text: "newest" }];
          const frame = { type: "logs", id: "log", lines, next: "9999999999999-0", truncated: false };
          ProgressSocket.shared("/demo/live/").take(frame);
        }"""
    )
    log.get_by_role("button", name="1 new line").click()
    assert log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight") < 8
    expect(log.get_by_role("button")).to_have_count(0)
    log.evaluate("log => (log.taskId = 'long-log')")
    expect(log.locator(".task-log-line")).to_have_count(200)
    expect(log).to_contain_text("Older lines are no longer kept.")
    expect(log).not_to_contain_text("newest")
