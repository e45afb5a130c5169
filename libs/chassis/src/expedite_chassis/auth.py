"""Who calls: API keys of clients and short-lived tokens of people; what they may: scopes."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
import structlog
from fastapi import Request

from expedite_chassis.clock import RealClock, real_now
from expedite_chassis.problems import Problem

if TYPE_CHECKING:
    from expedite_chassis.spec import Runtime

ISSUER = "control-tower"
AUDIENCE = "expedite"
ALGORITHM = "EdDSA"
TOKEN_TTL_S = 900
ALL = "*"
_MAX_CREDENTIAL = 4096
_LEEWAY_S = 5


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller. `client` names it for ever (idempotency keys and audit entries hang on it): an API
    client's name, or `person:<id>`. `name` is for people to read. `channels`: the sales channels this client acts for,
    and it sees and changes nothing else; None: all of them. `requests_per_s`: its own limit; None: everybody's."""

    client: str
    name: str
    scopes: frozenset[str]
    person_id: str | None = None
    channels: frozenset[str] | None = None
    requests_per_s: float | None = None

    def may(self, scope: str) -> bool:
        return scope in self.scopes or ALL in self.scopes

    def serves(self, channel: str) -> bool:
        """Whether the caller may see and change what belongs to a channel."""
        return self.channels is None or channel in self.channels


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


class Keyring:
    """The identities a process accepts. Keys are kept as hashes and compared as hashes, so that neither a memory dump of
    this object nor the time of a comparison tells a key."""

    def __init__(self, secrets: dict[str, Any], clock: RealClock = real_now) -> None:
        self._clock = clock
        self._public = secrets.get("jwt_public_pem")
        self._clients: dict[bytes, Caller] = {}
        for client, entry in secrets.get("api_keys", {}).items():
            channels = entry.get("channels")
            bound = None if channels is None else frozenset(channels)
            scopes, own = frozenset(entry.get("scopes", ())), entry.get("requests_per_s")
            caller = Caller(client, client, scopes, channels=bound, requests_per_s=own)
            self._clients[_digest(entry["key"])] = caller

    def by_key(self, key: str) -> Caller | None:
        """The client that holds this API key."""
        wanted, found = _digest(key), None
        for digest, caller in self._clients.items():
            if hmac.compare_digest(digest, wanted):
                found = caller
        return found

    def by_token(self, token: str) -> Caller | None:
        """The person of a valid token: our algorithm and issuer, our audience, not expired."""
        if not self._public:
            return None
        try:
            claims = jwt.decode(
                token,
                self._public,
                algorithms=[ALGORITHM],  # never the sender's choice
                audience=AUDIENCE,
                issuer=ISSUER,
                options={
                    "require": ["exp", "iat", "sub", "aud", "iss"],
                    "verify_exp": False,  # checked below, on the clock we were given
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            now = self._clock()
            if not (float(claims["iat"]) - _LEEWAY_S <= now < float(claims["exp"]) + _LEEWAY_S):
                return None
            scopes = frozenset(str(claims.get("scope", "")).split())
            person = str(claims["sub"])
            return Caller(f"person:{person}", str(claims.get("name", person)), scopes, person)
        except (jwt.PyJWTError, ValueError, TypeError):
            return None

    def identify(self, authorization: str | None, api_key: str | None) -> Caller | None:
        """The caller behind the two headers. One that names two identities names none."""
        scheme, _, credential = (authorization or "").partition(" ")
        credential = credential.strip()
        if authorization and (scheme.lower() != "bearer" or not credential):
            return None
        if credential and api_key and credential != api_key:
            return None
        presented = credential or (api_key or "").strip()
        if not presented or len(presented) > _MAX_CREDENTIAL:
            return None
        known = self.by_key(presented)
        if known is None and credential and credential.count(".") == 2:
            return self.by_token(credential)
        return known


def issue_token(
    private_pem: str,
    *,
    person_id: str,
    name: str,
    scopes: Iterable[str],
    ttl_s: int = TOKEN_TTL_S,
    now: float | None = None,
) -> str:
    """A token for a person, valid `ttl_s` real seconds; only the control tower holds the private key."""
    at = int(real_now() if now is None else now)
    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": person_id, "name": name, "scope": " ".join(sorted(scopes)),
        "iat": at, "exp": at + ttl_s,
    }  # fmt: skip
    return jwt.encode(claims, private_pem, algorithm=ALGORITHM)


def keep_pace(runtime: Runtime, client: str, per_s: float | None = None) -> None:
    """Count a request of a client. Raises the 429 problem, with `Retry-After`, when it asks faster than it may."""
    if wait_s := runtime.pace.wait_s(client, per_s):
        raise Problem(429, "too-many-requests", headers={"Retry-After": str(max(1, math.ceil(wait_s)))})


def offering(
    dependency: Callable[[Request], Awaitable[Caller]], *alternatives: tuple[str, ...]
) -> Callable[[Request], Awaitable[Caller]]:
    """Note on a dependency which scopes let a caller pass, any of the alternatives: the API's description tells it."""
    dependency.scopes = alternatives  # type: ignore[attr-defined]
    return dependency


def require(*scopes: str, by_channel: bool = False) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that gives the caller, or 401 without an identity, 429 when it asks faster than it may, 403 naming the
    first scope it lacks. Clients that act for some channels only get 403 as well, whatever their scopes, unless the route
    says `by_channel`: it then asks `Caller.serves` about everything it shows or changes."""

    async def authorised(request: Request) -> Caller:
        runtime: Runtime = request.app.state.runtime
        caller = runtime.keyring.identify(request.headers.get("authorization"), request.headers.get("x-api-key"))
        if caller is None:
            raise Problem(401, "unauthenticated", headers={"WWW-Authenticate": 'Bearer realm="expedite"'})
        structlog.contextvars.bind_contextvars(client=caller.client)
        keep_pace(runtime, caller.client, caller.requests_per_s)
        if caller.channels is not None and not by_channel:
            raise Problem(403, "not-for-channels")
        missing = next((scope for scope in scopes if not caller.may(scope)), None)
        if missing is not None:
            raise Problem(
                403,
                "missing-scope",
                detail=f"This needs the scope {missing}.",
                headers={"WWW-Authenticate": f'Bearer realm="expedite", error="insufficient_scope", scope="{missing}"'},
                extra={"missing_scope": missing},
            )
        return caller

    return offering(authorised, scopes)
