"""Nothing outside of one folder is opened, whatever the name and whatever lies in the folder."""

import os
import threading

import pytest

from tasks.folders import NotAllowed, files_below, open_below, parts_of


@pytest.fixture
def folder(tmp_path):
    """A folder with a file in it and one below, beside a secret."""
    (tmp_path / "secret").write_text("secret")
    found = tmp_path / "logs"
    (found / "old").mkdir(parents=True)
    (found / "a.log").write_text("a")
    (found / "old" / "b.log").write_text("b")
    return found


def read(folder, name) -> bytes:
    with open_below(folder, name) as file:
        return file.read()


@pytest.mark.parametrize(("name", "text"), [("a.log", b"a"), ("old/b.log", b"b"), ("./old//b.log", b"b")])
def test_files_below_are_opened(folder, name, text):
    """In the folder itself and further down."""
    assert read(folder, name) == text


@pytest.mark.parametrize(
    "name",
    ["", ".", "/", "..", "../secret", "old/../../secret", "old/../a.log", "/etc/passwd", "a\0.log", "x" * 2000],
)
def test_names_that_lead_elsewhere_are_refused(folder, name):
    """By their form alone, before anything is opened."""
    with pytest.raises(NotAllowed):
        parts_of(name)
    with pytest.raises(NotAllowed):
        open_below(folder, name)


@pytest.mark.parametrize("name", ["link.log", "out/secret", "within.log", "inner/b.log", "loop"])
def test_symbolic_links_are_not_followed(folder, name):
    """Neither out of the folder nor within it, neither as the file nor as a folder on the way."""
    (folder / "link.log").symlink_to(folder.parent / "secret")
    (folder / "out").symlink_to(folder.parent)
    (folder / "within.log").symlink_to(folder / "a.log")
    (folder / "inner").symlink_to(folder / "old")
    (folder / "loop").symlink_to(folder / "loop")
    with pytest.raises(NotAllowed, match="symbolic link"):
        open_below(folder, name)


def test_a_folder_that_is_itself_a_link_is_the_sites_business(folder, tmp_path):
    """The site may keep its logs wherever it likes."""
    (tmp_path / "by-link").symlink_to(folder)
    assert read(tmp_path / "by-link", "a.log") == b"a"


def test_a_link_that_takes_the_place_of_a_folder_meanwhile_leads_nowhere(folder, monkeypatch):
    """Between the first part of a name and the second somebody swaps the folder: the opened one counts."""
    plain_open = os.open

    def swapping(path, flags, *args, **kwargs):
        found = plain_open(path, flags, *args, **kwargs)
        if path == "old":
            (folder / "old").rename(folder / "older")
            (folder / "old").symlink_to(folder.parent)
        return found

    monkeypatch.setattr(os, "open", swapping)
    assert read(folder, "old/b.log") == b"b"
    with pytest.raises(NotAllowed):
        open_below(folder, "old/secret")


def test_what_is_no_file_is_refused_without_waiting(folder):
    """A folder, and a named pipe that nobody writes into."""
    os.mkfifo(folder / "pipe")

    def refused(name: str) -> None:
        with pytest.raises(NotAllowed, match="no ordinary file"):
            open_below(folder, name)

    for name in ("old", "pipe"):
        waiting = threading.Thread(target=refused, args=(name,))
        waiting.start()
        waiting.join(5)
        assert not waiting.is_alive(), name


@pytest.mark.parametrize("name", ["none.log", "none/a.log", "old/none.log"])
def test_a_file_that_is_not_there_is_told_from_one_that_is_forbidden(folder, name):
    """So that it can be waited for; also where the folder itself is missing."""
    with pytest.raises(FileNotFoundError):
        open_below(folder, name)
    with pytest.raises(FileNotFoundError):
        open_below(folder / "none", "a.log")


def test_nothing_stays_open_behind_a_refusal(folder):
    """Trying a thousand names uses up no descriptors."""
    before = len(os.listdir("/dev/fd"))
    for name in ("none.log", "old", "none/a.log", "old/none.log", "../x") * 20:
        with pytest.raises((NotAllowed, FileNotFoundError)):
            open_below(folder, name)
    assert len(os.listdir("/dev/fd")) == before


def test_files_are_listed_by_name_without_links_folders_and_hidden_ones(folder):
    """What is offered can be opened."""
    (folder / "z.log").touch()
    (folder / ".hidden").touch()
    (folder / "link.log").symlink_to(folder / "a.log")
    assert files_below(folder, 10) == ["a.log", "z.log"]
    assert files_below(folder, 1) == ["a.log"]
    assert files_below(folder / "none", 10) == []
