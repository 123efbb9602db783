"""The sentences of the browser side in the language of a page: Django's JavaScript catalogue, of this app alone."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from django.conf import settings
from django.core.signals import setting_changed
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.translation import get_language, get_supported_language_variant, override
from django.utils.translation.trans_real import DjangoTranslation
from django.views.i18n import JavaScriptCatalog

# The admin's own scripts call functions that are global, and know its words; its jQuery puts another `django` in the
# place of the one they belong to. Ours would then take their place and know none of those words.
KEPT: Final = """\
{
const names = ["pluralidx", "gettext", "ngettext", "gettext_noop",
  "pgettext", "npgettext", "interpolate", "get_format"];
const kept = names.filter((name) => name in globalThis).map((name) => [name, globalThis[name]]);
%s
Object.assign(globalThis, Object.fromEntries(kept));
}
"""
FRESH_FOR: Final = 3600  # seconds; what is older is asked for again, and rarely sent again


class Words(JavaScriptCatalog):
    """``words.js?language=de``. Without `language` it is that of the request, and nobody may keep it.

    It holds nothing of anybody, so everybody may read it. A language that the site does not have is not found.
    """

    packages = ["progress"]  # noqa: RUF012 (Django declares it so)
    http_method_names = ["get", "head"]  # noqa: RUF012

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The catalogue, as a script that adds it to `django.gettext`."""
        asked = request.GET.get("language")
        try:
            language = get_supported_language_variant(asked) if asked else get_language()
        except LookupError:
            raise Http404 from None
        with override(language):
            response: HttpResponse = super().get(request, *args, **kwargs)
        response.content = KEPT % response.content.decode()
        response["Content-Language"] = language or ""
        if asked:
            patch_cache_control(response, public=True, max_age=FRESH_FOR)
        else:
            patch_cache_control(response, private=True, no_cache=True)
            patch_vary_headers(response, ["Accept-Language", "Cookie"])
        return response


@cache
def has_words(language: str) -> bool:
    """True if the catalogue says anything in `language`: English has none, unless the site words something itself."""
    if not settings.USE_I18N:
        return False
    catalogue = Words()
    catalogue.translation = DjangoTranslation(
        language, domain=catalogue.domain, localedirs=catalogue.get_paths(catalogue.packages)
    )
    return bool(catalogue.get_catalog())


def _forget(*, setting: str, **_other: Any) -> None:
    if setting in ("LANGUAGES", "LANGUAGE_CODE", "LOCALE_PATHS", "USE_I18N", "INSTALLED_APPS"):
        has_words.cache_clear()


setting_changed.connect(_forget, dispatch_uid="progress.catalogue")
