"""What a docstring says, for people who fill in a form: what the task does, and what each argument is."""

from __future__ import annotations

import inspect
import re
from typing import Final

_SECTION: Final = re.compile(r"(Args|Arguments|Parameters|Returns?|Raises|Yields|Examples?|Notes?):\s*$")
_ARGUMENTS: Final = ("Args", "Arguments", "Parameters")
_GOOGLE: Final = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_SPHINX: Final = re.compile(r":(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?[*\\]*(\w+):\s*(.*)$")
_FIELD: Final = re.compile(r":\w[^:]*:")


def summary(docstring: str | None) -> str:
    """The first paragraph, in one line."""
    found: list[str] = []
    for line in inspect.cleandoc(docstring or "").splitlines():
        if not line.strip() or _SECTION.match(line) or _FIELD.match(line):
            break
        found.append(line.strip())
    return " ".join(found)


def argument_helps(docstring: str | None) -> dict[str, str]:
    """What is said about each argument, by name: below "Args:", or after ":param name:"."""
    helps: dict[str, str] = {}
    section, column, last = "", 0, ""  # column: where the names of a section begin
    for line in inspect.cleandoc(docstring or "").splitlines():
        text, indent = line.strip(), len(line) - len(line.lstrip())
        if heading := _SECTION.match(line):
            section, column, last = heading[1], 0, ""
        elif found := _SPHINX.match(text):
            last = found[1]
            section, column, helps[last] = ":param", indent, found[2]
        elif not text:
            last = "" if section == ":param" else last
        elif section in _ARGUMENTS and indent:
            column = column or indent
            found = _GOOGLE.match(text) if indent == column else None
            if found:
                last = found[1]
                helps[last] = found[2]
            elif last:
                helps[last] += f" {text}"
        elif section == ":param" and last and indent > column and not _FIELD.match(text):
            helps[last] += f" {text}"
        else:
            section = last = ""
    return {name: text.strip() for name, text in helps.items() if text.strip()}
