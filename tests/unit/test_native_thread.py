"""Where the publisher runs: in a thread of the system, whatever has become of Python's own."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from progress import lifecycle, native_thread
from progress.native_thread import NativeThread

PATCHED = "from gevent import monkey; monkey.patch_all()\n"
PROGRAM = """
import asyncio, os, sys, threading, time
from progress.native_thread import NativeThread, threads_are_greenlets

def threads():
    return len(os.listdir("/proc/self/task"))

async def in_a_loop():
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)  # by a thread of the loop's own
    await asyncio.sleep(0.01)
"""


def run(body: str, first: str = "") -> str:
    """What a program of its own prints."""
    command = [sys.executable, "-c", first + PROGRAM + body]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()


both = pytest.mark.parametrize("first", ["", PATCHED], ids=["plain", "gevent"])


@both
def test_it_is_a_thread_of_the_system(first: str) -> None:
    """Its loop is nobody else's: while it runs, the starting thread has none, and can run one."""
    told = run(
        """
seen = []
def target():
    seen.append(threading.get_native_id() != here)
    asyncio.run(waiting())
async def waiting():
    seen.append(True)
    await asyncio.sleep(0.5)
here = threading.get_native_id()
thread = NativeThread(target, "ours")
thread.start()
while len(seen) < 2: time.sleep(0.01)
asyncio.run(in_a_loop())
thread.join(5)
print(seen, threads_are_greenlets())
""",
        first,
    )
    assert told == f"[True, True] {bool(first)}"


@both
def test_nothing_is_left_of_it(first: str) -> None:
    """After twenty of them the process has no more threads and open files than after one."""
    told = run(
        """
def used():
    return threads(), len(os.listdir("/proc/self/fd"))
def one():
    thread = NativeThread(lambda: asyncio.run(in_a_loop()), "ours")
    thread.start()
    thread.join(5)
    thread.join(5)
one()
before = used()
for _ in range(20): one()
deadline = time.monotonic() + 5
def more(): return any(now > then for now, then in zip(used(), before))
while more() and time.monotonic() < deadline: time.sleep(0.01)
print(not more(), before, used())
""",
        first,
    )
    assert told.startswith("True"), told


@both
def test_it_keeps_no_process_from_ending(first: str) -> None:
    """Like a daemon thread: a process whose last line is done ends."""
    began = time.monotonic()
    run('NativeThread(lambda: asyncio.run(asyncio.sleep(60)), "ours").start(); time.sleep(0.1)', first)
    assert time.monotonic() - began < 10


@both
def test_waiting_for_it_ends_in_time(first: str) -> None:
    """`join` gives up after its time-out, and does not wait for the thread that calls it."""
    told = run(
        """
gate, inside = threading.Event(), []
def target():
    began = time.monotonic()
    thread.join(5)
    inside.append(time.monotonic() - began)
    asyncio.run(asyncio.sleep(1))
thread = NativeThread(target, "ours")
thread.start()
began = time.monotonic()
thread.join(0.2)
print(inside[0] < 0.1, 0.15 < time.monotonic() - began < 0.9)
""",
        first,
    )
    assert told == "True True"


def test_one_that_never_ran_is_not_waited_for() -> None:
    """A publisher whose start failed can be stopped."""
    NativeThread(lambda: None, "never started").join(5)
    failed = NativeThread(lambda: None, "cannot start")
    failed._thread = threading.Thread(target=lambda: None)
    failed.join(5)


def test_eventlet_is_refused_in_words(monkeypatch: Any, caplog: Any) -> None:
    """In a process that eventlet has patched nothing of Celery's is listened to, and the log says why, once."""
    patched: dict[str, bool] = {}
    monkeypatch.setitem(sys.modules, "eventlet.patcher", SimpleNamespace(is_monkey_patched=patched.get))
    connected: list[Any] = []
    signal = SimpleNamespace(connect=lambda *_args, **_kwargs: connected.append(True))
    monkeypatch.setattr(lifecycle, "_HANDLERS", SimpleNamespace(items=lambda: [(signal, print)]))
    lifecycle.connect()
    assert connected == [True]  # eventlet is there, but has patched nothing
    patched["thread"] = True
    assert native_thread.threads_are_eventlets()
    with caplog.at_level(logging.ERROR):
        lifecycle.connect()
    assert connected == [True]
    assert "eventlet is not supported. Use --pool gevent or threads." in caplog.text
