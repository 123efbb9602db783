"""How a task ended, as its record says it. Pure."""

from __future__ import annotations

from typing import Any

from . import snapshot
from .options import Options
from .reasons import Terminated


def outcome(options: Options, *, result: Any = None, error: BaseException | None = None) -> dict[str, str]:
    """How a task ended, for both views: everybody learns that it failed, permitted staff learn why."""
    if error is not None:
        told = {
            "type": snapshot.clip(type(error).__name__, snapshot.ERROR_TYPE_BYTES),
            "message": snapshot.clip(error, snapshot.ERROR_BYTES),
        }
        staff = f'"error":{snapshot.encode(told)}'
        public = staff if options.show_error else '"error":{"type":"error"}'
        # To be ended on request is no error; staff read how it was done.
        return {"outcome": "" if isinstance(error, Terminated) else public, "outcome_staff": staff}
    if result is not None and options.show_result:
        text = _result_json(result)
        return {"outcome": f'"result":{text}', "outcome_staff": f'"result":{text}'}
    return {"outcome": "", "outcome_staff": ""}


def _result_json(result: Any) -> str:
    try:
        text = snapshot.json_text(result)
    except Exception:  # noqa: BLE001 (anything can be returned, and the end must be told)
        text = snapshot.encode(snapshot.clip(result, snapshot.RESULT_BYTES))
    if len(text.encode()) > snapshot.RESULT_BYTES:
        return snapshot.encode(snapshot.clip(text, snapshot.RESULT_BYTES))
    return text
