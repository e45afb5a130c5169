"""inventory: goods, sourcing, the start rule, and every unit that waits, is in transfer, or came back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from custody import checks
from custody.bus import INVENTORY, Data, Unit
from custody.service import Content, Custodian

SHOPS = ("A", "B")
WAITING = ("allocated", "transfer", "backordered")  # in custody here
GONE = ("announced", "packed")  # with fulfillment, shipping or the customer
At = tuple[str, ...]  # status, then warehouse or container


@dataclass
class Transfer:
    """Pegged goods on their way; each unit is on the sender's shelf, then sent, then done."""

    units: set[Unit]
    source: str
    target: str
    goods: dict[Unit, str]
    told: bool = False
    sent: set[Unit] = field(default_factory=set)
    done: set[Unit] = field(default_factory=set)


@dataclass
class Occasion:
    """Units about which somebody may choose, once."""

    units: tuple[Unit, ...]
    choice: str | None = None


@dataclass
class Stock:
    """An order as inventory knows it. Units that are nowhere in `at` were never seen."""

    content: Content | None = None
    express: bool = False
    assigned: int = 0
    at: dict[Unit, At] = field(default_factory=dict)
    skus: dict[Unit, str] = field(default_factory=dict)
    works: dict[str, tuple[str, tuple[Unit, ...]]] = field(default_factory=dict)
    transfers: dict[str, Transfer] = field(default_factory=dict)
    asks: dict[str, tuple[frozenset[Unit], bool]] = field(default_factory=dict)
    settled: dict[Unit, set[str]] = field(default_factory=dict)
    heard: list[int] = field(default_factory=list)  # versions of amendments
    seen: set[tuple[str, str, Unit]] = field(default_factory=set)
    early: dict[tuple[str, Unit], tuple[str, str]] = field(default_factory=dict)  # inspections before their return
    check: dict[tuple[str, Unit], str] = field(default_factory=dict)  # warehouse of goods in quality check
    occasions: dict[str, Occasion] = field(default_factory=dict)
    choices: set[str] = field(default_factory=set)
    split: bool = False
    holds: set[str] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    ended: str | None = None

    def having(self, *statuses: str) -> list[Unit]:
        return [u for u, at in self.at.items() if at[0] in statuses]


class Inventory(Custodian):
    name = INVENTORY
    state = ("rows", "books")

    def __init__(self, world: object) -> None:
        super().__init__(world)  # type: ignore[arg-type]
        self.books: Counter[tuple[str, str, str]] = Counter()  # (bucket, warehouse, SKU) -> pieces

    def row(self, o: str) -> Stock:
        return self.rows.setdefault(o, Stock())

    def move(self, sku: str, source: tuple[str, str], target: tuple[str, str]) -> None:
        """One piece from (bucket, warehouse) to another; below zero is a leak."""
        self.books[(*source, sku)] -= 1
        self.books[(*target, sku)] += 1
        checks.agrees(self.world, self.books[(*source, sku)] >= 0, "less than nothing of", sku, *source)

    def fresh(self, row: Stock, kind: str, container: str, units: Iterable[Unit]) -> list[Unit]:
        """The units that have no such outcome from this container yet; from now on they have."""
        new = [u for u in units if (kind, container, u) not in row.seen or not self.keeps("outcomes once")]
        row.seen.update((kind, container, u) for u in new)
        return new

    def goods_of(self, row: Stock, unit: Unit) -> tuple[str, str]:
        """(bucket, warehouse) of the goods of a unit that left: Packed travels on another topic."""
        at = row.at[unit]
        checks.agrees(self.world, at[0] in GONE, unit, "left a station but is", *at)
        return ("allocated" if at[0] == "announced" else "out", at[1])

    # -- content and the wave

    def learn(self, row: Stock, content: Content) -> None:
        """The highest version wins, whichever event brings it; units it adds are sourced when the order is known."""
        row.express |= content.express
        if row.content is None or content.version > row.content.version or not self.keeps("highest version wins"):
            row.content = content
        for unit in row.content.units:
            row.skus.setdefault(unit, row.content.sku(unit))

    def on_PriorityAssigned(self, o: str, d: Data) -> None:  # noqa: N802 - named as the topic
        row = self.row(o)
        self.learn(row, d["content"])
        row.express |= d["urgent"]
        if row.ended:
            return
        if self.lane and d["revision"] > row.assigned > 0:
            self._wave(o, row)
        row.assigned = max(row.assigned, d["revision"])
        self._source_new(o, row)
        self.start(o, row)

    def _source_new(self, o: str, row: Stock) -> None:
        if not row.assigned or row.ended or row.content is None:
            return
        new = [u for u in row.content.units if u not in row.at]
        self.take(new)
        self._source(o, row, new)

    def _wave(self, o: str, row: Stock) -> None:
        for work, (_, units) in row.works.items():
            if any(row.at[u] == ("announced", row.works[work][0], work) for u in units):
                self._announce(o, row, work)
        for name, transfer in row.transfers.items():
            if transfer.told and any(row.at[u] == ("transfer", name) for u in transfer.units):
                self._request(o, name, transfer)

    # -- sourcing and starting

    def _source(self, o: str, row: Stock, units: Iterable[Unit]) -> None:
        short, moved = [], {}
        for unit in units:
            sku = row.skus[unit]
            have = [w for w in SHOPS if self.books["free", w, sku] > 0]
            if not have:
                row.at[unit] = ("backordered",)
                short.append(unit)
                continue
            place = self.chance.pick(have)
            if self.chance.likely(0.25):
                self.move(sku, ("free", place), ("leaving", place))
                moved.setdefault(place, []).append(unit)
            else:
                self.move(sku, ("free", place), ("allocated", place))
                row.at[unit] = ("allocated", place)
        for place, pegged in moved.items():
            name = f"{o}-T{len(row.transfers) + 1}"
            target = SHOPS[1 - SHOPS.index(place)]
            row.transfers[name] = Transfer(set(pegged), place, target, {u: row.skus[u] for u in pegged})
            row.at.update(dict.fromkeys(pegged, ("transfer", name)))
        if short:
            self._occasion(o, row, f"{o}-short{len(row.occasions) + 1}", short)

    def _occasion(self, o: str, row: Stock, name: str, units: Iterable[Unit]) -> None:
        row.occasions[name] = Occasion(tuple(units))
        self.say("StockShort", o, occasion=name)

    def start(self, o: str, row: Stock, *, change: str = "") -> None:
        """The start rule, after every change: what may begin now is announced, one fulfilment order per warehouse."""
        if change and not self.keeps("start after every change"):
            return
        if row.ended or row.content is None or (row.holds and self.keeps("held: inventory announces nothing")):
            return
        for name, transfer in row.transfers.items():
            if not transfer.told and transfer.units - transfer.done:
                transfer.told, transfer.units, transfer.done = True, transfer.units - transfer.done, set()
                self._request(o, name, transfer)
        waiting, together = row.having("backordered", "transfer"), row.content.together and not row.split
        if waiting and together and self.keeps("together or not at all"):
            return
        for place in SHOPS:
            units = tuple(u for u, at in row.at.items() if at == ("allocated", place))
            if not units:
                continue
            work = f"{o}-F{len(row.works) + 1}"
            row.works[work] = (place, units)
            row.at.update(dict.fromkeys(units, ("announced", place, work)))
            self.mark(checks.starts, INVENTORY, o)
            self.mark(checks.announced, o, together, waiting)
            self.give(units, "to fulfillment")
            self._announce(o, row, work)

    def _announce(self, o: str, row: Stock, work: str) -> None:
        place, units = row.works[work]
        settled = {u: frozenset(row.settled.get(u, ())) for u in units}
        goods = {u: row.skus[u] for u in units}
        self.say(
            "StockReserved",
            o,
            express=row.express,
            work=work,
            place=place,
            goods=goods,
            settled=settled,
            content=row.content,
        )

    def _request(self, o: str, name: str, transfer: Transfer) -> None:
        self.say(
            "TransferRequested", o, express=self.rows[o].express, transfer=name, units=tuple(sorted(transfer.units))
        )

    # -- cancels

    def on_CancelRequested(self, o: str, d: Data) -> None:  # noqa: N802
        row = self.row(o)
        if d["rid"] in row.asks:
            return
        row.asks[d["rid"]] = (frozenset(d["units"]), d["standing"])
        dying = [u for u in d["units"] if row.at.get(u, ("unseen",))[0] not in (*GONE, "returned")]
        if not d["standing"]:  # settled downstream before it was heard here
            dying = [u for u in dying if d["rid"] not in row.settled.get(u, ())]
        self._die(o, row, dying, {u: [d["rid"]] for u in dying})
        self.start(o, row, change="cancel")

    def _die(self, o: str, row: Stock, units: Iterable[Unit], answers: dict[Unit, list[str]]) -> None:
        """Units in custody, or never seen, end here; their goods become free and each request is answered."""
        for unit in units:
            at = row.at.get(unit)
            if at is not None and at[0] == "allocated" and self.keeps("dead units free their goods"):
                self.move(row.skus[unit], ("allocated", at[1]), ("free", at[1]))
            elif at is not None and at[0] == "transfer":
                self._unpeg(row, unit, at[1])
            if at is not None or self.keeps("unseen is answered once and for all"):
                row.at[unit] = ("dead",)
            self.drop([unit])
            for rid in answers.get(unit, ()):
                self.mark(checks.answers, INVENTORY, "yes", unit)
                self.say("UnitsCancelled", o, rid=rid, units=(unit,), container=None)

    def _unpeg(self, row: Stock, unit: Unit, name: str) -> None:
        """A transfer nobody was told about is undone at once; goods of others are free when they arrive."""
        transfer = row.transfers[name]
        if not transfer.told:
            self.move(transfer.goods[unit], ("leaving", transfer.source), ("free", transfer.source))
            transfer.done.add(unit)

    def on_CancelRefused(self, o: str, d: Data) -> None:  # noqa: N802
        for unit in d["units"]:
            self.row(o).settled.setdefault(unit, set()).add(d["rid"])

    def on_UnitsCancelled(self, o: str, d: Data) -> None:  # noqa: N802
        """Fulfillment or shipping put goods back: free once per (container, unit), however many requests named it."""
        if d["container"] is None:
            return  # our own
        row = self.row(o)
        kind = "UnitsCancelled" if self.keeps("freed once") else f"UnitsCancelled {d['rid']}"
        for unit in self.fresh(row, kind, d["container"], d["units"]):
            if row.at[unit] == ("dead",):
                self.books["free", d["place"], row.skus[unit]] += 1
                continue
            self.move(row.skus[unit], self.goods_of(row, unit), ("free", d["place"]))
            row.at[unit] = ("dead",)
        self.start(o, row, change="cancel")

    def _back(
        self,
        o: str,
        row: Stock,
        units: list[Unit],
        settled: dict[Unit, frozenset[str]],
        content: Content | None,
        why: str,
    ) -> None:
        """Custody comes back. What a standing or an unsettled request wants dies, the rest is sourced again."""
        self.take(units)
        if content is not None:
            self.learn(row, content)
        answers: dict[Unit, list[str]] = {}
        for unit in units:
            row.settled.setdefault(unit, set()).update(settled.get(unit, ()))
            row.at[unit] = ("back",)
            for rid, (asked, standing) in row.asks.items():
                again = standing and self.keeps("standing holds again")
                if unit in asked and (again or rid not in row.settled[unit]):
                    answers.setdefault(unit, []).append(rid)
        self._die(o, row, answers, answers)
        live = [u for u in units if u not in answers]
        if self.keeps("answers for what comes back"):
            for version in row.heard:
                self._answer(o, row, version, units)
        if live and why:
            self._occasion(o, row, why, live)
        self._source(o, row, live)
        self._source_new(o, row)
        self.start(o, row)

    # -- amendments, holds, ends

    def on_OrderAmended(self, o: str, d: Data) -> None:  # noqa: N802
        """Applied to what waits here and promised for what was never seen; what is downstream is answered there."""
        row, content = self.row(o), d["content"]
        if content.version in row.heard:
            return
        row.heard.append(content.version)
        self.learn(row, content)
        mine = [u for u in content.units if row.at.get(u, ("unseen",))[0] not in (*GONE, "returned")]
        self._answer(o, row, content.version, mine)
        self._source_new(o, row)
        self.start(o, row, change="amendment")

    def _answer(self, o: str, row: Stock, version: int, units: Iterable[Unit]) -> None:
        for unit in units:
            dead = row.at.get(unit) == ("dead",)
            self.mark(checks.answers, INVENTORY, "amended", unit)
            if not dead:
                self.mark(checks.applies, unit, version)
            self.say("AmendRefused" if dead else "AmendApplied", o, version=version, units=(unit,))

    def on_OrderHoldReleased(self, o: str, d: Data) -> None:  # noqa: N802
        super().on_OrderHoldReleased(o, d)
        self.start(o, self.row(o), change="release")

    def on_OrderCancelled(self, o: str, d: Data) -> None:  # noqa: N802
        self.row(o).ended = "over"

    on_OrderClosed = on_OrderCancelled  # noqa: N815
