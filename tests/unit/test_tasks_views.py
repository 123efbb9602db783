"""The pages: what they show, to whom, and that a form leads to one run."""

import uuid
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from kombu.exceptions import OperationalError

import progress
from progress import store as stores
from progress.exceptions import StoreUnavailable
from progress.options import options_of
from progress.reporter import Job, Reporter
from progress.snapshot import State
from progress.store import Write, get_store
from tasks.models import BadRow, Start, Upload
from tasks.tasks import countdown, import_csv

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_servers(settings, tmp_path, monkeypatch):
    settings.PROGRESS_STORE = "memory"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.MEDIA_ROOT = tmp_path
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

    for task in (countdown, import_csv):
        monkeypatch.setattr(task, "apply_async", lambda task=task, **kwargs: send(task, **kwargs))
    return calls


def queue(task_id: str, owner: str, task=countdown) -> str:
    key = progress.key(task_id)
    texts = Reporter(Job(key, task.name, "", options_of(task.name, task.run))).texts(State.PENDING)
    answer = get_store().write(Write("queue", key, {"owner": owner, **texts}))
    get_store().begin(key, owner, answer.now)
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
        ("post", "start_countdown", []),
        ("post", "start_import", []),
    ],
)
def test_every_page_asks_for_a_login_first(client, method, name, args):
    """Nobody sees or starts anything without having said who they are."""
    response = getattr(client, method)(reverse(name, args=args))
    assert (response.status_code, response.url.partition("?")[0]) == (302, reverse("login"))


@pytest.mark.parametrize("name", ["start_countdown", "start_import"])
def test_a_link_starts_nothing(as_ada, name):
    """Only a form that was sent does; a GET is refused."""
    assert as_ada.get(reverse(name)).status_code == 405


def test_home_lists_my_runs_newest_first_and_nobody_elses(as_ada, ada, bob):
    """My runs, with their snapshot and their address."""
    mine = [queue(f"mine-{n}", str(ada.pk)) for n in range(3)]
    queue("other", str(bob.pk))
    context = as_ada.get("/").context
    assert [run["key"] for run in context["runs"]] == mine[::-1]
    assert [run["url"] for run in context["runs"]] == [f"/runs/{key}/" for key in mine[::-1]]
    assert context["runs"][0]["snapshot"]["state"] == "PENDING"
    assert context["here"] == "http://testserver/"


def test_home_has_both_forms_and_the_sample_file(as_ada):
    """Something to do at once, and a file to do it with."""
    page = as_ada.get("/").content.decode()
    assert f'action="{reverse("start_countdown")}"' in page
    assert f'action="{reverse("start_import")}"' in page
    assert 'enctype="multipart/form-data"' in page
    assert "tasks/customers.csv" in page
    assert page.count('name="once"') == 2


def test_sending_the_same_countdown_form_again_lands_on_the_same_run(as_ada, ada, sent):
    """Double click, reload, back button: one run."""
    fields = countdown_fields()
    urls = {as_ada.post(reverse("start_countdown"), fields).url for _ in range(3)}
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
        urls.add(as_ada.post(reverse("start_import"), fields).url)
    upload = Upload.objects.get()
    content = Path(upload.file.path).read_bytes()
    assert (upload.owner, upload.name, content) == (ada, "kunden.csv", b"name\nAda\n")
    assert [kwargs["kwargs"] for _, kwargs in sent] == [{"upload_id": upload.pk}]
    assert len(list(tmp_path.rglob("*.csv"))) == 1
    page = as_ada.get(urls.pop())
    assert page.context["outcome_url"] == f"/imports/{upload.pk}/"


def test_a_form_with_mistakes_comes_back_with_them(as_ada, sent):
    """Status 422, the other form still there, nothing started."""
    response = as_ada.post(reverse("start_countdown"), countdown_fields(seconds=601))
    assert response.status_code == 422
    assert "600" in response.content.decode()
    assert response.context["countdown_form"].errors
    assert not response.context["import_form"].is_bound
    assert as_ada.post(reverse("start_import"), {"once": str(uuid.uuid4())}).status_code == 422
    assert sent == []
    assert not Start.objects.exists()


@pytest.mark.parametrize(
    ("name", "fields", "task"),
    [("start_countdown", countdown_fields, countdown), ("start_import", import_fields, import_csv)],
)
def test_a_broker_that_is_away_is_said_on_the_form(as_ada, monkeypatch, name, fields, task):
    """503 and plain words, the values still there; nothing is kept."""

    def away(**_kwargs):
        raise OperationalError("Connection refused")

    monkeypatch.setattr(task, "apply_async", away)
    response = as_ada.post(reverse(name), fields())
    assert response.status_code == 503
    assert "message broker does not answer" in response.content.decode()
    assert not Start.objects.exists()
    assert not Upload.objects.exists()


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

    monkeypatch.setattr(get_store(), "load", away)
    response = as_ada.get("/runs/x/")
    assert response.status_code == 503
    assert "cannot be shown now" in response.content.decode()


def test_a_run_is_shown_to_its_owner(as_ada, ada):
    """With its snapshot and what its owner may do."""
    key = queue("mine", str(ada.pk))
    context = as_ada.get(f"/runs/{key}/").context
    assert (context["key"], context["may"], context["outcome_url"]) == (key, ["watch", "cancel"], None)
    assert context["snapshot"]["id"] == key


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
    assert "<td>12</td><td>email “&lt;script&gt;” is not an address</td>" in page
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
