"""fulfillment: from the fulfilment order until each unit of it is packed, short or cancelled; transfers; inspections."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from custody import checks
from custody.bus import FULFILLMENT, Data, Unit
from custody.service import Content, Custodian

MINE = ("open", "picked", "to put back")


@dataclass
class Work:
    """A fulfilment order: the state of each unit, what they are, and what was settled before they came."""

    place: str
    goods: dict[Unit, str]
    settled: dict[Unit, frozenset[str]]
    at: dict[Unit, str]
    content: Content


@dataclass
class Move:
    """A transfer on the floor."""

    units: tuple[Unit, ...]
    sent: tuple[Unit, ...] | None = None
    arrived: bool = False


@dataclass
class Floor:
    """An order as the floor knows it."""

    content: Content | None = None
    works: dict[str, Work] = field(default_factory=dict)
    parcels: dict[str, tuple[str, tuple[Unit, ...], Content]] = field(default_factory=dict)
    shorts: list[tuple[str, tuple[Unit, ...]]] = field(default_factory=list)
    moves: dict[str, Move] = field(default_factory=dict)
    asks: dict[str, tuple[frozenset[Unit], bool]] = field(default_factory=dict)
    heard: list[int] = field(default_factory=list)
    holds: set[str] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    waved: int = 1
    returns: dict[str, dict[Unit, str]] = field(default_factory=dict)
    ended: str | None = None


class Fulfillment(Custodian):
    name = FULFILLMENT

    def row(self, o: str) -> Floor:
        return self.rows.setdefault(o, Floor())

    def learn(self, row: Floor, content: Content) -> None:
        if row.content is None or content.version > row.content.version or not self.keeps("highest version wins"):
            row.content = content

    # -- what inventory and intake say

    def on_StockReserved(self, o: str, d: Data) -> None:  # noqa: N802 - named as the topic
        """Work arrives: custody is here. What was asked and amended before it came is done on arrival."""
        row = self.row(o)
        if d["work"] in row.works and self.keeps("work once"):
            return
        checks.agrees(self.world, row.ended is None, d["work"], "came after the end of", o)
        self.learn(row, d["content"])
        work = Work(d["place"], d["goods"], d["settled"], dict.fromkeys(d["goods"], "open"), d["content"])
        row.works[d["work"]] = work
        self.take(d["goods"])
        if self.keeps("amended before arrival"):
            work.content = row.content or d["content"]
            for version in row.heard:
                self._answer(o, row, version, work.at, "AmendApplied")
        if self.keeps("asked before arrival (floor)"):
            for unit in work.at:
                if self._due(row, work, unit):
                    self._cancel(o, row, d["work"], unit)

    def _due(self, row: Floor, work: Work, unit: Unit) -> list[str]:
        """The requests that hold for a unit here: standing ones, and those not settled before it came."""
        heeds, again = self.keeps("settled is heeded"), self.keeps("standing holds again")
        return [
            rid
            for rid, (units, standing) in row.asks.items()
            if unit in units and ((standing and again) or not heeds or rid not in work.settled[unit])
        ]

    def _cancel(self, o: str, row: Floor, name: str, unit: Unit) -> None:
        work = row.works[name]
        work.at[unit] = "cancelled"
        self.drop([unit])
        for rid in self._due(row, work, unit):
            self._yes(o, name, unit, rid)

    def _yes(self, o: str, name: str, unit: Unit, rid: str) -> None:
        self.mark(checks.answers, FULFILLMENT, "yes", unit)
        place = self.rows[o].works[name].place
        self.say("UnitsCancelled", o, rid=rid, units=(unit,), container=name, place=place)

    def on_CancelRequested(self, o: str, d: Data) -> None:  # noqa: N802
        row, rid = self.row(o), d["rid"]
        if rid in row.asks:
            return
        row.asks[rid] = (frozenset(d["units"]), d["standing"])
        for name, work in row.works.items():
            for unit in d["units"]:
                at = work.at.get(unit)
                if at is None or rid not in self._due(row, work, unit):
                    continue
                if at == "open":
                    self._cancel(o, row, name, unit)
                elif at == "picked":
                    work.at[unit] = "to put back"
                elif at == "cancelled" or (at == "packed" and not self.keeps("only what I hold")):
                    self._yes(o, name, unit, rid)

    def on_OrderAmended(self, o: str, d: Data) -> None:  # noqa: N802
        """Applied to what is not packed yet; the dock answers for what is."""
        row, content = self.row(o), d["content"]
        if content.version in row.heard:
            return
        row.heard.append(content.version)
        self.learn(row, content)
        for work in row.works.values():
            mine = [u for u, at in work.at.items() if at in MINE]
            if mine:
                work.content = row.content or content
            self._answer(o, row, content.version, mine, "AmendApplied")
            dead = [u for u, at in work.at.items() if at == "cancelled"]
            self._answer(o, row, content.version, dead, "AmendRefused")

    def _answer(self, o: str, row: Floor, version: int, units: Iterable[Unit], how: str) -> None:
        for unit in units:
            self.mark(checks.answers, FULFILLMENT, "amended", unit)
            if how == "AmendApplied":
                self.mark(checks.applies, unit, version)
            self.say(how, o, version=version, units=(unit,))

    def on_PriorityAssigned(self, o: str, d: Data) -> None:  # noqa: N802
        """A higher revision on the express lane: what we said on the slow lane is said again there."""
        row = self.row(o)
        if d["revision"] <= row.waved or row.ended:
            return
        row.waved = d["revision"]
        for parcel in row.parcels:
            self._packed(o, row, parcel)
        for name, units in row.shorts:
            self._shorted(o, row, name, units)
        for name, move in row.moves.items():
            if move.sent is not None:
                self._sent(o, name, move)

    def on_OrderCancelled(self, o: str, d: Data) -> None:  # noqa: N802
        self.row(o).ended = "over"

    on_OrderClosed = on_OrderCancelled  # noqa: N815

    def on_TransferRequested(self, o: str, d: Data) -> None:  # noqa: N802
        self.row(o).moves.setdefault(d["transfer"], Move(d["units"]))

    def on_ReturnAuthorised(self, o: str, d: Data) -> None:  # noqa: N802
        self.row(o).returns.setdefault(d["rid"], d["goods"])

    # -- people on the floor

    def ready(self, o: str, name: str, *states: str) -> list[Unit]:
        return [u for u, at in self.rows[o].works[name].at.items() if at in states]

    def held(self, o: str) -> bool:
        row = self.rows[o]
        return bool(row.holds) and row.ended is None and self.keeps("held: nobody picks")

    def pick(self, o: str, name: str, units: Iterable[Unit]) -> None:
        self.mark(checks.starts, FULFILLMENT, o)
        self.rows[o].works[name].at.update(dict.fromkeys(units, "picked"))

    def short(self, o: str, name: str, units: tuple[Unit, ...]) -> None:
        """The shelf had less than the system said: custody goes back."""
        row = self.rows[o]
        work = row.works[name]
        self.mark(checks.starts, FULFILLMENT, o)
        work.at.update(dict.fromkeys(units, "short"))
        self.give(units, "to inventory")
        self._report("in count", units, work.goods)
        row.shorts.append((name, units))
        self._shorted(o, row, name, units)

    def _shorted(self, o: str, row: Floor, name: str, units: tuple[Unit, ...]) -> None:
        work = row.works[name]
        settled = {u: work.settled[u] if self.keeps("settled travels") else frozenset() for u in units}
        self.say("PickShort", o, work=name, units=units, settled=settled, content=work.content)

    def pack(self, o: str, name: str, units: tuple[Unit, ...]) -> None:
        """A parcel stands on the dock: custody passes to shipping, with the content as it is now."""
        row = self.rows[o]
        work = row.works[name]
        self.mark(checks.starts, FULFILLMENT, o)
        work.at.update(dict.fromkeys(units, "packed"))
        self.give(units, "to shipping")
        self.mark(checks.fact, lambda seen: seen.packed.update(units))
        parcel = f"{o}-P{len(row.parcels) + 1}"
        row.parcels[parcel] = (name, units, work.content)
        self._packed(o, row, parcel)

    def _packed(self, o: str, row: Floor, parcel: str) -> None:
        name, units, content = row.parcels[parcel]
        work = row.works[name]
        goods, settled = {u: work.goods[u] for u in units}, {u: work.settled[u] for u in units}
        self.say("Packed", o, p=parcel, work=name, place=work.place, goods=goods, settled=settled, content=content)

    def put_back(self, o: str, name: str, units: Iterable[Unit]) -> None:
        """Cancelled goods of a tote are on the shelf again: now the requests are answered."""
        for unit in units:
            self._cancel(o, self.rows[o], name, unit)

    def dispatch(self, o: str, name: str, found: tuple[Unit, ...], goods: dict[Unit, str]) -> None:
        """What was on the shelf leaves; the rest is missing. Held orders wait; a transfer of a dead order goes on."""
        move = self.rows[o].moves[name]
        if not self.rows[o].ended:
            self.mark(checks.starts, FULFILLMENT, o)
        move.sent = found
        self._report("in count", [u for u in move.units if u not in found], goods)
        self._sent(o, name, move)

    def _sent(self, o: str, name: str, move: Move) -> None:
        missing = tuple(u for u in move.units if u not in (move.sent or ()))
        self.say("TransferDispatched", o, transfer=name, units=move.sent, missing=missing)

    def arrive(self, o: str, name: str, found: tuple[Unit, ...], goods: dict[Unit, str]) -> None:
        move = self.rows[o].moves[name]
        move.arrived = True
        missing = tuple(u for u in move.sent or () if u not in found)
        self._report("lost", missing, goods)
        self.say("TransferReceived", o, transfer=name, units=found, missing=missing)

    def return_received(self, o: str, rid: str) -> None:
        """A customer's goods are on the dock."""
        goods = self.rows[o].returns[rid]
        self._report("quality", goods, goods)
        self._report("out", goods, goods, -1)
        self.say("ReturnReceived", o, container=rid, units=tuple(goods))

    def inspect(self, o: str, container: str, verdicts: dict[Unit, tuple[str, str]]) -> None:
        """Verdict and SKU of goods that came back."""
        for unit, (verdict, sku) in verdicts.items():
            self.mark(checks.fact, lambda seen, u=unit, v=verdict: seen.inspected.setdefault((container, u), v))
            self._report("quality", [unit], {unit: sku}, -1)
            if verdict == "damaged":
                self.met("goods damaged")
                self._report("damaged", [unit], {unit: sku})
        self.say("ReturnInspected", o, container=container, verdicts=verdicts)

    def _report(self, bucket: str, units: Iterable[Unit], goods: dict[Unit, str], sign: int = 1) -> None:
        for unit in units:
            key = f"{bucket} {goods[unit]}"
            self.mark(checks.fact, lambda seen, k=key: seen.counted.update({k: sign}))
