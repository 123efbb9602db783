"""What a store does without asking `record.lua` is what that would have done; and whether anybody is in a group."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from channels.layers import get_channel_layer
from hypothesis import HealthCheck, given, settings

from progress import groups, listeners, redis_writes
from progress.exceptions import StoreUnavailable
from progress.leases import LEASE, REAP_EVERY, RENEW_EVERY, Held, renewal
from progress.record import Record, Status
from progress.redis_scripts import (
    AT_ONCE,
    FRESH,
    QUEUE,
    STEP,
    STEPS_AT_ONCE,
    WATCH,
    Call,
    Calls,
    Script,
    read,
)
from progress.redis_store import RedisStore
from progress.rules import apply
from progress.store import Answer, Write, get_store, watch_writes
from tests.record_operations import OWNERS, QUEUES, SENT, operations, resolve

FIXTURES_STAY = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
LEASED = int(LEASE * 1_000_000)
DAY = 24 * 3600
TEXTS = {"public": '"meta":{}', "staff": '"meta":{}'}


@pytest.fixture
def store(redis_url: str) -> RedisStore:
    found = get_store()
    assert isinstance(found, RedisStore)
    return found


def write(store: RedisStore, *writes: Write) -> list[Answer]:
    """Apply writes in a loop of its own, and leave no connection behind."""

    async def run() -> list[Answer]:
        try:
            return await store.awrite_many(writes)
        finally:
            await store.aclose()

    return asyncio.run(run())


def save(key: str = "t", known: Record | None = None, **changed: Any) -> Write:
    """What the publisher says of a running task."""
    fence = known.fence if known else 0
    n = known.n + 1 if known else 1
    args = {"exec": "e", "fence": fence, "n": n, "age": 5, "state": "PROGRESS", "attempt": 1, "run": 1, "owner": "1"}
    texts = {"fraction": f"{n / 100}", "body": f'"id":"{key}","current":{n}', **TEXTS}
    args |= {"lease": LEASED, "sent": "", "seen": known.seq if known else 0, **texts, **changed}
    return Write("save", key, args, known)


def count_shortcuts(monkeypatch: pytest.MonkeyPatch, script: Script, taken: str) -> Counter[str]:
    """How many writes took the shortcut of `script` (`taken`), and how many tried it and had to ask all the same."""
    seen = Counter[str]()

    def counted(call: Call, writes: Sequence[Write], reply: Any) -> dict[int, Answer]:
        found = read(call, writes, reply)
        if call.script is script:
            seen[taken if found else "asked"] += 1
        return found

    monkeypatch.setattr(redis_writes, "read", counted)
    return seen


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Of saves."""
    return count_shortcuts(monkeypatch, STEP, "steps")


# --- Steps -------------------------------------------------------------------------------------------------


class Model:
    """A task as the rules have it: what it is told, the store is told, too, and must have made the same of it."""

    def __init__(self, store: RedisStore, key: str) -> None:
        self.store, self.key = store, key
        self.record: Record | None = None
        self._fences, self._seqs = list[int](), list[int]()

    def do(self, operation: tuple[str, dict[str, Any]]) -> Answer:
        """What somebody may do to it; the fences and numbers that it names are some that it has had."""
        return self.tell(Write(operation[0], self.key, resolve(operation[1], self._fences, self._seqs)))

    def tell(self, said: Write) -> Answer:
        (answer,) = write(self.store, said)
        status, record = apply(self.record, said.op, said.args, answer.now)
        assert answer.status == status, said
        stored = self.store.load(self.key)
        if record and stored and said.op == "renew" and answer.accepted:  # perhaps it is left as it is
            assert stored.leased_until > answer.now + said.args["lease"] - 2_000_000
            record = replace(record, leased_until=stored.leased_until)
        assert stored == record, (said, status)
        if record:
            self._seqs.append(record.seq)
            self._fences.append(record.fence)
        self.record = record
        return answer

    def is_as_in(self, head: Record, *names: str) -> bool:
        return [getattr(head, name) for name in names] == [getattr(self.record, name) for name in names]


META = st.sampled_from(['"meta":{}', '"meta":{"rows":3}'])
STEPS = st.fixed_dictionaries(
    {"fraction": st.sampled_from(["", "0.25", "0.5", "0.123457"]), "public": META, "staff": META}
)


@settings(max_examples=200, suppress_health_check=FIXTURES_STAY)
@given(history=st.lists(st.tuples(st.integers(0, 4), operations()), min_size=3, max_size=12), data=st.data())
def check(store: RedisStore, seen: Counter[str], history: list[Any], data: st.DataObject) -> None:
    """A task runs on, and each fifth time somebody does something else; the model is told the same."""
    seen["key"] += 1
    model, known = Model(store, f"task-{seen['key']}"), None
    told = ("seq", "fence", "n", "state", "control", "watched_until", "share", "run")
    for number, operation in history:
        if number == 0:
            answer = model.do(operation)
        else:
            said = data.draw(STEPS)
            answer = model.tell(save(model.key, known, tree=model.key, **said))
        if answer.accepted and (number or operation[0] == "save"):
            assert model.is_as_in(answer.head, *told)
        if number and answer.accepted:
            known = answer.head


def test_a_step_is_what_the_rules_make_of_it_whatever_others_do_meanwhile(
    store: RedisStore, steps: Counter[str]
) -> None:
    """Any history: the same statuses, records and heads as the model's."""
    check(store, steps)
    assert steps["steps"] > 50


def test_what_a_step_leaves_as_it_was_is_not_written_again(store: RedisStore, steps: Counter[str]) -> None:
    """Both views' own parts rarely change: a step says them only where the last one said something else."""
    client, name, meta = store.client(1), f"{store.prefix}:task:t", '"meta":{"rows":3}'
    (answer,) = write(store, save())
    (answer,) = write(store, save(known=answer.head))
    client.hset(name, "staff", "as it was")
    (answer,) = write(store, save(known=answer.head))
    assert client.hget(name, "staff") == b"as it was"
    (answer,) = write(store, save(known=answer.head, public=meta))
    assert client.hmget(name, "public", "staff") == [meta.encode(), TEXTS["staff"].encode()]
    assert steps == {"steps": 3}


def test_what_somebody_has_changed_meanwhile_is_no_step(store: RedisStore, steps: Counter[str]) -> None:
    """The rules decide then, and the answer says what it was: a wish to cancel."""
    (first,) = write(store, save())
    (second,) = write(store, save(known=first.head))
    assert steps == {"steps": 1}
    write(store, Write("cancel", "t", {"by": "7"}))
    (third,) = write(store, save(known=second.head))
    assert (third.accepted, third.head.control, third.head.n) == (True, "7", 3)
    assert steps == {"steps": 1, "asked": 1}


def test_more_steps_than_one_call_takes_are_all_taken(store: RedisStore, steps: Counter[str]) -> None:
    """Known, changed, gone and damaged ones among each other: each has its own answer."""
    keys = [f"t{number}" for number in range(STEPS_AT_ONCE + 7)]
    heads = [answer.head for answer in write(store, *map(save, keys))]
    client, name = store.client(1), f"{store.prefix}:task:"
    write(store, Write("cancel", "t1", {"by": "7"}), *watch_writes(["t4"], 12))
    client.delete(f"{name}t2", f"{name}t3")
    client.rpush(f"{name}t3", "no hash")
    client.hset(f"{name}t5", "watched_until", "no number at all")
    answers = write(store, *map(save, keys, heads))
    assert [str(answer.status) for answer in answers[:5]] == ["accepted"] * 3 + ["damaged", "accepted"]
    assert [answer.head.control for answer in answers[:2]] == ["", "7"]
    assert [answer.watched for answer in answers[3:6]] == [False, True, False]
    assert steps == {"steps": 2}  # calls
    assert [answer.head.n for answer in answers[6:]] == [2] * (len(keys) - 6)
    for key, answer in zip(keys[6:], answers[6:], strict=True):
        record = store.load(key)
        assert record is not None
        assert (record.seq, record.leased_until) == (answer.head.seq, answer.now + LEASED)
        assert client.zscore(f"{store.prefix}:leases", key) == record.leased_until


@pytest.mark.parametrize(
    "changed",
    [{"state": "SUCCESS"}, {"state": "RETRY"}, {"group": "g"}, {"tree": "w"}, {"part_of": "p"}, {"lease": 0}],
)
def test_what_has_to_be_decided_or_counted_is_no_step(
    store: RedisStore, steps: Counter[str], changed: dict[str, Any]
) -> None:
    """Another state, a part of something, a task that promised nothing: the rules are asked at once."""
    lineage = {name: value for name, value in changed.items() if name not in ("state", "lease")}
    (first,) = write(store, save(**lineage))
    (second,) = write(store, save(known=first.head, **changed))
    assert (second.accepted, second.head.n) == (True, 2)
    assert steps == Counter()


# --- A task that is sent -----------------------------------------------------------------------------------

TASKS = st.fixed_dictionaries(
    {"body": st.sampled_from(['"id":"t"', '"id":"t","title":"\u20ac"'])},
    optional={
        "owner": OWNERS,
        "tree": st.sampled_from(["", "t"]),
        "sent": SENT,
        "queue": QUEUES,
        "weight": st.sampled_from([500_000, 1_000_000, 3_000_000]),
        "history": st.integers(0, 1),
        "arguments": st.sampled_from(["", '{"n":1}']),
        "fraction": st.just(""),
        "public": st.just(TEXTS["public"]),
        "outcome": st.sampled_from(["", '"result":1']),
    },
)


@settings(max_examples=100, suppress_health_check=FIXTURES_STAY)
@given(args=TASKS, told=st.booleans())
def compare(store: RedisStore, asked: Counter[str], site: Any, args: dict[str, Any], told: bool) -> None:
    """Send one task in both ways, each into a Redis that knows nothing but an old log of it."""
    site.PROGRESS_RECORDER = "server" if told else ""
    left: list[Any] = []
    for only_rules in (False, True):
        store.client(1).flushdb()
        store.client(1).xadd(f"{store.prefix}:log:t", {"text": "of another"})
        with pytest.MonkeyPatch.context() as patch:
            if only_rules:
                patch.setattr(Calls, "of_one", Calls.decided)
            answer = store.write(Write("queue", "t", args))
        now = str(answer.now)
        head = replace(answer.head, seq=0, queued_at=0, updated_at=0)
        assert {answer.head.seq, answer.head.queued_at, answer.head.updated_at} == {answer.now}
        left.append((answer._replace(now=0, head=head), everything(store, now)))
    assert left[0] == left[1]


def everything(store: RedisStore, now: str) -> dict[str, Any]:
    """All that is in Redis, with its lifetimes; `now` and the entries' own names are the same in none."""
    client = store.client(1)
    found: dict[str, Any] = {}
    for raw in client.keys("*"):
        name, kind = raw.decode(), client.type(raw).decode()
        if kind == "hash":
            value: Any = {
                field: "now" if text.decode() == now else text for field, text in client.hgetall(raw).items()
            }
        elif kind == "zset":
            value = [(member, f"{score:.0f}" == now) for member, score in client.zrange(raw, 0, -1, withscores=True)]
        else:
            entries = [fields for _, fields in client.xrange(raw)]
            value = [{k: "now" if v.decode() == now else v for k, v in fields.items()} for fields in entries]
        found[name] = (kind, round(client.ttl(raw) / 60), value)  # of minutes at least, and each look takes its time
    return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Of messages."""
    return count_shortcuts(monkeypatch, QUEUE, "sent")


def test_a_task_that_is_sent_leaves_what_the_rules_would_leave(
    store: RedisStore, asked: Counter[str], settings: Any
) -> None:
    """Whatever is said of it: the same record, lists, lifetimes, word to the recorder and answer."""
    compare(store, asked, settings)
    assert asked["sent"] >= 50
    assert not asked["asked"]


@pytest.mark.parametrize("key", ["record", "leftover", "damaged"])
def test_where_there_is_anything_already_the_rules_are_asked(
    store: RedisStore, asked: Counter[str], key: str
) -> None:
    """A worker that was quicker, a hash that is no record yet, what somebody else put there."""
    name = f"{store.prefix}:task:{key}"
    args = {"owner": "1", "sent": "m", "body": '"id":"t"'}
    if key == "record":
        write(store, save(key, sent="m"))
        asked.clear()
    elif key == "leftover":
        store.client(1).hset(name, "seq", 8 * 10**15)
    else:
        store.client(1).rpush(name, "no hash")
    answer = store.write(Write("queue", key, args))
    expected = {"record": Status.SAME, "leftover": Status.ACCEPTED, "damaged": Status.DAMAGED}
    assert answer.status is expected[key]
    assert asked == {"asked": 1}
    if key == "leftover":
        assert answer.head.seq == 8 * 10**15 + 1


@pytest.mark.parametrize(
    "told", [{"tree": "w"}, {"group": "g"}, {"part_of": "p"}, {"waits": "w"}, {"again": "1"}, {"seen": 10**16}]
)
def test_a_message_with_something_to_count_or_decide_is_no_shortcut(
    store: RedisStore, asked: Counter[str], told: dict[str, Any]
) -> None:
    """A part of something, a step that waits, a retry: the rules are asked at once."""
    assert store.write(Write("queue", "t", {"owner": "1", "body": '"id":"t"', **told})).accepted
    assert asked == Counter()


@pytest.mark.parametrize("sign", ["step", "renewal", "beat"])
def test_who_goes_on_is_kept_though_not_each_sign_says_so(store: RedisStore, sign: str) -> None:
    """A record lives for days; one sign in sixteen or so begins them anew."""
    (answer,) = write(store, save())
    name, client = f"{store.prefix}:task:t", store.client(1)
    client.expire(name, 1000)
    for _ in range(600):
        if sign == "step":
            (answer,) = write(store, save(known=answer.head))
        elif sign == "renewal":
            client.hset(name, "leased_until", 0)  # as if the last sign had been long ago
            write(store, renewal(Held("t", "e")))
        else:
            long_ago(store, "t")
            run_beat(store, ["t"])
        if client.ttl(name) > 1000:
            return
    pytest.fail("600 signs of life, and none has renewed the record's own lifetime")


# --- Signs of life -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_worker", [False, True], ids=["renewals", "a worker's beat"])
def test_signs_of_life_in_one_call_are_those_of_one_after_the_other(store: RedisStore, by_worker: bool) -> None:
    """Running, ended, taken over, lost, gone, damaged: each has the answer and the record that it has alone."""
    for key in ("runs", "cancelled", "watched", "ended", "taken", "lost"):
        (began,) = write(store, save(key, lease=1 if key == "lost" else LEASED))
        if key == "ended":
            write(store, save(key, began.head, state="SUCCESS"))
    write(store, Write("cancel", "cancelled", {"by": "7"}), Write("watch", "watched", {"span": 10**9}))
    write(store, Write("lost", "lost", {"exec": "e"}))
    store.client(1).rpush(f"{store.prefix}:task:damaged", "no hash")
    held = [Held("runs", "e"), Held("cancelled", "e"), Held("watched", "e"), Held("ended", "e")]
    held += [Held("taken", "other"), Held("lost", "e"), Held("gone", "e"), Held("damaged", "e")]
    known = {each.key: record for each in held if (record := store.load(each.key))}
    if by_worker:
        long_ago(store, *(each.key for each in held))
    given = run_beat(store, held) if by_worker else write(store, *map(renewal, held))
    answers = dict(zip([each.key for each in held], given, strict=True))
    assert {key: str(answer.status) for key, answer in answers.items()} == {
        **dict.fromkeys(("runs", "cancelled", "watched", "lost"), "accepted"),
        "ended": "refused",
        "taken": "fenced",
        "gone": "unknown",
        "damaged": "damaged",
    }
    assert [key for key, answer in answers.items() if answer.healed] == ["lost"]
    if not by_worker:
        assert (answers["cancelled"].head.control, answers["watched"].watched) == ("7", True)
    for key in ("runs", "cancelled", "watched", "lost"):
        record, before = store.load(key), known[key]
        assert record is not None
        assert record.leased_until > answers[key].now + LEASED - 3_000_000
        if key != "lost":
            assert replace(record, leased_until=before.leased_until) == before
        if not by_worker or key == "lost":
            assert (record.seq, record.state) == (answers[key].head.seq, answers[key].head.state)


def test_a_lease_that_was_just_renewed_is_left_as_it_is(store: RedisStore) -> None:
    """A task that reports gives signs of life enough. An older one is renewed, or one of a clock put back."""
    saves = [save("fresh"), save("old", lease=LEASED - 3_000_000), save("ahead", lease=LEASED + 3600_000_000)]
    # In one go: "just" is a second.
    answers = write(store, *saves, *(renewal(Held(key, "e")) for key in ("fresh", "old", "ahead")))
    assert [answer.accepted for answer in answers] == [True] * 6
    fresh, saved = store.load("fresh"), answers[0].head
    assert fresh is not None
    assert (fresh.seq, fresh.leased_until) == (saved.seq, saved.leased_until)
    for renewed in (store.load("old"), store.load("ahead")):
        assert renewed is not None
        assert renewed.leased_until == answers[-1].now + LEASED


def test_a_worker_leaves_alone_what_was_signed_for_lately(store: RedisStore) -> None:
    """Until its next beat: then the lease has ten seconds left, and one more in which a failed beat is made again.

    Whoever has signed: another execution's beat does nothing either. A sign from a clock that was put back is none.
    """
    write(store, save("lately"), save("older", lease=LEASED - 2_000_000))
    write(store, save("ahead", lease=LEASED + 3600_000_000))
    before = store.load("lately")
    held = [Held("lately", "e"), Held("lately", "another"), Held("older", "e"), Held("ahead", "e")]
    assert {answer.status for answer in run_beat(store, held)} == {Status.ACCEPTED}
    assert store.load("lately") == before
    for renewed in (store.load("older"), store.load("ahead")):
        assert renewed is not None
        assert 0 <= renewed.leased_until - renewed.updated_at - LEASED < 5_000_000
    assert LEASED - FRESH - (RENEW_EVERY + REAP_EVERY) * 1_000_000 >= 10_000_000


def test_what_somebody_has_damaged_stops_no_other(store: RedisStore) -> None:
    """A number that is none counts as missing; a list that is none is Redis's fault, said as such."""
    (first, other) = write(store, save("damaged"), save("other"))
    store.client(1).hset(f"{store.prefix}:task:damaged", "watched_until", "x")
    answers = write(store, save("damaged", first.head), save("other", other.head), renewal(Held("damaged", "e")))
    assert [answer.accepted for answer in answers] == [True] * 3
    store.client(1).set(f"{store.prefix}:leases", "no list")
    with pytest.raises(StoreUnavailable, match=":leases"):
        run_beat(store, [])


def long_ago(store: RedisStore, *keys: str) -> None:
    """As if nobody had given a sign of life for these for long; those that are looked for."""
    store.client(1).zadd(f"{store.prefix}:leases", dict.fromkeys(keys, 1), xx=True)


def run_beat(store: RedisStore, held: Sequence[str | Held]) -> list[Answer]:
    """What a worker's main process does every 3 s."""

    async def beat() -> list[Answer]:
        renewals = [renewal(each if isinstance(each, Held) else Held(each, "e")) for each in held]
        try:
            return (await store.abeat(["celery"], renewals, LEASE, 10))[1]
        finally:
            await store.aclose()

    return asyncio.run(beat())


def test_more_signs_than_one_call_takes_are_all_given(store: RedisStore) -> None:
    """A worker with thousands of tasks: several calls, and no task is left out."""
    keys = [f"t{number}" for number in range(2 * AT_ONCE + 7)]
    write(store, *(save(key) for key in keys))
    long_ago(store, *keys)
    held = [Held(key, "another" if number % AT_ONCE == 5 else "e") for number, key in enumerate(keys)]
    answers = run_beat(store, held)
    taken = [key for key, answer in zip(keys, answers, strict=True) if answer.status is Status.FENCED]
    assert taken == ["t5", f"t{AT_ONCE + 5}", f"t{2 * AT_ONCE + 5}"]
    assert [answer.accepted for answer in answers].count(True) == len(keys) - len(taken)
    assert store.client(1).zcount(f"{store.prefix}:leases", 2, "+inf") == len(keys) - len(taken)


# --- Looks -------------------------------------------------------------------------------------------------


@settings(max_examples=100, suppress_health_check=FIXTURES_STAY)
@given(history=st.lists(st.none() | operations(), min_size=3, max_size=10))
def look_again_and_again(store: RedisStore, seen: Counter[str], history: list[Any]) -> None:
    """A server looks at a task, and now and then somebody does something to it; the model is told the same."""
    seen["key"] += 1
    model, known = Model(store, f"task-{seen['key']}"), dict[str, Record]()
    told = ("seq", "exec", "fence", "n", "state", "owner", "run", "queue", "unserved", "process", "control")
    for operation in history:
        if operation:
            model.do(operation)
        (look,) = watch_writes([model.key], 12, known)
        answer = model.tell(look)
        if model.record:
            assert model.is_as_in(answer.head, *told)
            assert store.client(1).ttl(f"{store.prefix}:task:{model.key}") > DAY - 60
            known[model.key] = answer.head


def test_a_look_is_what_the_rules_make_of_it_whatever_others_do_meanwhile(
    store: RedisStore, looks: Counter[str]
) -> None:
    """Any history: the same records and lifetimes, and the head that the server knows is the record's."""
    look_again_and_again(store, looks)
    assert looks["known"] > 50
    assert looks["asked"] > 10


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Of a server."""
    return count_shortcuts(monkeypatch, WATCH, "known")


def test_more_looks_than_one_call_takes_are_all_answered(store: RedisStore, looks: Counter[str]) -> None:
    """Known, changed, gone and damaged ones among each other: each has its own answer."""
    keys = [f"t{number}" for number in range(AT_ONCE + 7)]
    known = {each: answer.head for each, answer in zip(keys, write(store, *map(save, keys)), strict=True)}
    client, name = store.client(1), f"{store.prefix}:task:"
    write(store, Write("cancel", "t1", {"by": "7"}))
    client.delete(f"{name}t2", f"{name}t3")
    client.rpush(f"{name}t3", "no hash")
    client.hset(f"{name}t4", "watched_until", 8 * 10**15)  # another server looks for longer
    answers = dict(zip(keys, write(store, *watch_writes(keys, 12, known)), strict=True))
    assert [str(answers[f"t{number}"].status) for number in range(4)] == [
        "accepted",
        "accepted",
        "unknown",
        "damaged",
    ]
    assert answers["t1"].head.control == "7"
    assert client.hget(f"{name}t4", "watched_until") == b"8000000000000000"
    until = int(client.hget(f"{name}{keys[-1]}", "watched_until") or 0)
    assert until == answers[keys[-1]].now + 12_000_000
    assert looks == {"known": 2}  # calls


# --- Who is in a group -------------------------------------------------------------------------------------


async def test_a_write_tells_whether_anybody_is_in_the_group(store: RedisStore) -> None:
    """Nobody, then a consumer's channel, then nobody again; by a first save, a step and a message that is sent."""
    layer = get_channel_layer()
    assert layer is not None
    try:
        (first,) = await store.awrite_many([save()])
        assert not first.heard
        channel = await layer.new_channel()
        await layer.group_add(groups.of_key("t"), channel)
        (step,) = await store.awrite_many([save(known=first.head)])
        (again,) = await store.awrite_many([Write("save", "t", {**save(known=step.head).args})])
        queued = store.write(Write("queue", "u", {"owner": "1", "body": '"id":"u"'}))
        assert (step.heard, again.heard, queued.heard) == (True, True, False)
        await layer.group_discard(groups.of_key("t"), channel)
        (last,) = await store.awrite_many([save(known=again.head)])
        assert not last.heard
    finally:
        await layer.flush()
        await store.aclose()


def test_where_members_cannot_be_counted_every_change_is_announced(store: RedisStore, settings: Any) -> None:
    """Another layer, several Redis, another Redis than the records', a host that no URL can say."""
    (layer,) = settings.CHANNEL_LAYERS.values()
    assert listeners.channel_of("t", store.url)
    (host,) = layer["CONFIG"]["hosts"]
    others: list[dict[str, Any]] = [
        {**layer, "BACKEND": "channels_redis.core.RedisChannelLayer"},
        {**layer, "CONFIG": {**layer["CONFIG"], "hosts": [host, host]}},
        {**layer, "CONFIG": {**layer["CONFIG"], "hosts": ["redis://127.0.0.1:1/0"]}},
        {**layer, "CONFIG": {**layer["CONFIG"], "hosts": [{"host": "x", "credential_provider": object()}]}},
        {"BACKEND": "channels.layers.InMemoryChannelLayer"},
    ]
    for other in others:
        settings.CHANNEL_LAYERS = {"default": other}
        assert listeners.channel_of("t", store.url) == ""
    assert store.write(Write("queue", "t", {"owner": "1", "body": '"id":"t"'})).heard
