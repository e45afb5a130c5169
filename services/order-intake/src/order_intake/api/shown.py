"""What the API answers, for its description: the answers themselves are written by `views`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from expedite_chassis import followed_by
from expedite_events import HoldKind, Problem
from expedite_events.base import Moment
from order_intake.domain.channel import Channel
from order_intake.domain.content import DraftCustomer, DraftLine
from order_intake.domain.order import State
from order_intake.store import Verdict


class HoldShown(BaseModel):
    """One thing an order waits for, or waited for."""

    hold_id: str
    kind: HoldKind
    problem: Problem
    owner: str
    open: bool
    held_at: Moment
    due_at: Moment
    outcome: str | None
    released_by: str | None
    released_at: Moment | None
    reason: str | None


class Accepted(BaseModel):
    """An order was taken in; `holds` says what it waits for."""

    order_id: str
    state: State
    status_url: str
    trace_id: str | None
    holds: list[HoldShown]


class Classification(BaseModel):
    """Channel, attribute and status: how an order is filed (A2)."""

    channel: str
    attribute: str
    status: str


class OrderRow(BaseModel):
    """An order in a list."""

    order_id: str
    channel: str
    state: State
    classification: Classification
    urgent: bool
    external_id: str | None
    external_number: str | None
    customer: str | None
    accepted_at: Moment
    currency: str
    total: str
    quantity: int
    open_holds: list[HoldShown]


class OrderRows(BaseModel):
    items: list[OrderRow]
    next: str | None


class UnitSpan(BaseModel):
    """Units `first` to `last` of a line."""

    line: int
    first: int
    last: int


class UnitCounts(BaseModel):
    ordered: int
    delivered: int
    cancelled: int
    handed_over: int
    open: int


class UnitsShown(BaseModel):
    """Every unit by what became of it."""

    ordered: list[UnitSpan]
    delivered: list[UnitSpan]
    cancelled: list[UnitSpan]
    handed_over: list[UnitSpan]
    open: list[UnitSpan]
    counts: UnitCounts


class UnitAnswer(UnitSpan):
    """What a cancel request was answered for these units."""

    answer: str
    request_id: str
    reason: str | None = None


class CancelShown(BaseModel):
    """A cancel request with its answers so far."""

    request_id: str
    order_id: str
    standing: bool
    whole_order: bool
    reason: str
    requested_by: str
    requested_at: Moment
    state: str
    asked: int
    cancelled: int
    pending: int
    refused: int
    units: list[UnitAnswer]
    follow_ups: list[str]


class CancelAccepted(CancelShown):
    status_url: str


class OrderShown(OrderRow):
    """All intake knows about an order."""

    customer: DraftCustomer  # type: ignore[assignment]
    reference: str | None
    placed_at: Moment | None
    received_at: Moment | None
    ended_at: Moment | None
    payment_state: str
    tags: list[str]
    note: str | None
    test: bool
    partial_shipment: bool
    carrier_preference: str | None
    promise_by: Moment | None
    duplicate_of: str | None
    lines: list[DraftLine]
    holds: list[HoldShown]
    units: UnitsShown
    cancels: list[CancelShown]


class Channels(BaseModel):
    items: list[Channel]
    next: str | None


class DeliveryRow(BaseModel):
    """A row of the delivery log."""

    delivery_id: str
    channel: str
    format: str
    topic: str
    received_at: Moment
    headers: dict[str, str]
    size: int
    sha256: str
    verdict: Verdict
    detail: str | None
    order_id: str | None
    attempts: int


class DeliveryShown(DeliveryRow):
    body: str | None


class DeliveryRows(BaseModel):
    items: list[DeliveryRow]
    next: str | None


class Received(BaseModel):
    """What came of a webhook; of WooCommerce's ping only the verdict."""

    verdict: str
    delivery_id: str | None = None
    order_id: str | None = None


def shown(model: type[BaseModel], status: int = 200, **more: Any) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that writes its answer itself."""
    return {status: {"model": model, **more}}


LOCATION = {"Location": {"description": "Where it can be looked at", "schema": {"type": "string"}}}
OF_AN_ORDER = {
    name: followed_by(operation, "order_id", "/order_id")
    for name, operation in (
        ("order", "get_order"), ("completion", "post_completion"), ("payment", "post_payment"),
        ("cancel", "post_cancel"), ("confirmation", "post_confirm"),
    )
}  # fmt: skip
"""What can be done next with an order that an answer names."""


def hold_links(*operations: str) -> dict[str, Any]:
    """Links to decide the first hold that an answer names."""
    parameters = {"order_id": "$response.body#/order_id", "hold_id": "$response.body#/holds/0/hold_id"}
    return {name: {"operationId": name, "parameters": parameters} for name in operations}


CANCEL_LINK = {
    "answers": {
        "operationId": "get_cancel",
        "parameters": {"order_id": "$response.body#/order_id", "request_id": "$response.body#/request_id"},
    }
}
