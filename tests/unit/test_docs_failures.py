"""docs/failures.md names every known way to fail once, in few words, with a test that exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "failures.md"
LAST = {"L": 28, "W": 23, "C": 35, "P": 11}  # of each letter
WORDS = 15  # that say what goes wrong
NAMED = re.compile(r"`(tests/[^`:]+)::([^`]+)`")


def rows() -> list[tuple[str, str, str]]:
    """Id, what goes wrong, and what shows that it does not hurt here, of each line of the page's tables."""
    found = []
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 3 and re.fullmatch(r"[A-Z]+\d+", cells[0]):
            found.append((cells[0], cells[1], cells[2]))
    return found


@cache
def names_in(path: str) -> set[str]:
    """The names of the tests in a file; of JavaScript, their titles."""
    text = (ROOT / path).read_text()
    if path.endswith(".js"):
        return {title for _, title in re.findall(r"\btest\(([\"`])(.+?)\1,", text)}
    tree = ast.parse(text)
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def test_every_way_to_fail_is_on_the_page_once() -> None:
    """In their order, so that a number is found where one looks for it."""
    wanted = [f"{letter}{number}" for letter, last in LAST.items() for number in range(1, last + 1)]
    assert [name for name, _, _ in rows()] == wanted


def test_what_goes_wrong_is_said_in_few_words() -> None:
    """A line is read at a glance, or it is not read."""
    long = [name for name, wrong, _ in rows() if not 0 < len(wrong.split()) <= WORDS]
    assert long == []


def test_every_line_names_a_test_or_says_why_it_cannot_happen_here() -> None:
    """What is no test is a sentence; a path alone, or nothing, is neither."""
    for name, _, shown in rows():
        rest = NAMED.sub("", shown).strip(" ,;.")
        assert NAMED.search(shown) or len(rest.split()) >= 5, f"{name} has neither a test nor a reason"
        assert "tests/" not in rest, f"{name} names {rest!r}, which is no test: write `path::test_name`"


@pytest.mark.parametrize("name", sorted({named for _, _, shown in rows() for named in NAMED.findall(shown)}))
def test_a_test_that_is_named_exists(name: tuple[str, str]) -> None:
    """A test that was renamed is renamed on the page too."""
    path, test = name
    assert (ROOT / path).is_file(), f"docs/failures.md names {path}, which does not exist"
    assert test in names_in(path), f"docs/failures.md names {test}, which is not in {path}"
