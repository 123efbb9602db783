"""The web process: pages over HTTP, progress over WebSocket, in one Daphne."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
pages = get_asgi_application()  # loads the apps; what follows needs them

from progress.draining import drain_on_sigterm  # noqa: E402 (the apps come first)
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
                    "http": pages,
                    "websocket": OriginCheck(ViewerMiddleware(URLRouter(websocket_urlpatterns))),
                }
            )
        )
    )
)
