"""What all services share: state that a crash takes back, a box for what a step says, and marks for the checks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from custody import checks
from custody.bus import INVENTORY, Data, Message, Unit

if TYPE_CHECKING:
    from custody.world import World


class Content(NamedTuple):
    """What an order is at one version. Units are numbered for ever; a later version may have more of them."""

    version: int
    address: int
    together: bool  # everything at once or nothing
    units: tuple[Unit, ...]
    skus: tuple[tuple[int, str], ...]  # by line
    express: bool

    def sku(self, unit: Unit) -> str:
        return dict(self.skus)[unit[1]]


Mark = tuple[Callable[..., None], tuple[Any, ...]]


class Service:
    """One service. Everything it knows is in attributes named in `state`; a step is a method that changes them and says
    things. Nobody reads another service's state."""

    name = ""
    state: tuple[str, ...] = ("rows",)

    def __init__(self, world: World) -> None:
        self.world, self.chance = world, world.chance
        self.rows: dict[str, Any] = {}
        self.said: list[tuple[str, str, bool, dict[str, Any]]] = []
        self.marks: list[Mark] = []
        self.lane = False  # of the message that is being handled: whether it is the express one

    def keeps(self, rule: str) -> bool:
        """Whether this run keeps a rule."""
        return rule not in self.world.broken

    def say(self, topic: str, order: str, *, express: bool = False, **data: Any) -> None:
        """Publish when the step is committed, on the lane of its cause unless the order is express."""
        self.said.append((topic, order, express or self.lane, data))

    def mark(self, check: Callable[..., None], *facts: Any) -> None:
        """A fact of this step, checked when it is committed."""
        self.marks.append((check, facts))

    def met(self, path: str) -> None:
        """Count a path that was taken, when the step is committed."""
        self.mark(checks.met, path)

    def snapshot(self) -> dict[str, Any]:
        return {name: copy.deepcopy(getattr(self, name)) for name in self.state}

    def restore(self, saved: dict[str, Any]) -> None:
        for name, value in saved.items():
            setattr(self, name, value)

    def hear(self, message: Message) -> None:
        """Handle a message. Which holds were heard of is noted for the checks, whatever the service makes of it."""
        if message.topic in ("OrderHeld", "OrderHoldReleased"):
            place, hold = (self.name, message.key), message.data["hold"]
            if message.topic == "OrderHeld":
                self.mark(checks.fact, lambda seen: seen.placed[place].add(hold))
            else:
                self.mark(checks.fact, lambda seen: seen.released[place].add(hold))
        getattr(self, f"on_{message.topic}")(message.key, message.data)

    # -- custody, as the checks follow it

    def take(self, units: Iterable[Unit]) -> None:
        """Custody arrives with an event; inventory also takes what comes from upstream."""
        allowed = (f"to {self.name}", "upstream") if self.name == INVENTORY else (f"to {self.name}",)
        for unit in units:
            self.mark(checks.moves, unit, allowed, self.name)

    def give(self, units: Iterable[Unit], to: str) -> None:
        """Custody leaves with an event."""
        for unit in units:
            self.mark(checks.moves, unit, (self.name,), to)

    def drop(self, units: Iterable[Unit]) -> None:
        """The units will not be delivered: nobody holds them any more."""
        allowed = (
            (self.name, "nobody", "upstream") if self.name in (INVENTORY, "order-intake") else (self.name, "nobody")
        )
        for unit in units:
            self.mark(checks.moves, unit, allowed, "nobody")


class Custodian(Service):
    """A service that may have units of an order and starts nothing while the order is held."""

    def row(self, o: str) -> Any:
        """What it knows of an order; made when it hears of it first."""
        raise NotImplementedError

    def on_OrderHeld(self, o: str, d: Data) -> None:  # noqa: N802
        row = self.row(o)
        if d["hold"] not in row.released:
            row.holds.add(d["hold"])

    def on_OrderHoldReleased(self, o: str, d: Data) -> None:  # noqa: N802
        row = self.row(o)
        row.holds = row.holds - {d["hold"]} if self.keeps("holds have ids") else set()
        if self.keeps("tombstones"):
            row.released.add(d["hold"])
