"""An export's file: whole or not there, private, of the newest execution, and gone when it is old."""

import csv
import datetime as dt
import gzip
import io
import os
import time
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.utils import timezone

from progress.testing import collect
from tasks import exporting, orders
from tasks.models import Export, Order
from tasks.private import PrivateStorage
from tasks.refusals import Superseded
from tasks.tasks import export_orders

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def private(settings, tmp_path):
    settings.PRIVATE_ROOT = tmp_path / "private"
    return settings.PRIVATE_ROOT


@pytest.fixture
def ada():
    return get_user_model().objects.create_user("ada")


def export_of(owner, **fields) -> Export:
    return Export.objects.create(owner=owner, **{"at_least": 2500, **fields})


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def lines_of(export: Export) -> list[list[str]]:
    data = Path(export.file.path).read_bytes()
    text = (gzip.decompress(data) if export.compressed else data).decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text, newline="")))


def grown_old(export: Export, settings) -> None:
    past = timezone.now() - dt.timedelta(seconds=settings.PROGRESS_RETENTION + 1)
    Export.objects.filter(pk=export.pk).update(created_at=past)


# --- What is exported --------------------------------------------------------------------------------------


def test_orders_are_made_up_once_and_always_the_same(ada):
    """A second call adds what is missing and changes nothing; another user's are numbered from 1 as well."""
    assert list(orders.make_up_orders(ada, 2500)) == [1000, 2000, 2500]
    before = list(Order.objects.values_list("pk", "number", "customer", "amount"))
    assert list(orders.make_up_orders(ada, 2500)) == []
    assert list(orders.make_up_orders(ada, 100)) == []
    assert list(Order.objects.values_list("pk", "number", "customer", "amount")) == before
    bob = get_user_model().objects.create_user("bob")
    assert list(orders.make_up_orders(bob, 1)) == [1]
    mine, bobs = (Order.objects.get(owner=owner, number=1) for owner in (ada, bob))
    assert (mine.customer, mine.amount, mine.placed_on) == (bobs.customer, bobs.amount, bobs.placed_on)


@pytest.mark.parametrize("compressed", [False, True])
def test_the_file_holds_every_order_of_its_owner(ada, compressed):
    """By number, typed as they are, with a header; nobody else's."""
    list(orders.make_up_orders(get_user_model().objects.create_user("bob"), 10))
    export = export_of(ada, compressed=compressed)
    told = collect(export_orders, export_id=export.pk)
    export.refresh_from_db()
    header, *rows = lines_of(export)
    assert header == list(exporting.HEADER)
    assert [int(row[0]) for row in rows] == list(range(1, 2501))
    first = Order.objects.get(owner=ada, number=1)
    assert rows[0][1:2] + rows[0][4:] == [first.placed_on.isoformat(), str(first.amount)]
    assert (export.rows, export.size) == (2500, Path(export.file.path).stat().st_size)
    assert export.finished_at is not None
    assert told.get() == "2,500 orders exported."
    assert export.name.endswith(".csv.gz" if compressed else ".csv")


def test_only_orders_of_the_chosen_days_are_written(ada):
    """Both days are included."""
    list(orders.make_up_orders(ada, 2000))
    day = Order.objects.get(owner=ada, number=7).placed_on
    export = export_of(ada, at_least=0, placed_from=day, placed_until=day)
    collect(export_orders, export_id=export.pk).get()
    export.refresh_from_db()
    expected = Order.objects.filter(owner=ada, placed_on=day).count()
    assert expected >= 1
    assert {row[1] for row in lines_of(export)[1:]} == {day.isoformat()}
    assert len(lines_of(export)) == 1 + expected


def test_no_cell_is_a_formula(ada):
    """A spreadsheet that opens the file computes nothing and calls nobody."""
    for number, customer in enumerate(["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "plain", "'quoted"], 1):
        article = "=cmd|' /C calc'!A0"
        Order.objects.create(
            owner=ada, number=number, placed_on="2024-01-01", customer=customer, article=article, amount=1
        )
    export = export_of(ada, at_least=0)
    collect(export_orders, export_id=export.pk).get()
    export.refresh_from_db()
    rows = lines_of(export)[1:]
    assert [row[2] for row in rows[-2:]] == ["plain", "'quoted"]
    assert not [cell for row in rows for cell in row if cell.startswith(tuple("=+-@\t\r"))]


def test_nothing_to_export_is_refused_in_plain_words(ada):
    """No empty file that somebody waits for."""
    told = collect(export_orders, export_id=export_of(ada, at_least=0).pk)
    assert told.last["error"]["message"].startswith("You have no orders of these days.")


# --- Whole or not at all -----------------------------------------------------------------------------------


def test_progress_is_one_whole_of_two_stages(ada):
    """Making up and writing, one after the other; the whole never falls."""
    told = collect(export_orders, export_id=export_of(ada).pk)
    assert told.fractions == sorted(told.fractions, key=lambda value: value or 0)
    assert [stage["name"] for stage in told.last["stages"]] == ["make up orders", "write the file"]
    assert told.last["current"] == told.last["total"] == 2500


def test_a_cancelled_export_leaves_no_file(ada, private, monkeypatch):
    """In the middle of writing: neither a whole nor a half one."""
    export = export_of(ada)
    plain_orders = orders.orders_of

    class Cancelling:
        def __init__(self, *args):
            self.found = plain_orders(*args)
            self.count = self.found.count

        def iterator(self):
            for order in self.found:
                if order.number == 1500:
                    assert [path.suffix for path in files(private)] == [".part"]
                    told.cancel()
                yield order

    monkeypatch.setattr("tasks.tasks.orders_of", Cancelling)
    with collect() as told:
        export_orders.apply(kwargs={"export_id": export.pk})
    export.refresh_from_db()
    assert told.states[-1] == "REVOKED"
    assert (files(private), bool(export.file), export.finished_at) == ([], False, None)


def test_an_export_that_fails_leaves_no_file(ada, private, monkeypatch):
    """A full disk, say, at the very last step."""

    def full(_descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr(exporting.os, "fsync", full)
    export = export_of(ada)
    told = collect(export_orders, export_id=export.pk)
    export.refresh_from_db()
    assert told.last["state"] == "FAILURE"
    assert (files(private), bool(export.file)) == ([], False)


def test_an_execution_that_was_taken_over_gives_no_file(ada, private):
    """Delivered twice: the newest execution's file is the export's, and the only one."""
    export = export_of(ada)
    list(orders.make_up_orders(ada, 3))
    first = exporting.take_over(export)
    exporting.write_file(export, exporting.take_over(export), Order.objects.all())
    with pytest.raises(Superseded):
        exporting.write_file(export, first, Order.objects.all())
    export.refresh_from_db()
    assert files(private) == [Path(export.file.path)]


def test_an_export_that_was_deleted_meanwhile_leaves_no_file(ada, private):
    """Whoever deletes it while it is written gets rid of it."""
    export = export_of(ada)
    execution = exporting.take_over(export)
    list(orders.make_up_orders(ada, 3))

    def deleting():
        Export.objects.all().delete()
        yield from Order.objects.all()

    with pytest.raises(Superseded):
        exporting.write_file(export, execution, deleting())
    assert files(private) == []
    assert collect(export_orders, export_id=export.pk).last["error"]["type"] == "Refused"


# --- Private, and not for ever -----------------------------------------------------------------------------


def test_files_are_for_the_sites_own_account_and_have_no_address(ada, private):
    """Nobody else on the machine reads them, and no URL leads to them."""
    export = export_of(ada)
    collect(export_orders, export_id=export.pk).get()
    export.refresh_from_db()
    path = Path(export.file.path)
    assert (path.parent, path.stat().st_mode & 0o777) == (private / "exports", 0o600)
    assert path.parent.stat().st_mode & 0o077 == 0
    assert str(ada.pk) not in path.stem or len(path.stem) == 32, "the name tells nothing"
    with pytest.raises(ValueError, match="no address"):
        export.file.url  # noqa: B018
    with pytest.raises(ValueError, match="no address"):
        PrivateStorage().url("x")


def test_private_files_lie_outside_of_what_is_served(settings):
    """Neither uploads nor static files are near them."""
    from project import settings as shipped

    root = Path(shipped.PRIVATE_ROOT)
    assert not root.is_relative_to(shipped.STATIC_ROOT)
    assert not root.is_relative_to(shipped.MEDIA_ROOT)
    assert root.is_relative_to(shipped.DATA_DIR)


def test_old_exports_go_with_their_files_and_young_ones_stay(
    ada, private, settings, django_capture_on_commit_callbacks
):
    """The command deletes what is older than the runs are, counts it, and touches nothing else."""
    old, young = export_of(ada), export_of(ada)
    for export in (old, young):
        collect(export_orders, export_id=export.pk).get()
    grown_old(old, settings)
    told = io.StringIO()
    with django_capture_on_commit_callbacks(execute=True):
        call_command("delete_old_exports", stdout=told)
    assert told.getvalue() == "1 old export deleted.\n"
    young.refresh_from_db()
    assert list(Export.objects.all()) == [young]
    assert files(private) == [Path(young.file.path)]


def test_what_a_killed_process_left_is_deleted_when_it_is_old(ada, private, settings):
    """Half files and files of no export; what is being written now stays."""
    folder = private / "exports"
    folder.mkdir(parents=True)
    then = time.time() - settings.PROGRESS_RETENTION - 1
    for name in ("half.part", "lost.csv"):
        (folder / name).write_text("x")
        os.utime(folder / name, (then, then))
    (folder / "now.part").write_text("x")
    assert exporting.delete_old_exports() == 0
    assert [path.name for path in files(private)] == ["now.part"]


def test_every_export_tidies_up_first(ada, settings, django_capture_on_commit_callbacks):
    """A site that runs no timer keeps nothing for ever as long as it is used."""
    old = export_of(ada)
    grown_old(old, settings)
    collect(export_orders, export_id=export_of(ada).pk).get()
    assert not Export.objects.filter(pk=old.pk).exists()
