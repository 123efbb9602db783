"""Addresses of the pages."""

from django.urls import path

from . import outcomes, style_guide, views

urlpatterns = [
    path("", views.home, name="home"),
    path("demo/", style_guide.style_guide, name="demo"),
    path("start/<slug:name>/", views.start, name="start"),
    path("runs/<path:key>/", views.run, name="run"),
    path("imports/<int:pk>/", outcomes.import_page, name="import"),
    path("exports/", outcomes.exports, name="exports"),
    path("exports/<int:pk>/file", outcomes.export_file, name="export_file"),
    path("rollouts/<int:pk>/stop/", outcomes.stop_rollout, name="stop_rollout"),
]
