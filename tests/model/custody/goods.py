"""inventory, second part: what stations report about goods, remedies, counts and receipts."""

from __future__ import annotations

from custody import checks
from custody.bus import INVENTORY, Data, Unit
from custody.inventory import GONE, SHOPS, WAITING, Inventory, Stock


class Warehouse(Inventory):
    """All of inventory."""

    # -- floor and carriers

    def on_Packed(self, o: str, d: Data) -> None:  # noqa: N802 - named as the topic
        row = self.row(o)
        self.learn(row, d["content"])
        for unit in d["goods"]:
            at = row.at[unit]
            if at[0] == "announced" and at[2] == d["work"]:
                self.move(row.skus[unit], ("allocated", at[1]), ("out", at[1]))
                row.at[unit] = ("packed", at[1], d["p"])
        self._source_new(o, row)
        self.start(o, row)

    def on_PickShort(self, o: str, d: Data) -> None:  # noqa: N802
        row = self.row(o)
        fresh = self.fresh(row, "PickShort", d["work"], d["units"])
        for unit in fresh:
            bucket, place = self.goods_of(row, unit)
            self.move(
                row.skus[unit], (bucket, place), ("in count" if self.keeps("short bins are counted") else "free", place)
            )
        self._back(o, row, fresh, d["settled"], d["content"], "")

    def on_ShipmentLost(self, o: str, d: Data) -> None:  # noqa: N802
        target = "lost" if self.keeps("lost is lost") else "free"
        self._carrier(o, d, "ShipmentLost", target)

    def on_ParcelReturned(self, o: str, d: Data) -> None:  # noqa: N802
        self._carrier(o, d, "ParcelReturned", "quality")

    def _carrier(self, o: str, d: Data, kind: str, target: str) -> None:
        row = self.row(o)
        fresh = self.fresh(row, kind, d["p"], d["units"])
        if not fresh:
            return
        for unit in fresh:
            bucket, place = self.goods_of(row, unit)
            self.move(row.skus[unit], (bucket, place), (target, place))
            if target == "quality":
                self._early(row, d["p"], unit, place)
        self._back(o, row, fresh, d["settled"], None, f"{o}-{kind}-{d['p']}")

    def _early(self, row: Stock, container: str, unit: Unit, place: str) -> None:
        row.check[container, unit] = place
        if (container, unit) in row.early:
            sku, verdict = row.early.pop((container, unit))
            self.move(sku, ("quality", place), (verdict, place))

    def on_ReturnReceived(self, o: str, d: Data) -> None:  # noqa: N802
        """A customer sent delivered units back."""
        row = self.row(o)
        for unit in self.fresh(row, "ReturnReceived", d["container"], d["units"]):
            bucket, place = self.goods_of(row, unit)
            self.move(row.skus[unit], (bucket, place), ("quality", place))
            row.at[unit] = ("returned", place, d["container"])
            self._early(row, d["container"], unit, place)

    def on_ReturnInspected(self, o: str, d: Data) -> None:  # noqa: N802
        """Only what was inspected becomes available. The inspection may be heard before the return."""
        row, container = self.row(o), d["container"]
        for unit in self.fresh(row, "ReturnInspected", container, d["verdicts"]):
            verdict, sku = d["verdicts"][unit]
            bucket = "free" if verdict == "restock" else "damaged"
            place = row.check.get((container, unit))
            if place is not None:
                self.move(sku, ("quality", place), (bucket, place))
            elif self.keeps("inspection may come first"):
                row.early[container, unit] = (sku, bucket)

    # -- transfers: pegged to their order, with differences

    def on_TransferDispatched(self, o: str, d: Data) -> None:  # noqa: N802
        row = self.row(o)
        transfer = row.transfers[d["transfer"]]
        left = transfer.units - transfer.sent - transfer.done
        missing = [u for u in d["missing"] if u in left]
        for unit in d["units"]:
            if unit in left:
                self.move(transfer.goods[unit], ("leaving", transfer.source), ("in transit", transfer.target))
                transfer.sent.add(unit)
        for unit in missing:
            self.move(transfer.goods[unit], ("leaving", transfer.source), ("in count", transfer.source))
            transfer.done.add(unit)
        self._again(o, row, d["transfer"], missing)

    def on_TransferReceived(self, o: str, d: Data) -> None:  # noqa: N802
        """Goods arrived: allocated to their units, available when those died; what did not arrive is lost. The receipt
        may be heard before the dispatch."""
        row = self.row(o)
        transfer = row.transfers[d["transfer"]]
        lost = [u for u in d["missing"] if u not in transfer.done]
        for unit in (*(u for u in d["units"] if u not in transfer.done), *lost):
            pegged = row.at[unit] == ("transfer", d["transfer"])
            target = "lost" if unit in lost else "allocated" if pegged else "free"
            source = ("in transit", transfer.target) if unit in transfer.sent else ("leaving", transfer.source)
            if target != "free" or self.keeps("goods of the dead arrive"):
                self.move(transfer.goods[unit], source, (target, transfer.target))
            if target == "allocated":
                row.at[unit] = ("allocated", transfer.target)
            transfer.done.add(unit)
        self._again(o, row, d["transfer"], lost)

    def _again(self, o: str, row: Stock, name: str, missing: list[Unit]) -> None:
        self._source(o, row, [u for u in missing if row.at[u] == ("transfer", name)])
        self.start(o, row, change="transfer")

    # -- remedies

    def on_RemedyChosen(self, o: str, d: Data) -> None:  # noqa: N802
        """Apply the first choice of an occasion to what still waits here, or say that it is too late."""
        row = self.row(o)
        if d["choice"] in row.choices:
            return
        row.choices.add(d["choice"])
        occasion = row.occasions[d["occasion"]]
        waits = WAITING if self.keeps("too late is too late") else (*WAITING, *GONE)
        units = tuple(u for u in occasion.units if row.at[u][0] in waits)
        late = occasion.choice is not None and self.keeps("one remedy per occasion")
        if late or row.ended or not units:
            self._remedied(o, d, "too late", ())
            return
        occasion.choice = d["remedy"]
        if d["remedy"] == "refund":
            self._die(o, row, units, {})
        elif d["remedy"] == "substitute":
            self._substitute(o, row, units)
        elif d["remedy"] == "split":
            row.split = True
        self._remedied(o, d, d["remedy"], units)
        self.start(o, row, change="remedy")

    def _remedied(self, o: str, d: Data, outcome: str, units: tuple[Unit, ...]) -> None:
        self.mark(checks.remedied, d["occasion"], d["choice"], outcome)
        self.met(f"remedy: {outcome}")
        self.say("RemedyApplied", o, occasion=d["occasion"], outcome=outcome, units=units)

    def _substitute(self, o: str, row: Stock, units: tuple[Unit, ...]) -> None:
        """Other goods for what waits for goods; what has some keeps them."""
        short = [u for u in units if row.at[u][0] == "backordered"]
        for unit in short:
            row.skus[unit] = next(s for s in self.world.skus if s != row.skus[unit])
        self._source(o, row, short)

    def late(self, o: str) -> bool:
        """The estimate of what is backordered has passed: an occasion to choose again."""
        row = self.rows[o]
        units = row.having("backordered")
        if units:
            self._occasion(o, row, f"{o}-late{len(row.occasions) + 1}", units)
        return bool(units)

    # -- planners

    def receive(self, sku: str, place: str, pieces: int) -> None:
        """Bought goods are on the shelf."""
        self.books["free", place, sku] += pieces
        self.mark(checks.fact, lambda _: self.world.came_in(sku, pieces))

    def count(self, sku: str, place: str, found: int) -> None:
        """What was in count is found or written off."""
        doubtful = self.books["in count", place, sku]
        found = min(found, doubtful)
        self.books["in count", place, sku] = 0
        self.books["free", place, sku] += found
        self.met("counted")
        self.mark(checks.fact, lambda seen: seen.counted.subtract({f"in count {sku}": doubtful}))
        self.mark(checks.fact, lambda _: self.world.came_in(sku, found - doubtful))

    def fill(self, o: str) -> bool:
        """Free stock goes to who waits for it, then the order starts by itself. Whether any was."""
        row = self.rows[o]
        served = [u for u in row.having("backordered") if any(self.books["free", w, row.skus[u]] for w in SHOPS)]
        if row.ended or not served:
            return False
        self._source(o, row, served[:1])
        self.start(o, row)
        return True

    def needed(self) -> list[str]:
        """SKUs that somebody waits for."""
        return [row.skus[u] for row in self.rows.values() if not row.ended for u in row.having("backordered")]


__all__ = ["INVENTORY", "Warehouse"]
