"""From a packed box to a label: quote, choose, buy; and what happens when the parcel or the carrier changes its mind.

Quoting and buying are two effects on purpose. A quote may be asked again at no cost; the purchase names one carrier and
carries the effect's id as idempotency key, so trying it again after a crash can never buy a second label elsewhere.
Rates that carriers quoted a moment ago for the same lane are taken without asking (`Desk.quotes`); when the carrier does
not sell on them, all are asked as if there had been none.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from expedite_events import CancelTimer, Decision, Effect, SetTimer
from shipping.domain.desk import Desk, told
from shipping.domain.quotes import Quote, Quotes, find
from shipping.domain.selection import CHOICES_REMEMBERED, Choice, Offer, choose
from shipping.domain.state import Label, LabelState, OrderLeg, Parcel, Station

LABEL_RETRY = "label_retry"
RETRY_AFTER = timedelta(minutes=10)
RETRY_AT_MOST = timedelta(hours=2)
CENT_PARTS = Decimal("0.0001")  # what money on the wire keeps
Data = Mapping[str, Any]


def wants_label(leg: OrderLeg, parcel: Parcel) -> bool:
    """It may be labelled now: on the dock, nothing to be taken out first, order neither held nor over."""
    return (
        parcel.station is Station.DOCK
        and bool(parcel.packed)
        and not parcel.waiting
        and not leg.held
        and leg.over is None
    )


def buy_what_is_missing(leg: OrderLeg, desk: Desk, now: datetime) -> Decision[OrderLeg]:
    """Start the label of every parcel that wants one and has none under way. Parcels that failed wait for their timer."""
    decision: Decision[OrderLeg] | None = None
    for parcel in leg.parcels:
        if parcel.label_state is LabelState.NONE and wants_label(leg, parcel):
            asked = _ask(decision.state if decision else leg, parcel, desk, now, desk.quotes)
            decision = decision.and_then(asked) if decision else asked
    return decision or Decision(leg)


def try_again(leg: OrderLeg, parcel_id: str, desk: Desk, now: datetime) -> Decision[OrderLeg]:
    """After a failure, by timer or by hand: every carrier is asked again. Nothing when the label is no longer wanted or
    already on its way."""
    parcel = leg.parcel(parcel_id)
    if parcel is None or parcel.label_state is not LabelState.FAILED:
        return Decision(leg)
    fresh = parcel.put(label_state=LabelState.NONE, excluded=(), problem=None)
    leg = leg.with_parcel(fresh)
    return _ask(leg, fresh, desk, now) if wants_label(leg, fresh) else Decision(leg)


def _ask(leg: OrderLeg, parcel: Parcel, desk: Desk, now: datetime, quotes: Quotes | None = None) -> Decision[OrderLeg]:
    """The next attempt at a label: with `quotes` it is bought on rates that are there, else carriers are asked."""
    attempt = parcel.label_attempt + 1
    asked = desk.asked(leg.address().country, parcel.excluded)
    if not asked:
        known = f"all that serve {leg.address().country} refused: {', '.join(parcel.excluded)}"
        reason = known if parcel.excluded else f"no active carrier serves {leg.address().country}"
        return _fail(leg, parcel.put(label_attempt=attempt), reason, now)
    parcel = parcel.put(label_attempt=attempt, label_state=LabelState.BUYING, problem=None)
    request = {"carriers": asked, "shipment": _priced(leg, parcel, desk)}
    effect = _buy_on(find(quotes or {}, request), leg, parcel, request, desk, now)
    return Decision(leg.with_parcel(parcel), effects=(effect or Effect("quote_rates", _subject(parcel), request),))


def _buy_on(
    quote: Quote | None, leg: OrderLeg, parcel: Parcel, request: Data, desk: Desk, now: datetime
) -> Effect | None:
    """The purchase on rates quoted before; None without them."""
    if quote is None:
        return None
    choice = _choose(leg, desk.offers_on(quote, parcel.warehouse_id, now, _offer), request)
    if choice is None:
        return None
    because = f"{choice.because}; rates quoted {quote.age(now)} before for the same lane"
    return _buy(leg, parcel, Choice(choice.offer, because), request, kept=True)


def _priced(leg: OrderLeg, parcel: Parcel, desk: Desk) -> dict[str, Any]:
    """What a carrier must know to quote."""
    handling = desk.handling(parcel.goods)
    if parcel.valuable and "valuable" not in handling:
        handling = tuple(sorted((*handling, "valuable")))
    return {
        "parcel_id": parcel.parcel_id,
        "from": desk.sender(parcel.warehouse_id),
        "to": told(leg.address()),
        "weight_g": max(1, parcel.weight_g - desk.weight_of(parcel.goods, parcel.put_back)),
        "box": parcel.box,
        "handling": handling,
        "deliver_by": leg.urgency_known().promise_by.isoformat(),
    }


def _labelled(leg: OrderLeg, parcel: Parcel, priced: Data) -> dict[str, Any]:
    """What a carrier must know to label, which is all it ever hears of a parcel."""
    customer, lines = leg.brief_known().customer, parcel.packed.lines
    recipient = {"name": customer.name, "phone": customer.phone, "company": customer.company}
    return {
        **priced,
        "reference": leg.order_id,
        "recipient": {name: value for name, value in recipient.items() if value},
        "contents": [g.name for g in parcel.goods if g.line in lines][:20],
    }


def quoted(
    leg: OrderLeg, parcel_id: str, subject: str, data: Data, request: Data, desk: Desk, now: datetime
) -> Decision[OrderLeg]:
    """Rates are in: choose one and buy it, unless the label is not wanted any more. The order stays as it is: that the
    purchase is under way, the effect itself knows."""
    parcel = _current(leg, parcel_id, subject)
    if parcel is None:
        return Decision(leg)
    if not wants_label(leg, parcel):
        return Decision(leg.with_parcel(parcel.put(label_state=LabelState.NONE)))
    offers = tuple(_offer(rate, parcel.warehouse_id, desk, now) for rate in data["rates"])
    choice = _choose(leg, offers, request)
    if choice is None:
        return _fail(leg, parcel, _no_offers(data.get("errors", {})), now)
    today = {**request, "shipment": _priced(leg, parcel, desk)}
    return Decision(leg, effects=(_buy(leg, parcel, choice, today),))


def _choose(leg: OrderLeg, offers: tuple[Offer, ...], request: Data) -> Choice | None:
    return choose(
        offers,
        promise_by=leg.urgency_known().promise_by,
        valuable="valuable" in request["shipment"]["handling"],
        preference=leg.brief_known().carrier_preference,
    )


def _buy(leg: OrderLeg, parcel: Parcel, choice: Choice, request: Data, *, kept: bool = False) -> Effect:
    """The purchase of what was chosen, of that one carrier. `kept`: on rates quoted before."""
    (carrier,) = [c for c in request["carriers"] if c["carrier_id"] == choice.offer.carrier_id]
    ask = {
        **carrier,
        "offer": _told(choice.offer),
        "because": choice.because,
        "shipment": _labelled(leg, parcel, request["shipment"]),
    }
    if kept:
        ask["kept"] = True
    return Effect("buy_label", _subject(parcel), ask)


def _offer(rate: Data, warehouse_id: str, desk: Desk, now: datetime) -> Offer:
    leaves = desk.leaves_at(warehouse_id, rate["carrier_id"], now)
    arrives = leaves + timedelta(hours=float(rate["transit_hours"]))
    return Offer(
        carrier_id=rate["carrier_id"], quote_id=rate.get("quote_id"), service=rate["service"], name=rate["name"],
        price=Decimal(str(rate["price"])), currency=rate["currency"], leaves_at=leaves, arrives_at=arrives,
        insured=rate.get("insured", False), signature=rate.get("signature", False),
        reliability=desk.reliability.get(rate["carrier_id"], 1.0),
    )  # fmt: skip


@lru_cache(maxsize=CHOICES_REMEMBERED)
def _told(offer: Offer) -> Data:
    """The offer as the purchase keeps it: what the label is made of when it is bought."""
    told: dict[str, Any] = {
        "carrier_id": offer.carrier_id, "quote_id": offer.quote_id, "service": offer.service, "name": offer.name,
        "price": str(offer.price), "currency": offer.currency, "leaves_at": offer.leaves_at.isoformat(),
        "arrives_at": offer.arrives_at.isoformat(),
    }  # fmt: skip
    return told | _cover(offer.insured, offer.signature)


def _cover(insured: bool, signature: bool) -> dict[str, bool]:
    """Care that was asked for; what is not there is not said."""
    return {name: True for name, has in (("insured", insured), ("signature", signature)) if has}


def _no_offers(errors: Mapping[str, str]) -> str:
    told = "; ".join(f"{carrier}: {text}" for carrier, text in sorted(errors.items()))
    return f"no carrier offered a service ({told})" if told else "no carrier offered a service"


def bought(leg: OrderLeg, parcel_id: str, data: Data, request: Data, now: datetime) -> Decision[OrderLeg]:
    """The label is there: the parcel can be handed over. A parcel that was cancelled meanwhile gives it back."""
    parcel = leg.parcel(parcel_id)
    if parcel is None:
        return Decision(leg)
    offer = request["offer"]
    cost = _money(data.get("cost", offer["price"]))
    label = Label(
        label_id=data["label_id"], carrier_id=offer["carrier_id"], base_url=request["base_url"],
        service=offer["service"], service_name=offer["name"], tracking_number=data["tracking_number"],
        tracking_url=data.get("tracking_url"), cost=cost, currency=data.get("currency", offer["currency"]),
        leaves_at=datetime.fromisoformat(offer["leaves_at"]), expected_at=datetime.fromisoformat(offer["arrives_at"]),
        insured=offer.get("insured", False), signature=offer.get("signature", False),
        chosen_because=request["because"],
    )  # fmt: skip
    if parcel.station is not Station.DOCK or not parcel.packed or leg.over is not None:
        parcel = parcel.put(label_state=LabelState.NONE)
        return Decision(leg.with_parcel(parcel), effects=(void(label, parcel_id),))
    parcel = parcel.put(label=label, label_state=LabelState.BOUGHT, expected_at=label.expected_at)
    return Decision(leg.with_parcel(parcel if parcel.problem is None else parcel.put(problem=None)))


@lru_cache(maxsize=CHOICES_REMEMBERED)
def _money(amount: str | float) -> Decimal:
    """An amount as it travels; a carrier's prices are few."""
    return Decimal(str(amount)).quantize(CENT_PARTS)


def not_quoted(leg: OrderLeg, parcel_id: str, subject: str, error: str, now: datetime) -> Decision[OrderLeg]:
    """Nobody could be asked for rates; the timer asks again."""
    parcel = _current(leg, parcel_id, subject)
    return Decision(leg) if parcel is None else _fail(leg, parcel, f"no rates: {error}", now)


def not_bought(
    leg: OrderLeg, parcel_id: str, subject: str, error: str, request: Data, desk: Desk, now: datetime
) -> Decision[OrderLeg]:
    """The chosen carrier would not sell: the others are asked, without it. What it refused on rates quoted before, it may
    sell on new ones: then it is asked with the others."""
    parcel = _current(leg, parcel_id, subject)
    if parcel is None:
        return Decision(leg)
    refused_by = request["offer"]["carrier_id"]
    parcel = parcel.put(
        excluded=parcel.excluded if request.get("kept") else (*parcel.excluded, refused_by),
        label_state=LabelState.NONE,
        problem=f"{refused_by} refused the label: {error}"[:500],
    )
    leg = leg.with_parcel(parcel)
    return _ask(leg, parcel, desk, now) if wants_label(leg, parcel) else Decision(leg)


def not_voided(leg: OrderLeg, parcel_id: str, label_id: str, error: str) -> Decision[OrderLeg]:
    """A carrier would not take a label back: it costs money, so a person sees it."""
    parcel = leg.parcel(parcel_id)
    if parcel is None:
        return Decision(leg)
    text = f"label {label_id} could not be voided: {error}"[:500]
    return Decision(leg.with_parcel(parcel.put(problem=text)))


def void(label: Label, parcel_id: str) -> Effect:
    """Give a label back to its carrier."""
    ask = {"base_url": label.base_url, "carrier_id": label.carrier_id, "parcel_id": parcel_id}
    return Effect("void_label", label.label_id, ask)


def _fail(leg: OrderLeg, parcel: Parcel, reason: str, now: datetime) -> Decision[OrderLeg]:
    problem = f"{reason}; {parcel.problem}" if parcel.problem else reason
    parcel = parcel.put(label_state=LabelState.FAILED, problem=problem[:500])
    wait = min(RETRY_AFTER * 2 ** min(parcel.label_attempt - 1, 8), RETRY_AT_MOST)
    timer = SetTimer(LABEL_RETRY, parcel.parcel_id, now + wait)
    return Decision(leg.with_parcel(parcel), timers=(timer,))


def no_retry(parcel: Parcel) -> tuple[CancelTimer, ...]:
    """Forget the timer that would ask for the label again. Only a label that failed, now or before, may have one."""
    failed = parcel.label_state is LabelState.FAILED or parcel.label_attempt > 1
    return (CancelTimer(LABEL_RETRY, parcel.parcel_id),) if failed else ()


def _current(leg: OrderLeg, parcel_id: str, subject: str) -> Parcel | None:
    """The parcel, if this result answers what it waits for; an answer to an earlier attempt is void."""
    parcel = leg.parcel(parcel_id)
    wanted = parcel is not None and parcel.label_state is LabelState.BUYING
    return parcel if parcel and wanted and _subject(parcel) == subject else None


def _subject(parcel: Parcel) -> str:
    return f"{parcel.parcel_id}#{parcel.label_attempt}"


def parcel_of(subject: str) -> str:
    """The parcel an effect was about."""
    return subject.rpartition("#")[0]
