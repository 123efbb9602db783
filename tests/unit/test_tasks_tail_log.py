"""The job that follows a log: what it shows, when it ends, what it refuses."""

import pytest

from progress.options import options_of
from progress.testing import collect
from tasks import tasks
from tasks.tasks import tail_log


class Clock:
    """Stands in for `time`: sleeping moves it on, and something may happen meanwhile."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.events = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.events:
            self.events.pop(0)()


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(tasks, "time", found)
    return found


@pytest.fixture
def folder(settings, tmp_path):
    settings.TAIL_LOG_FOLDER = tmp_path / "logs"
    settings.TAIL_LOG_FOLDER.mkdir()
    return settings.TAIL_LOG_FOLDER


def test_lines_appear_in_the_log_of_the_job_until_the_time_is_over(folder, clock):
    """Those that are there and those that come, counted, with their levels; the end is a success."""
    path = folder / "a.log"
    path.write_text("1\n2\n3 ERROR x\n")
    began = clock.now
    clock.events = [lambda: path.write_text(path.read_text() + "4\n5 has no end")]
    told = collect(tail_log, file="a.log", minutes=1, last=2)
    assert told.logs == [("INFO", "2"), ("ERROR", "3 ERROR x"), ("INFO", "4"), ("INFO", "5 has no end")]
    assert told.get() == "4 lines in 1 min."
    assert 60 <= clock.now - began < 61
    assert (told.last["current"], told.last["total"], told.last["title"]) == (4, None, "Follow a.log")


def test_what_happens_to_the_file_is_told(folder, clock):
    """Appeared, rotated, cut: each is a line of its own."""
    path = folder / "a.log"

    def rotate():
        path.rename(folder / "a.log.1")
        path.write_text("2\n")

    clock.events = [lambda: path.write_text("1\n"), rotate, lambda: None, lambda: path.write_text("3 other\n")]
    told = collect(tail_log, file="a.log", minutes=0.1)
    assert [text for level, text in told.logs if level != "NOTE"] == ["1", "2", "3 other"]
    notes = [text.split()[:3] for level, text in told.logs if level == "NOTE"]
    assert notes == [["The", "file", "has"], ["A", "new", "file"], ["The", "file", "was"]]
    assert told.messages[:3] == ["", "Waiting for the file", "Following"]


def test_a_cancel_ends_it_within_a_quarter_of_a_second(folder, clock):
    """Also while no line comes; a line that has begun is not lost."""
    (folder / "a.log").write_text("no end")
    asked = []
    clock.events = [lambda: None, lambda: (asked.append(clock.now), told.cancel())]
    with collect() as told:
        tail_log.apply(kwargs={"file": "a.log", "minutes": 60})
    assert told.states[-1] == "REVOKED"
    assert clock.now - asked[0] <= 0.25
    assert told.logs == [("INFO", "no end")]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "link", "sub", ""])
def test_what_is_not_below_the_folder_is_refused_in_plain_words(folder, clock, name):
    """However it is named; staff who start it from elsewhere are told as well."""
    (folder.parent / "secret").write_text("secret")
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "sub").mkdir()
    told = collect(tail_log, file=name)
    assert (told.last["state"], told.last["error"]["type"]) == ("FAILURE", "Refused")
    assert told.logs == []


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(folder, clock):
    """Here: a part of its name is a file."""
    (folder / "a.log").touch()
    told = collect(tail_log, file="a.log/b.log")
    assert told.last["error"]["message"] == "a.log/b.log cannot be read: Not a directory."


def test_staff_may_start_it():
    """From the admin as well as with its form; it says what it does."""
    options = options_of(tail_log.name, tail_log.run)
    assert (options.runnable, options.cancellable, options.show_error) == (True, True, True)
