"""The pages of `bench.urls` for a server with threads, as many sites still run."""

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
