"""What the API shows. Lists answer rows; one parcel answers everything that is known of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Query, Response
from msgspec.structs import asdict
from pydantic import BaseModel, ConfigDict, Field

from expedite_chassis import Flag, Names, Price
from expedite_events import Tier, UnitRange, to_json
from expedite_events.base import Moment
from expedite_events.contract import model_of
from shipping.domain.desk import Carrier
from shipping.domain.state import Breach, Checkpoint, End, Label, LabelState, OrderLeg, Parcel, Station
from shipping.store import ON_DOCK, ParcelRow, ParcelStatus, TrackingDelivery, status_of

# Control characters are refused: PostgreSQL cannot keep NUL, and the others only ever come from a broken scanner.
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
Id = Annotated[str, Path(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:@-]+$")]
Action = Literal["hand_over", "put_back", "wait"]
ActionQuery = Annotated[Action | None, Query(description="Only parcels that ask for this.")]
Limit = Annotated[int, Query(ge=1, le=500)]
PlaceQuery = Annotated[str | None, Query(max_length=300, pattern=r"^[A-Za-z0-9._:@|~-]+$")]
LAST = "\x7f"  # sorts behind every place of a list
IdQuery = Annotated[str | None, Query(max_length=128, pattern=r"^[A-Za-z0-9._:@-]+$")]


class Body(BaseModel):
    """A request body: unknown fields are refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid")


class By(Body):
    """Who did it."""

    by: Name


class HandOver(By):
    """`scanned`: the code read from the label; checked against the parcel's tracking number."""

    scanned: Annotated[str, Field(max_length=128)] | None = None


class HandOvers(By):
    """Parcels loaded onto a truck in one go."""

    parcel_ids: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f]+$")]],
        Field(min_length=1, max_length=500),
    ]


class Returned(By):
    """A parcel that came back from its carrier."""

    reason: Name = "came back to the warehouse"


class ServiceBody(Body):
    """A service a carrier sells. Transit is door to door in real hours of the business clock; no countries: everywhere."""

    code: Name
    name: Name
    transit_hours: Annotated[int, Field(ge=0, le=8760, strict=True)]
    base_price: Price
    price_per_kg: Price
    countries: Annotated[tuple[Annotated[str, Field(pattern=r"^[A-Z]{2}$")], ...], Field(max_length=300)] = ()


class CarrierBody(Body):
    """A carrier as its planner describes it."""

    name: Name
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s?#@\\]+$", max_length=500)]
    webhook_format: Annotated[str, Field(pattern=r"^(native|easypost)$")] = "native"
    services: Annotated[tuple[ServiceBody, ...], Field(max_length=100)] = ()
    reliability: Annotated[float, Field(ge=0, le=1, strict=True)] = 1.0
    names: Names = Field(default_factory=dict)
    active: Flag = True
    batch: Annotated[Flag, Field(description="false: its API takes one request at a time")] = True


class DockItem(model_of(ParcelRow)):  # type: ignore[misc]
    """A parcel on the dock and what to do with it: hand_over, put_back, or wait."""

    action: Action


class DockList(BaseModel):
    items: list[DockItem]
    next: str | None = None


class ManifestItem(BaseModel):
    """A parcel in the carrier's hands."""

    parcel_id: str
    tracking_number: str
    handed_at: Moment
    expected_at: Moment


class Manifest(BaseModel):
    """`now` is the business time of the answer, for clients that follow it."""

    items: list[ManifestItem]
    next: str | None = None
    now: Moment


class ParcelList(BaseModel):
    """`now` is the business time of the answer, for clients that follow it."""

    items: list[ParcelRow]
    next: str | None = None
    now: Moment


class ParcelView(BaseModel):
    """Everything about one parcel."""

    parcel_id: str
    order_id: str
    fulfilment_order_id: str
    warehouse_id: str
    status: ParcelStatus
    station: Station
    end: End | None
    tier: Tier
    deadline: Moment
    promise_by: Moment
    box: str
    weight_g: int
    valuable: bool
    packed_by: str
    packed_at: Moment
    units: list[UnitRange]
    to_put_back: list[UnitRange]
    put_back: list[UnitRange]
    label_state: LabelState
    label: Label | None
    chosen_because: str | None
    tracking_status: str | None
    tracking: list[Checkpoint]
    expected_at: Moment | None
    handed_at: Moment | None
    handed_by: str | None
    ended_at: Moment | None
    cause: str | None
    signed_by: str | None
    holds: list[str]
    breaches: list[Breach]
    problem: str | None


class ParcelViews(BaseModel):
    items: list[ParcelView]
    next: str | None = None


class Outcome(BaseModel):
    """What a person's word led to. `changed=False`: it was done before."""

    parcel_id: str
    status: ParcelStatus
    changed: bool


class HandOverResult(BaseModel):
    """One parcel of a bulk hand-over: `outcome` is handed, already or refused, with code and reason."""

    parcel_id: str
    outcome: str
    code: str | None = None
    reason: str | None = None


class HandOverResults(BaseModel):
    results: list[HandOverResult]


class CarrierList(BaseModel):
    items: list[Carrier]
    next: str | None = None


class DeliveryList(BaseModel):
    items: list[TrackingDelivery]
    next: str | None = None


OF_PARCEL = ("get_parcel", "hand_over", "put_back", "parcel_returned", "retry_label", "label_zpl", "label_pdf")


def parcel_links(pointer: str) -> dict[int | str, dict[str, Any]]:
    """`responses` with links to what can be done with the parcel whose id stands at the pointer."""
    links = {
        name: {"operationId": name, "parameters": {"parcel_id": f"$response.body#{pointer}"}} for name in OF_PARCEL
    }
    return {200: {"links": links}}


class Receipt(BaseModel):
    """The answer to a webhook."""

    delivery_id: str
    state: str
    duplicate: bool


ACTIONS: dict[ParcelStatus, Action] = {ParcelStatus.READY: "hand_over", ParcelStatus.PUT_BACK: "put_back"}


def asking_for(action: Action) -> list[str]:
    """The statuses on the dock that ask for an action."""
    return [status.value for status in ON_DOCK if ACTIONS.get(status, "wait") == action]


def dock_item(row: ParcelRow) -> dict[str, Any]:
    """`DockItem`: a row with its action."""
    item = asdict(row)
    item["action"] = ACTIONS.get(row.status, "wait")
    return item


def manifest_item(row: ParcelRow) -> dict[str, Any]:
    """`ManifestItem`: what the carrier must know of a parcel it has."""
    return {
        "parcel_id": row.parcel_id, "tracking_number": row.tracking_number, "handed_at": row.handed_at,
        "expected_at": row.expected_at,
    }  # fmt: skip


def rest_of_place(place: str | None) -> str | None:
    """A place without the name of its list: what goes on from there begins behind it."""
    return place.partition("|")[2] if place else None


def answered(**body: Any) -> Response:
    """A long answer of plain fields, written in one go: lists are read for every parcel. Its model is documentation."""
    return Response(to_json(body), media_type="application/json")


def outcome(leg: OrderLeg, parcel_id: str, changed: bool) -> Outcome:
    """The state of a parcel after a decision."""
    parcel = leg.parcel(parcel_id)
    if parcel is None:
        raise LookupError(f"{leg.order_id} has no parcel {parcel_id}")
    return Outcome(parcel_id=parcel_id, status=status_of(leg, parcel), changed=changed)


def view(leg: OrderLeg, parcel: Parcel) -> ParcelView:
    """One parcel in full."""
    urgency, shown = leg.urgency_known(), parcel.tracking.shown
    same: dict[str, Any] = {
        name: getattr(parcel, name)
        for name in (
            "parcel_id", "fulfilment_order_id", "warehouse_id", "station", "end", "box", "weight_g", "valuable",
            "packed_by", "packed_at", "label_state", "label", "expected_at", "handed_at", "handed_by", "ended_at",
            "cause", "signed_by", "problem",
        )
    }  # fmt: skip
    return ParcelView(
        **same, order_id=leg.order_id, status=status_of(leg, parcel), tier=urgency.tier, deadline=leg.deadline(),
        promise_by=urgency.promise_by, units=list(parcel.packed.ranges), to_put_back=list(parcel.held_back.ranges),
        put_back=list(parcel.put_back.ranges), chosen_because=parcel.label.chosen_because if parcel.label else None,
        tracking_status=shown.status if shown else None, tracking=list(parcel.tracking.checkpoints),
        holds=list(leg.holds), breaches=list(leg.breaches),
    )  # fmt: skip
