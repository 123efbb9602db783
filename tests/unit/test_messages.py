"""What clients may say: the forms of the protocol, and a bucket that holds back floods."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from progress.messages import (
    BURST,
    FRAMES_PER_SECOND,
    IDS_BURST,
    IDS_PER_SECOND,
    MAX_FRAME_BYTES,
    MAX_IDS,
    Allowance,
    BadMessage,
    Message,
    ProtocolError,
    parse,
)

GOOD = [
    ({"type": "watch", "ids": ["a", "b", "a"]}, Message("watch", ids=("a", "b"))),
    ({"type": "watch", "ids": ["a"], "token": "t", "every_ms": 250}, Message("watch", None, ("a",), "t", 0.25)),
    ({"type": "watch", "mine": True}, Message("watch", mine=True)),
    ({"type": "watch", "ids": ["a"], "mine": None, "token": None}, Message("watch", ids=("a",))),
    ({"type": "unwatch", "ids": ["a"]}, Message("unwatch", ids=("a",))),
    ({"type": "unwatch", "all": True}, Message("unwatch", everything=True)),
    ({"type": "cancel", "id": "a", "ref": 5}, Message("cancel", 5, ("a",))),
    ({"type": "logs", "id": "a"}, Message("logs", ids=("a",))),
    ({"type": "logs", "id": "a", "after": "1763-4"}, Message("logs", ids=("a",), after="1763-4")),
    ({"type": "token", "token": "t", "ref": {"n": [1]}}, Message("token", {"n": [1]}, token="t")),
    ({"type": "ping", "colour": "blue"}, Message("ping")),
]


@pytest.mark.parametrize(("said", "meant"), GOOD, ids=lambda value: str(value)[:60])
def test_each_message_of_the_protocol_is_understood(said: dict[str, Any], meant: Message) -> None:
    """Fields may be null or unknown, ids may be doubled; `ref` may be anything."""
    assert parse(json.dumps(said)) == meant


NO_OBJECT = ["", "nonsense", "[]", "1", '"ping"', "null", '{"a":NaN}', "[" * 5000, '{"ref":"\\ud800"}']


@pytest.mark.parametrize("text", NO_OBJECT, ids=lambda text: repr(text[:12]))
def test_what_has_no_json_form_is_a_protocol_error(text: str) -> None:
    """No object, NaN, lone surrogates and bottomless nesting end the connection, not the server."""
    with pytest.raises(ProtocolError, match="Expected a JSON object in a text frame"):
        parse(text)


WRONG = [
    ({}, "type must be one of"),
    ({"type": "subscribe"}, "type must be one of watch, unwatch, cancel, logs, token, ping"),
    ({"type": "watch"}, "watch needs ids, mine or tree"),
    ({"type": "unwatch", "ids": []}, "unwatch needs ids, or all"),
    ({"type": "cancel"}, "cancel needs id"),
    ({"type": "cancel", "id": None}, "cancel needs id"),
    ({"type": "logs", "id": None}, "logs needs id"),
    ({"type": "token", "token": None}, "token needs token"),
    ({"type": "watch", "ids": "a"}, "ids must be a list of texts"),
    ({"type": "watch", "ids": ["a"] * (MAX_IDS + 1)}, "500 tasks in one message"),
    ({"type": "watch", "mine": 1}, "mine must be true"),
    ({"type": "watch", "tree": ""}, "tree must be the id"),
    ({"type": "watch", "tree": 7}, "tree must be text"),
    ({"type": "watch", "ids": ["a"], "every_ms": 60_001}, "every_ms must be a number from 0 to 60000"),
    ({"type": "watch", "ids": ["a"], "token": 5}, "token must be text"),
    ({"type": "logs", "id": "a", "after": "yesterday"}, "after must be a cursor"),
]


@pytest.mark.parametrize(("said", "detail"), WRONG, ids=lambda value: str(value)[:50])
def test_a_wrong_message_says_what_is_wrong_and_keeps_its_ref(said: dict[str, Any], detail: str) -> None:
    """The detail names the field and what it must be; the ref travels with it for the answer."""
    with pytest.raises(BadMessage, match=detail) as wrong:
        parse(json.dumps({**said, "ref": "r7"}))
    assert wrong.value.ref == "r7"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(["type", "ref", "ids", "id", "mine", "all", "tree", "token", "after", "every_ms"])
KINDS = st.sampled_from(["watch", "unwatch", "cancel", "logs", "token", "ping"])


@given(st.dictionaries(FIELDS, JSON | KINDS, max_size=6))
def test_any_json_is_understood_or_refused(said: dict[str, Any]) -> None:
    """No message raises anything but the two errors, and what is understood can be answered."""
    try:
        message = parse(json.dumps(said))
    except (ProtocolError, BadMessage):
        return
    assert json.dumps([message.ref, message.ids], ensure_ascii=False, allow_nan=False).encode()
    assert all(isinstance(name, str) and name for name in message.ids)


@given(st.text(max_size=200))
def test_any_text_is_understood_or_refused(text: str) -> None:
    """Arbitrary frames raise nothing else either."""
    with pytest.raises((ProtocolError, BadMessage)):
        parse(text)


def test_the_limits_are_those_of_the_protocol() -> None:
    """16 KB per frame, 20 frames a second sustained, 500 tasks."""
    assert (MAX_FRAME_BYTES, FRAMES_PER_SECOND, MAX_IDS) == (16 * 1024, 20, 500)


def test_twenty_frames_a_second_are_never_too_many() -> None:
    """A client that keeps just within the rate is served for ever, after a burst too."""
    allowance = Allowance()
    assert all(allowance.take(1000.0) for _ in range(BURST))
    assert all(allowance.take(1000.0 + 1.001 * number / FRAMES_PER_SECOND) for number in range(1, 2000))


def test_a_flood_is_held_back_and_forgiven_after_a_while() -> None:
    """One frame above the burst is too many; a second later 20 more are taken."""
    allowance = Allowance()
    taken = [allowance.take(1000.0) for _ in range(BURST + 10)]
    assert taken == [True] * BURST + [False] * 10
    assert [allowance.take(1001.0) for _ in range(21)] == [True] * 20 + [False]


def test_what_counts_for_more_uses_up_more() -> None:
    """Ids are counted, not only frames: two full messages at once, then as many ids a second as promised."""
    ids = Allowance(IDS_BURST, IDS_PER_SECOND)
    assert [ids.take(1000.0, MAX_IDS) for _ in range(3)] == [True, True, False]
    assert [ids.take(1001.0, count) for count in (101, 100, 1)] == [False, True, False]


def test_patience_does_not_pile_up() -> None:
    """An hour of silence buys one burst, not an hour of frames."""
    allowance = Allowance()
    allowance.take(1000.0)
    assert sum(allowance.take(4600.0) for _ in range(500)) == BURST
