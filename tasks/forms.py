"""The two start forms. Each carries a once key, so that a double click or a reload starts no second run."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat

SECONDS_MAX = 600
STEPS_MAX = 1000


class StartForm(forms.Form):
    """A form that starts one run, however often it is sent."""

    id_prefix = ""  # several forms share a page, and ids must not

    once = forms.UUIDField(
        initial=uuid4,
        widget=forms.HiddenInput,
        error_messages={
            "required": "This form has lost its key. Load the page again and send the new form.",
            "invalid": "This form has a damaged key. Load the page again and send the new form.",
        },
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("auto_id", f"{self.id_prefix}-%s")
        super().__init__(*args, **kwargs)


class CountdownForm(StartForm):
    """How long to count, and in how many steps."""

    id_prefix = "countdown"

    seconds = forms.IntegerField(min_value=1, max_value=SECONDS_MAX, initial=20)
    steps = forms.IntegerField(min_value=1, max_value=STEPS_MAX, initial=20)


class ImportForm(StartForm):
    """A CSV file. Only its size is looked at: its name proves nothing, and reading is the worker's job."""

    id_prefix = "import"

    file = forms.FileField(
        label="CSV file",
        help_text="Columns: name, email, orders, since. Separated by comma, semicolon, tab or vertical bar.",
        widget=forms.ClearableFileInput(attrs={"accept": ".csv,.tsv,.txt,text/csv,text/plain"}),
        error_messages={"empty": "This file is empty. Choose one with a header line and at least one row."},
    )

    def clean_file(self) -> UploadedFile:
        """Raises a `ValidationError` when the file is larger than ``UPLOAD_MAX_BYTES``."""
        file: UploadedFile = self.cleaned_data["file"]
        limit: int = settings.UPLOAD_MAX_BYTES
        if (file.size or 0) > limit:
            raise forms.ValidationError(
                f"This file has {filesizeformat(file.size)}; at most {filesizeformat(limit)} are taken. "
                "Split it, with the header line in each part."
            )
        return file
