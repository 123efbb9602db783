"""``make run``: the whole site on this machine. Prepares it, starts it, says when it works, stops all of it.

Everything comes from the environment: HOST, PORT, DATA_DIR, REDIS_URL, DEMO_PASSWORD, SECRET_KEY, and READY_WITHIN,
the seconds after which it is said what does not work (60).
"""

from __future__ import annotations

import os
import subprocess  # nosec B404 # each call says why it may
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Final

from daphne.endpoints import build_endpoint_description_strings

from project.prepare import (
    ANYWHERE,
    ROOT,
    CannotRun,
    OwnRedis,
    Place,
    bracketed,
    check_port_is_free,
    described,
    lan_address,
    make_folders,
    only_one,
    own_redis,
    prepare_database,
    settings,
)
from project.redis_server import NoRedis
from project.runner import Runner

BEAT: Final = 0.05  # seconds between two looks
# More than cores: a demonstration has several people's jobs, and they mostly wait.
JOBS_AT_ONCE: Final = 4
# After a restart all pages come back at once. Daphne would let 50 of them wait at its door, and send away with 403
# whom the application has not accepted within 5 s.
BACKLOG: Final = 4096  # the most that Linux allows as a rule
CROWD: Final = ("--websocket_connect_timeout", "60")  # seconds


def main() -> int:
    """Run the site until it is stopped; the answer is the exit status."""
    try:
        place = Place.from_env(os.environ)
        make_folders(place)
        with only_one(place):
            return _run(place)
    except (CannotRun, NoRedis) as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before the runner took over
        return 130


def _run(place: Place) -> int:
    began = time.monotonic()
    check_port_is_free(place)
    redis = None if os.environ.get("REDIS_URL") else own_redis(place)
    os.environ.update(settings(place, redis.url if redis else os.environ["REDIS_URL"]))
    login = prepare_database(place)

    programs = Runner(place.logs, last="redis" if redis else "")
    for name, command in commands(place, os.environ["PROGRESS_PREFIX"], redis).items():
        programs.add(name, command, {**os.environ, "PYTHONUNBUFFERED": "1"}, ROOT)
    reporter = threading.Thread(target=_tell_when_ready, args=(programs, place, login, began), daemon=True)
    with described(place):
        reporter.start()
        return programs.run()


def commands(place: Place, prefix: str, redis: OwnRedis | None) -> dict[str, list[str]]:
    """Name → command, in the order of the flow. `compose.yaml` has the same ones."""
    python = [sys.executable, "-m"]
    own = {"redis": [str(redis.program.path), str(redis.config)]} if redis else {}
    return {
        **own,
        "web": [*python, "daphne", *CROWD, "-e", _endpoint(place), "project.asgi:application"],
        "worker": [
            *(*python, "celery", "-A", "celery_worker", "worker", "--loglevel", "INFO"),
            *("--concurrency", str(JOBS_AT_ONCE)),
            # What workers tell each other is of no use to a single one, and costs a second at its start.
            *("--without-gossip", "--without-mingle"),
            f"--hostname={prefix}@%h",
        ],
    }


def _endpoint(place: Place) -> str:
    (address,) = build_endpoint_description_strings(host=place.host, port=place.port)
    return f"{address}:backlog={BACKLOG}"


# --- After the start ---------------------------------------------------------------------------------------


def _tell_when_ready(programs: Runner, place: Place, login: str, began: float) -> None:
    """Wait until the doctor is content and a page answers, then say where; else say what is broken and end it."""
    deadline = began + place.patience
    while not (programs.started or programs.ending):
        time.sleep(BEAT)
    trouble = _doctor(programs, place, deadline) or _page_answers(programs, place, deadline)
    if programs.ending:
        return
    if trouble:
        print(f"\nNot everything works after {place.patience:.0f} s.\n{trouble}\n", file=sys.stderr, flush=True)
        programs.fail()
        return
    lines = [f"Task progress runs at {place.here}"]
    if place.host in ANYWHERE:
        lan = lan_address()
        lines.append(
            f"From a phone in the same network: http://{bracketed(lan)}:{place.port}/"
            if lan
            else "This machine has no address in a network, so a phone cannot reach it."
        )
    lines += [login, f"Logs are in {place.logs}. Stop with Ctrl-C.", f"Ready in {time.monotonic() - began:.1f} s."]
    print("\n" + "\n".join(f"    {line}" for line in lines) + "\n", flush=True)


def _doctor(programs: Runner, place: Place, deadline: float) -> str:
    """What ``progress_doctor`` complains about, or ""."""
    wait = str(max(deadline - time.monotonic(), 1))
    doctor = subprocess.Popen(  # noqa: S603 (our own manage.py)  # nosec B603
        [sys.executable, "manage.py", "progress_doctor", "--wait", wait, "--logs", str(place.logs)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C is for the runner to handle
    )
    while doctor.poll() is None:
        if programs.ending:
            doctor.kill()
        time.sleep(BEAT)
    found = doctor.communicate()[0]
    return found if doctor.returncode else ""


def _page_answers(programs: Runner, place: Place, deadline: float) -> str:
    """Why the page cannot be opened, or ""."""
    last = "no answer"
    while not programs.ending:
        try:
            with urllib.request.urlopen(f"{place.here}healthz", timeout=5) as answer:  # noqa: S310 (http)  # nosec B310
                if answer.status == 200:
                    return ""
                last = f"status {answer.status}"
        except (urllib.error.URLError, OSError) as error:
            last = str(error)
        if time.monotonic() > deadline:
            return f"Web: expected {place.here} to answer, got: {last}. Log: {place.logs / 'web.log'}"
        time.sleep(BEAT)
    return ""


if __name__ == "__main__":
    sys.exit(main())
