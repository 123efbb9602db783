"""What outlives a run: which forms were sent, the files, what was read from them and what was written.

One kind of row per job that leaves something behind. Those that hang on a `Start` are made with it, in one
transaction, so that the task finds them; `starting` takes them back when the task could not be sent.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, Final

from django.conf import settings
from django.db import models, transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .decoding import NAMES as ENCODING_NAMES
from .private import PrivateStorage


class Start(models.Model):
    """A start form that was sent. One row per user and once key, so one task, however often it was sent.

    The database decides between two requests that arrive together; see `starting.start_once`.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    once = models.UUIDField("once key", help_text="Made with the form; the same each time that form is sent.")
    task_id = models.CharField(max_length=36, unique=True, editable=False)
    task = models.CharField("name of the task", max_length=200)
    arguments = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True, help_text="Empty: the task has not been handed to the broker.")

    class Meta:
        constraints = (models.UniqueConstraint(fields=["user", "once"], name="one_start_per_form"),)

    def __str__(self) -> str:
        return f"{self.task} {self.task_id}"

    @staticmethod
    def task_id_for(user: Any, once: uuid.UUID) -> str:
        """The id of the task that this user's form starts; two users with one key get two ids."""
        return str(uuid.uuid5(once, f"user {user.pk}"))

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, with the task id that follows from user and key."""
        self.task_id = self.task_id_for(self.user, self.once)
        super().save(*args, **kwargs)


def _stored_as(upload: Upload, filename: str) -> str:
    # Not the user's name: it may be taken, hostile, or too long for the file system. `Upload.name` keeps it.
    return f"uploads/{uuid.uuid4().hex}.csv"


_DELIMITERS: Final[dict[str, Any]] = {
    "comma": _("comma"),
    "semicolon": _("semicolon"),
    "tab": _("tab"),
    "vertical bar": _("vertical bar"),
    "none": _("none"),
}


class Upload(models.Model):
    """A CSV file of customers that somebody uploaded, and what its import made of it."""

    class State(models.TextChoices):
        """How far the import has come; the run's page knows more while it runs."""

        WAITING = "waiting", _("waiting for a worker")
        RUNNING = "running", _("running")
        DONE = "done", _("imported")
        REFUSED = "refused", _("refused")
        CANCELLED = "cancelled", _("cancelled")
        FAILED = "failed", _("failed")

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="uploads")
    start = models.OneToOneField(Start, on_delete=models.SET_NULL, null=True, blank=True, related_name="upload")
    file = models.FileField(upload_to=_stored_as)
    name = models.CharField("name of the file", max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING, editable=False)
    # Which execution may write; a later one takes over, and the earlier one then finds that it may not.
    execution = models.UUIDField(null=True, editable=False)
    refusal = models.TextField("reason of the refusal", blank=True, editable=False)
    encoding = models.CharField(max_length=20, blank=True, editable=False)
    delimiter = models.CharField(max_length=20, blank=True, editable=False)
    ignored_columns = models.JSONField(default=list, editable=False)
    rows_stored = models.PositiveIntegerField(default=0, editable=False)
    rows_bad = models.PositiveIntegerField(default=0, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("-created_at", "-pk")

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Address of the import's page."""
        return reverse("import", args=[self.pk])

    @property
    def task_id(self) -> str:
        """The task that imports it; "" if it was not started by a form."""
        return self.start.task_id if self.start else ""

    @property
    def encoding_name(self) -> str:
        """The encoding in a form that people know."""
        return ENCODING_NAMES.get(self.encoding, self.encoding)

    @property
    def delimiter_name(self) -> str:
        """What stands between its fields, in words."""
        return str(_DELIMITERS.get(self.delimiter, self.delimiter))

    @property
    def bad_rows_left_out(self) -> int:
        """How many bad rows were counted, but not kept."""
        return self.rows_bad - self.bad_rows.count()


class Customer(models.Model):
    """A good row."""

    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="customers")
    line = models.PositiveIntegerField(help_text="Physical line of the file in which the row starts.")
    name = models.CharField(max_length=200)
    email = models.EmailField(max_length=320, blank=True)
    orders = models.PositiveIntegerField(null=True, blank=True)
    since = models.DateField(null=True, blank=True)

    class Meta:
        ordering = ("upload", "line")
        constraints = (models.UniqueConstraint(fields=["upload", "line"], name="one_customer_per_line"),)

    def __str__(self) -> str:
        return self.name


class BadRow(models.Model):
    """A row that was left out, and why."""

    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="bad_rows")
    line = models.PositiveIntegerField(help_text="Physical line of the file in which the row starts.")
    reason = models.TextField()

    class Meta:
        ordering = ("upload", "line")
        constraints = (models.UniqueConstraint(fields=["upload", "line"], name="one_bad_row_per_line"),)

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


class Order(models.Model):
    """Something that somebody ordered. This site has no shop: `orders` makes them up, to be exported."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="orders")
    number = models.PositiveIntegerField(help_text="Counted from 1 for each owner.")
    placed_on = models.DateField()
    customer = models.CharField(max_length=200)
    article = models.CharField(max_length=200)
    amount = models.DecimalField(max_digits=10, decimal_places=2)

    class Meta:
        ordering = ("owner", "number")
        constraints = (models.UniqueConstraint(fields=["owner", "number"], name="one_order_per_number"),)
        indexes = (models.Index(fields=["owner", "placed_on"], name="orders_of_a_time"),)

    def __str__(self) -> str:
        return f"order {self.number}"


class Exports(models.QuerySet["Export"]):
    """Exports by age. A file is kept as long as the run that made it: ``PROGRESS_RETENTION``."""

    def current(self) -> Exports:
        """Those young enough. Only these are shown and given out, whether older ones are deleted yet or not."""
        return self.filter(created_at__gte=_oldest())

    def past(self) -> Exports:
        """The others."""
        return self.filter(created_at__lt=_oldest())


def _oldest() -> dt.datetime:
    return timezone.now() - dt.timedelta(seconds=settings.PROGRESS_RETENTION)


class Export(models.Model):
    """A file of orders that somebody asked for. It has its file when the file is whole, and not before."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="exports")
    start = models.OneToOneField(Start, on_delete=models.SET_NULL, null=True, blank=True, related_name="export")
    # Made-up orders until there are so many; placed on these days, both included; None: from the first, to the last.
    at_least = models.PositiveIntegerField(default=0)
    placed_from = models.DateField(null=True, blank=True)
    placed_until = models.DateField(null=True, blank=True)
    compressed = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    execution = models.UUIDField(null=True, editable=False)  # as in `Upload`
    file = models.FileField(storage=PrivateStorage(), blank=True, editable=False)
    size = models.PositiveBigIntegerField("bytes", default=0, editable=False)
    rows = models.PositiveIntegerField(default=0, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)

    objects = Exports.as_manager()

    class Meta:
        ordering = ("-created_at", "-pk")

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """What the file is called where it is saved. Nothing in it comes from a user."""
        return f"orders-{self.created_at:%Y-%m-%d}-{self.pk}.csv" + (".gz" if self.compressed else "")

    @property
    def deleted_at(self) -> dt.datetime:
        """When it is too old."""
        return self.created_at + dt.timedelta(seconds=settings.PROGRESS_RETENTION)


class Rollout(models.Model):
    """Packages that somebody wants on several hosts."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="rollouts")
    start = models.OneToOneField(Start, on_delete=models.SET_NULL, null=True, blank=True, related_name="rollout")
    packages = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    stopped_at = models.DateTimeField(null=True, help_text="What was not done by then is not done any more.")

    def __str__(self) -> str:
        return f"{', '.join(self.packages)} on {self.installations.count()} hosts"


class Installation(models.Model):
    """The part of one host: a task of its own."""

    rollout = models.ForeignKey(Rollout, on_delete=models.CASCADE, related_name="installations")
    host = models.CharField(max_length=253)
    # Known before it is sent, so that a rollout that is sent again sends the same tasks.
    task_id = models.UUIDField(default=uuid.uuid4, unique=True)
    sent_at = models.DateTimeField(null=True)
    installed = models.JSONField(
        default=list, help_text="Packages that are done; a later attempt goes on behind them."
    )

    class Meta:
        ordering = ("pk",)
        constraints = (models.UniqueConstraint(fields=["rollout", "host"], name="one_installation_per_host"),)

    def __str__(self) -> str:
        return self.host


class FeedEntry(models.Model):
    """This site's copy of one entry of the feed."""

    number = models.PositiveIntegerField(unique=True)
    headline = models.CharField(max_length=200)
    synced_in = models.CharField("task", max_length=200, db_index=True)
    synced_at = models.DateTimeField()

    class Meta:
        ordering = ("number",)
        verbose_name_plural = "feed entries"

    def __str__(self) -> str:
        return self.headline


@receiver(post_delete, sender=Upload)
@receiver(post_delete, sender=Export)
def _delete_file(instance: Upload | Export, **_kwargs: Any) -> None:
    # Only once the row is gone for good: a rolled-back deletion must not lose the file.
    transaction.on_commit(lambda: instance.file.delete(save=False) if instance.file else None)
