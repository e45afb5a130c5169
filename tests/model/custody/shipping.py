"""shipping: from Packed until each unit is delivered, lost or returned. The hand-over turns a cancel into a refusal."""

from __future__ import annotations

from dataclasses import dataclass, field

from custody import checks
from custody.bus import SHIPPING, Data, Unit
from custody.service import Content, Custodian


@dataclass
class Parcel:
    """A box. Each unit is packed, waiting to be put back, or put back."""

    work: str
    place: str
    goods: dict[Unit, str]
    settled: dict[Unit, set[str]]
    content: Content
    at: dict[Unit, str]
    waiting: list[tuple[str, Unit]] = field(default_factory=list)  # (request, unit)
    station: str = "dock"  # dock, handed, delivered, lost, returned, cancelled

    def units(self, at: str = "packed") -> list[Unit]:
        return [u for u, here in self.at.items() if here == at]


@dataclass
class Leg:
    """An order as the dock knows it."""

    parcels: dict[str, Parcel] = field(default_factory=dict)
    asks: dict[str, tuple[frozenset[Unit], bool]] = field(default_factory=dict)
    heard: dict[int, Content] = field(default_factory=dict)
    holds: set[str] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    waved: int = 1
    ended: str | None = None


class Shipping(Custodian):
    name = SHIPPING

    def row(self, o: str) -> Leg:
        return self.rows.setdefault(o, Leg())

    # -- what others say

    def on_Packed(self, o: str, d: Data) -> None:  # noqa: N802 - named as the topic
        row = self.row(o)
        if d["p"] in row.parcels and self.keeps("parcels once"):
            return
        settled = {u: set(rids) for u, rids in d["settled"].items()}
        parcel = Parcel(d["work"], d["place"], d["goods"], settled, d["content"], dict.fromkeys(d["goods"], "packed"))
        row.parcels[d["p"]] = parcel
        self.take(d["goods"])
        for content in row.heard.values():
            self._amend(o, parcel, content)
        if self.keeps("asked before arrival (dock)"):
            for rid in row.asks:
                self._settle(o, row, d["p"], rid)

    def on_CancelRequested(self, o: str, d: Data) -> None:  # noqa: N802
        row = self.row(o)
        if d["rid"] in row.asks:
            return
        row.asks[d["rid"]] = (frozenset(d["units"]), d["standing"])
        for p in row.parcels:
            self._settle(o, row, p, d["rid"])

    def _settle(self, o: str, row: Leg, p: str, rid: str) -> None:
        """Answer a request for the units of a parcel. A lost or returned one says nothing: who gets the units does."""
        parcel, (units, standing) = row.parcels[p], row.asks[rid]
        for unit in units & set(parcel.at):
            stands = standing and self.keeps("standing holds again")
            if not stands and rid in parcel.settled[unit] and self.keeps("settled is heeded"):
                continue
            if parcel.at[unit] == "put back":
                self._yes(o, p, unit, rid)
            elif parcel.station == "dock":
                parcel.at[unit] = "waiting" if self.keeps("put back before yes") else "packed"
                parcel.waiting.append((rid, unit))
            elif parcel.station in ("handed", "delivered"):
                late = parcel.station == "delivered" or self.keeps("the hand-over is the end of it")
                (self._no if late else self._yes)(o, p, unit, rid)

    def _yes(self, o: str, p: str, unit: Unit, rid: str) -> None:
        self.mark(checks.answers, SHIPPING, "yes", unit)
        self.say("UnitsCancelled", o, rid=rid, units=(unit,), container=p, place=self.rows[o].parcels[p].place)

    def _no(self, o: str, p: str, unit: Unit, rid: str) -> None:
        self.mark(checks.answers, SHIPPING, "no", unit)
        self.rows[o].parcels[p].settled[unit].add(rid)
        self.say("CancelRefused", o, rid=rid, units=(unit,), p=p)

    def on_OrderAmended(self, o: str, d: Data) -> None:  # noqa: N802
        row, content = self.row(o), d["content"]
        if content.version in row.heard:
            return
        row.heard[content.version] = content
        for parcel in row.parcels.values():
            self._amend(o, parcel, content)

    def _amend(self, o: str, parcel: Parcel, content: Content) -> None:
        """Too late for what is packed; a lost or returned parcel says nothing."""
        if parcel.station in ("lost", "returned"):
            return
        done = parcel.content.version >= content.version
        if not done and not self.keeps("packed is packed"):
            parcel.content, done = content, True
            for unit in parcel.units():
                self.mark(checks.applies, unit, content.version)
        for unit in parcel.at:
            self.mark(checks.answers, SHIPPING, "amended", unit)
            self.say("AmendApplied" if done else "AmendRefused", o, version=content.version, units=(unit,))

    def on_PriorityAssigned(self, o: str, d: Data) -> None:  # noqa: N802
        row = self.row(o)
        if d["revision"] <= row.waved or row.ended:
            return
        row.waved = d["revision"]
        for p, parcel in row.parcels.items():
            self._tell(o, p, parcel)

    def on_OrderCancelled(self, o: str, d: Data) -> None:  # noqa: N802
        self.row(o).ended = "over"

    on_OrderClosed = on_OrderCancelled  # noqa: N815

    # -- people and carriers

    def can_leave(self, o: str, p: str) -> bool:
        row = self.rows[o]
        parcel = row.parcels[p]
        held = row.holds and self.keeps("held: nothing is handed over")
        waits = parcel.waiting and self.keeps("put back before yes")
        return parcel.station == "dock" and not waits and not held and bool(parcel.units())

    def put_back(self, o: str, p: str) -> None:
        """Cancelled units are out of the box and on the shelf: now the requests are answered."""
        parcel = self.rows[o].parcels[p]
        for unit in dict.fromkeys(u for _, u in parcel.waiting):
            parcel.at[unit] = "put back"
            self.drop([unit])
            self.mark(checks.fact, lambda seen, u=unit: seen.packed.discard(u))
        for rid, unit in parcel.waiting:
            self._yes(o, p, unit, rid)
        parcel.waiting = []
        if not parcel.units():
            parcel.station = "cancelled"

    def hand_over(self, o: str, p: str) -> None:
        """The scan at the truck."""
        self.mark(checks.starts, SHIPPING, o)
        self._leave(o, p)

    def scanned(self, o: str, p: str) -> None:
        """The carrier has what we have on the dock: the hand-over happened, and what waits to be put back went with it."""
        parcel = self.rows[o].parcels[p]
        if parcel.station != "dock":
            return
        waiting, parcel.waiting = parcel.waiting, []
        for rid, unit in waiting:
            parcel.at[unit] = "packed"
            self._no(o, p, unit, rid)
        self._leave(o, p)

    def _leave(self, o: str, p: str) -> None:
        parcel = self.rows[o].parcels[p]
        parcel.station = "handed"
        self.say("Shipped", o, p=p, units=tuple(parcel.units()))

    def ends(self, o: str, p: str, how: str) -> None:
        """A carrier says: delivered, lost or returned. News of what does not travel change nothing."""
        parcel = self.rows[o].parcels[p]
        if parcel.station != "handed" and (
            self.keeps("news of parcels only while they travel") or parcel.station == "dock"
        ):
            return
        parcel.station = how
        units = parcel.units()
        bucket = {"delivered": "out", "lost": "lost", "returned": "quality"}[how]
        keys = [f"{bucket} {parcel.goods[u]}" for u in units]
        self.mark(checks.fact, lambda seen: seen.counted.update(keys))
        self.give(units, "customer" if how == "delivered" else "to inventory")
        if how == "delivered":
            content = parcel.content
            facts = {u: (p, content.version, content.address, parcel.goods[u]) for u in units}
            self.mark(checks.fact, lambda seen: seen.arrived.update(facts))
        else:
            self.mark(checks.fact, lambda seen: seen.packed.difference_update(units))
        self._tell(o, p, parcel)

    def _tell(self, o: str, p: str, parcel: Parcel) -> None:
        units = tuple(parcel.units())
        if parcel.station == "delivered":
            self.say("Delivered", o, p=p, goods={u: parcel.goods[u] for u in units})
        elif parcel.station in ("lost", "returned"):
            settled = {u: frozenset(parcel.settled[u]) if self.keeps("settled travels") else frozenset() for u in units}
            topic = "ShipmentLost" if parcel.station == "lost" else "ParcelReturned"
            self.say(topic, o, p=p, units=units, settled=settled)
