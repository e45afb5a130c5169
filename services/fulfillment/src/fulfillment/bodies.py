"""What people, scanners and conveyors send. Unknown fields are refused, so that a misspelt one is never ignored."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from expedite_chassis import Flag
from expedite_events import Units

Person = Annotated[str, Field(min_length=1, max_length=64, description="Person id, or the name of a conveyor")]
Code = Annotated[str, Field(min_length=1, max_length=128)]
Token = Annotated[str, Field(min_length=8, max_length=64)]
Pieces = Annotated[int, Field(ge=1, le=100_000, strict=True)]
Counted = Annotated[int, Field(ge=0, le=100_000, strict=True)]
Box = Annotated[str, Field(min_length=1, max_length=40)]
Grams = Annotated[int, Field(ge=0, le=5_000_000, strict=True)]
LineNumber = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]


class Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class By(Body):
    """A write that needs nothing but the name of who does it."""

    by: Person


class ClaimBody(By):
    take_over: Flag = False


def _named(one: str, other: str) -> dict[str, Any]:
    return {"required": [one], "properties": {one: {"type": "string"}, other: {"type": "null"}}}


class Coded(Body):
    """Goods named by barcode or by SKU: one of the two."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [_named("barcode", "sku"), _named("sku", "barcode")]})

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


class ShortLine(Body):
    line: LineNumber
    quantity: Pieces


class ShortBody(By):
    lines: Annotated[tuple[ShortLine, ...], Field(min_length=1, max_length=500)]
    reason: Annotated[str, Field(min_length=1, max_length=300)]
    report_id: Token | None = None


class Span(Body):
    """Units `first` to `last` of a line, both included."""

    line: LineNumber
    first: LineNumber
    last: LineNumber

    @model_validator(mode="after")
    def _forward(self) -> Span:
        if self.last < self.first:
            raise ValueError("a range of units ends at or after its first one")
        return self


class PackBody(By):
    box: Box | None = None
    weight_g: Grams | None = None
    spans: Annotated[tuple[Span, ...] | None, Field(alias="units", max_length=2000)] = None

    @property
    def units(self) -> Units | None:
        """The units to pack; None: all that is picked."""
        return None if self.spans is None else Units((s.line, s.first, s.last) for s in self.spans)


class KnownScan(ScanBody):
    """A scan that is recognised when it is sent again."""

    scan_id: Token


class Wrapped(Body):
    """How the goods are packed; what is not named is worked out."""

    box: Box | None = None
    weight_g: Grams | None = None


class Confirmation(By):
    """What was done with one fulfilment order: pieces picked and, with `pack`, put into a parcel."""

    fulfilment_order_id: Annotated[str, Field(min_length=1, max_length=100)]
    scans: Annotated[tuple[KnownScan, ...], Field(max_length=500)] = ()
    pack: Wrapped | None = Field(
        default=None, description="Pack all that is picked: {} lets box and weight be worked out"
    )

    @model_validator(mode="after")
    def _something(self) -> Confirmation:
        if not self.scans and self.pack is None:
            raise ValueError("confirm scans, or pack, or both")
        return self


class ConfirmationsBody(Body):
    confirmations: Annotated[tuple[Confirmation, ...], Field(min_length=1, max_length=500)]


class CountedLine(Body):
    line: LineNumber
    quantity: Counted


class CountBody(By):
    """A dispatch or a receipt of a transfer. Without `lines` everything was there; with them, what they do not name was
    not."""

    lines: Annotated[tuple[CountedLine, ...], Field(max_length=500)] | None = None


class ReceiptLineBody(Coded):
    quantity: Annotated[int, Field(ge=1, le=1_000_000, strict=True)]


class ReceiptBody(By):
    receipt_id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:/-]+$")]
    warehouse_id: Annotated[str, Field(min_length=1, max_length=64)]
    lines: Annotated[tuple[ReceiptLineBody, ...], Field(min_length=1, max_length=500)]
