"""What the demo carriers sell: the services of the seed file, priced by distance and by weight in steps of 500 g. Quotes
need no memory: a quote id is derived from what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import yaml

from expedite_local.carriers.chance import draw, short_hash

COVERED = frozenset({"EXPRESS_24", "NEXT_DAY", "SAME_DAY"})  # services with insurance and a signature
ABROAD_HOURS, ABROAD_FACTOR = 24, 1.8
CURRENCY = "GBP"
STEP_G = 500  # within a step the price is the same
REFUSES = 0.01  # share of labels a carrier will not sell: the next carrier has to take them


class NoSuchService(Exception):
    """The carrier does not sell that, or not for this parcel."""


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """One row of a carrier's price list."""

    code: str
    name: str
    hours: int
    base: float
    per_kg: float
    countries: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """One carrier: how it signs its webhooks, what it sells, how its tracking numbers begin."""

    carrier_id: str
    name: str
    webhook_format: str
    prefix: str
    services: tuple[Service, ...]


@cache
def profiles() -> Mapping[str, Profile]:
    """The carriers of the seed file, by id."""
    rows = yaml.safe_load((files("expedite_local.seeds") / "carriers.yaml").read_text(encoding="utf-8"))
    return {row["carrier_id"]: _profile(row) for row in rows}


def _profile(row: Mapping[str, Any]) -> Profile:
    services = tuple(
        Service(s["code"], s["name"], int(s["transit_hours"]), float(s["base_price"]), float(s["price_per_kg"]),
                tuple(s.get("countries", ())))
        for s in row["services"]
    )  # fmt: skip
    prefix = "".join(word[0] for word in row["carrier_id"].split("-")).upper()
    return Profile(row["carrier_id"], row["name"], row["webhook_format"], prefix, services)


def quote(profile: Profile, ask: Mapping[str, Any]) -> dict[str, Any]:
    """All services the carrier offers for a parcel, and for which others they hold: its weight step, the whole country."""
    lane, heaviest = _lane(ask), _step(ask)
    return {
        "rates": [_rate(profile, service, lane, heaviest) for service in profile.services if _goes(service, lane)],
        "holds_for": {"weight_from_g": heaviest - STEP_G + 1, "weight_to_g": heaviest, "postcodes": ""},
    }


def price_of(profile: Profile, code: str, ask: Mapping[str, Any], seed: int, today: date | None) -> Mapping[str, Any]:
    """The rate behind a purchase; raises `NoSuchService` with the reason a carrier would give. What is full `today` may
    go tomorrow: where one carrier alone goes, its refusal must not be for ever. None: it was sold before. Seed 0: nobody
    refuses."""
    lane = _lane(ask)
    for service in profile.services:
        if service.code == code and _goes(service, lane):
            if seed and today and draw(seed, profile.carrier_id, "refuse", ask.get("parcel_id"), today) < REFUSES:
                raise NoSuchService("no capacity left on this lane today")
            return _rate(profile, service, lane, _step(ask))
    raise NoSuchService(f"{profile.name} does not sell {code} for this parcel")


Lane = tuple[str | None, str | None]
"""The countries a parcel comes from and goes to."""


def _lane(ask: Mapping[str, Any]) -> Lane:
    return _country(ask, "from"), _country(ask, "to")


def _goes(service: Service, lane: Lane) -> bool:
    if not service.countries:
        return True
    # A dedicated lane stays in its country.
    sender, receiver = lane
    return receiver in service.countries and sender in (None, receiver)


@lru_cache(maxsize=4096)  # carriers and services by identity (eq=False): they are made once
def _rate(profile: Profile, service: Service, lane: Lane, step: int) -> Mapping[str, Any]:
    abroad = lane[0] not in (None, lane[1])
    price = (service.base + service.per_kg * step / 1000) * (ABROAD_FACTOR if abroad else 1)
    covered = service.code in COVERED
    return {
        "quote_id": "q_" + short_hash(profile.carrier_id, service.code, *lane, step),
        "service": service.code,
        "name": service.name,
        "price": round(price, 2),
        "currency": CURRENCY,
        "transit_hours": service.hours + (ABROAD_HOURS if abroad else 0),
        "insured": covered,
        "signature": covered,
    }


def _step(ask: Mapping[str, Any]) -> int:
    """The weight a parcel is priced by: the end of its step."""
    return -(-max(1, int(ask.get("weight_g") or 1)) // STEP_G) * STEP_G


def _country(ask: Mapping[str, Any], end: str) -> str | None:
    place = ask.get(end)
    country = place.get("country") if isinstance(place, dict) else None
    return None if country is None else str(country)
