"""Bundles: what one transaction emits on one lane for one shard, as one row of the outbox.

A row of its own costs an event an insert, an index entry, a read and a deletion, each with its record in PostgreSQL's log: as
much as all else the database does for it. Events of one kind are alike, so a bundle of them is also compressed to a quarter.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from cramjam import lz4

from expedite_events import Lane
from expedite_events.envelope import Envelope
from expedite_messaging.records import SHARDS, shard_of

MAX_VALUE_BYTES = 262_144
"""An event's JSON must be smaller: an oversized record would kill the producer (P1, P34)."""
MAX_BUNDLE_BYTES = 64 * 1024
"""Before compression; one event may bring it above."""
_COMPRESSED_FROM = 2_000  # below it a row stays on its page as it is
_FRAME = 128  # of one record: its lengths and times, the lengths of its headers, its number
_PLAIN, _LZ4 = b"\x00", b"\x01"


class TooLarge(ValueError):
    """An event that no topic would take."""


class Emitted(msgspec.Struct, array_like=True, frozen=True):
    """One event as the relay sends it. `place`: what its number has over the bundle's."""

    place: int
    topic: str
    key: str
    headers: bytes
    value: bytes


class Bundle(msgspec.Struct, frozen=True):
    """Events of one shard and lane, in the order of their numbers. `number`: the first one's, and the row's id. `size`: at most
    so many bytes in the broker's batches, before compression."""

    number: int
    shard: int
    events: list[Emitted]
    size: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Emitted]).decode


def bundled(envelopes: Sequence[Envelope]) -> list[tuple[Lane, Bundle]]:
    """The bundles of what a transaction emits, numbered from 0. Raises `TooLarge`."""
    found: list[tuple[Lane, Bundle]] = []
    open_: dict[int, tuple[Bundle, int]] = {}
    for number, envelope in enumerate(envelopes):
        key, value, headers = envelope.key, envelope.value, envelope.packed()
        if len(value) >= MAX_VALUE_BYTES:
            raise TooLarge(
                f"{envelope.topic} of {key} has {len(value):,} bytes; less than {MAX_VALUE_BYTES:,} is published"
            )
        lane, shard = envelope.lane, shard_of(key)
        where = shard if lane is Lane.STANDARD else SHARDS + shard
        bundle, size = open_.get(where, (None, 0))
        if bundle is None or size > MAX_BUNDLE_BYTES:
            bundle, size = Bundle(number, shard, []), 0
            found.append((lane, bundle))
        bundle.events.append(Emitted(number - bundle.number, envelope.topic, key, headers, value))
        open_[where] = bundle, size + len(value) + len(headers)
    return found


def packed(bundle: Bundle) -> bytes:
    """The events of a bundle as its row keeps them."""
    plain = _encode(bundle.events)
    return _PLAIN + plain if len(plain) < _COMPRESSED_FROM else _LZ4 + bytes(lz4.compress_block(plain, store_size=True))


def unpacked(number: int, shard: int, body: bytes) -> Bundle:
    """The bundle of a row."""
    plain = body[1:] if body[:1] == _PLAIN else bytes(lz4.decompress_block(body[1:]))
    events = _decode(plain)
    return Bundle(number, shard, events, len(plain) + _FRAME * len(events))


def singles(bundle: Bundle) -> list[Bundle]:
    """Each event as a bundle of its own: when one of them must wait, the others need not."""
    return [
        Bundle(bundle.number + e.place, bundle.shard, [Emitted(0, e.topic, e.key, e.headers, e.value)])
        for e in bundle.events
    ]
