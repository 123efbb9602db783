"""`make run`: it starts everything, says where, and leaves nothing behind, however it ends."""

import http.cookiejar
import os
import re
import signal
import stat
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.processes import Redis, Server, free_port, group_exists, is_running, listening, wait_until

ENDS_WITHIN = 10  # seconds
# What the machine of the test happens to have set must not decide.
FOREIGN = {"REDIS_URL", "SECRET_KEY", "DEMO_PASSWORD", "HOST", "PORT", "ALLOWED_HOSTS", "DATABASE_URL"}


class Run(Server):
    """``make run`` without make: the site on a free port, with its data in `folder`."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.port = int(env.get("PORT") or free_port())
        self.data = Path(env.get("DATA_DIR") or folder / "var")
        own = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        own |= {"PORT": str(self.port), "DATA_DIR": str(self.data), "PYTHONUNBUFFERED": "1"}
        own.pop("DJANGO_SETTINGS_MODULE", None)
        super().__init__("run", folder, {**own, **env})

    def command(self) -> list[str]:
        return [sys.executable, "-m", "project.run"]

    def is_ready(self) -> bool:
        return "Ready in" in self.output()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def pid_of(self, program: str) -> int:
        """The pid of one of the programs, from what the runner says."""
        return int(re.search(rf"{program} started \(pid=(\d+)\)", self.output())[1])

    @property
    def redis_port(self) -> int:
        return int(re.search(r"^port (\d+)$", (self.data / "redis" / "redis.conf").read_text(), re.MULTILINE)[1])

    def programs(self) -> dict[str, int]:
        return {name: self.pid_of(name) for name in ("redis", "web", "worker")}

    def ended(self, seconds: float = ENDS_WITHIN) -> int:
        """Wait for the end, which must be in time; the answer is the exit status."""
        wait_until(lambda: not self.alive, seconds, "the runner has ended")
        return self.returncode


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A run for this test alone, to be ended in some way."""
    running = Run(tmp_path, DEMO_PASSWORD="correct horse")
    try:
        yield running.start()
    finally:
        end(running)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run with a given password, for tests that leave it as it is."""
    running = Run(tmp_path_factory.mktemp("first"), DEMO_PASSWORD="correct horse")
    try:
        yield running.start()
    finally:
        end(running)


@pytest.fixture(scope="module")
def second(first: Run, redis_server: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Another, beside the first: a Redis that is there already, reachable from outside, a generated password."""
    running = Run(tmp_path_factory.mktemp("second"), REDIS_URL=redis_server.url, HOST="0.0.0.0")
    try:
        yield running.start()
    finally:
        end(running)


def end(running: Run) -> None:
    """Whatever happened, leave nothing behind. The programs have process groups of their own."""
    if running.alive:
        running.signal(signal.SIGTERM)
        wait_until(lambda: not running.alive, 20, "the runner has ended")


def assert_nothing_is_left(programs: dict[str, int], ports: list[int], seconds: float = ENDS_WITHIN) -> None:
    wait_until(
        lambda: not [name for name, pid in programs.items() if group_exists(pid)], seconds, "no process is left"
    )
    assert not [port for port in ports if listening(port)]


def logged_in(run: Run, name: str, password: str) -> Any:
    """An opener with an open session, or None when the password was wrong."""
    cookies = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
    opener.open(f"{run.url}login/").close()
    token = next(cookie.value for cookie in cookies if cookie.name == "csrftoken")
    form = {"username": name, "password": password, "csrfmiddlewaretoken": token}
    with opener.open(f"{run.url}login/", urllib.parse.urlencode(form).encode()) as answer:
        return opener if answer.url == run.url else None


def start_job(run: Run, seconds: int) -> None:
    """Start a job in another terminal, and wait until the worker has it."""
    environment = {name: value for name, value in run.env.items() if name in ("PATH", "DATA_DIR", "HOME")}
    sender = Sender(run.folder, {**environment, **described(run)}, seconds)
    sender.start(wait=False)
    wait_until(lambda: not sender.alive, 20, "the job is sent")
    assert sender.returncode == 0, sender.output()
    task_id = sender.output().split()[0]
    wait_until(lambda: f"[{task_id}] received" in run.output(), 20, "the worker has the job")


class Sender(Server):
    def __init__(self, folder: Path, env: dict[str, str], seconds: int) -> None:
        super().__init__("sender", folder, env)
        self.seconds = seconds

    def command(self) -> list[str]:
        return [sys.executable, "manage.py", "run_task", "tasks.countdown", f"seconds={self.seconds}"]


def described(run: Run) -> dict[str, str]:
    """What the running site says about itself to other processes of its owner."""
    lines = (run.data / "run.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_the_first_run_prints_an_address_that_answers_and_a_login_that_works(first):
    """Address and login of the first run are printed, work, and are kept for their owner alone."""
    assert f"Task progress runs at {first.url}" in first.output()
    assert "admin with the password correct horse" in first.output()
    assert (first.data / "login.txt").read_text() == "user: admin\npassword: correct horse\n"
    for name in ("login.txt", "secret.key", "run.env", "redis/redis.conf"):
        assert stat.S_IMODE((first.data / name).stat().st_mode) == 0o600, name
    assert logged_in(first, "admin", "wrong") is None
    assert logged_in(first, "admin", "correct horse") is not None


def test_a_generated_password_is_printed_and_kept(second):
    """Without DEMO_PASSWORD a password is made, long enough, printed and kept."""
    password = re.search(r"admin with the password (\S+) ", second.output())[1]
    assert len(password) >= 12
    assert (second.data / "login.txt").read_text() == f"user: admin\npassword: {password}\n"
    assert logged_in(second, "admin", password) is not None


def test_two_copies_run_side_by_side(first, second):
    """With their own PORT and DATA_DIR two copies have nothing in common, users included."""
    password = re.search(r"^password: (.*)$", (second.data / "login.txt").read_text(), re.MULTILINE)[1]
    assert logged_in(first, "admin", password) is None
    assert logged_in(second, "admin", "correct horse") is None


def test_listening_everywhere_prints_an_address_for_a_phone(second):
    """HOST=0.0.0.0: the machine's address in its network is printed and answers, or it is said it has none."""
    found = re.search(r"From a phone in the same network: (http://\S+)", second.output())
    if found is None:
        assert "This machine has no address in a network" in second.output()
    else:
        assert not found[1].startswith(("http://127.", "http://0."))
        with urllib.request.urlopen(f"{found[1]}login/", timeout=10) as answer:
            assert answer.status == 200


def test_a_redis_that_is_there_already_is_used(second, redis_server):
    """With REDIS_URL no Redis is started, and names in it are this copy's own."""
    assert "redis started" not in second.output()
    prefix = described(second)["PROGRESS_PREFIX"]
    start_job(second, seconds=0)
    with closing(redis_server.client()) as client:
        assert [key for key in client.scan_iter() if key.startswith(prefix.encode() + b":")]


def test_a_second_run_on_the_same_data_is_refused(first, tmp_path):
    """Two runs never share a DATA_DIR: the second says what to do, the first is untouched."""
    late = Run(tmp_path, DATA_DIR=str(first.data)).start(wait=False)
    assert late.ended(20) == 1
    assert "make run DATA_DIR=var2 PORT=8001" in late.output()
    assert all(is_running(pid) for pid in first.programs().values())


def test_sigterm_stops_everything_and_a_later_run_is_the_same_site(run):
    """SIGTERM ends all programs within 10 s. The next start answers within 8 s and has the same user, secret,
    and what Redis knew of ended and queued jobs.
    """
    start_job(run, seconds=0)
    wait_until(lambda: "Counted 20 steps" in run.output(), 20, "the job is done")
    programs, ports = run.programs(), [run.port, run.redis_port]
    secret, records = (run.data / "secret.key").read_text(), records_of(run)
    run.signal(signal.SIGTERM)
    assert run.ended() == 128 + signal.SIGTERM
    assert_nothing_is_left(programs, ports, seconds=0)
    assert not (run.data / "run.env").exists()

    run.env["DEMO_PASSWORD"] = ""
    began = time.monotonic()
    run.start(wait=False)
    wait_until(lambda: page_answers(run), 30, "a page answers")
    assert time.monotonic() - began <= 8
    run.wait_ready()
    assert "admin with the password correct horse" in run.output()
    assert (run.data / "secret.key").read_text() == secret
    assert records
    assert records <= records_of(run)


def records_of(run: Run) -> set[bytes]:
    """Keys of the records in the run's own Redis."""
    with closing(redis.Redis.from_url(described(run)["REDIS_URL"])) as client:
        return {key for key in client.scan_iter() if b":task:" in key}


def page_answers(run: Run) -> bool:
    try:
        with urllib.request.urlopen(f"{run.url}login/", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_ctrl_c_stops_everything_even_under_a_running_job(run):
    """Ctrl-C, which reaches the whole foreground group, ends all programs within 10 s, jobs included."""
    start_job(run, seconds=60)
    programs, ports = run.programs(), [run.port, run.redis_port]
    run.signal(signal.SIGINT, group=True)
    assert run.ended() == 128 + signal.SIGINT
    assert_nothing_is_left(programs, ports, seconds=0)


@pytest.mark.parametrize("victim", ["redis", "web", "worker"])
def test_when_one_program_is_killed_the_rest_ends_too(run, victim):
    """SIGKILL of one program, under a running job: the rest is gone in 10 s, status not 0, ports free."""
    start_job(run, seconds=60)
    programs, ports = run.programs(), [run.port, run.redis_port]
    os.kill(programs[victim], signal.SIGKILL)
    assert run.ended() == 128 + signal.SIGKILL
    assert_nothing_is_left(programs, ports, seconds=0)


def test_a_program_that_ends_without_an_error_is_a_failure_of_the_whole(run):
    """SIGTERM to one program, which then ends with status 0, ends the rest, and the status is not 0."""
    programs = run.programs()
    os.kill(programs["web"], signal.SIGTERM)
    assert run.ended() == 1
    assert_nothing_is_left(programs, [run.port, run.redis_port], seconds=0)


def test_nothing_outlives_a_runner_that_is_killed(run):
    """SIGKILL of the runner itself: its programs notice and end."""
    programs, ports = run.programs(), [run.port, run.redis_port]
    run.kill_main()
    assert_nothing_is_left(programs, ports)


def test_a_taken_port_is_a_clear_error(tmp_path, redis_server):
    """A port that somebody uses is named before anything is started, and so is the way out."""
    run = Run(tmp_path, PORT=str(redis_server.port)).start(wait=False)
    assert run.ended(20) == 1
    assert f"port {redis_server.port} on 127.0.0.1 cannot be used: Address already in use" in run.output()
    assert f"make run PORT={redis_server.port + 1}" in run.output()
    assert "started" not in run.output()


@pytest.mark.parametrize("port", ["eighty", "0", "65536", "-1"])
def test_a_port_that_is_none_is_a_clear_error(tmp_path, port):
    """PORT must be a port number; the message says so and repeats what came."""
    run = Run(tmp_path, PORT="1")
    run.env["PORT"] = port
    run.start(wait=False)
    assert run.ended(20) == 1
    assert f"PORT must be a number from 1 to 65535, got {port!r}" in run.output()


def test_a_broken_link_is_named_with_its_log(tmp_path):
    """When something does not work in time: which link, its log file, everything stopped, status 1."""
    run = Run(tmp_path, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0", READY_WITHIN="3").start(wait=False)
    assert run.ended(40) == 1
    assert "✗ Redis: broken" in run.output()
    assert f"log: {run.data / 'log' / 'worker.log'}" in run.output()
    assert (run.data / "log" / "worker.log").read_text()
    assert not listening(run.port)
