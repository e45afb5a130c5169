"""Master data that inventory owns: products and warehouses. The stored document is the last event announced."""

from __future__ import annotations

from typing import TypeVar

from expedite_events import Decision, Outcome, ProductChanged, WarehouseChanged

M = TypeVar("M", ProductChanged, WarehouseChanged)


def change(before: M | None, wanted: M) -> Decision[M]:
    """Announce the snapshot with the next revision when its content differs from the last one; else nothing."""
    revision = before.revision if before else 0
    if before is not None and before == wanted.put(revision=revision):
        return Decision(before, outcome=Outcome.ALREADY_DONE)
    after = wanted.put(revision=revision + 1)
    return Decision(after, (after,))
