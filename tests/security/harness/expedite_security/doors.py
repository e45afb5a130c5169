"""Every route there is and which scopes open it. A route that is not in the table fails the tests: whoever adds one says
here who may use it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount

import control_tower.main
import fulfillment.main
import inventory.main
import notifier.main
import order_intake.main
import prioritizer.main
import shipping.main
from expedite_chassis import ServiceSpec
from expedite_chassis.testing import app
from expedite_messaging.memory import MemoryClock, MemoryEngine

MAINS = (order_intake, prioritizer, inventory, fulfillment, shipping, notifier, control_tower)
SPECS: Mapping[str, ServiceSpec] = {module.main.spec.name: module.main.spec for module in MAINS}
SCOPES = ("read", "orders:read", "orders:write", "orders:review", "floor:work", "master:write", "stock:write",
          "priority:write", "ops")  # fmt: skip

PUBLIC = {
    "/livez": "for the machine beside it; says one word",
    "/readyz": "for the machine beside it; says which checks pass",
    "/metrics": "for the machine beside it; what came through a proxy gets 404",
    "/openapi.json": "the description that clients are made from",
    "/problems": "what the type URIs of problems lead to",
    "/problems/{code}": "what the type URIs of problems lead to",
    "order-intake /webhooks/shopify/{channel_id}": "signature",
    "order-intake /webhooks/woocommerce/{channel_id}": "signature",
    "shipping /webhooks/easypost/{carrier_id}": "signature",
    "shipping /webhooks/native/{carrier_id}": "signature",
    "notifier /s/{token}": "signed link",
    "fulfillment /scanner": "a page without data; what it calls needs a key",
    "control-tower /api/login": "password",
    "control-tower /": "a page without data; what it calls needs a token",
    "control-tower /orders/{order_id}": "a page without data; what it calls needs a token",
    "control-tower /needs-action": "a page without data; what it calls needs a token",
}
"""Routes without a key, and what guards them instead."""

MOUNTS = {"fulfillment": {"/static"}, "notifier": {"/static"}, "control-tower": {"/assets"}}
"""Static files: styles, scripts, icons."""

_READ = {"read"}
_WORK = {"floor:work"}
_LOOK_AT_WORK = {"read", "floor:work"}
NEEDS: Mapping[str, Mapping[str, set[str]]] = {
    "order-intake": {
        "POST /orders": {"orders:write"}, "POST /orders/bulk": {"orders:write"},
        "GET /orders": {"orders:read", "read"}, "GET /orders/{order_id}": {"orders:read", "read"},
        "POST /orders/{order_id}/completion": {"orders:write", "orders:review"},
        "POST /orders/{order_id}/holds/{hold_id}/approve": {"orders:review"},
        "POST /orders/{order_id}/holds/{hold_id}/reject": {"orders:review"},
        "POST /orders/{order_id}/payment": {"orders:write"}, "POST /orders/{order_id}/cancel": {"orders:write"},
        "GET /orders/{order_id}/cancels/{request_id}": {"orders:read", "orders:write", "read"},
        "POST /orders/{order_id}/confirm": {"orders:write"}, "PUT /channels/{channel_id}": {"master:write"},
        "GET /channels": {"read", "orders:read", "orders:write", "master:write"},
        "GET /deliveries": {"orders:review"}, "GET /deliveries/{delivery_id}": {"orders:review"},
        "POST /deliveries/{delivery_id}/replay": {"orders:review"},
    },
    "prioritizer": {
        "GET /orders/{order_id}/priority": _READ, "POST /orders/{order_id}/raise": {"priority:write"},
        "POST /orders/{order_id}/lower": {"priority:write"}, "GET /breaches": _READ,
        "POST /breaches/{breach_id}/cause": {"priority:write"}, "GET /people": _READ, "GET /people/{person_id}": _READ,
        "PUT /people/{person_id}": {"master:write", "priority:write"}, "GET /rules": _READ, "GET /budgets": _READ,
    },
    "inventory": {
        "PUT /products/{sku}": {"master:write"}, "PUT /products": {"master:write"},
        "PUT /warehouses/{warehouse_id}": {"master:write"}, "GET /products": _READ, "GET /warehouses": _READ,
        "POST /stock/opening": {"stock:write"}, "POST /stock/counts": {"stock:write"}, "GET /stock": _READ,
        "GET /stock/movements": _READ, "GET /stock/conservation": _READ, "GET /orders/{order_id}/allocation": _READ,
        "GET /backorders": _READ,
    },
    "fulfillment": {
        "POST /warehouses/{warehouse_id}/confirmations": _WORK, "POST /receipts": _WORK,
        "GET /warehouses": _LOOK_AT_WORK, "GET /warehouses/{warehouse_id}/queue": _LOOK_AT_WORK,
        "GET /fulfilment-orders/{fulfilment_order_id}": _LOOK_AT_WORK, "GET /orders/{order_id}/fulfilment": _LOOK_AT_WORK,
        "POST /fulfilment-orders/{fulfilment_order_id}/claim": _WORK,
        "POST /fulfilment-orders/{fulfilment_order_id}/scans": _WORK,
        "POST /fulfilment-orders/{fulfilment_order_id}/short": _WORK,
        "POST /fulfilment-orders/{fulfilment_order_id}/pack": _WORK, "POST /put-backs/{put_back_id}/confirm": _WORK,
        "POST /transfers/{transfer_id}/dispatch": _WORK, "POST /transfers/{transfer_id}/receive": _WORK,
    },
    "shipping": {
        "PUT /carriers/{carrier_id}": {"master:write"}, "GET /carriers": _READ, "GET /carriers/{carrier_id}": _READ,
        "GET /carriers/{carrier_id}/manifest": _READ, "GET /parcels/{parcel_id}/label.zpl": _WORK,
        "GET /parcels/{parcel_id}/label.pdf": _WORK, "GET /tracking-deliveries": _READ, "GET /parcels": _READ,
        "GET /parcels/{parcel_id}": _READ, "GET /orders/{order_id}/parcels": _READ,
        "GET /warehouses/{warehouse_id}/dock": _WORK, "POST /parcels/{parcel_id}/hand-over": _WORK,
        "POST /warehouses/{warehouse_id}/hand-overs": _WORK, "POST /parcels/{parcel_id}/put-back": _WORK,
        "POST /parcels/{parcel_id}/returned": _WORK, "POST /parcels/{parcel_id}/label": _WORK,
    },
    "notifier": {
        "GET /messages": _READ, "GET /messages/queue": _READ, "GET /orders/{order_id}/status-link": {"orders:write"},
    },
    "control-tower": {
        "POST /api/token": _READ, "GET /api/config": _READ, "GET /api/summary": _READ, "GET /api/board": _READ,
        "GET /api/needs-action": _READ, "GET /api/orders/{order_id}": _READ, "GET /api/stock": _READ,
        "GET /api/stream": _READ,
    },
}  # fmt: skip
BY_CHANNEL = {
    "POST /orders", "POST /orders/bulk", "GET /orders", "GET /orders/{order_id}", "POST /orders/{order_id}/completion",
    "POST /orders/{order_id}/payment", "POST /orders/{order_id}/cancel", "GET /orders/{order_id}/cancels/{request_id}",
    "POST /orders/{order_id}/confirm", "GET /channels",
}  # fmt: skip
"""Routes of order-intake for clients that act for some channels only."""


@dataclass(frozen=True)
class Door:
    """One operation of one service."""

    service: str
    method: str
    path: str

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def url(self) -> str:
        """The path with something plausible for each parameter."""
        return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: EXAMPLES.get(found[1], "x-1"), self.path)

    @property
    def guarded_otherwise(self) -> bool:
        return self.path in PUBLIC or f"{self.service} {self.path}" in PUBLIC

    @property
    def needs(self) -> set[str] | None:
        """The scopes each of which opens it; None: nobody said."""
        if self.path.startswith("/admin/"):
            return {"ops"}
        return NEEDS[self.service].get(self.name)


EXAMPLES = {
    "order_id": "20200101-EC-000001", "parcel_id": "20200101-EC-000001-P1", "delivery_id": "0" * 36,
    "fulfilment_order_id": "20200101-EC-000001-F1", "transfer_id": "20200101-EC-000001-T1",
    "put_back_id": "20200101-EC-000001-F1-B1", "channel_id": "web", "code": "not-found",
}  # fmt: skip


def _each(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """Routes, and those of the routers among them."""
    for route in routes:
        router = getattr(route, "original_router", None)
        if router is None:
            yield route
        else:
            assert not route.include_context.prefix, "a router under a prefix: add it to the paths here"
            yield from _each(router.routes)


def doors() -> Iterator[Door]:
    """Every operation of every service, those left out of the descriptions too. Mounts must be the known ones."""
    for service, spec in SPECS.items():
        for route in _each(app(spec, MemoryEngine(spec.handlers, MemoryClock())).routes):
            if isinstance(route, Mount):
                assert route.path in MOUNTS.get(service, ()), (
                    f"{service} serves {route.path}: nobody knows who may see it"
                )
            elif isinstance(route, APIRoute):
                yield from (Door(service, method, route.path) for method in sorted(route.methods))
            else:
                path, methods = getattr(route, "path", ""), getattr(route, "methods", None) or {"GET"}
                yield from (Door(service, method, path) for method in sorted(methods - {"HEAD"}))
