"""Master data from readable seed files, loaded through the owners' APIs."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

import yaml

from expedite_local.demo.client import Api

Told = Callable[[str], None]
WAREHOUSES = ("LON", "MAN", "LIL", "SYD")


def read(name: str) -> list[dict[str, Any]]:
    """The rows of a seed file: products, warehouses, carriers, people, channels."""
    text = files("expedite_local.seeds").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = yaml.safe_load(text)
    return rows


async def load_master_data(api: Api, carriers_url: str, told: Told) -> None:
    """Channels, people, warehouses, products and carriers. Loading twice changes nothing."""
    products = read("products")
    steps: list[tuple[str, Callable[[], Awaitable[None]]]] = [
        ("channels", lambda: _each(api, "order-intake", "/channels", "channel_id", read("channels"))),
        ("people", lambda: _each(api, "prioritizer", "/people", "person_id", read("people"))),
        ("warehouses", lambda: _each(api, "inventory", "/warehouses", "warehouse_id", read("warehouses"))),
        ("products", lambda: _products(api, products)),
        (
            "carriers",
            lambda: _each(api, "shipping", "/carriers", "carrier_id", _with_url(read("carriers"), carriers_url)),
        ),
    ]
    for name, step in steps:
        await step()
        told(f"{name} loaded")


def _with_url(carriers: list[dict[str, Any]], base: str) -> list[dict[str, Any]]:
    return [{**carrier, "base_url": f"{base}/{carrier['carrier_id']}"} for carrier in carriers]


async def _each(api: Api, service: str, path: str, key: str, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        await api.put(service, f"{path}/{row[key]}", {name: value for name, value in row.items() if name != key})


async def _products(api: Api, products: list[dict[str, Any]]) -> None:
    for start in range(0, len(products), 200):
        await api.put("inventory", "/products", products[start : start + 200])


def opening_stock(demand: dict[str, int], seed: int) -> list[dict[str, Any]]:
    """Stock on the shelves before the first order, from how many of each SKU will be asked for. Most is in London, the
    rest spread; some SKUs are short near the customer and some everywhere, so that transfers, splits and backorders
    happen as they do in life."""
    rnd = random.Random(f"stock {seed}")
    lines = []
    for sku, wanted in sorted(demand.items()):
        kind = rnd.random()
        total = wanted + 4 + wanted // 4
        if kind < 0.08:  # short everywhere: some will be backordered
            shares = {"LON": wanted // 2, "MAN": wanted // 8, "LIL": 0, "SYD": 0}
        elif kind < 0.30:  # mostly in the branch: London needs transfers
            shares = {"LON": total // 4, "MAN": total, "LIL": total // 8, "SYD": total // 10}
        else:
            shares = {"LON": total, "MAN": total // 5, "LIL": total // 5, "SYD": total // 8}
        lines += [{"sku": sku, "warehouse_id": w, "quantity": n} for w, n in shares.items() if n > 0]
    return lines


async def load_opening_stock(api: Api, demand: dict[str, int], seed: int, reference: str, told: Told) -> None:
    """Put the opening stock on the shelves; the reference makes it happen once."""
    lines = opening_stock(demand, seed)
    for start in range(0, len(lines), 200):
        body = {
            "lines": lines[start : start + 200],
            "reason": "opening stock",
            "reference": f"{reference}-{start // 200}",
        }
        response = await api.post("inventory", "/stock/opening", body)
        if not response.is_success:
            raise RuntimeError(f"opening stock: {response.status_code} {response.text[:500]}")
    told(f"opening stock: {sum(line['quantity'] for line in lines)} pieces of {len(demand)} SKUs")
