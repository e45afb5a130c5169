"""Every service's API as Schemathesis meets it: no error of ours, no answer that is not described, nothing let in that the
description calls wrong, and every refusal a problem that tells nothing of our inside. On a real system, over real HTTP."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from expedite_e2e import eventually
from expedite_fuzz import CHECKS, Volume, fuzz

SERVICES = ("order-intake", "prioritizer", "inventory", "fulfillment", "shipping", "notifier", "control-tower")


LONG = b"a" * 20_000


def exchange(url: str, request: bytes) -> bytes:
    """What comes back until the service closes the connection or says nothing more for two seconds."""
    parts = urlsplit(url)
    found = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as link:
        link.sendall(request)
        link.settimeout(2)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while part := link.recv(65536):
                found += part
    return found


def status_of(answer: bytes) -> int | None:
    """The status of the first answer; None when the connection was closed without one."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else None


def get(target: bytes, *headers: bytes, host: bytes = b"Host: x") -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", host, b"Connection: close", *headers, b"", b""])


def post(body: bytes, *headers: bytes) -> bytes:
    head = [b"POST /orders HTTP/1.1", b"Host: x", b"Connection: close", b"Content-Type: application/json", *headers]
    return b"\r\n".join([*head, b"", body])


@pytest.fixture(scope="session")
def volume(request: pytest.FixtureRequest) -> Volume:
    return Volume.of(long=request.config.getoption("--long"))


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("service", SERVICES)
def test_an_api_answers_as_it_says_whatever_is_sent(service: str, target, volume: Volume, tmp_path: Path) -> None:
    """I5, A3: all phases with a key that may do everything: examples, edges of every constraint, drawn requests, chains
    of requests along the links."""
    system = target.system
    found = fuzz(
        tmp_path, system.urls[service], key=system.state["api_keys"]["operator"], ids=target.ids, volume=volume,
        secrets=system.home / "secrets.json",
    )  # fmt: skip
    print(found.summary)
    assert found.code == 0, found.text


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("service", SERVICES)
def test_a_stranger_is_told_nothing(service: str, target, volume: Volume, tmp_path: Path) -> None:
    """I5: the same without a key: 401 from every operation that needs one, whatever else is wrong with the request."""
    few = Volume(max(2, volume.examples // 5), ("fuzzing",))
    found = fuzz(
        tmp_path, target.system.urls[service], key=None, ids=target.ids, volume=few,
        checks=[check for check in CHECKS if check != "ignored_auth"],
    )  # fmt: skip
    print(found.summary)
    assert found.code == 0, found.text


@pytest.mark.timeout(3600)
def test_the_demo_carriers_hold_too(target, volume: Volume, tmp_path: Path) -> None:
    """F1: they stand for somebody else's API, with errors of their own shape: but no 5xx, and answers as described."""
    system = target.system
    port = next(p["port"] for p in system.state["processes"] if p["name"] == "carriers")
    key = system.secrets["api_keys"]["carriers"]["key"]
    found = fuzz(
        tmp_path, f"http://127.0.0.1:{port}", key=None, ids=target.ids, foreign=True,
        volume=Volume(volume.examples, ("coverage", "fuzzing")), headers={"Authorization": f"Bearer {key}"},
        checks=("not_a_server_error", "content_type_conformance", "response_schema_conformance"),
    )  # fmt: skip
    print(found.summary)
    assert found.code == 0, found.text


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(post(b"{}", b"Content-Length: 2", b"Content-Length: 3"), id="two lengths"),
        pytest.param(post(b"{}", b"Content-Length: -2"), id="negative length"),
        pytest.param(post(b"{}", b"Content-Length: 2, 2"), id="list of lengths"),
        pytest.param(post(b"{}", b"Content-Length: 0x2"), id="hexadecimal length"),
        pytest.param(post(b"{}", b"Content-Length: +2"), id="signed length"),
        pytest.param(post(b"{}", b"Content-Length: " + b"9" * 400), id="length of 400 digits"),
        pytest.param(post(b"{}", b"Content-Length: 99999999"), id="length beyond the limit"),
        pytest.param(post(b"2\r\n{}\r\n0\r\n\r\n", b"Transfer-Encoding: chunked", b"Content-Length: 4"), id="length and chunks"),
        pytest.param(post(b"zz\r\n{}\r\n", b"Transfer-Encoding: chunked"), id="broken chunk"),
        pytest.param(post(b"{}", b"Transfer-Encoding: gzip, identity"), id="unknown coding"),
        pytest.param(get(b"/orders/%00"), id="NUL in the path"),
        pytest.param(get(b"/orders/%ff%fe"), id="no UTF-8 in the path"),
        pytest.param(get(b"/orders/..%2f..%2fetc%2fpasswd"), id="climbing path"),
        pytest.param(get(b"/assets/../../../../etc/passwd"), id="climbing path, plain"),
        pytest.param(get(b"/orders/" + b"%2e%2e/" * 50), id="climbing path, escaped"),
        pytest.param(get(b"//orders//x"), id="empty segments"),
        pytest.param(get(b"/orders/" + LONG), id="long path"),
        pytest.param(get(b"/orders?" + b"a=1&" * 5000), id="thousands of parameters"),
        pytest.param(get(b"/orders?limit=%00&state=%ff&channel=%ed%a0%80"), id="odd query"),
        pytest.param(get(b"/orders?%00"), id="NUL in the query"),
        pytest.param(get(b"http://evil.example/orders"), id="absolute target"),
        pytest.param(get(b"*"), id="star target"),
        pytest.param(get(b"/orders", host=b"Host: ["), id="broken host"),
        pytest.param(get(b"/orders", host=b"Host: a@b/c?d#e"), id="host with an address in it"),
        pytest.param(get(b"/orders", b"Host: y"), id="two hosts"),
        pytest.param(get(b"/orders", host=b"X-None: 1"), id="no host"),
        pytest.param(get(b"/orders", b"Authorization: Bearer \xff\xfe\x80"), id="key of other bytes"),
        pytest.param(get(b"/orders", b"Authorization: Bearer " + b"a." * 3000), id="long token"),
        pytest.param(get(b"/orders", b"Authorization: Bearer e30.W1tb.e30"), id="token of nothing"),
        pytest.param(get(b"/orders", b"X-Api-Key: \x01\x02"), id="control characters in a header"),
        pytest.param(get(b"/orders", b"X-Odd: a\x00b"), id="NUL in a header"),
        pytest.param(get(b"/orders", b" folded: 1"), id="folded header"),
        pytest.param(get(b"/orders", b"traceparent: 00-" + b"z" * 32 + b"-0-1"), id="broken trace"),
        pytest.param(get(b"/orders", *[b"X-%d: 1" % n for n in range(150)]), id="150 headers"),
        pytest.param(get(b"/orders", b"X-Long: " + b"a" * 40_000), id="long header"),
        pytest.param(get(b"/orders", b"Cookie: " + b"a=b; " * 1000), id="many cookies"),
        pytest.param(b"BREW /orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", id="unknown method"),
        pytest.param(b"GET /orders HTTP/9.9\r\nHost: x\r\n\r\n", id="unknown version"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS hello"),
        pytest.param(b"\r\n\r\n\r\n", id="empty lines"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2 preface"),
    ],
)  # fmt: skip
def test_odd_requests_are_refused_or_understood(request_: bytes, target) -> None:
    """I5: whatever the framing, headers or address: no 5xx, nothing of our inside, and the service serves the next one."""
    for service in ("order-intake", "control-tower"):
        url = target.system.urls[service]
        answer = exchange(url, request_)
        status = status_of(answer)
        assert status is None or 200 <= status < 500, answer[:500]
        for inside in (b"Traceback", b"site-packages", b"root:x:", b"asyncpg"):
            assert inside not in answer
        assert status_of(exchange(url, get(b"/livez"))) == 200


def test_what_was_let_in_broke_nothing_behind(target) -> None:
    """I3: whatever the APIs accepted from the fuzzer was digested by every service that heard of it: nothing is parked, and
    no process met an error it did not expect."""
    system = target.system
    for service in SERVICES:
        with system.client(service) as http:

            def parked(http: httpx.Client = http) -> list[dict[str, object]]:
                return http.get("/admin/parked").json()["items"]

            assert parked() == [], f"{service} could not decide on: {json.dumps(parked(), default=str)[:2000]}"
            eventually(lambda http=http: http.get("/readyz").status_code == 200, f"{service} ready")
