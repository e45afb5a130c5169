"""What is performed at carriers outside transactions: rates, labels, voids. A batch of effects becomes few requests per
carrier that takes batches; every effect has its own outcome all the same (protocol: `shipping.carriers`)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from expedite_chassis import Runtime
from expedite_messaging import EffectCall, GaveUp, Handlers
from shipping.carriers import (
    BATCH_AT_MOST,
    FORMATS,
    RATES_TIMEOUT_S,
    CarrierApi,
    CarrierAway,
    NotInBatches,
    holds_of,
    label_of,
    rates_of,
    together,
)

__all__ = ["CarrierAway", "Performers", "bind"]

Answer = dict[str, Any] | Exception
Ask = tuple[str, dict[str, Any]]  # idempotency key, body
PERFORMED_AT_ONCE = 500  # as many as a batch of events may want: what has no room here must be claimed from the table
ONE_BY_ONE_AT_ONCE = 32
ONE_BY_ONE_S = 20.0  # all requests that had to be made one by one; what is left then is tried again
BATCH_TIMEOUT_S = 20.0


class Performers:
    """The performers of shipping's effects."""

    def __init__(self, api: CarrierApi) -> None:
        self._api = api

    async def quote(self, calls: Sequence[EffectCall]) -> list[Answer]:
        """Ask all carriers at once. One that fails is left out and named; an effect that no carrier answered is tried
        again. What all of them say for other parcels too is said with it."""
        asked: dict[str, list[int]] = defaultdict(list)
        carriers: dict[str, Mapping[str, Any]] = {}
        for index, call in enumerate(calls):
            for carrier in call.data["carriers"]:
                name = f"{carrier['carrier_id']} {carrier['base_url']}"
                carriers.setdefault(name, carrier)
                asked[name].append(index)

        async def of(name: str) -> list[Answer]:
            asks = [("", calls[index].data["shipment"]) for index in asked[name]]
            return await self._answers(carriers[name], "/rates", asks, RATES_TIMEOUT_S)

        found = await asyncio.gather(*(of(name) for name in asked))
        rates: list[list[dict[str, Any]]] = [[] for _ in calls]
        errors: list[dict[str, str]] = [{} for _ in calls]
        holds: list[list[dict[str, Any] | None]] = [[] for _ in calls]
        for name, answers in zip(asked, found, strict=True):
            carrier_id = carriers[name]["carrier_id"]
            for index, answer in zip(asked[name], answers, strict=True):
                try:
                    offered = rates_of(_good(answer))
                except (CarrierAway, GaveUp) as error:
                    errors[index][carrier_id] = str(error)
                    holds[index].append(None)
                else:
                    holds[index].append(holds_of(_good(answer)))
                    rates[index] += [{"carrier_id": carrier_id, **rate} for rate in offered]
        return [_quoted(call, rates[i], errors[i], together(holds[i])) for i, call in enumerate(calls)]

    async def buy(self, calls: Sequence[EffectCall]) -> list[Answer]:
        """Buy each label of its carrier. The effect's id makes a repetition return the same label."""
        groups: dict[str, list[int]] = defaultdict(list)
        for index, call in enumerate(calls):
            groups[f"{call.data['offer']['carrier_id']} {call.data['base_url']}"].append(index)

        async def of(indexes: list[int]) -> list[Answer]:
            data = calls[indexes[0]].data
            carrier = {"carrier_id": data["offer"]["carrier_id"], "base_url": data["base_url"]}
            carrier |= {"batch": data.get("batch", True)}
            return await self._answers(carrier, "/labels", [_wish(calls[index]) for index in indexes], BATCH_TIMEOUT_S)

        sold: dict[int, Answer] = {}
        for indexes, answers in zip(
            groups.values(), await asyncio.gather(*(of(indexes) for indexes in groups.values())), strict=True
        ):
            for index, answer in zip(indexes, answers, strict=True):
                try:
                    sold[index] = label_of(_good(answer))
                except (CarrierAway, GaveUp) as error:
                    sold[index] = error
        return [sold[index] for index in range(len(calls))]

    async def void(self, call: EffectCall) -> dict[str, Any]:
        """Give a label back; giving it back twice is fine."""
        await self._api.void(call.data, call.subject)
        return {}

    async def _answers(
        self, carrier: Mapping[str, Any], path: str, asks: Sequence[Ask], within_s: float
    ) -> list[Answer]:
        """What one carrier answers to each request, as many in one as it takes."""
        slots = asyncio.Semaphore(ONE_BY_ONE_AT_ONCE)
        parts = [asks[at : at + BATCH_AT_MOST] for at in range(0, len(asks), BATCH_AT_MOST)]
        found = await asyncio.gather(*(self._part(carrier, path, part, within_s, slots) for part in parts))
        return [answer for answers in found for answer in answers]

    async def _part(
        self, carrier: Mapping[str, Any], path: str, asks: Sequence[Ask], within_s: float, slots: asyncio.Semaphore
    ) -> list[Answer]:
        """In a batch when the carrier takes them, else one by one."""
        if carrier.get("batch", True) and len(asks) > 1:
            bodies = [{"idempotency_key": key, **body} if key else body for key, body in asks]
            try:
                return await self._api.many(carrier, f"{path}/batch", bodies, within_s=BATCH_TIMEOUT_S)
            except NotInBatches:
                pass
            except (CarrierAway, GaveUp) as error:
                return [error] * len(asks)

        async def ask(key: str, body: Mapping[str, Any]) -> dict[str, Any]:
            async with slots:
                return await self._api.one(carrier, path, body, key=key, within_s=within_s)

        return await _in_time([ask(*each) for each in asks])


def _wish(call: EffectCall) -> Ask:
    offer = call.data["offer"]
    body = {**call.data["shipment"], "quote_id": offer["quote_id"], "service": offer["service"], "formats": FORMATS}
    return str(call.id), body


def _good(answer: Answer) -> dict[str, Any]:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _quoted(
    call: EffectCall, rates: list[dict[str, Any]], errors: Mapping[str, str], holds: Mapping[str, Any] | None
) -> Answer:
    if len(errors) == len(call.data["carriers"]):
        return CarrierAway("; ".join(f"{carrier}: {text}" for carrier, text in errors.items()))
    return {"rates": rates, "errors": errors} | ({"holds_for": holds} if holds else {})


async def _in_time(requests: Sequence[Awaitable[dict[str, Any]]]) -> list[Answer]:
    """The outcomes of all requests; those without one in time count as not answered."""
    tasks = [asyncio.ensure_future(request) for request in requests]
    _, late = await asyncio.wait(tasks, timeout=ONE_BY_ONE_S)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return [_outcome(task) for task in tasks]


def _outcome(task: asyncio.Future[dict[str, Any]]) -> Answer:
    if task.cancelled():
        return CarrierAway("no answer in time")
    error = task.exception()
    if error is None:
        return task.result()
    return error if isinstance(error, Exception) else CarrierAway(repr(error))


def bind(handlers: Handlers, runtime: Runtime) -> Performers:
    """Bind the performers to this process's HTTP client and secrets."""
    performers = Performers(CarrierApi(runtime.http, runtime.secrets))
    handlers.performs_batch("quote_rates", performers.quote, limit=PERFORMED_AT_ONCE)
    handlers.performs_batch("buy_label", performers.buy, limit=PERFORMED_AT_ONCE)
    handlers.performs("void_label", performers.void)
    return performers
