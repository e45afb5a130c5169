"""The small world every saga starts in: two warehouses in Britain and one in France, four products, the demo carriers."""

from __future__ import annotations

from typing import Any

from expedite_local.carriers.rates import profiles

LON, MAN, LIL = "LON", "MAN", "LIL"
WAREHOUSES = (LON, MAN, LIL)
MUG, LAMP, RING, CAKE = "MUG", "LAMP", "RING", "CAKE"
SKUS = (MUG, LAMP, RING, CAKE)


def _warehouse(name: str, country: str, city: str, postcode: str, serves: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "address": {"line1": "1 Dock Road", "city": city, "postcode": postcode, "country": country},
        "time_zone": "Europe/Paris" if country == "FR" else "Europe/London",
        "opens": "06:00",
        "closes": "22:00",
        "working_days": [0, 1, 2, 3, 4, 5, 6],
        "cut_offs": [{"carrier_id": "swift-post", "local_time": "17:30"}],
        "serves": serves,
    }


WAREHOUSE_BODIES = {
    LON: _warehouse("London", "GB", "London", "NW10 7PH", ["GB"]),
    MAN: _warehouse("Manchester", "GB", "Manchester", "M17 1AB", ["GB"]),
    LIL: _warehouse("Lille", "FR", "Lesquin", "59810", ["FR", "DE"]),
}


def product(sku: str, number: int = 0, product_class: str = "standard") -> dict[str, Any]:
    """A product as the planner puts it; its barcode is `bar-<sku>`."""
    return {
        "sku": sku, "name": sku.title(), "barcodes": [f"bar-{sku}"], "length_mm": 100, "width_mm": 80, "height_mm": 60,
        "weight_g": 200 + 50 * number, "product_class": product_class, "unit_price": "9.50",
    }  # fmt: skip


PRODUCTS = [product(MUG), product(LAMP, 1, "fragile"), product(RING, 2, "valuable"), product(CAKE, 3, "perishable")]

PEOPLE: dict[str, dict[str, Any]] = {
    "dora": {"name": "Dora Whitcombe", "email": "dora@expedite.example", "roles": ["director"]},
    "lena": {"name": "Lena Kowalska", "email": "lena@expedite.example", "roles": ["operator"], "superior": "dora",
             "stages": ["audit", "confirm"]},
    "wei": {"name": "陈伟", "email": "wei@expedite.example", "roles": ["planner"], "superior": "dora",
            "stages": ["stock_lock"], "language": "zh"},
    "tom": {"name": "Tom Ellery", "email": "tom@expedite.example", "roles": ["picker"], "superior": "dora",
            "stages": ["prepare", "ship", "track"]},
}  # fmt: skip

CHANNEL = "web"
CHANNEL_BODY = {"code": "EC", "owner": "lena", "high_value_limit": "5000", "urgent_methods": ["NEXT_DAY"]}
SHOPS: dict[str, dict[str, Any]] = {
    "shop": {"code": "SH", "owner": "lena", "format": "shopify", "urgent_methods": ["EXPRESS_NEXT_DAY"]},
    "woo": {"code": "WC", "owner": "lena", "format": "woocommerce", "urgent_methods": ["express_24"]},
}


def carrier_bodies(base_url: str) -> dict[str, dict[str, Any]]:
    """The demo carriers as shipping's planner describes them."""
    return {
        profile.carrier_id: {
            "name": profile.name,
            "base_url": f"{base_url}/{profile.carrier_id}",
            "webhook_format": profile.webhook_format,
            "reliability": 0.95,
            "services": [
                {"code": s.code, "name": s.name, "transit_hours": s.hours, "base_price": str(s.base),
                 "price_per_kg": str(s.per_kg), "countries": list(s.countries)}
                for s in profile.services
            ],
        }
        for profile in profiles().values()
    }  # fmt: skip


def customer(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A complete customer; every number is another person."""
    body: dict[str, Any] = {
        "name": f"Ada Byron {number}",
        "email": f"ada{number}@example.com",
        "phone": "+44 20 7946 0018",
        "language": "en",
        "ship_to": {"line1": f"{number} St James's Square", "city": "London", "postcode": "SW1Y 4LB", "country": "GB"},
    }
    return {**body, **changes}
