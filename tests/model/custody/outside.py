"""Who acts on the services: customers and operators, crews, carriers, planners. Calm ones do only what ends things."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from custody.bus import Unit
from custody.inventory import SHOPS
from custody.others import REMEDIES
from custody.service import Content, Service

if TYPE_CHECKING:
    from custody.world import World

Job = tuple[Service, str, str, Callable[..., Any], tuple[Any, ...]]  # service, order, what, how
WISHES = (
    ("cancel", 0.2), ("cancel part", 0.3), ("reduce", 0.4), ("reduce", 0.2), ("raise", 0.4), ("amend", 0.5), ("amend", 0.2),
    ("hold", 0.3), ("hold", 0.2), ("return", 0.35), ("late", 0.2), ("expire", 0.15),
)  # fmt: skip


class Outside:
    """What may happen next, as jobs; `world.run_job` does them."""

    def __init__(self, world: World, orders: int) -> None:
        self.world, self.chance = world, world.chance
        self.todo: list[tuple[str, str]] = []
        self.returns: dict[str, str] = {}  # state of the customer's parcel, by return
        self.unseen_goods: dict[str, dict[Unit, str]] = {}  # to be inspected, by container
        self.addresses = 0
        self.asked: tuple[str, str] | None = None  # the wish that is being asked
        self.plans: dict[str, tuple[Content, list[str]]] = {}
        for sku in world.skus:
            for place in SHOPS:
                pieces = self.chance.below(4)
                world.inventory.books["free", place, sku] += pieces
                world.booked[sku] += pieces
        for number in range(orders):
            self._plan(f"o{number}")

    def _plan(self, o: str) -> None:
        chance = self.chance
        lines = {line: self.world.skus[chance.below(2)] for line in range(1, 2 + chance.below(2))}
        units = tuple((o, line, k) for line in lines for k in range(1 + chance.below(3)))
        content = Content(1, self._address(), chance.likely(0.4), units, tuple(lines.items()), chance.likely(0.3))
        self.plans[o] = (content, [kind for kind in ("info", "review", "unpaid") if chance.likely(0.18)])
        wishes = [(wish, o) for wish, share in WISHES if chance.likely(share)]
        if not chance.likely(0.05):  # a world may have fewer orders: how a failure is cut down to those it needs
            self.todo += [("place", o), *wishes]

    def answered(self, done: bool) -> None:
        """The wish was heard, or the service died first: then it is asked again."""
        if self.asked and not done:
            self.todo.append(self.asked)
        self.asked = None

    def _address(self) -> int:
        self.addresses += 1
        return self.addresses

    # -- customers and operators

    def people(self) -> Job | None:
        """A wish, a hold to decide, a choice to make, a confirmation."""
        world, chance = self.world, self.chance
        kind = chance.weighted((6, 3, 2, 1))
        if kind == 0 and self.todo:
            return self.wish(self.todo.pop(chance.below(len(self.todo))))
        if kind == 1 and (holds := self.holds()):
            return self.decide(*chance.pick(holds))
        if kind == 2 and world.notifier.rows:
            occasion = chance.pick(list(world.notifier.rows))
            remedy = chance.pick(REMEDIES)
            o = world.notifier.rows[occasion]
            return (world.notifier, o, f"{remedy} chosen for {occasion}", world.notifier.choose, (occasion, remedy))
        return self.confirmation()

    def holds(self) -> list[tuple[str, str]]:
        return [(o, h) for o, row in self.world.intake.rows.items() for h in row.open_holds]

    def decide(self, o: str, hold: str) -> Job:
        outcome = (
            "approved" if self.world.calm or self.chance.likely(0.75) else self.chance.pick(("rejected", "expired"))
        )
        return (self.world.intake, o, f"{hold} {outcome}", self.world.intake.decide, (o, hold, outcome))

    def confirmation(self) -> Job | None:
        ready = [o for o, row in self.world.intake.rows.items() if not row.ended and "delivered" in row.out.values()]
        if not self.world.calm or ready:
            o = self.chance.pick(ready) if ready else None
            return (self.world.intake, o, "confirmed", self.world.intake.confirm, (o,)) if o else None
        return None

    def wish(self, wish: tuple[str, str]) -> Job | None:
        """Something a customer or an operator wants; what is not possible yet is wished again."""
        (kind, o), world, chance, intake = wish, self.world, self.chance, self.world.intake
        self.asked = wish
        if kind == "place":
            return (intake, o, "placed", intake.place, (o, *self.plans[o]))
        row = intake.rows.get(o)
        if row is None or (kind == "return" and not world.calm and "delivered" not in row.out.values()):
            self.todo.append(wish)
            self.asked = None
            return None
        units = row.content.units
        if kind == "cancel":
            return (intake, o, "cancel all", intake.cancel, (o, None))
        if kind == "cancel part":
            some = tuple(chance.some(units))
            return (intake, o, f"cancel {some}", intake.cancel, (o, some))
        if kind == "reduce":
            line, n = chance.pick([line for line, _ in row.content.skus]), 1 + chance.below(2)
            return (intake, o, f"{n} less of line {line}", intake.reduce, (o, line, n))
        if kind == "amend":
            return self._amend(o)
        if kind == "hold":
            return (intake, o, "held again", intake.hold_again, (o, "doubt"))
        if kind == "raise":
            return (world.prioritizer, o, "raised", world.prioritizer.raise_order, (o,))
        if kind == "late":
            stock = world.inventory
            return (stock, o, "late", stock.late, (o,)) if o in stock.rows else None
        if kind == "expire" and row.holds:  # a clock that rings, whatever was decided meanwhile
            return (intake, o, "a hold's clock rings", intake.decide, (o, chance.pick(list(row.holds)), "expired"))
        if kind == "return":
            some, exchange = tuple(chance.some(units)), chance.likely(0.3)
            return (intake, o, f"return of {some}", intake.ask_return, (o, some, exchange))
        return None

    def _amend(self, o: str) -> Job:
        chance, row = self.chance, self.world.intake.rows[o]
        lines = [line for line, _ in row.content.skus]
        more = (chance.pick(lines), 1) if chance.likely(0.4) else None
        together = chance.likely(0.5) if chance.likely(0.4) else None
        sku = (
            (chance.pick(lines), self.world.skus[chance.below(2)]) if not row.received and chance.likely(0.6) else None
        )
        how = (o, self._address(), together, more, sku)
        return (self.world.intake, o, f"amend {how[1:]}", self.world.intake.amend, how)

    # -- crews

    def floor(self) -> list[Job]:
        """Everything a crew could do now."""
        floor, jobs = self.world.fulfillment, list[Job]()
        for o, row in floor.rows.items():
            held = floor.held(o)
            for name in row.works:
                if not held and floor.ready(o, name, "open", "picked"):
                    jobs.append((floor, o, f"work on {name}", self._work, (o, name)))
                if units := floor.ready(o, name, "to put back"):
                    jobs.append((floor, o, f"put back {units}", floor.put_back, (o, name, units)))
            for name, move in row.moves.items():
                if (move.sent is None and not held) or (move.sent and not move.arrived):
                    jobs.append((floor, o, f"move {name}", self._move, (o, name)))
            for rid in row.returns:
                if self.returns.get(rid) == "sent":
                    jobs.append((floor, o, f"{rid} arrives", self._arrives, (o, rid)))
        for container in self.unseen_goods:
            o = container.split("-")[0]
            jobs.append((floor, o, f"inspect {container}", self._inspect, (o, container)))
        return jobs

    def _work(self, o: str, name: str) -> None:
        floor, chance, calm = self.world.fulfillment, self.chance, self.world.calm
        ready, tote = floor.ready(o, name, "open"), floor.ready(o, name, "picked")
        if tote and (not ready or chance.likely(0.5)):
            floor.pack(o, name, tuple(tote if calm else chance.some(tote)))
        elif not calm and chance.likely(0.25):
            floor.short(o, name, tuple(chance.some(ready)))
        else:
            floor.pick(o, name, ready if calm else chance.some(ready))

    def _move(self, o: str, name: str) -> None:
        floor, move = self.world.fulfillment, self.world.fulfillment.rows[o].moves[name]
        goods = self.world.inventory.rows[o].transfers[name].goods  # what is written on the boxes
        expected = move.units if move.sent is None else move.sent
        found = expected
        if not self.world.calm and self.chance.likely(0.25):
            found = tuple(self.chance.some(expected)[1:])
        (floor.dispatch if move.sent is None else floor.arrive)(o, name, found, goods)

    def _arrives(self, o: str, rid: str) -> None:
        floor = self.world.fulfillment
        floor.return_received(o, rid)
        goods = floor.rows[o].returns[rid]
        floor.mark(lambda _: self._came_back(rid, goods))
        floor.mark(lambda _: self.returns.update({rid: "here"}))

    def _came_back(self, container: str, goods: dict[Unit, str]) -> None:
        self.unseen_goods[container] = dict(goods)

    def _inspect(self, o: str, container: str) -> None:
        floor, goods = self.world.fulfillment, self.unseen_goods[container]
        some = list(goods) if self.world.calm else self.chance.some(list(goods))
        verdicts = {u: ("damaged" if self.chance.likely(0.3) else "restock", goods[u]) for u in some}
        floor.inspect(o, container, verdicts)
        floor.mark(lambda _: self._looked_at(container, some))

    def _looked_at(self, container: str, units: list[Unit]) -> None:
        for unit in units:
            self.unseen_goods[container].pop(unit, None)
        if not self.unseen_goods[container]:
            del self.unseen_goods[container]

    # -- dock, carriers, customers who send things back

    def dock(self) -> list[Job]:
        """Everything that could happen to a parcel now."""
        ship, calm, jobs = self.world.shipping, self.world.calm, list[Job]()
        for o, row in ship.rows.items():
            for p, parcel in row.parcels.items():
                if parcel.waiting:
                    jobs.append((ship, o, f"put back {p}", ship.put_back, (o, p)))
                if ship.can_leave(o, p):
                    jobs.append((ship, o, f"hand over {p}", ship.hand_over, (o, p)))
                if parcel.station == "handed" or (not calm and parcel.station in ("delivered", "lost", "returned")):
                    jobs.append((ship, o, f"carrier about {p}", self._carrier, (o, p)))
                if parcel.station == "dock" and not calm:
                    jobs.append((ship, o, f"carrier scans {p}", self._scans, (o, p)))
        for o, sale in self.world.intake.rows.items():
            for rid, asked in sale.returns.items():
                if rid not in self.returns and not asked.expired:
                    jobs.append((self.world.intake, o, f"{rid} sent or not", self._send, (o, rid)))
        return jobs

    def _scans(self, o: str, p: str) -> None:
        if self.chance.likely(0.15):
            self.world.shipping.scanned(o, p)

    def _carrier(self, o: str, p: str) -> None:
        ship = self.world.shipping
        parcel, before = ship.rows[o].parcels[p], ship.rows[o].parcels[p].station
        how = "delivered" if self.world.calm else ("delivered", "lost", "returned")[self.chance.weighted((60, 20, 20))]
        if before != "handed" and self.chance.likely(0.7):
            return
        ship.ends(o, p, how)
        if parcel.station == "returned" and before == "handed":
            goods = {u: parcel.goods[u] for u in parcel.units()}
            ship.mark(lambda _: self._came_back(p, goods))

    def _send(self, o: str, rid: str) -> None:
        if self.chance.likely(0.2):
            self.world.intake.return_expired(o, rid)
        else:
            self.world.intake.mark(lambda _: self.returns.update({rid: "sent"}))

    # -- planners

    def planner(self) -> Job | None:
        """Goods are filled in, counted or bought."""
        stock, chance = self.world.inventory, self.chance
        short = [o for o, row in stock.rows.items() if not row.ended and row.having("backordered")]
        if short and chance.likely(0.5):
            o = chance.pick(short)
            return (stock, o, "fill", stock.fill, (o,))
        doubtful = [(place, sku) for (bucket, place, sku), n in stock.books.items() if bucket == "in count" and n]
        if doubtful and chance.likely(0.5):
            place, sku = chance.pick(doubtful)
            return (stock, "", f"count {sku} in {place}", stock.count, (sku, place, chance.below(3)))
        if needed := stock.needed():
            sku = chance.pick(needed)
            return (stock, "", f"receive {sku}", stock.receive, (sku, chance.pick(SHOPS), 1))
        return None

    def last(self) -> Job | None:
        """What is still to be done when nobody is in a hurry any more."""
        world = self.world
        while self.todo:
            if job := self.wish(self.todo.pop(0)):
                return job
        if holds := self.holds():
            return self.decide(*holds[0])
        if jobs := [*self.floor(), *self.dock()]:
            return self.chance.pick(jobs)
        stock = world.inventory
        for o, row in stock.rows.items():
            if not row.ended and any(
                stock.books["free", w, row.skus[u]] for u in row.having("backordered") for w in SHOPS
            ):
                return (stock, o, "fill", stock.fill, (o,))
        if needed := stock.needed():
            return (stock, "", f"receive {needed[0]}", stock.receive, (needed[0], SHOPS[0], 1))
        return self.confirmation()
