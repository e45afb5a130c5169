"""The pages people see, in a real browser."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest
from expedite_e2e import System, eventually, order, post
from playwright.sync_api import Browser, Page, Route, expect

SHOTS = Path(__file__).parent / "screenshots"  # ignored by git: to look at after a run


def watched(page: Page) -> list[str]:
    """Requests that leave this machine: there must be none (no CDN, no telemetry)."""
    strangers: list[str] = []

    def guard(route: Route) -> None:
        if re.match(r"(https?://(127\.0\.0\.1|localhost)[:/]|data:)", route.request.url):
            route.continue_()
        else:
            strangers.append(route.request.url)
            route.abort()

    page.route("**/*", guard)
    return strangers


@pytest.mark.parametrize(
    ("name", "width", "height", "scheme"),
    [("desktop-light", 1440, 900, "light"), ("desktop-dark", 1440, 900, "dark"), ("phone-light", 390, 844, "light")],
)
def test_an_order_appears_on_the_board_by_itself(
    system: System, browser: Browser, name: str, width: int, height: int, scheme: str
) -> None:
    """H1, H3: log in, see the board, post an order, see it appear live, open its timeline."""
    page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
    strangers, errors = watched(page), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("response", lambda answer: answer.status >= 500 and errors.append(f"{answer.status} {answer.url}"))
    page.goto(system.urls["control-tower"])
    page.get_by_label(re.compile("password", re.IGNORECASE)).fill(system.login["password"])
    page.get_by_role("button", name=re.compile("(log|sign) in", re.IGNORECASE)).click()
    expect(page.locator("[data-stage]").first).to_be_visible(timeout=30_000)
    body = order(lines=[{"sku": "85123A", "quantity": 1, "unit_price": "2.55"}])
    del body["customer"]["ship_to"]["postcode"]  # held: it stays where it can be seen
    with system.client("order-intake") as intake:
        order_id = post(intake, body).json()["order_id"]
    page.goto(f"{system.urls['control-tower']}/?q={order_id}")
    card = page.locator(f"[data-order='{order_id}']").first
    expect(card).to_be_visible(timeout=60_000)
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"board-{name}.png")
    card.click()
    expect(page.get_by_text(re.compile("held \\(needs_info\\)")).first).to_be_visible(timeout=30_000)
    page.screenshot(path=SHOTS / f"order-{name}.png")
    assert not errors
    assert not strangers
    page.context.close()


def test_the_customer_follows_and_completes_an_order_without_a_login(system: System, browser: Browser) -> None:
    """A4, G3: the signed link shows the open question; answering it sends the order on its way."""
    body = order()
    body["customer"]["name"] = f"Lin {uuid.uuid4().hex[:6]}"
    del body["customer"]["ship_to"]["postcode"]
    with system.client("order-intake") as intake:
        order_id = post(intake, body).json()["order_id"]
    with system.client("notifier") as notifier:
        link = notifier.get(f"/orders/{order_id}/status-link").json()["url"]
    page = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
    strangers = watched(page)
    eventually(
        lambda: page.goto(link).status == 200 and page.locator("form[data-action=completion]").count(), "the question"
    )
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / "status-held.png", full_page=True)
    page.locator("input[name='customer.ship_to.postcode']").fill("SW1A 1AA")
    # The page's requests go through `watched`, which works only while Playwright is waited for.
    with page.expect_response(
        lambda answer: "/completion" in answer.url and answer.request.method == "POST"
    ) as answered:
        page.get_by_role("button", name="Send").click()
    assert answered.value.ok, answered.value.text()
    with system.client("order-intake") as intake:
        eventually(lambda: intake.get(f"/orders/{order_id}").json()["state"] == "received", "the order going on")
    eventually(
        lambda: page.goto(link).status == 200 and not page.locator("form[data-action]").count(), "the answered page"
    )
    page.goto(f"{link}?lang=zh")
    expect(page.get_by_text("您的订单").first).to_be_visible()
    page.screenshot(path=SHOTS / "status-zh.png", full_page=True)
    assert not strangers
    page.context.close()
