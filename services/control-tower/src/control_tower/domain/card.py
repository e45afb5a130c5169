"""The board's card of one order: facts from events, and what follows from them.

Topics have no common order, so the card keeps *facts*, each set by the one event that knows it, and derives stage, light
and problems from all of them. The same events in any order give the same card.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from expedite_events import NO_UNITS, Stage, Units, Urgency, Value


class Light(StrEnum):
    """The board's colours; never shown by colour alone (H1)."""

    GREEN = "green"  # done
    YELLOW = "yellow"  # in progress
    RED = "red"  # exception: somebody must act


ENDED = ("closed", "cancelled")


class Hold(Value):
    hold_id: str
    kind: str
    owner: str = ""
    since: datetime
    due_at: datetime | None = None
    text: str = ""
    released_at: datetime | None = None
    released_by: str = ""


class Pick(Value):
    """A fulfilment order: what is to be picked, and which of it went back to inventory."""

    fulfilment_order_id: str
    warehouse_id: str = ""
    units: Units = NO_UNITS
    back: Units = NO_UNITS
    at: datetime | None = None


class Parcel(Value):
    parcel_id: str
    warehouse_id: str = ""
    units: Units = NO_UNITS
    packed_at: datetime | None = None
    packed_by: str = ""
    shipped_at: datetime | None = None
    carrier: str = ""
    service: str = ""
    tracking_number: str = ""
    expected_at: datetime | None = None
    status: str = ""
    status_at: datetime | None = None
    delayed: str = ""
    delivered_at: datetime | None = None
    signed_by: str = ""
    gone: str = ""  # lost, returned
    gone_at: datetime | None = None


class Transfer(Value):
    transfer_id: str
    from_warehouse: str = ""
    to_warehouse: str = ""
    units: Units = NO_UNITS
    requested_at: datetime | None = None
    dispatched_at: datetime | None = None
    received_at: datetime | None = None


class Breach(Value):
    subject: str
    stage: Stage
    level: int
    owner: str
    due_at: datetime
    at: datetime


class CancelAsk(Value):
    request_id: str
    units: Units = NO_UNITS
    at: datetime | None = None
    cancelled: Units = NO_UNITS
    refused: Units = NO_UNITS


class Problem(Value):
    """Something a person should look at, with the action that helps. `service` and `path` name the owner's API that
    the button calls; empty when looking is all that can be done."""

    kind: str
    text: str
    since: datetime | None = None
    due_at: datetime | None = None
    owner: str = ""
    action: str = ""
    service: str = ""
    method: str = "POST"
    path: str = ""
    body: dict[str, Any] = Field(default_factory=dict)  # sent with the reason, when the action takes one
    takes_reason: bool = True


class Card(Value):
    """All facts about one order."""

    order_id: str
    channel: str = ""
    customer: str = ""
    country: str = ""
    tags: tuple[str, ...] = ()
    total: str = ""
    currency: str = ""
    first_heard_at: datetime | None = None
    received_at: datetime | None = None
    units: Units = NO_UNITS
    urgency: Urgency | None = None
    reasons: tuple[str, ...] = ()
    holds: dict[str, Hold] = Field(default_factory=dict)
    picks: dict[str, Pick] = Field(default_factory=dict)
    parcels: dict[str, Parcel] = Field(default_factory=dict)
    transfers: dict[str, Transfer] = Field(default_factory=dict)
    asks: dict[str, CancelAsk] = Field(default_factory=dict)
    breaches: dict[str, Breach] = Field(default_factory=dict)
    short: Units = NO_UNITS
    backordered: Units = NO_UNITS
    backorder_estimate: datetime | None = None
    cancelled: Units = NO_UNITS
    ended: str | None = None
    ended_at: datetime | None = None
    changed_at: datetime | None = None  # real time of the last change, set by the shell: the live feed's cursor
    revision: int = 0
    published: int = 0  # revision of the newest OrderState

    # What follows from the facts

    @property
    def live(self) -> Units:
        """Units that shall reach the customer."""
        return self.units - self.cancelled

    @property
    def delivered(self) -> Units:
        return Units.union(p.units for p in self.parcels.values() if p.delivered_at) - self.cancelled

    @property
    def packed(self) -> Units:
        """Units in parcels that are not gone."""
        return Units.union(p.units for p in self.parcels.values() if not p.gone) - self.cancelled

    @property
    def shipped(self) -> Units:
        under_way = (p for p in self.parcels.values() if not p.gone and (p.shipped_at or p.delivered_at))
        return Units.union(p.units for p in under_way) - self.cancelled

    @property
    def reserved(self) -> Units:
        return (Units.union(p.units - p.back for p in self.picks.values()) | self.packed) - self.cancelled

    @property
    def open_holds(self) -> list[Hold]:
        return [h for h in self.holds.values() if h.released_at is None]

    @property
    def stage(self) -> str:
        """Where the order is: its first stage that is not done for every live unit."""
        if self.ended:
            return self.ended
        if self.open_holds or self.received_at is None:
            return Stage.AUDIT.value
        live = self.live
        for stage, done in (
            (Stage.STOCK_LOCK, self.reserved),
            (Stage.PREPARE, self.packed),
            (Stage.SHIP, self.shipped),
            (Stage.TRACK, self.delivered),
        ):
            if not live <= done:
                return stage.value
        return Stage.CONFIRM.value

    @property
    def open_breaches(self) -> list[Breach]:
        """Breaches of stages the order has not passed yet."""
        if self.ended:
            return []
        order = [s.value for s in Stage]
        here = order.index(self.stage)
        return [b for b in self.breaches.values() if order.index(b.stage.value) >= here]

    @property
    def deadline(self) -> datetime | None:
        """By when the present stage must be done: the next moment that matters."""
        if self.ended:
            return None
        if self.open_holds:
            return min((h.due_at for h in self.open_holds if h.due_at), default=None)
        if self.urgency is None:
            return None
        return self.urgency.deadlines.get(Stage(self.stage), self.urgency.promise_by)

    @property
    def promise_by(self) -> datetime | None:
        return self.urgency.promise_by if self.urgency else None

    @property
    def tier(self) -> str | None:
        return self.urgency.tier.value if self.urgency else None

    @property
    def tier_rank(self) -> int:
        return self.urgency.tier.rank if self.urgency else 2

    @property
    def is_open(self) -> bool:
        return self.ended is None

    @property
    def needs_publishing(self) -> bool:
        return self.revision > self.published

    @property
    def light(self) -> Light:
        if self.ended or self.stage == Stage.CONFIRM.value:
            return Light.GREEN
        return Light.RED if self.problems else Light.YELLOW

    @property
    def problems(self) -> list[Problem]:
        return list(problems_of(self))

    @property
    def search_text(self) -> str:
        """Lower-case text that the board's search looks in."""
        tracking = " ".join(p.tracking_number for p in self.parcels.values())
        return f"{self.order_id} {self.customer} {self.channel} {self.country} {' '.join(self.tags)} {tracking}".lower()


def problems_of(card: Card) -> Iterator[Problem]:
    """The open problems of a card, worst first."""
    if card.ended:
        return
    for breach in sorted(card.open_breaches, key=lambda b: -b.level):
        yield Problem(
            kind="breach", text=f"{breach.stage.value.replace('_', ' ')} is late (level {breach.level})", since=breach.at,
            due_at=breach.due_at, owner=breach.owner, action="Raise", service="prioritizer",
            path=f"/orders/{card.order_id}/raise",
        )  # fmt: skip
    for hold in card.open_holds:
        action, path, body = _hold_action(card.order_id, hold)
        yield Problem(
            kind=hold.kind, text=hold.text or hold.kind.replace("_", " "), since=hold.since, due_at=hold.due_at,
            owner=hold.owner, action=action, service="order-intake", path=path, body=body, takes_reason=not body,
        )  # fmt: skip
    waiting = card.backordered - card.reserved - card.cancelled
    if waiting:
        yield Problem(
            kind="backorder", text=f"{len(waiting)} pieces wait for stock", due_at=card.backorder_estimate,
            action="Cancel the missing pieces", service="order-intake", path=f"/orders/{card.order_id}/cancel",
            body={"units": waiting.to_json()},
        )  # fmt: skip
    for parcel in card.parcels.values():
        if parcel.gone and not parcel.units - card.cancelled <= card.reserved:
            yield Problem(kind=parcel.gone, text=f"parcel {parcel.parcel_id} was {parcel.gone}", since=parcel.gone_at)
        elif parcel.delayed and not parcel.delivered_at and not parcel.gone:
            yield Problem(
                kind="delayed", text=f"parcel {parcel.parcel_id} is late: {parcel.delayed}", due_at=parcel.expected_at
            )


def _hold_action(order_id: str, hold: Hold) -> tuple[str, str, dict[str, Any]]:
    """(label, path, body) of what ends a hold; what needs facts from a person has no path: the page only opens it."""
    if hold.kind == "review":
        return "Approve", f"/orders/{order_id}/holds/{hold.hold_id}/approve", {}
    if hold.kind == "unpaid":
        return "Payment arrived", f"/orders/{order_id}/payment", {"state": "paid"}
    return "Complete", "", {}


class StageMark(Value):
    """One stage on the order's line: "packed (Tom, 12:00)"."""

    stage: str
    state: str  # done, now, problem, todo
    at: datetime | None = None
    by: str = ""


def stage_marks(card: Card, owners: dict[str, str]) -> list[StageMark]:
    """Each stage with who is or was on it and since when (H1). `owners` names the person of each stage."""
    picks, parcels = list(card.picks.values()), list(card.parcels.values())
    released = [h for h in card.holds.values() if h.released_at]
    facts = {
        Stage.AUDIT: (card.received_at, released[-1].released_by if released else "order-intake"),
        Stage.STOCK_LOCK: (max((p.at for p in picks if p.at), default=None), ", ".join(sorted({p.warehouse_id for p in picks}))),
        Stage.PREPARE: (
            max((p.packed_at for p in parcels if p.packed_at), default=None),
            ", ".join(sorted({p.packed_by for p in parcels if p.packed_by})),
        ),
        Stage.SHIP: (
            max((p.shipped_at for p in parcels if p.shipped_at), default=None),
            ", ".join(sorted({p.carrier for p in parcels if p.carrier})),
        ),
        Stage.TRACK: (
            max((p.delivered_at for p in parcels if p.delivered_at), default=None),
            ", ".join(sorted({p.signed_by for p in parcels if p.signed_by})),
        ),
        Stage.CONFIRM: (card.ended_at, ""),
    }  # fmt: skip
    order = list(Stage)
    here = len(order) if card.ended == "closed" else (-1 if card.ended else order.index(Stage(card.stage)))
    marks = []
    for index, stage in enumerate(order):
        at, by = facts[stage]
        if index < here:
            marks.append(StageMark(stage=stage.value, state="done", at=at, by=by))
        elif index == here:
            state = "problem" if card.light is Light.RED else "now"
            marks.append(StageMark(stage=stage.value, state=state, by=owners.get(stage.value, "")))
        else:
            marks.append(StageMark(stage=stage.value, state="todo"))
    return marks
