"""Requests that are too large, too deep, too slow or broken (checklist "Intake API": limits before reading; matrix 31)."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import time

import httpx
import pytest
from expedite_e2e import System, order
from expedite_security.schemes import SHOPIFY, Door
from expedite_security.wire import connected, drip, talk

HEAD_S, BODY_S = 2.0, 3.0
SLACK_S = 20.0  # the machine is busy: that it ends is asserted, and that it does not end at once
MIB = 1024 * 1024
EVERYWHERE = pytest.mark.parametrize(
    "service", ["order-intake", "prioritizer", "inventory", "fulfillment", "shipping", "notifier", "control-tower"]
)


def post_head(system: System, path: str = "/orders", *more: str) -> bytes:
    key = system.state["api_keys"]["operator"]
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        *more,
    )
    return "\r\n".join([*lines, "", ""]).encode()


@EVERYWHERE
def test_headers_that_never_end_are_cut_off_in_time(system: System, service: str) -> None:
    """I5 (slow bodies: slowloris): one header a moment; also one byte a moment, and nothing at all."""
    url = system.urls[service]
    lines = (f"X-{n}: {n}\r\n".encode() for n in itertools.count())
    heard = drip(url, b"GET /livez HTTP/1.1\r\nHost: x\r\n", lines, 0.2)
    assert heard.closed and HEAD_S * 0.8 < heard.after_s < HEAD_S + SLACK_S
    assert heard.status == 408 and b"application/problem+json" in heard.said


def test_single_bytes_empty_lines_and_silence_are_cut_off_too(system: System) -> None:
    """I5 (slow bodies): whatever keeps a connection open without ever being a request."""
    url = system.urls["order-intake"]
    for first, drop in ((b"GE", b"T"), (b"\r\n", b"\r\n"), (b"", b""), (b"POST /orders HTTP/1.1\r\nX: ", b"a")):
        heard = drip(url, first, itertools.repeat(drop) if drop else [], 0.2)
        assert heard.closed and heard.after_s < HEAD_S + SLACK_S, (first, heard)


def test_a_kept_connection_has_no_more_patience_for_its_second_request(system: System) -> None:
    """I5 (slow bodies): the first request was good; the second never ends."""
    with connected(system.urls["order-intake"]) as wire:
        wire.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in wire.recv(65536)
        wire.sendall(b"GET /livez HTTP/1.1\r\nHost")
        began, said = time.monotonic(), b""
        while chunk := wire.recv(65536):
            said += chunk
        assert b"408" in said and time.monotonic() - began < HEAD_S + SLACK_S


@pytest.mark.parametrize(("service", "path"), [("order-intake", "/orders"), ("order-intake", "/orders/bulk"),
                                               ("order-intake", "/webhooks/shopify/sec-shopify"),
                                               ("shipping", "/webhooks/native/sec-native"),
                                               ("control-tower", "/api/login")])  # fmt: skip
@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_a_body_that_trickles_is_cut_off(system: System, service: str, path: str, framing: str) -> None:
    """I5 (slow bodies): bytes come, but slower than 16 KiB a second and longer than patience lasts."""
    drop = b"x" if "Length" in framing else b"1\r\nx\r\n"
    head = post_head(system, path, framing)
    heard = drip(system.urls[service], head + drop, itertools.repeat(drop), 0.2)
    assert heard.closed and BODY_S * 0.8 < heard.after_s < BODY_S + SLACK_S
    assert heard.status == 408 and b"/problems/too-slow" in heard.said


def test_a_large_body_that_keeps_coming_is_read_to_its_end(system: System) -> None:
    """A2: patience grows with what has come: a bulk that takes longer than the patience for a small one is taken."""
    lines = b"".join(json.dumps(order(note="n" * 1500)).encode() + b"\n" for _ in range(60))
    head = post_head(system, "/orders/bulk", f"Content-Length: {len(lines)}", "Connection: close")
    part = len(lines) // 20
    parts = [lines[i : i + part] for i in range(0, len(lines), part)]
    began = time.monotonic()
    heard = drip(system.urls["order-intake"], head, parts, (BODY_S + 1) / 20)
    assert heard.status == 200 and time.monotonic() - began > BODY_S
    assert json.loads(heard.said.split(b"\r\n\r\n", 1)[1].split(b"\r\n")[-4])["summary"]["accepted"] == 60


def test_two_hundred_slow_clients_keep_nobody_out(system: System) -> None:
    """I5 (slow bodies): while they hang, and after they were cut off, orders are taken."""
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(connected(system.urls["order-intake"])) for _ in range(200)]
        for wire in wires:
            wire.sendall(b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n")
        with system.client("order-intake") as intake:
            assert intake.post("/orders", json=order()).status_code == 202
        for wire in wires:
            wire.settimeout(HEAD_S + SLACK_S)
            with contextlib.suppress(ConnectionError):
                while wire.recv(65536):
                    pass
    with system.client("order-intake") as intake:
        assert intake.post("/orders", json=order()).status_code == 202


def test_headers_have_a_number_and_a_size(system: System) -> None:
    """I5 (many headers): refused when complete, and cut off when they are so many that they never are."""
    url = system.urls["order-intake"]
    many = b"".join(b"X-%d: 1\r\n" % n for n in range(120))
    assert talk(url, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + many + b"\r\n").status == 431
    long = b"X-Long: " + b"y" * 40_000 + b"\r\n"
    assert talk(url, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + long + b"\r\n").status == 431
    endless = (b"X-%d: " % n + b"z" * 8000 + b"\r\n" for n in range(2000))
    heard = drip(url, b"GET /livez HTTP/1.1\r\nHost: x\r\n", endless, 0.0)
    assert heard.closed and heard.status in (0, 431)  # 0: the answer was lost because we were still sending
    endless_line = (b"a" * 8000 for _ in range(2000))
    assert drip(url, b"GET /", endless_line, 0.0).closed


@pytest.mark.parametrize(
    ("service", "path", "limit"),
    [("order-intake", "/orders", MIB), ("order-intake", "/orders/x/cancel", MIB), ("inventory", "/stock/opening", 4 * MIB),
     ("order-intake", "/webhooks/shopify/sec-shopify", MIB), ("order-intake", "/webhooks/woocommerce/sec-woo", MIB),
     ("shipping", "/webhooks/native/sec-native", 256 * 1024), ("shipping", "/webhooks/easypost/sec-easypost", 256 * 1024),
     ("order-intake", "/orders/bulk", 64 * MIB), ("control-tower", "/api/login", MIB),
     ("notifier", "/nothing-here", MIB)],
)  # fmt: skip
def test_a_body_is_limited_before_it_is_read(system: System, service: str, path: str, limit: int) -> None:
    """I5 (oversized bodies; missing or lying Content-Length): announced: refused before a byte; chunked: when it is too
    much. Nobody has to be known for that, and nobody's signature is computed first."""
    url = system.urls[service]
    heard = talk(url, f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {limit + 1}\r\n\r\n".encode())
    assert heard.status == 413 and heard.closed
    if limit > MIB:
        return
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    heard = drip(url, head, itertools.repeat(chunk, limit // 0x8000 + 2), 0.0)
    assert heard.closed and heard.status in (0, 401, 404, 413)


BROKEN = {
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "length and chunks": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "negative": b"Content-Length: -1\r\n\r\n",
    "not a number": b"Content-Length: 1e3\r\n\r\n",
    "huge": b"Content-Length: " + b"9" * 4000 + b"\r\n\r\n",
    "space before the colon": b"Content-Length : 2\r\n\r\n{}",
    "folded": b"X-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}",
    "line feed alone": b"X-A: b\nX-B: c\r\nContent-Length: 2\r\n\r\n{}",
    "carriage return inside": b"X-A: b\rc\r\nContent-Length: 2\r\n\r\n{}",
    "null inside": b"X-A: b\x00c\r\nContent-Length: 2\r\n\r\n{}",
    "wrong chunk": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("rest", BROKEN.values(), ids=BROKEN.keys())
def test_broken_framing_is_never_an_order(system: System, rest: bytes) -> None:
    """I5 (request smuggling): what two parties could read differently is refused, and never answered 2xx or 5xx."""
    smuggled = (
        b"GET /orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n"
        % system.state["api_keys"]["operator"].encode()
    )
    head = (
        f"POST /orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {system.state['api_keys']['operator']}\r\n".encode()
    )
    heard = talk(
        system.urls["order-intake"], head + b"Content-Type: application/json\r\nConnection: close\r\n" + rest + smuggled
    )
    assert heard.closed and 400 <= heard.status < 500, heard
    assert b'"items"' not in heard.said


def deep(levels: int, opening: str, closing: str) -> bytes:
    return (opening * levels + closing * levels).encode()


@pytest.mark.parametrize("levels", [65, 5_000, 150_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
def test_deep_json_is_refused_everywhere(system: System, levels: int, opening: str, closing: str) -> None:
    """I5 (deep bodies): by the API, in a line of a bulk and in a signed webhook, which keeps it as unreadable; and the
    process lives on."""
    body = deep(levels, opening, closing)
    with system.client("order-intake") as intake, system.client("inventory") as inventory:
        for http, path in ((intake, "/orders"), (intake, "/orders/x/cancel"), (inventory, "/stock/opening")):
            answer = http.post(path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code in (400, 422), (path, answer.status_code)
        verdict = json.loads(intake.post("/orders/bulk", content=body).text.splitlines()[0])
        assert verdict["status"] in (400, 422)
    kept = Door(system).send(SHOPIFY, body, SHOPIFY.signed(body))
    assert (kept.status_code, kept.json()["verdict"]) == (200, "needs-mapping")
    with httpx.Client(base_url=system.urls["order-intake"]) as anyone:
        assert anyone.get("/livez").status_code == 200


ODD_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000, "1" + "0" * 400 + ".5"]


@pytest.mark.parametrize("number", ODD_NUMBERS, ids=range(len(ODD_NUMBERS)))
def test_numbers_that_are_none_are_refused(system: System, number: str) -> None:
    """I5 (number limits): as a price, as a quantity, and where no number belongs."""
    template = json.dumps(order()).replace('"2.55"', "PRICE", 1)
    with system.client("order-intake") as intake:
        for text in (
            template.replace("PRICE", number),
            json.dumps(order()).replace('"quantity": 2', f'"quantity": {number}'),
        ):
            answer = intake.post("/orders", content=text, headers={"content-type": "application/json"})
            assert answer.status_code in (400, 422), answer.text
            assert number[:40] not in answer.text or number in ("NaN", "Infinity", "-Infinity")


def test_a_client_that_goes_away_leaves_nothing_running(system: System) -> None:
    """I5: half a request and a reset, many times; the process answers as before."""
    for _ in range(50):
        with connected(system.urls["order-intake"]) as wire:
            wire.sendall(post_head(system, "/orders", "Content-Length: 1000") + b"{")
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    with system.client("order-intake") as intake:
        assert intake.post("/orders", json=order()).status_code == 202


@pytest.mark.long
def test_a_thousand_slow_clients_at_every_service(system: System) -> None:
    """I5 (slow bodies, the long form): a thousand connections that never become requests, spread over all services; each is
    closed, and every service answers meanwhile and afterwards."""
    urls = list(system.urls.values())
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(connected(urls[n % len(urls)])) for n in range(1000)]
        for wire in wires:
            with contextlib.suppress(ConnectionError):
                wire.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        for url in urls:
            assert httpx.get(url + "/livez", timeout=60).status_code == 200
        for wire in wires:
            wire.settimeout(HEAD_S + 3 * SLACK_S)
            with contextlib.suppress(ConnectionError):
                while wire.recv(65536):
                    pass
    for url in urls:
        assert httpx.get(url + "/livez", timeout=60).status_code == 200
