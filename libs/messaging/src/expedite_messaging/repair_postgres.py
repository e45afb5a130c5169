"""Repair of parked keys over PostgreSQL."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from expedite_messaging.cause import RawRecord
from expedite_messaging.records import pack_headers, unpack_headers
from expedite_messaging.repair import Dropped, ParkedKey, Repair, RepairSession, Waiting, Who

_EVENT = "key, seq, event_id, topic, record_key, headers, value, reason, attempts, at"
_WAITING = f"SELECT {_EVENT}, next_at FROM parked WHERE key = $1 ORDER BY seq"
_KEYS = """
SELECT DISTINCT ON (key) key, event_id, topic, reason, attempts, next_at, min(at) OVER (PARTITION BY key) AS since,
  count(*) OVER (PARTITION BY key)::int AS events
FROM parked WHERE key > $1 ORDER BY key, seq LIMIT $2
"""
_REWRITE = "UPDATE parked SET headers = $2, value = $3, record_key = $4 WHERE event_id = $1"
_MOVE = "UPDATE parked SET key = $2, seq = DEFAULT WHERE event_id = $1"
_SET_ASIDE = f"""
WITH gone AS (DELETE FROM parked WHERE event_id = $1 RETURNING {_EVENT})
INSERT INTO dropped ({_EVENT}, dropped_by, why) SELECT {_EVENT}, $2, $3 FROM gone
"""
_DROPPED = f"""
SELECT {_EVENT}, NULL::timestamptz AS next_at, dropped_at, dropped_by, why FROM dropped
WHERE ($1::text IS NULL OR key = $1) AND ($2::uuid IS NULL OR event_id = $2) ORDER BY dropped_at DESC, seq DESC LIMIT $3
"""
# One that came again after the inbox had forgotten it is parked already.
_BRING_BACK = f"""
WITH back AS (DELETE FROM dropped WHERE event_id = $1 RETURNING {_EVENT})
INSERT INTO parked ({_EVENT}) OVERRIDING SYSTEM VALUE SELECT {_EVENT} FROM back ON CONFLICT (event_id) DO NOTHING
"""
_NOTE = """
INSERT INTO repair (action, key, event_id, topic, client, person, why, outcome, before, after, original_headers,
  original_value)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING id
"""
_REPAIRS = """
SELECT * FROM repair
WHERE ($1::text IS NULL OR key = $1) AND ($2::bigint IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
"""


class PostgresRepair(RepairSession):
    """The statements of repair, on the connection of the session they are part of."""

    async def _fetch(self, sql: str, *args: Any) -> list[Any]:
        raise NotImplementedError

    async def waiting(self, key: str) -> list[Waiting]:
        return [_waiting(row) for row in await self._fetch(_WAITING, key)]

    async def parked_keys(self, after: str, limit: int) -> list[ParkedKey]:
        return [ParkedKey(**dict(row)) for row in await self._fetch(_KEYS, after, limit)]

    async def rewrite_parked(self, event: Waiting, key: str, record: RawRecord) -> None:
        await self._fetch(_REWRITE, event.event_id, pack_headers(record.headers), record.value, record.key)
        if key != event.key:
            await self._fetch(_MOVE, event.event_id, key)

    async def set_aside(self, event: Waiting, who: Who) -> None:
        await self._fetch(_SET_ASIDE, event.event_id, who.person or who.client, who.why)

    async def dropped(self, *, key: str | None = None, event_id: UUID | None = None, limit: int = 200) -> list[Dropped]:
        return [
            Dropped(_waiting(row), row["dropped_at"], row["dropped_by"], row["why"])
            for row in await self._fetch(_DROPPED, key, event_id, limit)
        ]

    async def bring_back(self, dropped: Dropped) -> None:
        await self._fetch(_BRING_BACK, dropped.event.event_id)

    async def note(self, repair: Repair) -> int:
        who, original = repair.who, repair.original
        rows = await self._fetch(
            _NOTE, repair.action, repair.key, repair.event_id, repair.topic, who.client, who.person, who.why,
            repair.outcome, repair.before, repair.after, pack_headers(original.headers) if original else None,
            original.value if original else None,
        )  # fmt: skip
        number: int = rows[0][0]
        return number

    async def repairs(self, *, key: str | None = None, before: int | None = None, limit: int = 200) -> list[Repair]:
        return [_repair(row) for row in await self._fetch(_REPAIRS, key, before, limit)]


def _waiting(row: Any) -> Waiting:
    record = RawRecord(row["topic"], row["record_key"], row["value"], tuple(unpack_headers(row["headers"])))
    return Waiting(
        row["key"], row["seq"], row["event_id"], record, row["reason"], row["attempts"], row["at"], row["next_at"]
    )


def _repair(row: Any) -> Repair:
    packed, original = row["original_headers"], None
    if packed is not None:
        original = RawRecord(row["topic"], None, row["original_value"], tuple(unpack_headers(packed)))
    who = Who(row["client"], row["person"], row["why"])
    return Repair(
        row["action"], row["key"], who, row["event_id"], row["topic"], row["outcome"], row["before"], row["after"],
        original, row["id"], row["at"],
    )  # fmt: skip
