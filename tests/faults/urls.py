"""The site's own pages, and what a web process has counted."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.urls import path

from progress.counters import counters
from project.urls import urlpatterns as shipped


def counted(request: HttpRequest) -> JsonResponse:
    """The counters of this process."""
    return JsonResponse(counters.snapshot())


urlpatterns = [path("counters/", counted), *shipped]
