"""From a form to a task, exactly once."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from kombu.exceptions import OperationalError

from tasks.models import Export, Rollout, Start, Upload
from tasks.starting import NotSent, start_once
from tasks.tasks import countdown, import_csv

ROOT = Path(__file__).parents[2]


@pytest.fixture
def users(db):
    model = get_user_model()
    return model.objects.create_user("ada"), model.objects.create_user("bob")


@pytest.fixture
def sent(monkeypatch):
    """What would have been sent to the broker."""
    calls = []
    for task in (countdown, import_csv):
        monkeypatch.setattr(task, "apply_async", lambda task=task, **kwargs: calls.append((task.name, kwargs)))
    return calls


@pytest.fixture
def broker_away(monkeypatch):
    def refuse(**_kwargs):
        raise OperationalError("Error 111 connecting to 127.0.0.1:6379. Connection refused.")

    monkeypatch.setattr(countdown, "apply_async", refuse)
    monkeypatch.setattr(import_csv, "apply_async", refuse)


def ten_seconds(_start: Start) -> dict:
    return {"seconds": 10, "steps": 5}


def test_the_same_form_sends_its_task_once(users, sent):
    """A double click, a reload and the back button all lead to the one run."""
    once = uuid.uuid4()
    ids = {start_once(users[0], once, countdown, ten_seconds) for _ in range(3)}
    assert len(ids) == 1
    (name, kwargs), *others = sent
    assert (name, kwargs["task_id"], kwargs["kwargs"]) == (countdown.name, *ids, ten_seconds(None))
    assert others == []


def test_two_users_with_the_same_key_get_two_runs(users, sent):
    """A key that leaked or was guessed leads nobody to another's run."""
    once = uuid.uuid4()
    ids = {start_once(user, once, countdown, ten_seconds) for user in users}
    assert len(ids) == len(sent) == 2


def test_a_new_form_starts_a_new_run(users, sent):
    """Two forms, two runs, also with equal numbers."""
    assert len({start_once(users[0], uuid.uuid4(), countdown, ten_seconds) for _ in range(2)}) == 2
    assert len(sent) == 2


def test_what_belongs_to_a_start_is_made_once_and_committed_before_sending(users, sent, monkeypatch):
    """The worker finds the upload, however fast it is; equal requests add no second file."""
    made = []
    once = uuid.uuid4()

    def make(start: Start) -> dict:
        upload = Upload.objects.create(owner=start.user, start=start, name="x", file=ContentFile(b"x", "x"))
        made.append(upload.pk)
        return {"upload_id": upload.pk}

    for _ in range(2):
        start_once(users[0], once, import_csv, make)
    assert len(made) == 1
    assert [kwargs["kwargs"] for _, kwargs in sent] == [{"upload_id": made[0]}]


def test_a_broker_that_is_away_leaves_nothing_behind(users, broker_away, settings, tmp_path):
    """No row, no upload, no file: as if the form had never been sent."""
    settings.MEDIA_ROOT = tmp_path

    def make(start: Start) -> dict:
        Upload.objects.create(owner=start.user, start=start, name="x", file=ContentFile(b"x", "x"))
        Export.objects.create(owner=start.user, start=start)
        Rollout.objects.create(owner=start.user, start=start)
        return {}

    with pytest.raises(NotSent):
        start_once(users[0], uuid.uuid4(), import_csv, make)
    for model in (Start, Upload, Export, Rollout):
        assert not model.objects.exists()


def test_the_same_form_can_be_sent_again_when_the_broker_is_back(users, monkeypatch, sent):
    """A failed start does not use up the form's key."""
    once = uuid.uuid4()
    with monkeypatch.context() as away:
        away.setattr(countdown, "apply_async", lambda **_kwargs: (_ for _ in ()).throw(OSError("away")))
        with pytest.raises(NotSent):
            start_once(users[0], once, countdown, ten_seconds)
    task_id = start_once(users[0], once, countdown, ten_seconds)
    assert [kwargs["task_id"] for _, kwargs in sent] == [task_id]


def test_a_start_that_was_written_but_not_sent_is_sent_by_the_next_equal_request(users, sent):
    """A web process that died in between does not block the form for ever, and what it kept is used."""
    once = uuid.uuid4()
    Start.objects.create(user=users[0], once=once, task=countdown.name, arguments={"seconds": 3, "steps": 3})
    task_id = start_once(users[0], once, countdown, ten_seconds)
    assert [(kwargs["task_id"], kwargs["kwargs"]) for _, kwargs in sent] == [(task_id, {"seconds": 3, "steps": 3})]


def test_other_errors_of_sending_are_not_hidden(users, monkeypatch):
    """A mistake in the program is no missing broker."""

    def broken(**_kwargs):
        raise TypeError("not JSON serializable")

    monkeypatch.setattr(countdown, "apply_async", broken)
    with pytest.raises(TypeError):
        start_once(users[0], uuid.uuid4(), countdown, ten_seconds)


PRELUDE = """
import json, threading, time, uuid
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.db import connection
from tasks.models import Export, Rollout, Start, Upload
from tasks.starting import NotSent, start_once
from tasks.tasks import countdown, import_csv

user = get_user_model().objects.create_user("ada")

def make(start):
    upload = Upload.objects.create(owner=user, start=start, name="x", file=ContentFile(b"x", "x"))
    return {"upload_id": upload.pk}
"""

RACE = """
sent, answers, barrier = [], [], threading.Barrier(8)

def slow(**kwargs):
    time.sleep(0.2)  # the others arrive meanwhile
    sent.append(kwargs["task_id"])

import_csv.apply_async = slow
once = uuid.uuid4()

def press():
    barrier.wait()
    try:
        answers.append(start_once(user, once, import_csv, make))
    finally:
        connection.close()

threads = [threading.Thread(target=press) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps({"sent": sent, "answers": answers, "uploads": Upload.objects.count()}))
"""

NO_BROKER = """
from pathlib import Path
from django.conf import settings

outcomes = []
for _ in range(2):
    began = time.monotonic()
    try:
        start_once(user, uuid.UUID(int=7), import_csv, make)
        outcomes.append(["sent", 0])
    except NotSent:
        outcomes.append(["not sent", time.monotonic() - began])
files = [path.name for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]
print(json.dumps({"outcomes": outcomes, "starts": Start.objects.count(), "files": files}))
"""


def in_own_process(script: str, folder: Path) -> dict:
    # A database in a file and a Celery app of its own: threads that share one in-memory database do not wait
    # for each other, and this process's broker pool must not be spoilt.
    environment = {
        **os.environ,
        "DATA_DIR": str(folder),
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "REDIS_URL": "redis://127.0.0.1:1/0",  # nobody listens there
    }
    environment.pop("DATABASE_URL", None)
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_eight_equal_requests_at_once_send_one_task(tmp_path):
    """The database decides the race; all eight are led to the one run."""
    found = in_own_process(RACE, tmp_path)
    assert len(found["sent"]) == found["uploads"] == 1
    assert found["answers"] == found["sent"] * 8


def test_a_real_broker_that_is_away_is_noticed_within_seconds(tmp_path):
    """Nobody waits half a minute for the bad news, and no row or file stays, however often it is tried."""
    found = in_own_process(NO_BROKER, tmp_path)
    assert [outcome for outcome, _ in found["outcomes"]] == ["not sent", "not sent"]
    assert max(took for _, took in found["outcomes"]) < 5
    assert (found["starts"], found["files"]) == (0, [])
