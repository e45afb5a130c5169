"""Topics, their readers, and queues that keep the order of a key on one lane and nothing else."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

INTAKE, PRIORITIZER, INVENTORY = "order-intake", "prioritizer", "inventory"
FULFILLMENT, SHIPPING, NOTIFIER = "fulfillment", "shipping", "notifier"
CUSTODIANS = (INVENTORY, FULFILLMENT, SHIPPING)

Unit = tuple[str, int, int]  # order, line, number within the line
Data = dict[str, Any]  # what a message says; never changed after it is sent

READERS: dict[str, tuple[str, ...]] = {
    "OrderReceived": (PRIORITIZER,),
    "OrderHeld": CUSTODIANS,
    "OrderHoldReleased": CUSTODIANS,
    "OrderAmended": CUSTODIANS,
    "CancelRequested": CUSTODIANS,
    "OrderCancelled": CUSTODIANS,
    "OrderClosed": CUSTODIANS,
    "ReturnAuthorised": (FULFILLMENT,),
    "PriorityAssigned": CUSTODIANS,
    "RaiseRequested": (INTAKE,),
    "UnitsCancelled": (INTAKE, INVENTORY),
    "CancelRefused": (INTAKE, INVENTORY),
    "AmendApplied": (INTAKE,),
    "AmendRefused": (INTAKE,),
    "StockReserved": (FULFILLMENT,),
    "TransferRequested": (FULFILLMENT,),
    "StockShort": (NOTIFIER,),
    "RemedyChosen": (INVENTORY,),
    "RemedyApplied": (INTAKE, NOTIFIER),
    "PickShort": (INVENTORY,),
    "Packed": (SHIPPING, INVENTORY),
    "TransferDispatched": (INVENTORY,),
    "TransferReceived": (INVENTORY,),
    "ReturnReceived": (INVENTORY,),
    "ReturnInspected": (INVENTORY, INTAKE),
    "Shipped": (INTAKE,),
    "Delivered": (INTAKE,),
    "ShipmentLost": (INVENTORY, INTAKE),
    "ParcelReturned": (INVENTORY, INTAKE),
}
ALWAYS_EXPRESS = {
    "OrderHeld", "OrderHoldReleased", "OrderAmended", "CancelRequested", "RaiseRequested", "UnitsCancelled",
    "CancelRefused", "AmendApplied", "AmendRefused",
}  # fmt: skip


class Message(NamedTuple):
    """One event for one reader."""

    topic: str
    express: bool
    key: str
    reader: str
    data: Data


class Bus:
    """First in, first out per (topic, lane, key, reader); any of these queues may be next."""

    def __init__(self) -> None:
        self.queues: dict[tuple[str, bool, str, str], deque[Message]] = {}
        self.sent = 0

    def publish(self, topic: str, key: str, express: bool, data: Data) -> None:
        express = express or topic in ALWAYS_EXPRESS
        self.sent += 1
        for reader in READERS[topic]:
            name = (topic, express, key, reader)
            self.queues.setdefault(name, deque()).append(Message(topic, express, key, reader, data))

    def ready(self) -> list[tuple[str, bool, str, str]]:
        return list(self.queues)

    def first(self, name: tuple[str, bool, str, str]) -> Message:
        return self.queues[name][0]

    def done(self, message: Message) -> None:
        """The reader acknowledges the first message of its queue."""
        name = message[:4]
        queue = self.queues[name]
        queue.popleft()
        if not queue:
            del self.queues[name]
