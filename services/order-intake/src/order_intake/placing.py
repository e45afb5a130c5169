"""Taking orders in: identities are claimed, numbers given, orders decided, all requests of a group in one transaction.

Lock order: idempotency records, claims, counters. Two posts that say the same order meet at its claim, and the second
sees what the first did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC

from expedite_chassis import Answer, FieldProblem, IdempotencyBook, KeyedRequest, Problem, open_idempotency
from expedite_events import HoldKind, ProductChanged
from expedite_messaging import Book, Root, Tx
from order_intake.adapters.native import NativeOrder
from order_intake.domain.channel import Channel, Counter, Policy
from order_intake.domain.content import Content, digest, normalised
from order_intake.domain.holding import place, place_cancelled
from order_intake.domain.order import Order, State
from order_intake.domain.verify import UNKNOWN_SKU
from order_intake.store import AWAITED, CHANNELS, CLAIMS, COUNTERS, IDEMPOTENCY, ORDERS, PRODUCTS, Awaited, Claim
from order_intake.views import accepted_view

ClaimKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PlaceRequest:
    """One order to take in. `claims` are its identities; `fingerprint` what was said, when saying something else under
    the same identity is an error; `cancelled` the reason when the order is taken in only to be on record."""

    said: NativeOrder | Content
    channel: str
    client: str
    claims: tuple[ClaimKey, ...] = ()
    fingerprint: str | None = None
    keyed: KeyedRequest | None = None
    cancelled: str | None = None
    base_url: str = ""
    trace_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """The order behind a request and the answer for its client; `fresh` when this request made it."""

    order_id: str
    fresh: bool
    answer: Answer


async def place_all(tx: Tx, requests: Sequence[PlaceRequest], policy: Policy) -> list[Placed | Problem]:
    """Answer every request, in order. A refusal is an answer too: it must not undo the others' work."""
    desk = await _Desk.open(tx, requests, policy)
    answers: list[Placed | Problem] = []
    for request, content in zip(requests, desk.contents, strict=True):
        try:
            answers.append(desk.answer(request, content))
        except Problem as problem:
            answers.append(problem)
    await await_products(tx, desk.created)
    return answers


@dataclass
class _Desk:
    """Everything a group of requests needs, loaded and locked."""

    tx: Tx
    policy: Policy
    contents: list[Content]
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
        contents = [_content(tx, request) for request in requests]
        channels = await tx.load(CHANNELS, {request.channel for request in requests})
        claims = await tx.load(CLAIMS, {key for r, c in zip(requests, contents, strict=True) for key in _keys(r, c)})
        orders = await tx.load(ORDERS, {claim.order_id for claim in claims if claim.order_id})
        products = await tx.load(PRODUCTS, {line.sku for c in contents for line in c.lines if line.sku})
        codes = {found.code for request in requests if (found := channels.get(request.channel))}
        counters = await tx.load(COUNTERS, {(_day(tx), code) for code in codes})
        known = {product.sku: product for product in products}
        return cls(tx, policy, contents, idempotency, channels, claims, counters, orders, known)

    def answer(self, request: PlaceRequest, content: Content) -> Placed:
        """Take one order in, or find the one it repeats. Raises `Problem` when it contradicts what was said before."""
        if request.keyed and (earlier := self.idempotency.earlier(request.keyed)):
            return Placed(earlier.headers.get("Location", "").rpartition("/")[2], False, earlier)
        channel = self.channels.get(request.channel)
        if channel is None:
            raise unknown_channel(request.channel)
        known = self._known(request)
        order = self.orders[known] if known else self._create(request, content, channel)
        answer = _answer(request, order)
        if request.keyed:
            self.idempotency.remember(request.keyed, answer)
        return Placed(order.order_id, known is None, answer)

    def _known(self, request: PlaceRequest) -> str | None:
        """The order that was taken in under one of the request's identities."""
        for key in request.claims:
            claim = self.claims[key]
            if claim.order_id is None:
                continue
            if request.fingerprint and claim.fingerprint and claim.fingerprint != request.fingerprint:
                detail = f"The reference belongs to order {claim.order_id}, which says something else."
                pointer = FieldProblem(pointer="/reference", code="reference-reused", message=detail)
                raise Problem(422, "reference-reused", detail=detail, errors=[pointer])
            return claim.order_id
        return None

    def _create(self, request: PlaceRequest, content: Content, channel: Channel) -> Order:
        now, by = self.tx.now, request.client
        counter = self.counters[_day(self.tx), channel.code].next()
        self.counters.put(counter)
        number = counter.number
        same = _content_key(channel.id, content)
        if request.cancelled is not None:
            decision = place_cancelled(number, content, channel, now, client=by, reason=request.cancelled)
        else:
            twin = self._twin(same) if same else None
            decision = place(number, content, channel, self.products, now, self.policy, client=by, duplicate_of=twin)
            if same:
                self.claims.put(Claim(scope=same[0], key=same[1], order_id=number, at=now))
        self.tx.apply(Root(key=number, traceparent=request.traceparent), self.orders, decision)
        for scope, key in request.claims:
            self.claims.put(Claim(scope=scope, key=key, order_id=number, fingerprint=request.fingerprint, at=now))
        self.created.append(decision.state)
        return decision.state

    def _twin(self, same: ClaimKey) -> str | None:
        """An order of equal content that came under another identity not long ago and is not cancelled (A6)."""
        claim = self.claims[same]
        if claim.order_id is None or claim.at is None or self.tx.now - claim.at >= self.policy.duplicate_window:
            return None
        other = self.orders.get(claim.order_id)
        return claim.order_id if other is not None and other.state is not State.CANCELLED else None


def _day(tx: Tx) -> str:
    """The business date in UTC, as order numbers begin."""
    return tx.now.astimezone(UTC).strftime("%Y%m%d")


async def await_products(tx: Tx, orders: Sequence[Order]) -> None:
    """Remember which products these orders wait for, and which they do not wait for any more."""
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
            book.put(row.model_copy(update={"waiting": False}))


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


def _content(tx: Tx, request: PlaceRequest) -> Content:
    said = request.said.content(tx.now) if isinstance(request.said, NativeOrder) else request.said
    # Test orders flow like others; the tag lets every reader leave them out of its figures.
    tags = (*said.tags, "test") if said.test else said.tags
    return normalised(said.model_copy(update={"tags": tags}))


def _keys(request: PlaceRequest, content: Content) -> tuple[ClaimKey, ...]:
    same = _content_key(request.channel, content)
    return (*request.claims, same) if same else request.claims


def _content_key(channel: str, content: Content) -> ClaimKey | None:
    fingerprint = content.fingerprint
    return ("content", digest([channel, fingerprint])) if fingerprint else None


def _answer(request: PlaceRequest, order: Order) -> Answer:
    body = accepted_view(order, request.base_url, request.trace_id)
    return Answer.of(202, body, {"Location": body["status_url"]})
