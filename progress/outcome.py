"""How a task ended, as its record says it: what is told of errors and results has passed `redaction`."""

from __future__ import annotations

from typing import Any

from . import snapshot
from .options import Options
from .reasons import Reason, Terminated
from .redaction import HIDDEN, redact


def outcome(options: Options, *, task: str, result: Any = None, error: BaseException | None = None) -> dict[str, str]:
    """How the task of that name ended, for both views: everybody learns that it failed, permitted staff learn why."""
    if error is not None:
        kind = type(error).__name__
        told = {
            "type": snapshot.clip(kind, snapshot.ERROR_TYPE_BYTES),
            "message": snapshot.clip(_error_text(task, kind, error), snapshot.ERROR_BYTES),
        }
        staff = f'"error":{snapshot.encode(told)}'
        public = staff if options.show_error else '"error":{"type":"error"}'
        # To be ended on request is no error; staff read how it was done.
        return {"outcome": "" if isinstance(error, Terminated) else public, "outcome_staff": staff}
    if result is not None and options.show_result and (shown := redact(task, "result", "", result)) is not HIDDEN:
        text = _result_json(shown)
        return {"outcome": f'"result":{text}', "outcome_staff": f'"result":{text}'}
    return {"outcome": "", "outcome_staff": ""}


def _error_text(task: str, kind: str, error: BaseException) -> Any:
    if isinstance(error, Reason):  # a sentence of ours, with nothing of the task in it
        return error
    return redact(task, "error", kind, snapshot.as_text(error))


def _result_json(result: Any) -> str:
    try:
        text = snapshot.json_text(result)
    except Exception:  # noqa: BLE001 (anything can be returned, and the end must be told)
        text = snapshot.encode(snapshot.clip(result, snapshot.RESULT_BYTES))
    if len(text.encode()) > snapshot.RESULT_BYTES:
        return snapshot.encode(snapshot.clip(text, snapshot.RESULT_BYTES))
    return text
