"""Who may do what: keys, tokens, scopes, and every way around them that must fail (I5)."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any

import httpx
import jwt
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import APIRouter, Depends

from expedite_chassis import Caller, ServiceSpec, issue_token, require, testing
from expedite_chassis.auth import AUDIENCE, ISSUER, Keyring, _digest
from expedite_chassis.ration import Pace
from expedite_messaging import Handlers
from expedite_messaging.memory import MemoryClock, MemoryEngine

NOW = 1_800_000_000.0
SECRETS = testing.secrets_for({"shop": ["orders:write", "orders:read"], "root": ["*"]})


def a_spec() -> ServiceSpec:
    router = APIRouter()

    @router.get("/who")
    async def who(caller: Annotated[Caller, Depends(require())]) -> dict[str, Any]:
        return {"client": caller.client, "name": caller.name, "scopes": sorted(caller.scopes)}

    @router.post("/orders")
    async def post(caller: Annotated[Caller, Depends(require("orders:read", "orders:write"))]) -> dict[str, str]:
        return {"client": caller.client}

    return ServiceSpec("inventory", Handlers("inventory"), sa.MetaData(), router, "inventory")


def a_client(**options: Any) -> httpx.AsyncClient:
    spec = a_spec()
    return testing.client(spec, MemoryEngine(spec.handlers, MemoryClock()), **options)


def token(**changes: Any) -> str:
    ring_key = changes.pop("key", SECRETS["jwt_private_pem"])
    algorithm = changes.pop("algorithm", "EdDSA")
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "p-1", "name": "Mei", "scope": "orders:review read",
              "iat": NOW, "exp": NOW + 900} | changes  # fmt: skip
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, ring_key, algorithm=algorithm)


def ring(now: float = NOW, **secrets: Any) -> Keyring:
    return Keyring(SECRETS | secrets, clock=lambda: now)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_token_of_nothing_but_depth_is_no_identity(opening: str) -> None:
    """I5: a header that is deeper than a parser can go is refused as any other that is none."""
    part = base64.urlsafe_b64encode((opening * 2900).encode()[:2900]).rstrip(b"=").decode()
    assert ring().identify(f"Bearer {part}..", None) is None
    assert ring().identify(f"Bearer {part}.e30.e30"[:4100], None) is None


async def test_a_client_that_asks_too_fast_is_told_when_to_come_again() -> None:
    """I5: 429 with Retry-After; nothing else is looked at, and another client is served."""
    async with a_client(scopes=["read"], name="shop", anonymous=True) as http:
        app: Any = http._transport.app  # type: ignore[attr-defined]
        app.state.runtime.pace = Pace(2, lambda: 1000.0)
        found = [await http.get("/who", headers={"X-Api-Key": "key-of-shop"}) for _ in range(6)]
        assert [answer.status_code for answer in found] == [200] * 4 + [429] * 2
        assert (found[-1].headers["retry-after"], found[-1].json()["type"]) == ("1", "/problems/too-many-requests")
        app.state.runtime.keyring._clients[_digest("another")] = Caller("tower", "tower", frozenset())
        assert (await http.get("/who", headers={"X-Api-Key": "another"})).status_code == 200


async def test_a_key_in_either_header_names_its_client() -> None:
    """I5: channels are known by key, as a bearer token or as X-Api-Key."""
    async with a_client(scopes=["read"], name="shop", anonymous=True) as http:
        for headers in (
            {"Authorization": "Bearer key-of-shop"},
            {"authorization": "bearer  key-of-shop "},
            {"X-Api-Key": "key-of-shop"},
            {"Authorization": "Bearer key-of-shop", "X-Api-Key": "key-of-shop"},
        ):
            answer = await http.get("/who", headers=headers)
            assert (answer.status_code, answer.json()["client"]) == (200, "shop")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic key-of-shop"},
        {"Authorization": "key-of-shop"},
        {"X-Api-Key": ""},
        {"X-Api-Key": "KEY-OF-SHOP"},
        {"X-Api-Key": "key-of-shop "[:-2]},
        {"Authorization": "Bearer wrong", "X-Api-Key": "key-of-shop"},
        {"Authorization": "Bearer key-of-shop", "X-Api-Key": "wrong"},
        {"Authorization": "Bearer " + "x" * 10_000},
        {"Authorization": "Bearer a.b.c"},
    ],
    ids=lambda headers: str(headers)[:40],
)
async def test_without_an_identity_the_answer_is_401(headers: dict[str, str]) -> None:
    """I5: no key, a wrong key, another scheme or two identities at once are nobody; the answer repeats nothing."""
    async with a_client(name="shop", anonymous=True) as http:
        answer = await http.get("/who", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["type"] == "/problems/unauthenticated"
    assert "wrong" not in answer.text and "key-of-shop" not in answer.text


async def test_a_missing_scope_is_named() -> None:
    """I5: least privilege; who lacks a scope is told which."""
    async with a_client(scopes=["orders:read"]) as http:
        answer = await http.post("/orders")
    assert answer.status_code == 403
    assert answer.json()["missing_scope"] == "orders:write"
    assert "orders:write" in answer.json()["detail"]
    assert 'scope="orders:write"' in answer.headers["www-authenticate"]


async def test_scopes_are_names_not_prefixes() -> None:
    """I5: `orders` does not open `orders:write`; `*` opens all."""
    async with a_client(scopes=["orders", "orders:*", "orders:read"]) as http:
        assert (await http.post("/orders")).status_code == 403
    async with a_client(scopes=["*"]) as http:
        assert (await http.post("/orders")).status_code == 200


def test_keys_are_not_kept_in_clear() -> None:
    """I5: the keyring holds hashes only."""
    assert "key-of-shop" not in repr(vars(ring()))


def test_a_token_names_the_person_and_their_scopes() -> None:
    """I5: people act under their own name with their own scopes."""
    text = issue_token(SECRETS["jwt_private_pem"], person_id="p-1", name="梅", scopes={"read", "ops"}, now=NOW)
    caller = ring().identify(f"Bearer {text}", None)
    assert caller == Caller("person:p-1", "梅", frozenset({"read", "ops"}), "p-1")


def test_a_person_never_passes_for_a_client_of_the_same_name() -> None:
    """I5: idempotency keys and audit entries of a person and a client stay apart."""
    caller = ring().by_token(token(sub="shop"))
    assert caller is not None and caller.client == "person:shop"


@pytest.mark.parametrize(("now", "valid"), [(NOW, True), (NOW + 899, True), (NOW + 906, False), (NOW - 6, False)])
def test_a_token_is_valid_for_its_time_only(now: float, valid: bool) -> None:
    """I5: tokens are short-lived, on real time."""
    assert (ring(now).by_token(token()) is not None) is valid


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "shop"},
        {"aud": "elsewhere"},
        {"exp": None},
        {"iat": None},
        {"sub": None},
        {"aud": None},
        {"iss": None},
        {"exp": NOW - 100},
        {"exp": "soon"},
        {"iat": NOW + 60},
        {"sub": 7},
    ],
    ids=str,
)
def test_a_token_with_a_wrong_or_missing_claim_is_refused(changes: dict[str, Any]) -> None:
    """I5: issuer, audience, subject and times are all demanded."""
    try:
        text = token(**changes)
    except TypeError:  # the library itself refuses to make such a token
        return
    assert ring().by_token(text) is None


def test_forged_tokens_are_refused() -> None:
    """I5: neither another key, nor no algorithm, nor the public key used as a shared secret makes a token."""
    other = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    assert ring().by_token(token(key=other)) is None
    assert ring().by_token(token(key="", algorithm="none")) is None
    assert ring().by_token(confused()) is None
    head, claims, signature = token().split(".")
    widened = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"scope": "*"}
    body = base64.urlsafe_b64encode(json.dumps(widened).encode()).rstrip(b"=").decode()
    assert ring().by_token(f"{head}.{body}.{signature}") is None
    assert ring().by_token(f"{head}.{claims}.") is None
    assert ring(jwt_public_pem=None).by_token(token()) is None


def confused() -> str:
    """A token signed by HMAC with the public key, as an attacker who knows it would make it."""
    import hashlib
    import hmac

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    signed = f"{part({'alg': 'HS256', 'typ': 'JWT'})}." + part(
        {"iss": ISSUER, "aud": AUDIENCE, "sub": "p", "scope": "*", "iat": NOW, "exp": NOW + 900}
    )
    mac = hmac.new(SECRETS["jwt_public_pem"].encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def test_a_token_is_no_api_key() -> None:
    """I5: tokens travel as bearer tokens only."""
    assert ring().identify(None, token()) is None
