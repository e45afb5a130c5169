"""Goods that come in or are counted: opening stock, receipts, cycle counts (D5, D11). Booked once per reference."""

from __future__ import annotations

from datetime import datetime

from expedite_events import Value
from inventory.domain.stock import Because, Bucket, StockBook


class BookingLine(Value):
    """What one line of a booking did to a shelf. `quantity` pieces became free; `corrected` is the signed difference
    between what was found and what was in count."""

    sku: str
    warehouse_id: str
    quantity: int
    corrected: int = 0


class Booking(Value):
    """A booking that was made. `reference` is the caller's; with `kind` it makes the booking happen once for ever."""

    kind: str  # opening, receipt, count
    reference: str
    lines: tuple[BookingLine, ...]
    digest: str  # of what was asked, to refuse another content under the same reference
    reason: str | None = None
    by: str
    at: datetime


class NothingToCount(Exception):
    """The shelf has no goods in count: there is nothing this count could resolve."""


def book_in(stock: StockBook, because: Because, lines: tuple[BookingLine, ...]) -> None:
    """New goods are on the shelf, free."""
    for line in lines:
        stock.shift(because, line.sku, line.warehouse_id, {Bucket.BOOKED: line.quantity, Bucket.FREE: line.quantity})


def count(stock: StockBook, because: Because, sku: str, warehouse_id: str, found: int) -> BookingLine:
    """A person counted what was in count: the found pieces are free again, the difference corrects the books. Raises
    `NothingToCount`."""
    doubtful = stock.count(sku, warehouse_id, Bucket.IN_COUNT)
    if doubtful == 0:
        raise NothingToCount(f"{sku} in {warehouse_id} has nothing in count")
    changes = {Bucket.IN_COUNT: -doubtful, Bucket.FREE: found, Bucket.BOOKED: found - doubtful}
    stock.shift(because, sku, warehouse_id, {b: n for b, n in changes.items() if n})
    return BookingLine(sku=sku, warehouse_id=warehouse_id, quantity=found, corrected=found - doubtful)
