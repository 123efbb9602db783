"""The page of examples: public, without a store and a database, and complete."""

from __future__ import annotations

import json

from progress.snapshot import State
from tasks.style_guide import RECORDED, recorded
from tasks.style_guide_examples import SECTIONS


def test_page_is_served_to_everybody_without_a_database(client):
    """No query is made (the test may not make one), and wrong looks become the usual ones."""
    answer = client.get('/demo/?theme="><script>&dir=rtl&language=xx')
    assert answer.status_code == 200
    page = answer.content.decode()
    assert "<script>" not in page.replace("<script ", "")
    assert 'dir="rtl"' in page
    assert "theme-system" in page
    assert client.post("/demo/").status_code == 405


def test_every_state_has_an_example():
    """But STARTED, which reads as PROGRESS does, and RECEIVED, which reads as PENDING."""
    shown = {example.attributes.get("task-id") for section in SECTIONS for example in section.examples}
    states = {recorded()[name]["state"] for name in shown if name in recorded()}
    assert states == set(State) - {State.STARTED, State.RECEIVED}


def test_every_example_was_recorded():
    """One is unknown on purpose."""
    names = {
        name for section in SECTIONS for each in section.examples for name in each.attributes.get("ids", "").split()
    }
    names |= {
        each.attributes["task-id"]
        for section in SECTIONS
        for each in section.examples
        if "task-id" in each.attributes
    }
    assert names - set(recorded()) == {"nobody-knows"}


def test_recording_is_of_one_moment():
    """No snapshot is of a time after the one at which all are looked at."""
    whole = json.loads(RECORDED.read_text())
    assert all(each["updated_at"] <= whole["at"] for each in whole["snapshots"].values())
