"""The words of a page's language: which script brings them, from where, and whose they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polib
import pytest
from django.conf import Settings
from django.http import HttpResponse
from django.template import Context, Template, TemplateSyntaxError
from django.test import Client
from django.utils import translation

from progress.words import state_words

WAITING = {"state": "PENDING", "final": False}
urlpatterns: list[Any] = []  # of a site without `progress.urls`


def catalogue(response: HttpResponse) -> dict[str, str]:
    """What the script teaches."""
    found = re.search(r"const newcatalog = (\{.*?\n  \});", response.content.decode(), re.DOTALL)
    return json.loads(found[1]) if found else {}


def scripts(tag: str = "{% progress_scripts %}", language: str = "en") -> list[str]:
    """The addresses in the script elements, in order; a catalogue has to run before the modules do."""
    with translation.override(language):
        page = Template("{% load progress %}" + tag).render(Context())
    elements = re.findall(r"<script (\S+) src=\"([^\"]+)\"></script>", page)
    assert len(elements) == page.count("<script")
    assert all((kind == "defer") == ("words.js" in address) for kind, address in elements)
    return [address for _, address in elements]


@pytest.fixture
def own_words(settings: Settings, tmp_path: Path) -> Any:
    """Words of the site's own: ``own_words("de", "djangojs", {"done": "erledigt"})``."""

    def write(language: str, domain: str, words: dict[str, str]) -> None:
        folder = tmp_path / language / "LC_MESSAGES"
        folder.mkdir(parents=True, exist_ok=True)
        found = polib.POFile()
        found.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
        found.extend(polib.POEntry(msgid=text, msgstr=said) for text, said in words.items())
        found.save_as_mofile(str(folder / f"{domain}.mo"))
        settings.LOCALE_PATHS = [tmp_path]

    return write


# --- The address -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("language", "done"), [("de", "fertig"), ("zh-hans", "已完成"), ("zh-cn", "已完成")])
def test_the_words_of_a_language_may_be_kept_by_everybody(language: str, done: str) -> None:
    """The address names the language, so nothing else decides: no login, no header, no cookie."""
    response = Client(headers={"accept-language": "en"}).get(f"/progress/words.js?language={language}")
    assert response.status_code == 200
    assert response["Content-Type"] == 'text/javascript; charset="utf-8"'
    assert response["Cache-Control"] == "public, max-age=3600"
    assert response["Content-Language"] == {"zh-cn": "zh-hans"}.get(language, language)
    assert catalogue(response)["done"] == done


def test_what_is_kept_is_not_sent_again() -> None:
    """A browser whose hour is over asks, and hears that nothing is new."""
    first = Client().get("/progress/words.js?language=de")
    again = Client(headers={"if-none-match": first["ETag"]}).get("/progress/words.js?language=de")
    assert (again.status_code, again.content) == (304, b"")
    other = Client(headers={"if-none-match": first["ETag"]}).get("/progress/words.js?language=zh-hans")
    assert other.status_code == 200


def test_without_a_language_it_is_that_of_the_reader() -> None:
    """Then nobody may keep it, for the next reader may have another."""
    response = Client(headers={"accept-language": "de"}).get("/progress/words.js")
    assert catalogue(response)["done"] == "fertig"
    assert {"no-cache", "private"} <= set(response["Cache-Control"].split(", "))
    assert {"Accept-Language", "Cookie"} <= {each.strip() for each in response["Vary"].split(",")}


@pytest.mark.parametrize("language", ["xx", "fr", "../de", "d" * 600, "%00"])
def test_a_language_that_the_site_does_not_have_is_not_found(language: str) -> None:
    """Whatever is asked for, no file but a catalogue of the site's languages is read."""
    assert Client().get(f"/progress/words.js?language={language}").status_code == 404


# --- The tag -----------------------------------------------------------------------------------------------


def test_an_english_page_loads_the_bar_and_no_words() -> None:
    """English is what the elements speak anyway."""
    assert scripts() == ["/static/progress/task-progress.js"]


def test_a_page_in_another_language_loads_its_words_first() -> None:
    """The catalogue is there when the first bar is painted."""
    assert scripts(language="de") == ["/progress/words.js?language=de", "/static/progress/task-progress.js"]


def test_other_elements_come_on_request() -> None:
    """Each once, after the bar."""
    asked = scripts('{% progress_scripts "log" "list" "log" %}')
    assert asked == [f"/static/progress/task-{name}.js" for name in ("progress", "log", "list")]
    with pytest.raises(TemplateSyntaxError, match="expected 'list' or 'log', got 'lists'"):
        scripts('{% progress_scripts "lists" %}')


def test_a_language_without_words_asks_for_none() -> None:
    """The elements speak English there, at no cost."""
    assert scripts(language="fr") == ["/static/progress/task-progress.js"]


def test_a_site_without_our_addresses_or_translations_has_the_elements_all_the_same(settings: Settings) -> None:
    """A page is worth more than its language."""
    settings.ROOT_URLCONF = __name__
    assert scripts(language="de") == ["/static/progress/task-progress.js"]
    settings.ROOT_URLCONF = "project.urls"
    settings.USE_I18N = False
    assert scripts() == ["/static/progress/task-progress.js"]


# --- Words of the site's own -------------------------------------------------------------------------------


def test_a_site_words_a_sentence_itself(own_words: Any) -> None:
    """Its catalogues go before ours, sentence by sentence, in the browser and on the server."""
    own_words("de", "djangojs", {"waiting for a worker": "steht an"})
    own_words("de", "django", {"waiting for a worker": "steht an"})
    said = catalogue(Client().get("/progress/words.js?language=de"))
    assert (said["waiting for a worker"], said["done"]) == ("steht an", "fertig")
    with translation.override("de"):
        assert state_words(WAITING) == "steht an"


def test_a_site_words_english_itself(own_words: Any) -> None:
    """Then English pages load a catalogue, too."""
    own_words("en", "djangojs", {"waiting for a worker": "in line"})
    assert scripts() == ["/progress/words.js?language=en", "/static/progress/task-progress.js"]
    assert catalogue(Client().get("/progress/words.js?language=en")) == {"waiting for a worker": "in line"}
