"""Where files are kept that only their owner may have: in a folder that no web server serves."""

from __future__ import annotations

import os
from typing import NoReturn

from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.utils.deconstruct import deconstructible


@deconstructible
class PrivateStorage(FileSystemStorage):
    """Files below the setting ``PRIVATE_ROOT``. They have no address: a view decides who gets one.

    On the disk they are for the account that runs the site alone, and so are the folders that are made for them.
    """

    def __init__(self) -> None:
        super().__init__(file_permissions_mode=0o600, directory_permissions_mode=0o700)

    @property
    def base_location(self) -> str:
        """The folder, as the settings name it now: nothing is remembered."""
        return str(settings.PRIVATE_ROOT)

    @property
    def location(self) -> str:
        """The folder, absolute."""
        return os.path.abspath(self.base_location)

    def url(self, name: str | None) -> NoReturn:
        """There is none. Raises `ValueError`."""
        raise ValueError(f"{name} is private and has no address: give it out by a view that asks whose it is.")
