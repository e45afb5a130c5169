"""Builders for shipping's tests."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from expedite_chassis.testing import client, runtime_for
from expedite_chassis.webhooks import sign_easypost, sign_standard
from expedite_events import (
    Address,
    CancelRequested,
    Customer,
    Event,
    Lane,
    LineGoods,
    OrderBrief,
    Packed,
    Stage,
    Tier,
    TrackingStatus,
    Units,
    Urgency,
    row_of,
)
from expedite_events.envelope import Envelope
from expedite_events.ids import uuid7
from expedite_local.carriers import messages, rates
from expedite_local.carriers.app import create_app
from expedite_local.carriers.script import Step
from expedite_local.carriers.world import Clock, World
from expedite_messaging import EffectCall, EffectResult, GaveUp
from expedite_messaging.memory import MemoryClock, MemoryEngine
from expedite_messaging.tx import as_json
from shipping import effects
from shipping.domain import custody
from shipping.domain.desk import Carrier, Desk
from shipping.domain.state import Label, LabelState, OrderLeg
from shipping.domain.tracking import Update
from shipping.main import spec

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ORDER = "20261123-EC-000001"


class Given:
    """Words for situations: `given.packed()` is the event, `given.on_dock()` an order with one labelled parcel."""

    now = NOW
    order_id = ORDER
    parcel_id = f"{ORDER}-P1"

    def urgency(self, **more: Any) -> Urgency:
        base: dict[str, Any] = {
            "tier": Tier.REGULAR, "score": 10, "revision": 1, "promise_by": NOW + timedelta(hours=48),
            "deadlines": {Stage.SHIP: NOW + timedelta(hours=8)},
        }  # fmt: skip
        return Urgency(**(base | more))

    def brief(self, **more: Any) -> OrderBrief:
        ship_to = Address(line1="1 High Street", city="Leeds", postcode="LS1 1AA", country="GB")
        base: dict[str, Any] = {
            "channel": "EC", "placed_at": NOW,
            "customer": Customer(name="Ada Byron", email="ada@example.com", ship_to=ship_to),
        }  # fmt: skip
        return OrderBrief(**(base | more))

    def packed(self, parcel: int = 1, units: Units | None = None, **more: Any) -> Packed:
        base: dict[str, Any] = {
            "order_id": ORDER, "parcel_id": f"{ORDER}-P{parcel}", "fulfilment_order_id": f"{ORDER}-F{parcel}",
            "warehouse_id": "LON", "units": units or Units.of(1, 1, 3),
            "goods": (LineGoods(line=1, sku="85123A", name="Lantern"),), "box": "M", "weight_g": 1200,
            "packed_by": "eve", "packed_at": NOW, "brief": self.brief(), "urgency": self.urgency(),
        }  # fmt: skip
        return Packed(**(base | more))

    def cancel(self, units: Units | None = None, *, request: int = 1, standing: bool = True) -> CancelRequested:
        return CancelRequested(
            order_id=ORDER, request_id=f"{ORDER}-C{request}", units=units or Units.of(1, 1, 3), standing=standing,
            reason="changed my mind", requested_by="customer", requested_at=NOW,
        )  # fmt: skip

    def desk(self) -> Desk:
        carriers = (
            Carrier(carrier_id="swift-post", name="Swift Post", base_url="http://carriers/swift-post",
                    webhook_format="easypost", reliability=0.94, revision=1),
            Carrier(carrier_id="city-dash", name="City Dash", base_url="http://carriers/city-dash",
                    reliability=0.97, revision=1),
        )  # fmt: skip
        return Desk(carriers=carriers)

    def label(self, number: str = "SP000000000001") -> Label:
        return Label(
            label_id="lbl_1", carrier_id="swift-post", base_url="http://carriers/swift-post", service="EXPRESS_24",
            service_name="Express 24", tracking_number=number, cost=Decimal("11.6"), currency="GBP", leaves_at=NOW,
            expected_at=NOW + timedelta(hours=24), chosen_because="cheapest in time",
        )  # fmt: skip

    def on_dock(self, *, labelled: bool = True, units: Units | None = None) -> OrderLeg:
        leg = custody.receive(OrderLeg(order_id=ORDER), self.packed(units=units), self.desk(), NOW).state
        parcel = leg.parcels[0]
        if not labelled:
            return leg
        done = {"label": self.label(), "label_state": LabelState.BOUGHT, "expected_at": self.label().expected_at}
        return leg.with_parcel(parcel.put(**done))

    def handed(self, units: Units | None = None) -> OrderLeg:
        return custody.hand_over(self.on_dock(units=units), self.parcel_id, "bob", None, NOW).state

    def update(self, status: TrackingStatus, hours: float = 1, **more: Any) -> Update:
        base: dict[str, Any] = {
            "carrier_id": "swift-post", "tracking_number": "SP000000000001", "status": status,
            "raw_status": status.value, "occurred_at": NOW + timedelta(hours=hours),
        }  # fmt: skip
        return Update(**(base | more))


SECRETS = {
    "webhooks": {"swift-post": "swift-secret", "city-dash": "whsec_dGVzdC1zZWNyZXQ="},
    "carriers": {"swift-post": {"api_key": "swift-key"}, "city-dash": {"api_key": "dash-key"}},
}


@dataclass
class House:
    """Shipping, its API, and the carriers' server, all in this process."""

    given: Any
    engine: MemoryEngine
    api: httpx.AsyncClient
    world: World
    clock: MemoryClock

    async def hear(self, event: Event, *, express: bool = False, sender: str | None = None) -> None:
        """Deliver an event as another service would have sent it."""
        row = row_of(event)
        cause = uuid7()
        lane = Lane.EXPRESS if express else Lane.STANDARD
        await self.engine.deliver(
            [
                Envelope(
                    uuid7(), sender or row.owners[0], row, row.key_of(event), lane, event, self.clock.now,
                    cause, cause,
                )
            ]
        )  # fmt: skip

    async def settle(self) -> None:
        """Perform effects until none is left."""
        while calls := self.engine.pending_effects():
            for call in calls:
                await self.engine.perform(call)

    async def settle_together(self) -> None:
        """Perform effects until none is left, all of a kind at once."""
        while calls := self.engine.pending_effects():
            kind = calls[0].kind
            await self.perform([call for call in calls if call.kind == kind])

    async def perform(self, calls: list[EffectCall]) -> list[Any]:
        """Perform effects of one kind together and bring home what need not be tried again; the outcomes."""
        answers = await self.engine.handlers.performers[calls[0].kind](calls)
        await self.engine.conclude([
            EffectResult(
                id=call.id, kind=call.kind, subject=call.subject, key=call.key, ok=not isinstance(answer, GaveUp),
                data={} if isinstance(answer, Exception) else as_json(answer), request=call.data,
                error=str(answer) if isinstance(answer, GaveUp) else None,
            )
            for call, answer in zip(calls, answers, strict=True)
            if isinstance(answer, GaveUp) or not isinstance(answer, Exception)
        ])  # fmt: skip
        return list(answers)

    def said(self) -> list[str]:
        return [type(envelope.event).__name__ for envelope in self.engine.db.ledger]

    async def parcel(self, number: int = 1) -> dict[str, Any]:
        answer = await self.api.get(f"/parcels/{self.given.order_id}-P{number}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def on_dock(self) -> dict[str, Any]:
        await self.hear(self.given.packed())
        await self.settle()
        return await self.parcel()

    async def handed(self) -> dict[str, Any]:
        await self.on_dock()
        answer = await self.api.post(f"/parcels/{self.given.parcel_id}/hand-over", json={"by": "bob"})
        assert answer.status_code == 200, answer.text
        return await self.parcel()

    async def native(self, body: bytes, *, carrier: str = "city-dash", message_id: str = "evt_1") -> httpx.Response:
        signed = sign_standard(body, message_id, int(time.time()), str(SECRETS["webhooks"]["city-dash"]))
        return await self.api.post(f"/webhooks/native/{carrier}", content=body, headers=signed)

    async def easypost(self, body: bytes, secret: str = "swift-secret") -> httpx.Response:
        return await self.api.post(
            "/webhooks/easypost/swift-post", content=body, headers={"X-Hmac-Signature": sign_easypost(body, secret)}
        )

    def scan(self, scan: dict[str, Any], event_id: str = "evt_9") -> bytes:
        """EasyPost's webhook about one pick-up scan."""
        at = datetime.fromisoformat(scan["occurred_at"])
        step = Step(at, "in_transit", "received", "picked_up", "Picked up")
        return messages.easypost(rates.profiles()["swift-post"], scan["tracking_number"], (step,), event_id, None)


@pytest.fixture(scope="session")
def given() -> Iterator[Given]:
    yield Given()


@pytest.fixture
async def house(given: Any) -> AsyncIterator[House]:
    clock = MemoryClock(given.now)
    engine = MemoryEngine(dataclasses.replace(spec.handlers, performers={}), clock)
    runtime = runtime_for(spec, clients={"test": ["*"], "carriers": ["read"]}, secrets=SECRETS)
    api = client(spec, engine, runtime=runtime)
    told = SECRETS | {"api_keys": {"carriers": {"key": "key-of-carriers"}}}
    world = World(rates.profiles(), api, "http://testserver", told, Clock(1.0), seed=7)
    carriers = create_app(world, tell_stories=False)
    async with api, httpx.AsyncClient(transport=httpx.ASGITransport(carriers)) as http:
        runtime.http = http
        effects.bind(engine.handlers, runtime)
        for carrier_id, profile in rates.profiles().items():
            body = {"name": profile.name, "base_url": f"http://carriers/{carrier_id}", "reliability": 0.95}
            assert (await api.put(f"/carriers/{carrier_id}", json=body)).status_code == 200
        engine.db.ledger.clear()
        yield House(given, engine, api, world, clock)
