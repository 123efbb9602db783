"""The feed: read many at a time in one loop, kept whatever comes, gone on with after a break."""

import asyncio
from contextlib import aclosing

import pytest

from progress.options import options_of
from progress.testing import collect
from tasks import feed
from tasks.feed import BrokenOff, Feed, fetch_all
from tasks.feed_copy import keep, kept_by
from tasks.models import FeedEntry
from tasks.tasks import sync_feed


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A fast line."""
    monkeypatch.setattr(feed, "LATENCY", (0.0, 0.002))


class Counting(Feed):
    """Knows how many entries are under way."""

    def __init__(self, size: int, breaks_after: int = 0) -> None:
        super().__init__(size, breaks_after)
        self.under_way = self.most = 0

    async def fetch(self, number):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await super().fetch(number)
        finally:
            self.under_way -= 1


def fetched(source: Feed, numbers, at_once: int) -> list[int]:
    async def run():
        return [entry.number async for entry in fetch_all(source, numbers, at_once)]

    return asyncio.run(run())


@pytest.mark.parametrize("at_once", [1, 3, 8, 100])
def test_every_entry_is_fetched_once_and_so_many_at_a_time(at_once):
    """None is lost between two rounds, and no more are under way than were asked for."""
    source = Counting(50)
    assert sorted(fetched(source, range(1, 51), at_once)) == list(range(1, 51))
    assert source.most == min(at_once, 50)


def test_nothing_to_fetch_is_no_error():
    """Everything was kept already."""
    assert fetched(Feed(5), [], 3) == []


def test_a_feed_that_breaks_off_gives_what_came_before():
    """Exactly as many as it had, and then the reason."""
    found = []

    async def run():
        async with aclosing(fetch_all(Feed(50, breaks_after=20), range(1, 51), 8)) as coming:
            async for entry in coming:
                found.append(entry.number)

    with pytest.raises(BrokenOff):
        asyncio.run(run())
    assert len(found) == len(set(found)) == 20


def test_closing_leaves_nothing_running():
    """Whoever stops in the middle leaves no request behind."""
    source = Counting(50)

    async def run():
        async with aclosing(fetch_all(source, range(1, 51), 8)) as coming:
            async for _ in coming:
                break
        return len(asyncio.all_tasks())

    assert asyncio.run(run()) == 1
    assert source.under_way == 0


@pytest.mark.django_db
def test_the_copy_is_the_feed():
    """All entries are there, with a bar that counts each; a second sync replaces and doubles nothing."""
    told = collect(sync_feed, entries=30, at_once=5)
    assert told.get() == "30 entries synced."
    assert [snapshot["current"] for snapshot in told if snapshot["state"] == "PROGRESS"][-1] == 30
    assert told.last["total"] == 30
    before = list(FeedEntry.objects.values_list("number", "headline"))
    assert [number for number, _ in before] == list(range(1, 31))
    collect(sync_feed, entries=30, at_once=5).get()
    assert list(FeedEntry.objects.values_list("number", "headline")) == before


@pytest.mark.django_db
def test_after_a_break_the_next_attempt_goes_on_behind_what_was_kept(monkeypatch):
    """Nothing is fetched twice, and the bar begins where the first attempt stopped."""
    asked = []
    plain = Feed.fetch

    async def noting(self, number):
        entry = await plain(self, number)
        asked.append(number)
        return entry

    monkeypatch.setattr(Feed, "fetch", noting)
    told = collect(sync_feed, entries=40, at_once=4, breaks_after=15)
    assert "RETRY" in told.states
    assert sorted(asked) == list(range(1, 41))
    again = [snapshot for snapshot in told if snapshot.get("retries") == 1 and snapshot["total"] == 40]
    assert min(snapshot["current"] for snapshot in again) == 15
    assert FeedEntry.objects.count() == 40


@pytest.mark.django_db
def test_a_cancel_reaches_the_loop_and_what_was_fetched_is_kept(monkeypatch):
    """It ends the loop, not one of the fetches; the entries so far are in the copy."""
    plain = Feed.fetch

    async def cancelling(self, number):
        if number == 20:
            told.cancel()
        return await plain(self, number)

    monkeypatch.setattr(Feed, "fetch", cancelling)
    with collect() as told:
        sync_feed.apply(kwargs={"entries": 60, "at_once": 4})
    assert told.states[-1] == "REVOKED"
    assert 10 <= FeedEntry.objects.count() < 60


@pytest.mark.django_db
def test_kept_entries_are_those_of_this_task_up_to_the_size():
    """Another task's are fetched again: they may be older."""
    entries = [asyncio.run(Feed(5).fetch(number)) for number in (1, 2, 5)]
    keep(entries, "this")
    keep(entries[:1], "other")
    assert (kept_by("this", 4), kept_by("this", 5), kept_by("none", 5)) == ({2}, {2, 5}, set())


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", [{"entries": 0}, {"at_once": 0}, {"breaks_after": -1}])
def test_nonsense_is_refused_in_plain_words(wrong):
    """Staff can start it with any numbers."""
    assert collect(sync_feed, **wrong).last["error"]["type"] == "Refused"


def test_that_the_feed_is_simulated_is_said():
    """Where its form shows it; and staff may start it."""
    assert "simulated" in (sync_feed.run.__doc__ or "")
    assert options_of(sync_feed.name, sync_feed.run).runnable
