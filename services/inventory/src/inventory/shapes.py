"""Bodies of the API, in and out."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from expedite_chassis import Flag, Names
from expedite_events import Address, CutOff, ProductChanged, Settled, Units, Urgency, WarehouseChanged
from expedite_events.base import Moment
from inventory.domain.order import Ask, FulfilmentOrder, Order, Segment, Transfer
from inventory.domain.sourcing import zone_of
from inventory.domain.stock import Shelf

T = TypeVar("T")

Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\s|/\x00-\x1f\x7f]+$")]
Pieces = Annotated[int, Field(ge=0, le=10_000_000, strict=True)]
Measure = Annotated[int, Field(ge=0, le=1_000_000_000, strict=True)]
Code = Annotated[str, Field(min_length=1, max_length=128)]
TimeOfDay = Annotated[str, Field(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]


Line = Annotated[str, Field(max_length=200)]


def _day(text: str) -> str:
    date.fromisoformat(text)
    return text


Day = Annotated[
    str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", json_schema_extra={"format": "date"}), AfterValidator(_day)
]


def _zone(name: str) -> str:
    if zone_of(name) is None:
        raise ValueError("must be an IANA time zone such as Europe/London")
    return name


class Body(BaseModel):
    """A request body; unknown fields are refused so that a typo is not silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProductBody(Body):
    """A product. Sizes in millimetres, weight in grams. The SKU is that of the path; if the body repeats it, it must be
    the same."""

    sku: Id | None = None
    name: Annotated[str, Field(min_length=1, max_length=300)]
    names: Names = Field(default_factory=dict)
    barcodes: Annotated[tuple[Code, ...], Field(max_length=100)] = ()
    length_mm: Measure = 0
    width_mm: Measure = 0
    height_mm: Measure = 0
    weight_g: Measure = 0
    product_class: Annotated[str, Field(min_length=1, max_length=40)] = "standard"
    unit_price: Annotated[str, Field(pattern=r"^[0-9]{1,10}(\.[0-9]{1,4})?$")] | None = None
    active: Flag = True

    def snapshot(self, sku: str) -> ProductChanged:
        return ProductChanged(**(dict(self) | {"sku": sku}))


class ProductRow(ProductBody):
    """A product of a bulk load."""

    sku: Id


class AddressBody(Body):
    """Where a warehouse is. `country` is ISO 3166-1 alpha-2."""

    line1: Line
    line2: Line | None = None
    city: Line
    region: Line | None = None
    postcode: Line | None = None
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")]


class CutOffBody(Body):
    """The last local time of day at which a carrier takes parcels."""

    carrier_id: Id
    local_time: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class WarehouseBody(Body):
    """A warehouse. Times are local `HH:MM`; `serves` are the countries it is nearest to. The id is that of the path; if
    the body repeats it, it must be the same."""

    warehouse_id: Id | None = None
    name: Annotated[str, Field(min_length=1, max_length=200)]
    address: AddressBody
    time_zone: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_zone)]
    opens: TimeOfDay = "08:00"
    closes: TimeOfDay = "18:00"
    working_days: Annotated[tuple[Annotated[int, Field(ge=0, le=6, strict=True)], ...], Field(max_length=7)] = (
        0, 1, 2, 3, 4,
    )  # fmt: skip
    holidays: Annotated[tuple[Day, ...], Field(max_length=1000)] = ()
    cut_offs: Annotated[tuple[CutOffBody, ...], Field(max_length=100)] = ()
    serves: Annotated[tuple[Annotated[str, Field(pattern=r"^[A-Z]{2}$")], ...], Field(max_length=300)] = ()
    active: Flag = True

    def snapshot(self, warehouse_id: str) -> WarehouseChanged:
        said = dict(self) | {"warehouse_id": warehouse_id, "address": Address(**dict(self.address))}
        said["cut_offs"] = tuple(CutOff(**dict(cut_off)) for cut_off in self.cut_offs)
        return WarehouseChanged(**said)


class OpeningLine(Body):
    sku: Id
    warehouse_id: Id
    quantity: Annotated[int, Field(ge=1, le=10_000_000, strict=True)]


class OpeningBody(Body):
    """Stock that is there when the system starts, or found outside a receipt. The same `reference` books once."""

    lines: Annotated[tuple[OpeningLine, ...], Field(min_length=1, max_length=10_000)]
    reason: Annotated[str, Field(min_length=1, max_length=300)]
    reference: Annotated[str, Field(min_length=1, max_length=100)]


class CountBody(Body):
    """What a person found of the goods in count of one shelf (D11)."""

    sku: Id
    warehouse_id: Id
    found: Pieces
    reference: Annotated[str, Field(min_length=1, max_length=100)]
    reason: Annotated[str, Field(max_length=300)] | None = None


class Changed(BaseModel):
    """How many snapshots were announced and how many were the same as before."""

    changed: int
    unchanged: int


class Page(BaseModel, Generic[T]):
    """A page of a list; `next` is the cursor of the following one."""

    items: list[T]
    next: str | None = None


class StockRow(BaseModel):
    """One SKU in one warehouse. `available` is free minus backordered and may be negative (D5)."""

    sku: str
    warehouse_id: str
    on_hand: int
    free: int
    allocated: int
    leaving: int
    in_transit: int
    in_count: int
    quality_check: int
    out: int
    lost: int
    backordered: int
    available: int

    @classmethod
    def of(cls, shelf: Shelf) -> StockRow:
        return cls(**{name: getattr(shelf, name) for name in cls.model_fields})


class Allocation(BaseModel):
    """Where every unit of an order is and why it is served like that (D3)."""

    order_id: str
    urgency: Urgency | None
    segments: tuple[Segment, ...]
    fulfilment_orders: tuple[FulfilmentOrder, ...]
    transfers: tuple[Transfer, ...]
    cancel_requests: tuple[Ask, ...]
    settled: tuple[Settled, ...]
    holds: tuple[str, ...]
    ended: str | None
    sourced: tuple[str, ...]
    backorder_estimate: Moment | None
    units: Units

    @classmethod
    def of(cls, order: Order) -> Allocation:
        return cls(
            order_id=order.order_id,
            urgency=order.content.urgency if order.content else None,
            segments=order.segments,
            fulfilment_orders=order.fulfilment_orders,
            transfers=order.transfers,
            cancel_requests=order.asks,
            settled=order.settled,
            holds=order.holds,
            ended=order.ended,
            sourced=order.sourced,
            backorder_estimate=order.backorder_estimate,
            units=order.known,
        )
