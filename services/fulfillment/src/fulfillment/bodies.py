"""What people, scanners and conveyors send. Unknown fields are refused, so that a misspelt one is never ignored."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from expedite_events import Units

Person = Annotated[str, Field(min_length=1, max_length=64, description="Person id, or the name of a conveyor")]
Code = Annotated[str, Field(min_length=1, max_length=128)]
Token = Annotated[str, Field(min_length=8, max_length=64)]
Pieces = Annotated[int, Field(ge=1, le=100_000)]
Counted = Annotated[int, Field(ge=0, le=100_000)]
LineNumber = Annotated[int, Field(ge=1, le=1_000_000)]


class Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class By(Body):
    """A write that needs nothing but the name of who does it."""

    by: Person


class ClaimBody(By):
    take_over: bool = False


class Coded(Body):
    """Goods named by barcode or by SKU: one of the two."""

    barcode: Code | None = None
    sku: Code | None = None

    @model_validator(mode="after")
    def _one_name(self) -> Coded:
        if (self.barcode is None) == (self.sku is None):
            raise ValueError("name the goods by barcode or by sku: one of them")
        return self

    @property
    def code(self) -> str:
        return self.barcode or self.sku or ""


class ScanBody(Coded):
    """`scan_id` makes a repeated scan recognisable: send the same one when the answer was lost."""

    quantity: Pieces = 1
    scan_id: Token | None = None


class ScansBody(By):
    scans: Annotated[tuple[ScanBody, ...], Field(min_length=1, max_length=500)]


class BulkRow(ScanBody):
    """One confirmation of a conveyor or warehouse control system."""

    fulfilment_order_id: Annotated[str, Field(min_length=1, max_length=100)]
    by: Person


BulkBody = Annotated[list[BulkRow], Field(min_length=1, max_length=500)]


class ShortLine(Body):
    line: LineNumber
    quantity: Pieces


class ShortBody(By):
    lines: Annotated[tuple[ShortLine, ...], Field(min_length=1, max_length=500)]
    reason: Annotated[str, Field(min_length=1, max_length=300)]
    report_id: Token | None = None


class PackBody(By):
    box: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    weight_g: Annotated[int, Field(ge=0, le=5_000_000)] | None = None
    units: Units | None = None


class CountedLine(Body):
    line: LineNumber
    quantity: Counted


class CountBody(By):
    """A dispatch or a receipt of a transfer. Without `lines` everything was there; with them, what they do not name was
    not."""

    lines: Annotated[tuple[CountedLine, ...], Field(max_length=500)] | None = None


class ReceiptLineBody(Coded):
    quantity: Annotated[int, Field(ge=1, le=1_000_000)]


class ReceiptBody(By):
    receipt_id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\w.:/-]+$")]
    warehouse_id: Annotated[str, Field(min_length=1, max_length=64)]
    lines: Annotated[tuple[ReceiptLineBody, ...], Field(min_length=1, max_length=500)]
