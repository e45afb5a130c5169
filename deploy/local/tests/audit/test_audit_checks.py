"""Each check of the audit passes on a sound house and is seen red on one that was broken in one place (issue 3.8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from expedite_events.ids import uuid7
from expedite_local import audit
from expedite_local.audit.finding import Finding

Damaged = Callable[..., Any]
CHECKS = {"stock", "orders", "custody", "cancels", "events", "order of events", "messages", "parked", "timers"}


def reds(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if not finding.good}


async def test_a_sound_house_passes_every_check_and_says_what_was_counted(house: Any) -> None:
    found = await house.check()
    assert set(found) == CHECKS
    assert not reds(found), audit.text(list(found.values()))
    counts = {name: finding.count for name, finding in found.items()}
    assert counts["stock"] == 2
    assert counts["orders"] == 7
    assert counts["custody"] == 3 + 1 + 4 + 2 + 6 + 5 + 7
    assert counts["cancels"] == 2
    assert counts["events"] == len(house.records)
    assert counts["messages"] > 7


async def test_open_orders_are_a_fault_when_all_must_have_ended(house: Any) -> None:
    found = await house.check(ended=True)
    assert reds(found) == {"orders"}
    assert "5 wrong among 7 orders" in found["orders"].detail
    assert f"{house.orders['held']} has not ended: it is held, 7 of 7 units are open" in found["orders"].detail


# -- stock (I1)


async def test_a_piece_from_nowhere(house: Any, damaged: Damaged) -> None:
    """I1: a shelf has one piece more than ever came in; the last movement of the shelf is named."""
    more = (
        "UPDATE shelf SET free = free + 1, doc = jsonb_set(doc::jsonb, '{free}', to_jsonb(free + 1)) WHERE sku = 'MUG'"
    )
    found = await house.check(inventory=await damaged("inventory", more))
    assert reds(found) == {"stock"}
    assert "MUG: 25 came in, 26 are accounted for (last movement: GoodsReceived, event " in found["stock"].detail
    assert "free, its movements say" in found["stock"].detail


async def test_a_column_that_says_otherwise_than_its_document(house: Any, damaged: Damaged) -> None:
    """D2: what the database's own CHECK guards is not what the service decides on."""
    found = await house.check(inventory=await damaged("inventory", "UPDATE shelf SET lost = 1 WHERE sku = 'LAMP'"))
    assert reds(found) == {"stock"}
    assert "LAMP in LON: columns and document differ" in found["stock"].detail


async def test_a_lost_movement(house: Any, damaged: Damaged) -> None:
    """I1, D10: the movement after the gap is named."""
    gone = (
        "DELETE FROM movement WHERE (sku, warehouse_id, entry) = "
        "(SELECT sku, warehouse_id, entry FROM movement WHERE sku = 'MUG' ORDER BY entry OFFSET 1 LIMIT 1)"
    )
    found = await house.check(inventory=await damaged("inventory", gone))
    assert reds(found) == {"stock"}
    assert "movements are there" in found["stock"].detail
    assert "first wrong movement: " in found["stock"].detail


async def test_goods_that_never_came_in(house: Any, damaged: Damaged) -> None:
    """I1: booked without a booking."""
    found = await house.check(inventory=await damaged("inventory", "DELETE FROM booking WHERE kind = 'opening'"))
    assert reds(found) == {"stock"}
    assert "LAMP in LON: 3 booked, the bookings say 0" in found["stock"].detail


async def test_a_receipt_that_was_counted_but_never_booked(house: Any, damaged: Damaged) -> None:
    """I1, D5: both sides of the dock."""
    copy = "INSERT INTO receipt SELECT 'R-2', jsonb_set(doc::jsonb, '{receipt_id}', '\"R-2\"') FROM receipt"
    found = await house.check(fulfillment=await damaged("fulfillment", copy))
    assert reds(found) == {"stock"}
    assert "receipt R-2 was counted but never booked" in found["stock"].detail


async def test_goods_out_that_shipping_does_not_have(house: Any, damaged: Damaged) -> None:
    """I1: what inventory calls out is what shipping holds, has handed over or delivered."""
    name = house.orders["reduced"]
    fewer = f"UPDATE order_leg SET doc = jsonb_set(doc::jsonb, '{{parcels,0,packed}}', '[]') WHERE order_id = '{name}'"
    found = await house.check(shipping=await damaged("shipping", fewer))
    assert reds(found) == {"stock", "custody"}
    assert "MUG in LON: 7 out, shipping holds or delivered 4" in found["stock"].detail


# -- orders (I2)


async def test_an_order_in_two_states(house: Any, damaged: Damaged) -> None:
    """I2: the column lists go by and the document differ."""
    two = f"UPDATE intake_order SET state = 'closed' WHERE order_id = '{house.orders['packed']}'"
    found = await house.check(order_intake=await damaged("order-intake", two))
    assert reds(found) == {"orders"}
    assert f"{house.orders['packed']} is listed as closed" in found["orders"].detail
    assert "(last: Packed, event " in found["orders"].detail


async def test_an_order_that_ended_unbalanced(house: Any, damaged: Damaged) -> None:
    """I2: a closed order with a unit that is neither delivered nor cancelled."""
    name = house.orders["closed"]
    open_unit = 'jsonb_set(doc::jsonb, \'{delivered}\', \'[{"line": 1, "first": 1, "last": 2}]\')'
    url = await damaged("order-intake", f"UPDATE intake_order SET doc = {open_unit} WHERE order_id = '{name}'")
    found = await house.check(order_intake=url)
    assert reds(found) == {"orders", "custody"}
    assert f"{name} is closed but Units(2:1) are neither delivered nor cancelled" in found["orders"].detail


async def test_an_order_that_ended_twice(house: Any, damaged: Damaged) -> None:
    """I2: two terminal announcements of one order."""
    again = (
        "INSERT INTO ledger (event_id, key, topic, sequence) SELECT "
        f"'{uuid7()}', key, 'OrderCancelled', 99 FROM ledger WHERE topic = 'OrderClosed'"
    )
    found = await house.check(order_intake=await damaged("order-intake", again))
    assert reds(found) == {"orders", "events"}
    assert f"{house.orders['closed']} is closed but was announced as cancelled (event " in found["orders"].detail


@pytest.mark.parametrize(
    ("service", "statement", "says"),
    [
        ("control-tower", "DELETE FROM card WHERE order_id = '{closed}'", "the tower does not know it"),
        ("control-tower", "UPDATE card SET doc = doc::jsonb - 'ended' WHERE order_id = '{closed}'", "the tower shows received"),
        ("shipping", "UPDATE order_leg SET doc = doc::jsonb - 'over' WHERE order_id = '{closed}'", "shipping takes it for not ended"),
        ("prioritizer", "UPDATE orders SET doc = doc::jsonb - 'ended_at' WHERE order_id = '{closed}'",
         "prioritizer takes it for not ended"),
    ],
)  # fmt: skip
async def test_a_service_that_missed_the_end(
    house: Any, damaged: Damaged, service: str, statement: str, says: str
) -> None:
    """I2, H1: everybody agrees on the state of an order."""
    url = await damaged(service, statement.format(**house.orders))
    found = await house.check(**{service: url})
    assert reds(found) == {"orders"}
    assert says in found["orders"].detail


# -- custody


async def test_a_unit_in_no_custody(house: Any, damaged: Damaged) -> None:
    """Design 2: fulfillment forgot its work."""
    name = house.orders["picking"]
    forget = f"UPDATE orders SET doc = jsonb_set(doc::jsonb, '{{fulfilment_orders}}', '[]') WHERE order_id = '{name}'"
    found = await house.check(fulfillment=await damaged("fulfillment", forget))
    assert reds(found) == {"custody"}
    where = f"inventory takes them for announced in {name}-F1"
    assert f"{name}: Units(1:1-6) are in no custody; {where} (last: StockReserved, event " in found["custody"].detail


async def test_a_unit_in_two_custodies(house: Any, damaged: Damaged) -> None:
    """Design 2: fulfillment still holds what it packed."""
    name = house.orders["packed"]
    keep = f"UPDATE orders SET doc = jsonb_set(doc::jsonb, '{{fulfilment_orders,0,packed}}', '[]') WHERE order_id = '{name}'"
    found = await house.check(fulfillment=await damaged("fulfillment", keep))
    assert reds(found) == {"custody"}
    says = f"{name}: Units(1:1-2) are with fulfillment ({name}-F1) and with shipping ({name}-P1)"
    assert says in found["custody"].detail


async def test_units_of_an_order_nobody_accepted(house: Any, damaged: Damaged) -> None:
    """I6: an order exists at intake or nowhere."""
    name = house.orders["picking"]
    url = await damaged("order-intake", f"DELETE FROM intake_order WHERE order_id = '{name}'")
    found = await house.check(order_intake=url)
    assert "orders" in reds(found)
    assert f"{name} was never accepted but inventory has units of it" in found["orders"].detail


# -- parked, cancels, timers


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        (("INSERT INTO parked (key, event_id, topic, headers, reason) VALUES ('k', '{id}', 'Packed', '[]', 'boom')",),
         "shipping parked Packed of k: boom (event {id})"),
        (("UPDATE effect SET state = 'performed', reason = 'odd answer' WHERE kind = 'buy_label'",),
         "shipping could not decide on buy_label"),
    ],
)  # fmt: skip
async def test_something_parked(house: Any, damaged: Damaged, statements: tuple[str, ...], says: str) -> None:
    """Design 4: nothing waits for a person; parked_events counts."""
    names = {**house.orders, "id": UUID(int=7)}
    url = await damaged("shipping", *(s.format(**names) for s in statements))
    found = await house.check(shipping=url)
    assert reds(found) == {"parked"}
    assert says.format(**names) in found["parked"].detail
    parked = await audit.parked_events(replace(house.state, databases={"shipping": url}))
    assert parked == ("boom" in says)


async def test_what_a_person_dropped_is_accounted_for(house: Any, damaged: Damaged) -> None:
    """Issue 5.4: units that are in no custody because somebody dropped the event that moved them are told with who and
    why, and are no violation; those of another order still are."""
    packed = house.orders["packed"]
    gone = "UPDATE order_leg SET doc = jsonb_set(doc::jsonb, '{parcels}', '[]') WHERE order_id = "
    dropped = (
        "INSERT INTO dropped (event_id, key, seq, topic, headers, attempts, at, dropped_by, why) VALUES "
        f"('{UUID(int=7)}', '{packed}', 1, 'Packed', '[]', 1, now(), 'lena', 'the box burnt')"
    )
    without = await house.check(shipping=await damaged("shipping", f"{gone}'{packed}'"))
    assert reds(without) == {"stock", "custody"}
    found = await house.check(shipping=await damaged("shipping", f"{gone}'{packed}'", dropped))
    assert reds(found) == {"stock"}, "the goods themselves are not where the books say: somebody must count them"
    said = f"{packed} is not whole: lena dropped Packed in shipping because the box burnt (event {UUID(int=7)})"
    assert said in found["custody"].detail
    assert "events of 1 keys were dropped by people" in found["parked"].detail
    elsewhere = f"UPDATE order_leg SET doc = jsonb_set(doc::jsonb, '{{parcels}}', '[]') WHERE order_id = '{house.orders['reduced']}'"
    assert "custody" in reds(await house.check(shipping=await damaged("shipping", elsewhere, dropped)))


@pytest.mark.parametrize(
    ("order", "path", "value", "says", "also"),
    [
        ("reduced", "{cancels,0,cancelled}", "[]", "-C1 has no answer for Units(1:4)", set()),
        ("reduced", "{cancels,0,refused}", '[{"line":1,"first":4,"last":4}]', "-C1 has yes and no for Units(1:4)", set()),
        ("reduced", "{cancels,0,cancelled}", '[{"line":1,"first":3,"last":4}]',
         "-C1 asked for 1 units, 2 were cancelled", set()),
        ("reduced", "{cancels,0,cancelled}", '[{"line":1,"first":3,"last":4}]',
         "Units(1:3) were answered as cancelled but do not count as such", set()),
        ("closed", "{cancelled}", '[{"line":2,"first":1,"last":1}]',
         "Units(2:1) were cancelled but no request was answered so", {"orders", "custody"}),
    ],
)  # fmt: skip
async def test_a_cancel_that_was_answered_wrongly(
    house: Any, damaged: Damaged, order: str, path: str, value: str, says: str, also: set[str]
) -> None:
    """A8: every request has one answer per unit, nothing is cancelled beyond what was asked."""
    change = f"UPDATE intake_order SET doc = jsonb_set(doc::jsonb, '{path}', '{value}') WHERE order_id = '{house.orders[order]}'"
    found = await house.check(order_intake=await damaged("order-intake", change))
    assert reds(found) == {"cancels"} | also
    assert says in found["cancels"].detail


@pytest.mark.parametrize(
    ("key", "due", "good", "says"),
    [
        ("closed", "2026-12-01T09:00Z", False, "is left although {closed} is closed"),
        ("packed", "2026-11-23T08:50Z", False, "is 600 business seconds late"),
        ("packed", "2026-11-23T08:59:30Z", True, ""),
    ],
)
async def test_a_timer_left_over_or_late(
    house: Any, damaged: Damaged, key: str, due: str, good: bool, says: str
) -> None:
    """I7, I10: no timer outlives its order, none is overdue by more than a minute of business time."""
    left = (
        "INSERT INTO timer (kind, subject, level, id, key, due_at, data, lane, correlation_id) VALUES "
        f"('label_retry', 'p', 0, '{uuid7()}', '{house.orders[key]}', '{due}', '{{}}', 'standard', '{uuid7()}')"
    )
    found = await house.check(shipping=await damaged("shipping", left))
    assert reds(found) == (set() if good else {"timers"})
    assert says.format(**house.orders) in found["timers"].detail


# -- what is printed


def test_findings_are_aligned_and_name_the_first_few() -> None:
    from expedite_local.audit.finding import Look

    look = Look("stock", "SKUs", 1200)
    for n in range(8):
        look.wrong(f"SKU{n}")
    lines = audit.text([look.finding(), Finding("order of events", 7, True, "7 keys")]).split("\n")
    assert lines[0] == "✖ stock            1,200  8 wrong among 1,200 SKUs: SKU0; SKU1; SKU2; SKU3; SKU4; and 3 more"
    assert lines[1] == "✔ order of events      7  7 keys"


def test_on_a_moving_system_only_what_is_wrong_twice_counts() -> None:
    from expedite_local.audit.finding import Look

    first, second = Look("custody", "units", 5), Look("custody", "units", 6)
    first.wrong("in flight")
    first.wrong("stuck")
    second.wrong("stuck")
    second.wrong("just left")
    assert second.still(first).finding().detail == "1 wrong among 6 units: stuck"
