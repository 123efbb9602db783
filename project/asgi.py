"""The web process: pages over HTTP, progress over WebSocket, in one Daphne."""

import gc
import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
pages = get_asgi_application()  # loads the apps; what follows needs them

from progress.draining import drain_on_sigterm  # noqa: E402 (the apps come first)
from progress.events import EventStreams  # noqa: E402
from progress.middleware import ViewerMiddleware  # noqa: E402
from progress.origins import OriginCheck  # noqa: E402
from progress.recorder import with_recorder  # noqa: E402
from progress.routing import websocket_urlpatterns  # noqa: E402
from progress.servers import FlowControl  # noqa: E402

application = drain_on_sigterm(
    with_recorder(
        FlowControl(
            ProtocolTypeRouter(
                {
                    "http": EventStreams(pages),
                    "websocket": OriginCheck(ViewerMiddleware(URLRouter(websocket_urlpatterns))),
                }
            )
        )
    )
)

# A connection is about two hundred objects that stay. With Python's defaults half of the work of ten thousand
# that come at once is to look through all of them for garbage: docs/decisions/0013-less-garbage-collection.md.
gc.freeze()
gc.set_threshold(5_000)
