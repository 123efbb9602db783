"""Random operations on a record: what any process could send, in any order."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st

from progress.snapshot import FINAL

RUNNING = st.sampled_from(["STARTED", "PROGRESS", "RETRY", "PENDING"])
ENDS = st.sampled_from(sorted(FINAL))
EXECS = st.sampled_from(["a", "b", "c"])
OWNERS = st.sampled_from(["", "1", "2"])
SENT = st.sampled_from(["", "m1", "m2"])
QUEUES = st.sampled_from(["", "celery"])
LEASES = st.sampled_from([1, 100, 16_000_000])  # µs; the shortest are over at the next write
WHOLES = st.sampled_from(["", "flow", "other"])
LINEAGE = {
    "group": WHOLES,
    "part_of": st.sampled_from(["", "sender"]),
    "weight": st.sampled_from([500_000, 3_000_000]),
    "history": st.integers(0, 1),
}


def operations() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Any operation with any arguments that some process could send, in any order."""
    seen = st.sampled_from([0, 0, 0, 10**15 + 5])
    queue = st.fixed_dictionaries(
        {"owner": OWNERS, "tree": WHOLES, "body": st.just('"id":"t"'), "seen": seen},
        optional={"again": st.just("1"), "waits": st.just("before"), "sent": SENT, "queue": QUEUES, **LINEAGE},
    )
    save = st.fixed_dictionaries(
        {
            "exec": EXECS,
            "fence": st.sampled_from([0, 0, -1, -2, 1]),  # negative: a fence that was really issued
            "n": st.integers(1, 6),
            "age": st.sampled_from([0, 5, 1_000_000]),
            "state": RUNNING | ENDS,
            "attempt": st.integers(1, 3),
            "run": st.integers(1, 2),
            "owner": OWNERS,
            "body": st.sampled_from(['"id":"t"', '"id":"t","current":1']),
            "fraction": st.sampled_from(["", "0.5", "0.123457"]),
            "outcome": st.sampled_from(["", '"result":1']),
            "seen": seen,
        },
        optional={"tree": WHOLES, "sent": SENT, "lease": LEASES, "terminable": st.integers(0, 1), **LINEAGE},
    )
    verdict = st.fixed_dictionaries(
        {
            "exec": EXECS | st.just(""),
            "state": ENDS | st.just("LOST"),
            "owner": OWNERS,
            "body": st.just('"id":"t"'),
            "outcome": st.just('"error":{"type":"error"}'),
        },
        optional={"tree": WHOLES, **LINEAGE},
    )
    renew = st.fixed_dictionaries({"exec": EXECS, "lease": LEASES, "seen": seen})
    restore = st.fixed_dictionaries(
        {
            "owner": OWNERS,
            "tree": WHOLES,
            "attempt": st.integers(1, 3),
            "run": st.integers(1, 2),
            "state": st.sampled_from(["LOST", "PROGRESS", "SUCCESS"]),
            "exec": EXECS,
            "fence": st.sampled_from([0, -1, 5]),
            "n": st.integers(0, 3),
            "finished_at": st.sampled_from([0, 10**15]),
            "started_at": st.just(10**15),
            "body": st.just('"id":"t"'),
            "fraction": st.sampled_from(["", "0.5"]),
            "seen": st.sampled_from([0, -1, 10**15 + 5]),
        }
    )
    return st.one_of(
        st.tuples(st.just("queue"), queue),
        st.tuples(st.just("save"), save),
        st.tuples(st.just("save"), save),
        st.tuples(st.just("verdict"), verdict),
        st.tuples(st.just("renew"), renew),
        st.tuples(st.just("lost"), st.fixed_dictionaries({"exec": EXECS}, optional={"lease": LEASES})),
        st.tuples(st.just("restore"), restore),
        st.tuples(st.just("unserved"), st.fixed_dictionaries({"value": st.integers(0, 1)})),
        st.tuples(st.just("cancel"), st.fixed_dictionaries({"by": st.just("7")})),
        st.tuples(st.just("watch"), st.fixed_dictionaries({"span": st.integers(0, 10**8)})),
    )


def resolve(args: dict[str, Any], fences: list[int], seqs: list[int]) -> dict[str, Any]:
    """`args` with the placeholders −1, −2 replaced by the newest or second newest number that was issued."""
    resolved = dict(args)
    for name, issued in (("fence", fences), ("seen", seqs)):
        if resolved.get(name, 0) < 0:
            place = resolved[name]
            resolved[name] = issued[place] if len(issued) >= -place else 0
    return resolved
