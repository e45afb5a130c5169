"""The whole audit: one look at everything, and a second at what seems wrong or is in motion."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from expedite_events.catalogue import FULFILLMENT, INVENTORY, NOTIFIER, ORDER_INTAKE, SERVICES, SHIPPING
from expedite_local.audit import cancels, custody, ends
from expedite_local.audit.databases import Snapshot, snapshots
from expedite_local.audit.events import Events, Heard
from expedite_local.audit.files import files
from expedite_local.audit.finding import Finding, Look
from expedite_local.audit.leftovers import dropped, parked, timers
from expedite_local.audit.messages import mailed, messages
from expedite_local.audit.rest import wait
from expedite_local.audit.stock import Held, stock
from expedite_local.audit.topics import KafkaTopics, Topics
from expedite_local.home import Home
from expedite_local.state import State

AGAIN_S = 6.0
"""Real seconds between the two looks at a system in motion: what is in flight has moved on by then."""

# The tower and the notifier only tell, the prioritizer holds no units: what happened to an order happened elsewhere.
_ACTORS = (ORDER_INTAKE, INVENTORY, FULFILLMENT, SHIPPING)
_LAST = """
SELECT DISTINCT ON (key) key, topic, event_id::text AS id, at FROM ledger WHERE key = ANY($1::text[])
ORDER BY key, at DESC, sequence DESC
"""


async def settled(
    state: State, home: Home, *, ended: bool, patience_s: float, told: Callable[[str], None]
) -> list[Finding]:
    """Wait for rest, then check. What is wrong is looked at a second time and counts only if it is still wrong: a timer
    may fire between the look at rest and the snapshots. Without rest within `patience_s` (a fault when every order is to
    have `ended`) the second look comes always."""
    moving = await wait(state, patience_s, told)
    topics = KafkaTopics(state.kafka_bootstrap)
    told("everything rests, checking" if moving is None else f"no rest after {patience_s:.0f} s, checking: {moving}")
    found = await looks(state, home, topics, ended=ended, rest=moving is None)
    if moving is not None or not all(look.finding({}).good for look in found):
        told("checking a second time")
        await asyncio.sleep(AGAIN_S)
        still = moving if moving is not None else await wait(state, patience_s, told)
        again = await looks(state, home, topics, ended=ended, rest=still is None)
        found = [later.still(look) for look, later in zip(found, again, strict=True)]
    if moving is None:
        rest = Finding("at rest", len(state.databases), True, f"{len(state.databases)} services, nothing moves")
    else:
        rest = Finding("at rest", len(state.databases), not ended, f"still moving: {moving}")
    return [rest, *await _findings(state, found)]


async def check(state: State, home: Home, topics: Topics, *, ended: bool) -> list[Finding]:
    """Check a system at rest, once."""
    return await _findings(state, await looks(state, home, topics, ended=ended, rest=True))


async def looks(state: State, home: Home, topics: Topics, *, ended: bool, rest: bool) -> list[Look]:
    """Every check. `rest`: nothing moves, so services must agree at once."""
    arrived = await asyncio.to_thread(mailed, home.mail)
    # Places first, then databases, then topics: see `events`.
    places = await topics.places(state.databases)
    async with snapshots(state.databases) as shots:
        events = Events(shots, places, rest=rest)
        heard = await events.run(topics.records())
        over, gone = await ends.ends(shots), await dropped(shots.values())
        waiting = await parked(shots.values())
        if gone:
            waiting.note(f"events of {len(gone):,} keys were dropped by people")
        orders = await _orders(shots, over, ended=ended)
        for look in orders:
            look.excuse(gone)
        return [
            *orders,
            events.look,
            events.order,
            await _messages(shots, arrived, heard, rest=rest),
            waiting,
            await timers(shots.values(), {order_id: next(iter(said)) for order_id, said in over.items()}),
        ]


async def _orders(shots: Mapping[str, Snapshot], over: ends.Ends, *, ended: bool) -> list[Look]:
    """Stock, orders, custody and cancels: one walk over all orders feeds the four."""
    found = [Look("stock", "SKUs"), Look("orders", "orders"), Look("custody", "units"), Look("cancels", "requests")]
    _, order, unit, request = found
    absent = [service for service in SERVICES if service not in shots]
    if absent:
        # A part of the system (`--only`) cannot be compared across services.
        for look in found:
            look.note(f"not checked: {', '.join(absent)} do not run here")
        return found
    held = Held()
    await ends.columns(order, shots)
    async for file in files(shots):
        held.add(file)
        ends.look_at(order, file, over, ended=ended)
        custody.look_at(unit, file)
        cancels.look_at(request, file, ended=ended)
    return [await stock(shots, held), *found[1:]]


async def _messages(
    shots: Mapping[str, Snapshot], arrived: Mapping[str, int] | None, heard: Heard, *, rest: bool
) -> Look:
    if NOTIFIER in shots:
        return await messages(shots[NOTIFIER], arrived, heard.notified, rest=rest)
    return Look("messages", "messages", notes=[f"not checked: {NOTIFIER} does not run here"])


async def _findings(state: State, found: Sequence[Look]) -> list[Finding]:
    """Findings; for offenders of which only the order is known, with the last event its custodians emitted."""
    keys = sorted({order_id for look in found for order_id in look.named.values() if order_id})
    last: dict[str, tuple[object, str]] = {}
    if keys:
        async with snapshots({name: url for name, url in state.databases.items() if name in _ACTORS}) as shots:
            for shot in shots.values():
                for row in await shot.rows(_LAST, keys):
                    known = last.get(row["key"])
                    if known is None or row["at"] > known[0]:
                        last[row["key"]] = (row["at"], f"{row['topic']}, event {row['id']}")
    causes = {key: text for key, (_, text) in last.items()}
    return [look.finding(causes) for look in found]
