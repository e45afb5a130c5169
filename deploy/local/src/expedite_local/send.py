"""`expedite send`: one order, as a shop would send it, really signed. The fastest way to see an order run."""

from __future__ import annotations

import json
import secrets as random_source
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from expedite_local import state
from expedite_local.clock import BusinessClock, now
from expedite_local.demo.invoices import PlannedOrder, plan
from expedite_local.demo.shops import Posting, posting, signed
from expedite_local.errors import LocalError
from expedite_local.home import Home, read_json

CHANNELS = {"native": "web", "shopify": "shopify-demo", "woocommerce": "woo-demo"}


class Format(StrEnum):
    """Who sends the order."""

    NATIVE = "native"
    SHOPIFY = "shopify"
    WOOCOMMERCE = "woocommerce"


class Missing(StrEnum):
    """What the order lacks, to see it held."""

    POSTCODE = "postcode"
    CONTACT = "contact"
    SKU = "sku"


def send(
    format_: Annotated[Format, typer.Argument(metavar="FORMAT", help="native, shopify or woocommerce")] = Format.NATIVE,
    urgent: Annotated[bool, typer.Option("--urgent", help="With the channel's 24-hour mark.")] = False,
    missing: Annotated[Missing | None, typer.Option(help="Leave something out: the order is held.")] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many different orders.")] = 1,
    body: Annotated[Path | None, typer.Option(help="Send the bytes of this file instead of a made-up order.")] = None,
    channel: Annotated[str, typer.Option(help="Channel id; the demo's of that format unless given.")] = "",
    to: Annotated[str, typer.Option(help="Base URL of order-intake; the system that runs here unless given.")] = "",
    secret: Annotated[
        str, typer.Option(help="Signing secret, or API key for native; from the home unless given.")
    ] = "",
) -> None:
    """Send a signed order to a running system and print its answer."""
    home = Home.current()
    running = state.load(home)
    if not to and (running is None or not running.running):
        raise LocalError(
            "nothing runs here: start it with `expedite up` or `expedite demo`, or name a server with --to"
        )
    known: dict[str, Any] = read_json(home.secrets_file) or {}
    keys = {**known.get("webhooks", {}), **({format_.value: secret} if secret else {})}
    api_key = secret or (running.api_keys["shop"] if running else "")
    if not api_key or (format_ is not Format.NATIVE and format_.value not in keys):
        raise LocalError(f"there is no secret for {format_.value} here: give one with --secret")
    base = to.rstrip("/") or (running.urls["order-intake"] if running else "")
    when = BusinessClock.load(home.clock_file).business(now())
    failed = 0
    with httpx.Client(timeout=30.0) as http:
        for serial in range(count):
            order = _order(format_, urgent, missing, channel, serial)
            said = posting(order, when, api_key, keys)
            if body is not None:
                said = _with_body(said, body.read_bytes(), format_, keys)
            response = http.post(base + said.path, content=said.body, headers=said.headers)
            typer.echo(f"{response.status_code} {_pretty(response)}")
            failed += not response.is_success
    if failed:
        raise typer.Exit(1)


def _order(format_: Format, urgent: bool, missing: Missing | None, channel: str, serial: int) -> PlannedOrder:
    """A made-up order nobody sent before."""
    drawn = random_source.choice(list(plan(300)))
    return replace(
        drawn, reference=f"send-{random_source.token_hex(6)}-{serial}", format=format_.value, urgent=urgent,
        channel=channel or CHANNELS[format_.value], missing=missing.value if missing else None, custom=False, paid=True,
    )  # fmt: skip


def _with_body(said: Posting, raw: bytes, format_: Format, keys: dict[str, str]) -> Posting:
    """The same request with other bytes, signed anew."""
    if format_ is Format.NATIVE:
        return replace(
            said, body=raw, headers={**said.headers, "idempotency-key": f"send-{random_source.token_hex(12)}"}
        )
    return signed(replace(said, body=raw), format_.value, keys[format_.value])


def _pretty(response: httpx.Response) -> str:
    try:
        return json.dumps(response.json(), indent=2, ensure_ascii=False)
    except ValueError:
        return response.text
