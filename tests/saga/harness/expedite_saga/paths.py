"""What a run of some hundred seeds meets for sure; a path nobody takes proves nothing."""

from __future__ import annotations

from collections.abc import Mapping

# What happens to messages and processes.
TROUBLE = (
    "later events first", "topics that came late", "consumers that fell behind", "redeliveries", "acknowledgements lost",
    "old messages again", "events sent again", "died between sending and deleting", "died between effect and conclusion",
    "died while somebody asked", "died after its work", "died before inbox", "died before lock", "died before fetch",
    "died before find", "died before save", "died before add", "died before emit", "died before timers",
    "died before effects", "died before close", "died before take_timers", "died before take_effects", "died before commit",
    "died before what follows its commit", "killed while idle", "effects that failed once", "effects performed twice",
    "timers fired", "scanners that came late", "late scanners of cancelled timers", "transactions run again",
    "requests decided again", "requests repeated", "answers for a key compared", "polls of several handlers",
    "transactions with several topics",
)  # fmt: skip

# What people, crews and carriers do, and what comes of it.
PEOPLE = (
    "orders by native", "orders by bulk", "orders by shopify", "orders by woocommerce", "orders that look like another",
    "orders cancelled before they were told", "orders repeated late", "orders amended", "amendments refused",
    "reviews of custom_work", "reviews of suspected_duplicate", "reviews of high_value", "payments told by a shop",
    "cancels by a shop", "cancels refused at once", "requests refused", "quantity cancels that asked for others",
    "cancelled by fulfillment", "cancelled by inventory", "cancelled by shipping", "raised", "lowered", "receipts", "counts",
    "claimed", "confirmed in bulk", "put-backs", "dock put-backs", "transfers with differences", "scans told late",
    "scans of parcels on the dock", "webhooks again", "webhooks that overtake others", "forged webhooks refused",
    "express on a twin topic", "requests answered yes", "requests answered no",
    "CancelRefused", "DeliveryDelayed", "OrderBackordered", "OrderCancelled", "OrderClosed", "OrderHeld", "OrderHoldReleased",
    "ParcelReturned", "PickShort", "RaiseRequested", "SLABreached", "ShipmentLost", "StockShort", "TransferReceived",
)  # fmt: skip

PATHS = (*TROUBLE, *PEOPLE)
ENOUGH_SEEDS = 100  # fewer may miss some


def missed(met: Mapping[str, int]) -> list[str]:
    """Paths that were not taken."""
    return [path for path in PATHS if not met.get(path)]
