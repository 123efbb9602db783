"""`python -m bench [scenario …]`: measure, write `bench/results.json` and, from it, `docs/benchmarks.md`."""

from __future__ import annotations

import argparse
import importlib
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from . import compare, report, results
from .scenarios import SCENARIOS

REPETITIONS: Final = 5
MEASURES: Final = (sys.executable, "-m", "bench")  # each scenario in a process of its own
LEAVES: Final = 60.0  # seconds for that process to stop its servers


def main() -> int:
    """Run what is named, or everything; 1 if a bar is missed or, with --compare, something got worse."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").split("\n")[0])
    known = f"all of them, if none is named: {', '.join(SCENARIOS)}"
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], metavar="scenario", help=known)
    parser.add_argument("--repetitions", type=int, default=0, help="a quick look: so many, only told")
    parser.add_argument("--compare", action="store_true", help="hold against the committed run; writes nothing")
    parser.add_argument("--render", action="store_true", help="measure nothing; write the page from the results")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # measure here, and keep it in that file
    options = parser.parse_args()
    names = options.scenarios or list(SCENARIOS)
    if options.render:
        return report.write(results.load())
    if options.into:
        for name in names:
            results.save(options.into, name, _measure(name, options.repetitions))
        return 0
    with tempfile.TemporaryDirectory(prefix="progress-bench-") as folder:
        # What was measured is kept at once: one scenario that fails, or Ctrl-C, costs only itself.
        look = options.compare or options.repetitions
        into = Path(folder) / "results.json" if look else results.COMMITTED
        failed = [name for name in names if not _measured_apart(name, options.repetitions, into)]
        fresh = results.load(into)
    if options.compare:
        worse = compare.tell(results.load(), fresh)
    elif options.repetitions:
        worse = report.tell(fresh)
    else:
        worse = report.write(fresh, only=[name for name in names if name not in failed])
    if failed:
        print(f"These scenarios ended with an error: {', '.join(failed)}.", file=sys.stderr)
    return int(bool(worse or failed))


def _measured_apart(name: str, repetitions: int, into: Path) -> bool:
    """Measure in a process of its own, which inherits no other scenario's connections. False if that failed.

    Whoever stops this stops that, which is given a minute to stop what it has started.
    """
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(1))
    with subprocess.Popen([*MEASURES, name, "--repetitions", str(repetitions), "--into", str(into)]) as child:
        try:
            return child.wait() == 0
        except SystemExit:  # of a Ctrl-C it knows
            child.terminate()
            raise
        finally:
            try:
                child.wait(LEAVES)
            except subprocess.TimeoutExpired:
                child.kill()


def _measure(name: str, repetitions: int) -> dict[str, Any]:
    from .machine import machine
    from .rig import rig

    scenario = importlib.import_module(f"bench.scenarios.{name}")
    print(f"{name}: {(scenario.__doc__ or '').splitlines()[0]}", file=sys.stderr, flush=True)
    began = time.monotonic()
    with rig(repetitions or getattr(scenario, "REPETITIONS", REPETITIONS)) as stand:
        outcome = scenario.measure(stand)
    return {"machine": machine(), "seconds": round(time.monotonic() - began), **asdict(outcome)}


if __name__ == "__main__":
    sys.exit(main())
