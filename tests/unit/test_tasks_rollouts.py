"""Packages on several hosts: each host a task, sent once, failing alone, called off together."""

import re

import pytest
from django.contrib.auth import get_user_model

from progress.options import options_of
from progress.testing import collect, in_memory
from tasks import hosts, rollouts
from tasks.models import Installation, Rollout
from tasks.tasks import install_on_host, install_software

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Simulated hosts take no time here, and every check looks."""
    monkeypatch.setattr(hosts.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(rollouts, "LOOK_EVERY", 0.0)


@pytest.fixture
def rollout():
    """Makes a rollout of some packages on some hosts."""
    owner = get_user_model().objects.create_user("ada")

    def make(names=("web-1",), packages=("nginx",)) -> Rollout:
        found = Rollout.objects.create(owner=owner, packages=list(packages))
        Installation.objects.bulk_create(Installation(rollout=found, host=host) for host in names)
        return found

    return make


@pytest.fixture
def sent(monkeypatch):
    """What the rollout sends."""
    calls = []
    monkeypatch.setattr(install_on_host, "apply_async", lambda **kwargs: calls.append(kwargs))
    return calls


def installed(part: Installation):
    return collect(install_on_host, installation_id=part.pk, host=part.host)


def test_every_host_is_sent_one_task_with_the_id_that_its_page_knows(rollout, sent):
    """The page can list them before they are sent."""
    found = rollout(["web-1", "web-2"])
    told = collect(install_software, rollout_id=found.pk)
    expected = [
        {"kwargs": {"installation_id": part.pk, "host": part.host}, "task_id": str(part.task_id)}
        for part in found.installations.all()
    ]
    assert sent == expected
    assert told.get() == "Sent to 2 hosts. Each of them goes on by itself."
    assert told.last["title"] == "Install nginx on 2 simulated hosts"


def test_a_rollout_that_is_delivered_again_sends_nothing_twice(rollout, sent):
    """It goes on behind what was sent."""
    found = rollout(["web-1", "web-2", "web-3"])
    rollouts.sent(found.installations.all()[0])
    collect(install_software, rollout_id=found.pk).get()
    collect(install_software, rollout_id=found.pk).get()
    assert [call["kwargs"]["host"] for call in sent] == ["web-2", "web-3"]


def test_cancelling_the_rollout_calls_off_what_it_has_sent(rollout, monkeypatch):
    """The parts that wait do not begin."""
    found = rollout(["web-1", "web-2", "web-3"])
    monkeypatch.setattr(install_on_host, "apply_async", lambda **_kwargs: told.cancel())
    with collect() as told:
        install_software.apply(kwargs={"rollout_id": found.pk})
    assert told.states[-1] == "REVOKED"
    part = found.installations.all()[0]
    assert installed(part).last["state"] == "REVOKED"
    assert found.installations.exclude(sent_at=None).count() == 1


def test_a_rollout_that_was_called_off_sends_no_more(rollout, sent):
    """Called off while it waited for a worker."""
    found = rollout(["web-1"])
    rollouts.stop(found)
    assert collect(install_software, rollout_id=found.pk).get() == "Sent to 0 hosts. Each of them goes on by itself."
    assert sent == []


def test_a_host_shows_each_package_as_a_stage(rollout):
    """By its size; the whole is exact, and success is the end of the last one."""
    (part,) = rollout(packages=["nginx", "redis"]).installations.all()
    told = installed(part)
    sizes = {name: hosts.Host("web-1").size(name) for name in ("nginx", "redis")}
    assert {stage["name"]: stage["weight"] for stage in told.last["stages"]} == sizes
    assert told.fractions == sorted(told.fractions, key=lambda value: value or 0)
    assert told.get() == "2 packages installed."
    assert told.last["title"] == "web-1"


def test_a_package_that_cannot_be_installed_fails_its_host_and_no_other(rollout):
    """The reason is shown to whoever watches; what was installed before it stays, the next is not begun."""
    found = rollout(["web-1"], ["nginx", "broken-pipe", "redis"])
    (part,) = found.installations.all()
    told = installed(part)
    part.refresh_from_db()
    assert told.last["state"] == "FAILURE"
    assert told.last["error"]["message"] == "broken-pipe cannot be installed on web-1: a file of it is damaged."
    assert [stage["state"] for stage in told.last["stages"]] == ["done", "failed", "waiting"]
    assert part.installed == ["nginx"]


def test_a_host_that_never_answers_is_tried_three_times_and_fails(rollout):
    """It is shown that it is tried again, and why it failed in the end."""
    (part,) = rollout(["down-1"]).installations.all()
    told = installed(part)
    attempt = ["STARTED", "PROGRESS"]
    assert told.states == [*attempt, "RETRY", *attempt, "RETRY", *attempt, "FAILURE"]
    assert told.last["attempt"] == 3
    assert told.last["error"]["message"] == "down-1 does not answer."


def test_a_host_that_answers_later_is_done_at_the_second_attempt(rollout):
    """A flaky host is no failed host."""
    (part,) = rollout(["flaky-1"]).installations.all()
    told = installed(part)
    assert "RETRY" in told.states
    part.refresh_from_db()
    assert part.installed == ["nginx"]


def test_an_installation_that_runs_again_goes_on_behind_what_is_installed(rollout, monkeypatch):
    """A second attempt installs no package twice."""
    (part,) = rollout(packages=["nginx", "redis"]).installations.all()
    rollouts.done(part, "nginx")
    asked = []
    plain = hosts.Host.install
    monkeypatch.setattr(hosts.Host, "install", lambda self, package: asked.append(package) or plain(self, package))
    assert installed(part).last["state"] == "SUCCESS"
    assert asked == ["redis"]


def test_a_running_part_stops_when_its_rollout_is_called_off(rollout, monkeypatch):
    """In the middle of a package; it ends cancelled, and the package does not count as installed."""
    found = rollout()
    (part,) = found.installations.all()
    plain = hosts.Host.install

    def install(self, package):
        for megabyte in plain(self, package):
            if megabyte == 3:
                rollouts.stop(found)
            yield megabyte

    monkeypatch.setattr(hosts.Host, "install", install)
    told = installed(part)
    part.refresh_from_db()
    assert (told.last["state"], told.last["current"], part.installed) == ("REVOKED", 2, [])


def test_whether_it_was_called_off_is_not_looked_up_at_every_step(rollout, monkeypatch, django_assert_num_queries):
    """Once in half a second, however many steps there are."""
    monkeypatch.setattr(rollouts, "LOOK_EVERY", 60.0)
    off = rollouts.CallingOff(rollout().pk)
    with django_assert_num_queries(1):
        for _ in range(1000):
            off.check()


def test_parts_of_a_deleted_rollout_are_refused(rollout):
    """They say so instead of failing."""
    found = rollout()
    (part,) = found.installations.all()
    found.delete()
    assert installed(part).last["error"]["type"] == "Refused"
    assert collect(install_software, rollout_id=found.pk or 0).last["error"]["type"] == "Refused"


def test_that_hosts_are_simulated_is_said_wherever_they_are_named(rollout, sent):
    """In the docstring, which the form shows, and in the title of the run."""
    assert "simulated" in (install_software.run.__doc__ or "")
    with in_memory():
        assert "simulated" in collect(install_software, rollout_id=rollout().pk).last["title"]
    assert not options_of(install_software.name, install_software.run).runnable


@pytest.mark.parametrize("name", ["a", "web-1", "web-1.example.org", "10.0.0.1", "x" * 63])
def test_names_of_hosts(name):
    """Letters, digits and dashes in labels of 63."""
    assert hosts.HOST.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "a..b", "a_b", "x" * 64, ".a", "a.", "é", "a b", "a\n", "x." * 127 + "x"]
)
def test_what_is_no_name_of_a_host(name):
    """Nothing that could be more than a name."""
    assert not hosts.HOST.fullmatch(name)


def test_sizes_follow_from_names():
    """Every host agrees on them, in every process."""
    assert hosts.Host("a").size("nginx") == hosts.Host("b").size("nginx")
    assert all(5 <= hosts.Host("a").size(f"p{number}") <= 40 for number in range(200))
    assert re.fullmatch(hosts.PACKAGE, "python3.11-dev")
