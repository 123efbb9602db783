"""Addresses of the pages."""

from django.urls import path

from . import views

urlpatterns = [
    path("", views.home, name="home"),
    path("runs/<path:key>/", views.run, name="run"),
    path("start/countdown/", views.start_countdown, name="start_countdown"),
    path("start/import/", views.start_import, name="start_import"),
    path("imports/<int:pk>/", views.import_page, name="import"),
]
