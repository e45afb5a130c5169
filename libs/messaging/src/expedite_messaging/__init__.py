"""The machinery between a pure decision and Kafka plus PostgreSQL: the only code that begins, commits, sends or polls."""

from expedite_messaging.cause import Batch, Cause, EffectCall, EffectResult, Fired, GaveUp, Received, Root
from expedite_messaging.collection import Book, Collection, Column, Key
from expedite_messaging.engine import Engine, Group, KeyParked, Transient
from expedite_messaging.handlers import Handlers
from expedite_messaging.tx import Tx

__all__ = [
    "Batch",
    "Book",
    "Cause",
    "Collection",
    "Column",
    "EffectCall",
    "EffectResult",
    "Engine",
    "Fired",
    "GaveUp",
    "Group",
    "Handlers",
    "Key",
    "KeyParked",
    "Received",
    "Root",
    "Transient",
    "Tx",
]
