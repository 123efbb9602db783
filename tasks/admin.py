"""Uploads and what was read from them, for staff. To read and to delete; the writing is done by imports."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from .models import Customer, Upload


class _ReadOnly(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Upload)
class UploadAdmin(_ReadOnly):
    """Who uploaded what, and what became of it. Deleting one deletes its file and its customers."""

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
