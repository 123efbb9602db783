"""The HTTP side of the protocol, for one ``path("progress/", include("progress.urls"))``."""

from __future__ import annotations

from django.urls import path
from django.views.decorators.http import conditional_page

from . import catalogue, views

app_name = "progress"

urlpatterns = [
    path("", views.several, name="several"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("words.js", conditional_page(catalogue.Words.as_view()), name="words"),
    path("<str:task_id>/", views.one, name="snapshot"),
    path("<str:task_id>/events/", views.events, name="events"),
    path("<str:task_id>/cancel/", views.cancel, name="cancel"),
]
