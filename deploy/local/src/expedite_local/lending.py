"""Who holds what an urgent order waits for is urgent too, until it lets go.

A standard lane decides on some hundred orders in one transaction and holds them meanwhile. It comes last at the processor, so on
a full machine a quarter of a second's work takes one to three; an order of its batch that somebody raises waits for all of
it, and on an express lane so does everything behind that order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from expedite_local.urgency import allowed, asking, calm, hurry, names

EVERY_S = 0.1
# The sessions that those of express lanes and entrances wait for. Only for who waits the server looks who is in the way.
_HOLDERS = """
SELECT DISTINCT held.pid, split_part(held.application_name, ' ', 1) AS name
FROM pg_stat_activity AS waits CROSS JOIN LATERAL unnest(pg_blocking_pids(waits.pid)) AS way(pid)
  JOIN pg_stat_activity AS held ON held.pid = way.pid
WHERE waits.wait_event_type = 'Lock' AND waits.application_name ~ $1
  AND held.application_name ~ '-standard-'
"""


async def keep(processes: Callable[[], dict[str, int]], postgres_url: str | None, entrances: Iterable[str]) -> None:
    """Lend the real-time class until cancelled. `processes`: pids by the name their sessions have, as in
    `inventory-standard-0`; None for a server that is not ours."""
    if not allowed():
        return
    lent: set[int] = set()
    try:
        async with asking(postgres_url, _HOLDERS, names(entrances)) as holders:
            while True:
                await asyncio.sleep(EVERY_S)
                rows = await holders()
                ours = processes() if rows else {}
                held = {row["pid"] for row in rows} | {ours[row["name"]] for row in rows if row["name"] in ours}
                for pid in held - lent:
                    hurry(pid)
                for pid in lent - held:
                    calm(pid)
                lent = held
    finally:
        for pid in lent:
            calm(pid)
