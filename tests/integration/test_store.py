"""Both stores keep the same promises: the one in Redis, and the one in memory that stands in for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from progress import redis_clients, redis_writes
from progress import redis_store as redis_store_module
from progress.exceptions import StoreUnavailable
from progress.memory_store import MemoryStore
from progress.record import Record, Status
from progress.redis_store import RedisStore
from progress.store import LIVE_LIFETIME, LOG_LIMIT, MINE_LIMIT, Answer, Store, Write, watch_writes
from tests.processes import Redis, wait_until

BODY = {"body": '"id":"t"', "fraction": "0.5"}


@pytest.fixture(params=["memory", "redis"])
def kept(request: pytest.FixtureRequest) -> Store:
    """Each test runs with both."""
    if request.param == "memory":
        return MemoryStore()
    url = request.getfixturevalue("redis_url")
    return RedisStore(url, "progress-tests")


@pytest.fixture
def redis_store(redis_url: str) -> Iterator[RedisStore]:
    store = RedisStore(redis_url, "progress-tests")
    yield store
    close(store)


@pytest.fixture(autouse=True)
def closed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if isinstance(store := request.node.funcargs.get("kept"), RedisStore):
        close(store)


def close(store: RedisStore) -> None:
    for client in store._clients.values():
        client.close()


def run(store: Store, work: Any) -> Any:
    """The result of a coroutine, in a loop whose connections are closed afterwards."""

    async def all_of_it() -> Any:
        try:
            return await work
        finally:
            if isinstance(store, RedisStore):
                await store.aclose()

    return asyncio.run(all_of_it())


def queue(store: Store, key: str = "t", **args: Any) -> Answer:
    return store.write(Write("queue", key, {"owner": "1", **BODY, **args}))


def save(store: Store, head: Record | None = None, key: str = "t", **args: Any) -> Answer:
    fence = head.fence if head and head.exec else 0
    return store.write(said(key, fence=fence, **args))


def said(key: str = "t", **args: Any) -> Write:
    """What the first word of an execution says, but for `args`."""
    base = {"exec": "e", "fence": 0, "n": 1, "age": 0, "state": "STARTED", "owner": "1", **BODY}
    return Write("save", key, {**base, **args})


# --- Records -----------------------------------------------------------------------------------------------


def test_what_is_written_is_read(kept: Store) -> None:
    """The answer carries the record's head, the record its texts too."""
    answer = queue(kept)
    record = kept.load("t")
    assert answer.accepted
    assert record is not None
    assert (record.seq, record.owner, record.state) == (answer.head.seq, "1", "PENDING")
    assert record.body == '"id":"t"'
    assert record.snapshot()["id"] == "t"
    assert kept.load("unknown") is None


def test_a_life_is_kept_step_by_step(kept: Store) -> None:
    """Queued, started, further, ended: seq rises, times are set, the end stays."""
    seqs = [queue(kept).head.seq]
    head = save(kept).head
    seqs.append(head.seq)
    for n, state in ((2, "PROGRESS"), (3, "SUCCESS")):
        answer = save(kept, head, n=n, state=state, outcome='"result":1')
        seqs.append(answer.head.seq)
    assert seqs == sorted(set(seqs))
    assert save(kept, head, n=4).status is Status.ENDED
    record = kept.load("t")
    assert record is not None
    assert 0 < record.queued_at <= record.started_at <= record.finished_at == record.updated_at
    assert record.snapshot() == {**record.snapshot(), "state": "SUCCESS", "final": True, "fraction": 1, "result": 1}


def test_a_retry_is_not_taken_for_an_old_execution(kept: Store) -> None:
    """Who began after the execution that is known takes over, even if that one's first word was written later."""
    queued = queue(kept)
    time.sleep(0.1)
    before_it_was_sent = kept.now() - queued.now + 10_000_000
    ages = {"first": 50_000, "older": 90_000, "retry": 20_000, "stranger": before_it_was_sent}
    # At the same time, as far as may be: an age counts from when Redis reads of it.
    answers = run(kept, kept.awrite_many([said(exec=name, age=age) for name, age in ages.items()]))
    assert [answer.status for answer in answers] == ["accepted", "fenced", "accepted", "fenced"]
    assert answers[2].head.attempt == 2


def test_several_are_read_in_the_order_asked(kept: Store) -> None:
    """None stands where there is no record; the same for event loops."""
    for name in ("a", "b"):
        queue(kept, name)
    names = ["b", "unknown", "a", "b"]
    expected = [kept.load(name) for name in names]
    assert kept.load_many(names) == expected
    assert run(kept, kept.aload_many(names)) == expected
    assert [record is None for record in expected] == [False, True, False, False]
    assert kept.load_many([]) == run(kept, kept.aload_many([])) == []


def test_many_writes_are_answered_one_by_one(kept: Store) -> None:
    """One round trip, each write decided for itself, in order."""
    writes = [Write("queue", "a", BODY), Write("queue", "a", BODY), Write("cancel", "none", {"by": "1"})]
    answers = run(kept, kept.awrite_many([*writes, *watch_writes(["a"], 10)]))
    assert [answer.status for answer in answers] == ["accepted", "refused", "unknown", "accepted"]
    assert answers[3].watched
    assert not answers[2].watched
    assert answers[2].head.state == ""
    assert run(kept, kept.awrite_many([])) == []


def test_a_wish_to_cancel_is_kept(kept: Store) -> None:
    """Who asked is known; asking again changes nothing; an end refuses."""
    queue(kept)
    assert kept.control("t") == ""
    assert kept.write(Write("cancel", "t", {"by": "7"})).status is Status.ACCEPTED
    assert kept.write(Write("cancel", "t", {"by": "8"})).status is Status.SAME
    assert kept.control("t") == "7"
    assert kept.control("unknown") == ""
    head = save(kept).head
    save(kept, head, n=2, state="REVOKED")
    assert kept.write(Write("cancel", "t", {"by": "7"})).status is Status.ENDED


def test_watching_changes_no_number(kept: Store) -> None:
    """To look at a task makes nothing newer, and never creates a record."""
    before = queue(kept).head
    (watch,) = watch_writes(["t"], 12)
    after = kept.write(watch)
    assert (after.status, after.head.seq) == (Status.ACCEPTED, before.seq)
    assert 11_900_000 < after.head.watched_until - after.now <= 12_000_000
    assert kept.write(watch_writes(["unknown"], 12)[0]).status is Status.UNKNOWN
    assert kept.load("unknown") is None


def test_texts_of_any_script_survive(kept: Store) -> None:
    """Bytes are bytes: nothing is escaped, cut or lost on the way."""
    body = '"id":"t","message":"名前 🎈 \\u0001 %s {} \\"quoted\\""'
    queue(kept, body=body)
    record = kept.load("t")
    assert record is not None
    assert record.body == body


def test_the_largest_number_keeps_its_last_digit(kept: Store) -> None:
    """A seq above 2**50 comes back exactly, plus one."""
    seen = 2**53 - 3
    assert queue(kept, seen=seen).head.seq == seen + 1
    assert kept.load("t").seq == seen + 1  # type: ignore[union-attr]


def test_now_is_the_clock_of_the_records(kept: Store) -> None:
    """Times of records and `now` are comparable."""
    assert kept.now() - queue(kept).now + 60_000_000 >= 0
    record = kept.load("t")
    assert record is not None
    assert record.updated_at <= kept.now()


# --- A user's tasks ----------------------------------------------------------------------------------------


def test_mine_are_newest_first_and_limited(kept: Store) -> None:
    """The newest come first, each once; other users' do not come at all."""
    for number in range(5):
        queue(kept, f"t{number}")
    queue(kept, "foreign", owner="2")
    save(kept, save(kept, key="t0").head, key="t0", n=2, state="SUCCESS")
    queue(kept, "t0")  # sent again
    assert kept.mine("1") == ["t0", "t4", "t3", "t2", "t1"]
    assert run(kept, kept.amine("1", 2)) == kept.mine("1", limit=2) == ["t0", "t4"]
    assert kept.mine("nobody") == []


def test_a_task_that_was_started_without_a_record_is_among_its_owners(kept: Store) -> None:
    """Redis was away while it was sent: its first report lists it, and its log stays."""
    log(kept, 1)
    save(kept)
    assert kept.mine("1") == ["t"]
    assert texts(kept.logs("t")) == ["line 0"]
    queue(kept, "other", owner="1")
    assert kept.mine("1") == ["other", "t"]


def test_a_new_run_begins_with_an_empty_log(kept: Store) -> None:
    """The lines of the run before are not shown as this one's."""
    log(kept, 1)
    save(kept, save(kept).head, n=2, state="SUCCESS")
    queue(kept)
    assert texts(kept.logs("t")) == []


def test_leases_that_are_over_are_found_and_listed_no_longer_when_the_task_is_lost(kept: Store) -> None:
    """Only what promised a sign of life and did not give it, oldest first."""
    save(kept, key="silent", lease=1)
    save(kept, key="eager")
    save(kept, key="alive", lease=60_000_000)
    assert run(kept, kept.aexpired(10)).keys == ["silent"]
    assert kept.write(Write("lost", "silent", {"exec": "e"})).accepted
    assert run(kept, kept.aexpired(10)).keys == []
    assert kept.write(Write("renew", "silent", {"exec": "e", "lease": 1})).healed
    assert run(kept, kept.aexpired(10)).keys == ["silent"]
    ended = save(kept, kept.load("silent"), key="silent", n=2, state="SUCCESS")
    assert (ended.before, run(kept, kept.aexpired(10)).keys) == ("STARTED", [])


def test_queues_are_listened_to_until_the_listener_is_silent(kept: Store) -> None:
    """Somebody listens to a queue for as long as was said last."""
    run(kept, kept.abeat(["a", "b"], [], 60, 0))
    run(kept, kept.abeat(["c"], [], 0, 0))
    assert run(kept, kept.alistened(["a", "c", "d"])) == {"a"}
    assert run(kept, kept.alistened([])) == set()


def test_the_oldest_of_too_many_are_forgotten(kept: Store) -> None:
    """A user's list is bounded."""

    for number in range(MINE_LIMIT + 5):
        queue(kept, f"t{number}")
    found = kept.mine("1", limit=10_000)
    assert (len(found), found[0], found[-1]) == (MINE_LIMIT, f"t{MINE_LIMIT + 4}", "t5")


# --- Log lines ---------------------------------------------------------------------------------------------


def log(store: Store, count: int, start: int = 0, key: str = "t") -> str:
    lines = [("INFO", f"line {number}") for number in range(start, start + count)]
    return run(store, store.aappend_logs(key, lines))


def texts(page: Any) -> list[str]:
    return [line["text"] for line in page.lines]


def test_the_newest_lines_come_in_order(kept: Store) -> None:
    """Without a cursor the newest 200, oldest first, and whether there were more."""
    last = log(kept, 250)
    page = kept.logs("t")
    assert texts(page) == [f"line {number}" for number in range(50, 250)]
    assert (page.next, page.truncated) == (last, True)
    assert run(kept, kept.alogs("t")) == page
    assert kept.logs("t", limit=250).truncated is False
    assert page.lines[0].keys() == {"at", "level", "text"}


def test_a_cursor_continues_where_it_was(kept: Store) -> None:
    """Every line once, page by page, until there are none; then the cursor stays."""
    first = log(kept, 3)
    log(kept, 5, start=3)
    pages = [kept.logs("t", first, limit=2)]
    while pages[-1].lines:
        pages.append(kept.logs("t", pages[-1].next, limit=2))
    assert [line for page in pages for line in texts(page)] == [f"line {number}" for number in range(3, 8)]
    assert [page.truncated for page in pages] == [False] * 4
    assert pages[-1].next == pages[-2].next


def test_an_empty_log_has_a_cursor_too(kept: Store) -> None:
    """Who asks too early continues from there when lines come."""
    page = kept.logs("t")
    assert page == ([], "0-0", False)
    log(kept, 2, key="another")
    log(kept, 2)
    later = kept.logs("t", page.next)
    assert (texts(later), later.truncated) == (["line 0", "line 1"], False)


def test_lines_that_are_gone_are_said_to_be_gone(kept: Store) -> None:
    """A log keeps its newest thousand; a cursor from before is told so, a newer one is not."""
    old = log(kept, 1)
    recent = log(kept, 10, start=1)
    log(kept, LOG_LIMIT - 1, start=11)
    assert kept.logs("t", old).truncated is True
    assert texts(kept.logs("t", old))[0] == "line 10"
    assert kept.logs("t", recent).truncated is False
    assert len(texts(kept.logs("t", limit=5000))) == LOG_LIMIT


def test_a_line_keeps_the_time_at_which_it_was_said(kept: Store) -> None:
    """Reading again later does not make lines younger."""
    log(kept, 1)
    before = kept.logs("t").lines
    time.sleep(0.005)
    assert kept.logs("t").lines == before


# --- Redis alone -------------------------------------------------------------------------------------------


def test_records_do_not_live_for_ever(redis_store: RedisStore, settings: Any) -> None:
    """Queued or running: 7 days. Ended: the retention, or ten minutes when nobody owned or watched it."""
    settings.PROGRESS_RETENTION = 7200
    client = redis_store.client(1)

    def lifetime(key: str) -> int:
        return client.ttl(f"progress-tests:task:{key}")

    queue(redis_store)
    assert LIVE_LIFETIME - 5 < lifetime("t") <= LIVE_LIFETIME
    save(redis_store, save(redis_store).head, n=2, state="SUCCESS")
    assert 7195 < lifetime("t") <= 7200
    save(redis_store, key="orphan", owner="", state="SUCCESS")
    assert 595 < lifetime("orphan") <= 600
    assert client.ttl("progress-tests:mine:1") > 0


def test_nothing_is_stored_outside_the_prefix(redis_store: RedisStore) -> None:
    """Several sites share one Redis: every key begins with the site's own prefix."""
    queue(redis_store)
    save(redis_store, lease=1)
    run(redis_store, redis_store.abeat(["celery"], [], 16, 0))
    log(redis_store, 1)
    assert {key.split(b":")[0] for key in redis_store.client(1).scan_iter()} == {b"progress-tests"}


def test_somebody_elses_hash_is_no_record(redis_store: RedisStore) -> None:
    """A key that is damaged or was made by somebody else is missing, and those beside it are read."""
    queue(redis_store, "sound")
    client = redis_store.client(1)
    client.hset("progress-tests:task:foreign", mapping={"colour": "blue"})
    client.hset("progress-tests:task:damaged", mapping={"state": "STARTED", "seq": "many"})
    found = redis_store.load_many(["foreign", "damaged", "sound"])
    assert [record is not None for record in found] == [False, False, True]


def test_loops_read_what_threads_read(redis_store: RedisStore, caplog: Any) -> None:
    """They read by a script, many in one call: the same records in the same order, whatever somebody has stored."""
    keys, client = [f"t{number}" for number in range(120)], redis_store.client(1)
    for key in keys:
        queue(redis_store, key, owner=key)
    odd: dict[str, dict[bytes | str, bytes | str | int]] = {
        "t1": {"body": b'"title":"\xc3\xa4\xe2\x80\xa8\xf0\x9f\x9a\x80 \\u0000 \\\\ / \x7f \x00\x1f"', "unknown": 5},
        "t2": {"body": b"\xff\xed\xa0\x80"},  # no UTF-8
        "t3": {"seq": "many"},
        "t4": {b"\xff": b"\xff"},
        "t5": {"seq": 2**63 - 1, "fraction": ""},
        "none": {"colour": "blue"},
    }
    for key, stored in odd.items():
        client.hset(f"progress-tests:task:{key}", mapping=stored)
    client.delete("progress-tests:task:t6", "progress-tests:task:t7")
    client.rpush("progress-tests:task:t7", "no hash")
    asked = [*reversed(keys), "none", "t8", "t8"]
    found = run(redis_store, redis_store.aload_many(asked))
    assert sum("holds something else" in record.message for record in caplog.records) == 1
    assert found == redis_store.load_many(asked)
    told = dict(zip(asked, found, strict=True))
    assert {key for key, record in told.items() if record is None} == {"t2", "t3", "t6", "t7", "none"}
    assert all(record.owner == key for key, record in told.items() if record)


def test_a_key_of_another_type_fails_that_write_alone(redis_store: RedisStore) -> None:
    """A write on a key that is no hash is answered as damaged; the store stays open and its neighbours are stored."""
    redis_store.client(1).set("progress-tests:task:t", "text")
    assert queue(redis_store).status is Status.DAMAGED
    writes = [Write("queue", key, {"owner": "1", "body": '"id":"x"'}) for key in ("t", "sound")]
    answers = run(redis_store, redis_store.awrite_many(writes))
    assert [answer.status for answer in answers] == [Status.DAMAGED, Status.ACCEPTED]
    assert [record is not None for record in redis_store.load_many(["t", "sound"])] == [False, True]


# --- Redis away --------------------------------------------------------------------------------------------


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    own = Redis(tmp_path)
    own.start()
    yield own
    own.resume()
    own.kill()


def cost(store: RedisStore) -> float:
    """Seconds that a write takes while Redis does not answer."""
    began = time.perf_counter()
    with pytest.raises(StoreUnavailable):
        queue(store)
    return time.perf_counter() - began


def middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


@pytest.mark.parametrize("trouble", ["gone", "stalled", "never there"])
def test_redis_away_costs_a_moment_once_and_then_nothing(own_redis: Redis, trouble: str) -> None:
    """The first caller waits ≤ 50 ms (and the machine's own slowness), all others ≤ 1 ms, until Redis is back."""
    store = RedisStore(own_redis.url, "p")
    if trouble != "never there":
        assert queue(store, "before").accepted
    _ = own_redis.suspend() if trouble == "stalled" else own_redis.kill()
    first = cost(store)
    later = [cost(store) for _ in range(100)]
    assert first < 0.15
    assert middle(later) < 0.001
    assert max(later) < 0.05
    _ = own_redis.resume() if trouble == "stalled" else own_redis.start()

    recovered(store)
    assert store.load("after") is not None
    close(store)


def recovered(store: RedisStore) -> None:
    """Wait until the store takes writes again."""

    def back() -> bool:
        try:
            return bool(queue(store, "after"))
        except StoreUnavailable:
            return False

    wait_until(back, 5, "the store recovers by itself")


def test_whatever_is_asked_first_notices_that_redis_is_away(own_redis: Redis) -> None:
    """Asking for a wish to cancel trips the breaker as a write does; both know of it at once."""
    store = RedisStore(own_redis.url, "p")
    own_redis.kill()
    with pytest.raises(StoreUnavailable):
        store.control("t")
    assert cost(store) < 0.01
    own_redis.start()
    recovered(store)
    close(store)


def test_a_wish_to_cancel_waits_for_a_redis_that_is_late(own_redis: Redis, monkeypatch: Any) -> None:
    """Somebody has clicked. A request that sends a task meanwhile gives up as soon as ever."""
    monkeypatch.setattr(redis_writes, "READ_TIMEOUT", 10.0)
    store = RedisStore(own_redis.url, "p")
    assert queue(store, "t").accepted
    own_redis.suspend()
    with ThreadPoolExecutor(1) as pool:
        wish = pool.submit(store.write, Write("cancel", "t", {"by": "7"}))
        assert cost(store) < 1
        assert not wish.done()
        own_redis.resume()
        assert wish.result(20).accepted
    recovered(store)
    close(store)


def test_reads_say_that_redis_is_away(own_redis: Redis, monkeypatch: Any) -> None:
    """Every read raises `StoreUnavailable` within about its time, nothing else, in both worlds."""
    for module in (redis_clients, redis_store_module):
        assert module.READ_TIMEOUT == 1.0
        monkeypatch.setattr(module, "READ_TIMEOUT", 0.1)
    store = RedisStore(own_redis.url, "p")
    own_redis.suspend()
    reads = [
        lambda: store.load("t"),
        lambda: store.mine("1"),
        lambda: store.logs("t"),
        lambda: store.now(),
        lambda: run(store, store.aload_many(["t"])),
        lambda: run(store, store.amine("1")),
        lambda: run(store, store.alogs("t")),
        lambda: run(store, store.awrite_many([Write("queue", "t", BODY)])),
    ]
    for read in reads:
        began = time.perf_counter()
        with pytest.raises(StoreUnavailable):
            read()
        assert time.perf_counter() - began < 1
    close(store)


def test_only_the_first_read_waits_for_a_redis_that_is_away(own_redis: Redis, monkeypatch: Any) -> None:
    """The pages of a site that show a task are not held up one after the other; when it is back they show it."""
    monkeypatch.setattr(redis_store_module, "READ_TIMEOUT", 0.1)
    store = RedisStore(own_redis.url, "p")
    store.write(Write("queue", "t", BODY))
    own_redis.suspend()
    with pytest.raises(StoreUnavailable, match="did not answer"):
        store.load("t")
    with monkeypatch.context() as nobody_asks:
        nobody_asks.setattr("redis.client.Pipeline.execute", lambda *_args: pytest.fail("Redis was asked again"))
        with pytest.raises(StoreUnavailable):
            store.load("t")
    own_redis.resume()

    def shown() -> Record | None:
        with suppress(StoreUnavailable):
            return store.load("t")
        return None

    assert wait_until(shown, 5, "the task is shown again").state == "PENDING"
    close(store)


def test_only_one_thread_looks_whether_redis_is_back(own_redis: Redis) -> None:
    """However many callers notice it at once, one daemon thread probes, and it ends with the trouble."""
    import threading

    store = RedisStore(own_redis.url, "p")
    own_redis.kill()
    of_others = threading.enumerate()

    def probes() -> list[threading.Thread]:
        found = [thread for thread in threading.enumerate() if thread not in of_others]
        return [thread for thread in found if thread.name == "progress-probe"]

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: cost(store), range(100)))
    assert [thread.daemon for thread in probes()] == [True]
    own_redis.start()
    wait_until(lambda: not probes(), 5, "the probe ends")
    assert queue(store).accepted
    close(store)
