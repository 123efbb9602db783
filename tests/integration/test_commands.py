"""The commands: `run_task` sends, `watch` shows and tells how it ended, `progress_doctor` says what is broken."""

import http.client
import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from progress.control import cancel
from progress.store import Write, get_store
from progress.tokens import read_token
from tests.processes import ROOT, wait_until


def lines(text: str) -> list[str]:
    return text.splitlines()


# --- run_task ----------------------------------------------------------------------------------------------


def test_run_task_prints_the_id_of_a_task_that_then_runs(site):
    """The first and only line is the task's id; its arguments were converted; a worker runs it."""
    (task_id,) = lines(site.manage("run_task", "tasks.countdown", "seconds=0", "steps=3").stdout)
    record = wait_until(lambda: (found := get_store().load(task_id)) and found.ended and found, 20, "an end")
    assert record.snapshot()["result"] == "Counted 3 steps in 0 seconds."
    assert record.owner == ""


def test_run_task_for_a_user_with_a_token(site):
    """With --user the task is that user's; with --token the second line is a token that opens it."""
    login = site.user()
    sent = site.manage("run_task", "tasks.countdown", "seconds=0", "--user", login.name, "--token")
    task_id, token = lines(sent.stdout)
    assert wait_until(lambda: get_store().load(task_id), 10, "a record").owner == str(login.pk)
    status, snapshot = get(site, f"/progress/{task_id}/", token)
    assert (status, snapshot["id"]) == (200, task_id)
    assert get(site, f"/progress/{task_id}/", "")[0] == 404


def get(site, path: str, token: str) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", site.web.port, timeout=10)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if answer.status == 200 else {}
    finally:
        connection.close()


def test_the_token_of_run_task_names_its_task_and_user(site):
    """A token is for that task alone, and records whose it is."""
    login = site.user()
    sent = site.manage("run_task", "tasks.countdown", "seconds=0", "--user", login.name, "--token")
    task_id, text = lines(sent.stdout)
    token = read_token(text)  # this process and the site have the same secret
    assert (token.key, token.user, token.actions) == (task_id, str(login.pk), frozenset({"watch"}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tasks.cuntdown"], "There is no task 'tasks.cuntdown'. Known here: tasks.countdown"),
        (["tasks.countdown", "seconds=soon"], "seconds must be int, got 'soon'"),
        (["tasks.countdown", "--user", "nobody-here"], "There is no user 'nobody-here'"),
    ],
)
def test_run_task_says_what_is_wrong(site, arguments, message):
    """A wrong name, argument or user is named, nothing is printed on stdout, and the status is 1."""
    answer = site.manage("run_task", *arguments, check=False)
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert message in answer.stderr


# --- watch -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "last"),
    [
        (["tasks.countdown", "seconds=1", "steps=4"], 0, "Counted 4 steps in 1 seconds."),
        (["tasks.countdown", "seconds=-1"], 1, "Refused: seconds must be 0 or more"),
    ],
)
def test_watch_exits_as_the_task_ended(site, arguments, status, last):
    """0 with the result after success, 1 with the reason after a failure."""
    answer = site.manage("run_task", *arguments, "--watch", check=False)
    assert answer.returncode == status, answer.stderr
    task_id, *_, ending = lines(answer.stdout)
    assert re.fullmatch(r"[0-9a-f-]{36}", task_id)
    assert ending.startswith(last)
    # An ended one can be watched as well.
    assert site.manage("watch", task_id, check=False).returncode == status


@pytest.mark.parametrize(("state", "words"), [("REVOKED", "cancelled"), ("IGNORED", "was ignored"), ("LOST", "lost")])
def test_watch_exits_2_when_it_was_not_done(site, state, words):
    """Cancelled, ignored or lost is neither success nor failure: status 2, and the words say which."""
    task_id = f"{state.lower()}-{os.urandom(4).hex()}"
    store = get_store()
    body = f'"id":"{task_id}","name":"t","title":"A job"'
    began = store.write(
        Write("save", task_id, {"exec": "e1", "fence": 0, "n": 1, "state": "STARTED", "body": body})
    ).head
    if state == "LOST":
        store.write(Write("verdict", task_id, {"exec": "e1", "state": state, "seen": began.seq}))
    else:
        end = {"exec": "e1", "fence": began.fence, "n": 2, "state": state, "body": body}
        store.write(Write("save", task_id, end))
    answer = site.manage("watch", task_id, check=False)
    assert answer.returncode == 2, answer.stderr
    assert f"A job · {words}" in answer.stdout


def test_watch_exits_3_when_there_is_no_such_task(site):
    """An unknown id is said to be unknown."""
    answer = site.manage("watch", "no-such-task", check=False)
    assert answer.returncode == 3
    assert "There is no task 'no-such-task'" in answer.stderr


@pytest.mark.parametrize("asleep", [False, True])
def test_watch_shows_a_moving_bar_in_a_terminal_and_ctrl_c_leaves_the_task_alone(site, asleep):
    """In a terminal the bar moves; Ctrl-C ends the watching with status 130 and the task goes on.

    That holds when much has happened while the watcher was asleep, and Ctrl-C comes together with all of it.
    """
    (task_id,) = lines(site.manage("run_task", "tasks.countdown", "seconds=60", "steps=240").stdout)
    ours, theirs = pty.openpty()
    watcher = subprocess.Popen(
        [sys.executable, "manage.py", "watch", task_id],
        cwd=ROOT,
        env={**site.env, "TERM": "xterm", "COLUMNS": "120"},
        stdout=theirs,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = bytearray()

    def percentages() -> set[bytes]:
        with suppress(OSError):  # nothing new, or the other end is closed
            shown.extend(os.read(ours, 65536))
        return set(re.findall(rb"(\d+)%", shown))

    try:
        # In steps of a quarter of a second: more than one percentage means that pushes arrive.
        wait_until(lambda: len(percentages()) >= 3, 30, "the bar moves")
        if asleep:
            watcher.send_signal(signal.SIGSTOP)
            before = get_store().load(task_id).seq
            wait_until(lambda: get_store().load(task_id).seq > before + 2_000_000, 10, "two seconds of the task")
        watcher.send_signal(signal.SIGINT)
        watcher.send_signal(signal.SIGCONT)
        wait_until(lambda: percentages() and watcher.poll() is not None, 10, "it has left")
        assert watcher.returncode == 130
        assert not get_store().load(task_id).ended
    finally:
        watcher.kill()
        watcher.wait()
        os.close(ours)
        cancel(task_id, by="the test")  # or it would keep a worker of the other tests busy


# --- progress_doctor ---------------------------------------------------------------------------------------


def test_the_doctor_is_content_with_a_whole_site(site):
    """Every link is tried, a real task included, and the status is 0."""
    answer = site.manage("progress_doctor")
    marks = [(line[0], line[2:].split(":")[0]) for line in lines(answer.stdout)]
    links = ["Installation", "Redis", "Channel layer", "History", "Worker", "A task, end to end"]
    assert marks == [("✓", link) for link in links]


def test_the_doctor_names_a_missing_worker_and_redis_and_what_to_do(own_site):
    """Without a worker, then without Redis: the broken link, expected, got, what to do, its log, status 1."""
    own_site.worker.kill()
    answer = own_site.manage("progress_doctor", "--wait", "1", "--logs", "some/logs", check=False)
    assert answer.returncode == 1
    assert "✓ Redis" in answer.stdout
    assert "✓ Channel layer" in answer.stdout
    after = answer.stdout.partition("✗ Worker: broken\n")[2]
    assert "expected: a worker to answer on redis://" in after
    assert "got: no answer" in after
    assert "what to do: Start one: celery -A" in after
    assert "log: some/logs/worker.log" in after
    assert "– A task, end to end: not tried" in after

    own_site.redis.kill()
    answer = own_site.manage("progress_doctor", "--wait", "1", check=False)
    assert answer.returncode == 1
    assert "✗ Redis: broken" in answer.stdout
    assert "Connection refused" in answer.stdout


def test_the_doctor_notices_a_worker_that_listens_elsewhere(own_site):
    """A worker that answers, but takes other queues, is found out by the task that nobody runs."""
    own_site.worker.kill()
    own_site.worker.env["CELERY_QUEUE"] = "elsewhere"
    own_site.worker.start()
    answer = own_site.manage("progress_doctor", "--wait", "3", check=False)
    assert answer.returncode == 1
    assert "✓ Worker" in answer.stdout
    after = answer.stdout.partition("✗ A task, end to end: broken\n")[2]
    assert "got: state PENDING" in after
    assert f"listen to other queues (this one: {own_site.prefix})" in after


def test_the_doctor_notices_a_worker_with_another_prefix(own_site):
    """A worker that writes under other names is found out by the record that does not move."""
    own_site.worker.kill()
    own_site.worker.env["PROGRESS_PREFIX"] = "another"
    own_site.worker.start()
    answer = own_site.manage("progress_doctor", "--wait", "3", check=False)
    assert answer.returncode == 1
    assert "✗ A task, end to end: broken" in answer.stdout


def test_the_doctor_warns_of_a_redis_that_throws_away(own_site):
    """A Redis that evicts is a warning: everything works until it is full."""
    with own_site.redis.client() as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
    answer = own_site.manage("progress_doctor")
    assert "Warning: maxmemory-policy is allkeys-lru" in answer.stdout


def test_the_doctor_prints_no_password(own_site):
    """A password in a URL does not reach the screen, whatever is broken."""
    own_site.env["REDIS_URL"] = f"redis://:hunter2@127.0.0.1:{own_site.redis.port}/0"
    own_site.redis.kill()
    answer = own_site.manage("progress_doctor", "--wait", "1", check=False)
    assert answer.returncode == 1
    assert "hunter2" not in answer.stdout + answer.stderr
