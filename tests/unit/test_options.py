"""What a task, or the site, says about how a task is tracked."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

import progress
from progress.checks import _check_task_options
from progress.options import NAMES, Options, options_of


@pytest.fixture
def app() -> Celery:
    """A Celery app of its own, so that nothing is registered for other tests."""
    return Celery("options", set_as_current=False, broker="memory://", backend="disabled://")


def import_rows(file: str, limit: int = 10) -> None:
    """A body to take titles from."""


@pytest.mark.parametrize(
    ("args", "kwargs", "title"),
    [
        (("a.csv",), {}, "Import a.csv (10)"),
        ((), {"file": "b.csv", "limit": 5}, "Import b.csv (5)"),
        ((), {}, "Import {file} ({limit})"),  # the call would fail; its title does not
        (("{limit}",), {}, "Import {limit} (10)"),  # an argument is no template
    ],
)
def test_title_names_the_arguments(args: tuple[Any, ...], kwargs: dict[str, Any], title: str) -> None:
    """Defaults included; where that does not work the title is shown as it stands."""
    assert Options(title="Import {file} ({limit})").titled(import_rows, args, kwargs) == title


@pytest.mark.parametrize("title", ["Import {nothing}", "Import {file.name.x}", "100 {", "{0}", "{file:%}"])
def test_title_that_cannot_be_filled_in_is_shown_as_it_stands(title: str) -> None:
    """A mistake in a title costs the title, not the task."""
    assert Options(title=title).titled(import_rows, ("a.csv",), {}) == title


class Unprintable:
    def __format__(self, spec: str) -> str:
        raise RuntimeError("no text for you")


def test_argument_without_a_text_costs_the_title_only() -> None:
    """Whatever an argument's own code raises stays there."""
    assert Options(title="Import {file}").titled(import_rows, (Unprintable(),), {}) == "Import {file}"


def test_unknown_option_is_refused_where_it_is_written() -> None:
    """The message lists what there is, and what came."""
    with pytest.raises(progress.ProgressError, match=r"takes .*cancellable.*; got cancelable"):
        progress.options(cancelable=False)


WRONG: list[tuple[str, Any]] = [
    *(("title", value) for value in (5, None, ["Import"])),
    *(("track", value) for value in (1, "yes", None)),
    *(("weight", value) for value in (0, -1, "3", True, float("nan"), float("inf"), 1e7)),
    *(("stall_after", value) for value in (0, -5, "30", True, 1e9, float("nan"))),
    *(("start_permission", value) for value in (None, True, "add_order", "shop.", ".add", "a.b.c", "shop.add order")),
    *(("capture_logs", value) for value in (True, "info", 20, "NOTSET", None, ["INFO"])),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_value_that_an_option_cannot_have_is_refused(settings: Any, name: str, value: Any) -> None:
    """Where it is written, and with what was expected: at the decorator, in the settings, and by a check."""
    with pytest.raises(progress.ProgressError, match=rf"@progress.options: {name} must be .*, got "):
        progress.options(**{name: value})
    settings.PROGRESS_TASKS = {"foreign.*": {name: value}}
    with pytest.raises(progress.ProgressError, match=rf"PROGRESS_TASKS\['foreign.\*'\]: {name} must be"):
        options_of("foreign.job", None)
    assert [found.id for found in _check_task_options()] == ["task_progress.E011"]


@pytest.mark.parametrize(
    "chosen",
    [
        {name: getattr(Options(), name) for name in NAMES},
        {"weight": 0.001, "stall_after": 1, "capture_logs": "DEBUG", "start_permission": "shop.add_order"},
        {"weight": 1_000_000, "stall_after": 604800.0, "capture_logs": "CRITICAL"},
    ],
)
def test_value_that_an_option_can_have_is_taken(settings: Any, chosen: dict[str, Any]) -> None:
    """Defaults and both ends of every range."""
    settings.PROGRESS_TASKS = {"*": chosen}
    assert options_of("any.job", None) == Options(**chosen)
    assert _check_task_options() == []


@pytest.mark.parametrize("values", [True, None, "unit", [("unit", "rows")]])
def test_entry_of_the_settings_that_maps_nothing_is_refused(settings: Any, values: Any) -> None:
    """The message says how one looks."""
    settings.PROGRESS_TASKS = {"foreign.*": values}
    with pytest.raises(progress.ProgressError, match="must map options to values"):
        options_of("foreign.job", None)


def test_unknown_option_in_the_settings_is_refused(settings: Any) -> None:
    """The message names the entry of `PROGRESS_TASKS`."""
    settings.PROGRESS_TASKS = {"foreign.*": {"colour": "red"}}
    with pytest.raises(progress.ProgressError, match=r"PROGRESS_TASKS\['foreign.\*'\]"):
        options_of("foreign.job", None)


def test_task_own_options_win_over_those_of_the_settings(settings: Any) -> None:
    """`PROGRESS_TASKS` is for tasks of other people; later globs win over earlier ones."""
    settings.PROGRESS_TASKS = {"shop.*": {"title": "Shop", "unit": "items"}, "shop.mail": {"unit": "letters"}}

    @progress.options(title="Mail")
    def mail() -> None: ...

    assert options_of("shop.mail", mail) == Options(title="Mail", unit="letters")
    assert options_of("shop.mail", None) == Options(title="Shop", unit="letters")
    assert options_of("other", None) == Options()


def test_settings_are_read_again_when_they_change(settings: Any) -> None:
    """`override_settings` works, although options are remembered."""
    settings.PROGRESS_TASKS = {"a": {"unit": "rows"}}
    assert options_of("a", None).unit == "rows"
    settings.PROGRESS_TASKS = {"a": {"unit": "files"}}
    assert options_of("a", None).unit == "files"


def test_globs_are_applied_in_their_order_and_own_options_last(settings: Any) -> None:
    """A later glob wins over an earlier one, even a narrower one; what only one of them says stays."""
    settings.PROGRESS_TASKS = {
        "shop.mail": {"unit": "letters", "title": "Mail", "weight": 2},
        "shop.*": {"unit": "items", "cancellable": False},
        "other.*": {"unit": "never"},
    }

    @progress.options(title="Own", cancellable=True)
    def mail() -> None: ...

    found = options_of("shop.mail", mail)
    assert (found.unit, found.title, found.weight, found.cancellable) == ("items", "Own", 2, True)


def test_task_that_is_left_alone_stays_so_whatever_else_is_said(settings: Any) -> None:
    """`track=False`, `PROGRESS_IGNORE` and a `PROGRESS_TRACK` that does not name it: each alone is enough."""

    @progress.options(track=True, title="Own")
    def mail() -> None: ...

    settings.PROGRESS_IGNORE = ["shop.*"]
    assert not options_of("shop.mail", mail).track
    settings.PROGRESS_IGNORE = []
    settings.PROGRESS_TRACK = ["other.*"]
    assert not options_of("shop.mail", mail).track
    settings.PROGRESS_TRACK = ["*"]
    settings.PROGRESS_TASKS = {"shop.*": {"track": False}}
    assert not options_of("shop.mail", None).track
    assert options_of("shop.mail", mail).track, "its own option wins over the settings'"


@pytest.mark.parametrize(
    ("name", "tracked"), [("shop.mail", True), ("shop.noise", False), ("other", False), ("celery.chord", False)]
)
def test_what_is_tracked_is_a_choice(settings: Any, name: str, tracked: bool) -> None:
    """Globs say what is and what is not; Celery's own tasks never are."""
    settings.PROGRESS_TRACK, settings.PROGRESS_IGNORE = ["shop.*", "celery.*"], ["*.noise"]
    assert options_of(name, None).track is tracked


@pytest.mark.parametrize("arguments", [{}, {"bind": True}, {"autoretry_for": (OSError,)}])
def test_options_are_found_whatever_celery_makes_of_the_function(app: Celery, arguments: dict[str, Any]) -> None:
    """Bound or not, wrapped for retries or not: options and title are those of the function below."""

    @app.task(shared=False, **arguments)
    @progress.options(title="Import {file}", runnable=True)
    def job(*args: Any, file: str = "") -> None: ...

    found = options_of(job.name, job.run)
    assert found.runnable
    assert found.titled(job.run, (), {"file": "a.csv"}) == "Import a.csv"


def test_options_above_celerys_decorator_are_refused(app: Celery) -> None:
    """In that place they would never be found; the message says where they belong."""

    @app.task(shared=False)
    def job() -> None: ...

    with pytest.raises(progress.ProgressError, match="below"):
        progress.options(title="Import")(job)


def test_function_with_options_is_still_that_function() -> None:
    """Nothing is wrapped: calls cost what they cost before."""
    assert progress.options(unit="rows")(import_rows) is import_rows
    assert options_of("x", import_rows).unit == "rows"
    del import_rows.__progress_options__  # type: ignore[attr-defined]


def test_names_of_the_options_are_those_of_the_class() -> None:
    """One list, so that checks and messages cannot differ from what is taken."""
    assert {name for name in NAMES if not hasattr(Options(), name)} == set()
