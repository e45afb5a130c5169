"""Ids of events and of what else is known by one: UUIDs of version 7 and 8 (RFC 9562), which begin with their time.

An event's ids are read, compared, hashed and written a dozen times on its way. The driver of our databases brings a `UUID` in C
that is and equals Python's own in a third to an eighth of the time; where it is not installed, Python's own does.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from uuid import UUID


def _slowly(told: str | bytes) -> UUID:
    return UUID(told) if isinstance(told, str) else UUID(bytes=told)


_of: Callable[[str | bytes], UUID] = _slowly
with suppress(ImportError):
    from asyncpg.pgproto import pgproto

    _of = pgproto.UUID


_VARIANT = 0x8000_0000_0000_0000
_HASHED, _HALVES = Struct(">HQ"), Struct(">QQ")


def parsed(text: bytes) -> UUID:
    """The id in its usual form of 36 characters; raises ValueError for any other."""
    if len(text) != 36:
        raise ValueError(f"{text!r} is not an id")
    return _of(text.decode())


def uuid7() -> UUID:
    """A time-ordered id for a root cause (HTTP request, webhook, job, snapshot); RFC 9562."""
    ms = time.time_ns() // 1_000_000
    raw = int.from_bytes(os.urandom(10), "big")
    high = (ms << 16) | 0x7000 | (raw >> 68)
    return _of(((high << 64) | _VARIANT | (raw & 0x3FFF_FFFF_FFFF_FFFF)).to_bytes(16))


def uuid8(ms: int, *parts: str) -> UUID:
    """A deterministic, time-ordered id: 48 bits of the cause's time in ms, then a hash of the parts; RFC 9562. The same
    decision taken again gives the same id, so that inboxes recognise it."""
    head, tail = _HASHED.unpack(hashlib.blake2b("\x1f".join(parts).encode(), digest_size=10).digest())
    return _of(_HALVES.pack((ms << 16) | 0x8000 | (head >> 4), _VARIANT | (tail & 0x3FFF_FFFF_FFFF_FFFF)))


def is_ours(event_id: UUID) -> bool:
    """Whether an id is of the versions we give, 7 and 8 (`UUID.version` takes six times as long to say so)."""
    raw = event_id.bytes
    return raw[6] >> 4 in (7, 8) and raw[8] >> 6 == 2


def millis(event_id: UUID) -> int:
    """The 48-bit time of a version 7 or 8 id."""
    return event_id.int >> 80
