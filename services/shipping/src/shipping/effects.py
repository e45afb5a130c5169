"""Talking to carriers: rates, labels, voids. Runs outside transactions; what is raised here is tried again, `GaveUp` ends.

The carrier protocol (what the demo carriers speak; real carriers get an adapter that speaks it):

    POST {base_url}/rates   {parcel_id, from, to, weight_g, box, handling, deliver_by}
         -> {"rates": [{quote_id, service, name, price, currency, transit_hours, insured, signature}]}
    POST {base_url}/labels  + Idempotency-Key {quote_id, service, reference, recipient, …}
         -> {label_id, tracking_number, tracking_url, cost, currency, zpl, pdf_base64}
    POST {base_url}/labels/{label_id}/void -> 2xx
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from expedite_chassis import Runtime
from expedite_messaging import EffectCall, GaveUp, Handlers

RATES_TIMEOUT_S = 8.0  # a carrier that is slower than this does not take part
LABEL_LIMIT = 150_000  # characters of one label format; larger ones would not fit an effect's result


class CarrierAway(Exception):
    """The carrier did not answer usefully; trying again may help."""


class Rate(BaseModel):
    """A price as a carrier quotes it."""

    model_config = ConfigDict(extra="ignore")

    quote_id: str | None = None
    service: str
    name: str
    price: float = Field(ge=0, le=1e9)
    currency: str = Field(min_length=3, max_length=3)
    transit_hours: float = Field(ge=0, le=24 * 120)
    insured: bool = False
    signature: bool = False


class Sold(BaseModel):
    """A label as a carrier sells it."""

    model_config = ConfigDict(extra="ignore")

    label_id: str = Field(min_length=1, max_length=128)
    tracking_number: str = Field(min_length=1, max_length=128)
    tracking_url: str | None = None
    cost: float | None = Field(None, ge=0, le=1e9)
    currency: str | None = Field(None, min_length=3, max_length=3)
    zpl: str | None = Field(None, max_length=LABEL_LIMIT)
    pdf_base64: str | None = Field(None, max_length=LABEL_LIMIT)


class CarrierClient:
    """The carriers' HTTP APIs, with the key each of them gave us."""

    def __init__(self, http: httpx.AsyncClient, secrets: Mapping[str, Any]) -> None:
        self._http, self._keys = http, secrets.get("carriers", {})

    async def quote(self, call: EffectCall) -> dict[str, Any]:
        """Ask all carriers at once. One that fails is left out and named; when all fail it is tried again."""
        carriers = call.data["carriers"]
        answers = await asyncio.gather(*(self._rates(c, call.data["shipment"]) for c in carriers))
        rates = [rate for found, _ in answers for rate in found]
        errors = {c["carrier_id"]: error for c, (_, error) in zip(carriers, answers, strict=True) if error}
        if len(errors) == len(carriers):
            raise CarrierAway("; ".join(f"{carrier}: {text}" for carrier, text in errors.items()))
        return {"rates": rates, "errors": errors}

    async def _rates(
        self, carrier: Mapping[str, Any], shipment: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], str | None]:
        wanted = ("parcel_id", "from", "to", "weight_g", "box", "handling", "deliver_by")
        try:
            answer = await self._post(
                carrier, "/rates", {name: shipment[name] for name in wanted}, within_s=RATES_TIMEOUT_S
            )
            found = [Rate.model_validate(rate) for rate in answer.get("rates", [])]
        except (CarrierAway, GaveUp) as error:
            return [], str(error)
        except ValidationError as error:
            return [], f"its rates are not understood: {error.error_count()} problem(s)"
        extra = {"carrier_id": carrier["carrier_id"], "reliability": carrier["reliability"]}
        return [{**rate.model_dump(mode="json"), **extra} for rate in found], None

    async def buy(self, call: EffectCall) -> dict[str, Any]:
        """Buy one label of one carrier. The effect's id makes a repetition return the same label."""
        offer, shipment = call.data["offer"], call.data["shipment"]
        carrier = {"carrier_id": offer["carrier_id"], "base_url": call.data["base_url"]}
        body = {**shipment, "quote_id": offer["quote_id"], "service": offer["service"]}
        answer = await self._post(carrier, "/labels", body, headers={"Idempotency-Key": str(call.id)})
        try:
            return Sold.model_validate(answer).model_dump(mode="json", exclude_none=True)
        except ValidationError as error:
            raise GaveUp(f"its label is not understood: {error.error_count()} problem(s)") from None

    async def void(self, call: EffectCall) -> dict[str, Any]:
        """Give a label back; giving it back twice is fine."""
        await self._post(call.data, f"/labels/{quote(call.subject, safe='')}/void", {})
        return {}

    async def _post(
        self,
        carrier: Mapping[str, Any],
        path: str,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        within_s: float = 20.0,
    ) -> dict[str, Any]:
        carrier_id = carrier["carrier_id"]
        sent = dict(headers or {})
        key = self._keys.get(carrier_id, {}).get("api_key")
        if key:
            sent["Authorization"] = f"Bearer {key}"
        try:
            response = await self._http.post(carrier["base_url"] + path, json=body, headers=sent, timeout=within_s)
        except httpx.HTTPError as error:
            raise CarrierAway(f"no answer ({type(error).__name__})") from None
        if response.status_code in (408, 425, 429) or response.status_code >= 500:
            raise CarrierAway(f"answered {response.status_code}")
        if response.status_code in (401, 403):
            raise GaveUp(f"it does not know our key: check carriers.{carrier_id}.api_key in the secrets file")
        if not response.is_success:
            raise GaveUp(f"answered {response.status_code}: {_reason(response)}")
        try:
            value = response.json()
        except ValueError:
            raise CarrierAway("its answer is not JSON") from None
        return value if isinstance(value, dict) else {}


def _reason(response: httpx.Response) -> str:
    """What the carrier says about a refusal, shortened."""
    try:
        value = response.json()
    except ValueError:
        return response.text[:200]
    if isinstance(value, dict):
        return str(value.get("detail") or value.get("message") or value.get("title") or value)[:200]
    return str(value)[:200]


def bind(handlers: Handlers, runtime: Runtime) -> CarrierClient:
    """Bind the performers to this process's HTTP client and secrets."""
    client = CarrierClient(runtime.http, runtime.secrets)
    handlers.performs("quote_rates", client.quote)
    handlers.performs("buy_label", client.buy)
    handlers.performs("void_label", client.void)
    return client
