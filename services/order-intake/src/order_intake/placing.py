"""Taking orders in: identities are claimed, numbers given, orders decided, all requests of a group in one transaction.

Two posts that say the same order meet at the lock of its claim (`PlaceRequest.locks`, held before `place_all` runs), and
the second sees what the first did. Rows are locked after that: idempotency records, then counters, last of all, because
every order of a channel waits for its counter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from expedite_chassis import Answer, FieldProblem, IdempotencyBook, KeyedRequest, Problem, open_idempotency
from expedite_events import HoldKind, ProductChanged
from expedite_messaging import Book, Root, Tx
from order_intake.adapters.native import NativeOrder
from order_intake.domain.channel import Channel, Counter, Policy
from order_intake.domain.content import Content, normalised
from order_intake.domain.holding import place, place_cancelled
from order_intake.domain.order import Order, State
from order_intake.domain.verify import UNKNOWN_SKU
from order_intake.store import AWAITED, CHANNELS, CLAIMS, COUNTERS, IDEMPOTENCY, ORDERS, PRODUCTS, Awaited, Claim
from order_intake.views import accepted_view

ClaimKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PlaceRequest:
    """One order to take in, prepared before its transaction begins. `claims` are its identities; `fingerprint` what was
    said, when saying something else under the same identity is an error; `same` the claim that an order of equal content
    meets; `placed_now`: it was placed when it is taken in; `cancelled` the reason when the order is taken in only to be
    on record."""

    content: Content
    channel: str
    client: str
    claims: tuple[ClaimKey, ...]
    same: ClaimKey | None
    placed_now: bool = False
    fingerprint: str | None = None
    keyed: KeyedRequest | None = None
    cancelled: str | None = None
    base_url: str = ""
    trace_id: str | None = None
    traceparent: str | None = None

    @property
    def identities(self) -> tuple[ClaimKey, ...]:
        return (*self.claims, self.same) if self.same else self.claims

    @property
    def locks(self) -> tuple[str, ...]:
        """The keys to hold while this order is taken in."""
        return locks_of(self.identities)


def locks_of(claims: Iterable[ClaimKey]) -> tuple[str, ...]:
    """The keys to hold while these claims are looked at."""
    return tuple([f"claim|{scope}|{key}" for scope, key in claims])


def prepared(
    said: NativeOrder | Content, *, channel: str, client: str, claims: tuple[ClaimKey, ...] = (), **more: Any
) -> PlaceRequest:
    """The request to take an order in; everything about it that needs no transaction is done here."""
    native = isinstance(said, NativeOrder)
    content = said.content() if isinstance(said, NativeOrder) else said
    if content.test:
        # Test orders flow like others; the tag lets every reader leave them out of its figures.
        content = content.put(tags=(*content.tags, "test"))
    content = normalised(content)
    fingerprint = content.fingerprint
    return PlaceRequest(
        content=content,
        channel=channel,
        client=client,
        claims=claims,
        same=("content", f"{channel}|{fingerprint}") if fingerprint else None,
        placed_now=native and content.placed_at is None,
        **more,
    )


@dataclass(frozen=True, slots=True)
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
    orders: Book[Order]
    products: dict[str, ProductChanged]
    created: list[Order] = field(default_factory=list)

    @classmethod
    async def open(cls, tx: Tx, requests: Sequence[PlaceRequest], policy: Policy) -> _Desk:
        idempotency = await open_idempotency(tx, IDEMPOTENCY, [r.keyed for r in requests if r.keyed])
        channels = await tx.load(CHANNELS, {request.channel for request in requests})
        claims = await tx.load(CLAIMS, {key for request in requests for key in request.identities})
        orders = await tx.load(ORDERS, {claim.order_id for claim in claims if claim.order_id})
        products = await tx.load(PRODUCTS, {line.sku for r in requests for line in r.content.lines if line.sku})
        codes = {found.code for request in requests if (found := channels.get(request.channel))}
        day = _day(tx)
        counters = await tx.load(COUNTERS, {(day, code) for code in codes})
        known = {product.sku: product for product in products}
        return cls(tx, policy, day, idempotency, channels, claims, counters, orders, known)

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
        counter = self.counters[self.day, channel.code].next()
        self.counters.put(counter)
        number = counter.number
        if request.cancelled is not None:
            decision = place_cancelled(number, content, channel, now, client=by, reason=request.cancelled)
        else:
            twin = self._twin(request.same) if request.same else None
            decision = place(number, content, channel, self.products, now, self.policy, client=by, duplicate_of=twin)
            if request.same:
                self.claims.put(Claim(scope=request.same[0], key=request.same[1], order_id=number, at=now))
        self.tx.apply(Root(key=number, traceparent=request.traceparent), self.orders, decision)
        for scope, key in request.claims:
            self.claims.put(Claim(scope=scope, key=key, order_id=number, fingerprint=request.fingerprint, at=now))
        self.created.append(decision.state)
        return decision.state

    def _twin(self, same: ClaimKey) -> str | None:
        """An order of equal content that came under another identity not long ago and is not cancelled (A6)."""
        claim = self.claims.get(same)
        if claim is None or claim.order_id is None or claim.at is None:
            return None
        if self.tx.now - claim.at >= self.policy.duplicate_window:
            return None
        other = self.orders.get(claim.order_id)
        return claim.order_id if other is not None and other.state is not State.CANCELLED else None


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
