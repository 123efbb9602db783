"""The catalogues that are shipped: whole, agreeing with the sources, and compiled. Needs no gettext tools."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import polib
import pytest
from django.utils.translation.template import templatize

import progress

PACKAGE = Path(progress.__file__).parent
LANGUAGES = ("de", "zh_Hans")
DOMAINS = ("django", "djangojs")
SITE = PACKAGE.parent  # its own pages and forms, without what its tasks say
CATALOGUES = [(language, domain) for language in LANGUAGES for domain in (*DOMAINS, "site")]
CALLS = {
    "gettext": 1,
    "gettext_lazy": 1,
    "gettext_noop": 1,
    "_": 1,
    "ngettext": 2,
    "ngettext_lazy": 2,
}  # how many of the arguments are texts
PLACEHOLDER = re.compile(r"%\((\w+)\)s")
LITERAL = re.compile(r'\bgettext\(\s*("(?:[^"\\]|\\.)*")')


def catalogue(language: str, domain: str) -> polib.POFile:
    folder, name = (SITE, "django") if domain == "site" else (PACKAGE, domain)
    return polib.pofile(str(folder / "locale" / language / "LC_MESSAGES" / f"{name}.po"))


def in_scripts() -> Iterator[tuple[str, ...]]:
    """What the browser side may say. A text that is no literal could not be found, by these tests or by gettext."""
    for path in sorted((PACKAGE / "static" / "progress").glob("*.js")):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        found = LITERAL.findall(text)
        calls = len(re.findall(r"\bgettext\(", text))
        assert len(found) == calls, f"{path.name}: gettext() expects a text in double quotes"
        yield from ((ast.literal_eval(each),) for each in found)


def in_python() -> Iterator[tuple[str, ...]]:
    """What the server side says in code, and in templates."""
    yield from in_code(PACKAGE)
    yield from in_templates(PACKAGE / "templates")


def in_site() -> Iterator[tuple[str, ...]]:
    """What the pages, forms and jobs of the shipped site say."""
    yield from in_code(SITE / "tasks")
    yield from in_templates(SITE / "templates")


def in_code(folder: Path) -> Iterator[tuple[str, ...]]:
    for path in sorted(folder.rglob("*.py")):
        yield from texts_of(ast.parse(path.read_text()), str(path))


def in_templates(folder: Path) -> Iterator[tuple[str, ...]]:
    """What is marked in templates, as Django hands it to gettext."""
    for path in sorted(folder.rglob("*.html")):
        marked = re.sub(r"\bX+\b", "", templatize(path.read_text(), origin=str(path)))
        for call in re.finditer(
            r"(?<!\w)(?:_|gettext|ngettext)\((?:[^()'\"]|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")*\)", marked
        ):
            yield from texts_of(ast.parse(call[0]), str(path))


def texts_of(tree: ast.AST, place: str) -> Iterator[tuple[str, ...]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            texts = [each.value for each in node.args[: CALLS[node.func.id]] if isinstance(each, ast.Constant)]
            assert len(texts) == CALLS[node.func.id], (
                f"{place}, line {node.lineno}: {node.func.id}() expects a literal"
            )
            yield tuple(texts)


SOURCES = {"django": in_python, "djangojs": in_scripts, "site": in_site}


@pytest.mark.parametrize(("language", "domain"), CATALOGUES)
def test_a_catalogue_has_exactly_what_the_sources_say(language: str, domain: str) -> None:
    """A sentence that is new or worded otherwise is translated, one that is gone is gone: `make messages`."""
    said = set(SOURCES[domain]())
    known = {
        (entry.msgid, entry.msgid_plural) if entry.msgid_plural else (entry.msgid,)
        for entry in catalogue(language, domain)
    }
    assert sorted(said - known) == []
    assert sorted(known - said) == []


@pytest.mark.parametrize(("language", "domain"), CATALOGUES)
def test_a_catalogue_is_whole(language: str, domain: str) -> None:
    """Nothing is empty, guessed by a tool, or left over."""
    found = catalogue(language, domain)
    assert len(found) > 40
    assert [entry.msgid for entry in found if not entry.translated() or entry.obsolete] == []
    assert [entry.msgid for entry in found if any(not text.strip() for text in texts(entry))] == []


@pytest.mark.parametrize(("language", "domain"), CATALOGUES)
def test_placeholders_are_those_of_the_source(language: str, domain: str) -> None:
    """A translation fills in what the source fills in, no less and nothing else."""
    for entry in catalogue(language, domain):
        wanted = {frozenset(PLACEHOLDER.findall(each)) for each in (entry.msgid, entry.msgid_plural) if each}
        for text in texts(entry):
            assert set(PLACEHOLDER.findall(text)) in wanted, f"{entry.msgid!r}: {text!r}"
            assert text[:1].isspace() == entry.msgid[:1].isspace(), f"{entry.msgid!r}: {text!r}"


@pytest.mark.parametrize(("language", "domain"), CATALOGUES)
def test_what_is_compiled_is_what_is_written(language: str, domain: str) -> None:
    """The .mo that sites read says what the .po says that people edit."""
    source = catalogue(language, domain)
    compiled = polib.mofile(source.fpath.removesuffix(".po") + ".mo")
    assert {entry.msgid: texts(entry) for entry in compiled} == {entry.msgid: texts(entry) for entry in source}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sentence_is_the_same_on_both_sides(language: str) -> None:
    """What Python and the browser both say is translated alike."""
    here, there = ({entry.msgid: texts(entry) for entry in catalogue(language, domain)} for domain in DOMAINS)
    both = here.keys() & there.keys()
    assert len(both) > 30
    assert [text for text in sorted(both) if here[text] != there[text]] == []


def texts(entry: polib.POEntry | polib.MOEntry) -> list[str]:
    if entry.msgid_plural:
        return [str(entry.msgstr_plural[number]) for number in sorted(entry.msgstr_plural)]
    return [entry.msgstr]
