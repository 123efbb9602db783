"""Where each page of the shipped site lives."""

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path

from progress.views import healthz

urlpatterns = [
    path("", include("tasks.urls")),
    path("progress/", include("progress.urls")),
    path("login/", auth.LoginView.as_view(template_name="login.html"), name="login"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    path("healthz", healthz),
]
