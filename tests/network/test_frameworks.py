"""The examples of docs/frameworks.md, as they stand there, with the real React, Vue and htmx."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.processes import ROOT, wait_until

from .chatterbox import Chatterbox

PAGE = Path(ROOT / "docs/frameworks.md")
MODULES = ROOT / "node_modules"
# React has files for Node only. As a browser would be given them by a bundler: each a module, with what it names.
REACT = {
    "react": "react/cjs/react.production.js",
    "react-dom": "react-dom/cjs/react-dom.production.js",
    "react-dom/client": "react-dom/cjs/react-dom-client.production.js",
    "scheduler": "scheduler/cjs/scheduler.production.js",
}
MAP = {"vue": "/modules/vue/dist/vue.esm-browser.prod.js"} | {name: f"/react/{name}" for name in REACT}


def examples(language: str) -> list[str]:
    """The blocks of the page in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def as_module(name: str) -> str:
    """A file that was written for Node as a module with the same exports."""
    text = (MODULES / REACT[name]).read_text()
    needed = sorted(set(re.findall(r'require\("([\w/-]+)"\)', text)))
    exports = sorted(set(re.findall(r"^exports\.(\w+) =", text, re.MULTILINE)))
    imports = "".join(f"import * as m{number} from {json.dumps(each)};\n" for number, each in enumerate(needed))
    modules = ", ".join(f"{json.dumps(each)}: m{number}" for number, each in enumerate(needed))
    return (
        f"{imports}const exports = {{}};\n"
        f"((exports, require) => {{\n{text}\n}})(exports, (name) => ({{ {modules} }})[name]);\n"
        f"export const {{ {', '.join(exports)} }} = exports;\n"
    )


@pytest.fixture
def server() -> Iterator[Chatterbox]:
    with Chatterbox() as running:
        running.files |= {f"/react/{name}": as_module(name) for name in REACT}
        yield running


@pytest.fixture
def open_example(server: Chatterbox, open_page: Any) -> Any:
    """Opens a page with an example in it."""

    def open_(script: str, body: str, head: str = "") -> Any:
        server.files["/example.js"] = script
        server.pages["/"] = (
            "<!doctype html><html lang=en><meta charset=utf-8><title>Example</title>"
            f"<script type=importmap>{json.dumps({'imports': MAP})}</script>{head}"
            f"<script type=module src=/example.js></script>{body}"
        )
        return open_page(server, None)

    return open_


def is_watched(server: Chatterbox, task_id: str) -> None:
    wait_until(lambda: server.ids() == [task_id], 10, f"{task_id} is watched")


def test_the_react_example(server: Chatterbox, open_example: Any) -> None:
    """The element shows the task, and its event sets the state of the component."""
    element, _ = (each for each in examples("js") if "react" in each)
    page = open_example(element, "<div id=react></div>")
    is_watched(server, "import-1")
    expect(page.locator("task-progress")).to_contain_text("running")
    server.end("import-1")
    expect(page.locator("task-progress")).to_contain_text("done")
    expect(page.locator("#react p")).to_have_text("SUCCESS")


def test_the_react_store(server: Chatterbox, open_example: Any) -> None:
    """The hook draws what the connection knows."""
    _, store = (each for each in examples("js") if "react" in each)
    page = open_example(store, "<div id=react-store></div>")
    is_watched(server, "import-2")
    expect(page.locator("output")).to_have_text("0 %")
    server.end("import-2")
    expect(page.locator("output")).to_have_text("100 %")


def test_the_vue_example(server: Chatterbox, open_example: Any) -> None:
    """Attribute and event are bound as with any element."""
    (script,) = (each for each in examples("js") if '"vue"' in each)
    page = open_example(script, "<div id=vue></div>")
    is_watched(server, "import-3")
    server.end("import-3")
    expect(page.locator("task-progress")).to_contain_text("done")
    expect(page.locator("#vue p")).to_have_text("SUCCESS")


def test_the_htmx_example(server: Chatterbox, open_example: Any) -> None:
    """The end of a task triggers a request."""
    (markup,) = examples("html")
    server.pages["/outcome"] = "<p>A thousand rows.</p>"
    script = 'import "/static/progress/task-progress.js";'
    page = open_example(script, markup, "<script src=/modules/htmx.org/dist/htmx.min.js></script>")
    is_watched(server, "import-4")
    expect(page.get_by_text("Not yet.")).to_be_visible()
    server.end("import-4")
    expect(page.get_by_text("A thousand rows.")).to_be_visible()
