"""`bench/results.json`: every scenario's last run, each with its own date, machine and versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
COMMITTED: Final = ROOT / "bench" / "results.json"

Found = dict[str, Any]  # an `Outcome` as JSON, with "machine" and "seconds"


def load(file: Path | None = None) -> dict[str, Found]:
    """Results by scenario, the committed ones or those of `file`; {} if there are none."""
    file = file or COMMITTED
    found: dict[str, Found] = json.loads(file.read_text()) if file.exists() else {}
    return found


def save(file: Path, name: str, found: Found) -> None:
    """Put the results of one scenario beside those of the others."""
    everything = {**load(file), name: _rounded(found)}
    by_name = dict(sorted(everything.items()))  # what is inside keeps its order: it is that of the tables
    file.write_text(json.dumps(by_name, indent=1, ensure_ascii=False) + "\n")


def _rounded(value: Any) -> Any:
    """Four digits say all that a repetition can say, and keep the diff readable."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value
