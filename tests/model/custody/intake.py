"""order-intake: placing, holds, amendments, cancels, money, returns, the end. Upstream of everybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from custody import checks
from custody.bus import INTAKE, Data, Unit
from custody.service import Content, Service


@dataclass
class Request:
    """A cancel request; `origin` is the person's request that it follows from."""

    units: dict[Unit, str | None]
    standing: bool
    origin: str
    whole: bool = False
    by: dict[Unit, set[str]] = field(default_factory=dict)  # parcels that refused a unit


@dataclass
class Amendment:
    """One version and the answers to it."""

    answers: dict[Unit, str | None]


@dataclass
class Return:
    """Delivered units that come back. The verdict of a unit is None until it is inspected."""

    units: dict[Unit, str | None]
    exchange: bool
    expired: bool = False
    exchanged: bool = False


@dataclass
class Sale:
    """An order as intake knows it."""

    content: Content
    holds: dict[str, str | None] = field(default_factory=dict)
    received: bool = False
    raised: bool = False
    ended: str | None = None
    requests: dict[str, Request] = field(default_factory=dict)
    quantity: Counter[int] = field(default_factory=Counter)  # quantity cancels not refused, by line
    out: dict[Unit, str] = field(default_factory=dict)
    parcels: dict[str, tuple[Unit, ...]] = field(default_factory=dict)
    back: set[str] = field(default_factory=set)  # parcels lost or returned
    amendments: dict[int, Amendment] = field(default_factory=dict)
    addresses: dict[int, int] = field(default_factory=dict)  # by version
    refused_addresses: set[int] = field(default_factory=set)
    refunded: set[Unit] = field(default_factory=set)
    returns: dict[str, Return] = field(default_factory=dict)
    goods: dict[Unit, str] = field(default_factory=dict)  # SKU of what was delivered

    @property
    def handed(self) -> set[Unit]:
        return {u for p, units in self.parcels.items() if p not in self.back for u in units} - set(self.out)

    @property
    def open_holds(self) -> list[str]:
        return [h for h, outcome in self.holds.items() if outcome is None]


class Intake(Service):
    name = INTAKE

    # -- people

    def place(self, o: str, content: Content, holds: Iterable[str]) -> None:
        """Accept an order; it waits behind its holds."""
        row = self.rows[o] = Sale(content=content, addresses={1: content.address})
        self._numbered(content.units)
        for kind in holds:
            self._hold(o, row, kind)
        if not row.open_holds:
            self._announce(o, row)

    def _numbered(self, units: Iterable[Unit]) -> None:
        for unit in units:
            self.mark(checks.fact, lambda seen, u=unit: seen.holder.setdefault(u, "upstream"))

    def _hold(self, o: str, row: Sale, kind: str) -> None:
        hold = f"{o}-H{len(row.holds) + 1}-{kind}"
        row.holds[hold] = None
        self.say("OrderHeld", o, hold=hold)

    def hold_again(self, o: str, kind: str) -> None:
        """A received order needs a person (a changed address, a doubt): everybody stops."""
        row = self.rows[o]
        if row.received and not row.ended:
            self._hold(o, row, kind)

    def decide(self, o: str, hold: str, outcome: str) -> None:
        """A person or the hold's clock ends a hold; rejected or expired, the order is cancelled."""
        row = self.rows[o]
        if row.holds[hold] is not None and (outcome != "expired" or self.keeps("a decided hold does not expire")):
            return
        if row.holds[hold] is None:
            self.met(f"hold {outcome}")
            row.holds[hold] = outcome
            self.say("OrderHoldReleased", o, hold=hold)
        if outcome in ("rejected", "expired"):
            if not row.received or not self.keeps("a decided hold does not expire"):
                self._cancel_here(o, row)
            elif not row.ended:
                self._ask(o, row, row.content.units, standing=True, whole=True)
        elif not row.received and not row.open_holds and not row.ended:
            self._announce(o, row)

    def _announce(self, o: str, row: Sale) -> None:
        row.received = True
        self.say("OrderReceived", o, express=row.content.express or row.raised, content=row.content)

    def _release_all(self, o: str, row: Sale) -> None:
        for hold in row.open_holds:
            row.holds[hold] = "over"
            self.say("OrderHoldReleased", o, hold=hold)

    def _cancel_here(self, o: str, row: Sale) -> None:
        """Nobody else has seen the order: intake itself is the custodian."""
        self.drop(row.content.units)
        self._out(row, row.content.units, "cancelled")
        rid = f"{o}-C{len(row.requests) + 1}"
        row.requests[rid] = Request(dict.fromkeys(row.content.units, "yes"), True, rid, True)
        self._settle(o, row)

    def cancel(self, o: str, units: tuple[Unit, ...] | None) -> str:
        """Cancel named units, or the whole order. The answer to the person."""
        row = self.rows[o]
        wanted = row.content.units if units is None else units
        if row.ended == "closed" or {u for u in wanted if row.out.get(u) != "cancelled"} <= row.handed | {
            u for u, end in row.out.items() if end == "delivered"
        }:
            return "too late"
        if any(r.standing and set(r.units) == set(wanted) and not row.ended for r in row.requests.values()):
            return "asked already"
        if row.ended:
            return "done already"
        if not row.received and set(row.content.units) <= set(wanted) | set(row.out):
            self._cancel_here(o, row)
            return "cancelled at intake"
        self._ask(o, row, wanted, standing=True, whole=units is None)
        return "asked"

    def reduce(self, o: str, line: int, n: int) -> str:
        """So many less of a line, whichever: the last ones that are near."""
        row = self.rows[o]
        return "asked" if not row.ended and self._less(o, row, line, n, None) else "too late"

    def _less(self, o: str, row: Sale, line: int, n: int, origin: str | None) -> bool:
        tried = {u for r in row.requests.values() if r.origin == origin for u in r.units} if origin else set()
        if origin and not self.keeps("others, not the same"):
            tried = set()
        asked = {u for r in row.requests.values() for u, answer in r.units.items() if answer is None}
        left = [u for u in row.content.units if u[1] == line and u not in row.out and u not in tried]
        left.sort(key=lambda u: (u not in row.handed, u not in asked, u[2]))
        if left:
            self._ask(o, row, tuple(left[-n:]), standing=False, origin=origin)
        return bool(left)

    def _ask(
        self,
        o: str,
        row: Sale,
        units: tuple[Unit, ...],
        *,
        standing: bool,
        whole: bool = False,
        origin: str | None = None,
    ) -> None:
        rid = f"{o}-C{len(row.requests) + 1}"
        row.requests[rid] = Request(dict.fromkeys(units), standing, origin or rid, whole)
        if not standing:
            row.quantity.update(u[1] for u in units)
        self.say("CancelRequested", o, rid=rid, units=units, standing=standing)

    def amend(
        self, o: str, address: int, together: bool | None, more: tuple[int, int] | None, sku: tuple[int, str] | None
    ) -> str:
        """Another address, together or not, more of a line, and, while the order is held, another product on a line: whole
        or not at all."""
        row = self.rows[o]
        old = row.content
        near = set(old.units) - set(row.out) - row.handed
        asked = {u[1] for r in row.requests.values() for u in r.units}
        changed = {line for line, _ in (more, sku) if line} if more and sku else {x[0] for x in (more, sku) if x}
        refused = row.ended or not near or any(r.whole for r in row.requests.values())
        refused = refused or (row.received and sku is not None) or (not row.received and changed & asked)
        if refused:
            row.refused_addresses.add(address)
            if not self.keeps("whole or not at all") and not row.received:
                row.content = old._replace(address=address)  # the address goes in, the lines do not
                row.addresses[old.version] = address
            return "refused"
        units, skus = old.units, dict(old.skus)
        if more:
            last = max(u[2] for u in units if u[1] == more[0])
            units += tuple((o, more[0], last + 1 + k) for k in range(more[1]))
        if sku:
            skus[sku[0]] = sku[1]
        version = old.version + row.received
        content = row.content = Content(
            version, address, old.together if together is None else together, units, tuple(skus.items()), old.express
        )
        self._numbered(units)
        row.addresses[version] = address
        if not row.received:
            return "completed"
        row.amendments[version] = Amendment({u: None for u in units if u not in row.out})
        self.say("OrderAmended", o, content=content)
        return "asked"

    def confirm(self, o: str) -> bool:
        """The customer or the clock says that all has arrived."""
        row = self.rows[o]
        arrived = set(row.out) if self.keeps("balanced before closed") else set(row.out) | row.handed
        if row.ended or "delivered" not in row.out.values() or arrived != set(row.content.units):
            return False
        self._end(o, row, "closed")
        return True

    def ask_return(self, o: str, units: tuple[Unit, ...], exchange: bool) -> str:
        """Delivered units shall come back; a unit is in one return at most."""
        row = self.rows[o]
        taken = {u for r in row.returns.values() for u in r.units}
        fit = tuple(u for u in units if row.out.get(u) == "delivered" and u not in taken)
        if not fit:
            return "nothing to return"
        rid = f"{o}-R{len(row.returns) + 1}"
        row.returns[rid] = Return(dict.fromkeys(fit), exchange)
        self.say("ReturnAuthorised", o, rid=rid, goods={u: row.goods[u] for u in fit})
        return "exchange" if exchange else "refund"

    def return_expired(self, o: str, rid: str) -> None:
        """The customer never sent it."""
        self.rows[o].returns[rid].expired = True

    # -- what others say

    def on_RaiseRequested(self, o: str, d: Data) -> None:  # noqa: N802 - named as the topic
        row = self.rows[o]
        row.raised = True
        if row.received and not row.ended:
            self.say("OrderReceived", o, express=True, content=row.content)

    def on_Shipped(self, o: str, d: Data) -> None:  # noqa: N802
        self.rows[o].parcels[d["p"]] = d["units"]

    def on_Delivered(self, o: str, d: Data) -> None:  # noqa: N802
        row = self.rows[o]
        self._out(row, d["goods"], "delivered")
        row.goods.update(d["goods"])
        self._settle(o, row)

    def on_ShipmentLost(self, o: str, d: Data) -> None:  # noqa: N802
        self.rows[o].back.add(d["p"])

    on_ParcelReturned = on_ShipmentLost  # noqa: N815

    def on_UnitsCancelled(self, o: str, d: Data) -> None:  # noqa: N802
        row = self.rows[o]
        request = row.requests[d["rid"]]
        request.units.update(dict.fromkeys(d["units"], "yes"))
        self._out(row, d["units"], "cancelled")
        self._settle(o, row)

    def on_CancelRefused(self, o: str, d: Data) -> None:  # noqa: N802
        row = self.rows[o]
        request = row.requests[d["rid"]]
        for unit in d["units"]:
            before = request.units[unit]
            request.by.setdefault(unit, set()).add(d["p"])
            if before == "yes" and self.keeps("yes replaces no"):
                continue
            request.units[unit] = "no"
            if before is None and not request.standing:
                row.quantity[unit[1]] -= 1
                if not row.ended:
                    self._less(o, row, unit[1], 1, request.origin)

    def on_AmendApplied(self, o: str, d: Data) -> None:  # noqa: N802
        answers = self.rows[o].amendments[d["version"]].answers
        answers.update({u: "applied" for u in d["units"] if u in answers})

    def on_AmendRefused(self, o: str, d: Data) -> None:  # noqa: N802
        answers = self.rows[o].amendments[d["version"]].answers
        answers.update({u: "refused" for u in d["units"] if u in answers and answers[u] is None})

    def on_RemedyApplied(self, o: str, d: Data) -> None:  # noqa: N802
        if d["outcome"] == "refund":
            self._out(self.rows[o], d["units"], "refunded")
            self._settle(o, self.rows[o])

    def on_ReturnInspected(self, o: str, d: Data) -> None:  # noqa: N802
        asked = self.rows[o].returns.get(d["container"])
        if asked is None:
            return  # a parcel that came back: nobody's return
        if any(asked.units.values()) and not self.keeps("returns unit by unit"):
            return
        asked.units.update({u: verdict for u, (verdict, _) in d["verdicts"].items()})
        if not asked.exchange:
            self._refund(self.rows[o], d["verdicts"], "return")
        elif not asked.exchanged and all(asked.units.values()):
            asked.exchanged = True
            skus = [self.rows[o].goods[u] for u in asked.units]
            new = f"{d['container'].replace('-', '')}x"
            lines = dict(enumerate(sorted(set(skus)), start=1))
            units = tuple((new, line, k) for line, sku in lines.items() for k in range(skus.count(sku)))
            self.place(new, Content(1, 0, False, units, tuple(lines.items()), False), ())

    # -- ends

    def _out(self, row: Sale, units: Iterable[Unit], end: str) -> None:
        units = tuple(units)
        for unit in units:
            self.mark(checks.ends, unit, end)
            row.out.setdefault(unit, end)
        if end != "delivered":
            self._refund(row, units, end)

    def _refund(self, row: Sale, units: Iterable[Unit], cause: str) -> None:
        for unit in units:
            if unit not in row.refunded or not self.keeps("money once"):
                row.refunded.add(unit)
                self.mark(checks.refunds, unit, cause)

    def _settle(self, o: str, row: Sale) -> None:
        if not row.ended and set(row.out) == set(row.content.units) and "delivered" not in row.out.values():
            self._end(o, row, "cancelled")

    def _end(self, o: str, row: Sale, end: str) -> None:
        row.ended = end
        self._release_all(o, row)
        self.mark(checks.over, o, end)
        self.say("OrderCancelled" if end == "cancelled" else "OrderClosed", o, express=row.content.express)
