"""When a task's news is published, in which order, and that nothing of it is lost or doubled."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from progress import announcer, groups, publisher
from progress.exceptions import StoreUnavailable
from progress.leases import SILENT_FOR, Held, renewal
from progress.memory_store import MemoryStore
from progress.options import Options
from progress.pacing import BACKLOG, MOMENTS, Pacing
from progress.reporter import Job, Reporter
from progress.snapshot import State
from progress.store import Answer, Write, get_store
from tests.processes import wait_until

IDLE, INTERVAL = 4.0, 0.1  # seconds; the defaults of the settings


def job(key: str = "t", **options: Any) -> Job:
    return Job(key, "tests.job", f"exec-of-{key}", Options(**options))


# --- Pace, by a clock of the test's own --------------------------------------------------------------------------


class Stage:
    """A process with one publisher whose every tick is 10 ms."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pacing = Pacing("process", lambda: self.now)
        self.store = MemoryStore(lambda: int(self.now * 1_000_000))
        self.told: list[tuple[float, float, str]] = []
        self.trip = 0.0  # seconds that a save takes

    def follow(self, key: str = "t", **options: Any) -> Reporter:
        reporter = Reporter(job(key, **options))
        self.pacing.add(reporter)
        self.tick(0)
        return reporter

    def tick(self, seconds: float = 0.01) -> None:
        """Let time pass, then do what the publisher's loop does."""
        self.now += seconds
        for reporter in self.pacing.ready():
            report = self.pacing.report(reporter)
            answer = self.store.write(report.write)
            self.now += self.trip
            self.pacing.answered(report, answer)
            if answer.accepted:
                self.told.append((round(self.now - 1000, 2), report.current, report.write.args["state"]))

    def watch(self, key: str = "t", seconds: float = 60) -> None:
        self.store.write(Write("watch", key, {"span": int(seconds * 1_000_000)}))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_tasks_that_nobody_watches_speak_together(stage: Stage) -> None:
    """Four hundred, begun at as many moments, wake their process forty times in an interval; each keeps its pace."""
    reporters = list[Reporter]()
    for number in range(400):
        stage.now += IDLE / 400
        reporters.append(stage.follow(f"t{number}"))
    spoke = dict[str, list[float]]()
    while stage.now < 1000 + 4 * IDLE:
        stage.now += 0.01
        for reporter in reporters:
            reporter.advance()
        for reporter in stage.pacing.ready():
            report = stage.pacing.report(reporter)
            stage.pacing.answered(report, stage.store.write(report.write))
            spoke.setdefault(reporter.job.key, []).append(stage.now)
    assert len({moments[-1] for moments in spoke.values()}) <= MOMENTS + 1
    pauses = [late - soon for moments in spoke.values() for soon, late in itertools.pairwise(moments[1:])]
    assert IDLE - 0.02 <= min(pauses) <= max(pauses) <= IDLE + 0.02


def test_each_process_has_moments_of_its_own() -> None:
    """All on a machine have one clock: at the same moments they would come to Redis in one burst."""
    stages = [Stage() for _ in range(20)]
    due = set[float]()
    for stage in stages:
        stage.follow().advance()
        stage.tick()
        due.add(round(stage.pacing.next_due() or 0, 4))
    assert len(due) > 10


@pytest.mark.parametrize("interval", [0, float("inf")])
def test_an_interval_that_no_check_lets_pass_stops_nobody(stage: Stage, settings: Any, interval: float) -> None:
    """Nobody has to run the checks: then a task speaks always, or not again while nobody watches."""
    settings.PROGRESS_IDLE_INTERVAL = interval
    reporter = stage.follow()
    for _ in range(3):
        reporter.advance()
        stage.tick(0.2)
    assert [current for _, current, _ in stage.told][-1] == (3 if interval == 0 else stage.told[0][1])


def test_start_is_told_at_once(stage: Stage) -> None:
    """No interval stands before the first word of an execution."""
    stage.follow()
    assert stage.told == [(0.0, 0, "STARTED")]


def test_chatty_task_that_nobody_watches_is_told_every_idle_interval(stage: Stage) -> None:
    """2 010 steps in 20.1 s cost six writes."""
    reporter = stage.follow()
    for _ in range(2010):
        reporter.advance()
        stage.tick()
    times = [at for at, _, _ in stage.told]
    assert times == pytest.approx([0, 4, 8, 12, 16, 20], abs=0.1)


def test_watched_task_is_told_every_interval_and_not_more_often(stage: Stage) -> None:
    """Ten times a second, whatever its own rate; after a silence once sooner, as that one might have been earlier."""
    reporter = stage.follow()
    stage.watch()
    reporter.advance()
    stage.pacing.hurry(reporter)
    began = len(stage.told)
    for _ in range(300):
        reporter.advance()
        stage.tick()
    times = [at for at, _, _ in stage.told[began:]]
    assert 27 <= len(times) <= 31
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(one + next_one for one, next_one in itertools.pairwise(gaps)) >= INTERVAL - 0.001
    assert min(gaps[1:]) >= INTERVAL - 0.011  # of a tick


def test_change_after_a_pause_is_told_at_once(stage: Stage) -> None:
    """A task that was silent for an interval does not wait for the next one."""
    reporter = stage.follow()
    for _ in range(1000):
        stage.tick()
    reporter.advance()
    stage.tick()
    assert stage.told[1:] == [(10.01, 1, "PROGRESS")]


def test_last_change_before_a_pause_is_told(stage: Stage) -> None:
    """What was said within an interval is not forgotten when the task falls silent: the trailing edge."""
    reporter = stage.follow()
    stage.watch()
    stage.pacing.hurry(reporter)
    for _ in range(25):
        reporter.advance()
        stage.tick()
    for _ in range(50):
        stage.tick()
    assert stage.told[-1][1] == 25


@pytest.mark.parametrize("state", [State.SUCCESS, State.FAILURE, State.RETRY, State.REVOKED, State.PENDING])
def test_end_waits_for_no_interval(stage: Stage, state: State) -> None:
    """The end, and a retry, are told with the next look; afterwards nothing more is."""
    reporter = stage.follow()
    reporter.advance(3)
    reporter.become(state)
    stage.tick()
    assert stage.told[-1] == (0.01, 3, str(state))
    reporter.advance()
    stage.tick(10)
    assert len(stage.told) == 2
    assert stage.pacing.running("t") is None


def test_quiet_task_is_asked_to_call_instead_of_being_looked_at(stage: Stage) -> None:
    """While a task has nothing new the publisher sleeps until it is called, or the next sign of life is due."""
    reporter = stage.follow()
    heard = stage.now
    stage.tick(IDLE + 0.01)
    assert reporter.attention
    assert stage.pacing.next_due() == heard + SILENT_FOR
    reporter.become(State.SUCCESS)
    stage.tick()
    assert stage.pacing.next_due() is None


def test_a_silent_task_gives_a_sign_of_life(stage: Stage) -> None:
    """Every three seconds, counted from the last thing that was stored of it."""
    reporter = stage.follow()
    stage.tick(SILENT_FOR - 0.1)
    assert stage.pacing.to_renew() == []
    stage.tick(0.2)
    assert stage.pacing.to_renew() == [reporter]
    answer = stage.store.write(renewal(Held("t", reporter.job.exec)))
    assert answer.accepted
    stage.pacing.renewed(reporter, answer)
    assert stage.pacing.to_renew() == []


def test_a_record_that_redis_lost_is_written_again_by_the_next_sign_of_life(stage: Stage) -> None:
    """Also of a task that has nothing new to say."""
    reporter = stage.follow()
    reporter.advance(7)
    stage.tick(IDLE)
    stage.store = MemoryStore()
    answer = stage.store.write(renewal(Held("t", reporter.job.exec)))
    stage.pacing.renewed(reporter, answer)
    stage.tick()
    assert stage.told[-1][1] == 7
    assert stage.store.load("t") is not None


def test_an_execution_that_another_one_has_replaced_is_followed_no_longer(stage: Stage) -> None:
    """What it says would be refused; it costs nothing more."""
    reporter = stage.follow()
    stage.store.write(Write("save", "t", {"exec": "later", "fence": 0, "n": 1, "age": 0, "state": "STARTED"}))
    stage.pacing.renewed(reporter, stage.store.write(renewal(Held("t", reporter.job.exec))))
    stage.tick()
    assert stage.pacing.running("t") is None


@pytest.mark.parametrize("behind", ["queued", "began", "retrying"])
def test_a_silent_task_writes_again_what_a_failover_has_forgotten(stage: Stage, behind: str) -> None:
    """Whatever the record has gone back to, the next sign of life brings back what was said, and the end comes."""
    reporter = stage.follow()
    reporter.advance(7)
    stage.tick(IDLE)
    older = MemoryStore(lambda: int(stage.now * 1_000_000) - 60_000_000)
    older.write(Write("queue", "t", {"body": '"id":"t"'}))
    if behind != "queued":
        state = "STARTED" if behind == "began" else "RETRY"
        name = reporter.job.exec if behind == "began" else "earlier"
        older.write(Write("save", "t", {"exec": name, "fence": 0, "n": 1, "age": 0, "state": state, "lease": 10**9}))
    stage.store._records = dict(older._records)
    stage.pacing.renewed(reporter, stage.store.write(renewal(Held("t", reporter.job.exec))))
    stage.tick()
    assert stage.told[-1][1] == 7
    reporter.become(State.SUCCESS)
    stage.tick()
    assert (found := stage.store.load("t")) is not None
    assert (found.state, found.attempt) == (State.SUCCESS, 1)


def test_signs_of_life_that_are_due_soon_go_along(stage: Stage) -> None:
    """Many silent tasks wake the process once in a while, not once for each."""
    first = stage.follow("a")
    stage.tick(SILENT_FOR / 3)
    second = stage.follow("b")
    stage.tick(SILENT_FOR / 3)
    third = stage.follow("c")
    stage.tick(SILENT_FOR / 3)
    assert stage.pacing.to_renew() == [first, second]
    assert third not in stage.pacing.to_renew()


def test_a_task_that_steps_as_often_as_it_may_is_never_held_up(stage: Stage) -> None:
    """Each step is told when it is made, though each save takes its time: no delay grows from step to step."""
    reporter = stage.follow()
    stage.watch()
    stage.pacing.hurry(reporter)
    stage.tick()
    told, stage.trip = len(stage.told), 0.003
    for _ in range(100):
        stage.tick(INTERVAL - stage.trip)
        reporter.advance()
        stage.tick(0)
    assert len(stage.told) - told == 100


def test_hurry_tells_what_was_held_back(stage: Stage) -> None:
    """A first watcher sees the present state, not that of up to four seconds ago."""
    reporter = stage.follow()
    reporter.advance(7)
    stage.tick()
    assert stage.told[-1][1] == 0
    stage.pacing.hurry(reporter)
    stage.tick()
    assert stage.told[-1][1] == 7


def test_who_looks_while_a_report_is_on_its_way_waits_for_no_interval(stage: Stage) -> None:
    """The answer to that report may not know it yet; the wake-up counts."""
    reporter = stage.follow()
    reporter.advance()
    stage.tick(IDLE)
    reporter.advance()
    stage.now += IDLE
    report = stage.pacing.report(reporter)
    assert report is not None
    answer = stage.store.write(report.write)
    stage.watch()
    stage.pacing.hurry(reporter)
    stage.pacing.answered(report, answer)
    reporter.advance()
    stage.tick(0)
    assert stage.told[-1][1] == 3


def test_wish_to_cancel_comes_with_any_answer(stage: Stage) -> None:
    """Whoever saves learns that somebody has asked, though no message reached this process."""
    reporter = stage.follow()
    stage.store.write(Write("cancel", "t", {"by": "7"}))
    assert not reporter.cancel_asked
    reporter.advance()
    stage.tick(IDLE)
    assert reporter.cancel_asked


def test_superseded_execution_falls_silent(stage: Stage) -> None:
    """Once a later execution has started, this one is followed no longer."""
    old = stage.follow()
    second = Reporter(Job("t", "tests.job", "another", Options()))
    stage.pacing.add(second)
    stage.tick()
    old.advance()
    stage.tick(IDLE)
    told = len(stage.told)
    old.advance()
    stage.tick(IDLE)
    assert len(stage.told) == told
    record = stage.store.load("t")
    assert record is not None
    assert (record.exec, record.attempt) == ("another", 2)


def test_backlog_is_bounded(stage: Stage) -> None:
    """While Redis is away 10 000 ended tasks are remembered, and every running one."""
    running = Reporter(job("running"))
    stage.pacing.add(running)
    for number in range(BACKLOG + 500):
        ended = Reporter(job(f"t{number}"))
        ended.become(State.SUCCESS)
        stage.pacing.add(ended)
    assert len(stage.pacing.ready()) == BACKLOG
    assert stage.pacing.running("running") is running
    assert stage.pacing.running("t0") is None
    assert stage.pacing.running(f"t{BACKLOG + 499}") is not None


# --- The thread ------------------------------------------------------------------------------------------------


class Layer:
    """A channel layer that keeps what it is given to send."""

    sent: ClassVar[list[tuple[str, dict[str, Any]]]] = []
    fails: ClassVar[bool] = False

    async def group_send(self, group: str, event: dict[str, Any]) -> None:
        if self.fails:
            raise RuntimeError("the layer is broken")
        self.sent.append((group, event))

    async def new_channel(self) -> str:
        return "channel"

    async def group_add(self, group: str, channel: str) -> None:
        """Nobody sends to it here."""

    async def receive(self, channel: str) -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()


class Shaky(MemoryStore):
    """A store that can be away, or broken in a way that nobody foresaw."""

    error: Exception | None = None

    async def awrite_many(self, writes: Any) -> list[Answer]:
        if self.error:
            raise self.error
        return await super().awrite_many(writes)


@pytest.fixture
def layer(settings: Any) -> Iterator[type[Layer]]:
    """The channel layer of this test."""
    publisher.stop()
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.Layer"}}
    Layer.sent.clear()
    yield Layer
    publisher.stop()
    Layer.fails = False


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Shaky:
    found = Shaky()
    monkeypatch.setattr(publisher, "get_store", lambda: found)
    return found


def test_every_change_is_stored_before_it_is_announced(layer: type[Layer], store: Shaky) -> None:
    """An announcement never tells of what the store does not have."""
    bridge = publisher.get_publisher()
    reporter = Reporter(job(), bridge.wake)
    bridge.follow(reporter)
    reporter.become(State.SUCCESS)
    wait_until(lambda: any('"final":true' in event["snapshot"] for _, event in layer.sent), 5, "the end is announced")
    record = store.load("t")
    assert record is not None
    group, event = layer.sent[-1]
    assert group == groups.group_name("t")
    assert event == groups.hint("t", record.seq, record.text(), record.text(staff=True))


def test_one_event_at_a_time_and_the_loop_send_the_same(layer: type[Layer], store: Shaky) -> None:
    """`send_now`, for a process that reports once, and the long-lived loop cannot be told apart by a consumer."""
    event = groups.hint("t", 5, '{"v":1}', '{"v":1,"worker":"w"}')
    publisher.send_now(groups.group_name("t"), dict(event))
    publisher.get_publisher().announce(groups.group_name("t"), dict(event))
    wait_until(lambda: len(layer.sent) == 2, 5, "both are sent")
    assert layer.sent[0] == layer.sent[1] == (groups.group_name("t"), event)


def test_stop_tells_what_is_still_to_be_said(layer: type[Layer], store: Shaky) -> None:
    """A process that leaves drains: changes within an interval, ends, verdicts, announcements."""
    bridge = publisher.get_publisher()
    reporters = [Reporter(job(f"t{number}"), bridge.wake) for number in range(50)]
    for reporter in reporters:
        bridge.follow(reporter)
    wait_until(lambda: store.load("t49"), 5, "all have started")
    for reporter in reporters:
        reporter.advance(5)
    reporters[0].become(State.SUCCESS)
    bridge.submit(Write("verdict", "killed", {"exec": "", "state": "FAILURE"}))
    bridge.announce("group", {"type": "progress.update"})
    publisher.stop()
    told = [store.load(f"t{number}") for number in range(50)]
    assert {record.snapshot()["current"] for record in told if record} == {5}
    assert [record.state for record in (store.load("t0"), store.load("killed")) if record] == ["SUCCESS", "FAILURE"]
    assert ("group", {"type": "progress.update"}) in layer.sent


def test_store_that_comes_back_is_told_the_newest(
    layer: type[Layer], store: Shaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is away nothing is queued but the newest of each task; then that is written, ends included."""
    monkeypatch.setattr(publisher, "RETRY_AFTER", 0.05)
    store.error = StoreUnavailable()
    bridge = publisher.get_publisher()
    running, ended = (Reporter(job(key), bridge.wake) for key in ("running", "ended"))
    for reporter in (running, ended):
        bridge.follow(reporter)
        reporter.advance(3)
    ended.become(State.FAILURE, error=ValueError("x"))
    bridge.submit(Write("verdict", "killed", {"exec": "", "state": "FAILURE"}))
    running.advance(4)
    assert store.load("ended") is None
    store.error = None
    for key, expected in (("running", "PROGRESS"), ("ended", "FAILURE"), ("killed", "FAILURE")):
        record = wait_until(lambda key=key: store.load(key), 5, f"{key} is written")
        assert record.state == expected
    assert (store.load("running") or record).snapshot()["current"] == 7


def test_error_that_nobody_foresaw_does_not_blind_the_process(
    layer: type[Layer], store: Shaky, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread logs it and goes on; the tasks of this process are not unseen from then on."""
    monkeypatch.setattr(publisher, "PAUSE_AFTER_ERROR", 0.05)
    store.error = TypeError("a mistake of ours")
    bridge = publisher.get_publisher()
    reporter = Reporter(job(), bridge.wake)
    bridge.follow(reporter)
    wait_until(lambda: "could not be published" in caplog.text, 5, "it is logged")
    store.error = None
    reporter.become(State.SUCCESS)
    assert wait_until(lambda: (found := store.load("t")) and found.ended and found, 5, "it is written").attempt == 1


def test_broken_layer_costs_announcements_only(layer: type[Layer], store: Shaky) -> None:
    """The record has the truth; whoever watches reads it a few seconds later."""
    Layer.fails = True
    bridge = publisher.get_publisher()
    reporter = Reporter(job(), bridge.wake)
    bridge.follow(reporter)
    reporter.become(State.SUCCESS)
    assert wait_until(lambda: (found := store.load("t")) and found.ended and found, 5, "it is written")
    assert layer.sent == []


def test_task_that_cannot_be_shown_does_not_hold_up_the_others(
    layer: type[Layer], store: Shaky, caplog: pytest.LogCaptureFixture
) -> None:
    """A reporter whose texts raise is given up, loudly; its neighbours are written."""
    bridge = publisher.get_publisher()
    broken, sound = (Reporter(job(key), bridge.wake) for key in ("broken", "sound"))
    broken.logs_to = object()  # type: ignore[assignment]
    for reporter in (broken, sound):
        bridge.follow(reporter)
    sound.become(State.SUCCESS)
    assert wait_until(lambda: store.load("sound"), 5, "it is written")
    assert "progress of task tests.job cannot be shown" in caplog.text


def test_one_publisher_per_process() -> None:
    """Whoever asks first starts it; asking at the same time from many threads starts no second one."""
    publisher.stop()
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(publisher.get_publisher())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    publisher.stop()
    assert sum(thread.name == "progress-publisher" for thread in threading.enumerate()) == 0


def test_stopped_publisher_is_followed_by_another() -> None:
    """A process that reports again after its publisher was stopped is heard."""
    publisher.stop()
    for key in ("first", "second"):
        publisher.get_publisher().submit(Write("verdict", key, {"exec": "", "state": "FAILURE"}))
        publisher.stop()
        record = get_store().load(key)
        assert record is not None
        assert record.state == "FAILURE"


def test_end_of_a_quiet_task_that_could_not_be_stored_is_tried_again(
    layer: type[Layer], store: Shaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that was asked to call does so once, at its end; one failed save must not lose that."""
    monkeypatch.setattr(publisher, "RETRY_AFTER", 0.05)
    bridge = publisher.get_publisher()
    reporter = Reporter(job(), bridge.wake)
    bridge.follow(reporter)
    wait_until(lambda: store.load("t"), 5, "it has started")
    bridge._publishing._pacing.hurry(reporter)
    bridge.wake()
    wait_until(lambda: reporter.attention, 5, "nobody looks at it any more")
    store.error = StoreUnavailable()
    reporter.become(State.SUCCESS)
    wait_until(lambda: bridge._retry_at, 5, "the save has failed")
    store.error = None
    assert wait_until(lambda: (found := store.load("t")) and found.ended and found, 5, "it is written")


def test_who_looked_before_the_process_could_be_called_waits_for_no_interval(
    layer: type[Layer], store: Shaky, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joining its group takes a new process a while; who called it meanwhile was not heard."""
    settings.PROGRESS_IDLE_INTERVAL = 60.0
    called, listens = threading.Event(), threading.Event()

    async def slowly(_layer: Layer, _group: str, _channel: str) -> None:
        called.set()
        await asyncio.to_thread(listens.wait, 10)

    monkeypatch.setattr(layer, "group_add", slowly)
    bridge = publisher.get_publisher()
    reporter = Reporter(job(), bridge.wake)
    bridge.follow(reporter)
    wait_until(lambda: store.load("t"), 5, "its start is written")
    assert called.wait(5)
    store.write(Write("watch", "t", {"span": 60_000_000}))
    reporter.advance(7)
    assert (found := store.load("t")) is not None
    assert found.state == "STARTED"
    listens.set()
    wait_until(lambda: (found := store.load("t")) and found.state == "PROGRESS", 5, "its news are written")


def test_a_soft_time_limit_that_strikes_a_call_does_not_silence_the_next(
    layer: type[Layer], store: Shaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised in the task, wherever that happens to be; its end is told at once all the same."""
    bridge = publisher.get_publisher()
    reporter = Reporter(job(), bridge.wake)
    bridge.follow(reporter)
    wait_until(lambda: store.load("t") and bridge._loop, 5, "its start is written")
    loop = bridge._loop

    class Struck:
        def call_soon_threadsafe(self, *_: object) -> None:
            bridge._loop = loop
            raise SoftTimeLimitExceeded

    wait_until(lambda: not bridge._called, 5, "nobody has called")
    bridge._loop = Struck()  # type: ignore[assignment]
    with pytest.raises(SoftTimeLimitExceeded):
        bridge.wake()
    reporter.become(State.FAILURE, error=SoftTimeLimitExceeded())
    wait_until(lambda: (found := store.load("t")) and found.ended, 2, "its end is written")


def test_log_line_that_comes_just_before_the_end_is_stored(
    layer: type[Layer], store: Shaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While earlier lines are on their way the task logs its last one and ends: both are there."""
    bridge = publisher.get_publisher()
    reporter = Reporter(job(), bridge.wake)
    append = store.aappend_logs

    async def slowly(key: str, lines: Any, *, ended: bool = False) -> str:
        if not ended:
            reporter.log("the last words")
            reporter.become(State.SUCCESS)
        return await append(key, list(lines), ended=ended)

    monkeypatch.setattr(store, "aappend_logs", slowly)
    reporter.log("the first words")
    bridge.follow(reporter)
    wait_until(lambda: (found := store.load("t")) and found.ended, 5, "it has ended")
    assert [line["text"] for line in store.logs("t").lines] == ["the first words", "the last words"]


def test_layer_that_hangs_delays_no_save_and_no_exit(
    layer: type[Layer], store: Shaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hint waits a second; then hints are given up for a while, and what is stored does not wait for them."""

    async def hang(self: Layer, group: str, event: dict[str, Any]) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(Layer, "group_send", hang)
    monkeypatch.setattr(announcer, "SEND_TIMEOUT", 0.05)
    bridge = publisher.get_publisher()
    reporters = [Reporter(job(f"t{number}"), bridge.wake) for number in range(100)]
    for reporter in reporters:
        bridge.follow(reporter)
        reporter.become(State.SUCCESS)
    wait_until(
        lambda: all((found := store.load(f"t{number}")) and found.ended for number in range(100)), 2, "all end"
    )
    for number in range(100):
        bridge.announce("group", {"n": number})
    publisher.stop()
    wait_until(lambda: not bridge._thread.is_alive(), 1, "the thread has ended")
