"""Fields for arguments that are the primary key of an object: what is offered depends on who asks, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.contrib.admin import AdminSite
from django.contrib.admin.widgets import AutocompleteSelect, AutocompleteSelectMultiple
from django.db.models import Field, Model, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from .annotations import Kind

LISTED: Final = 100  # objects that a plain list offers; of more the primary key is written


@dataclass(frozen=True, slots=True)
class Place:
    """The admin site and the request that a form is made for; without them no object is named to anybody."""

    site: AdminSite | None = None
    request: HttpRequest | None = None

    def objects(self, model: type[Model]) -> QuerySet[Any]:
        """The objects that may be chosen: those that the model's admin shows, else all."""
        admin = self.admin_of(model)
        return admin.get_queryset(self.request) if admin else model._default_manager.all()

    def admin_of(self, model: type[Model]) -> Any:
        """The model's admin, if whoever asks may see its objects there; else None."""
        if self.site is None or self.request is None or not self.site.is_registered(model):
            return None
        admin = self.site.get_model_admin(model)
        return admin if admin.has_view_or_change_permission(self.request) else None


class KeyField(forms.ModelChoiceField):  # type: ignore[type-arg]
    """An object, of which the task is sent the primary key."""

    def clean(self, value: Any) -> Any:
        """The primary key of an object that exists; None for none."""
        found = super().clean(value)
        return None if found is None else found.pk


class KeysField(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    """Objects, of which the task is sent the primary keys."""

    def clean(self, value: Any) -> Any:
        """The primary keys of objects that exist."""
        return [each.pk for each in super().clean(value)]


class _WithoutScript:
    """The list of an autocomplete field is empty without JavaScript: then the primary key is written."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """Django's field, and one that only those see who have no JavaScript. The last of them counts."""
        found = super().render(name, value, attrs, renderer)  # type: ignore[misc]
        plain = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value or ""
        return format_html(
            '{}<noscript><input type="text" name="{}" value="{}" aria-label="{}"></noscript>',
            found,
            name,
            plain,
            gettext("Primary key"),
        )


class SearchedSelect(_WithoutScript, AutocompleteSelect):
    """Django's autocomplete field for one object, usable without JavaScript."""


class SearchedSelects(_WithoutScript, AutocompleteSelectMultiple):
    """The same for several objects."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        """The keys that were chosen, or written with commas between them."""
        return [
            key.strip() for each in super().value_from_datadict(data, files, name) for key in each.split(",") if key
        ]


class KeysInput(forms.TextInput):
    """Primary keys, with commas between them."""

    def format_value(self, value: Any) -> str | None:
        """Keys as text."""
        return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else super().format_value(value)

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        """Text as keys."""
        return [key.strip() for key in (data.get(name) or "").split(",") if key.strip()]


def said(*parts: Any) -> SafeString:
    """A help text. Django's templates print these as they are, so what is in it (a file's name) is escaped here."""
    return format_html_join(" ", "{}", ((part,) for part in parts if part))


def model_field(kind: Kind, place: Place, **how: Any) -> forms.Field:
    """A field that finds objects by search, by a list of a few, or by their primary key: the first that can be."""
    model: Any = kind.model
    objects, admin = place.objects(model), place.admin_of(model)
    source = _relation_to(model)
    made = KeysField if kind.many else KeyField
    if admin and source is not None and admin.get_search_fields(place.request):
        searched: Any = SearchedSelects if kind.many else SearchedSelect
        return made(objects, widget=searched(source, place.site), **how)
    if admin and objects[: LISTED + 1].count() <= LISTED:
        return made(objects, **how)
    helped = said(
        how.pop("help_text", ""), gettext("The primary key of a %(model)s.") % {"model": model._meta.verbose_name}
    )
    if kind.many:
        return made(objects, widget=KeysInput, help_text=said(helped, gettext("With commas between several.")), **how)
    errors = {
        "invalid_choice": gettext("There is no %(model)s with this primary key.")
        % {"model": model._meta.verbose_name}
    }
    return made(objects, widget=forms.TextInput, error_messages=errors, help_text=helped, **how)


def _relation_to(model: type[Model]) -> Field[Any, Any] | None:
    """A relation that leads to the model's primary key, which Django's search asks for; None if there is none."""
    for relation in model._meta.related_objects:
        field: Any = relation.field
        to = getattr(relation, "field_name", None)
        if (
            to in (None, model._meta.pk.name)
            and relation.related_model._meta.managed
            and not getattr(relation, "limit_choices_to", None)  # it would hide objects
            and hasattr(field, "remote_field")
        ):
            return field  # type: ignore[no-any-return]
    return None
