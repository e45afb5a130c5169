"""Checks of our own for Schemathesis, beside its own. Loaded by its command line (`hooks` of the configuration)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis.core import NOT_SET

from expedite_chassis import webhooks

_home = os.environ.get("EXPEDITE_FUZZ_SECRETS")
SECRETS: dict[str, Any] | None = json.loads(Path(_home).read_text())["webhooks"] if _home else None

STRANGER = os.environ.get("EXPEDITE_FUZZ_STRANGER") == "1"  # this run holds no key
FOREIGN = (
    os.environ.get("EXPEDITE_FUZZ_FOREIGN") == "1"
)  # the API stands for somebody else's: it has no problems of ours

# What an answer must never tell: our code, our database, our disk, our network.
_INSIDE = re.compile(
    r"Traceback|File \"|site-packages|\.py\b|asyncpg|sqlalchemy|psycopg|pydantic|msgspec|"
    r"\b(?:SELECT|INSERT|UPDATE|DELETE)\s+(?:\*|INTO|FROM|\w+ SET)\b|postgres(?:ql)?://|"
    r"(?<![\w.])/(?:usr|home|root|tmp|var|etc|work)/|127\.0\.0\.1|localhost"
)
_SHUT = {400, 401, 404, 405, 415, 422, 431}


@schemathesis.check
def problem_details(ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """Every refusal is a problem (RFC 9457) that tells nothing of our inside (I5)."""
    if FOREIGN or response.status_code < 400 or response.request.method == "HEAD":
        return
    kind = (response.headers.get("content-type") or [""])[0]
    assert kind == "application/problem+json", f"refused with {kind or 'no content type'}"
    problem = json.loads(response.content)
    assert re.fullmatch(r"/problems/[a-z0-9]+(-[a-z0-9]+)*", problem["type"]), problem["type"]
    assert problem["title"] and isinstance(problem["title"], str), "a problem without a title"
    assert problem["status"] == response.status_code, f"status {problem['status']} in the problem"
    assert problem["trace_id"] in response.headers["traceparent"][0], (
        "the trace of the problem is not that of the answer"
    )
    found = _INSIDE.search(json.dumps(problem))
    assert found is None, f"the problem tells of our inside: {found and found.group()!r}"


@schemathesis.check
def answers_are_shielded(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """Every answer carries the headers that keep a browser from making more of it (I5)."""
    if FOREIGN:
        return
    for name in ("x-content-type-options", "content-security-policy", "referrer-policy", "x-request-id", "traceparent"):
        assert response.headers.get(name), f"no {name}"
    assert "server" not in response.headers, "the answer names its server"


@schemathesis.check
def strangers_are_kept_out(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """Without a key nothing is answered that needs one: no result, and no word on whether something exists (I5)."""
    if not STRANGER or not case.operation.definition.raw.get("security"):
        return
    assert response.status_code in _SHUT, f"a stranger was answered {response.status_code}"
    if response.status_code == 404:
        assert json.loads(response.content)["type"] == "/problems/not-found", "a stranger learnt what exists"


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """Sign webhooks as their senders do, so that what is drawn gets past the signature; what shall be wrong stays so."""
    if not case.operation.path.startswith("/webhooks/") or SECRETS is None:
        return
    if case.meta is None or case.meta.generation.mode is not schemathesis.GenerationMode.POSITIVE:
        return
    format_ = case.operation.path.split("/")[2]
    sender = str(next(iter((case.path_parameters or {}).values()), ""))
    secret = SECRETS.get(sender) or SECRETS.get(format_)
    if not isinstance(secret, str):
        return
    body = json.dumps(None if case.body is NOT_SET else case.body).encode()
    match format_:
        case "shopify":
            signed = {"X-Shopify-Hmac-Sha256": webhooks.sign_base64(body, secret), "X-Shopify-Topic": "orders/create"}
        case "woocommerce":
            signed = {"X-WC-Webhook-Signature": webhooks.sign_woocommerce(body, secret)}
            signed["X-WC-Webhook-Topic"] = "order.created"
        case "easypost":
            signed = {"X-Hmac-Signature": webhooks.sign_easypost(body, secret)}
        case "native" if secret.startswith("whsec_"):
            name = hashlib.sha256(body).hexdigest()
            signed = webhooks.sign_standard(body, name, int(time.time()), secret)
        case _:
            return
    case.body, case.media_type = body, "application/json"
    case.headers.update(signed)


@schemathesis.serializer("application/json")
def as_signed(ctx: schemathesis.SerializationContext, value: object) -> bytes:
    """JSON bodies; those that were signed go as they are."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@schemathesis.serializer("application/x-ndjson")
def lines(ctx: schemathesis.SerializationContext, value: object) -> bytes:
    """Bulk bodies: what was drawn, as lines of JSON."""
    return value.encode(errors="replace") if isinstance(value, str) else json.dumps(value).encode(errors="replace")
