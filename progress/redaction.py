"""What of a task nobody is shown: arguments, error texts and results pass here before they leave their process.

What is hidden here is never stored, so no view, token, permission or mistake can show it.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Mapping
from enum import Enum
from itertools import pairwise
from typing import Any, Final, Literal

from .conf import conf

logger = logging.getLogger(__name__)

What = Literal["argument", "error", "result"]

MAX_DEPTH: Final = 20  # of containers in each other; what lies deeper is not looked at, so it is hidden
MAX_CONTAINERS: Final = 1000  # in one value, likewise: whoever sends a task waits for this


class Hidden(Enum):
    """What a `PROGRESS_REDACT` function returns instead of a value that nobody may see. There is one: `HIDDEN`."""

    HIDDEN = "hidden"

    def __str__(self) -> str:
        """What a person reads in its place."""
        return self.value


HIDDEN: Final = Hidden.HIDDEN

# A name is taken apart at its capitals, digits and signs: "dbPassword2" is "db password".
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET_WORDS: Final = frozenset(
    {
        *("auth", "authorization", "authentication", "oauth", "bearer", "jwt", "otp", "totp", "pwd", "creds", "cred"),
        *("signature", "sessionid", "apikey", "privatekey", "passcode", "dbpass", "pw", "pin", "cvv", "cvc", "dsn"),
    }
)
_SECRET_ENDS: Final = re.compile(
    r"(password|passwd|passphrase|secret|token|credential|cookie|apikey|accesskey|privatekey|secretkey)s?"
)
# Keys that open something; other keys (of a dict, of a row, of an object in a bucket) are no secret.
_SECRET_KEYS: Final = frozenset(
    {"api", "private", "secret", "access", "signing", "encryption", "ssh", "master", "auth", "session", "license"}
)


def redact(task: str, what: What, name: str, value: Any) -> Any:
    """What may be kept and shown of `value`: the value, something in its place, or `HIDDEN`.

    `task` is the name of the task. `what` is "argument" (`name` is its name), "error" (`name` is the type of the
    exception, `value` its text) or "result" (`name` is empty). `PROGRESS_REDACT` decides, else `hide_secrets`.
    Never raises: what cannot be decided is hidden, and logged without the value.
    """
    try:
        return (conf.PROGRESS_REDACT or hide_secrets)(task, what, name, value)
    except Exception as error:  # noqa: BLE001 (a site's function; its mistake must neither show anything nor fail a task)
        # The text of the exception may hold the value, the lines of the code do not.
        lines = "".join(traceback.format_tb(error.__traceback__))
        kind = type(error).__name__
        logger.error(
            "PROGRESS_REDACT failed with %s, so the %s %r of %s is hidden:\n%s", kind, what, name, task, lines
        )
        return HIDDEN


def hide_secrets(task: str, what: What, name: str, value: Any) -> Any:
    """What is done without `PROGRESS_REDACT`: arguments with a name like "password" or "api_key" are hidden.

    So is any argument or result with such a key anywhere in it, as a whole. Texts are not searched.
    """
    if what == "argument" and looks_secret(name):
        return HIDDEN
    return HIDDEN if what != "error" and _holds_secrets(value) else value


def looks_secret(name: str) -> bool:
    """True if a thing with this name is one to hide: "authToken", "DB_PASSWORD"; not "author" or "monkey"."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if any(word in _SECRET_WORDS or _ends_secret(word) for word in words) or _LEADS_IN.search(name.lower()):
        return True
    return words[-1:] == ["pass"] or any(_opens_something(*pair) for pair in pairwise(words))


def _opens_something(first: str, second: str) -> bool:
    return (second in ("key", "keys") and first in _SECRET_KEYS) or (first, second) == ("session", "id")


_LEADS_IN: Final = re.compile(
    r"(database|connection|broker|redis|amqp|db)_?(url|uri|string)$|(api|access|secret)_?keys?$"
)


def _ends_secret(word: str) -> bool:
    found = _SECRET_ENDS.search(word)
    return found is not None and found.end() == len(word)


def _holds_secrets(value: Any) -> bool:
    level, seen = [value], 0
    for _ in range(MAX_DEPTH):
        level = [each for each in level if isinstance(each, (Mapping, list, tuple, set, frozenset))]
        if not level:
            return False
        seen += len(level)
        if seen > MAX_CONTAINERS:
            return True
        if any(looks_secret(str(key)) for each in level if isinstance(each, Mapping) for key in each):
            return True
        level = [item for each in level for item in (each.values() if isinstance(each, Mapping) else each)]
    return True
