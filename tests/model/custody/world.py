"""One run: services, a bus, the world outside, and a step at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from custody import checks
from custody.bus import FULFILLMENT, INTAKE, INVENTORY, NOTIFIER, PRIORITIZER, SHIPPING, Bus
from custody.chance import Chance
from custody.fulfillment import Fulfillment
from custody.goods import Warehouse
from custody.intake import Intake
from custody.others import Notifier, Prioritizer
from custody.outside import Job, Outside
from custody.service import Service
from custody.shipping import Shipping

STEPS = 280  # with trouble; then everything runs out
CALM = 3000  # steps to rest at most
AGAIN, CRASH = 0.12, 0.03
WEIGHTS = (60, 14, 14, 9, 3)


class World:
    """A few orders from the first word to the last. `broken` names the rules this run does not keep."""

    def __init__(self, chance: Chance, *, broken: Collection[str] = (), orders: int = 3) -> None:
        self.chance, self.broken = chance, frozenset(broken)
        self.skus = ("x", "y")
        self.booked: Counter[str] = Counter()  # pieces that ever came in, by SKU
        self.seen, self.bus, self.calm = checks.Seen(), Bus(), False
        self.trace: list[tuple[str, str, str, Any]] = []
        self.met: Counter[str] = Counter()
        self.steps = 0
        self.intake, self.prioritizer, self.inventory = Intake(self), Prioritizer(self), Warehouse(self)
        self.fulfillment, self.shipping, self.notifier = Fulfillment(self), Shipping(self), Notifier(self)
        self.services: dict[str, Service] = {
            INTAKE: self.intake, PRIORITIZER: self.prioritizer, INVENTORY: self.inventory,
            FULFILLMENT: self.fulfillment, SHIPPING: self.shipping, NOTIFIER: self.notifier,
        }  # fmt: skip
        self.outside = Outside(self, orders)

    def came_in(self, sku: str, pieces: int) -> None:
        self.booked[sku] += pieces

    # -- steps

    def commit(
        self, service: Service, express: bool, what: tuple[str, str, Any], work: Callable[..., Any], *args: Any
    ) -> bool:
        """One decision of one service in one transaction. False when the process died before its commit."""
        self.steps += 1
        service.said, service.marks, service.lane = [], [], express
        dies = not self.calm and self.chance.likely(CRASH)
        saved = service.snapshot() if dies else None
        answer = work(*args)
        self.trace.append((f"{service.name}{' (dies)' if dies else ''}", *what))
        if saved is not None:
            service.restore(saved)
            self.met["crashes before the commit"] += 1
            if "events after the commit" in self.broken:
                self._publish(service)
            return False
        if isinstance(answer, str):
            self.met[f"{work.__name__}: {answer}"] += 1
        for check, facts in service.marks:
            check(self, *facts)
        self._publish(service)
        return True

    def _publish(self, service: Service) -> None:
        for topic, order, express, data in service.said:
            self.met[topic] += 1
            self.bus.publish(topic, order, express, data)

    def deliver(self) -> bool:
        """The first message of some queue; now and then it comes again later. False when there is none."""
        ready = self.bus.ready()
        if not ready:
            return False
        message = self.bus.first(self.chance.pick(ready))
        service = self.services[message.reader]
        what = (f"hears {message.topic}{' (express)' if message.express else ''}", message.key, message.data)
        if self.commit(service, message.express, what, service.hear, message):
            if not self.calm and self.chance.likely(AGAIN):
                self.met["redeliveries"] += 1
            else:
                self.bus.done(message)
        return True

    def run_job(self, job: Job | None) -> None:
        if job is not None:
            service, order, what, work, args = job
            done = self.commit(service, False, (what, order, None), work, *args)
            self.outside.answered(done)

    # -- the run

    def run(self) -> World:
        """To the end. Raises `checks.Broken` when a promise is."""
        for _ in range(STEPS):
            self.chance.step()
            kind = self.chance.weighted(WEIGHTS)
            if kind == 0:
                self.deliver()
            elif kind == 1:
                self.run_job(self.outside.people())
            elif kind == 4:
                self.run_job(self.outside.planner())
            elif jobs := self.outside.floor() if kind == 2 else self.outside.dock():
                self.run_job(self.chance.pick(jobs))
        self.calm = True
        self.outside.todo.sort(key=lambda wish: wish[0] != "place")
        for _ in range(CALM):
            self.chance.step()
            if self.deliver():
                continue
            job = self.outside.last()
            if job is None and not self.outside.todo:
                checks.at_rest(self)
                return self
            self.run_job(job)
        checks.rests(self, True)
        return self

    def told(self) -> list[str]:
        """The trace in words."""
        lines = []
        for service, what, order, data in self.trace:
            said = ", ".join(f"{k}={_short(v)}" for k, v in data.items()) if data else ""
            lines.append(f"{service:13} {order:5} {what} {said}".rstrip())
        return lines


def _short(value: Any) -> str:
    if hasattr(value, "_asdict"):
        return f"v{value.version}"
    return str(value).replace("frozenset()", "-")
