"""What the jobs were given and what they made, for staff. To read and to delete; the writing is done by jobs."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from progress.run_task_mixin import RunTaskMixin

from .models import Customer, Export, FeedEntry, Installation, Order, Rollout, Upload
from .tasks import import_csv


class _ReadOnly(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Upload)
class UploadAdmin(RunTaskMixin, _ReadOnly):
    """Who uploaded what, and what became of it. Deleting one deletes its file and its customers.

    To import one again reads its file anew; the new rows take the place of the old ones.
    """

    run_tasks: ClassVar = {_("Import again"): import_csv}
    list_display = ("name", "owner", "state", "rows_stored", "rows_bad", "created_at")
    list_filter = ("state",)
    search_fields = ("name", "owner__username")
    list_select_related = ("owner",)
    # The file itself has no public address; its page shows what matters.
    exclude = ("file",)


@admin.register(Customer)
class CustomerAdmin(_ReadOnly):
    """The good rows."""

    list_display = ("name", "email", "orders", "since", "upload", "line")
    search_fields = ("name", "email")
    list_select_related = ("upload",)


@admin.register(Order)
class OrderAdmin(_ReadOnly):
    """What is exported."""

    list_display = ("number", "owner", "placed_on", "customer", "article", "amount")
    search_fields = ("customer", "article", "owner__username")
    list_select_related = ("owner",)


@admin.register(Export)
class ExportAdmin(_ReadOnly):
    """Who exported what. Deleting one deletes its file; only its owner can have that."""

    list_display = ("name", "owner", "rows", "size", "created_at", "finished_at")
    search_fields = ("owner__username",)
    list_select_related = ("owner",)
    exclude = ("file", "execution")


class _Installations(admin.TabularInline):
    model = Installation
    fields = readonly_fields = ("host", "task_id", "sent_at", "installed")
    extra = 0
    can_delete = False


@admin.register(Rollout)
class RolloutAdmin(_ReadOnly):
    """Who wanted what on which hosts. Deleting one calls off what it has not done."""

    list_display = ("__str__", "owner", "created_at", "stopped_at")
    search_fields = ("owner__username",)
    list_select_related = ("owner",)
    inlines = (_Installations,)


@admin.register(FeedEntry)
class FeedEntryAdmin(_ReadOnly):
    """The copy of the feed."""

    list_display = ("number", "headline", "synced_at")
    search_fields = ("headline",)
