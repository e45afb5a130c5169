"""The notifier's HTTP interface."""

from __future__ import annotations

import pytest

from expedite_chassis.testing import client
from expedite_messaging.memory import MemoryClock, MemoryEngine
from notifier.handlers import handlers
from notifier.main import spec


@pytest.mark.parametrize(
    ("query", "status"),
    [("after=1000000000", 200), ("after=1000000001", 422), (f"after={2**63}", 422), ("after=-1", 422), ("limit=501", 422),
     ("order_id=" + "a" * 65, 422), ("order_id=%00", 422), ("status=lost", 422)],
)  # fmt: skip
async def test_lists_of_messages_are_bounded(query: str, status: int) -> None:
    """G5, I5: a place beyond what the database can count to is refused before it is asked for."""
    async with client(spec, MemoryEngine(handlers, MemoryClock()), ["read"]) as http:
        assert (await http.get(f"/messages?{query}")).status_code == status


@pytest.mark.parametrize(("order_id", "status"), [("a" * 65, 422), ("a%00b", 404)])
async def test_a_link_is_for_an_order(order_id: str, status: int) -> None:
    """G3: what cannot be an order number gets no signed link."""
    async with client(spec, MemoryEngine(handlers, MemoryClock()), ["orders:write"]) as http:
        assert (await http.get(f"/orders/{order_id}/status-link")).status_code == status
