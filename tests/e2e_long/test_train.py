"""Five minutes in a train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import LineTo
from tests.network.rides import ROUND_TRIP, Ride
from tests.processes import Site


@pytest.mark.timeout(420)
def test_a_ride_of_five_minutes(line_to: LineTo, site: Site, tmp_path: Path, open_page: Any) -> None:
    """300 ms, and 20 s of every minute cut: each end is shown within 10 s, no job has failed, 5 MB an hour."""
    ride = Ride(site.user(), tmp_path, tunnels=5)
    ride.go(line_to(site, delay=ROUND_TRIP / 2), open_page, light=40, dark=20)
    ride.judge()
    ride.judge_cost()
