"""A sentence for every state: the same in the browser, on the server and on the page that lists them."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import translation

import progress
from progress.snapshot import FINAL, State
from progress.words import QUIET_AFTER, count_words, message_words, parts_words, state_words

ROOT = Path(__file__).resolve().parents[2]
# One row per situation; `words.test.js` reads it as well.
STATES: list[dict[str, Any]] = json.loads((ROOT / "tests/js/states.json").read_text())
SCRIPT = Path(progress.__file__).parent / "static" / "progress" / "words.js"
MORE = SCRIPT.with_name("more-words.js")
LANGUAGES = ["en", "de", "zh-hans"]
START = 1_767_225_600_000  # ms since 1970: 2026-01-01
NOW, SOON = "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:12.000Z"
# What a person need not tell apart: whoever has it, when it was to begin, that a request to cancel came too late.
MEANT_TO_BE_SAID_ALIKE = {
    "waiting for a worker": 3,
    "running": 2,
    "done": 2,
    "cancelled": 2,
    "cancelling, it will not start again": 2,
}
FLAGS: dict[str, list[Any]] = {
    "state": [str(state) for state in State],
    "attempt": [0, 1, 2],
    "run": [1, 2],
    "retries": [0, 1],
    "max_retries": [None, 3],
    "cancel_requested": [False, True],
    "unserved": [False, True],
    "waits_for": [None, "b"],
    "scheduled_for": [None, NOW, SOON],
    "error": [None, {"type": "error"}, {"type": "Terminated", "message": "By force."}],
    "stall_after": [None, 10],
    "children": [None, {"known": 5, "ended": 2, "failed": 1}, {"known": 5, "ended": 5, "failed": 1}],
}
MOMENTS = [None, START, START + 12_000, START + 89_500, START + 3_600_000, START + 50 * 3_600_000]


def combinations() -> Iterator[dict[str, Any]]:
    """Every state with every combination of what else a snapshot may say."""
    for values in itertools.product(*FLAGS.values()):
        chosen = dict(zip(FLAGS, values, strict=True))
        yield {**chosen, "final": chosen["state"] in FINAL, "queue": "reports", "updated_at": NOW}


def milliseconds(case: dict[str, Any]) -> float | None:
    return {None: None, NOW: START, SOON: START + 12_000}[case.get("at")]


@pytest.mark.parametrize("case", STATES, ids=lambda case: case["situation"])
def test_a_situation_is_said_as_listed(case: dict[str, Any]) -> None:
    """The same table is read by the tests of `words.js`."""
    assert state_words({"final": False, **case["snapshot"]}, milliseconds(case)) == case["words"]


def test_every_state_is_listed() -> None:
    """No state of the record is left without a sentence."""
    assert {case["snapshot"]["state"] for case in STATES} == set(State)


def test_situations_that_differ_are_told_apart() -> None:
    """Two rows share a sentence only where that is meant."""
    said = Counter(case["words"] for case in STATES)
    assert {words: count for words, count in said.items() if count > 1} == MEANT_TO_BE_SAID_ALIKE
    assert len({case["situation"] for case in STATES}) == len(STATES)


def in_browser(language: str, program: str, given: Any) -> Any:
    """What the modules of the browser side answer on a page in this language, with the catalogue that it loads."""
    catalogue = Client().get(f"/progress/words.js?language={language}").text
    whole = (
        "import vm from 'node:vm';"
        "let text = ''; for await (const part of process.stdin) text += part;"
        "const [language, catalogue, given] = JSON.parse(text);"
        "globalThis.document = { documentElement: { lang: language } };"
        "vm.runInThisContext(catalogue);"
        f"const more = await import({json.dumps(MORE.as_uri())});"
        f"const words = {{ ...more, ...await import({json.dumps(SCRIPT.as_uri())}) }};"
        f"console.log(JSON.stringify(({program})(given)));"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", whole],
        input=json.dumps([language, catalogue, given]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.needs_node
@pytest.mark.parametrize("language", LANGUAGES)
def test_browser_and_server_say_the_same_of_everything(language: str) -> None:
    """Each state with each combination of flags, at several times and in each language: they agree to the letter."""
    snapshots = list(combinations())
    program = "([moments, all]) => moments.map((at) => all.map((s) => words.stateWords(s, at)))"
    for at, said in zip(MOMENTS, in_browser(language, program, [MOMENTS, snapshots]), strict=True):
        with translation.override(language):
            ours = [state_words(each, at) for each in snapshots]
        assert all(isinstance(words, str) and words for words in said)
        assert [
            (each, at, here, there) for each, here, there in zip(snapshots, ours, said, strict=True) if here != there
        ] == []


@pytest.mark.needs_node
@pytest.mark.parametrize("language", LANGUAGES)
def test_browser_and_server_count_alike(language: str) -> None:
    """Numbers are grouped as the language groups them, on both sides, however large they are."""
    numbers = [0, 7, 999, 1_000, 12_345, 1_234_567]
    snapshots: list[dict[str, Any]] = [
        {
            "current": current,
            "total": total,
            "unit": unit,
            "children": {"known": current, "ended": 5, "failed": failed},
        }
        for current, total, unit, failed in itertools.product(numbers, [None, *numbers], ["", "rows"], [0, 1_001])
    ]
    said = in_browser(language, "(all) => all.map((s) => [words.countWords(s), words.partsWords(s)])", snapshots)
    with translation.override(language):
        assert [[count_words(each), parts_words(each)] for each in snapshots] == said


@pytest.mark.needs_node
@pytest.mark.parametrize("language", LANGUAGES)
def test_browser_and_server_tell_alike_what_a_task_said(language: str) -> None:
    """A message is no longer true of a task that is lost or ended badly, and both sides say so."""
    snapshots = [
        {"state": str(state), "final": state in FINAL, "message": text} for state in State for text in ("", "Row 5")
    ]
    said = in_browser(language, "(all) => all.map((s) => words.messageWords(s))", snapshots)
    with translation.override(language):
        assert [message_words(each) for each in snapshots] == said
    over = {each["state"] for each, words in zip(snapshots, said, strict=True) if words not in ("", "Row 5")}
    assert over == {"LOST", "FAILURE", "REVOKED", "IGNORED", "REJECTED"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_situations_are_told_apart_in_every_language(language: str) -> None:
    """No translation says of two situations what English says of one each; none is left in English."""
    with translation.override(language):
        said = [state_words({"final": False, **case["snapshot"]}, milliseconds(case)) for case in STATES]
    same = {(case["words"], words) for case, words in zip(STATES, said, strict=True)}
    assert len(same) == len({words for _, words in same}) == len({words for words, _ in same})
    assert language == "en" or all(english != words for english, words in same)


def test_every_combination_of_flags_has_a_sentence_of_the_list() -> None:
    """Nothing is said that the list does not know, whatever is combined; only numbers differ."""
    listed = {_pattern(case["words"]) for case in STATES}
    for each, at in itertools.product(combinations(), MOMENTS[:3]):
        assert _pattern(state_words(each, at)) in listed, (each, at)


def _pattern(words: str) -> str:
    for ending in (", in 12 s", ", nothing new for 12 s", ", no sign of life for 12 s"):
        words = words.removesuffix(ending)
    return words.replace("attempt 3", "attempt 2")


def test_nothing_new_is_said_after_a_minute_where_the_task_sets_no_limit() -> None:
    """A silent task is not called lost: its worker still gives signs of life."""
    quiet = {"state": "STARTED", "attempt": 1, "updated_at": NOW}
    assert state_words(quiet, START + QUIET_AFTER * 1000 - 1) == "running"
    assert state_words(quiet, START + QUIET_AFTER * 1000) == "running, nothing new for 1 min"


# --- The page that lists them ------------------------------------------------------------------------------


def test_the_page_lists_exactly_these_sentences() -> None:
    """The table of docs/words.md has one row per situation, in the same order."""
    page = (ROOT / "docs/words.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and "`" in line]
    assert rows == [_row(case) for case in STATES]


def _row(case: dict[str, Any]) -> str:
    shown = case["snapshot"]
    flags = [
        f"`{name}`" for name in ("waits_for", "unserved", "cancel_requested", "children", "error") if shown.get(name)
    ]
    if case.get("at"):
        flags += [f"`{name}`" for name in ("scheduled_for", "stall_after") if name in shown] or ["`updated_at`"]
    if shown["attempt"] > (0 if shown["state"] in ("PENDING", "RECEIVED") else 1):
        flags.append(f"`attempt` {shown['attempt']}")
    if "retries" in shown:
        allowed = shown["max_retries"]
        flags.append(f"`retries` {shown['retries']} of {'any number' if allowed is None else allowed}")
    return f"| {case['situation']} | `{shown['state']}` | {', '.join(flags)} | {case['words']} |"
