"""Hypothesis chooses what happens next in the same world: after each rule everything that must hold at any time holds, and in
the end every order ends.

`SAGA_MACHINE_EXAMPLES=500 SAGA_MACHINE_STEPS=80` looks longer, with chance of its own; CI looks at the same examples each
time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from expedite_saga import audit, promises
from expedite_saga.borders import webhook_name
from expedite_saga.chance import Run
from expedite_saga.floor import LATE_MINUTES, SAYS
from expedite_saga.hands import LONGEST
from expedite_saga.ids import fixed_chance
from expedite_saga.masters import CAKE, LAMP, MUG, RING, WAREHOUSES
from expedite_saga.plan import Step
from expedite_saga.world import SPECS, World
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from fulfillment.domain.tasks import Kind, Status
from fulfillment.store import TASKS
from shipping.store import ON_DOCK, PARCELS

T = TypeVar("T")
EXAMPLES = os.environ.get("SAGA_MACHINE_EXAMPLES")
LENGTH = int(os.environ.get("SAGA_MACHINE_STEPS", "40"))
WHICH = st.integers(0, 1000)  # the how manyth of what is there, counted in a circle
SKUS = st.sampled_from((MUG, LAMP, RING, CAKE))
SERVICES = st.sampled_from(sorted(SPECS))


class Sagas(RuleBasedStateMachine):
    """Rules are what people, carriers and machines do; each is one step of the world."""

    orders = Bundle("orders")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.number = 0

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def begin(self, seed: int = 0) -> None:
        """A step of its own: fresh tokens, no trouble but what a rule asks for."""
        self.number += 1
        self.run_.hands.begin(Step(self.number, "rule", seed, calm=True))

    def ask(self, service: str, path: str, body: Any) -> bool:
        self.begin()
        return self.do(self.run_.hands.asks(service, path, body))

    @initialize(seed=st.integers(0, 1000))
    def opens(self, seed: int) -> None:
        self.world = World(seed=seed, short_mails=True)
        self.do(self.world.__aenter__())
        self.chance = fixed_chance(lambda: self.world.clock.now, seed)
        self.chance.__enter__()
        self.run_ = Run(seed, ())
        self.do(self.run_.opens(self.world))

    # -- channels and customers

    @rule(target=orders, seed=st.integers(0, 2**32 - 1))
    def place(self, seed: int) -> str:
        """An order of any kind, as any kind of channel posts it."""
        self.begin(seed)
        self.do(self.run_.acts.orders.place())
        return self.run_.hands.placed[self.number]

    @rule(target=orders, sku=SKUS, quantity=st.integers(1, 3), urgent=st.booleans(), whole=st.booleans())
    def place_plainly(self, sku: str, quantity: int, urgent: bool, whole: bool) -> str:
        """A complete order of one line."""
        self.begin()
        tags = ["urgent"] if urgent else []
        order = self.do(self.run_.house.channel.places((sku, quantity), tags=tags, partial_shipment=not whole))
        self.run_.acts.orders.accepted.add(order)
        return order

    @rule(order=orders)
    def cancel(self, order: str) -> None:
        self.ask("order-intake", f"/orders/{order}/cancel", {"reason": "changed their mind"})

    @rule(order=orders, line=st.integers(1, 2), quantity=st.integers(1, 2))
    def cancel_quantity(self, order: str, line: int, quantity: int) -> None:
        lines = [{"line": line, "quantity": quantity}]
        self.ask("order-intake", f"/orders/{order}/cancel", {"reason": "fewer", "lines": lines})

    @rule(order=orders, line=st.integers(1, 2), unit=st.integers(1, 3))
    def cancel_unit(self, order: str, line: int, unit: int) -> None:
        units = [{"line": line, "first": unit, "last": unit}]
        self.ask("order-intake", f"/orders/{order}/cancel", {"reason": "not this one", "units": units})

    @rule(order=orders, quantity=st.integers(1, 4))
    def amend(self, order: str, quantity: int) -> None:
        self.ask("order-intake", f"/orders/{order}/completion", {"lines": [{"line": 1, "quantity": quantity}]})

    @rule(order=orders, tier=st.sampled_from(("urgent", "high")))
    def raise_(self, order: str, tier: str) -> None:
        self.ask("prioritizer", f"/orders/{order}/raise", {"tier": tier, "reason": "the customer called"})

    @rule(order=orders, seed=st.integers(0, 100))
    def solve(self, order: str, seed: int) -> None:
        """End one thing the order waits for."""
        self.begin(seed)
        found = self.run_.acts.order(order)
        if found.open_holds:
            self.do(self.run_.acts.solve(found))

    @rule(order=orders)
    def confirm(self, order: str) -> None:
        self.ask("order-intake", f"/orders/{order}/confirm", None)

    # -- crews and carriers

    @rule(sku=SKUS, warehouse=st.sampled_from(WAREHOUSES), pieces=st.integers(1, 3))
    def receive(self, sku: str, warehouse: str, pieces: int) -> None:
        body = {"by": "tom", "receipt_id": f"receipt-{self.number}", "warehouse_id": warehouse,
                "lines": [{"sku": sku, "quantity": pieces}]}  # fmt: skip
        if self.ask("fulfillment", "/receipts", body):
            self.run_.house.planner.came_in(sku, pieces)

    def tasks(self, *kinds: Kind) -> list[Any]:
        rows: list[Any] = list(self.world.rows("fulfillment", TASKS))
        return [t for t in rows if t.kind in kinds and t.status in (Status.OPEN, Status.CLAIMED)]

    @rule(which=WHICH, short=st.booleans())
    def pick(self, which: int, short: bool) -> None:
        """All that is still to be picked of one line, or fewer than the system says."""
        tasks = [t for t in self.tasks(Kind.PICK) if t.lines]
        if not tasks:
            return
        task = tasks[which % len(tasks)]
        line, path = task.lines[0], f"/fulfilment-orders/{task.task_id}"
        if short:
            missing = [{"line": line.line, "quantity": 1}]
            self.ask("fulfillment", f"{path}/short", {"by": "tom", "lines": missing, "reason": "shelf empty"})
        else:
            scans = [{"barcode": f"bar-{line.sku}", "quantity": line.quantity}]
            self.ask("fulfillment", f"{path}/scans", {"by": "tom", "scans": scans})

    @rule(which=WHICH)
    def pack(self, which: int) -> None:
        if tasks := self.tasks(Kind.PICK):
            task = tasks[which % len(tasks)]
            self.ask("fulfillment", f"/fulfilment-orders/{task.task_id}/pack", {"by": "tom"})

    @rule(which=WHICH, missing=st.integers(0, 1))
    def other_floor_work(self, which: int, missing: int) -> None:
        """A put-back, or a transfer of which a piece may be missing."""
        tasks = self.tasks(Kind.PUT_BACK, Kind.TRANSFER_OUT, Kind.TRANSFER_IN)
        if not tasks:
            return
        task = tasks[which % len(tasks)]
        if task.kind is Kind.PUT_BACK:
            self.ask("fulfillment", f"/put-backs/{task.task_id}/confirm", {"by": "tom"})
            return
        verb = "dispatch" if task.kind is Kind.TRANSFER_OUT else "receive"
        lines = [{"line": x.line, "quantity": max(0, x.quantity - missing)} for x in task.lines]
        self.ask("fulfillment", f"/transfers/{task.transfer_id}/{verb}", {"by": "tom", "lines": lines})

    @rule(which=WHICH, back=st.booleans())
    def dock(self, which: int, back: bool) -> None:
        """The scan at the truck, or goods come out of the box again."""
        rows: list[Any] = [p for p in self.world.rows("shipping", PARCELS) if p.status in ON_DOCK]  # type: ignore[attr-defined]
        if rows:
            verb = "put-back" if back else "hand-over"
            self.ask("shipping", f"/parcels/{rows[which % len(rows)].parcel_id}/{verb}", {"by": "tom"})

    @rule(which=WHICH, status=st.sampled_from(SAYS), late=st.sampled_from(LATE_MINUTES))
    def scan(self, which: int, status: str, late: int) -> None:
        """A carrier scans a parcel; the webhook goes into its bag."""
        rows: list[Any] = [p for p in self.world.rows("shipping", PARCELS) if p.tracking_number]  # type: ignore[attr-defined]
        if rows:
            self.begin()
            self.do(self.run_.floor.scan(rows[which % len(rows)], status, late))

    @rule(which=WHICH, keep=st.booleans())
    def webhook(self, which: int, keep: bool) -> None:
        """Any webhook of the bag arrives; it may come again."""
        bag = self.world.post.bag
        if bag:
            self.begin()
            said = sorted(bag, key=webhook_name)[which % len(bag)]
            self.do(self.run_.floor.arrives(said))
            if not keep:
                bag.remove(said)

    # -- machines

    @rule(which=WHICH, rows=st.integers(1, 6), dies=st.booleans())
    def relay(self, which: int, rows: int, dies: bool) -> None:
        """A relay sends its oldest rows, and may die before it deletes them."""
        if waiting := self.world.bus.waiting():
            service, lane = waiting[which % len(waiting)]
            some = [row for row in self.world.engines[service].db.outbox if row.lane is lane][:rows]
            self.world.bus.send(some)
            if dies:
                self.world.restart(service)
            else:
                self.world.bus.sent(service, some)

    @rule(which=WHICH)
    def deliver_one(self, which: int) -> None:
        if ready := self.world.bus.ready():
            name = sorted(ready)[which % len(ready)]
            self.do(self.world.engines[name[2]].deliver([self.world.bus.queues[name].popleft()]))

    @rule()
    def deliver_all(self) -> None:
        """Everything that waits is heard, and everything that is to be performed is."""
        self.do(self.world.settle())

    @rule(which=WHICH, left=st.integers(0, LONGEST))
    def die_of_a_message(self, which: int, left: int) -> None:
        """A process dies before one of the steps of its batch, or when it has done them all: it comes again."""
        if ready := self.world.bus.ready():
            name = sorted(ready)[which % len(ready)]
            self.begin(left)
            batch = list(self.world.bus.queues[name])
            self.do(self.run_.hands.dies_in(name[2], lambda: self.world.engines[name[2]].deliver(batch)))

    @rule(which=WHICH)
    def redeliver(self, which: int) -> None:
        """Something old is sent again."""
        if log := self.world.bus.log:
            old = log[-1 - which % len(log)]
            for service in old.hearers:
                if type(old.event) in self.world.engines[service].handlers.events:
                    self.do(self.world.engines[service].deliver([old]))

    @rule(service=SERVICES)
    def restart(self, service: str) -> None:
        self.world.restart(service)

    @rule(which=WHICH, twice=st.booleans(), dies=st.booleans())
    def effect(self, which: int, twice: bool, dies: bool) -> None:
        """Perform an effect; its process may die before it tells, or somebody else performs it too."""
        calls = [(n, c) for n, e in self.world.engines.items() for c in e.pending_effects()]
        if calls:
            service, call = calls[which % len(calls)]
            result = self.do(self.world.result_of(service, call))
            if dies or result is None:
                self.world.restart(service)
                return
            for _ in range(1 + twice):
                self.do(self.world.engines[service].conclude([result]))

    @rule(which=WHICH, twice=st.booleans())
    def fire(self, which: int, twice: bool) -> None:
        """A timer fires; two scanners may have seen it."""
        due = [(n, f) for n, e in self.world.engines.items() for f in e.due()]
        if due:
            service, fired = due[which % len(due)]
            for _ in range(1 + twice):
                self.do(self.world.engines[service].fire([fired]))

    @rule(minutes=st.sampled_from((1, 20, 90, 600)))
    def time_passes(self, minutes: int) -> None:
        self.begin()
        self.do(self.run_.time(minutes))

    # -- what must hold

    @precondition(lambda self: hasattr(self, "run_"))
    @invariant()
    def holds_at_any_time(self) -> None:
        audit.at_any_time(self.world)
        promises.at_any_time(self.world)

    def teardown(self) -> None:
        try:
            if hasattr(self, "run_"):
                self.do(self.run_.ends())
        finally:
            if hasattr(self, "chance"):
                self.chance.__exit__(None, None, None)
                self.do(self.world.__aexit__(None, None, None))
            self.loop.close()


Sagas.TestCase.settings = settings(
    max_examples=int(EXAMPLES or "30"),
    stateful_step_count=LENGTH,
    derandomize=EXAMPLES is None,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(0 if EXAMPLES else 300)
class TestSagas(Sagas.TestCase):  # type: ignore[name-defined,misc]
    """I1 to I10 (A8 C4 D2 D10 E4 E5 F3 G5): whatever Hypothesis chooses to do next."""
