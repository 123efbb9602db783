"""Orders to export. This site has no shop, so they are made up; what is done with them is real.

Order number 7 is the same whoever makes it up and whenever: all of it follows from the number.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Any, Final

from django.db.models import Max, QuerySet

from .models import Order

BATCH: Final = 1_000  # orders per statement
FIRST_DAY: Final = dt.date(2024, 1, 1)
DAYS: Final = 730
_CUSTOMERS: Final = (
    "Ada Lovelace",
    "Zoë Fröhlich",
    "王小明",
    "José Núñez",
    "Grace Hopper",
    "O’Neill & Sons",
    "=SUM Ltd.",
)
_ARTICLES: Final = ("Tea, green", "Tea, black", "Pot, 1 l", 'Cup "Classic"', "Kettle", "Strainer", "Sugar, brown")


def make_up_orders(owner: Any, number: int) -> Iterator[int]:
    """Make up orders until `owner` has those numbered 1 to `number`; yields how many there are, batch by batch.

    Safe to run again, and beside itself: what is there stays as it is.
    """
    made = Order.objects.filter(owner=owner).aggregate(highest=Max("number"))["highest"] or 0
    while made < number:
        upto = min(made + BATCH, number)
        batch = [_order(owner, each) for each in range(made + 1, upto + 1)]
        # Two exports of one user may run side by side; whichever comes second finds its numbers taken.
        Order.objects.bulk_create(batch, ignore_conflicts=True)
        made = upto
        yield made


def orders_of(owner: Any, placed_from: dt.date | None, placed_until: dt.date | None) -> QuerySet[Order]:
    """The orders of `owner` that were placed on these days, both included, by number."""
    found = Order.objects.filter(owner=owner).order_by("number")
    if placed_from:
        found = found.filter(placed_on__gte=placed_from)
    return found.filter(placed_on__lte=placed_until) if placed_until else found


def _order(owner: Any, number: int) -> Order:
    random = Random(number)  # nosec B311 # made-up data
    return Order(
        owner=owner,
        number=number,
        placed_on=FIRST_DAY + dt.timedelta(days=random.randrange(DAYS)),  # nosec B311 # made-up data
        customer=random.choice(_CUSTOMERS),  # nosec B311 # made-up data
        article=random.choice(_ARTICLES),  # nosec B311 # made-up data
        amount=Decimal(random.randrange(199, 49_999)) / 100,  # nosec B311 # made-up data
    )
