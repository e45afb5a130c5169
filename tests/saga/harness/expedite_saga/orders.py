"""Orders of every kind, as every kind of channel posts them, and again; what the channel was answered is remembered."""

from __future__ import annotations

import json
import uuid
from decimal import Decimal
from typing import Any

from expedite_local.demo import shops
from expedite_local.demo.invoices import Line, Person, PlannedOrder
from expedite_saga.audit import demand
from expedite_saga.hands import Hands
from expedite_saga.masters import CAKE, LAMP, MUG, RING, customer

NEW = "NEWCOMER"  # a product that is not known at first
SECRETS = {"shopify": "test-secret", "woocommerce": "test-secret"}
CITY = {"GB": ("1 St James's Square", "London", "SW1Y 4LB"), "FR": ("3 Rue Haute", "Lille", "59000")}


class Orders:
    """The channels of one random saga."""

    def __init__(self, hands: Hands) -> None:
        self.hands = hands
        self.accepted: set[str] = set()  # numbers the channels were told
        self.planned: dict[str, PlannedOrder] = {}  # orders of shops
        self._answers: dict[str, tuple[int, bytes]] = {}  # idempotency key -> the first answer
        self._bodies: list[dict[str, Any]] = []

    async def place(self) -> None:
        """One more order."""
        r = self.hands.r
        form = r.choices(("native", "bulk", "shopify", "woocommerce"), (70, 8, 12, 10))[0]
        if form in SECRETS:
            await self._shop(form)
            return
        body = self._native()
        key = self.hands.token("key") if r.random() < 0.6 else None
        if form == "bulk":
            order_id = await self._bulk(body)
        else:
            order_id = await self._post(body, key)
            if self.hands.trouble(0.25):
                again = await self._post(body, key)
                demand(again == order_id, "I6 the same reference is the same order", order_id, again)
        self._placed(order_id, form, body["lines"])

    def _placed(self, order_id: str, form: str, lines: list[dict[str, Any]]) -> None:
        said = ", ".join(f"{line['sku']}x{line['quantity']}" for line in lines)
        self.hands.trail.append(f"placed {order_id} ({form}): {said}")
        self.hands.met[f"orders by {form}"] += 1
        self.hands.placed[self.hands.step.number] = order_id
        self.accepted.add(order_id)

    def _native(self) -> dict[str, Any]:
        r, hands = self.hands.r, self.hands
        if (r.random() < 0.08) & bool(self._bodies):  # the same goods for the same person: is it meant?
            hands.met["orders that look like another"] += 1
            return {**r.choice(self._bodies), "reference": hands.token("web")}
        skus = r.sample([MUG, LAMP, RING, CAKE], r.randint(1, 2))
        who = customer(hands.step.number, language=r.choice(("en", "zh")))
        if r.random() < 0.2:
            line1, city, postcode = CITY["FR"]
            who["ship_to"] = {"line1": line1, "city": city, "postcode": postcode, "country": "FR"}
        changes: dict[str, Any] = {"customer": who, "partial_shipment": r.random() < 0.6}
        changes["reference"] = hands.token("web")
        price = "9.50"
        match r.choices(
            ("no trouble", "postcode", "contact", "sku", "unpaid", "custom", "high value"), (56, 14, 3, 10, 7, 7, 3)
        )[0]:
            case "postcode":
                who["ship_to"] = {**who["ship_to"], "postcode": None}
            case "contact":
                who["email"] = who["phone"] = None
            case "sku":
                skus = [NEW, *skus[1:]]
            case "unpaid":
                changes["payment_state"] = "unpaid"
            case "custom":
                changes["tags"] = ["custom"]
            case "high value":
                price = "6000"
        if r.random() < 0.3:
            changes["tags"] = [*changes.get("tags", []), "urgent"]
        if r.random() < 0.1:
            changes["carrier_preference"] = "city-dash"
        body = hands.house.channel.order(*((sku, r.randint(1, 3)) for sku in skus), **changes)
        for line in body["lines"]:
            line["unit_price"] = price
        self._bodies.append(body)
        return body

    async def _post(self, body: dict[str, Any], key: str | None) -> str:
        headers = {"Idempotency-Key": key} if key else {}
        response = await self.hands.ask("order-intake", "/orders", body, headers)
        assert response.is_success, f"{body}: {response.status_code} {response.text}"
        if key:
            answer = (response.status_code, response.content)
            first = self._answers.setdefault(key, answer)
            demand(first == answer, "I6 all answers for a key are the same to the byte", key, first, answer)
            self.hands.met["answers for a key compared"] += first is not answer
        return str(response.json()["order_id"])

    async def again(self, placed_by: int) -> None:
        """A channel repeats an order long after: of one it has a key for, or of a shop."""
        order_id = self.hands.placed.get(placed_by)
        planned = self.planned.get(order_id or "")
        if order_id and planned:
            said = await self._tell(planned, "create")
            demand(said == order_id, "I6 the same shop's order is the same order", order_id, said)
            self.hands.met["orders repeated late"] += 1

    async def _bulk(self, body: dict[str, Any]) -> str:
        response = await self.hands.ask("order-intake", "/orders/bulk", json.dumps(body).encode() + b"\n")
        assert response.is_success, f"{body}: {response.status_code} {response.text}"
        verdict = json.loads(response.text.splitlines()[0])
        return str(verdict["order_id"])

    # -- shops

    async def _shop(self, format_: str) -> None:
        r, hands = self.hands.r, self.hands
        country = r.choice(("GB", "GB", "FR"))
        line1, city, postcode = CITY[country]
        person = Person(f"Shop Person {hands.step.number}", f"shop{hands.step.number}@example.com",
                        r.choice(("en", "zh")), None, line1, city, None, postcode, country)  # fmt: skip
        skus = r.sample([MUG, LAMP, RING, CAKE], r.randint(1, 2))
        planned = PlannedOrder(
            reference=hands.token(format_), channel="shop" if format_ == "shopify" else "woo", format=format_,
            person=person, lines=tuple(Line(sku, sku.title(), r.randint(1, 3), Decimal("9.50")) for sku in skus),
            urgent=r.random() < 0.3, custom=r.random() < 0.1, paid=r.random() < 0.6,
            missing=r.choice(("postcode", *([None] * 5))),
        )  # fmt: skip
        if r.random() < 0.06:  # its end is told before its beginning
            order_id = await self._tell(planned, "cancel")
            hands.met["orders cancelled before they were told"] += 1
        else:
            order_id = await self._tell(planned, "create")
        self.planned[order_id] = planned
        self._placed(order_id, format_, [{"sku": x.sku, "quantity": x.quantity} for x in planned.lines])

    async def _tell(self, planned: PlannedOrder, what: str) -> str:
        now = self.hands.world.clock.now
        said = (
            shops.cancellation(planned, now, SECRETS)
            if what == "cancel"
            else shops.posting(planned, now, "", SECRETS)
        )  # fmt: skip
        assert said is not None
        response = await self.hands.ask("order-intake", said.path, said.body, said.headers)
        assert response.is_success, f"{said}: {response.status_code} {response.text}"
        answer = response.json()
        assert answer["order_id"], f"{said}: {answer}"
        return str(answer["order_id"])

    async def cancel(self, order_id: str) -> bool:
        """The shop's own software cancels; False when the order is not of a shop."""
        planned = self.planned.get(order_id)
        if planned is None:
            return False
        await self._tell(planned, "cancel")
        self.hands.met["cancels by a shop"] += 1
        self.hands.trail.append(f"the shop cancels {order_id}")
        return True

    async def pay(self, order_id: str) -> bool:
        """Shopify says that the money came; False when the order is not from there."""
        planned = self.planned.get(order_id)
        if planned is None or planned.format != "shopify":
            return False
        raw = json.dumps({**shops.shopify(planned, self.hands.world.clock.now), "financial_status": "paid"}).encode()
        said = shops.posting(planned, self.hands.world.clock.now, "", SECRETS)
        headers = {
            **said.headers,
            "x-shopify-topic": "orders/paid",
            "x-shopify-webhook-id": str(uuid.UUID(int=self.hands.r.getrandbits(128))),
        }
        signed = shops.signed(shops.Posting(said.path, headers, raw), "shopify", SECRETS["shopify"])
        response = await self.hands.ask("order-intake", signed.path, signed.body, signed.headers)
        assert response.is_success, response.text
        self.hands.met["payments told by a shop"] += 1
        return True


__all__ = ["NEW", "Orders"]
