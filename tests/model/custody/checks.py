"""The promises. Those with facts are checked when a step is committed, the others at rest, when nothing moves any more.

What a check needs to know it learns from the marks of committed steps and keeps in `Seen`, apart from what the services
remember: a service that forgets does not make the check forget.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from custody.bus import CUSTODIANS, INVENTORY, SHIPPING, Unit

if TYPE_CHECKING:
    from custody.world import World


class Broken(AssertionError):
    """A promise does not hold. `promise` is its name."""

    def __init__(self, promise: str, *facts: object) -> None:
        super().__init__(f"{promise}: {' '.join(str(fact) for fact in facts)}")
        self.promise = promise


class Seen:
    """What happened so far, as the committed steps told it."""

    def __init__(self) -> None:
        self.holder: dict[Unit, str] = {}
        self.ends: dict[Unit, str] = {}
        self.refunds: Counter[Unit] = Counter()
        self.placed: dict[tuple[str, str], set[str]] = defaultdict(set)  # holds, by service and order
        self.released: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.packed: set[Unit] = set()
        self.over: Counter[str] = Counter()  # terminal events by order
        self.arrived: dict[Unit, tuple[str, int, int, str]] = {}  # parcel, version, address, SKU
        self.chosen: dict[str, list[str]] = defaultdict(list)  # remedy applied or too late, by choice
        self.remedies: Counter[str] = Counter()  # remedies applied, by occasion
        self.inspected: dict[tuple[str, Unit], str] = {}  # by container
        self.counted: Counter[str] = Counter()  # what should lie in a bucket, by bucket and SKU


STEP: dict[str, list[Callable[..., None]]] = defaultdict(list)
REST: dict[str, list[Callable[..., None]]] = defaultdict(list)


def promise(
    name: str, book: dict[str, list[Callable[..., None]]]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Enter a check under the promise it is about."""

    def enter(check: Callable[..., None]) -> Callable[..., None]:
        book[name].append(check)
        return check

    return enter


# -- when a step is committed


@promise("one custodian", STEP)
def moves(world: World, unit: Unit, allowed: tuple[str, ...], to: str) -> None:
    """Custody goes from who has it to who gets it: the one before is the only one who may give it."""
    before = world.seen.holder[unit]
    if before not in allowed:
        raise Broken("one custodian", unit, "goes to", to, "but is with", before)
    world.seen.holder[unit] = to


@promise("one end", STEP)
def ends(world: World, unit: Unit, end: str) -> None:
    """A unit is delivered, cancelled or refunded; what is delivered stays so, what will not be delivered never is."""
    before = world.seen.ends.setdefault(unit, end)
    if (before == "delivered") != (end == "delivered"):
        raise Broken("one end", unit, before, "then", end)


@promise("only its custodian answers", STEP)
def answers(world: World, service: str, kind: str, unit: Unit) -> None:
    """An answer comes from who has the unit; inventory also answers for what is upstream, anybody for what is dead."""
    holder = world.seen.holder[unit]
    known = {service, "nobody", *({"upstream"} if service == INVENTORY else ())}
    if service == SHIPPING:
        known.add("customer")
    if holder not in known:
        raise Broken("only its custodian answers", service, kind, unit, "which is with", holder)


@promise("held orders wait", STEP)
def starts(world: World, service: str, order: str) -> None:
    """No station starts anything while a hold it has heard of is open."""
    held = world.seen.placed[service, order] - world.seen.released[service, order]
    if held:
        raise Broken("held orders wait", service, order, sorted(held))


@promise("packed units are not amended", STEP)
def applies(world: World, unit: Unit, version: int) -> None:
    """An amendment is applied to what is not in a parcel."""
    if unit in world.seen.packed:
        raise Broken("packed units are not amended", unit, "version", version)


@promise("money once", STEP)
def refunds(world: World, unit: Unit, cause: str) -> None:
    """A unit is refunded once, whatever the cause."""
    world.seen.refunds[unit] += 1
    if world.seen.refunds[unit] > 1:
        raise Broken("money once", unit, "again for", cause)


@promise("one remedy per occasion", STEP)
def remedied(world: World, occasion: str, choice: str, outcome: str) -> None:
    """One choice is applied per occasion, all others are too late; each choice has one answer."""
    world.seen.chosen[choice].append(outcome)
    world.seen.remedies[occasion] += outcome != "too late"
    if world.seen.remedies[occasion] > 1:
        raise Broken("one remedy per occasion", occasion, choice)


@promise("complete orders start together", STEP)
def announced(world: World, order: str, together: bool, waiting: list[Unit]) -> None:
    """Of an order that leaves complete nothing is announced while a part of it waits."""
    if together and waiting:
        raise Broken("complete orders start together", order, waiting)


@promise("an order ends once", STEP)
def over(world: World, order: str, end: str) -> None:
    """One terminal event per order, when each of its units has come to its end."""
    world.seen.over[order] += 1
    units = world.intake.rows[order].content.units
    open_units = [u for u in units if u not in world.seen.ends]
    if world.seen.over[order] > 1 or open_units:
        raise Broken("an order ends once", order, end, open_units)


@promise("no contradiction", STEP)
def agrees(world: World, holds: bool, *facts: object) -> None:
    """No service is told what cannot be, given what it was told before."""
    if not holds:
        raise Broken("no contradiction", *facts)


@promise("everything comes to rest", STEP)
def rests(world: World, busy: bool) -> None:
    """With nothing new, what runs runs out."""
    if busy:
        raise Broken("everything comes to rest", "still busy after", world.steps, "steps")


def fact(world: World, change: Callable[[Seen], Any]) -> None:
    """Not a check: something to remember for later ones."""
    change(world.seen)


def met(world: World, path: str) -> None:
    """Not a check: a path that was taken."""
    world.met[path] += 1


# -- at rest


@promise("holds end", REST)
def no_hold_is_open(world: World) -> None:
    """Every hold is decided, expired or gone with its order, and every station knows."""
    for order, row in world.intake.rows.items():
        open_holds = [h for h, outcome in row.holds.items() if outcome is None]
        if open_holds:
            raise Broken("holds end", order, open_holds)
        for service in CUSTODIANS:
            left = world.services[service].rows[order].holds if order in world.services[service].rows else ()
            if left:
                raise Broken("holds end", service, order, left)


@promise("returns come to an end", REST)
def returns_are_settled(world: World) -> None:
    """Each unit of a return that was sent is inspected once and refunded or exchanged; the others were not sent."""
    for row in world.intake.rows.values():
        for rid, asked in row.returns.items():
            for unit, verdict in asked.units.items():
                sent = (rid, unit) in world.seen.inspected
                if sent != (verdict is not None) or not (sent or asked.expired):
                    raise Broken("returns come to an end", rid, unit, verdict)


@promise("one custodian", REST)
def nobody_holds_on(world: World) -> None:
    """Every unit is with its customer or with nobody: none is under way, none is forgotten."""
    for unit, holder in world.seen.holder.items():
        wanted = "customer" if world.seen.ends.get(unit) == "delivered" else "nobody"
        if holder != wanted:
            raise Broken("one custodian", unit, "ended", world.seen.ends.get(unit), "but is with", holder)


@promise("one end", REST)
def each_unit_ended(world: World) -> None:
    """Each unit of each order ended, as intake knows it."""
    for order, row in world.intake.rows.items():
        if set(row.out) != set(row.content.units):
            raise Broken("one end", order, "stuck", [u for u in row.content.units if u not in row.out])


@promise("each cancel is answered", REST)
def cancels_are_answered(world: World) -> None:
    """Every cancel request has an answer per unit, a yes only for what was not delivered."""
    for row in world.intake.rows.values():
        for rid, request in row.requests.items():
            for unit, answer in request.units.items():
                if answer is None or (answer == "yes" and row.out[unit] == "delivered"):
                    raise Broken("each cancel is answered", rid, unit, answer, "but", row.out[unit])


@promise("standing cancels hold again", REST)
def refused_means_delivered(world: World) -> None:
    """A standing request is refused for good only by the parcel in which the unit was delivered."""
    for row in world.intake.rows.values():
        for rid, request in row.requests.items():
            for unit, answer in request.units.items():
                came = world.seen.arrived.get(unit)
                if request.standing and answer == "no" and (came is None or came[0] not in request.by[unit]):
                    raise Broken(
                        "standing cancels hold again", rid, unit, "refused by", request.by[unit], "came in", came
                    )


@promise("no more than asked", REST)
def quantities_are_kept(world: World) -> None:
    """Quantity cancels cancel at most what was asked, line by line."""
    for order, row in world.intake.rows.items():
        named = {u for r in row.requests.values() if r.standing for u in r.units}
        extra = Counter(u[1] for u, end in row.out.items() if end == "cancelled" and u not in named)
        for line, n in extra.items():
            if n > row.quantity[line]:
                raise Broken("no more than asked", order, "line", line, n, "cancelled", row.quantity[line], "asked")


@promise("amendments are whole", REST)
def amendments_are_answered_and_kept(world: World) -> None:
    """Each amendment is answered per unit; what arrived is what its highest applied version says; what was refused at
    intake is nowhere."""
    for order, row in world.intake.rows.items():
        for version, amendment in row.amendments.items():
            for unit, answer in amendment.answers.items():
                if answer is None:
                    raise Broken("amendments are whole", order, "version", version, unit, "has no answer")
                came = world.seen.arrived.get(unit)
                if came and (answer == "applied") != (version <= came[1]):
                    raise Broken("amendments are whole", unit, answer, "version", version, "but arrived with", came)
        for unit in row.content.units:
            came = world.seen.arrived.get(unit)
            if came and (came[2] in row.refused_addresses or came[2] != row.addresses[came[1]]):
                raise Broken("amendments are whole", unit, came, row.addresses, row.refused_addresses)


@promise("money once", REST)
def money_follows_the_goods(world: World) -> None:
    """Refunded are exactly the units that were not delivered and those that were taken back for money."""
    for row in world.intake.rows.values():
        back = {u for r in row.returns.values() if not r.exchange for u, verdict in r.units.items() if verdict}
        for unit in row.content.units:
            wanted = int(row.out[unit] != "delivered" or unit in back)
            if world.seen.refunds[unit] != wanted:
                raise Broken("money once", unit, row.out[unit], "refunded", world.seen.refunds[unit])


@promise("one remedy per occasion", REST)
def choices_are_answered(world: World) -> None:
    """Whoever chose a remedy hears once what it led to."""
    for choice in world.notifier.chosen:
        if len(world.seen.chosen[choice]) != 1:
            raise Broken("one remedy per occasion", choice, world.seen.chosen[choice])


@promise("stock is conserved", REST)
def books_are_right(world: World) -> None:
    """What was booked in is in some bucket, SKU by SKU, and what left or waits to be looked at is what the stations
    reported: with customers, lost, short, in quality check, damaged."""
    books = world.inventory.books
    totals: Counter[str] = Counter()
    for (bucket, _, sku), n in books.items():
        if n < 0:
            raise Broken("stock is conserved", bucket, sku, n)
        totals[f"{bucket} {sku}"] += n
    for sku in world.skus:
        goods = sum(n for (bucket, _, s), n in books.items() if s == sku)
        if goods != world.booked[sku]:
            raise Broken("stock is conserved", sku, world.booked[sku], "came in,", goods, "on the books", dict(totals))
        for bucket in ("out", "lost", "in count", "quality", "damaged"):
            if totals[f"{bucket} {sku}"] != world.seen.counted[f"{bucket} {sku}"]:
                told = world.seen.counted[f"{bucket} {sku}"]
                raise Broken("stock is conserved", bucket, sku, totals[f"{bucket} {sku}"], "booked", told, "reported")


@promise("nothing is held for the dead", REST)
def nothing_waits(world: World) -> None:
    """No goods are promised, on their way or waited for when every order has ended."""
    for (bucket, place, sku), n in world.inventory.books.items():
        if n and bucket in ("allocated", "leaving", "in transit"):
            raise Broken("nothing is held for the dead", bucket, place, sku, n)
    for row in world.inventory.rows.values():
        waiting = [u for u, at in row.at.items() if at[0] in ("allocated", "transfer", "backordered")]
        if waiting:
            raise Broken("nothing is held for the dead", waiting)


@promise("an order ends once", REST)
def every_order_ended(world: World) -> None:
    """Each order is closed or cancelled, and each station that worked on it knows."""
    for order, row in world.intake.rows.items():
        if world.seen.over[order] != 1 or not row.ended:
            raise Broken("an order ends once", order, row.ended, world.seen.over[order])
        for service in CUSTODIANS:
            rows = world.services[service].rows
            if order in rows and not rows[order].ended:
                raise Broken("an order ends once", service, order)


def at_rest(world: World) -> None:
    """All promises that are about the end."""
    for checks in REST.values():
        for check in checks:
            check(world)
