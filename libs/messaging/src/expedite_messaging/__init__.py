"""The machinery between a pure decision and Kafka plus PostgreSQL: the only code that begins, commits, sends or polls."""

from expedite_messaging.cause import (
    Batch,
    Cause,
    EffectCall,
    EffectResult,
    Fired,
    GaveUp,
    ParkedEvent,
    RawRecord,
    Received,
    Root,
)
from expedite_messaging.collection import Book, Collection, Column, Key
from expedite_messaging.engine import Crowded, Engine, KeyParked, PoisonGuard, PoisonLimit, Transient
from expedite_messaging.group import Group
from expedite_messaging.handlers import Handlers
from expedite_messaging.tx import Tx

__all__ = [
    "Batch",
    "Book",
    "Cause",
    "Collection",
    "Column",
    "Crowded",
    "EffectCall",
    "EffectResult",
    "Engine",
    "Fired",
    "GaveUp",
    "Group",
    "Handlers",
    "Key",
    "KeyParked",
    "ParkedEvent",
    "PoisonGuard",
    "PoisonLimit",
    "RawRecord",
    "Received",
    "Root",
    "Transient",
    "Tx",
]
