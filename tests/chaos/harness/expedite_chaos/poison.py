"""Records that nobody can understand, or that nobody may have sent, put on the real topics beside the services."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from uuid import UUID

import orjson
from aiokafka.partitioner import murmur2

from expedite_events.ids import uuid7
from expedite_messaging.admin import EXPRESS_PARTITIONS, STANDARD_PARTITIONS
from expedite_messaging.cause import RawRecord

LARGE = 900 * 1024
"""Bytes of a large value: below what topics take, far above what services write."""


def _with(record: RawRecord, **headers: bytes | None) -> RawRecord:
    kept = {**dict(record.headers), **headers}
    return replace(record, headers=tuple((name, value) for name, value in kept.items() if value is not None))


def _versioned(record: RawRecord) -> RawRecord:
    kind = dict(record.headers)["ce_type"]
    return _with(record, ce_type=kind.rsplit(b".v", 1)[0] + b".v99")


KINDS: dict[str, Callable[[RawRecord], RawRecord]] = {
    "bad JSON": lambda r: replace(r, value=b'{"order_id": "'),
    "no JSON object": lambda r: replace(r, value=b"[1, 2]"),
    "empty": lambda r: replace(r, value=b""),
    "wrong shape": lambda r: replace(r, value=b'{"order_id": 7}'),
    "unknown type": lambda r: _with(r, ce_type=b"expedite.order-intake.SomethingElse.v1"),
    "wrong version": _versioned,
    "large": lambda r: replace(r, value=orjson.dumps({"order_id": ["x" * LARGE]})),
    "no headers": lambda r: replace(r, headers=()),
    "no id": lambda r: _with(r, ce_id=None),
    "id of version 4": lambda r: _with(r, ce_id=b"0b0d9b7e-5d2c-4a52-9d9b-6c5f7b9d3f10"),
    "foreign source": lambda r: _with(r, ce_source=b"/expedite/somebody-else"),
    "source of another topic": lambda r: _with(r, ce_source=b"/expedite/control-tower"),
    "key of another": lambda r: replace(r, key=b"another " + (r.key or b"")),
    "bad time": lambda r: _with(r, ce_time=b"yesterday"),
    "NUL in the key": lambda r: replace(r, key=(r.key or b"") + b"\x00"),
    "no key": lambda r: replace(r, key=None),
    "key that is no text": lambda r: replace(r, key=b"\xff\xfe" + (r.key or b"")),
}
"""What is done to a good record of a topic to make it poison."""


def poisoned(
    good: RawRecord, kinds: Iterable[str] = tuple(KINDS), key: Callable[[str], str] | None = None
) -> list[RawRecord]:
    """One poison of each kind, made from a good record of a topic whose key is the order. key: the order it is said to be
    about, by kind; else one that does not exist."""
    found = []
    for kind in kinds:
        name = key(kind) if key else f"poison {kind}"
        value = orjson.dumps(orjson.loads(good.value or b"{}") | {"order_id": name})
        subject = replace(good, key=name.encode(), value=value)
        made = KINDS[kind](_with(subject, ce_id=str(uuid7()).encode(), ce_subject=name.encode()))
        found.append(replace(made, partition=partition_of(good.topic, made.key)))
    return found


def partition_of(topic: str, key: bytes | None) -> int:
    """Where the default partitioner of every client puts a key; 0 without one."""
    partitions = EXPRESS_PARTITIONS if topic.endswith(".express") else STANDARD_PARTITIONS
    return 0 if key is None else (murmur2(key) & 0x7FFFFFFF) % partitions


def kept_under(record: RawRecord) -> tuple[str, UUID]:
    """The key and the id a service parks it under."""
    return record.lock_key, record.event_id
