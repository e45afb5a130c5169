"""Taking orders in: identities are claimed, numbers given, orders decided, all requests of a group in one transaction.

Two posts that say the same order meet at the lock of its claim (`PlaceRequest.locks`, held before `place_all` runs), and
the second sees what the first did; so do two of equal content. Rows are locked after that: idempotency records, then
counters, last of all, because every order of a channel waits for its counter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from expedite_chassis import Answer, FieldProblem, IdempotencyBook, KeyedRequest, Problem, open_idempotency
from expedite_events import HoldKind, ProductChanged
from expedite_messaging import Book, Root, Tx
from order_intake.domain.channel import Channel, Counter, Policy
from order_intake.domain.content import Content, normalised
from order_intake.domain.holding import place, place_cancelled
from order_intake.domain.order import Order, State
from order_intake.domain.verify import UNKNOWN_SKU
from order_intake.store import AWAITED, CHANNELS, CLAIMS, COUNTERS, IDEMPOTENCY, ORDERS, PRODUCTS, Awaited, Claim
from order_intake.views import accepted_view

ClaimKey = tuple[str, str]
TWINS_AT_ONCE = 1000  # orders of equal content read together


@dataclass(slots=True)
class PlaceRequest:
    """One order to take in, prepared before its transaction begins. `claims` are its identities; `fingerprint` what was
    said, when saying something else under the same identity is an error; `alike` what orders of equal content have in
    common (see `Order`); `placed_now`: it was placed when it is taken in; `cancelled` the reason when the order is taken in
    only to be on record."""

    content: Content
    channel: str
    client: str
    claims: tuple[ClaimKey, ...]
    alike: str | None
    placed_now: bool = False
    fingerprint: str | None = None
    keyed: KeyedRequest | None = None
    cancelled: str | None = None
    base_url: str = ""
    trace_id: str | None = None
    traceparent: str | None = None

    @property
    def locks(self) -> tuple[str, ...]:
        """The keys to hold while this order is taken in."""
        claims = locks_of(self.claims)
        return (*claims, f"alike|{self.alike}") if self.alike else claims


def locks_of(claims: Iterable[ClaimKey]) -> tuple[str, ...]:
    """The keys to hold while these claims are looked at."""
    return tuple([f"claim|{scope}|{key}" for scope, key in claims])


def prepared(
    content: Content, *, channel: str, client: str, claims: tuple[ClaimKey, ...] = (), **more: Any
) -> PlaceRequest:
    """The request to take an order in; everything about it that needs no transaction is done here."""
    if content.test:
        # Test orders flow like others; the tag lets every reader leave them out of its figures.
        content = content.put(tags=(*content.tags, "test"))
    content = normalised(content)
    fingerprint = content.fingerprint
    alike = f"{channel}|{fingerprint}" if fingerprint else None
    return PlaceRequest(content=content, channel=channel, client=client, claims=claims, alike=alike, **more)


@dataclass(slots=True)
class Placed:
    """The order behind a request and what its client is told: `said` for an order, `repeated` for the answer that an
    idempotency key got before. `fresh` when this request made the order."""

    order_id: str
    fresh: bool
    said: dict[str, Any] = field(default_factory=dict)
    repeated: Answer | None = None

    @property
    def answer(self) -> Answer:
        return self.repeated or Answer.of(202, self.said, {"Location": self.said["status_url"]})


async def place_all(tx: Tx, requests: Sequence[PlaceRequest], policy: Policy) -> list[Placed | Problem]:
    """Answer every request, in order. A refusal is an answer too: it must not undo the others' work."""
    desk = await _Desk.open(tx, requests, policy)
    answers: list[Placed | Problem] = []
    for request in requests:
        try:
            answers.append(desk.answer(request))
        except Problem as problem:
            answers.append(problem)
    desk.close()
    await await_products(tx, [order for order in desk.created if order.holds])
    return answers


@dataclass
class _Desk:
    """Everything a group of requests needs, loaded and locked."""

    tx: Tx
    policy: Policy
    day: str
    idempotency: IdempotencyBook
    channels: Book[Channel]
    claims: Book[Claim]
    counters: Book[Counter]
    last: dict[str, Counter]
    orders: dict[str, Order]
    twins: dict[str, Order]
    products: dict[str, ProductChanged]
    created: list[Order] = field(default_factory=list)

    @classmethod
    async def open(cls, tx: Tx, requests: Sequence[PlaceRequest], policy: Policy) -> _Desk:
        idempotency = await open_idempotency(tx, IDEMPOTENCY, [r.keyed for r in requests if r.keyed])
        channels = await tx.load(CHANNELS, {request.channel for request in requests})
        claims = await tx.load(CLAIMS, {key for request in requests for key in request.claims})
        orders = await tx.load(ORDERS, {claim.order_id for claim in claims if claim.order_id})
        twins = await _twins(tx, {request.alike for request in requests if request.alike}, policy)
        products = await tx.load(PRODUCTS, {line.sku for r in requests for line in r.content.lines if line.sku})
        codes = {found.code for request in requests if (found := channels.get(request.channel))}
        day = _day(tx)
        counters = await tx.load(COUNTERS, {(day, code) for code in codes})
        return cls(
            tx, policy, day, idempotency, channels, claims, counters, {},
            {order.order_id: order for order in orders}, twins, {product.sku: product for product in products},
        )  # fmt: skip

    def close(self) -> None:
        """Keep the numbers that were given."""
        for counter in self.last.values():
            self.counters.put(counter)

    def answer(self, request: PlaceRequest) -> Placed:
        """Take one order in, or find the one it repeats. Raises `Problem` when it contradicts what was said before."""
        if request.keyed and (earlier := self.idempotency.earlier(request.keyed)):
            return Placed(earlier.headers.get("Location", "").rpartition("/")[2], False, repeated=earlier)
        channel = self.channels.get(request.channel)
        if channel is None:
            raise unknown_channel(request.channel)
        known = self._known(request)
        order = self.orders[known] if known else self._create(request, channel)
        placed = Placed(order.order_id, known is None, accepted_view(order, request.base_url, request.trace_id))
        if request.keyed:
            self.idempotency.remember(request.keyed, placed.answer)
        return placed

    def _known(self, request: PlaceRequest) -> str | None:
        """The order that was taken in under one of the request's identities."""
        for key in request.claims:
            claim = self.claims.get(key)
            if claim is None or claim.order_id is None:
                continue
            if request.fingerprint and claim.fingerprint and claim.fingerprint != request.fingerprint:
                detail = f"The reference belongs to order {claim.order_id}, which says something else."
                pointer = FieldProblem(pointer="/reference", code="reference-reused", message=detail)
                raise Problem(422, "reference-reused", detail=detail, errors=[pointer])
            return claim.order_id
        return None

    def _create(self, request: PlaceRequest, channel: Channel) -> Order:
        now, by = self.tx.now, request.client
        content = request.content.put(placed_at=now.astimezone(UTC)) if request.placed_now else request.content
        number = self._number(channel)
        if request.cancelled is not None:
            decision = place_cancelled(number, content, channel, now, client=by, reason=request.cancelled)
        else:
            decision = place(
                number, content, channel, self.products, now, self.policy, client=by, alike=request.alike,
                duplicate_of=self._twin(request),
            )  # fmt: skip
        order = decision.state
        # Nobody has this number yet: the order is new, and written as such.
        self.tx.add(ORDERS, order)
        self.tx.emit(Root(key=number, traceparent=request.traceparent), decision)
        self.orders[number] = order
        if order.alike:
            self.twins[order.alike] = order
        for scope, key in request.claims:
            self.claims.put(Claim(scope=scope, key=key, order_id=number, fingerprint=request.fingerprint, at=now))
        self.created.append(order)
        return order

    def _number(self, channel: Channel) -> str:
        known = self.last.get(channel.code) or self.counters[self.day, channel.code]
        counter = self.last[channel.code] = known.next()
        return counter.number

    def _twin(self, request: PlaceRequest) -> str | None:
        """An order of equal content that came under another identity not long ago and is not cancelled (A6)."""
        other = self.twins.get(request.alike) if request.alike else None
        if other is None or self.tx.now - other.accepted_at >= self.policy.duplicate_window:
            return None
        return other.order_id if other.state is not State.CANCELLED else None


async def _twins(tx: Tx, alike: set[str], policy: Policy) -> dict[str, Order]:
    """The newest order of each content that came within the time in which a second one is suspected. A content that came
    thousands of times is not read thousands of times: what comes newest first tells the newest of all it names."""
    found: dict[str, Order] = {}
    since = tx.now - policy.duplicate_window
    while left := sorted(alike - found.keys()):
        where = {"alike": left, "accepted_at__gt": since}
        newest = await tx.find(ORDERS, where, order_by=("-accepted_at", "-order_id"), limit=TWINS_AT_ONCE)
        for order in newest:
            found.setdefault(order.alike or "", order)
        if len(newest) < TWINS_AT_ONCE:
            break
    return found


def _day(tx: Tx) -> str:
    """The business date in UTC, as order numbers begin."""
    return tx.now.astimezone(UTC).strftime("%Y%m%d")


async def await_products(tx: Tx, orders: Sequence[Order]) -> None:
    """Remember which products these orders wait for, and which they do not wait for any more."""
    if not orders:
        return
    wanted = {(sku, order.order_id) for order in orders for sku in unknown_skus(order)}
    settled = [order.order_id for order in orders if len(order.holds) != len(order.open_holds)]
    stale = await tx.find(AWAITED, {"order_id": settled, "waiting": True}) if settled else []
    book = await tx.load(AWAITED, wanted | {(row.sku, row.order_id) for row in stale})
    for sku, order_id in wanted:
        row = book.get((sku, order_id))
        if row is None or not row.waiting:
            book.put(Awaited(sku=sku, order_id=order_id))
    for row in stale:
        if (row.sku, row.order_id) not in wanted:
            book.put(row.put(waiting=False))


def unknown_skus(order: Order) -> set[str]:
    """SKUs that open holds of this order are about."""
    held = {
        int(hold.problem.field.split("/")[2]) + 1
        for hold in order.open_holds
        if hold.kind is HoldKind.NEEDS_INFO and hold.problem.code in (UNKNOWN_SKU, "sku_inactive")
    }
    return {line.sku for line in order.content.live_lines if line.sku and line.line in held}


def unknown_channel(channel: str) -> Problem:
    """No channel of this id was set up."""
    detail = f"There is no channel {channel}; GET /channels lists them."
    return Problem(
        422,
        "unknown-channel",
        detail=detail,
        errors=[FieldProblem(pointer="/channel", code="unknown-channel", message=detail)],
    )
