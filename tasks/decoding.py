"""Which encoding an uploaded text is in, decided from all of its bytes while they stream past.

The decision is deterministic, in this order:

1. A byte order mark decides: UTF-8, UTF-16 LE or UTF-16 BE. The whole text must then be valid in it.
2. Valid UTF-8 from the first to the last byte is UTF-8. (Plain ASCII ends here too.) Where the first wrong byte
   comes after 20 characters that only UTF-8 writes so, the file is damaged UTF-8 and is refused.
3. What is valid only as GB18030, or only as Windows-1252, is that.
4. Valid as both: of the first 20 000 characters beyond ASCII that reading it as GB18030 yields, at least half
   must be in GB 2312, the everyday set of Chinese; then it is GB18030, else Windows-1252. Western letters
   stand between ASCII letters ("Zoë,"), and such pairs are rare characters or none at all in GB18030.

Limits: without a mark, UTF-16 is refused as binary. Any other single-byte text (Latin-2, KOI8-R, Mac Roman …)
and Shift JIS are taken for Windows-1252 or GB18030 and show wrong letters; a short text with a handful of
characters beyond ASCII can be misjudged. "Save as UTF-8" cures all of these; the page names the encoding.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Final, NoReturn

from .refusals import Refused

UTF_8: Final = "utf-8"
GB18030: Final = "gb18030"
CP1252: Final = "cp1252"

NAMES: Final = {
    UTF_8: "UTF-8",
    "utf-8-sig": "UTF-8",
    "utf-16": "UTF-16",
    GB18030: "GB18030",
    CP1252: "Windows-1252",
}

# UTF-32 LE before UTF-16 LE: its mark begins with the other's.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC: Final = (
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet (.xlsx, .ods)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old office document or spreadsheet (.xls)"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"SQLite format 3\x00", "a database"),
)
_LONGEST_SIGN: Final = max(len(sign) for sign, _ in (*_MARKS, *_MAGIC))  # bytes

# Control characters that no table holds. Tab, line ends, form feed, escape and Ctrl-Z (the end, in DOS) may.
_CONTROLS: Final = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1a\x1b"))
_BEYOND_ASCII: Final = re.compile("[^\x00-\x7f]+")
_SURELY_UTF_8: Final = 20  # characters beyond ASCII; other encodings look like a few of them by chance
_EVIDENCE: Final = 20_000  # characters; more would not change the verdict, only cost time
_SAVE_AS: Final = "Save it as CSV, encoded in UTF-8, and upload it again."


@dataclass(frozen=True, slots=True)
class Text:
    """What is known about a text after every byte of it was seen."""

    encoding: str  # a name that `open()` takes; byte order marks are consumed by it
    lines: int  # physical lines, the last one counted even if no line end follows


class _Candidate:
    """One encoding that the text may be in, until a byte says otherwise."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self.failed_at: int | None = None  # offset of the first byte that cannot be, counted from 0
        # Plain UTF-8 also behind a mark: the other codec drops the mark, and offsets would not count it.
        codec = UTF_8 if encoding == "utf-8-sig" else encoding
        self._decoder = codecs.getincrementaldecoder(codec)("strict")
        self._seen = 0  # bytes

    def feed(self, chunk: bytes, *, final: bool = False) -> str:
        if self.failed_at is not None:
            return ""
        pending = len(self._decoder.getstate()[0])
        if not pending and chunk.isascii() and self.encoding in (UTF_8, GB18030, CP1252):
            self._seen += len(chunk)  # ASCII is the same in all three: nothing to decode, nothing to learn
            return ""
        try:
            text = self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            # Decoders keep an unfinished character back; offsets count from its first byte.
            self.failed_at = self._seen - pending + error.start
            return error.object[: error.start].decode(self.encoding)
        self._seen += len(chunk)
        return text


class Examination:
    """Feed it every byte in order, then ask for the `Text`. Memory does not grow with the file.

    Raises `Refused` as soon as it is clear that the bytes are no text.
    """

    def __init__(self) -> None:
        self._head = b""  # held back until it is long enough to be recognised
        self._marked: _Candidate | None = None
        self._candidates: list[_Candidate] | None = None  # None: the first bytes are not complete yet
        self._beyond_ascii = ""  # as GB18030 reads it
        self._beyond_ascii_in_utf8 = 0
        self._controls = False
        self._breaks = 0  # line ends
        self._last = ""  # the last character or byte, as text
        self._blank = True

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        if self._candidates is None:
            self._head += chunk
            if len(self._head) < _LONGEST_SIGN:
                return
            self._recognise()
            chunk, self._head = self._head, b""
        self._take(chunk)

    def finish(self) -> Text:
        """The verdict. Raises `Refused` if the text is empty, binary or in no encoding known here."""
        if self._candidates is None:
            self._recognise()
        self._take(self._head, final=True)
        encoding = self._marked_encoding() if self._marked else self._decide()
        if self._blank:
            raise Refused("The file is empty. Choose a file with a header line and at least one row.")
        return Text(encoding, self._breaks + (self._last not in "\r\n"))

    def _recognise(self) -> None:
        for magic, kind in _MAGIC:
            if self._head.startswith(magic):
                raise Refused(f"The file is no CSV text; it looks like {kind}. {_SAVE_AS}")
        encoding = next((name for mark, name in _MARKS if self._head.startswith(mark)), None)
        if encoding == "utf-32":
            raise Refused(f"The file is in UTF-32, which is not read here. {_SAVE_AS}")
        self._marked = _Candidate(encoding) if encoding else None
        self._candidates = [] if self._marked else [_Candidate(name) for name in (UTF_8, GB18030, CP1252)]

    def _take(self, chunk: bytes, *, final: bool = False) -> None:
        if self._marked:
            text = self._marked.feed(chunk, final=final)
            if self._marked.failed_at is not None:
                self._marked_encoding()
            if "\0" in text:
                raise Refused(f"The file is binary: it holds NUL characters. {_SAVE_AS}")
            self._count(text)
            self._blank = self._blank and not text.strip("\ufeff \t\r\n")
            return
        if b"\0" in chunk:
            raise Refused(
                "The file is binary: it holds NUL bytes. (Text in UTF-16 needs a byte order mark to be "
                f"recognised.) {_SAVE_AS}"
            )
        for candidate in self._candidates or ():
            text = candidate.feed(chunk, final=final)
            if candidate.encoding == UTF_8 and self._beyond_ascii_in_utf8 < _SURELY_UTF_8:
                self._beyond_ascii_in_utf8 += len("".join(_BEYOND_ASCII.findall(text)))
            if candidate.encoding == GB18030 and len(self._beyond_ascii) < _EVIDENCE:
                self._beyond_ascii += "".join(_BEYOND_ASCII.findall(text))[:_EVIDENCE]
        self._controls = self._controls or len(chunk.translate(None, _CONTROLS)) != len(chunk)
        self._blank = self._blank and not chunk.strip()
        # In these three encodings the bytes of CR and LF are never part of another character.
        self._count(chunk.decode("latin-1") if not chunk.isascii() else chunk.decode("ascii"))

    def _count(self, text: str) -> None:
        if not text:
            return
        self._breaks += text.count("\n") + text.count("\r") - text.count("\r\n")
        if self._last == "\r" and text[0] == "\n":
            self._breaks -= 1  # one line end, cut in two by the border between two chunks
        self._last = text[-1]

    def _marked_encoding(self) -> str:
        candidate = self._marked
        assert candidate is not None  # noqa: S101 (only asked when a mark was found)  # nosec B101
        if candidate.failed_at is not None:
            self._refuse_damaged(candidate)
        return candidate.encoding

    def _refuse_damaged(self, candidate: _Candidate) -> NoReturn:
        raise Refused(
            f"The file begins as {NAMES[candidate.encoding]}, but the bytes from offset "
            f"{candidate.failed_at:,} on are not. It is damaged, was cut, or mixes two encodings. {_SAVE_AS}"
        )

    def _decide(self) -> str:
        utf8, gb, western = list(self._candidates or ())
        if utf8.failed_at is None:
            return UTF_8
        if self._beyond_ascii_in_utf8 >= _SURELY_UTF_8:
            self._refuse_damaged(utf8)
        if self._controls:
            raise Refused(f"The file is binary: it holds control characters that no text has. {_SAVE_AS}")
        if gb.failed_at is not None and western.failed_at is not None:
            raise Refused(
                f"The file cannot be read as text: UTF-8 fails at byte offset {utf8.failed_at:,}, GB18030 at "
                f"{gb.failed_at:,}, Windows-1252 at {western.failed_at:,}. {_SAVE_AS}"
            )
        if gb.failed_at is None and (western.failed_at is not None or self._reads_as_chinese()):
            return GB18030
        return CP1252

    def _reads_as_chinese(self) -> bool:
        everyday = len(self._beyond_ascii.encode("gb2312", "ignore")) / 2  # two bytes each
        return everyday >= len(self._beyond_ascii) / 2
