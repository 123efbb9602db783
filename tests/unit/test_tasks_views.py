"""The pages: what they show, to whom, and that a form leads to one run."""

import inspect
import json
import re
import uuid
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils.html import escape
from kombu.exceptions import OperationalError

import progress
from progress import store as stores
from progress.exceptions import StoreUnavailable
from progress.options import options_of
from progress.reporter import Job, Reporter
from progress.snapshot import State
from progress.store import Write, get_store
from tasks.jobs import JOBS
from tasks.models import BadRow, Export, Installation, Rollout, Start, Upload
from tasks.tasks import countdown

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_servers(settings, tmp_path, monkeypatch):
    settings.PROGRESS_STORE = "memory"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.MEDIA_ROOT = tmp_path
    settings.PRIVATE_ROOT = tmp_path / "private"
    settings.TAIL_LOG_FOLDER = tmp_path / "logs"
    settings.ALLOWED_HOSTS = ["testserver"]
    monkeypatch.setattr(stores, "_stores", {})  # a store of its own for each test


@pytest.fixture
def sent(monkeypatch):
    """What the views send; it gets a record, as sending does, but no broker sees it."""
    calls = []

    def send(task, **kwargs):
        calls.append((task.name, kwargs))
        owner = str(Start.objects.get(task_id=kwargs["task_id"]).user_id)
        queue(kwargs["task_id"], owner, task)

    for task in (job.task for job in JOBS):
        monkeypatch.setattr(task, "apply_async", lambda task=task, **kwargs: send(task, **kwargs))
    return calls


def queue(task_id: str, owner: str, task=countdown) -> str:
    key = progress.key(task_id)
    texts = Reporter(Job(key, task.name, "", options_of(task.name, task.run))).texts(State.PENDING)
    get_store().write(Write("queue", key, {"owner": owner, **texts}))
    return key


@pytest.fixture
def ada():
    return get_user_model().objects.create_user("ada")


@pytest.fixture
def bob():
    return get_user_model().objects.create_user("bob")


@pytest.fixture
def as_ada(client, ada):
    client.force_login(ada)
    return client


def countdown_fields(**changes) -> dict:
    return {"seconds": 5, "steps": 5, "once": str(uuid.uuid4()), **changes}


def import_fields(**changes) -> dict:
    file = SimpleUploadedFile("kunden.csv", b"name\nAda\n")
    return {"file": file, "once": str(uuid.uuid4()), **changes}


@pytest.mark.parametrize(
    ("method", "name", "args"),
    [
        ("get", "home", []),
        ("get", "run", ["x"]),
        ("get", "import", [1]),
        ("get", "exports", []),
        ("get", "export_file", [1]),
        ("post", "stop_rollout", [1]),
        ("post", "start", ["countdown"]),
        ("post", "start", ["none"]),
    ],
)
def test_every_page_asks_for_a_login_first(client, method, name, args):
    """Nobody sees or starts anything without having said who they are."""
    response = getattr(client, method)(reverse(name, args=args))
    assert (response.status_code, response.url.partition("?")[0]) == (302, reverse("login"))


@pytest.mark.parametrize("name", [job.name for job in JOBS])
def test_a_link_starts_nothing(as_ada, name):
    """Only a form that was sent does; a GET is refused."""
    assert as_ada.get(reverse("start", args=[name])).status_code == 405


def test_a_link_calls_nothing_off(as_ada):
    """Only a form that was sent does."""
    assert as_ada.get(reverse("stop_rollout", args=[1])).status_code == 405


def test_home_lists_my_runs_newest_first_and_nobody_elses(as_ada, ada, bob):
    """My runs, with their snapshot and their address."""
    mine = [queue(f"mine-{n}", str(ada.pk)) for n in range(3)]
    queue("other", str(bob.pk))
    context = as_ada.get("/").context
    assert [run.key for run in context["runs"]] == mine[::-1]
    assert [run.url for run in context["runs"]] == [f"/runs/{key}/" for key in mine[::-1]]
    assert context["runs"][0].snapshot["state"] == "PENDING"
    assert context["here"] == "http://testserver/"


def test_home_has_a_form_for_every_job_with_what_it_does(as_ada, ada):
    """Something to do at once: the first is open, each says what it does, and the sample file is there."""
    ada.is_staff = True
    ada.save()
    response = as_ada.get("/")
    page = response.content.decode()
    for job in JOBS:
        assert f'action="{reverse("start", args=[job.name])}"' in page
        assert escape(str(job.about)) in page
    assert page.count('enctype="multipart/form-data"') == 1
    assert "tasks/customers.csv" in page
    assert page.count('name="once"') == len(JOBS)
    assert [card["open"] for card in response.context["cards"]] == [True] + [False] * (len(JOBS) - 1)


def test_jobs_for_staff_are_not_there_for_others(as_ada, ada, sent, settings, tmp_path):
    """Not on the page, and their address is one that does not exist."""
    settings.TAIL_LOG_FOLDER = tmp_path
    fields = {"file": "a.log", "minutes": 1, "last": 1, "once": str(uuid.uuid4())}
    address, unknown = reverse("start", args=["tail"]), reverse("start", args=["none"])
    assert address not in as_ada.get("/").content.decode()
    hidden, missing = as_ada.post(address, fields), as_ada.post(unknown, fields)
    assert (hidden.status_code, missing.status_code) == (404, 404)
    assert hidden.content == missing.content
    assert sent == []
    ada.is_staff = True
    ada.save()
    assert address in as_ada.get("/").content.decode()
    assert as_ada.post(address, fields).status_code == 302
    assert [kwargs["kwargs"] for _, kwargs in sent] == [{"file": "a.log", "minutes": 1, "last": 1}]


def test_sending_the_same_countdown_form_again_lands_on_the_same_run(as_ada, ada, sent):
    """Double click, reload, back button: one run."""
    fields = countdown_fields()
    urls = {as_ada.post(reverse("start", args=["countdown"]), fields).url for _ in range(3)}
    task_id = Start.task_id_for(ada, uuid.UUID(fields["once"]))
    assert urls == {f"/runs/{task_id}/"}
    assert sent == [
        (
            "tasks.countdown",
            {
                "kwargs": {"seconds": 5, "steps": 5},
                "task_id": task_id,
                "retry_policy": sent[0][1]["retry_policy"],
            },
        )
    ]
    assert as_ada.get(urls.pop()).status_code == 200


def test_sending_the_same_import_form_again_keeps_one_file(as_ada, ada, sent, tmp_path):
    """The second copy of the file is thrown away, and both answers lead to the one import."""
    fields = import_fields()
    urls = set()
    for _ in range(2):
        fields["file"].seek(0)
        urls.add(as_ada.post(reverse("start", args=["import"]), fields).url)
    upload = Upload.objects.get()
    content = Path(upload.file.path).read_bytes()
    assert (upload.owner, upload.name, content) == (ada, "kunden.csv", b"name\nAda\n")
    assert [kwargs["kwargs"] for _, kwargs in sent] == [{"upload_id": upload.pk}]
    assert len(list(tmp_path.rglob("*.csv"))) == 1
    page = as_ada.get(urls.pop())
    assert f'href="/imports/{upload.pk}/"' in page.content.decode()


MISTAKES = {
    "countdown": ({"seconds": 601, "steps": 5}, {"seconds"}),
    "import": ({}, {"file"}),
    "export": ({"at_least": 1, "placed_from": "2025-02-01", "placed_until": "2025-01-31"}, {"placed_until"}),
    "install": ({"hosts": "a_b", "packages": " "}, {"hosts", "packages"}),
    "feed": ({"entries": 0, "at_once": 33, "breaks_after": -1}, {"entries", "at_once", "breaks_after"}),
    "tail": ({"file": "../x", "minutes": 61, "last": -1}, {"file", "minutes", "last"}),
}


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_form_with_mistakes_comes_back_with_them_beside_the_fields(as_ada, ada, sent, job):
    """Status 422, that job opened, each mistake tied to its field, the other forms untouched; nothing started."""
    ada.is_staff = True
    ada.save()
    fields, wrong = MISTAKES[job.name]
    response = as_ada.post(reverse("start", args=[job.name]), {**fields, "once": str(uuid.uuid4())})
    page = response.content.decode()
    assert response.status_code == 422
    (card,) = [card for card in response.context["cards"] if card["open"]]
    assert (card["job"], set(card["form"].errors)) == (job, wrong)
    assert not any(other["form"].is_bound for other in response.context["cards"] if other is not card)
    for name in wrong:
        field = card["form"][name]
        assert f'id="{field.auto_id}_error"' in page, "the mistake has an address"
        widget = re.search(rf'<(?:input|textarea)[^>]*name="{name}"[^>]*id="{field.auto_id}"[^>]*>', page)
        assert widget
        assert 'aria-invalid="true"' in widget[0]
        assert f"{field.auto_id}_error" in re.search('aria-describedby="([^"]*)"', widget[0])[1].split()
    assert sent == []
    assert not Start.objects.exists()


def test_a_form_without_its_key_says_so_above_its_fields(as_ada, sent):
    """The field of the key is hidden; its mistake is not."""
    response = as_ada.post(reverse("start", args=["countdown"]), {"seconds": 5, "steps": 5})
    assert response.status_code == 422
    assert "This form has lost its key" in response.content.decode()
    assert sent == []


GOOD = {
    "countdown": {"seconds": 5, "steps": 5},
    "export": {"at_least": 10, "placed_from": "2025-01-01", "compressed": "on"},
    "install": {"hosts": "web-1, WEB-2\nweb-1", "packages": "nginx redis"},
    "feed": {"entries": 5, "at_once": 2, "breaks_after": 0},
    "tail": {"file": "a.log", "minutes": 1, "last": 1},
}


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_every_job_is_started_once_and_takes_what_its_form_gives(as_ada, ada, sent, job):
    """The arguments fit the task's signature and survive JSON; a second sending lands on the same run."""
    ada.is_staff = True
    ada.save()
    fields = {**(import_fields() if job.name == "import" else GOOD[job.name]), "once": str(uuid.uuid4())}
    first = as_ada.post(reverse("start", args=[job.name]), fields)
    if "file" in fields and job.name == "import":
        fields["file"].seek(0)
    second = as_ada.post(reverse("start", args=[job.name]), fields)
    assert (first.status_code, first.url) == (302, second.url)
    ((name, kwargs),) = sent
    assert name == job.task.name
    assert json.loads(json.dumps(kwargs["kwargs"])) == kwargs["kwargs"]
    inspect.signature(job.task.run).bind(**kwargs["kwargs"])
    assert as_ada.get(first.url).status_code == 200


def test_what_an_install_form_names_is_written_down_without_repetitions(as_ada, ada, sent):
    """In lower case, in its order; each host a part."""
    as_ada.post(reverse("start", args=["install"]), {**GOOD["install"], "once": str(uuid.uuid4())})
    rollout = Rollout.objects.get()
    assert (rollout.owner, rollout.packages) == (ada, ["nginx", "redis"])
    assert list(rollout.installations.values_list("host", flat=True)) == ["web-1", "web-2"]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_broker_that_is_away_is_said_on_the_form(as_ada, ada, monkeypatch, job):
    """503 and plain words, the values still there; nothing is kept."""
    ada.is_staff = True
    ada.save()

    def away(**_kwargs):
        raise OperationalError("Connection refused")

    monkeypatch.setattr(job.task, "apply_async", away)
    fields = {**(import_fields() if job.name == "import" else GOOD[job.name]), "once": str(uuid.uuid4())}
    response = as_ada.post(reverse("start", args=[job.name]), fields)
    assert response.status_code == 503
    assert "message broker does not answer" in response.content.decode()
    for model in (Start, Upload, Export, Rollout, Installation):
        assert not model.objects.exists()


def test_home_renders_without_the_store(as_ada, monkeypatch):
    """Redis away: the page says so, and the forms are there."""

    def away(*_args, **_kwargs):
        raise StoreUnavailable

    monkeypatch.setattr(get_store(), "mine", away)
    response = as_ada.get("/")
    assert response.status_code == 200
    assert response.context["store_away"]
    assert "does not answer" in response.content.decode()
    assert 'name="once"' in response.content.decode()


def test_a_run_says_that_the_store_is_away(as_ada, monkeypatch):
    """503 in plain words: neither a wrong 404 nor a 500."""

    def away(*_args, **_kwargs):
        raise StoreUnavailable

    monkeypatch.setattr(get_store(), "load_many", away)
    response = as_ada.get("/runs/x/")
    assert response.status_code == 503
    assert "cannot be shown now" in response.content.decode()


def test_a_run_is_shown_to_its_owner(as_ada, ada):
    """With its snapshot and what its owner may do."""
    key = queue("mine", str(ada.pk))
    context = as_ada.get(f"/runs/{key}/").context
    assert (context["run"].key, context["run"].may, context["outcome"]) == (key, ["watch", "cancel"], None)
    assert context["run"].snapshot["id"] == key


def test_a_run_with_an_unsafe_id_has_an_address(as_ada, ada):
    """Ids may be any text; the page is found by their key."""
    key = queue("mine / ärger?", str(ada.pk))
    assert as_ada.get(reverse("run", args=[key])).status_code == 200


@pytest.mark.parametrize("key", ["unknown", "x" * 300, "ä/ö", "~" + "0" * 64])
def test_a_foreign_run_and_an_unknown_one_are_the_same_404(as_ada, bob, key):
    """Whoever guesses ids learns nothing, not from one byte of the answer."""
    foreign = as_ada.get(f"/runs/{queue('other', str(bob.pk))}/")
    unknown = as_ada.get(reverse("run", args=[key]))
    assert (foreign.status_code, unknown.status_code) == (404, 404)
    assert foreign.content == unknown.content


def upload_of(user, **fields) -> Upload:
    return Upload.objects.create(owner=user, name="kunden.csv", **fields)


def test_an_import_is_shown_to_its_owner_and_to_permitted_staff_only(client, ada, bob):
    """To everybody else it is the same 404 as one that does not exist."""
    upload = upload_of(ada, state=Upload.State.DONE, rows_stored=3)
    client.force_login(ada)
    assert client.get(f"/imports/{upload.pk}/").status_code == 200
    assert client.get(f"/imports/{upload.pk + 1}/").status_code == 404
    client.force_login(bob)
    foreign, unknown = client.get(f"/imports/{upload.pk}/"), client.get(f"/imports/{upload.pk + 1}/")
    assert (foreign.status_code, foreign.content) == (404, unknown.content)
    bob.user_permissions.add(Permission.objects.get(codename="view_upload"))
    assert client.get(f"/imports/{upload.pk}/").status_code == 404
    bob.is_staff = True
    bob.save()
    assert client.get(f"/imports/{upload.pk}/").status_code == 200


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": "done", "rows_stored": 7, "rows_bad": 1}, "7 rows stored, 1 bad row left out"),
        ({"state": "refused", "refusal": "It is <b>empty</b>."}, "It is &lt;b&gt;empty&lt;/b&gt;."),
        ({"state": "cancelled", "rows_stored": 2000}, "2000 rows had been stored"),
        ({"state": "failed"}, "fault of the program"),
        ({"state": "running", "rows_stored": 1}, "So far 1 row stored"),
    ],
)
def test_an_import_says_how_it_ended(as_ada, ada, fields, words):
    """Each end has its words, and what came from the file is shown as text."""
    assert words in as_ada.get(f"/imports/{upload_of(ada, **fields).pk}/").content.decode()


def test_an_import_lists_its_bad_rows_and_how_many_are_not_listed(as_ada, ada):
    """Line and reason, and the number beyond the list."""
    upload = upload_of(ada, state=Upload.State.DONE, rows_bad=1002, ignored_columns=["<i>city</i>"])
    BadRow.objects.create(upload=upload, line=12, reason="email “<script>” is not an address")
    page = as_ada.get(f"/imports/{upload.pk}/").content.decode()
    assert '<td>12</td><td lang="en">email “&lt;script&gt;” is not an address</td>' in page
    assert "And 1001 more, not listed" in page
    assert "&lt;i&gt;city&lt;/i&gt;" in page


def test_pages_hold_no_inline_script_or_style(as_ada, ada):
    """The page works under a policy that allows neither."""
    page = as_ada.get(f"/imports/{upload_of(ada).pk}/").content.decode()
    assert "<style" not in page
    assert " style=" not in page
    assert "<script>" not in page


def test_the_admin_shows_uploads_and_customers_but_changes_none(admin_client, ada):
    """Staff can read what was imported and delete it; only an import can write it."""
    upload = upload_of(ada, file="uploads/x.csv", state=Upload.State.DONE)
    upload.customers.create(line=2, name="Ada <b>L</b>")
    assert "kunden.csv" in admin_client.get("/admin/tasks/upload/").content.decode()
    page = admin_client.get(f"/admin/tasks/upload/{upload.pk}/change/").content.decode()
    assert "uploads/x.csv" not in page
    assert "Ada &lt;b&gt;L&lt;/b&gt;" in admin_client.get("/admin/tasks/customer/").content.decode()
    assert admin_client.get("/admin/tasks/upload/add/").status_code == 403
    assert admin_client.post(f"/admin/tasks/upload/{upload.pk}/change/", {"name": "x"}).status_code == 403
    assert admin_client.post(f"/admin/tasks/upload/{upload.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Upload.objects.exists()
