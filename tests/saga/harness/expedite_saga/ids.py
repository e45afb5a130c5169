"""Ids that come out the same whenever the same things are done."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace
from unittest.mock import patch


@contextmanager
def fixed_chance(now: Callable[[], datetime], seed: int = 20261123) -> Iterator[None]:
    """Ids and trace ids come from a fixed seed, their times from the business clock."""
    r = random.Random(seed)
    ticks = iter(range(1, 10**9))

    def time_ns() -> int:
        return int(now().timestamp() * 1000 + next(ticks)) * 1_000_000

    with (
        patch.object(os, "urandom", r.randbytes),
        patch("expedite_events.ids.time", SimpleNamespace(time_ns=time_ns)),
    ):
        yield
