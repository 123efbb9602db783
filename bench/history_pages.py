"""The pages of the admin over a million runs: which are asked for, and what each of them costs."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .history_plans import Plan, Query, plan_of, queries
from .history_rows import NIGHTLY, RETIRED, ROWS

REQUESTS: Final = 20  # of each page, by each user
EXPLAINED: Final = 3  # of those, whose queries are explained
MOST: Final = 10  # queries of a page
FORM: Final = "tasks.countdown"  # the task whose form is asked for

Ask = Callable[[Any], Any]  # with Django's test client


@dataclass
class Found:
    """What came of one page or one piece of work. `counts` and `scans` are what must not be there."""

    queries: int = 0
    seconds: list[float] = field(default_factory=list)
    counts: set[str] = field(default_factory=set)
    scans: set[str] = field(default_factory=set)
    work: float = 0.0
    hardest: str = ""
    plan: list[str] = field(default_factory=list)

    def add(self, asked: list[Query], seconds: float | None, explain: bool) -> None:
        """One more request, with its queries."""
        self.queries = max(self.queries, len(asked))
        if seconds is not None:
            self.seconds.append(seconds)
        self.counts |= {str(query) for query in asked if query.counts}
        for query in asked if explain else ():
            if query.ours:
                self._explained(query, plan_of(query))

    def _explained(self, query: Query, plan: Plan) -> None:
        self.scans |= {f"{scan}: {query}" for scan in plan.scans}
        if plan.work > self.work:
            self.work, self.hardest, self.plan = plan.work, str(query), plan.lines

    @property
    def p50(self) -> float:
        """Milliseconds."""
        return statistics.median(self.seconds) * 1000 if self.seconds else 0.0

    @property
    def p95(self) -> float:
        """Milliseconds."""
        return statistics.quantiles(self.seconds, n=20)[-1] * 1000 if len(self.seconds) > 1 else 0.0


def measure() -> dict[str, dict[str, Found]]:
    """By user, by page."""
    from celery import current_app
    from django.contrib.auth.models import Permission, User
    from django.test import Client

    current_app.loader.import_default_modules()  # as a process that serves pages has done

    boss, _ = User.objects.get_or_create(username="boss", is_staff=True, is_superuser=True)
    staff, _ = User.objects.get_or_create(username="staff", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(content_type__app_label="task_progress"))
    found: dict[str, dict[str, Found]] = {}
    for user in (boss, staff):
        client = Client(SERVER_NAME="localhost")
        client.force_login(user)
        pages = _pages(random.Random(17))
        found[user.username] = {name: _page(client, ask) for name, ask in pages.items()}
    return found


def _page(client: Any, ask: Ask) -> Found:
    found = Found()
    ask(client)  # templates are compiled, types of content are known
    for number in range(REQUESTS):
        with queries() as asked:
            began = time.perf_counter()
            answer = ask(client)
            seconds = time.perf_counter() - began
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.request['PATH_INFO']} answered {answer.status_code}, expected a page.")
        found.add(asked, seconds, number < EXPLAINED)
    return found


def _pages(chance: random.Random) -> Mapping[str, Ask]:
    """Each page by a name for people; what it is about changes from request to request."""
    from django.urls import reverse

    from progress.models import TaskRun

    runs = list(TaskRun.objects.filter(pk__in=[chance.randint(1, ROWS) for _ in range(200)]))
    startable = list(TaskRun.objects.filter(name=FORM)[:200])
    names = [run.name for run in runs]
    trees = [run.tree for run in runs if run.parent] or [runs[0].tree]
    owners = [run.owner for run in runs if run.owner]
    start = "admin:task_progress_taskrun_"

    def listed(**query: Any) -> Ask:
        def ask(client: Any) -> Any:
            data = {name: value() if callable(value) else value for name, value in query.items()}
            return client.get(reverse(start + "changelist"), data)

        return ask

    def one(view: str, **query: Any) -> Ask:
        return lambda client: client.get(reverse(start + view, args=[chance.choice(runs).task_id]), query)

    def many(action: str) -> Ask:
        def ask(client: Any) -> Any:
            page = chance.sample(runs, 50)
            data = {"action": action, "_selected_action": [run.pk for run in page], "index": 0}
            return client.post(reverse(start + "changelist"), data)

        return ask

    return {
        "list": listed(),
        "list, page 2": listed(p=2),
        "list, page 100": listed(p=100),
        "list, page 200": listed(p=200),
        "state: most": listed(state="SUCCESS"),
        "state: few": listed(state="REJECTED"),
        "state: running": listed(state="PROGRESS"),
        "task": listed(task=lambda: chance.choice(names)),
        "task: a rare one": listed(task=RETIRED[-1]),
        "owner": listed(owner=lambda: chance.choice(owners)),
        "owner: nobody": listed(owner="-"),
        "queued today": listed(queued="today"),
        "queued in 7 days": listed(queued="week"),
        "queued in 30 days": listed(queued="month"),
        "workflow": listed(tree=lambda: chance.choice(trees)),
        "search: an id": listed(q=lambda: chance.choice(runs).task_id),
        "search: an id used nightly": listed(q=lambda: chance.choice(NIGHTLY)),
        "search: a task": listed(q=lambda: chance.choice(names)),
        "search: beginning of names": listed(q="tasks."),
        "search: a user": listed(q=lambda: f"user{chance.randint(1, 200)}"),
        "search: nothing": listed(q="no such thing"),
        "state and task": listed(state="FAILURE", task=lambda: chance.choice(names)),
        "state and owner": listed(state="FAILURE", owner=lambda: chance.choice(owners)),
        "few of nobody's": listed(state="REJECTED", owner="-"),
        "task and owner": listed(task=lambda: chance.choice(names), owner=lambda: chance.choice(owners)),
        "task and nobody": listed(task=lambda: chance.choice(names), owner="-"),
        "state, task, owner": listed(state="REVOKED", task=lambda: chance.choice(names), owner="-"),
        "nothing fits": listed(state="PENDING", task=RETIRED[-1], owner="-"),
        "state, task, owner, days": listed(
            state="FAILURE", task=lambda: chance.choice(names), owner=lambda: chance.choice(owners), queued="month"
        ),
        "state, days": listed(state="FAILURE", queued="month"),
        "search and filters": listed(q="tasks.", state="FAILURE", queued="month"),
        "search a user, few": listed(q="user1", state="REJECTED"),
        "run": one("change"),
        "run of a used id": lambda client: client.get(
            reverse(start + "change", args=[chance.choice(NIGHTLY)]), {"run": chance.randint(1, 50)}
        ),
        "what staff did with it": one("history"),
        "cancel one?": one("cancel"),
        "delete one?": one("delete"),
        "cancel many?": many("cancel_selected"),
        "end many by force?": many("terminate_selected"),
        "start many again?": many("rerun_selected"),
        "delete many?": many("delete_selected"),
        "tasks": lambda client: client.get(reverse(start + "tasks")),
        "form of a task": lambda client: client.get(reverse(start + "start", args=[FORM])),
        "form, started again": lambda client: client.get(
            reverse(start + "start", args=[FORM]), {"again": chance.choice(startable).task_id}
        ),
    }
