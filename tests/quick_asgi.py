"""The shipped site with shorter patience, so that a test of what happens after a minute takes seconds.

The constants stay what they are where they are written; unit tests hold their real values against the protocol.
"""

from project.asgi import application  # loads the apps, so it comes first

# isort: split
from progress import authorize, heart, middleware, reviews, revocations, servers

heart.HEARTBEAT = 1.0  # type: ignore[misc]
reviews.EVERY = 0.2
reviews.LOOK_UP_AFTER = reviews.AGAIN_AFTER = 0.5
authorize.BELIEVED = authorize.FRESH = 0.5
revocations.LOOK_EVERY = 0.5
middleware.CACHE_SECONDS = 0.5
servers.STUCK_SECONDS = 2.0

__all__ = ["application"]
