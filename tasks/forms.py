"""The start forms. Each carries a once key, so that a double click or a reload starts no second run."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Final
from uuid import uuid4

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .folders import NotAllowed, files_below, parts_of
from .hosts import HOST, PACKAGE

SECONDS_MAX: Final = 600
STEPS_MAX: Final = 1000
ORDERS_MAX: Final = 200_000
NAMES_MAX: Final = 20  # hosts, and packages
MINUTES_MAX: Final = 60
LAST_MAX: Final = 500  # lines
ENTRIES_MAX: Final = 500
AT_ONCE_MAX: Final = 32
FILES_NAMED: Final = 20  # of the folder with log files


class StartForm(forms.Form):
    """A form that starts one run, however often it is sent."""

    id_prefix = ""  # several forms share a page, and ids must not

    once = forms.UUIDField(
        initial=uuid4,
        widget=forms.HiddenInput,
        error_messages={
            "required": _("This form has lost its key. Load the page again and send the new form."),
            "invalid": _("This form has a damaged key. Load the page again and send the new form."),
        },
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("auto_id", f"{self.id_prefix}-%s")
        super().__init__(*args, **kwargs)


class CountdownForm(StartForm):
    """How long to count, and in how many steps."""

    id_prefix = "countdown"

    seconds = forms.IntegerField(label=_("Seconds"), min_value=1, max_value=SECONDS_MAX, initial=20)
    steps = forms.IntegerField(label=_("Steps"), min_value=1, max_value=STEPS_MAX, initial=20)


class ImportForm(StartForm):
    """A CSV file. Only its size is looked at: its name proves nothing, and reading is the worker's job."""

    id_prefix = "import"

    file = forms.FileField(
        label=_("CSV file"),
        help_text=_("Columns: name, email, orders, since. Separated by comma, semicolon, tab or vertical bar."),
        widget=forms.ClearableFileInput(attrs={"accept": ".csv,.tsv,.txt,text/csv,text/plain"}),
        error_messages={"empty": _("This file is empty. Choose one with a header line and at least one row.")},
    )

    def clean_file(self) -> UploadedFile:
        """Raises a `ValidationError` when the file is larger than ``UPLOAD_MAX_BYTES``."""
        file: UploadedFile = self.cleaned_data["file"]
        limit: int = settings.UPLOAD_MAX_BYTES
        if (file.size or 0) > limit:
            raise forms.ValidationError(
                _(
                    "This file has %(size)s; at most %(limit)s are taken. "
                    "Split it, with the header line in each part."
                ),
                params={"size": filesizeformat(file.size), "limit": filesizeformat(limit)},
            )
        return file


class ExportForm(StartForm):
    """Which orders, and in which form."""

    id_prefix = "export"

    at_least = forms.IntegerField(
        label=_("Orders to have"),
        min_value=0,
        max_value=ORDERS_MAX,
        initial=20_000,
        help_text=_("This site has no shop: if you have fewer orders than that, the others are made up first."),
    )
    placed_from = forms.DateField(
        label=_("Placed from"), required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    placed_until = forms.DateField(
        label=_("Placed until"), required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    compressed = forms.BooleanField(label=_("Compress the file (gzip)"), required=False)

    def clean_placed_until(self) -> dt.date | None:
        """Raises a `ValidationError` when it is before the first day."""
        first, last = self.cleaned_data.get("placed_from"), self.cleaned_data["placed_until"]
        if first and last and last < first:
            raise forms.ValidationError(
                _("This is before %(day)s, the first day. Take that day or a later one."),
                params={"day": f"{first:%Y-%m-%d}"},
            )
        return last


class NamesField(forms.CharField):
    """Several names, one per line or separated by commas or spaces. Its value is a list without repetitions."""

    def __init__(self, *, form: re.Pattern[str], example: str, **kwargs: Any) -> None:
        kwargs.setdefault("widget", forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "autocapitalize": "off"}))
        super().__init__(max_length=10_000, **kwargs)
        self._form, self._example = form, example

    def clean(self, value: Any) -> list[str]:
        """Raises a `ValidationError` that names what is no name, and when there are too many."""
        text: str = super().clean(value)
        names = list(dict.fromkeys(name for name in re.split(r"[\s,;]+", text.lower()) if name))
        if not names:
            raise forms.ValidationError(
                _("Give at least one name, such as %(example)s."), params={"example": self._example}
            )
        if wrong := [name for name in names if not self._form.fullmatch(name)]:
            shown = ", ".join(f"“{name[:40]}”" for name in wrong[:3])
            raise forms.ValidationError(
                _("%(names)s: expected names such as %(example)s."),
                params={"names": shown, "example": self._example},
            )
        if len(names) > NAMES_MAX:
            raise forms.ValidationError(
                _("These are %(count)s names; at most %(most)s are taken at a time."),
                params={"count": len(names), "most": NAMES_MAX},
            )
        return names


class InstallForm(StartForm):
    """Which packages, on which hosts."""

    id_prefix = "install"

    hosts = NamesField(
        label=_("Hosts"),
        form=HOST,
        example="web-1.example.org",
        initial="web-1\nweb-2\nflaky-3\ndown-4",
        help_text=_(
            "Simulated. One that begins with “down” never answers, one with “flaky” not at the first attempt."
        ),
    )
    packages = NamesField(
        label=_("Packages"),
        form=PACKAGE,
        example="nginx",
        initial="nginx\nredis",
        help_text=_("One that begins with “broken” cannot be installed."),
    )


class _Suggestions(forms.TextInput):
    """A text field that offers names, and takes others as well."""

    def __init__(self, names: list[str]) -> None:
        super().__init__({"autocomplete": "off", "spellcheck": "false"})
        self._names = names

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        """The field with the list that it offers."""
        listed = f"{(attrs or {}).get('id', name)}_names"
        field = super().render(name, value, {**(attrs or {}), "list": listed}, renderer)
        options = format_html_join("", '<option value="{}"></option>', ((each,) for each in self._names))
        return format_html('{}<datalist id="{}">{}</datalist>', field, listed, options)


class TailForm(StartForm):
    """Which file to follow, and for how long."""

    id_prefix = "tail"

    file = forms.CharField(label=_("Log file"), max_length=200, strip=False)
    minutes = forms.IntegerField(label=_("Stop after … min"), min_value=1, max_value=MINUTES_MAX, initial=10)
    last = forms.IntegerField(label=_("Lines to begin with"), min_value=0, max_value=LAST_MAX, initial=10)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = files_below(settings.TAIL_LOG_FOLDER, FILES_NAMED)
        there = gettext("There is none now.")
        if names:
            there = gettext("There now: %(names)s.") % {"names": ", ".join(names)}
        self.fields["file"].widget = _Suggestions(names)
        self.fields["file"].help_text = gettext(
            "A file in the site’s folder for logs. %(there)s A missing one is waited for."
        ) % {"there": there}
        self.fields["file"].initial = names[0] if names else ""

    def clean_file(self) -> str:
        """Raises a `ValidationError` for a name that leads out of the folder."""
        try:
            return "/".join(parts_of(self.cleaned_data["file"].strip()))
        except NotAllowed as error:
            raise forms.ValidationError(str(error)) from None


class FeedForm(StartForm):
    """How much of the feed, and whether it shall break off."""

    id_prefix = "feed"

    entries = forms.IntegerField(label=_("Entries"), min_value=1, max_value=ENTRIES_MAX, initial=120)
    at_once = forms.IntegerField(label=_("At once"), min_value=1, max_value=AT_ONCE_MAX, initial=8)
    breaks_after = forms.IntegerField(
        label=_("Break off after"),
        min_value=0,
        max_value=ENTRIES_MAX,
        initial=50,
        help_text=_("So many entries, once; the next attempt goes on there. 0: it does not break off."),
    )
