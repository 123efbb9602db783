"""`{% task_list %}` and `{% task_log %}`: what a page shows before, or without, JavaScript."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.contrib.auth.models import AnonymousUser
from django.template import Context, Template

from progress.exceptions import StoreUnavailable
from progress.store import get_store
from progress.templatetags import progress as tags
from tests.acted import ActedTask

from .test_templatetags import Elements, user

pytestmark = pytest.mark.usefixtures("progress_store")


def rendered(tag, who=None):
    """What a template with this tag gives for somebody's request."""
    request = SimpleNamespace(user=who or user())
    return Elements(Template("{% load progress %}{% " + tag + " %}").render(Context({"request": request})))


def test_one_s_unfinished_tasks_have_a_row_each_and_lead_to_their_pages():
    """Others' tasks and ended ones have none; `{id}` becomes the key, also where a URL has quoted it."""
    ActedTask("mine", owner="1").queue().run(1, 2)
    ActedTask("theirs", owner="2").queue().run(1, 2)
    ActedTask("over", owner="1").queue().run(1, 2).end("SUCCESS")
    for pattern in ("/runs/{id}/", "/runs/%7Bid%7D/"):
        page = rendered(f'task_list href="{pattern}"')
        assert page.one("task-progress")["task-id"] == "mine"
        assert page.one("task-progress")["href"] == "/runs/mine/"
        assert page.one("li")["data-state"] == "PROGRESS"
        assert "hidden" in dict(next(each for name, each in page.found if each.get("slot") == "empty"))


def test_who_has_none_reads_so_and_so_does_a_stranger():
    """With the site's own words."""
    for who in (user(), AnonymousUser()):
        page = rendered('task_list empty="Nothing yet"', who)
        assert "Nothing yet" in page.text
        assert [name for name, _ in page.found].count("li") == 0


def test_page_is_made_while_the_store_is_away(monkeypatch):
    """It lists nothing, and the element goes on looking."""

    def away(*args):
        raise StoreUnavailable("away")

    ActedTask("mine", owner="1").queue().run(1, 2)
    monkeypatch.setattr(type(get_store()), "mine", away)
    assert tags._own_unfinished(Context({"request": SimpleNamespace(user=user())}), 10) == []


def test_log_says_that_it_needs_a_script_and_escapes_what_it_is_given():
    """Ids that are no names are addressed by their keys; the label is the reader's."""
    page = rendered("""task_log "a" level="WARNING" label='<b>' """)
    assert page.one("task-log")["task-id"] == "a"
    assert page.one("task-log")["level"] == "WARNING"
    assert page.one("task-log")["aria-label"] == "<b>"
    assert "JavaScript" in page.text
