"""Texts stay texts: two hundred payloads in every field and every form, in the pages that show them.

Chromium runs with the site's own policy. Whatever is executed, asked for, or only refused by the policy is told; an
element or attribute that the same pages do not have with harmless texts fails, too; and each text must be readable as
it was given, so nothing passes by not being shown.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, urlencode
from uuid import uuid4

import pytest
from playwright.sync_api import Page

from progress import snapshot
from progress.snapshot import State, clip
from tests.acted import ActedTask
from tests.processes import Login, Site, wait_until

from .xss_payloads import PAYLOADS

RUNS: Final = "/admin/task_progress/taskrun/"
TITLE: Final = snapshot.TITLE_BYTES
MUCH: Final = 1200  # bytes, of what no record keeps
UPLOADS: Final = "/admin/tasks/upload/"
FORM: Final = f"{RUNS}tasks/tasks.tail_log/run/"
HARMLESS: Final = ("nothing but words", "nothing but words,\n" * 7)  # a form has a larger field for the second

# Runs before anything of the page does. What a payload would call, and what the policy refuses, is told to the test.
SPY: Final = """
  for (const name of ["__xss", "alert", "confirm", "prompt", "print", "msgbox"])
    window[name] = () => window.__told(`${name}() was called`);
  document.addEventListener("securitypolicyviolation", (event) =>
    window.__told(`refused: ${event.effectiveDirective} ${event.blockedURI} ${event.sample}`));
"""
# Everything that can be read, and everything that the page is made of.
LOOK: Final = """() => {
  const [texts, tags, names, urls] = [[], new Set(), new Set(), new Set()];
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) texts.push(node.data);
    if (node.nodeType === Node.COMMENT_NODE) tags.add("a comment: " + node.data);
    if (node.nodeType === Node.ELEMENT_NODE) {
      tags.add(node.localName);
      for (const { localName, value } of node.attributes) {
        names.add(localName);
        if (["href", "src", "action", "formaction", "data", "poster"].includes(localName))
          urls.add(new URL(value, document.baseURI).origin);
      }
      if (["input", "textarea"].includes(node.localName)) texts.push(`\\n${node.value}\\n`);
      if (node.shadowRoot) walk(node.shadowRoot);
    }
    node.childNodes.forEach(walk);
  };
  walk(document);
  // A bar's details and its button are loaded when it has something for them.
  const whole = [...document.querySelectorAll("task-progress:not([compact])")].every(({ snapshot: s, shadowRoot }) =>
    !s || (shadowRoot.querySelector(".details") && (s.final || shadowRoot.querySelector(".cancel[type]"))));
  return { whole, text: texts.join(""), tags: [...tags], names: [...names], urls: [...urls], title: document.title };
}"""


def packed(size: int) -> list[str]:
    """All payloads in order, as many in a text as `size` bytes take, so that fewer pages are opened."""
    packs: list[str] = []
    for payload in PAYLOADS:
        longer = f"{packs[-1]} {payload}" if packs else ""
        if longer and clip(longer, size)[-1] != "…" and ("\0" in payload) == ("\0" in packs[-1]):
            packs[-1] = longer
        else:
            packs.append(payload)
    return packs


def bare(text: str) -> str:
    """What is compared: no white space, nothing that cannot be seen, nor what stands in its place."""
    return "".join(char for char in text if not char.isspace() and unicodedata.category(char)[0] != "C").replace(
        "\N{REPLACEMENT CHARACTER}", ""
    )


class Visit:
    """Looks at pages. What they are made of is learned from harmless texts and then held against it."""

    def __init__(self, context: Any, site: Site) -> None:
        self.site, self.context, self.told = site, context, []
        self.learned: dict[str, set[str]] = {}
        self.attributes: set[str] = set()
        self.learning = True
        self.looks = 0
        context.expose_binding("__told", lambda _, what: self.told.append(what))
        context.add_init_script(SPY)
        self.page = self.new_page()

    def new_page(self) -> Page:
        page: Page = self.context.new_page()
        page.on("pageerror", lambda error: self.told.append(f"raised: {error}"))
        page.on("dialog", lambda dialog: (self.told.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        return page

    def log_in(self, login: Login) -> None:
        self.context.clear_cookies()
        self.context.add_cookies([{"name": "sessionid", "value": login.session, "url": self.site.url}])

    def look(self, what: str, *expected: str, page: Page | None = None) -> None:
        """The page that is open shows all of these texts as texts, and consists of what it always does."""
        found: dict[str, Any] = {}

        def readable() -> bool:
            found.update((page or self.page).evaluate(LOOK))
            shown = bare(found["text"])
            # What is learned has to be all of it; what is held against that may be less.
            return (found["whole"] or not self.learning) and all(bare(text) in shown for text in expected)

        try:
            wait_until(readable, 10, f"{expected} on {what}")
        except AssertionError as error:
            raise AssertionError(f"{error} There is:\n{found['text']}") from None
        self.looks += 1
        if self.learning:
            self.learned.setdefault(what, set()).update(found["tags"])
            self.attributes.update(found["names"])
        assert set(found["tags"]) - self.learned[what] == set(), f"An element of a payload's on {what}."
        assert set(found["names"]) - self.attributes == set(), f"An attribute of a payload's on {what}."
        assert set(found["urls"]) <= {self.site.url}, f"An address of a payload's on {what}."
        assert self.told == [], f"On {what}."

    def see(self, what: str, path: str, *expected: str) -> None:
        """Open a page of the site, and look."""
        self.page.goto(self.site.url + path)
        self.look(what, *expected)

    def send(self, what: str, form: str, expected: Sequence[str], **fields: str) -> None:
        """Fill the form of the open page in, whatever its fields would like, send it, and look at the answer."""
        with self.page.expect_navigation():
            self.page.locator(form).evaluate(
                """(form, fields) => {
                     for (const [name, value] of Object.entries(fields)) {
                       const field = form.elements[name];
                       if (field.localName === "input") field.type = "text";
                       field.value = value;
                     }
                     form.noValidate = true;
                     HTMLFormElement.prototype.requestSubmit.call(form);
                   }""",
                fields,
            )
        self.look(what, *expected)


@pytest.fixture
def visit(browser: Any, site: Site) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(15_000)
    yield Visit(context, site)
    context.close()


# --- Tasks that say such things ----------------------------------------------------------------------------------


class Hostile(ActedTask):
    """A task whose every text is `text`, its own name included unless another is given."""

    def __init__(self, text: str, owner: Login, name: str = "") -> None:
        super().__init__(owner=str(owner.pk), tree=text, hints=False, show_error=True)
        self.text, self.name = text, name or text
        self.reporter.job = replace(self.reporter.job, name=self.name, worker=text, parent=text)

    def begin(self, arguments: dict[str, Any]) -> Hostile:
        """It was sent with these arguments, and runs."""
        told = {"given": arguments, "hidden": [self.text], "left_out": [self.text]}
        self.reporter.update(title=self.text)
        sent = {"owner": self.owner, "tree": self.tree, "history": 1, "queue": self.text}
        self._write("queue", {**sent, "arguments": json.dumps(told), **self.reporter.texts(State.PENDING)})
        return self.say(self.text)

    def say(self, text: str) -> Hostile:
        """It reports, with this text in every place that a report has."""
        with self.reporter.stage(text):
            told = {"text": text, "private": text}
            self.reporter.update(1, 2, title=text, message=text, unit=text, meta=told)
            self._save(State.PROGRESS)
        return self

    def fail(self) -> None:
        """Somebody with such a name wants it to stop, and it fails with such an error."""
        self._write("cancel", {"by": self.text})
        self.end(State.FAILURE, error=type(self.text.replace("\0", ""), (Exception,), {})(self.text))

    def speak(self, *lines: str) -> None:
        """Lines for its log. Playwright's own loop runs in this thread."""
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, self.log(*lines)).result()
        self._save(State.PROGRESS)


def written_down(site: Site, keys: Sequence[str], states: Sequence[str]) -> None:
    """Wait until the site's recorder has written these runs down, in these states."""

    def found() -> bool:
        with closing(sqlite3.connect(site.data / "db.sqlite3", timeout=20)) as database:
            rows = database.execute("SELECT task_id, state FROM task_progress_taskrun").fetchall()
        return sum(key in keys and state in states for key, state in rows) == len(keys)

    wait_until(found, 20, f"{len(keys)} rows")


# --- The pages ---------------------------------------------------------------------------------------------------


def look_at_one_run(visit: Visit, text: str, owner: Login, failed: Hostile, running: Hostile) -> None:
    """Every page that shows one run, to its owner, who has such a name and all rights."""
    worker = clip(text, snapshot.WORKER_BYTES)
    kind = clip(text.replace("\0", ""), snapshot.ERROR_TYPE_BYTES)
    visit.log_in(owner)
    visit.see("home", "/", text, owner.name)
    visit.see("a run", f"/runs/{failed.key}/", text, worker, clip(text, snapshot.UNIT_BYTES))
    wait_until(lambda: bare(text) in bare(visit.page.locator("task-log").text_content() or ""), 10, "the log")
    visit.look("a run", text)
    visit.see("a run in the admin", f"{RUNS}{failed.key}/change/", text, f"Welcome, {text}", worker, kind)
    for label in ("Task", "Owner", "Cancelled by", "Queue", "Workflow", "Sent by", "How it went", "Error"):
        assert visit.page.locator("#content-main").get_by_text(label, exact=True).count(), label
    visit.see("ask before cancelling", f"{RUNS}{running.key}/cancel/", text)
    visit.send("asked to cancel", "#content-main form", [f"“{text}”"])
    visit.see("what staff did", f"{RUNS}{running.key}/history/", text)
    visit.see("ask before deleting", f"{RUNS}{failed.key}/delete/", text)
    visit.see("start again", f"{FORM}?again={running.key}", f"Run again: {text}", text)
    visit.see("the index of the admin", "/admin/", text)


def look_at_what_was_given(visit: Visit, text: str) -> None:
    """Addresses and forms that come back with what was written into them."""
    readable = () if "\0" in text else (text,)  # an address or a form with a NUL in it is refused as a whole
    asked = {"q": text, "task": text, "owner": text, "tree": text, "state": text, "queued": text}
    visit.see("filtered", f"{RUNS}?{urlencode(asked)}", *readable)
    visit.see("nothing there", f"/runs/{quote(text, safe='')}/")
    visit.see("a form", FORM)
    fields = {"file": f"../{text}", "minutes": text, "last": text}
    visit.send("a form with mistakes", "#content-main form", readable, **fields)
    visit.see("home with forms", "/")
    fields = {"hosts": f"!{text}", "packages": f"!{text}"}  # no name of a host, whatever the text is
    visit.send("a job with mistakes", "form[action='/start/install/']", readable, **fields)
    visit.see("login", f"/login/?{urlencode({'next': text})}")
    visit.send("a wrong login", ".login form", readable, username=text, password="", next=text)


def test_every_page_of_a_run_shows_texts_as_texts(site: Site, visit: Visit) -> None:
    """Whatever a task, its owner, its queue and its worker are called, say and fail with."""
    assert len(set(PAYLOADS)) == 200
    assert bare("".join(packed(TITLE))) == bare("".join(PAYLOADS))
    planted = []
    for text in [*HARMLESS, *packed(TITLE)]:
        owner = site.user(text, superuser=True)
        failed = Hostile(text, owner).begin({text: text, "deep": {text: [text]}})
        failed.speak(text)
        failed.fail()
        planted.append((text, owner, failed, Hostile(text, owner, "tasks.tail_log").begin({"file": text})))
    runs = [run.key for _, _, failed, running in planted for run in (failed, running)]
    visit.log_in(planted[0][1])
    visit.see("home", "/")  # the recorder runs as soon as somebody comes
    written_down(site, runs, ("FAILURE", "PROGRESS"))
    for text, owner, failed, running in planted:
        visit.learning = text in HARMLESS
        look_at_one_run(visit, text, owner, failed, running)
    assert visit.looks == 1 + len(planted) * 10


def test_forms_and_addresses_come_back_as_texts(site: Site, visit: Visit) -> None:
    """What was written into a form with mistakes, a search box, a filter or an address is shown, and no more."""
    visit.log_in(site.user(superuser=True))
    texts = [*HARMLESS, *packed(MUCH)]
    for text in texts:
        visit.learning = text in HARMLESS
        look_at_what_was_given(visit, text)
    assert visit.looks == len(texts) * 8


def test_two_hundred_runs_in_a_list_and_one_that_says_all_of_it(site: Site, visit: Visit) -> None:
    """Each payload alone, in a row and in the question before an act on all rows; then all of them live."""
    anna = site.user(superuser=True)
    visit.log_in(anna)
    visit.see("home", "/")
    bert = site.user()
    plain = Hostile(HARMLESS[0], bert).begin({})  # not in the list of her runs, which has room for 200
    live = visit.new_page()
    live.goto(f"{site.url}/runs/{plain.key}/")
    visit.look("live", HARMLESS[0], page=live)
    rows = [plain, *(Hostile(text, anna).begin({text: text}) for text in PAYLOADS)]
    written_down(site, [row.key for row in rows[:1]], ("PROGRESS",))
    mine = f"{RUNS}?{urlencode({'owner': anna.pk, 'all': ''})}"
    visit.page.goto(site.url + f"{RUNS}?{urlencode({'owner': bert.pk, 'all': ''})}")
    visit.page.locator("#action-toggle").check()
    visit.look("the list", HARMLESS[0])
    choose(visit, "cancel_selected")
    visit.look("ask about all", HARMLESS[0])
    written_down(site, [row.key for row in rows], ("PROGRESS",))
    visit.learning = False
    visit.see("the list", mine, *PAYLOADS, *(clip(text, snapshot.UNIT_BYTES) for text in PAYLOADS))
    visit.page.locator("#action-toggle").check()
    choose(visit, "cancel_selected")
    visit.look("ask about all", *PAYLOADS)
    plain.hints = True
    for text in packed(TITLE):
        plain.say(text)
        visit.look("live", text, clip(text, snapshot.UNIT_BYTES), page=live)


def choose(visit: Visit, action: str) -> None:
    """Do this with what is ticked."""
    visit.page.locator("select[name=action]").select_option(action)
    with visit.page.expect_navigation():
        visit.page.locator("button[name=index]").click()


def test_names_of_uploaded_files_are_texts(site: Site, visit: Visit) -> None:
    """In the pages of an import, in the admin, in its question before an act, and in what was wrong with rows."""
    anna = site.user(superuser=True)
    texts = [*HARMLESS, *packed(MUCH)]
    made = site.folder / f"uploads-{uuid4().hex}.json"
    made.write_text(json.dumps(texts))
    site.manage(
        "shell",
        "--command",
        f"""import json, pathlib
from tasks.models import BadRow, Upload
for text in json.loads(pathlib.Path({str(made)!r}).read_text()):
    upload = Upload.objects.create(
        owner_id={anna.pk}, file="uploads/none.csv", name=text, state="refused", refusal=text, encoding=text[:20],
        ignored_columns=[text], rows_bad=1,
    )
    BadRow.objects.create(upload=upload, line=1, reason=text)
pks = list(Upload.objects.filter(owner_id={anna.pk}).order_by("pk").values_list("pk", flat=True))
pathlib.Path({str(made)!r}).write_text(json.dumps(pks))""",
    )
    keys = json.loads(made.read_text())
    visit.log_in(anna)
    for text, key in zip(texts, keys, strict=True):
        visit.learning = text in HARMLESS
        visit.see("an import", f"/imports/{key}/", text)
        if visit.learning:
            visit.see("uploads", f"{UPLOADS}?q=words", text)
        visit.see("an upload", f"{UPLOADS}{key}/change/", text)
        visit.page.get_by_role("link", name="Import again").click()
        visit.look("ask before importing again", text)
    visit.see("uploads", UPLOADS, *texts)
