"""Who may use which route (checklist "Intake API": caller authenticated on every route, authorised by owner; `/docs`,
`/metrics`, `/debug` off or private). Table-driven from the apps themselves: no route escapes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx
import pytest
from expedite_e2e import System
from expedite_security.doors import BY_CHANNEL, SCOPES, SPECS, Door, doors

from expedite_chassis.testing import app, key_of, secrets_for
from expedite_messaging.memory import MemoryClock, MemoryEngine

DOORS = list(doors())
GUARDED = [door for door in DOORS if not door.guarded_otherwise]
CLIENTS: Mapping[str, list[str]] = {scope: [scope] for scope in SCOPES} | {"bound": ["*"], "none": [], "all": ["*"]}
each_guarded = pytest.mark.parametrize("door", GUARDED, ids=[f"{d.service} {d.name}" for d in GUARDED])


@cache
def transport(service: str) -> httpx.ASGITransport:
    spec = SPECS[service]
    secrets = secrets_for(CLIENTS, {"bound": ["dealer"]})
    return httpx.ASGITransport(app(spec, MemoryEngine(spec.handlers, MemoryClock()), secrets=secrets))


async def knock(door: Door, headers: Mapping[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(transport=transport(door.service), base_url="http://door") as http:
        return await http.request(door.method, door.url, headers=headers)


def key(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key_of(name)}"}


def test_every_route_is_known() -> None:
    """I5: a new route says in `doors.py` who may use it; a route that is gone is taken out."""
    assert [f"{d.service} {d.name}" for d in GUARDED if d.needs is None] == []
    assert len(GUARDED) > 60 and {d.service for d in GUARDED} == set(SPECS)


@each_guarded
async def test_nobody_comes_in_without_a_key(door: Door) -> None:
    """I5: no key, an unknown one, a wrong scheme, two different identities: 401 and how to log in, before the body is
    judged and without a word about what is there."""
    nobody: list[dict[str, str]] = [
        {}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {key_of('all')}"}, {"X-Api-Key": ""},
        {"Authorization": key_of("all")}, {**key("all"), "X-Api-Key": key_of("read")}, {"Cookie": f"token={key_of('all')}"},
    ]  # fmt: skip
    for headers in nobody:
        answer = await knock(door, headers)
        assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthenticated"), headers
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert not {"detail", "errors"} & answer.json().keys()


@each_guarded
async def test_every_other_scope_is_refused(door: Door) -> None:
    """I5 (scope escalation): each scope alone opens what the table says and nothing else; no scope opens nothing."""
    needs = door.needs or set()
    for scope in (*SCOPES, "none"):
        if scope in needs:
            continue
        answer = await knock(door, key(scope))
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/missing-scope"), scope
    if door.path == "/api/stream":  # never ends
        return
    for scope in needs:
        assert (await knock(door, key(scope))).status_code not in (401, 405, 500), scope


@each_guarded
async def test_a_client_of_one_channel_finds_only_order_intake(door: Door) -> None:
    """I5 (order ids of another channel): with every scope there is, it is refused wherever nobody asks for the channel."""
    answer = await knock(door, key("bound"))
    if door.service == "order-intake" and door.name in BY_CHANNEL:
        assert answer.status_code not in (401, 403)
    else:
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/not-for-channels")


@pytest.mark.parametrize("door", DOORS, ids=[f"{d.service} {d.name}" for d in DOORS])
async def test_other_methods_are_refused(door: Door) -> None:
    """I5 (HTTP verbs): what a route does not offer is 404 or 405, also for who may do everything; TRACE and CONNECT answer
    nowhere."""
    offered = {d.method for d in DOORS if d.service == door.service and d.url == door.url}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND"} - offered:
        other = Door(door.service, method, door.path)
        answer = await knock(other, key("all"))
        if answer.status_code not in (404, 405):  # another route's parameter fits here
            assert any(d.service == door.service and d.method == method for d in DOORS), method
            assert method not in {"TRACE", "CONNECT", "PROPFIND", "PATCH"}


def test_the_real_doors_are_closed_too(system: System) -> None:
    """I5: every operation of every running service without a key: 401; with a crew's key only what crews may do."""
    for service, url in system.urls.items():
        with httpx.Client(base_url=url, timeout=60.0) as anyone, system.client(service, "crew") as crew:
            described = anyone.get("/openapi.json").json()["paths"]
            assert described.keys() <= {d.path.replace(":path", "") for d in DOORS if d.service == service}
            for door in (d for d in GUARDED if d.service == service):
                assert anyone.request(door.method, door.url).status_code == 401, door
                allowed = bool(door.needs and door.needs & {"floor:work", "read"})
                if door.path != "/api/stream" and not allowed:
                    assert crew.request(door.method, door.url).status_code == 403, door


def test_workers_and_servers_show_nothing(system: System) -> None:
    """I5 (`/docs`, `/metrics`, `/debug` off or private): workers serve health alone; nobody serves documentation pages,
    debug pages or the source; metrics are not for who comes through a proxy."""
    ports = {p["name"]: p["port"] for p in system.state["processes"] if p["role"] in ("standard", "express")}
    assert len(ports) >= 14
    paths = ["/openapi.json", "/docs", "/redoc", "/orders", "/admin/parked", "/problems"]
    for name, port in ports.items():
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0) as http:
            assert [http.get(path).status_code for path in paths] == [404] * len(paths), name
            assert http.get("/livez").status_code == 200
    hidden = ["/docs", "/redoc", "/debug", "/debug/pprof", "/console", "/.env", "/.git/config", "/server-status", "/admin",
              "/static/../main.py", "/assets/../../main.py", "/static/%2e%2e/main.py", "/static/..%2fmain.py",
              "/assets/%2e%2e%2f%2e%2e%2fmain.py", "//etc/passwd", "/static//etc/passwd"]  # fmt: skip
    for service, url in system.urls.items():
        with httpx.Client(base_url=url, timeout=60.0) as http:
            for path in hidden:
                answer = http.get(path)
                assert answer.status_code in (404, 405), (service, path)
                assert "import" not in answer.text and "root:" not in answer.text
            for proxied in ("x-forwarded-for", "forwarded", "x-forwarded-host"):
                assert http.get("/metrics", headers={proxied: "203.0.113.7"}).status_code == 404


def test_every_answer_carries_its_headers(system: System) -> None:
    """I5 (security headers; cookies): pages, data, refusals and static files are neither sniffed nor framed nor cached by
    others, and no cookie is set anywhere. Pages allow scripts of their own server only."""
    pages = {"control-tower": "/", "fulfillment": "/scanner", "notifier": "/s/wrong"}
    for service in system.urls:
        with system.client(service) as http:
            paths = [pages.get(service, "/openapi.json"), "/livez", "/nothing", "/admin/parked", "/problems"]
            paths += ["/static/status.js"] if service == "notifier" else []
            for path in paths:
                headers = http.get(path, headers={"accept": "text/html"}).headers
                assert headers["x-content-type-options"] == "nosniff", (service, path)
                assert headers["x-frame-options"] == "DENY"
                assert headers["referrer-policy"] == "no-referrer"
                assert headers["cross-origin-opener-policy"] == "same-origin"
                rules = [rule.split() for rule in headers["content-security-policy"].split(";")]
                policy = {rule[0]: set(rule[1:]) for rule in rules}
                assert policy["frame-ancestors"] == {"'none'"}
                assert policy.get("script-src", policy["default-src"]) <= {"'self'", "'none'"}
                assert policy.get("object-src", policy["default-src"]) <= {"'self'", "'none'"}
                assert "set-cookie" not in headers and "server" not in headers and "x-powered-by" not in headers


def test_only_our_own_pages_may_call_from_a_browser(system: System) -> None:
    """I5 (CORS): other origins are told nothing, whichever they are; credentials are never allowed."""
    tower = system.urls["control-tower"]
    for service in system.urls:
        with system.client(service) as http:
            asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
            fine = http.options("/orders", headers={"origin": tower, **asked})
            assert fine.headers["access-control-allow-origin"] == tower
            assert "access-control-allow-credentials" not in fine.headers
            for origin in ("https://evil.example", "null", f"{tower}.evil.example", tower.replace("127.0.0.1", "127.0.0.2"),
                           tower.replace("http", "https"), "file://", f"http://evil@{tower[7:]}"):  # fmt: skip
                refused = http.options("/orders", headers={"origin": origin, **asked})
                assert "access-control-allow-origin" not in refused.headers, origin
                plain = http.get("/livez", headers={"origin": origin})
                assert "access-control-allow-origin" not in plain.headers


def test_a_persons_token_is_nobody_elses(system: System) -> None:
    """I5: forged, changed, of another kind or another key: refused by every service. What a person may do is what their
    roles say, and a token is renewed with the roles of now, not those of then."""
    import jwt
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    secrets, password = system.secrets, system.login["password"]
    with httpx.Client(base_url=system.urls["control-tower"], timeout=60.0) as tower:
        for body in (
            {"password": "wrong"},
            {"person_id": "nobody", "password": password},
            {"password": password + "x"},
        ):
            assert tower.post("/api/login", json=body).status_code == 401
        token = tower.post("/api/login", json={"person_id": "marek", "password": password}).json()["token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    mighty = claims | {"scope": "* ops orders:write", "sub": "operator"}
    head, body, signature = token.split(".")
    forged = [
        jwt.encode(mighty, None, algorithm="none"), jwt.encode(mighty, secrets["jwt_public_pem"].encode()[:64], algorithm="HS256"),
        jwt.encode(mighty, Ed25519PrivateKey.generate(), algorithm="EdDSA"), f"{head}.{body}.", f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{jwt.encode(mighty, 'x' * 32).split('.')[1]}.{signature}",
        jwt.encode(claims | {"aud": "elsewhere"}, secrets["jwt_private_pem"], algorithm="EdDSA"),
        jwt.encode(claims | {"iss": "evil"}, secrets["jwt_private_pem"], algorithm="EdDSA"),
        jwt.encode(claims | {"exp": claims["iat"] - 60}, secrets["jwt_private_pem"], algorithm="EdDSA"),
    ]  # fmt: skip
    for (service, url), said in itertools.product(system.urls.items(), forged):
        answer = httpx.get(url + "/admin/parked", headers={"authorization": f"Bearer {said}"}, timeout=60.0)
        assert answer.status_code == 401, (service, said[:40])
    answer = httpx.get(
        system.urls["inventory"] + "/admin/parked", headers={"authorization": f"Bearer {token}"}, timeout=60.0
    )
    assert answer.status_code == 403


async def test_a_token_is_renewed_with_the_roles_of_now() -> None:
    """I5 (scope escalation): who lost a role loses its scopes with the next token; who left gets none at all."""
    from control_tower.store import PEOPLE
    from expedite_events import PersonChanged

    spec = SPECS["control-tower"]
    engine = MemoryEngine(spec.handlers, MemoryClock())

    def person(**changes: Any) -> PersonChanged:
        fields: dict[str, Any] = {"person_id": "kim", "name": "Kim", "email": "kim@example.com", "roles": ("operator",)}
        return PersonChanged(**(fields | changes))

    secrets = secrets_for({})
    transport = httpx.ASGITransport(app(spec, engine, secrets=secrets))
    async with httpx.AsyncClient(transport=transport, base_url="http://tower") as tower:
        engine.db.rows[PEOPLE.name] = {"kim": person()}
        body = {"person_id": "kim", "password": secrets["operator_password"]}
        token = (await tower.post("/api/login", json=body)).json()
        assert "orders:write" in token["scopes"]

        async def renewed() -> httpx.Response:
            return await tower.post("/api/token", headers={"authorization": f"Bearer {token['token']}"})

        engine.db.rows[PEOPLE.name] = {"kim": person(roles=("picker",))}
        assert set((await renewed()).json()["scopes"]) == {"read", "floor:work"}
        engine.db.rows[PEOPLE.name] = {"kim": person(active=False)}
        assert (await renewed()).status_code == 401
        assert (await tower.post("/api/login", json=body)).status_code == 401
