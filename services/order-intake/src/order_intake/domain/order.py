"""An order as intake knows it: what was said, what it waits for, and what became of each unit."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from msgspec import field

from expedite_events import (
    NO_UNITS,
    CancelTimer,
    Decision,
    Event,
    HoldKind,
    HoldSummary,
    Illegal,
    OrderBrief,
    OrderHeld,
    OrderHoldReleased,
    OrderLine,
    OrderReceived,
    Problem,
    Units,
    Value,
)
from order_intake.domain.content import AMOUNT_LIMIT, Content
from order_intake.domain.verify import customer_of

CONFIRM = "confirm"  # timer kind: the confirm clock of an order


class State(StrEnum):
    """Where an order is. Every accepted order is in exactly one."""

    HELD = "held"  # waits at intake; not received yet
    RECEIVED = "received"  # in the pool, on its way
    CANCELLED = "cancelled"  # terminal
    CLOSED = "closed"  # terminal


class Hold(Value):
    """One thing an order waits for. `outcome` is None while it is open."""

    hold_id: str
    kind: HoldKind
    problem: Problem
    owner: str
    held_at: datetime
    due_at: datetime
    outcome: str | None = None  # completed, approved, rejected, paid, cancelled, withdrawn
    released_by: str | None = None
    released_at: datetime | None = None
    reason: str | None = None  # why it was approved or rejected

    @property
    def open(self) -> bool:
        return self.outcome is None


class Refusal(Value):
    """Why some units of a request could not be cancelled."""

    units: Units
    reason: str
    answered_by: str


class CancelRequest(Value):
    """One cancel request and the answers so far. `origin` is the request of the person; a quantity request whose units
    are refused is followed by requests for other units with the same origin."""

    request_id: str
    origin: str
    units: Units
    standing: bool
    whole_order: bool = False
    reason: str
    requested_by: str
    requested_at: datetime
    cancelled: Units = NO_UNITS
    refused: Units = NO_UNITS
    refusals: tuple[Refusal, ...] = ()
    idempotency: str | None = None  # client and key of the HTTP request
    asked: str | None = None  # fingerprint of the HTTP request's body

    @property
    def pending(self) -> Units:
        return self.units - self.cancelled - self.refused


class Parcel(Value):
    """A parcel that a carrier was given: written once, beside the order and not in it, because most orders are shipped
    without anybody asking. What became of the parcel is the order's own news (`parcels_back`, `delivered`)."""

    order_id: str
    parcel_id: str
    units: Units


class Order(Value):
    """One order. Units exist from acceptance on and are numbered by line; the sets below only grow."""

    order_id: str
    channel: str
    owner: str  # of its holds
    client: str  # who posted it
    content: Content
    accepted_at: datetime
    urgent_mark: bool = False
    raised: bool = False
    alike: str | None = (
        None  # channel and fingerprint of its content when it was placed: equal for orders of equal content
    )
    duplicate_of: str | None = None
    holds: tuple[Hold, ...] = ()
    approved: dict[str, Decimal] = field(default_factory=dict)  # review code -> total at its approval
    announced_at: datetime | None = None
    lines: tuple[OrderLine, ...] = ()  # as announced
    cancels: tuple[CancelRequest, ...] = ()
    delivered: Units = NO_UNITS
    cancelled: Units = NO_UNITS
    parcels_back: tuple[str, ...] = ()  # lost or returned; remembered, because Shipped may come later
    last_delivery_at: datetime | None = None
    ended: State | None = None
    ended_at: datetime | None = None

    @property
    def state(self) -> State:
        if self.ended is not None:
            return self.ended
        return State.HELD if self.announced_at is None else State.RECEIVED

    @property
    def express(self) -> bool:
        """Whether its events travel on the express lane whatever causes them."""
        return self.urgent_mark or self.raised

    @property
    def lane(self) -> bool | None:
        """For `Decision.express`: express orders stay express, others travel as their cause does."""
        return True if self.express else None

    @property
    def units(self) -> Units:
        """All units ever numbered."""
        parts = [line.units for line in self.lines] if self.lines else [line.units for line in self.content.live_lines]
        return Units.union(parts)

    def handed(self, parcels: Iterable[Parcel]) -> Units:
        """Units in a carrier's hands as far as intake knows; `parcels` are all that it knows of the order's."""
        out = Units.union(parcel.units for parcel in parcels if parcel.parcel_id not in self.parcels_back)
        return out - self.delivered

    @property
    def out(self) -> Units:
        """Units that have come to their end."""
        return self.delivered | self.cancelled

    @property
    def open_holds(self) -> tuple[Hold, ...]:
        return tuple([hold for hold in self.holds if hold.open])

    @property
    def attribute(self) -> str:
        """Classification by attribute (A7): regular or custom."""
        return "custom" if self.content.custom else "regular"

    @property
    def status(self) -> str:
        """Classification by status (A7): normal, pending_review (待审核), exceptional (something is missing, or goods
        were lost or came back)."""
        kinds = {hold.kind for hold in self.open_holds}
        if HoldKind.REVIEW in kinds:
            return "pending_review"
        back = bool(self.parcels_back) and self.ended is None
        return "exceptional" if HoldKind.NEEDS_INFO in kinds or back else "normal"

    def hold(self, hold_id: str) -> Hold | None:
        return next((hold for hold in self.holds if hold.hold_id == hold_id), None)

    def request(self, request_id: str) -> CancelRequest | None:
        return next((request for request in self.cancels if request.request_id == request_id), None)

    def chain(self, origin: str) -> tuple[CancelRequest, ...]:
        """A person's request and what followed it."""
        return tuple(request for request in self.cancels if request.origin == origin)

    def next_hold_id(self) -> str:
        return f"{self.order_id}-H{len(self.holds) + 1}"

    def next_request_id(self) -> str:
        return f"{self.order_id}-C{len(self.cancels) + 1}"

    def summary(self) -> HoldSummary:
        content = self.content
        return HoldSummary(
            channel=self.channel,
            placed_at=content.placed_at,
            lines=len(content.live_lines),
            quantity=content.quantity,
            total=content.amount if abs(content.amount) < AMOUNT_LIMIT else None,
            currency=content.currency,
            tags=content.tags,
        )


def received(order: Order) -> OrderReceived:
    """The announcement of a verified order; always the same for one order, whichever lane it takes."""
    content, customer = order.content, customer_of(order.content)
    if customer is None or content.placed_at is None or not order.lines:
        raise Illegal(f"{order.order_id} is announced before it is complete")
    return OrderReceived(
        order_id=order.order_id,
        received_at=order.accepted_at,
        brief=OrderBrief(
            channel=order.channel,
            placed_at=content.placed_at,
            currency=content.currency,
            partial_shipment=content.partial_shipment,
            carrier_preference=content.carrier_preference,
            tags=content.tags,
            customer=customer,
        ),
        lines=order.lines,
        total=content.amount,
        payment_state=content.payment_state,
        urgent_mark=order.urgent_mark,
        promise_by=content.promise_by,
    )


def held(order: Order, hold: Hold) -> OrderHeld:
    return OrderHeld(
        order_id=order.order_id,
        hold_id=hold.hold_id,
        kind=hold.kind,
        problems=(hold.problem,),
        owner=hold.owner,
        held_at=hold.held_at,
        due_at=hold.due_at,
        received_at=order.accepted_at,
        summary=order.summary(),
        customer=customer_of(order.content),
    )


def release(
    order: Order, hold: Hold, outcome: str, by: str, now: datetime, reason: str | None = None
) -> Decision[Order]:
    """End one open hold."""
    done = hold.put(outcome=outcome, released_by=by, released_at=now, reason=reason)
    holds = tuple(done if other.hold_id == hold.hold_id else other for other in order.holds)
    event = OrderHoldReleased(
        order_id=order.order_id, hold_id=hold.hold_id, kind=hold.kind, outcome=outcome, released_by=by, released_at=now
    )
    return Decision(order.put(holds=holds), events=(event,), express=order.lane)


def release_all(order: Order, outcome: str, by: str, now: datetime) -> Decision[Order]:
    """End every open hold alike."""
    decision: Decision[Order] = Decision(order, express=order.lane)
    for hold in order.open_holds:
        decision = decision.and_then(release(decision.state, hold, outcome, by, now))
    return decision


def end(order: Order, ended: State, event: Event, now: datetime) -> Decision[Order]:
    """The terminal event of an order: nothing starts after it."""
    state = order.put(ended=ended, ended_at=now)
    return Decision(state, events=(event,), timers=(CancelTimer(CONFIRM, order.order_id),), express=order.lane)
