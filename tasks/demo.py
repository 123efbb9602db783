"""Users and runs to look at: one run in each state, as `manage.py demo` makes them. Nobody runs anything for it.

Like `runs`, this reaches below the public interface of `progress`: it writes what senders and workers would have
written, and the history as the recorder would. A site of your own has no need of that.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from celery import Task
from django.contrib.auth.models import Permission, User
from django.db import transaction

from progress import arguments, recorder
from progress.conf import conf
from progress.models import TaskRun
from progress.options import options_of
from progress.record import Record
from progress.reporter import Job, Reporter
from progress.snapshot import LIVE, State
from progress.store import Answer, Change, Write, get_store

from . import tasks
from .hosts import NoAnswer
from .refusals import Refused

ANN, STELLA = "ann", "stella"
# What Stella may do with everybody's runs. She may neither see what a run was called with nor start it again.
RIGHTS: Final = ("view_taskrun", "cancel_taskrun", "start_taskrun")
PREFIX: Final = "demo-"


class NameTaken(Exception):
    """There is a user of this name who is not of the demo; nobody's password is changed."""


@transaction.atomic
def make_users(password: str) -> dict[str, User]:
    """The two users, with this password. Raises `NameTaken`; then neither is changed."""
    found = {}
    for name in (ANN, STELLA):
        mark = f"{name}@demo.invalid"
        user, new = User.objects.get_or_create(username=name, defaults={"email": mark})
        if not new and user.email != mark:
            raise NameTaken(f"There is a user {name} already, who is not of this demo.")
        user.is_staff = name == STELLA
        user.set_password(password)
        user.save()
        found[name] = user
    rights = Permission.objects.filter(content_type__app_label="task_progress", codename__in=RIGHTS)
    found[STELLA].user_permissions.set(rights)
    found[ANN].user_permissions.clear()
    return found


class Played:
    """A run whose life is played: what sender and worker would have written is written at once."""

    def __init__(self, example: Example, owners: Mapping[str, str]) -> None:
        self.example, self.owners = example, owners
        self.key = PREFIX + example.name
        name, function = example.task.name, example.task.run
        self.job = Job(
            key=self.key,
            name=name,
            exec=uuid.uuid4().hex[:16],
            options=options_of(name, function),
            title=options_of(name, function).titled(function, (), example.arguments, name),
            owner=owners[example.owner],
            tree=PREFIX + (example.part_of or example.name),
            part_of=PREFIX + example.part_of if example.part_of else "",
            parent=PREFIX + example.part_of if example.part_of else None,
            retries=0,
            max_retries=example.task.max_retries,
            worker="demo@nowhere",
        )
        self.reporter = Reporter(self.job)
        self.changes: list[Change] = []
        self._head = Record()
        self._writes = 0
        self._arguments = arguments.kept(name, function, (), example.arguments)

    def stands(self) -> bool:
        """True if the run is there as it should be."""
        record = get_store().load(self.key)
        wanted = (self.example.state, self.job.owner, bool(self.example.cancelled))
        return record is not None and (record.state, record.owner, bool(record.control)) == wanted

    def play(self) -> list[Change]:
        """Begin anew, whatever there is; what the history is to know of it."""
        record = get_store().load(self.key)
        if record is not None and not record.ended:
            own = record.exec if record.state in LIVE else ""
            self._write("verdict", {"exec": own, "state": str(State.REVOKED)})
            self.changes.clear()
        waits = {"waits": PREFIX + self.example.waits} if self.example.waits else {}
        texts = self.reporter.texts(State.PENDING)
        told = {"sent": uuid.uuid4().hex[:16], "arguments": self._arguments}
        self._write("queue", {**self.job.lineage, **told, **waits, **texts})
        self.example.life(self)
        return self.changes

    def run(self, state: State = State.PROGRESS, *, lease: int = 0, rate: float | None = None, **told: Any) -> None:
        """It says something. Without a `lease` (µs) nobody promises a sign of life, so nobody misses one.

        Its `rate` (a second) is pretended: what is measured here is that of a run that does no work.
        """
        self.reporter.update(**told)
        self._writes += 1
        place = {"exec": self.job.exec, "fence": self._head.fence if self._writes > 1 else 0, "n": self._writes}
        seen = {"seen": self._head.seq, "run": self._head.run, "attempt": self._head.attempt}
        texts = self.reporter.texts(state)
        texts["body"] = json.dumps({**json.loads("{" + texts["body"] + "}"), "rate": rate}, ensure_ascii=False)[1:-1]
        self._write(
            "save", {**place, **seen, "age": 0, "lease": lease, "state": str(state), **self.job.lineage, **texts}
        )

    def end(self, state: State, *, result: Any = None, error: BaseException | None = None) -> None:
        """It is over, or goes on later."""
        self.reporter.become(state, result=result, error=error)
        self.run(state)

    def cancel(self) -> None:
        """Stella asks it to stop."""
        self._write("cancel", {"by": self.owners[STELLA]})

    def lose(self) -> None:
        """Its worker is killed."""
        self.run(lease=1)
        self._write("lost", {"exec": self.job.exec, "lease": 1})

    def log(self, *lines: tuple[str, str]) -> None:
        """Lines of its log: level and text."""

        async def append() -> str:
            store: Any = get_store()
            try:
                return str(await store.aappend_logs(self.key, lines))
            finally:
                if hasattr(store, "aclose"):  # its connection belongs to this event loop
                    await store.aclose()

        self.reporter.logs_to = asyncio.run(append())

    def _write(self, op: str, args: Mapping[str, Any]) -> Answer:
        answer = get_store().write(Write(op, self.key, args))
        self._head = answer.head
        record = get_store().load(self.key)
        if record is not None:
            self.changes.append(Change("", self.key, record, self._arguments))
        return answer


@dataclass(frozen=True)
class Example:
    """A run of the demo: `state` is what it ends up in, `life` what happens after it was queued."""

    name: str
    task: Task
    state: State
    life: Callable[[Played], None] = lambda run: None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    owner: str = ANN
    cancelled: bool = False
    waits: str = ""  # the run that must end first
    part_of: str = ""  # the run that sent it


def _export(run: Played) -> None:
    run.run(State.STARTED)
    run.reporter.stages({"make up orders": 1, "write the file": 2})
    with run.reporter.stage("make up orders"):
        run.reporter.update(current=500, total=500)
    run.log(
        ("INFO", "500 orders are made up"), ("INFO", "Writing orders.csv"), ("WARNING", "Order 17 has no customer")
    )
    with run.reporter.stage("write the file"):
        run.run(current=210, total=500, message="Writing the file", rate=3)


def _install(run: Played) -> None:
    run.run(State.STARTED)
    run.run(current=3, total=5, title="Install nginx on 5 simulated hosts", message="Sending")


def _import(run: Played) -> None:
    run.run(State.STARTED)
    run.run(current=600, total=1000, unit="rows", title="Import customers.csv")
    run.log(("INFO", "UTF-8, comma"), ("WARNING", "Line 17: “x” is no e-mail address"))
    run.reporter.update(current=1000, message="999 rows stored; 1 bad row left out")
    run.end(State.SUCCESS, result="999 rows stored; 1 bad row left out")


def _fail(run: Played) -> None:
    run.run(State.STARTED)
    run.run(current=40, total=120, message="Fetching")
    run.log(("ERROR", "The feed answered with an error, three times"))
    run.end(State.FAILURE, error=Refused("The feed is not there any more."))


def _retry(run: Played) -> None:
    run.run(State.STARTED, message="Connecting")
    run.reporter.scheduled_for = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat()
    run.end(State.RETRY, error=NoAnswer("db2 does not answer."))


def _revoke(run: Played) -> None:
    run.run(current=7, total=20, message="13 seconds to go")
    run.cancel()
    run.end(State.REVOKED)


def _cancelling(run: Played) -> None:
    run.run(current=3, total=20, message="17 seconds to go")
    run.cancel()


def _ending(state: State) -> Callable[[Played], None]:
    def life(run: Played) -> None:
        run.run(current=5, total=20)
        run.end(state)

    return life


def _running(run: Played) -> None:
    run.run(current=30, total=80, message="Installing nginx", rate=2.5)


def _host(number: int, name: str) -> dict[str, Any]:
    return {"installation_id": number, "host": name}


# Those that others wait for or are part of come first.
EXAMPLES: Final = (
    Example("running", tasks.export_orders, State.PROGRESS, _export, {"export_id": 1}),
    Example("waiting", tasks.import_csv, State.PENDING, arguments={"upload_id": 2}, waits="running"),
    Example("queued", tasks.countdown, State.PENDING, arguments={"seconds": 30}),
    Example("parts", tasks.install_software, State.PROGRESS, _install, {"rollout_id": 1}),
    Example(
        "part-1", tasks.install_on_host, State.SUCCESS, _ending(State.SUCCESS), _host(1, "web1"), part_of="parts"
    ),
    Example("part-2", tasks.install_on_host, State.PROGRESS, _running, _host(2, "web2"), part_of="parts"),
    Example("part-3", tasks.install_on_host, State.PENDING, arguments=_host(3, "web3"), part_of="parts"),
    Example("retry", tasks.install_on_host, State.RETRY, _retry, _host(4, "db2")),
    Example("success", tasks.import_csv, State.SUCCESS, _import, {"upload_id": 1}),
    Example("failure", tasks.sync_feed, State.FAILURE, _fail, {"entries": 120, "api_token": "not to be seen"}),  # nosec B105 (made up)
    Example("revoked", tasks.countdown, State.REVOKED, _revoke, {"seconds": 20}, cancelled=True),
    Example("cancelling", tasks.countdown, State.PROGRESS, _cancelling, {"seconds": 20}, cancelled=True),
    Example("ignored", tasks.countdown, State.IGNORED, _ending(State.IGNORED), {"seconds": 15}),
    Example("rejected", tasks.countdown, State.REJECTED, _ending(State.REJECTED), {"seconds": 10}, STELLA),
    Example("lost", tasks.tail_log, State.LOST, Played.lose, {"file": "access.log"}, STELLA),
)


def make_runs(users: Mapping[str, User]) -> Iterator[tuple[str, str]]:
    """Make the runs that are not there as they should be. Yields key and state of each.

    Raises `progress.StoreUnavailable`. What was in the history of a run that is made anew is deleted.
    """
    owners = {name: str(user.pk) for name, user in users.items()}
    anew: list[TaskRun] = []
    for example in EXAMPLES:
        run = Played(example, owners)
        if not run.stands():
            changes = run.play()
            anew.append(TaskRun(task_id=run.key, run=changes[-1].record.run))
            if conf.PROGRESS_RECORDER:
                TaskRun.objects.filter(task_id=run.key).delete()
                recorder.write(changes)
        yield run.key, "CANCELLING" if example.cancelled and example.state in LIVE else str(example.state)
    for row in anew:  # how the run before ended, a server may have written down meanwhile
        TaskRun.objects.filter(task_id=row.task_id, run__lt=row.run).delete()
