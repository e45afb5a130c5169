"""The live feed: cards that changed, coalesced to four frames a second, resumable by any replica.

Every transaction that changes cards leaves one row that names them (`store.Change`). The cursor of a frame is the newest
real time of those it holds. Transactions commit a little after they take their time, so a reader always looks back over
an overlap; rows are whole and carry their revision, so seeing one twice is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from control_tower.store import CARDS, CHANGES, PEOPLE, Change
from control_tower.views import Owners, dump, row_of
from expedite_messaging import Engine, Tx

FRAME_S = 0.25
HEARTBEAT_S = 15.0
OVERLAP = timedelta(seconds=3)
LIMIT = 1000
STEP = 100  # changes read at once: each may name hundreds of orders


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows that changed, and the cursor to resume from. `reset` tells the page to load its snapshot again, because
    too much was missed to send."""

    cursor: str
    now: str  # business time, so that the page's countdowns run on the right clock
    rows: tuple[dict[str, Any], ...] = ()
    reset: bool = False


class Feed:
    """One poller per process, however many pages listen."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._listeners: set[asyncio.Queue[Frame]] = set()
        self._task: asyncio.Task[None] | None = None
        self._told: dict[str, datetime] = {}  # changes within the overlap that were told already

    async def changed_since(self, since: datetime, told: Collection[str] = ()) -> tuple[Frame, dict[str, datetime]]:
        """Rows changed at or after a moment, but for the changes told already; and the changes that were read."""
        started = datetime.now(UTC)

        async def load(tx: Tx) -> tuple[Frame, dict[str, datetime]]:
            read: dict[str, datetime] = {}
            orders: dict[str, None] = {}
            while len(orders) <= LIMIT:
                step: list[Change] = await tx.find(
                    CHANGES, {"at__gte": since}, order_by=("at", "change_id"), limit=STEP, offset=len(read)
                )
                for change in step:
                    read[change.change_id] = change.at
                    if change.change_id not in told:
                        orders.update(dict.fromkeys(change.orders))
                if len(step) < STEP:
                    break
            if len(orders) > LIMIT:
                return Frame(started.isoformat(), tx.now.isoformat(), reset=True), read
            cards = await tx.load(CARDS, orders)
            owners = Owners(await tx.masters(PEOPLE) if orders else {})
            newest = max(read.values(), default=since)
            return Frame(newest.isoformat(), tx.now.isoformat(), tuple(dump(row_of(c, owners)) for c in cards)), read

        return await self._engine.read(load)

    async def listen(self, last_event_id: str | None) -> AsyncIterator[Frame | None]:
        """Frames from a cursor on (or from now); None is a heartbeat."""
        queue: asyncio.Queue[Frame] = asyncio.Queue(maxsize=64)
        self._listeners.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            yield (await self.changed_since((_cursor(last_event_id) or datetime.now(UTC)) - OVERLAP))[0]
            while True:
                try:
                    yield await asyncio.wait_for(queue.get(), HEARTBEAT_S)
                except TimeoutError:
                    yield None
        finally:
            self._listeners.discard(queue)

    async def _poll(self) -> None:
        since = datetime.now(UTC) - OVERLAP
        while self._listeners:
            await asyncio.sleep(FRAME_S)
            try:
                frame, read = await self.changed_since(since, self._told)
            except Exception:  # the database is away: pages show "stale" and the poller goes on
                continue
            since = max(since, datetime.fromisoformat(frame.cursor) - OVERLAP)
            self._told = {change: at for change, at in (self._told | read).items() if at >= since}
            if not frame.rows and not frame.reset:
                continue
            for queue in self._listeners:
                if queue.full():  # a page that does not read loads its snapshot again
                    while not queue.empty():
                        queue.get_nowait()
                    queue.put_nowait(Frame(frame.cursor, frame.now, reset=True))
                else:
                    queue.put_nowait(frame)


def _cursor(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    # A cursor is a time of ours; sums with one near the ends of the calendar overflow.
    return found if found and found.tzinfo and 2000 <= found.year < 2200 else None
