"""Records as they are stored in outbox and parking: headers packed as JSON, bytes kept one to one."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from zlib import crc32

import orjson

from expedite_events.envelope import COMMON, SEQUENCE, Envelope, encode
from expedite_messaging.cause import RawRecord

SHARDS = 16
_COMMON = b"\0" + COMMON + b"\0"


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
    own, mark, common = packed.partition(_COMMON)
    parts = own.split(b"\0")
    names = _names(tuple(parts[::2]))
    return [*zip(names, parts[1::2], strict=True), *_pairs(mark[1:] + common), (SEQUENCE, b"%d" % sequence)]


@lru_cache(maxsize=1024)
def _names(names: tuple[bytes, ...]) -> tuple[str, ...]:
    """Few sets of headers exist: they are the attributes of the catalogue's events."""
    return tuple([name.decode() for name in names])


@lru_cache(maxsize=1024)
def _pairs(packed: bytes) -> list[tuple[str, bytes]]:
    parts = packed.split(b"\0") if packed else []
    return [(name.decode(), value) for name, value in zip(parts[::2], parts[1::2], strict=True)]


def record_of(envelope: Envelope) -> RawRecord:
    """The wire form of an envelope."""
    topic, key, value, headers = encode(envelope)
    return RawRecord(topic, key, value, tuple(headers))
