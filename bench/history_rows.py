"""A million runs, as a site has them after three months: made once per database, the same every time."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

ROWS: Final = 1_000_000
SEED: Final = 17
USERS: Final = 2_000
DAYS: Final = 90
RETIRED: Final = tuple(f"shop.tasks.retired_{number}" for number in range(30))  # names the site no longer knows
NIGHTLY: Final = tuple(f"nightly-{number}" for number in range(100))  # ids that are used again every night
OPEN: Final = 300  # of the newest runs, those that have not ended

ENDS: Final = {"SUCCESS": 93.0, "FAILURE": 4.5, "REVOKED": 1.8, "IGNORED": 0.5, "LOST": 0.15, "REJECTED": 0.05}
OPEN_STATES: Final = {"PENDING": 60, "RECEIVED": 5, "STARTED": 10, "PROGRESS": 20, "RETRY": 5}
COLUMNS: Final = (
    *("task_id", "run", "seq", "name", "title", "owner", "state", "attempt", "cancelled_by", "queue", "worker"),
    *("tree", "parent", "arguments", "states", "public", "staff", "queued_at", "started_at", "finished_at"),
)


def fingerprint(rows: int) -> str:
    """What a kept database must have been made from to be used again."""
    from progress import migrations

    sources = [Path(__file__), *sorted(Path(migrations.__path__[0]).glob("0*.py"))]
    return hashlib.sha256(b"".join([f"{rows} ".encode(), *[each.read_bytes() for each in sources]])).hexdigest()


def fill(count: int) -> None:
    """Make users and `count` rows in the default database, whose tables are there and empty."""
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import User
    from django.db import connection

    locked = make_password(None)
    users = [User(username=f"user{number}", password=locked) for number in range(1, USERS + 1)]
    User.objects.bulk_create(users, batch_size=500)
    columns = ", ".join(COLUMNS)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY task_progress_taskrun ({columns}) FROM STDIN") as copy:  # type: ignore[attr-defined]
                for row in _rows(count, [user.pk for user in users]):
                    copy.write_row(row)
            cursor.execute("VACUUM ANALYZE")  # as autovacuum would within minutes
        else:
            cursor.execute("PRAGMA cache_size = -400000")
            cursor.execute("BEGIN")
            places = ", ".join("?" * len(COLUMNS))
            raw = connection.connection.cursor()
            raw.executemany(
                f"INSERT INTO task_progress_taskrun ({columns}) VALUES ({places})",
                (tuple(map(_for_sqlite, row)) for row in _rows(count, [user.pk for user in users])),
            )
            raw.execute("COMMIT")


def _for_sqlite(value: Any) -> Any:
    return value.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, dt.datetime) else value


def _rows(count: int, owners: list[int]) -> Iterator[tuple[Any, ...]]:
    """The rows, the oldest first: busier by day, some users and some tasks much more than others."""
    from celery import current_app

    from progress.admin_filters import tracked_names

    current_app.loader.import_default_modules()  # as a process that serves pages has done
    chance = random.Random(SEED)
    names = [*tracked_names(), *RETIRED]
    chance.shuffle(names)
    name_weights = [1 / (place + 1) for place in range(len(names))]
    people = ["", *map(str, owners)]
    weights = [sum(1 / place for place in range(1, USERS)) / 2, *(1 / place for place in range(1, USERS + 1))]
    now = dt.datetime.now(dt.UTC)
    step = dt.timedelta(days=DAYS) / count
    tree, left = "", 0
    used: dict[str, int] = {}
    for start in range(0, count, 1000):
        size = min(1000, count - start)
        of_name = chance.choices(names, name_weights, k=size)
        of_owner = chance.choices(people, weights, k=size)
        of_state = chance.choices(list(ENDS), list(ENDS.values()), k=size)
        of_open = chance.choices(list(OPEN_STATES), list(OPEN_STATES.values()), k=size)
        for place in range(size):
            number = start + place
            if not left and chance.random() < 0.005:
                tree, left = str(UUID(int=chance.getrandbits(128), version=4)), 20
            left = max(left - 1, 0)
            task_id = chance.choice(NIGHTLY) if chance.random() < 0.01 else None
            task_id = task_id or str(UUID(int=chance.getrandbits(128), version=4))
            run = used[task_id] = used.get(task_id, 0) + 1 if task_id in NIGHTLY or task_id in used else 1
            state = of_state[place] if number < count - OPEN else of_open[place]
            queued = now - step * (count - number) + dt.timedelta(seconds=chance.random() * 60)
            yield _row(
                chance, (task_id, run), of_name[place], of_owner[place], state, tree if left else task_id, queued
            )


def _row(
    chance: random.Random, place: tuple[str, int], name: str, owner: str, state: str, tree: str, queued: dt.datetime
) -> tuple[Any, ...]:
    task_id, run = place
    seq = int(queued.timestamp() * 1_000_000)
    begun = state not in ("PENDING", "RECEIVED")
    over = state in ENDS
    started = queued + dt.timedelta(seconds=chance.random() * 20) if begun else None
    took = chance.random() * 300
    finished = started + dt.timedelta(seconds=took) if started and over else None
    title = f"{name.rpartition('.')[2].replace('_', ' ').capitalize()} {seq % 1000}"
    total = seq % 5000 + 1
    parent = tree if tree != task_id else ""
    words = {"id": task_id, "name": name, "title": title, "seq": seq, "state": state, "attempt": 1, "final": over}
    public = (
        f'{{"v":1,{json.dumps(words)[1:-1]},"run":{run},"current":{total},"total":{total},"unit":"rows","fraction":1,'
        f'"message":"Wrote {total} rows of {name}","meta":{{"file":"upload-{seq}.csv"}},"rate":12.5,"remaining":0}}'
    )
    staff = f'{public[:-1]},"worker":"celery@web-{seq % 4}","queue":"celery","result":{{"rows":{total}}}}}'
    states = [[seq, seq, "PENDING", 0], [seq + 1, seq + 1_000_000, "STARTED", 1], [seq + 2, seq + 9, state, 1]]
    arguments = f'{{"given":{{"file":"upload-{seq}.csv","rows":{total}}},"hidden":["token"],"left_out":[]}}'
    return (
        *(task_id, run, seq, name, title, owner, state, int(begun), "1" if state == "REVOKED" else "", "celery"),
        *(f"celery@web-{seq % 4}" if begun else "", tree, parent, arguments, json.dumps(states), public, staff),
        *(queued, started, finished),
    )
