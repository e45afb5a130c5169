"""Records as they are stored in outbox and parking: headers packed as JSON, bytes kept one to one."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

import orjson

from expedite_events.envelope import SEQUENCE, Envelope, encode, unpacked
from expedite_messaging.cause import RawRecord

SHARDS = 16


def shard_of(key: str) -> int:
    """The shard of the outbox a key belongs to."""
    return crc32(key.encode()) % SHARDS


def pack_headers(headers: Iterable[tuple[str, bytes]]) -> bytes:
    """Headers as JSON; bytes become the characters of the same numbers, so that any bytes survive."""
    return orjson.dumps([(name, value.decode("latin-1")) for name, value in headers])


def unpack_headers(packed: bytes) -> list[tuple[str, bytes]]:
    return [(name, value.encode("latin-1")) for name, value in orjson.loads(packed)]


def wire_headers(packed: bytes, sequence: int) -> list[tuple[str, bytes]]:
    """Headers of an outbox row (`Envelope.packed`) as Kafka takes them: with the sequence number, which the database gave."""
    return [*unpacked(packed), (SEQUENCE, b"%d" % sequence)]


def record_of(envelope: Envelope) -> RawRecord:
    """The wire form of an envelope."""
    topic, key, value, headers = encode(envelope)
    return RawRecord(topic, key, value, tuple(headers))
