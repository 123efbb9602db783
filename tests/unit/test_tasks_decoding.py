"""Which encoding an upload is in, and which uploads are no text at all."""

import codecs

import pytest

from tasks.decoding import Examination, Text
from tasks.refusals import Refused

WESTERN = "name,city\nZoë Fröhlich,Zürich\nJosé Nuñez,Málaga\nAnaïs Lefèvre,Besançon\n"
CHINESE = "name,city\n王小明,上海\n李静,北京\n欧阳娜娜,乌鲁木齐\n"
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "gb18030", "cp1252")


def examine(data: bytes, size: int = 1 << 18) -> Text:
    examination = Examination()
    for start in range(0, len(data), size):
        examination.feed(data[start : start + size])
    return examination.finish()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1 << 18])
@pytest.mark.parametrize(
    ("text", "encoding"),
    [(WESTERN, name) for name in ENCODINGS if name != "gb18030"]
    + [(CHINESE, name) for name in ENCODINGS if name != "cp1252"],
)
def test_each_encoding_is_recognised_however_the_bytes_are_cut(text, encoding, size):
    """A character, mark or line end that is split over two chunks changes neither encoding nor line count."""
    assert examine(text.encode(encoding), size) == Text(encoding, text.count("\n"))


def test_big_endian_utf16_is_recognised_by_its_mark():
    """Both byte orders are read; the codec follows the mark."""
    data = codecs.BOM_UTF16_BE + CHINESE.encode("utf-16-be")
    assert examine(data).encoding == "utf-16"


def test_plain_ascii_is_utf8():
    """Text that is the same in every encoding is read in the one that cannot surprise."""
    assert examine(b"name\nAda\n").encoding == "utf-8"


def test_one_wrong_byte_at_the_very_end_decides_against_utf8():
    """The whole stream is looked at, not its first kilobytes."""
    data = b"name\n" + b"Ada\n" * 200_000 + "Zoë\n".encode("cp1252")
    assert examine(data).encoding == "cp1252"


@pytest.mark.parametrize(
    "western",
    ["Renée,x", "Ã©tude ÄÖÜ Straße", "GRÖSSE", "\u201cquoted\u201d \u2013 it\u2019s", "€5", "Çelik Ünal"],
)
def test_short_western_texts_are_not_taken_for_chinese(western):
    """A few accented letters among ASCII are Windows-1252, also where GB18030 could read them."""
    data = b"name\n" + western.encode("cp1252") + b"\n"
    assert examine(data).encoding == "cp1252"


@pytest.mark.parametrize("chinese", ["王", "张三丰", "龙𠮷王", "镕基与喆"])
def test_short_chinese_texts_are_not_taken_for_western(chinese):
    """A single everyday name is enough for GB18030, a rare character beside it does no harm."""
    data = f"name\n{chinese}\n".encode("gb18030")
    assert examine(data).encoding == "gb18030"


def test_what_only_gb18030_can_read_is_gb18030():
    """Bytes that Windows-1252 leaves undefined settle it, whatever the characters are."""
    data = "name\n\u4e02\u4e04\n".encode("gb18030")
    with pytest.raises(UnicodeDecodeError):
        (data + b"\x81\x40").decode("cp1252")
    assert examine(data + b"\x81\x40\n").encoding == "gb18030"


@pytest.mark.parametrize("size", [1, 5, 1 << 18])
def test_damaged_utf8_is_refused_and_not_read_in_another_encoding(size):
    """A download that was cut within a letter would otherwise be stored as wrong letters, all of it."""
    data = ("name\n" + "Zoë 王\n" * 20).encode()
    with pytest.raises(Refused, match=f"begins as UTF-8, but the bytes from offset {len(data) - 4} on"):
        examine(data[:-2], size)
    with pytest.raises(Refused, match=f"begins as UTF-8, but the bytes from offset {len(data) + 2} on"):
        examine(data + "Zoë\n".encode("cp1252"), size)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 3, 1 << 18])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_lines_are_counted_for_every_line_end(ending, size, encoding):
    """CRLF is one line end, even when a chunk ends between its halves; a last line needs none."""
    lines = ["name", "Ada", "\u0a0aé", "Bob"]
    assert examine(ending.join(lines).encode(encoding), size).lines == 4
    assert examine((ending.join(lines) + ending).encode(encoding), size).lines == 4


@pytest.mark.parametrize("size", [1, 1 << 18])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (codecs.BOM_UTF8, "is empty"),
        (codecs.BOM_UTF16_LE, "is empty"),
        (b" \r\n\t\n" * 20, "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "PNG image"),
        (b"PK\x03\x04" + b"x" * 50, "spreadsheet"),
        (b"PK\x03\x04", "spreadsheet"),
        (b"%PDF-1.7 and more", "PDF"),
        (b"name\nA\0da\n", "NUL"),
        ("name\nAda\n".encode("utf-16-le"), "byte order mark"),
        ("name\nA\0da\n".encode("utf-16"), "NUL"),
        ("name\nAda\n".encode("utf-32"), "UTF-32"),
        (b"name\n\x01\x02\xff\xfe\x03\n", "control characters"),
    ],
)
def test_what_is_no_text_is_refused_with_its_kind(data, reason, size):
    """Binary, empty and unreadable files are refused, and the reason names what was found."""
    with pytest.raises(Refused, match=reason):
        examine(data, size)


@pytest.mark.parametrize("size", [1, 4, 1 << 18])
def test_undecodable_text_is_refused_with_the_offset_for_each_encoding(size):
    """Where no encoding fits, the reason says at which byte each of them fails."""
    data = b"name\n" + b"Ada " * 10 + b"\x81 \x90,\xff \n"
    with pytest.raises(Refused, match="UTF-8 fails at byte offset 45, GB18030 at 45, Windows-1252 at 45"):
        examine(data, size)


@pytest.mark.parametrize("size", [1, 4, 1 << 18])
@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (codecs.BOM_UTF8 + b"name\nZo\xeb\n", 10),
        ("name\nAda".encode("utf-16") + b"\x00\xdc\x00\x00", 18),
        ("name\nAda\n".encode("utf-16") + b"\n", 20),
    ],
)
def test_a_mark_that_the_bytes_do_not_keep_is_refused_with_the_offset(data, offset, size):
    """A byte order mark is a promise; a damaged or cut file is not guessed at."""
    with pytest.raises(Refused, match=f"from offset {offset} on"):
        examine(data, size)
