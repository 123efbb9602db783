"""What a task looks like to a reader: names, numbers, texts and their limits."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import hypothesis.strategies as st
import numpy
import pytest
from celery.exceptions import SoftTimeLimitExceeded
from hypothesis import given

from progress import snapshot
from progress.exceptions import InvalidReport
from progress.options import Options
from progress.reporter import Job, Reporter
from progress.rules import apply
from progress.snapshot import State

ANY_TEXT = st.text(st.characters())


def test_final_states_are_those_of_the_protocol() -> None:
    """RETRY and LOST are no ends; every state is of exactly one kind."""
    assert {str(state) for state in snapshot.FINAL} == {"SUCCESS", "FAILURE", "REVOKED", "IGNORED", "REJECTED"}
    kinds = (snapshot.FINAL, snapshot.WAITING, snapshot.LIVE)
    assert sorted(state for kind in kinds for state in kind) == sorted(State)


@pytest.mark.parametrize("task_id", ["a", "6f1c-4", "nightly-report", "A.b_c~d", "x" * 200, "~short"])
def test_a_safe_id_is_its_own_key(task_id: str) -> None:
    """Ids of up to 200 safe characters are stored and addressed as they are."""
    assert snapshot.key(task_id) == task_id


@pytest.mark.parametrize(
    "task_id", ["", ".", "..", "a/b", "é", "a b", "x" * 201, "x" * 10_000, "a\n", "\ud800", "~" + "0" * 64]
)
def test_any_other_id_has_a_safe_key(task_id: str) -> None:
    """Every other id is hashed to a safe name; an id that looks like such a key cannot take its place."""
    key = snapshot.key(task_id)
    assert snapshot.SAFE_NAME.fullmatch(key)
    assert key != task_id


@given(ANY_TEXT, ANY_TEXT)
def test_two_ids_never_share_a_key(one: str, other: str) -> None:
    """Keys are as different as ids, and a key addresses itself."""
    assert (snapshot.key(one) == snapshot.key(other)) == (one == other)
    assert snapshot.address(snapshot.key(one)) == snapshot.key(one)


@given(ANY_TEXT)
def test_groups_are_valid_on_every_layer(name: str) -> None:
    """Whatever is watched, the group has fewer than 100 characters that all layers allow."""
    from channels.layers import BaseChannelLayer

    assert BaseChannelLayer().require_valid_group_name(snapshot.group("progress" * 6, "process", snapshot.key(name)))


@pytest.mark.parametrize(
    ("current", "total", "expected"),
    [
        (0, 10, 0.0),
        (3, 10, 0.3),
        (10, 10, 0.9999),
        (999_999, 1_000_000, 0.9999),
        (20, 10, 0.9999),
        (-5, 10, 0.0),
        (5, None, None),
        (5, 0, None),
        (5, -1, None),
    ],
)
def test_a_fraction_is_below_one_until_success(current: float, total: float | None, expected: float | None) -> None:
    """Between 0 and 1, never 1 while the task runs, None where it cannot be known."""
    assert snapshot.fraction(current, total) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5),
        (True, 1),
        (2.5, 2.5),
        (2.0, 2),
        (Decimal("1.5"), 1.5),
        (Fraction(1, 2), 0.5),
        (math.nan, 0),
        (math.inf, 0),
        (-math.inf, 0),
        (Decimal("NaN"), 0),
        (10**400, 0),
        (2**52, 2**52),
    ],
)
def test_a_number_of_any_kind_is_a_finite_json_number(value: object, expected: float) -> None:
    """Numbers of other libraries are taken; NaN and infinities are 0."""
    found = snapshot.number(value, "current")
    assert found == expected
    assert json.loads(snapshot.encode(found)) == expected


@pytest.mark.parametrize("value", ["5", None, [], object(), 1j])
def test_what_is_no_number_is_refused_with_its_name(value: object) -> None:
    """The error says which argument, what came, and what to give instead."""
    with pytest.raises(InvalidReport, match=r"current must be a number, got \w+: pass an int or a float"):
        snapshot.number(value, "current")


@pytest.mark.parametrize("value", [None, 0, -1, math.nan, math.inf, Decimal(-3)])
def test_a_total_that_means_nothing_is_unknown(value: object) -> None:
    """None, zero, negative, NaN and infinite totals are shown as indeterminate."""
    assert snapshot.total(value) is None


@given(ANY_TEXT | st.integers() | st.none(), st.integers(8, 300))
def test_clipped_text_fits_and_encodes(text: object, limit: int) -> None:
    """However long and strange, the JSON of a clipped text has at most `limit` bytes and holds no control marks."""
    clipped = snapshot.clip(text, limit)
    assert len(snapshot.encode(clipped).encode()) <= limit
    assert not {"\x00", "\x1b", "\u202e", "\u2066"} & set(clipped)


def test_text_that_fits_is_not_changed() -> None:
    """Tabs, newlines and other scripts stay; what is cut ends in an ellipsis."""
    assert snapshot.clip("名前\t1\n2", 100) == "名前\t1\n2"
    assert snapshot.clip("x" * 100, 20) == "x" * 15 + "…"


def test_values_of_common_types_become_json() -> None:
    """Dates, UUIDs, decimals, tuples and sets have a JSON form."""
    value = {"when": dt.date(2026, 1, 2), "id": UUID(int=1), "sum": Decimal("1.5"), 3: (1, {2})}
    assert snapshot.plain(value) == {
        "when": "2026-01-02",
        "id": "00000000-0000-0000-0000-000000000001",
        "sum": 1.5,
        "3": [1, [2]],
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (numpy.float64(1.5), 1.5),
        (numpy.float32(0.5), 0.5),
        (numpy.int64(7), 7),
        (numpy.uint8(255), 255),
        (numpy.bool_(True), True),
        (numpy.float64("nan"), 0),
        (numpy.str_("text"), "text"),
        (numpy.datetime64("2026-01-02T03:04:05"), "2026-01-02T03:04:05"),
        (numpy.array(3), 3),
    ],
)
def test_numbers_of_numpy_become_json(value: object, expected: object) -> None:
    """Its scalars are taken everywhere; its truth stays a truth, and its moments are no numbers."""
    found = json.loads(snapshot.meta_json({"value": value, "all": [value]}))
    assert found == {"value": expected, "all": [expected]}
    assert type(found["value"]) is type(expected)


@pytest.mark.parametrize("value", [numpy.array([5]), numpy.array([1, 2]), numpy.array([[1.0]]), numpy.complex128(1j)])
def test_what_numpy_has_and_json_has_not_is_refused(value: object) -> None:
    """An array is no number, not even one of one number; nothing is warned about, nothing is guessed."""
    with pytest.raises(InvalidReport, match=r"current must be (one|a) number, got"):
        snapshot.number(value, "current")
    with pytest.raises(InvalidReport, match="must be JSON-like, got"):
        snapshot.meta_json({"value": value})


@given(st.sampled_from([numpy.float64, numpy.float32, numpy.int64, numpy.int8]), st.integers(-100, 100))
def test_numpy_counts_as_python_does(kind: type, value: int) -> None:
    """A step, a total, a position: the number that it is, as an int where it is whole."""
    reporter = Reporter(Job("k", "n", "e", Options()))
    reporter.update(current=kind(1), total=kind(100))
    reporter.advance(kind(value))
    assert (reporter.current, reporter.total) == (1 + value, 100)
    assert isinstance(reporter.current, int)


@pytest.mark.parametrize("value", [object(), {"a": b"bytes"}, [lambda: 1]])
def test_values_without_a_json_form_are_refused(value: object) -> None:
    """Nothing is guessed and nothing is pickled."""
    with pytest.raises(InvalidReport, match="must be JSON-like, got"):
        snapshot.plain(value)


@pytest.mark.parametrize(
    ("meta", "error"),
    [([1], "meta must be a mapping, got list"), ({"a": "x" * 800}, "meta must be ≤ 768 bytes of JSON, got")],
)
def test_meta_that_does_not_fit_is_refused(meta: object, error: str) -> None:
    """Meta is a mapping of at most 768 bytes; the error says what came."""
    with pytest.raises(InvalidReport, match=error):
        snapshot.meta_json(meta)  # type: ignore[arg-type]


def test_times_are_iso_utc_with_milliseconds() -> None:
    """µs since 1970 become ISO 8601; 0 is "not yet"."""
    assert snapshot.iso(1_763_645_023_123_456) == "2025-11-20T13:23:43.123Z"
    assert snapshot.iso(1_000_000) == "1970-01-01T00:00:01.000Z"
    assert snapshot.iso(0) is None


@given(
    message=ANY_TEXT,
    title=ANY_TEXT,
    unit=ANY_TEXT,
    name=ANY_TEXT,
    error=ANY_TEXT,
    worker=ANY_TEXT,
    current=st.floats() | st.integers(-(10**30), 10**30),
    total=st.none() | st.floats(),
)
def test_every_snapshot_stays_below_4_kb(**texts: object) -> None:
    """Whatever a task says, both views are valid JSON of at most 4 096 bytes."""
    job = Job(
        "~" + "f" * 64, str(texts["name"]) * 50, "e", Options(show_error=True), worker=str(texts["worker"]) * 99
    )
    reporter = Reporter(job)
    reporter.update(
        current=texts["current"],  # type: ignore[arg-type]
        total=texts["total"],  # type: ignore[arg-type]
        message=str(texts["message"]) * 900,
        title=str(texts["title"]) * 400,
        unit=str(texts["unit"]) * 50,
    )
    reporter.update(meta={"m": "é" * 300, "private": "ü" * 60})
    reporter.become(State.FAILURE, error=ValueError(str(texts["error"]) * 900))
    args = {"exec": "e", "fence": 0, "n": 1, "state": "FAILURE", **reporter.texts(State.FAILURE)}
    _, record = apply(None, "save", args, 1_763_645_023_123_456)
    assert record is not None
    for staff in (False, True):
        text = record.text(staff=staff)
        assert len(text.encode()) <= 4096
        assert json.loads(text)["v"] == 1


def test_order_is_decided_by_seq_alone() -> None:
    """Higher is newer; the same number is not."""
    assert snapshot.is_newer(2, 1)
    assert not snapshot.is_newer(1, 1)
    assert not snapshot.is_newer(1, 2)


def test_a_soft_time_limit_that_strikes_while_a_text_is_made_is_raised() -> None:
    """What has no text is told all the same; but a task whose limit were swallowed here would run for ever."""

    class Struck:
        def __str__(self) -> str:
            raise SoftTimeLimitExceeded

    class Broken:
        def __str__(self) -> str:
            raise ValueError

    assert snapshot.as_text(Broken()) == "(Broken without a text)"
    with pytest.raises(SoftTimeLimitExceeded):
        snapshot.as_text(Struck())
