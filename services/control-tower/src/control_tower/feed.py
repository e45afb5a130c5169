"""The live feed: cards that changed, coalesced to four frames a second, resumable by any replica.

The cursor of a frame is the newest real change time it holds. Transactions commit a little after they take their time,
so a reader always looks back over an overlap; rows are whole and carry their revision, so seeing one twice is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from control_tower.store import CARDS, PEOPLE
from control_tower.views import dump, row_of
from expedite_messaging import Engine, Tx

FRAME_S = 0.25
HEARTBEAT_S = 15.0
OVERLAP = timedelta(seconds=3)
LIMIT = 1000


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
        self._revisions: dict[str, int] = {}

    async def changed_since(self, since: datetime) -> Frame:
        """Rows changed at or after a moment."""

        async def load(tx: Tx) -> Frame:
            where = {"changed_at__gte": since}
            cards = await tx.find(CARDS, where, order_by=("-changed_at",), limit=LIMIT + 1)
            people = await tx.find(PEOPLE)
            newest = max((c.changed_at for c in cards if c.changed_at), default=since)
            rows = tuple(dump(row_of(card, people)) for card in cards[:LIMIT])
            reset = len(cards) > LIMIT
            return Frame(newest.isoformat(), tx.now.isoformat(), () if reset else rows, reset)

        return await self._engine.read(load)

    async def listen(self, last_event_id: str | None) -> AsyncIterator[Frame | None]:
        """Frames from a cursor on (or from now); None is a heartbeat."""
        queue: asyncio.Queue[Frame] = asyncio.Queue(maxsize=64)
        self._listeners.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            yield await self.changed_since((_cursor(last_event_id) or datetime.now(UTC)) - OVERLAP)
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
                frame = await self.changed_since(since)
            except Exception:  # the database is away: pages show "stale" and the poller goes on
                continue
            since = max(since, datetime.fromisoformat(frame.cursor) - OVERLAP)
            fresh = tuple(r for r in frame.rows if self._revisions.get(r["order_id"], 0) < r["revision"])
            if not fresh and not frame.reset:
                continue
            self._remember(fresh)
            news = Frame(frame.cursor, frame.now, fresh, frame.reset)
            for queue in self._listeners:
                if queue.full():  # a page that does not read loads its snapshot again
                    while not queue.empty():
                        queue.get_nowait()
                    queue.put_nowait(Frame(frame.cursor, frame.now, reset=True))
                else:
                    queue.put_nowait(news)

    def _remember(self, rows: tuple[dict[str, Any], ...]) -> None:
        if len(self._revisions) > 20 * LIMIT:
            self._revisions.clear()
        self._revisions.update({r["order_id"]: r["revision"] for r in rows})


def _cursor(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found if found and found.tzinfo else None
