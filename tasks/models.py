"""What outlives a run: which forms were sent, the files, and what was read from them."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.urls import reverse

from .decoding import NAMES as ENCODING_NAMES


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


class Upload(models.Model):
    """A CSV file of customers that somebody uploaded, and what its import made of it."""

    class State(models.TextChoices):
        """How far the import has come; the run's page knows more while it runs."""

        WAITING = "waiting", "waiting for a worker"
        RUNNING = "running", "running"
        DONE = "done", "imported"
        REFUSED = "refused", "refused"
        CANCELLED = "cancelled", "cancelled"
        FAILED = "failed", "failed"

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
    def bad_rows_left_out(self) -> int:
        """How many bad rows were counted, but not kept."""
        return self.rows_bad - self.bad_rows.count()


@receiver(post_delete, sender=Upload)
def _delete_file(instance: Upload, **_kwargs: Any) -> None:
    # Only once the row is gone for good: a rolled-back deletion must not lose the file.
    transaction.on_commit(lambda: instance.file.delete(save=False) if instance.file else None)


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
