"""Lines of a file that others write to: none is lost, doubled or torn by what happens to log files."""

import pytest

from tasks.folders import NotAllowed
from tasks.following import BYTES_AT_ONCE, BYTES_PER_LOOK, LINE_CHARACTERS, Follower, Lines, level_of


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.log"


@pytest.fixture
def follow(path):
    """Follows `path`; what was opened is closed."""
    opened = []

    def make(last: int = 0) -> Follower:
        opened.append(Follower(path.parent, path.name, last))
        return opened[-1]

    yield make
    for follower in opened:
        follower.close()


def look(follower) -> list[str]:
    return list(follower.look())


def append(path, text: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)


def test_lines_come_as_they_are_written_and_no_half_ones(path, follow):
    """A line is handed out once its end has come, however many pieces it came in."""
    path.touch()
    follower = follow()
    assert look(follower) == []
    append(path, "one\ntw")
    assert look(follower) == ["one"]
    append(path, "o")
    assert look(follower) == []
    append(path, "\r\n\nthree\n")
    assert look(follower) == ["two", "", "three"]


def test_a_line_that_has_begun_is_handed_out_in_the_end(path, follow):
    """Nothing is kept back when nobody will look again."""
    path.write_text("")
    follower = follow()
    append(path, "one\nbegun")
    assert look(follower) == ["one"]
    assert follower.close() == ["begun"]
    assert follower.close() == []


@pytest.mark.parametrize(
    ("text", "last", "expected"),
    [
        ("1\n2\n3\n", 0, []),
        ("1\n2\n3\n", 1, ["3"]),
        ("1\n2\n3\n", 2, ["2", "3"]),
        ("1\n2\n3\n", 99, ["1", "2", "3"]),
        ("\n\n3\n", 2, ["", "3"]),
        ("", 5, []),
        ("\n", 5, [""]),
    ],
)
def test_it_begins_with_the_last_lines_that_were_asked_for(path, follow, text, last, expected):
    """As many as there are; with none, only new lines come."""
    path.write_text(text)
    follower = follow(last)
    assert look(follower) == expected
    append(path, "new\n")
    assert look(follower) == ["new"]


@pytest.mark.parametrize(("last", "expected"), [(0, ["begun on"]), (1, ["begun on"]), (2, ["1", "begun on"])])
def test_a_line_that_is_being_written_at_the_start_is_not_divided(path, follow, last, expected):
    """It counts as the last one, and comes whole."""
    path.write_text("0\n1\nbegun")
    follower = follow(last)
    append(path, " on\n")
    assert look(follower) == expected


def test_the_last_lines_of_a_large_file_are_found_from_behind(path, follow):
    """Also when they reach over several blocks."""
    lines = [f"{number:07d} {'x' * 90}" for number in range(20_000)]
    path.write_text("\n".join(lines) + "\n")
    found = look(follow(2_000))
    assert found == lines[-2_000:]
    assert sum(map(len, found)) > 2 * BYTES_AT_ONCE


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(path, follow):
    """What was written into the old one at the last moment comes first; none is lost, none comes twice."""
    path.write_text("0\n")
    follower = follow(1)
    assert look(follower) == ["0"]
    old = path.rename(path.with_name("a.log.1"))
    append(old, "1\nbegun")
    assert look(follower) == ["1"]
    append(old, " and ended\n2")
    path.write_text("3\n4")
    assert look(follower) == ["begun and ended", "2"]
    assert follower.note == "A new file has taken the place of the old one."
    append(path, "\n")
    assert look(follower) == ["3", "4"]


def test_several_rotations_in_a_row_lose_nothing(path, follow):
    """One after the other, each followed."""
    path.touch()
    follower = follow()
    found = []
    for round_ in range(5):
        append(path, f"{round_} a\n")
        found += look(follower)
        append(path, f"{round_} b\n")
        path.rename(path.with_name(f"a.log.{round_}"))
        path.touch()
        found += look(follower)
    assert found == [f"{round_} {which}" for round_ in range(5) for which in "ab"]


def test_a_flood_before_a_rotation_is_read_to_its_end(path, follow):
    """The old file is left only when all of it was read, though one look reads a bounded part."""
    path.touch()
    follower = follow()
    lines = [f"{number:09d}" for number in range(3 * BYTES_PER_LOOK // 10)]
    append(path, "\n".join(lines) + "\n")
    path.rename(path.with_name("a.log.1"))
    path.write_text("new\n")
    first = look(follower)
    assert 0 < len(first) < len(lines)
    found = first
    for _ in range(5):
        found += look(follower)
    assert found == [*lines, "new"]


@pytest.mark.parametrize("text", ["", "x\n", "much more than there was before, all of it new\n" * 3])
def test_a_file_that_is_cut_in_place_is_read_from_its_beginning(path, follow, text):
    """Also when it is longer than before by the time it is looked at."""
    path.write_text("old line one\nold line two\nbegun")
    follower = follow(2)
    assert look(follower) == ["old line two"]
    path.write_text(text)
    found = look(follower)
    assert found == ["begun", *text.splitlines()]
    assert "cut" in follower.note
    append(path, "next\n")
    assert look(follower) == ["next"]


def test_a_file_that_is_not_there_is_waited_for(path, follow):
    """All of it comes then, whatever number of last lines was asked for."""
    follower = follow(1)
    assert (look(follower), follower.is_there) == ([], False)
    path.write_text("1\n2\n")
    assert look(follower) == ["1", "2"]
    assert (follower.is_there, follower.note) == (True, "The file has appeared.")


def test_a_missing_folder_is_waited_for_too(tmp_path):
    """Whoever writes the log makes it when they like."""
    follower = Follower(tmp_path / "none", "a.log", 10)
    assert look(follower) == []
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.log").write_text("1\n")
    assert look(follower) == ["1"]
    follower.close()


def test_a_deleted_file_is_read_on_until_another_has_its_name(path, follow):
    """Its writer still holds it."""
    path.touch()
    follower = follow()
    with path.open("a") as writer:
        path.unlink()
        writer.write("last words\n")
        writer.flush()
        assert look(follower) == ["last words"]
    path.write_text("new\n")
    assert look(follower) == []
    assert look(follower) == ["new"]


def test_a_link_in_the_place_of_the_file_ends_it(path, follow):
    """Nobody is led out of the folder by changing it while it is followed."""
    path.write_text("1\n")
    follower = follow(1)
    assert look(follower) == ["1"]
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(NotAllowed):
        look(follower)


def test_a_long_line_is_cut_and_the_next_one_is_whole(path, follow):
    """However long: ten megabytes without an end take no memory."""
    path.touch()
    follower = follow()
    append(path, "é" * 501 + "\n" + "ü" * 500 + "\n")
    one, two = look(follower)
    assert (one, two) == ("é" * (LINE_CHARACTERS - 1) + "…", "ü" * LINE_CHARACTERS)
    found = []
    for _ in range(10):
        append(path, "x" * 1_000_000)
        found += look(follower)
        assert len(follower._lines._begun) < BYTES_AT_ONCE
    assert found == ["x" * (LINE_CHARACTERS - 1) + "…"]
    append(path, "the rest\nnext\n")
    assert look(follower) == ["next"]


def test_bytes_that_are_no_text_spoil_their_character_only(path, follow):
    """And a character that came in two pieces is whole."""
    path.touch()
    follower = follow()
    append(path, b"a\xff\xfeb\nZo\xc3")
    assert look(follower) == ["a\ufffd\ufffdb"]
    append(path, b"\xab\n")
    assert look(follower) == ["Zoë"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 4096])
def test_lines_are_the_same_however_the_bytes_are_cut(size):
    """The border of a read is no border of a line."""
    data = ("short\n" + "y" * 3000 + "\n\nZoë 王\r\n" + "z" * 2500 + "\nend").encode()
    lines = Lines()
    found = [line for at in range(0, len(data), size) for line in lines.feed(data[at : at + size])]
    assert [*found, *lines.finish()] == ["short", "y" * 499 + "…", "", "Zoë 王", "z" * 499 + "…", "end"]


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026 WARNING app: x", "WARNING"),
        ("ERROR", "ERROR"),
        ("[CRITICAL/Main] x", "CRITICAL"),
        ("INFORMATION", "INFO"),
        ("plain", "INFO"),
    ],
)
def test_a_line_that_names_its_level_has_it(line, level):
    """The log on the page colours what is bad."""
    assert level_of(line) == level
