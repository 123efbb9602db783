"""What came of a run: who gets a file, who may call off a rollout, and what is said in between."""

import tempfile
import uuid
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.files.base import ContentFile
from django.urls import reverse
from django.utils import timezone

import progress
from progress.testing import collect
from tasks import outcomes
from tasks.models import Export, Installation, Rollout, Start
from tasks.tasks import export_orders, install_on_host, install_software

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("progress_store")]


@pytest.fixture(autouse=True)
def private(settings, tmp_path):
    settings.PRIVATE_ROOT = tmp_path / "private"
    return settings.PRIVATE_ROOT


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


def start_of(owner, task) -> Start:
    return Start.objects.create(user=owner, once=uuid.uuid4(), task=task.name, sent_at=timezone.now())


def ends(owner, task, task_id: str, **kwargs) -> str:
    """Run a task of `owner` under this id, so that there is a record of it; the answer is its last state."""
    with progress.owner(owner), collect() as told:
        task.apply(kwargs=kwargs, task_id=str(task_id))
    return told.of(str(task_id))[-1]["state"]


def exported(owner, **fields) -> Export:
    export = Export.objects.create(owner=owner, at_least=20, start=start_of(owner, export_orders), **fields)
    assert ends(owner, export_orders, export.start.task_id, export_id=export.pk) == "SUCCESS"
    export.refresh_from_db()
    return export


def rolled_out(owner, *hosts: str, stopped_at=None) -> Rollout:
    """A rollout whose own task has run, with its parts still waiting."""
    rollout = Rollout.objects.create(
        owner=owner, packages=["nginx"], start=start_of(owner, install_software), stopped_at=stopped_at
    )
    Installation.objects.bulk_create(Installation(rollout=rollout, host=host) for host in hosts)
    return rollout


@pytest.fixture
def parent_alone(monkeypatch):
    """Rollouts send nothing here; tests play the parts."""
    monkeypatch.setattr(install_on_host, "apply_async", lambda **_kwargs: None)
    monkeypatch.setattr("tasks.hosts.time.sleep", lambda _seconds: None)


# --- Exports -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
def test_the_owner_gets_the_file_byte_for_byte(as_ada, ada, compressed):
    """To be saved under a safe name, kept by nobody on the way."""
    export = exported(ada, compressed=compressed)
    response = as_ada.get(reverse("export_file", args=[export.pk]))
    assert b"".join(response.streaming_content) == Path(export.file.path).read_bytes()
    assert response["Content-Length"] == str(export.size)
    assert response["Content-Disposition"] == f'attachment; filename="{export.name}"'
    assert response["Content-Type"] == ("application/gzip" if compressed else "text/csv; charset=utf-8")
    assert response["Cache-Control"] == "private, no-store"
    assert response["X-Content-Type-Options"] == "nosniff"


async def test_the_file_comes_in_pieces_from_an_asgi_server_too(async_rf, monkeypatch, tmp_path):
    """None of them holds the whole, and the file is closed in the end."""
    monkeypatch.setattr(outcomes, "BYTES_AT_ONCE", 100)
    export = Export(pk=7, created_at=timezone.now(), size=1000)
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        file.write(bytes(range(250)) * 4)
        file.seek(0)
        response = outcomes._FileAnswer(async_rf.get("/"), file, export)
        assert [len(piece) async for piece in response.streaming_content] == [100] * 10
        response.close()
        assert file.closed


def test_nobody_else_gets_it_and_nobody_learns_that_it_exists(client, ada, bob):
    """Not even staff with every permission: the same 404 as for one that never was."""
    export = exported(ada)
    boss = get_user_model().objects.create_superuser("boss")
    for other in (bob, boss):
        client.force_login(other)
        foreign = client.get(reverse("export_file", args=[export.pk]))
        unknown = client.get(reverse("export_file", args=[export.pk + 1000]))
        assert (foreign.status_code, unknown.status_code) == (404, 404)
        assert foreign.content == unknown.content
        assert export.name not in client.get(reverse("exports")).content.decode()


def test_an_export_without_a_file_is_not_found(as_ada, ada):
    """Not finished, cancelled, or its file was deleted behind our back."""
    export = Export.objects.create(owner=ada)
    assert as_ada.get(reverse("export_file", args=[export.pk])).status_code == 404
    lost = exported(ada)
    Path(lost.file.path).unlink()
    assert as_ada.get(reverse("export_file", args=[lost.pk])).status_code == 404


def test_a_past_export_is_not_given_out_before_it_is_deleted_either(as_ada, ada, settings):
    """Nobody has to run a timer for a promise to hold."""
    export = exported(ada)
    settings.PROGRESS_RETENTION = 0
    assert as_ada.get(reverse("export_file", args=[export.pk])).status_code == 404
    assert export.name not in as_ada.get(reverse("exports")).content.decode()


def test_my_exports_are_listed_newest_first_with_their_links(as_ada, ada, bob):
    """Those without a file say so."""
    mine = [exported(ada), Export.objects.create(owner=ada)]
    exported(bob)
    response = as_ada.get(reverse("exports"))
    page = response.content.decode()
    assert list(response.context["exports"]) == mine[::-1]
    assert reverse("export_file", args=[mine[0].pk]) in page
    assert reverse("export_file", args=[mine[1].pk]) not in page
    assert "no file" in page
    assert reverse("run", args=[mine[0].start.task_id]) in page
    assert f'href="{reverse("exports")}"' in as_ada.get("/").content.decode()


def test_the_run_of_an_export_links_its_file_for_its_owner_alone(client, ada):
    """Staff who may watch the run see how far it is, and no file."""
    export = exported(ada)
    address, file = reverse("run", args=[export.start.task_id]), reverse("export_file", args=[export.pk])
    client.force_login(ada)
    assert file in client.get(address).content.decode()
    boss = get_user_model().objects.create_superuser("boss")
    client.force_login(boss)
    page = client.get(address)
    assert page.status_code == 200
    assert file not in page.content.decode()


def test_a_run_that_ended_without_a_file_says_why_there_is_none(as_ada, ada):
    """Here: nothing to export."""
    export = Export.objects.create(owner=ada, start=start_of(ada, export_orders))
    ends(ada, export_orders, export.start.task_id, export_id=export.pk)
    page = as_ada.get(reverse("run", args=[export.start.task_id])).content.decode()
    assert "There is no file: it is kept only when it is whole." in page
    assert "You have no orders of these days." in page


def test_a_run_whose_rows_were_deleted_is_still_shown(as_ada, ada):
    """Only the outcome is missing."""
    export = exported(ada)
    address = reverse("run", args=[export.start.task_id])
    export.delete()
    page = as_ada.get(address)
    assert (page.status_code, page.context["outcome"]) == (200, None)


def test_the_admin_gives_no_file_away(admin_client, ada):
    """Staff see that there is an export, not where it is kept."""
    export = exported(ada)
    page = admin_client.get(f"/admin/tasks/export/{export.pk}/change/").content.decode()
    assert export.file.name not in page
    for model in ("export", "order", "rollout", "feedentry"):
        assert admin_client.get(f"/admin/tasks/{model}/").status_code == 200
        assert admin_client.get(f"/admin/tasks/{model}/add/").status_code == 403


def test_deleting_an_export_deletes_its_file(ada, django_capture_on_commit_callbacks):
    """Only once the deletion is certain."""
    export = exported(ada)
    path = Path(export.file.path)
    with django_capture_on_commit_callbacks(execute=True):
        export.delete()
        assert path.exists()
    assert not path.exists()


def test_no_name_that_a_user_chose_is_in_a_download(ada):
    """Nothing to be escaped in a header, and nothing to be spoofed."""
    name = Export(pk=7, created_at=timezone.now(), owner=ada).name
    assert name.replace("-", "").replace(".", "").isalnum()
    assert ContentFile(b"", name).name == name


# --- Rollouts ----------------------------------------------------------------------------------------------


def test_the_run_of_a_rollout_lists_its_parts_with_their_bars(as_ada, ada, parent_alone):
    """Those that were sent with a bar and a link, the others by their name; counted without JavaScript too."""
    rollout = rolled_out(ada, "web-1", "down-2", "web-3")
    assert ends(ada, install_software, rollout.start.task_id, rollout_id=rollout.pk) == "SUCCESS"
    one, two, _ = rollout.installations.all()
    for part in (one, two):
        ends(ada, install_on_host, part.task_id, installation_id=part.pk, host=part.host)
    page = as_ada.get(reverse("run", args=[rollout.start.task_id])).content.decode()
    for part in (one, two):
        assert f'task-id="{part.task_id}"' in page
        assert f'href="{reverse("run", args=[str(part.task_id)])}"' in page
    assert "web-3: not sent" in page
    assert "simulated" in page
    text = " ".join(page.replace("<span", " <span").split())
    assert '<span id="parts-ended">2</span> of 3 ended, <span id="parts-failed">1</span> failed.' in text


def test_a_part_leads_back_to_its_rollout(as_ada, ada, parent_alone):
    """Whoever opens one host finds the others."""
    rollout = rolled_out(ada, "web-1")
    part = rollout.installations.get()
    ends(ada, install_on_host, part.task_id, installation_id=part.pk, host=part.host)
    page = as_ada.get(reverse("run", args=[str(part.task_id)])).content.decode()
    assert f'href="{reverse("run", args=[rollout.start.task_id])}"' in page


def test_what_is_not_done_can_be_called_off_by_the_owner(as_ada, ada):
    """One button, without JavaScript. When it was pressed, the page says so and offers it no more."""
    rollout = rolled_out(ada, "web-1", "web-2")
    assert ends(ada, install_software, rollout.start.task_id, rollout_id=rollout.pk) == "SUCCESS"
    address, stop = reverse("run", args=[rollout.start.task_id]), reverse("stop_rollout", args=[rollout.pk])
    assert f'action="{stop}"' in as_ada.get(address).content.decode()
    response = as_ada.post(stop, follow=True)
    assert response.redirect_chain == [(address, 302)]
    page = response.content.decode()
    assert "Called off. What runs stops within a second" in page
    assert "The rest was called off." in page
    assert stop not in page
    rollout.refresh_from_db()
    assert rollout.stopped_at is not None
    part = rollout.installations.first()
    assert ends(ada, install_on_host, part.task_id, installation_id=part.pk, host=part.host) == "REVOKED"


def test_nothing_is_offered_to_be_called_off_when_everything_has_ended(as_ada, ada, parent_alone):
    """However it ended."""
    rollout = rolled_out(ada, "web-1", "down-2")
    assert ends(ada, install_software, rollout.start.task_id, rollout_id=rollout.pk) == "SUCCESS"
    for part in rollout.installations.all():
        ends(ada, install_on_host, part.task_id, installation_id=part.pk, host=part.host)
    page = as_ada.get(reverse("run", args=[rollout.start.task_id]))
    assert page.context["outcome"].values["ended"] == 2
    assert reverse("stop_rollout", args=[rollout.pk]) not in page.content.decode()


def test_nobody_else_calls_it_off_and_nobody_learns_that_it_exists(client, ada, bob):
    """Staff may who may cancel runs; for all others it is the 404 of one that never was."""
    rollout = rolled_out(ada, "web-1")
    assert ends(ada, install_software, rollout.start.task_id, rollout_id=rollout.pk) == "SUCCESS"
    watcher = get_user_model().objects.create_user("watcher", is_staff=True)
    watcher.user_permissions.add(Permission.objects.get(codename="view_taskrun"))
    for other in (bob, watcher):
        client.force_login(other)
        foreign = client.post(reverse("stop_rollout", args=[rollout.pk]))
        unknown = client.post(reverse("stop_rollout", args=[rollout.pk + 1000]))
        assert (foreign.status_code, unknown.status_code) == (404, 404)
        assert foreign.content == unknown.content
    assert (
        reverse("stop_rollout", args=[rollout.pk])
        not in client.get(reverse("run", args=[rollout.start.task_id])).content.decode()
    )
    rollout.refresh_from_db()
    assert rollout.stopped_at is None
    client.force_login(get_user_model().objects.create_superuser("boss"))
    assert client.post(reverse("stop_rollout", args=[rollout.pk])).status_code == 302
    rollout.refresh_from_db()
    assert rollout.stopped_at is not None


def test_a_rollout_whose_run_is_forgotten_is_not_found(as_ada, ada):
    """Without a record nobody can be shown anything, nor call anything off."""
    rollout = rolled_out(ada, "web-1")
    assert as_ada.post(reverse("stop_rollout", args=[rollout.pk])).status_code == 404
