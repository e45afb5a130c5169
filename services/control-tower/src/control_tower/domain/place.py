"""A card's place on the board: stage, deadline, light and what somebody should look at, all from its facts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from msgspec import field

from control_tower.domain.card import Breach, Card, Hold, Light
from expedite_events import Stage, Units, Value

STAGES = {stage.value: stage for stage in Stage}
ORDER = {name: place for place, name in enumerate(STAGES)}


class Problem(Value, omit_defaults=False):
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
    body: dict[str, Any] = field(default_factory=dict)  # sent with the reason, when the action takes one
    takes_reason: bool = True


def placed(card: Card) -> Card:
    """The card in its place: stage, deadline and light of its facts as they are now, with its next revision. To be called
    once after any number of folds; whoever reads the place reads a card that was placed."""
    stage = stage_of(card)
    return card.put(stage=stage, light=_light(card, stage), deadline=_deadline(card, stage), revision=card.revision + 1)


def stage_of(card: Card) -> str:
    """Where the order is: its first stage that is not done for every live unit."""
    if card.ended:
        return card.ended
    if card.received_at is None or card.open_holds:
        return Stage.AUDIT.value
    live = card.live
    # What was shipped was packed, and what was packed was reserved: the last of these that is done answers for the others.
    if _covers(card.shipped, live):
        return Stage.CONFIRM.value if _covers(card.delivered, live) else Stage.TRACK.value
    if _covers(card.packed, live):
        return Stage.SHIP.value
    return Stage.PREPARE.value if _covers(card.reserved, live) else Stage.STOCK_LOCK.value


def _covers(done: Units, live: Units) -> bool:
    return done == live or live <= done


def _light(card: Card, stage: str) -> Light:
    if card.ended or stage == Stage.CONFIRM.value:
        return Light.GREEN
    suspicious = (
        card.breaches or card.holds or card.backordered or [p for p in card.parcels.values() if p.gone or p.delayed]
    )
    return Light.RED if suspicious and next(problems_of(card.put(stage=stage)), None) else Light.YELLOW


def _deadline(card: Card, stage: str) -> datetime | None:
    if card.ended:
        return None
    if holds := card.open_holds:
        return min((h.due_at for h in holds if h.due_at), default=None)
    if card.urgency is None:
        return None
    return card.urgency.deadlines.get(STAGES[stage], card.urgency.promise_by)


def open_breaches(card: Card) -> list[Breach]:
    """Breaches of stages the order has not passed yet."""
    if card.ended:
        return []
    here = ORDER[card.stage]
    return [b for b in card.breaches.values() if ORDER[b.stage.value] >= here]


def problems_of(card: Card) -> Iterator[Problem]:
    """The open problems of a card, worst first."""
    if card.ended:
        return
    for breach in sorted(open_breaches(card), key=lambda b: -b.level):
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
    if card.backordered and (waiting := card.backordered - card.reserved - card.cancelled):
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


class StageMark(Value, omit_defaults=False):
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
