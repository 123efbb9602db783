from django.conf.urls.i18n import i18n_patterns
from django.contrib import admin
from django.contrib.auth.views import LoginView
from django.urls import include, path
from rest_framework_simplejwt.views import TokenObtainPairView
from tasks.api import Exports, Items

from tasks import views

urlpatterns = [
    path("api/token/", TokenObtainPairView.as_view(), name="token"),
    path("api/items/", Items.as_view(), name="items"),
    path("api/exports/", Exports.as_view(), name="exports"),
    path("i18n/", include("django.conf.urls.i18n")),
]
urlpatterns += i18n_patterns(
    path("", views.home, name="home"),
    path("login/", LoginView.as_view(template_name="login.html"), name="login"),
    path("app/", views.app, name="app"),
    path("exports/", views.start, name="start"),
    path("exports/<uuid:task_id>/", views.export_page, name="export"),
    path("admin/", admin.site.urls),
)
