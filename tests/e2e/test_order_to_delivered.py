"""An order runs from HTTP to delivered on real Kafka and real PostgreSQL, over public interfaces only."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx
import pytest
from expedite_e2e import System, eventually, order, post


def work_the_floor(system: System, order_id: str) -> None:
    """Do whatever the queues offer for this order: pick, pack, move, put back, hand over."""
    with system.client("fulfillment", "crew") as floor, system.client("shipping", "crew") as dock:
        for warehouse in ("LON", "MAN", "LIL", "SYD"):
            for task in floor.get(f"/warehouses/{warehouse}/queue", params={"limit": 200}).json()["items"]:
                if task["order_id"] != order_id:
                    continue
                path = f"/fulfilment-orders/{task['task_id']}"
                if task["kind"] == "pick":
                    scans = [{"barcode": line["barcodes"][0], "quantity": line["quantity"]} for line in task["lines"]]
                    floor.post(f"{path}/scans", json={"by": "tom", "scans": scans}).raise_for_status()
                    floor.post(f"{path}/pack", json={"by": "tom"}).raise_for_status()
                elif task["kind"] == "transfer_out":
                    floor.post(f"/transfers/{task['transfer_id']}/dispatch", json={"by": "tom"}).raise_for_status()
                elif task["kind"] == "transfer_in":
                    floor.post(f"/transfers/{task['transfer_id']}/receive", json={"by": "tom"}).raise_for_status()
                else:
                    floor.post(f"/put-backs/{task['task_id']}/confirm", json={"by": "tom"}).raise_for_status()
            for parcel in dock.get(f"/warehouses/{warehouse}/dock", params={"limit": 500}).json()["items"]:
                if parcel["order_id"] == order_id and parcel["action"] in ("hand_over", "put_back"):
                    action = parcel["action"].replace("_", "-")
                    dock.post(f"/parcels/{parcel['parcel_id']}/{action}", json={"by": "tom"})


def run_to(system: System, intake: httpx.Client, order_id: str, *states: str) -> dict[str, Any]:
    """Work until intake says the order is in one of these states."""

    def look() -> dict[str, Any] | None:
        work_the_floor(system, order_id)
        found = intake.get(f"/orders/{order_id}").json()
        return found if found["state"] in states else None

    return eventually(look, f"order {order_id} reaching {states}")


def all_delivered(system: System, intake: httpx.Client, order_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        work_the_floor(system, order_id)
        found = intake.get(f"/orders/{order_id}").json()
        counts = found["units"]["counts"]
        return found if counts["delivered"] + counts["cancelled"] == counts["ordered"] else None

    return eventually(look, f"order {order_id} delivered")


def test_an_urgent_order_is_delivered_and_everyone_was_told(system: System) -> None:
    """A1, A2, A10, B1, D2, E2, F1, F2, G1, G3, G5, H3: the main job, from POST to the customer's confirmation."""
    with system.client("order-intake") as intake:
        answer = post(intake, order(tags=["urgent"]))
        assert answer.status_code == 202, answer.text
        order_id = answer.json()["order_id"]
        assert answer.headers["location"].endswith(f"/orders/{order_id}")
        all_delivered(system, intake, order_id)
        assert intake.post(f"/orders/{order_id}/confirm", json={}).status_code == 200
        run_to(system, intake, order_id, "closed")
    with system.client("control-tower") as tower:
        page = eventually(
            lambda: (p := tower.get(f"/api/orders/{order_id}").json())["row"]["stage"] == "closed" and p,
            "the tower closing it",
        )
    assert page["row"]["tier"] == "urgent"
    said = [entry["topic"] for entry in page["timeline"]]
    for topic in (
        "OrderReceived",
        "PriorityAssigned",
        "StockReserved",
        "Packed",
        "Shipped",
        "Delivered",
        "OrderClosed",
    ):
        assert topic in said
    urgent_path = {
        e["lane"]
        for e in page["timeline"]
        if e["topic"] in ("OrderReceived", "PriorityAssigned", "StockReserved", "Packed")
    }
    assert urgent_path == {"express"}
    with system.client("notifier") as notifier:

        def told() -> set[str]:
            items = notifier.get("/messages", params={"order_id": order_id}).json()["items"]
            assert len({(m["kind"], m["occasion"], m["audience"]) for m in items}) == len(items)
            return {m["kind"] for m in items if m["status"] == "sent"}

        eventually(
            lambda: told() >= {"receipt", "order_confirmation", "shipped", "delivered", "closed"}, "all messages sent"
        )
        link = notifier.get(f"/orders/{order_id}/status-link").json()["url"]
        page_text = httpx.get(link).text
    assert order_id in page_text
    assert httpx.get(link[:-3] + "xxx").status_code == 404


def test_a_held_order_goes_on_when_it_is_completed(system: System) -> None:
    """A4: nothing is lost; the hold names the field, completion releases it."""
    body = order()
    del body["customer"]["ship_to"]["postcode"]
    with system.client("order-intake") as intake:
        answer = post(intake, body).json()
        assert answer["state"] == "held"
        assert answer["holds"][0]["problem"]["field"] == "/customer/ship_to/postcode"
        done = intake.post(
            f"/orders/{answer['order_id']}/completion", json={"customer": {"ship_to": {"postcode": "SW1A 1AA"}}}
        )
        assert done.status_code == 200, done.text
        assert done.json()["state"] == "received"


def test_a_cancel_before_the_pick_and_one_after_the_hand_over(system: System) -> None:
    """A8: cancelled units are answered one by one; what left is refused with a reason."""
    with system.client("order-intake") as intake:
        early = post(intake, order()).json()["order_id"]
        asked = intake.post(f"/orders/{early}/cancel", json={"reason": "ordered twice"})
        assert asked.status_code == 202
        run_to(system, intake, early, "cancelled")

        late = post(intake, order()).json()["order_id"]

        def handed() -> bool:
            work_the_floor(system, late)
            counts = intake.get(f"/orders/{late}").json()["units"]["counts"]
            return counts["handed_over"] + counts["delivered"] == counts["ordered"]

        eventually(handed, "hand-over")
        refused = intake.post(f"/orders/{late}/cancel", json={"reason": "too slow"})
        assert refused.status_code in (202, 409)
        if refused.status_code == 409:
            assert refused.json()["type"].startswith("/problems/")


def test_the_same_key_is_the_same_order_and_another_body_is_refused(system: System) -> None:
    """A6: safe retries."""
    body, key = order(), f"e2e-{uuid.uuid4().hex}"
    with system.client("order-intake") as intake:
        first, again = post(intake, body, key), post(intake, body, key)
        assert first.json()["order_id"] == again.json()["order_id"]
        assert again.headers["idempotency-replayed"] == "true"
        other = post(intake, body | {"note": "changed"}, key)
        assert other.status_code == 422


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ("{", 400, None),
        ("[]", 422, None),
        (json.dumps({"channel": "web", "lines": [{"sku": "85123A", "quantity": "three"}]}), 422, "/lines/0/quantity"),
        (json.dumps({"chanel": "web"}), 422, "/chanel"),
        (json.dumps({"channel": "nowhere"}), 422, "/channel"),
        ('{"channel": "web", "total": NaN}', 400, None),
    ],
)
def test_nonsense_gets_a_problem_that_names_the_field(
    system: System, body: str, status: int, pointer: str | None
) -> None:
    """A3, I5: RFC 9457, never a trace."""
    with system.client("order-intake") as intake:
        answer = intake.post(
            "/orders",
            content=body,
            headers={"content-type": "application/json", "idempotency-key": f"e2e-{uuid.uuid4().hex}"},
        )
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem["type"].startswith("/problems/")
    if pointer:
        assert pointer in [error.get("pointer") for error in problem["errors"]]


def test_nobody_gets_in_without_a_key_and_no_webhook_without_a_signature(system: System) -> None:
    """I5: 401 without identity, 403 naming the scope, 401 for a wrong signature."""
    base = system.urls["order-intake"]
    assert httpx.post(f"{base}/orders", json=order()).status_code == 401
    with system.client("order-intake", "crew") as crew:
        forbidden = post(crew, order())
        assert forbidden.status_code == 403
        assert "orders:write" in forbidden.text
    forged = httpx.post(
        f"{base}/webhooks/shopify/shopify-demo", content=b"{}", headers={"x-shopify-hmac-sha256": "AAAA"}
    )
    assert forged.status_code == 401


def test_shops_post_unchanged_and_a_retry_is_no_second_order(system: System) -> None:
    """A1, A6: native Shopify and WooCommerce webhooks with real signatures, through the `send` command."""
    for format_ in ("shopify", "woocommerce"):
        sent = system.expedite("send", format_, "--urgent")
        assert sent.returncode == 0, sent.stdout + sent.stderr
        assert json.loads(sent.stdout.split(" ", 1)[1])["verdict"] == "accepted"
