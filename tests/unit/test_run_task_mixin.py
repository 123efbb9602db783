"""Tasks are started from the admin pages of any model: for one row, for many, by whom, and what is written down."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from celery import _state, current_app, shared_task
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.exceptions import ImproperlyConfigured
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import include, path, reverse
from kombu import Producer

import progress
import progress.testing
from progress import store as stores
from progress.admin import TaskRunAdmin
from progress.exceptions import StoreUnavailable
from progress.memory_store import MemoryStore
from progress.models import TaskRun
from progress.run_task_mixin import MANY, RunTaskMixin
from progress.run_task_runs import Total, total_of
from progress.store import Write, get_store
from progress.task_calls import offers, taker_of

from .admin_pages import make_row, queue, record

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@shared_task(name="tests.mixin.tidy")
@progress.options(title="Tidy {group_id}")
def tidy(group_id: int) -> None:
    """Tidy a group."""


@shared_task(name="tests.mixin.invite")
@progress.options(title="Invite")
def invite(text: str, group: Annotated[int, Group], times: int = 2) -> None:
    """Invite everybody."""


@shared_task(name="tests.mixin.merge")
@progress.options(title="Merge", start_permission="auth.delete_group")
def merge(groups: Annotated[list[int], Group]) -> None:
    """Make one of many."""


@shared_task(name="tests.mixin.unseen")
@progress.options(track=False)
def unseen(group_id: int) -> None:
    """Nobody sees it."""


@shared_task(name="tests.mixin.rename")
def rename(old: str, new: str) -> None:
    """Rename."""


@shared_task(name="tests.mixin.picture")
def picture(group_id: Annotated[int, Group], file: Annotated[str, progress.StoredFile()]) -> None:
    """Give it a picture."""


class GroupAdmin(RunTaskMixin, ModelAdmin):
    """Offers five tasks, and shows no secret group."""

    run_tasks: ClassVar = {
        "Tidy 100 %": tidy,
        "Invite": "tests.mixin.invite",
        "Merge": merge,
        "Unseen": unseen,
        "Rename": rename,
    }
    change_form_template = "tests/own_change_form.html"

    def get_queryset(self, request):
        return super().get_queryset(request).exclude(name="secret")

    def has_view_permission(self, request, obj=None):
        return super().has_view_permission(request, obj) and getattr(obj, "name", "") != "private"

    def run_task_arguments(self, task, obj):
        if task.name == rename.name:
            return {"old": obj.name, "new": obj.name.upper()}
        return super().run_task_arguments(task, obj)


class PlainGroupAdmin(RunTaskMixin, ModelAdmin):
    """Says nothing but which tasks."""

    run_tasks = (tidy, merge, picture)


one, bare = AdminSite("one"), AdminSite("bare")
one.register(Group, GroupAdmin)
one.register(TaskRun, TaskRunAdmin)
bare.register(Group, PlainGroupAdmin)
urlpatterns = [
    path("one/", one.urls),
    path("bare/", bare.urls),
    path("progress/", include("progress.urls")),
]
OWN_TEMPLATE = (
    '{% extends "admin/change_form.html" %}'
    "{% block object-tools-items %}<li>their own tool</li>{{ block.super }}{% endblock %}"
)


@pytest.fixture(autouse=True)
def own_store(monkeypatch):
    """Records of this test alone."""
    monkeypatch.setattr(stores, "_stores", {})


@pytest.fixture(autouse=True)
def own_template(settings):
    """The model's admin has a template of its own."""
    (engine,) = settings.TEMPLATES
    loaders = [
        ("django.template.loaders.locmem.Loader", {"tests/own_change_form.html": OWN_TEMPLATE}),
        "django.template.loaders.app_directories.Loader",
    ]
    options = {**engine["OPTIONS"], "loaders": loaders}
    settings.TEMPLATES = [{**engine, "APP_DIRS": False, "OPTIONS": options}]


@pytest.fixture
def sent(monkeypatch):
    """What reached the broker: (task, arguments)."""
    calls = []

    def publish(_, body, headers=None, **__):
        calls.append((headers["task"], body[1]))

    monkeypatch.setattr(Producer, "publish", publish)
    return calls


@pytest.fixture
def no_broker(monkeypatch):
    """A broker that takes `no_broker.takes` messages, then none."""

    class Broker:
        takes = 0

    def publish(*_args, **_kwargs):
        if not Broker.takes:
            raise ConnectionError("no broker here")
        Broker.takes -= 1

    monkeypatch.setattr(Producer, "publish", publish)
    return Broker


START = ("view_group", "start_taskrun")
PAGE = Path(__file__).parents[2] / "docs/run-task-mixin.md"


def log_in(client, *codenames):
    user = User.objects.create_user("staff", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return user


def url(view, *args, site="one"):
    return reverse(f"{site}:auth_group_{view}", args=args, current_app=site)


def ask(task, group, site="one"):
    return url("run_task", group.pk, task.name, site=site)


def select(client, task, groups, site="one", **more):
    data = {"action": f"run_task:{task.name}", "_selected_action": [group.pk for group in groups], **more}
    return client.post(url("changelist", site=site), data)


def groups(*names):
    return [Group.objects.create(name=name) for name in names]


# --- One row -------------------------------------------------------------------------------------------------


def test_page_of_a_row_has_a_button_for_each_task_beside_its_own_tools(client):
    """Also where the model's admin has a template of its own, and for who may only look."""
    (group,) = groups("Friends")
    log_in(client, *START)
    page = client.get(url("change", group.pk)).text
    assert "their own tool" in page
    assert f'<a href="{ask(tidy, group)}">Tidy 100 %</a>' in page
    assert f'href="{url("object_runs", group.pk)}"' in page


def test_page_that_asks_starts_nothing(client, sent):
    """It names the row, the task and what that does; a GET changes nothing."""
    (group,) = groups("Friends")
    log_in(client, *START)
    page = client.get(ask(tidy, group))
    assert (page.status_code, sent) == (200, [])
    assert all(words in page.text for words in ("Friends", tidy.name, "Tidy a group.", "csrfmiddlewaretoken"))
    assert "<script>" not in page.text
    assert not re.search(r"\s(style|on\w+)=", page.text)


def test_answer_starts_the_task_and_leads_to_a_live_bar(client, sent):
    """One message with the row's primary key; the bar is on the row's own page of runs, and leads to the run."""
    (group,) = groups("Friends")
    user = log_in(client, *START)
    answer = client.post(ask(tidy, group))
    assert sent == [(tidy.name, {"group_id": group.pk})]
    assert answer.url == url("object_runs", group.pk)
    page = client.get(answer.url).text
    (key,) = re.findall(r'<task-progress task-id="([^"]+)"', page)
    assert f"Tidy {group.pk}" in page
    assert f'href="{reverse("one:task_progress_taskrun_change", args=[key])}"' in page
    assert record(key).owner == str(user.pk)


def test_start_is_in_the_log_of_the_row_and_of_the_run(client, sent):
    """Who did it is found from both sides."""
    (group,) = groups("Friends")
    user = log_in(client, *START)
    client.post(ask(tidy, group))
    of_row, of_run = LogEntry.objects.order_by("pk")
    assert {of_row.user, of_run.user} == {user}
    assert (of_row.get_edited_object(), of_row.action_flag) == (group, CHANGE)
    assert of_row.get_change_message() == f"Started {tidy.name}: {of_run.object_id}"
    assert (of_run.content_type.model, of_run.action_flag) == ("taskrun", ADDITION)
    assert of_run.object_repr == f"Tidy {group.pk}"
    assert of_run.get_change_message() == f"Started {tidy.name} for group Friends"


def test_page_of_runs_shows_the_newest_large_and_those_before_below(client, sent):
    """Of this row only."""
    first, second = groups("Friends", "Others")
    log_in(client, *START)
    for group in (first, second, first):
        client.post(ask(tidy, group))
    page = client.get(url("object_runs", first.pk)).text
    entries = LogEntry.objects.filter(object_id=str(first.pk), action_flag=CHANGE).order_by("-pk")
    keys = [entry.change_message.rpartition(": ")[2] for entry in entries]
    assert re.findall('<task-progress task-id="([^"]+)"', page) == keys
    assert [" compact" in tag for tag in re.findall("<task-progress [^>]*>", page)] == [False, True]


def test_task_that_needs_more_shows_its_form_for_the_rest(client, sent):
    """The row's own argument is not asked for; defaults are filled in; a mistake is told beside its field."""
    (group,) = groups("Friends")
    log_in(client, *START)
    form = client.get(ask(invite, group)).context["form"]
    assert list(form.fields) == ["text", "times"]
    assert form["times"].value() == 2
    wrong = client.post(ask(invite, group), {"run-text": "", "run-times": "2"})
    assert (wrong.status_code, sent, list(wrong.context["form"].errors)) == (422, [], ["text"])
    client.post(ask(invite, group), {"run-text": "Come!", "run-times": "3"})
    assert sent == [(invite.name, {"text": "Come!", "group": group.pk, "times": 3})]


def test_site_may_say_itself_what_a_row_becomes(client, sent):
    """`run_task_arguments` is asked for each task and row."""
    (group,) = groups("Friends")
    log_in(client, *START)
    client.post(ask(rename, group))
    assert sent == [(rename.name, {"old": "Friends", "new": "FRIENDS"})]


def test_untracked_task_is_started_and_nobody_is_promised_a_bar(client, sent):
    """It says so, on the row's page."""
    (group,) = groups("Friends")
    log_in(client, *START)
    answer = client.post(ask(unseen, group), follow=True)
    assert answer.redirect_chain == [(url("change", group.pk), 302)]
    assert "nothing to watch" in answer.text
    assert [name for name, _ in sent] == [unseen.name]


def test_broker_that_is_away_is_told_and_nothing_is_claimed(client, no_broker):
    """Back to the row, with the reason; no log entry of a start that did not happen."""
    (group,) = groups("Friends")
    user = log_in(client, *START)
    answer = client.post(ask(tidy, group), follow=True)
    assert answer.redirect_chain == [(url("change", group.pk), 302)]
    assert "Nothing was started." in answer.text
    assert "no broker here" in answer.text
    assert not LogEntry.objects.exists()
    assert {str(record(key).state) for key in get_store().mine(str(user.pk))} == {"REVOKED"}


def test_redis_that_is_away_stops_nobody(client, sent, monkeypatch):
    """The task is sent, its start is in the log, and the page of runs says what it knows: nothing yet."""
    (group,) = groups("Friends")
    log_in(client, *START)

    def refuse(*_args, **_kwargs):
        raise StoreUnavailable

    for name in ("write", "load", "load_many", "load_workflows"):
        monkeypatch.setattr(MemoryStore, name, refuse)
    page = client.post(ask(tidy, group), follow=True)
    assert (page.status_code, len(sent)) == (200, 1)
    assert LogEntry.objects.count() == 2


# --- Many ----------------------------------------------------------------------------------------------------


def test_action_for_the_selection_asks_first(client, sent):
    """The number and the names; nothing is sent yet."""
    chosen = groups("Friends", "Others")
    log_in(client, *START)
    page = client.get(url("changelist")).text
    assert "Tidy 100 % for the selected groups" in page
    asked = select(client, tidy, chosen)
    assert (asked.status_code, sent) == (200, [])
    assert all(words in asked.text for words in ("2 groups", "Friends", "Others", "2 times, once for each"))


def test_each_of_the_selection_gets_a_task_and_all_share_one_bar(client, sent):
    """They are one workflow; its page has a total, and each of them below it."""
    chosen = groups("Friends", "Others", "More")
    log_in(client, *START)
    answer = select(client, tidy, chosen, post="yes")
    assert sorted(arguments["group_id"] for _, arguments in sent) == sorted(group.pk for group in chosen)
    page = client.get(answer.url)
    keys = re.findall(r'<task-progress task-id="([^"]+)"', page.text)
    tree = answer.url.rstrip("/").rpartition("/")[2]
    assert {record(key).tree for key in keys} == {tree}
    assert "0 of 3 ended" in page.text
    finish(keys[0])
    assert "1 of 3 ended" in client.get(answer.url).text
    assert LogEntry.objects.filter(content_type__model="group").count() == 3


def finish(key):
    get_store().write(Write("verdict", key, {"exec": "", "state": "FAILURE"}))


def test_page_of_a_selection_counts_failures_and_parts():
    """Each run counts the same; what has ended counts in full."""

    class Run:
        def __init__(self, live, **known):
            self.known, self.seen = known, type("Seen", (), {"live": live})

    runs = [
        Run(True, state="PROGRESS", final=False, fraction=0.5),
        Run(True, state="PENDING", final=False, fraction=None),
        Run(True, state="SUCCESS", final=True, fraction=1),
        Run(False, state="FAILURE", final=True, fraction=0.2),
    ]
    assert total_of(runs) == Total("0.625", "2 of 4 ended, 1 failed", failed=True)


def test_task_that_takes_a_list_is_started_once_for_all(client, sent):
    """With all primary keys, where the site does not say otherwise."""
    chosen = groups("Friends", "Others")
    log_in(client, *START, "delete_group")
    answer = select(client, merge, chosen, site="bare", post="yes")
    assert [(name, sorted(given["groups"])) for name, given in sent] == [
        (merge.name, sorted(group.pk for group in chosen))
    ]
    assert len(re.findall("<task-progress ", client.get(answer.url).text)) == 1
    assert LogEntry.objects.filter(content_type__model="group").count() == 2


def test_one_form_serves_the_whole_selection(client, sent):
    """What is filled in is passed to each."""
    chosen = groups("Friends", "Others")
    log_in(client, *START)
    wrong = select(client, invite, chosen, post="yes")
    assert (wrong.status_code, sent) == (422, [])
    select(client, invite, chosen, post="yes", **{"run-text": "Come!", "run-times": "2"})
    assert {given["text"] for _, given in sent} == {"Come!"}
    assert len(sent) == 2


def test_file_that_is_uploaded_is_there_for_each(client, sent, settings, tmp_path):
    """Also a large one, which is stored by moving it: each task has a file of its own."""
    settings.MEDIA_ROOT = tmp_path
    settings.FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
    chosen = groups("Friends", "Others")
    log_in(client, *START)
    asked = select(client, picture, chosen, site="bare")
    assert 'enctype="multipart/form-data"' in asked.text
    file = SimpleUploadedFile("face.png", b"pixels")
    select(client, picture, chosen, site="bare", post="yes", **{"run-file": file})
    names = [given["file"] for _, given in sent]
    assert len(set(names)) == 2
    assert [(tmp_path / name).read_bytes() for name in names] == [b"pixels"] * 2


def test_pages_ask_the_same_however_many_runs_they_show(client, sent, django_assert_max_num_queries):
    """Ten queries at the most, for two runs and for fifty."""
    chosen = groups(*(f"g{number}" for number in range(50)))
    log_in(client, *START)
    tree = select(client, tidy, chosen, post="yes").url
    for _ in range(3):
        client.post(ask(tidy, chosen[0]))
    for address in (tree, url("object_runs", chosen[0].pk), url("change", chosen[0].pk)):
        with django_assert_max_num_queries(10):
            assert client.get(address).status_code == 200


def test_broker_that_leaves_half_way_is_told_with_the_number(client, no_broker):
    """What was started is in the log and waits; what the broker refused waits for nobody; the rest was not tried."""
    chosen = groups("Friends", "Others", "More")
    log_in(client, *START)
    no_broker.takes = 2
    answer = select(client, tidy, chosen, post="yes")
    page = client.get(answer.url).text
    assert "2 of 3 were started, the others were not." in page
    keys = re.findall('<task-progress task-id="([^"]+)"', page)
    assert [str(record(key).state) for key in keys] == ["PENDING", "PENDING", "REVOKED"]
    assert LogEntry.objects.filter(content_type__model="group").count() == 2


def test_too_large_a_selection_is_refused_whole(client, sent):
    """Nothing is started for the first two hundred in silence."""
    chosen = Group.objects.bulk_create(Group(name=f"g{number}") for number in range(MANY + 1))
    log_in(client, *START)
    answer = select(client, tidy, chosen[:1], select_across="1", post="yes")
    assert answer.status_code == 302
    assert f"Choose {MANY} at the most" in client.get(answer.url).text
    assert sent == []


def test_what_redis_has_forgotten_is_shown_from_the_history(client):
    """The page of a selection outlives the records."""
    log_in(client, *START, "view_taskrun")
    for number in range(2):
        make_row(f"old{number}", tree="tree-of-old", title=f"Old {number}")
    page = client.get(url("runs", "tree-of-old")).text
    assert "2 of 2 ended" in page
    assert "Old 0" in page
    assert "<task-progress" not in page


# --- Who may -------------------------------------------------------------------------------------------------


def test_what_one_may_not_start_is_nowhere(client, sent):
    """No button, no action, no page: neither without the permission for tasks nor without the task's own."""
    (group,) = groups("Friends")
    user = log_in(client, "view_group")
    assert "Tidy" not in client.get(url("change", group.pk)).text
    assert "run_task:" not in client.get(url("changelist")).text
    assert client.post(ask(tidy, group)).status_code == 404
    user.user_permissions.add(Permission.objects.get(codename="start_taskrun"))
    page = client.get(url("change", group.pk)).text
    assert ("Tidy" in page, "Merge" in page) == (True, False)
    assert client.post(ask(merge, group)).status_code == 404
    select(client, merge, [group], post="yes")
    assert sent == []


def test_task_that_is_not_listed_cannot_be_started_here(client, sent):
    """Whatever its address says."""
    (group,) = groups("Friends")
    log_in(client, *START)
    for name in ("progress.ping", "no.such"):
        assert client.post(url("run_task", group.pk, name)).status_code == 404
    assert sent == []


@pytest.mark.parametrize("name", ["secret", "private"])
def test_row_that_one_may_not_see_is_started_for_nobody(client, sent, name):
    """Neither by its address nor in a forged selection, whether the list or the row's own permission hides it."""
    hidden, shown = groups(name, "Friends")
    log_in(client, *START)
    assert client.get(ask(tidy, hidden)).status_code == 404
    assert client.post(ask(tidy, hidden)).status_code == 404
    assert client.get(url("object_runs", hidden.pk)).status_code == 404
    assert name not in select(client, tidy, [hidden, shown]).text.replace("private-", "")
    select(client, tidy, [hidden, shown], post="yes")
    assert [given["group_id"] for _, given in sent] == [shown.pk]


def test_without_the_models_own_permission_there_is_nothing(client, sent):
    """Who may start tasks does not see rows by that."""
    (group,) = groups("Friends")
    log_in(client, "start_taskrun")
    answers = [client.get(ask(tidy, group)), client.get(url("object_runs", group.pk)), client.get(url("runs", "x"))]
    assert [answer.status_code for answer in answers] == [404, 404, 404]


def test_runs_of_others_are_not_shown(client, sent):
    """Who may see the row, and not the run, sees no trace of that run; unknown and forbidden are one answer."""
    (group,) = groups("Friends")
    user = log_in(client, *START)
    queue("theirs", owner="other", title="Not mine", tree="a-tree")
    get_store().write(Write("queue", "part", {"owner": "other", "tree": "a-tree", "body": '"title":"Not mine"'}))
    LogEntry.objects.create(
        user=user,
        content_type=ContentType.objects.get_for_model(group),
        object_id=str(group.pk),
        object_repr="x",
        action_flag=CHANGE,
        change_message="Started x: theirs",
    )
    page = client.get(url("object_runs", group.pk))
    assert (page.status_code, "Not mine" in page.text) == (200, False)
    answers = [client.get(url("runs", tree)) for tree in ("a-tree", "no-such-tree")]
    assert [answer.status_code for answer in answers] == [404, 404]


def test_anonymous_people_are_sent_to_log_in(client, sent):
    """Each of the pages."""
    (group,) = groups("Friends")
    for address in (ask(tidy, group), url("object_runs", group.pk), url("runs", "x")):
        assert client.post(address).url.startswith("/one/login/")
    assert sent == []


def test_forged_request_of_another_site_starts_nothing(sent):
    """The pages want Django's token."""
    (group,) = groups("Friends")
    client = Client(enforce_csrf_checks=True)
    log_in(client, *START)
    assert client.post(ask(tidy, group)).status_code == 403
    assert sent == []


# --- Any admin site ------------------------------------------------------------------------------------------


def test_site_without_the_history_has_bars_that_lead_nowhere(client, sent):
    """All links stay within the site, and there is none to a page that it does not have."""
    (group,) = groups("Friends")
    log_in(client, *START)
    page = client.get(url("change", group.pk, site="bare")).text
    assert f'<a href="{ask(tidy, group, site="bare")}">Tidy</a>' in page
    answer = client.post(ask(tidy, group, site="bare"))
    assert answer.url == url("object_runs", group.pk, site="bare")
    page = client.get(answer.url).text
    assert re.search(r"<task-progress [^>]*>", page)
    assert "/one/" not in page
    assert "taskrun" not in page


def test_admin_that_turned_actions_off_has_none_of_ours(rf):
    """`actions = None` means it."""
    user = User.objects.create_superuser("root")
    request = rf.get("/")
    request.user = user
    pages = bare.get_model_admin(Group)
    assert "run_task:tests.mixin.tidy" in pages.get_actions(request)
    silent = type("Silent", (PlainGroupAdmin,), {"actions": None})(Group, bare)
    assert silent.get_actions(request) == {}


# --- From a row to arguments ---------------------------------------------------------------------------------


def test_argument_of_a_row_is_found_by_its_annotation_or_by_being_the_only_one():
    """The primary key goes as the task says; where it says nothing, as a message carries it."""

    def untyped(row, often=1): ...
    def texts(often: int, session: Annotated[str, Session] | None = None): ...

    assert taker_of(task(untyped), Group).name == "row"
    assert taker_of(task(untyped), Group).value([7]) == 7
    assert taker_of(task(untyped), Session).value(["abc"]) == "abc"
    assert taker_of(task(texts), Session)[0] == "session"
    assert taker_of(merge, Group).value([1, 2]) == [1, 2]


def test_task_that_takes_no_such_row_says_what_to_write():
    """Two required arguments and no annotation, or that of another model: nothing is guessed."""

    def other(user: Annotated[int, User]): ...

    for wrong in (rename, task(other)):
        with pytest.raises(ImproperlyConfigured, match=r"Annotated\[int, Group\], or override run_task_arguments"):
            taker_of(wrong, Group)


def test_name_that_no_task_has_is_told():
    """When the admin asks for it, with what to do."""
    with pytest.raises(ImproperlyConfigured, match=r"no\.such\.task"):
        list(offers(["no.such.task"]))


def test_label_is_the_name_of_the_task_unless_the_site_gives_one():
    """In words."""
    assert [offer.label for offer in offers([tidy, "tests.mixin.merge"])] == ["Tidy", "Merge"]
    assert [offer.label for offer in offers({"All into one": merge})] == ["All into one"]


def test_examples_in_the_documents_work(monkeypatch, sent, client):
    """The code on the page as it stands: the list says it by name, the task by its annotation."""
    before = set(current_app.tasks)
    monkeypatch.setattr(_state, "_on_app_finalizers", set(_state._on_app_finalizers))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    example: dict = {"__name__": "examples"}
    try:
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), example)
        (offer,) = offers(example["GroupAdmin"].run_tasks)
        assert (offer.label, offer.about) == ("Invite again", "Send every member an invitation.")
        assert taker_of(offer.task, Group).value([3]) == 3
        (group,) = groups("Friends")
        group.user_set.add(User.objects.create_user("ann", "ann@example.org"))
        told = progress.testing.collect(offer.task, group_id=group.pk)
        assert (told.last["state"], told.last["total"]) == ("SUCCESS", 1)
    finally:
        for name in set(current_app.tasks) - before:
            current_app.tasks.pop(name)
    ann = User(first_name="Ann", last_name="Lee", email="ann@example.org")
    passed = example["UserAdmin"](User, one).run_task_arguments(None, ann)
    assert passed == {"address": "ann@example.org", "name": "Ann Lee"}


def task(function):
    return type("Task", (), {"name": f"tests.{function.__name__}", "run": staticmethod(function)})
