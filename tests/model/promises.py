"""Every promise of the custody protocol: what it says, what it is for, and where the real handlers are held to it.

The model's checks are entered under the same names (`custody.checks`). `simulation` names the functions of the
simulation's harness that check the promise on the real handlers. `waits_for` names events that the handlers do not have
yet: until the catalogue has one of them there is nothing (more) to check there, and from then on a test demands it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    """One promise. `ids` are requirements and invariants; `simulation` are "module.function" of `expedite_saga`."""

    says: str
    ids: tuple[str, ...]
    simulation: tuple[str, ...]
    waits_for: tuple[str, ...] = ()


PROMISES: dict[str, Promise] = {
    "one custodian": Promise(
        "At any moment exactly one service, or an event on its way to it, holds a unit, and at the end its customer or nobody.",
        ("I2", "D10"), ("audit.at_any_time", "audit.every_order_has_ended"),
    ),
    "one end": Promise(
        "Each unit is delivered, cancelled or refunded: one of them, and every unit comes to one.",
        ("I2", "A8"), ("audit.every_order_has_ended",), ("RemedyChosen",),
    ),
    "only its custodian answers": Promise(
        "An answer about a unit comes from who has it; it is cancelled in one container at most.",
        ("A8",), ("promises.one_container_answers",),
    ),
    "each cancel is answered": Promise(
        "Every cancel request is answered per unit, and intake says what the custodians said.",
        ("A8",), ("audit.every_order_has_ended", "promises.intake_says_what_was_answered"),
    ),
    "standing cancels hold again": Promise(
        "A request for named units or the whole order is refused for good only by the parcel that arrives.",
        ("A8",), ("promises.refused_for_good_is_delivered",),
    ),
    "no more than asked": Promise(
        "Quantity cancels cancel at most what was asked of a line.",
        ("A8",), ("audit.every_order_has_ended",),
    ),
    "held orders wait": Promise(
        "Nothing of an order is started while a hold that was heard of is open.",
        ("A4", "A5"), ("promises.held_orders_waited", "promises.nothing_is_offered_while_held"),
    ),
    "holds end": Promise(
        "Every hold is decided, expires or ends with its order, and each station knows, whichever word came first.",
        ("A4", "A5", "I9"), ("promises.holds_have_ended",),
    ),
    "packed units are not amended": Promise(
        "What a parcel is never changes once it is packed.",
        ("A8",), ("promises.a_parcel_never_changes",), ("OrderAmended",),
    ),
    "amendments are whole": Promise(
        "A change of an order is made whole or not at all, and every later word about the order agrees with it.",
        ("A4", "A8"), ("promises.content_is_as_received",), ("OrderAmended",),
    ),
    "one remedy per occasion": Promise(
        "What came back, or is short, is mended once: one new start and one told remedy per setback.",
        ("D4", "E4", "F4"), ("promises.each_setback_is_mended_once",), ("RemedyChosen",),
    ),
    "complete orders start together": Promise(
        "Of an order that is to leave complete nothing starts while a part of it waits.",
        ("D2",), ("promises.complete_orders_started_together",),
    ),
    "money once": Promise(
        "Exactly the units that were not delivered, or were taken back for money, are refunded, once.",
        ("A9", "A10"), (), ("RefundIssued", "InvoiceIssued"),
    ),
    "stock is conserved": Promise(
        "What came in is in some bucket of the books, and each bucket holds what the stations reported.",
        ("D10", "I1", "D11"), ("audit.stock_is_conserved", "promises.books_match_reports"), ("ReturnInspected",),
    ),
    "nothing is held for the dead": Promise(
        "No goods are promised, under way or waited for when every order has ended.",
        ("I1", "I9"), ("audit.stock_is_conserved",),
    ),
    "an order ends once": Promise(
        "An order is closed or cancelled once, after its last unit ended, and every station knows.",
        ("I2", "I9"), ("audit.every_order_has_ended", "audit.everybody_agrees"),
    ),
    "returns come to an end": Promise(
        "What a customer sends back is inspected once and refunded or exchanged.",
        ("A9",), (), ("ReturnInspected",),
    ),
    "no contradiction": Promise(
        "No service is told what cannot be, given what it was told before.",
        ("I4",), ("audit.bugs",),
    ),
    "everything comes to rest": Promise(
        "With nothing new, what runs runs out.",
        ("I10",), ("audit.nothing_is_under_way",),
    ),
}  # fmt: skip


def gaps(
    promises: dict[str, Promise], modelled: Collection[str], harness: object, events: Collection[str]
) -> list[str]:
    """What is not checked where it should be, in words. `modelled` are the promises the model checks, `harness` has the
    simulation's modules as attributes, `events` are the topics of the catalogue."""
    found = [f"{name}: the model checks it but it is not listed" for name in sorted(set(modelled) - set(promises))]
    for name, promise in promises.items():
        if name not in modelled:
            found.append(f"{name}: the model does not check it")
        if not promise.simulation and not promise.waits_for:
            found.append(f"{name}: the simulation does not check it")
        for path in promise.simulation:
            module, _, function = path.partition(".")
            if not callable(getattr(getattr(harness, module, None), function, None)):
                found.append(f"{name}: the simulation has no {path}")
        built = [event for event in promise.waits_for if event in events]
        if built:
            found.append(f"{name}: the handlers have {', '.join(built)} now, the simulation must check it there")
    return found
