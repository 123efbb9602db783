"""Imports of real files into a real database, by the task's own body. None of it needs a worker."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from celery.exceptions import Ignore
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.db import IntegrityError

from progress import TaskCancelled
from progress.options import options_of
from progress.reporter import Job, Reporter, running
from tasks import importing
from tasks.models import BadRow, Customer, Upload
from tasks.refusals import Refused
from tasks.tasks import import_csv

pytestmark = pytest.mark.django_db

SAMPLE = Path(__file__).parents[2] / "tasks" / "static" / "tasks" / "customers.csv"


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    return settings.MEDIA_ROOT


@pytest.fixture
def user():
    return get_user_model().objects.create_user("ada")


@pytest.fixture
def upload(user):
    def make(content: bytes | str, name: str = "customers.csv") -> Upload:
        data = content.encode() if isinstance(content, str) else content
        return Upload.objects.create(owner=user, name=name, file=ContentFile(data, name))

    return make


class Recorder(Reporter):
    """A reporter that keeps each value that a task reports, and can cancel at one of them."""

    def __init__(self, cancel_at: int | None = None) -> None:
        super().__init__(Job("key", import_csv.name, "exec", options_of(import_csv.name, import_csv.run)))
        self.cancel_at = cancel_at
        self.seen: list[tuple[float, float | None]] = []
        self.messages: list[str] = []
        self.attention = True

    def _attend(self) -> None:
        self.seen.append((self.current, self.total))
        self.messages.append(self._message)
        if self.cancel_at is not None and self.total and self.current == self.cancel_at:
            self.ask_cancel()
        super()._attend()

    def _call(self) -> None:
        super()._call()
        self.attention = True


def run(upload: Upload, reporter: Reporter | None = None) -> str:
    """Run the task's body as a worker would, with a reporter at hand."""
    token = running.set(reporter or Recorder())
    try:
        return import_csv.run(upload_id=upload.pk)
    finally:
        running.reset(token)
        upload.refresh_from_db()


def customers(upload: Upload) -> list[tuple[int, str]]:
    return list(upload.customers.values_list("line", "name"))


def bad_rows(upload: Upload) -> list[tuple[int, str]]:
    return list(upload.bad_rows.values_list("line", "reason"))


def rows_of(number: int, start: int = 0) -> str:
    return "".join(f"N{n},n{n}@example.org\n" for n in range(start, start + number))


def test_the_sample_that_ships_shows_good_and_bad_rows(upload):
    """The file offered on the home page imports, and shows what a bad row looks like."""
    found = upload(SAMPLE.read_bytes())
    assert run(found) == "7 rows stored; 4 bad rows left out"
    assert [line for line, _ in customers(found)] == [2, 3, 4, 5, 7, 11, 13]
    assert bad_rows(found) == [
        (6, "email is missing"),
        (9, "email “linus(at)example.org” is not an address"),
        (10, "orders “-1” is not a whole number of 0 or more"),
        (12, "since “31.12.2023” is not a date like 2026-11-20"),
    ]
    assert (found.state, found.rows_stored, found.rows_bad) == (Upload.State.DONE, 7, 4)
    assert (found.encoding_name, found.delimiter, found.ignored_columns) == ("UTF-8", "comma", ["city"])
    assert found.finished_at is not None


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", "Zoë 王小明 😀"),
        ("utf-8-sig", "Zoë 王小明 😀"),
        ("utf-16", "Zoë 王小明 😀"),
        ("gb18030", "王小明 𠮷"),
        ("cp1252", "Zoë Fröhlich"),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_every_delimiter_in_every_encoding_comes_out_the_same(upload, delimiter, encoding, name, ending):
    """Names survive letter by letter, whatever the file's delimiter, encoding and line ends."""
    lines = [["since", "Name", "EMAIL", "orders"], ["2020-02-29", f'"{name}, x;y|z"', "a@example.org", "3"]]
    text = ending.join(delimiter.join(fields) for fields in lines)
    found = upload(text.encode(encoding))
    run(found)
    assert bad_rows(found) == []
    assert found.customers.values_list("line", "name", "email", "orders").get() == (
        2,
        f"{name}, x;y|z",
        "a@example.org",
        3,
    )


def test_characters_split_between_two_chunks_are_read_whole(upload, monkeypatch):
    """Where a chunk ends makes no difference to what is read."""
    monkeypatch.setattr(importing, "BYTES_AT_ONCE", 7)
    found = upload("name\n" + "王小明😀é\n" * 500)
    run(found)
    assert set(found.customers.values_list("name", flat=True)) == {"王小明😀é"}
    assert found.rows_stored == 500


def test_a_file_of_one_column_is_imported(upload):
    """Names alone are enough, and their commas divide nothing."""
    found = upload("Name\nLovelace, Ada\n\nHopper, Grace\n")
    run(found)
    assert customers(found) == [(2, "Lovelace, Ada"), (4, "Hopper, Grace")]
    assert found.delimiter == "none"


def test_bad_rows_behind_quoted_line_ends_have_their_physical_line(upload):
    """The number on the page is the one that an editor shows."""
    found = upload('name,email\n"Ada\n\nL",a@example.org\nBob,b\n"C\nD",c\n\n\n')
    run(found)
    assert customers(found) == [(2, "Ada\n\nL")]
    assert bad_rows(found) == [(5, "email “b” is not an address"), (6, "email “c” is not an address")]


def test_a_header_alone_is_an_import_of_nothing(upload):
    """No rows is a result, not an error."""
    found = upload("name,email\n\n")
    assert run(found) == "0 rows stored"
    assert found.state == Upload.State.DONE


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n\n \n", "is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG image"),
        (b"name\0email\n", "binary"),
        (bytes(range(128, 256)) + bytes(range(128)), "binary"),
        (b"name,email\nA,\x81 \x90\n", "UTF-8 fails at byte offset 13"),
        (b"email\na@example.org\n", "column “name” is missing"),
        (b"Ada,ada@example.org\n", "header is missing"),
        (b"name,email,NAME\nA,a@example.org,B\n", "more than once"),
        (b'name,email\nA,"a@example.org\n' + b"B,b@example.org\n" * 9, "line 2 is never closed"),
        (b"name,email\n" + b"x" * 10_000_000, "line 2 is longer than 1,000,000"),
        (b"name,email\n" + b"x" * 200_000 + b",a\n", "line 2 is longer than 131,072"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(upload, content, reason):
    """The reason is raised for whoever watches, kept for the import's page, and short enough for both."""
    found = upload(content)
    with pytest.raises(Refused) as caught:
        run(found)
    assert reason in str(caught.value)
    assert len(str(caught.value).encode()) <= 500
    assert (found.state, found.refusal) == (Upload.State.REFUSED, str(caught.value))
    assert Customer.objects.count() == 0


def test_a_refusal_is_no_traceback_and_is_shown():
    """The worker logs one line for it, and watchers may read its text."""
    assert import_csv.throws == (Refused,)
    assert options_of(import_csv.name, import_csv.run).show_error


def test_a_deleted_upload_is_refused(upload):
    """A task whose file is gone says so instead of failing."""
    found = upload("name\nAda\n")
    Upload.objects.filter(pk=found.pk).delete()
    with pytest.raises(Refused, match="is gone"):
        import_csv.run(upload_id=found.pk)


def test_a_second_execution_replaces_the_rows_of_the_first(upload):
    """Delivered twice, stored once: nothing is doubled, nothing of the first is left over."""
    found = upload("name,email\n" + rows_of(2500) + "bad,\n")
    run(found)
    before = customers(found)
    run(found)
    assert customers(found) == before
    assert len(before) == found.rows_stored == 2500
    assert (found.rows_bad, BadRow.objects.count()) == (1, 1)


def test_the_database_itself_refuses_a_line_twice(upload):
    """Should the program be wrong one day, the constraint is not."""
    found = upload("name\nAda\n")
    run(found)
    with pytest.raises(IntegrityError):
        Customer.objects.create(upload=found, line=2, name="Ada")


@pytest.mark.parametrize("deleted", [False, True])
def test_an_execution_that_was_taken_over_stores_nothing_more(upload, monkeypatch, deleted):
    """While the first still reads, a second begins: the first stops at its next batch, the second's stay."""
    found = upload("name,email\n" + rows_of(3000))
    first_batch = importing.Import.store_batch

    def take_over_then_store(job):
        monkeypatch.setattr(importing.Import, "store_batch", first_batch)
        first_batch(job)
        if deleted:
            Upload.objects.filter(pk=found.pk).delete()
        else:
            run(found)

    monkeypatch.setattr(importing.Import, "store_batch", take_over_then_store)
    with pytest.raises(Ignore):
        import_csv.run(upload_id=found.pk)
    assert Customer.objects.count() == (0 if deleted else 3000)
    if not deleted:
        found.refresh_from_db()
        assert (found.state, found.rows_stored) == (Upload.State.DONE, 3000)


def test_a_cancelled_import_keeps_whole_batches_and_counts_them(upload):
    """Cancelled at row 2 345 of 5 000: two batches of 1 000 stay, the third left no trace."""
    found = upload("name,email\n" + rows_of(5000))
    reporter = Recorder(cancel_at=2345)
    with pytest.raises(TaskCancelled):
        run(found, reporter)
    assert found.customers.count() == found.rows_stored == 2000
    assert found.state == Upload.State.CANCELLED
    assert found.finished_at is not None
    assert reporter.messages[-1] == "2,000 rows stored"


def test_an_import_cancelled_while_it_checks_has_stored_nothing(upload, monkeypatch):
    """The first pass can be cancelled like the second."""
    monkeypatch.setattr(importing, "BYTES_AT_ONCE", 1000)
    found = upload("name,email\n" + rows_of(5000))
    with pytest.raises(TaskCancelled):
        run(found, Recorder(cancel_at=3000))
    assert (found.state, found.rows_stored) == (Upload.State.CANCELLED, 0)


def test_a_batch_that_fails_leaves_no_half_batch(upload, monkeypatch):
    """A database error within a batch takes all of that batch back, and the import says that it failed."""
    found = upload("name,email\n" + rows_of(900) + "bad,\n" * 100)

    def disk_full(*_args, **_kwargs):
        raise OSError("No space left on device")

    # The last of the three writes of a batch; the customers of that batch are already in the transaction.
    monkeypatch.setattr(BadRow.objects, "bulk_create", disk_full)
    with pytest.raises(OSError, match="No space"):
        run(found)
    assert found.customers.count() == found.rows_stored == 0
    assert found.state == Upload.State.FAILED


def test_bad_rows_are_all_counted_and_the_first_thousand_kept(upload):
    """A file of nothing but mistakes fills neither the database nor the page."""
    found = upload("name,email\n" + "x,y\n" * 3500)
    assert run(found) == "0 rows stored; 3,500 bad rows left out"
    assert (found.rows_bad, found.bad_rows_left_out) == (3500, 2500)
    assert [line for line, _ in bad_rows(found)] == list(range(2, 1002))


def test_progress_is_bytes_first_then_rows(upload):
    """The bar goes over every byte of the file, begins again, and goes over every row."""
    content = "name,email\n" + rows_of(30_000)
    reporter = Recorder()
    run(upload(content), reporter)
    size = len(content)
    totals = [total for _, total in reporter.seen]
    border = totals.index(30_000)
    by_bytes = [current for current, total in reporter.seen[:border] if total == size]
    by_rows = [current for current, _ in reporter.seen[border:]]
    assert by_bytes[-1] == size
    assert len(by_bytes) > size / importing.BYTES_AT_ONCE
    assert by_bytes == sorted(by_bytes)
    assert set(by_rows) >= set(range(30_001))
    assert by_rows == sorted(by_rows)
    assert reporter.seen[-1] == (30_000, 30_000)


def test_the_total_of_rows_is_right_in_the_end_whatever_was_guessed(upload):
    """Blank lines and quoted line ends make the guess too high; the end corrects it."""
    reporter = Recorder()
    run(upload('name,email\n\n\n"A\nB",a@example.org\nx,y\n'), reporter)
    assert reporter.seen[-1] == (2, 2)


def test_bad_rows_appear_in_the_live_log(upload):
    """Whoever watches sees the first mistakes at once, and not thousands of them."""
    reporter = Recorder()
    run(upload("name,email\n" + "x,y\n" * 200), reporter)
    assert len(reporter.logs) == 50
    assert reporter.logs[0] == ("WARNING", "Line 2: email “y” is not an address")


def test_deleting_an_upload_deletes_its_file(upload, django_capture_on_commit_callbacks):
    """No copy of somebody's customers stays behind, but only once the deletion is certain."""
    found = upload("name\nAda\n")
    path = Path(found.file.path)
    with django_capture_on_commit_callbacks(execute=True):
        found.delete()
        assert path.exists()
    assert not path.exists()


def test_a_stored_file_does_not_have_the_users_name(upload, media):
    """A hostile file name decides nothing on the disk."""
    found = upload("name\nAda\n", "../../../etc/passwd.exe")
    assert Path(found.file.path).parent == media / "uploads"
    assert found.file.name.endswith(".csv")


LARGE_RUN = """
import json, resource, sys, time
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth import get_user_model
from tasks.models import Upload
from tasks.tasks import import_csv

upload = Upload.objects.create(owner=get_user_model().objects.create_user("ada"), name="l", file="large.csv")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.monotonic()
result = import_csv.run(upload_id=upload.pk)
took = time.monotonic() - began
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"result": result, "grown_kb": after - before, "took": took}))
"""


def write_large(path: Path, size: int) -> int:
    """Write about `size` bytes of CSV, wide rows, every thousandth bad; the answer is their number."""
    filler = "Lörem ipsum, dolor. " * 48
    number = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("name,email,orders,since,note\n")
        written = 0
        while written < size:
            block = "".join(
                f'N{n},{"bad" if n % 1000 == 999 else f"n{n}@example.org"},{n},2020-02-29,"{filler}\n{n}"\n'
                for n in range(number, number + 1000)
            )
            written += file.write(block) + 48 * 1000  # every ö takes two bytes
            number += 1000
    return number


@pytest.mark.timeout(320)
def test_200_megabytes_are_imported_in_bounded_memory(tmp_path):
    """Memory does not grow with the file: a file of 200 MB adds less than 40 MB to the process."""
    path = tmp_path / "media" / "large.csv"
    path.parent.mkdir()
    number = write_large(path, 200_000_000)
    assert path.stat().st_size >= 200_000_000
    environment = {**os.environ, "DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "project.settings"}
    environment.pop("DATABASE_URL", None)
    done = subprocess.run(
        [sys.executable, "-c", LARGE_RUN],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    bad = number // 1000
    assert found["result"] == f"{number - bad:,} rows stored; {bad} bad rows left out"
    assert found["grown_kb"] < 40_000
