"""The shipped site's pages, the view that celery-progress's script polls, one that tells of queries, and
django-eventstream's, if installed."""

import importlib.util

from django.urls import include, path

from bench.counting import queries
from project.urls import urlpatterns

urlpatterns = [
    *urlpatterns,
    path("celery-progress/", include("celery_progress.urls")),
    path("bench/queries/", queries),
]
if importlib.util.find_spec("django_eventstream"):
    urlpatterns += [path("eventstream/<channel>/", include("django_eventstream.urls"))]
