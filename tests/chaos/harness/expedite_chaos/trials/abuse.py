"""Rows 30 and 31: clients and carriers that misbehave."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import psutil

from expedite_chaos.calls import HEADER, Call
from expedite_chaos.field import Broken, Field
from expedite_chaos.proxy import HOST
from expedite_chaos.trial import Bite, Trial
from expedite_chaos.trials.grounds import DOUBLED, LINKED
from expedite_chassis.webhooks import sign_standard
from expedite_events import TrackingStatus
from expedite_local.home import read_json
from expedite_messaging.admin import read_topics
from shipping.domain.tracking import RANK

CARRIER = "city-dash"
STALE_S, COPIES, LARGE = 400, 100, 10 * 2**20
CUT = 0
"""In place of a status: the service hung up on a body it does not want before it was sent, and its 413 went with it."""
PARALLEL, GONE = 500, 100
BASELINE_S = 2.0
_TRAVELLING = """
SELECT tracking_number FROM parcel WHERE handed_place IS NOT NULL AND carrier_id = $1 ORDER BY parcel_id DESC LIMIT 1
"""
_RESET = struct.pack("ii", 1, 0)


class _Carrier:
    """Somebody who sends tracking webhooks, with or without the right to."""

    def __init__(self, on: Field, number: str, secret: str) -> None:
        self.url = f"{on.snapshot.urls['shipping']}/webhooks/native/{CARRIER}"
        self.number, self.secret = number, secret
        self.answers: Counter[str] = Counter()
        self.http = httpx.AsyncClient(trust_env=False, timeout=60.0)

    def body(self, name: str, status: str, at: datetime, **more: Any) -> bytes:
        said = {
            "id": name,
            "tracking_number": self.number,
            "status": status,
            "occurred_at": at.isoformat(),
            "location": name,
        }
        return json.dumps(said | more).encode()

    async def send(
        self, what: str, body: bytes, *, name: str = "message-1", secret: str = "", age_s: int = 0, **headers: str
    ) -> None:
        signed = sign_standard(body, name, int(time.time()) - age_s, secret or self.secret) | headers
        try:
            status = (await self.http.post(self.url, content=body, headers=signed)).status_code
        except httpx.TransportError:
            status = CUT
        self.answers[f"{what} {status}"] += 1


async def webhooks(on: Field) -> Bite:
    """Forged, stale, of another secret, signed for another body, ten megabytes, a hundred times, in disorder and after the
    end, all while real webhooks come. Nothing happens without a valid signature, and no parcel goes backwards."""
    secrets = read_json(on.system.home.secrets_file) or {}
    number = await _travelling(on)
    carrier = _Carrier(on, number, secrets["webhooks"][CARRIER])
    now = datetime.now(UTC)
    clock = on.system.substrate.clock.business(now)
    other = sign_standard(b"", "x", 0, carrier.secret)["webhook-signature"]
    stranger = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
    lie = carrier.body("a lie", "delivered", clock)
    try:
        for _ in range(5):
            await carrier.send("forged", lie, **{"webhook-signature": other})
            await carrier.send("no signature", lie, **{"webhook-signature": ""})
            await carrier.send("another secret", lie, secret=stranger)
            await carrier.send("stale", lie, age_s=STALE_S)
            await carrier.send("from the future", lie, age_s=-STALE_S)
            await carrier.send("dot in the id", lie, **{"webhook-id": "message.1"})
        await carrier.send("large", b'{"id": "' + b"x" * LARGE + b'"}')
        await carrier.send("no JSON", b"{", name="m-broken")
        told = carrier.body("said a hundred times", "in_transit", clock)
        await asyncio.gather(*(carrier.send("again", told, name=f"m-{n % 3}") for n in range(COPIES)))
        disorder = [("out_for_delivery", 3), ("in_transit", 1), ("out_for_delivery", 2), ("in_transit", 4)]
        for place, (status, hours) in enumerate(disorder):
            body = carrier.body(f"disorder {place}", status, clock + timedelta(hours=hours))
            await carrier.send("in disorder", body, name=f"d-{place}")
        end = carrier.body("the end", "delivered", clock + timedelta(hours=5), signed_by="somebody")
        await carrier.send("in disorder", end, name="d-end")
        for place in range(5):
            late = carrier.body(f"after the end {place}", "in_transit", clock + timedelta(hours=6))
            await carrier.send("late", late, name=f"l-{place}")
    finally:
        await carrier.http.aclose()
    over_at = time.monotonic()
    problems = _judged(carrier.answers)

    async def later() -> dict[str, float]:
        applied = await _applied(on, number)
        if lies := [said for said in applied if said.get("location") == "a lie"]:
            on.problems.append(f"{len(lies)} lies were believed about {number}")
        if (copies := sum(said.get("location") == "said a hundred times" for said in applied)) > 1:
            on.problems.append(f"one webhook had {copies} effects")
        ranks = [RANK[status] for said in applied if (status := TrackingStatus(said["status"])) in RANK]
        if ranks != sorted(ranks):
            on.problems.append(f"{number} went backwards: {[said['status'] for said in applied]}")
        return {"events about the parcel": len(applied)}

    return Bite(times=sum(carrier.answers.values()), bit={"webhooks refused": _refused(carrier.answers)}, over_at=over_at,
                problems=problems, later=later)  # fmt: skip


_WANTED = {
    "forged": {401}, "no signature": {401}, "another secret": {401}, "stale": {401}, "from the future": {401},
    "dot in the id": {401}, "large": {413, CUT}, "no JSON": {202}, "again": {200, 202}, "in disorder": {200, 202},
    "late": {200, 202},
}  # fmt: skip


def _judged(answers: Counter[str]) -> list[str]:
    return [
        f"{n} webhooks ({what}) were answered {status}"
        for (what, status), n in ((key.rsplit(" ", 1), n) for key, n in answers.items())
        if int(status) not in _WANTED[what]
    ]


def _refused(answers: Counter[str]) -> int:
    return sum(n for key, n in answers.items() if key.endswith((" 401", " 413", f" {CUT}")))


async def _travelling(on: Field) -> str:
    """The tracking number of a parcel that is with the carrier."""
    deadline = time.monotonic() + 90.0
    while time.monotonic() < deadline:
        if rows := await on.rows("shipping", _TRAVELLING, CARRIER):
            return str(rows[0]["tracking_number"])
        await asyncio.sleep(0.2)
    raise Broken(f"no parcel was with {CARRIER}")


async def _applied(on: Field, number: str) -> list[dict[str, Any]]:
    """What was announced of a parcel, in order."""
    found = []
    async for record in read_topics(
        on.system.substrate.kafka_bootstrap, ["ShipmentTracked", "ShipmentTracked.express"]
    ):
        said = orjson.loads(record.value or b"{}")
        if said.get("tracking_number") == number:
            found.append(said)
    return found


async def one_key(on: Field) -> Bite:
    """Five hundred clients post one order under one key at once: one order, one answer."""
    call = on.driver.order(plain=True, urgent=False)
    url = httpx.URL(on.snapshot.urls["order-intake"])
    before = await _descriptors(on)
    answers = await asyncio.gather(*(_asked(url, _request(on, url, call)) for _ in range(PARALLEL)))
    over_at = time.monotonic()
    said = Counter(answers)
    # Who wants to hear a client's first answer may send it again like any other call.
    await on.driver.place(call)
    problems = [] if len(said) == 1 else [f"{len(said)} different answers: {[s for s, _ in said]}"]
    problems += [f"answered {status}" for status, _ in said if status != 202]
    recovery_s = await _back_to(on, before) - over_at
    return Bite(times=PARALLEL, bit={"answers": len(answers)}, recovery_s=recovery_s, problems=problems)


async def gone(on: Field) -> Bite:
    """Clients that go away: in the middle of their body, and before they have their answer. What they asked for is one order
    or none; asked again under the same key it is one."""
    url = httpx.URL(on.snapshot.urls["order-intake"])
    before = await _descriptors(on)
    calls = [on.driver.order(plain=True) for _ in range(GONE)]
    cut = await asyncio.gather(*(_leave(on, url, call, half=number % 2 == 0) for number, call in enumerate(calls)))
    over_at = time.monotonic()
    recovery_s = await _back_to(on, before) - over_at
    await asyncio.gather(*(on.driver.place(call) for call in calls))
    return Bite(times=GONE, bit={"clients gone": sum(cut)}, recovery_s=recovery_s)


def _request(on: Field, url: httpx.URL, call: Call) -> bytes:
    body = httpx.Request("POST", url, json=call.order).content  # the bytes that the driver sends under the same key
    head = (
        f"POST /orders HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {on.snapshot.api_keys['shop']}\r\n"
        f"{HEADER}: key-of-order-{call.mark}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


async def _asked(url: httpx.URL, request: bytes) -> tuple[int, bytes]:
    """Status and body of an answer, over a connection of its own."""
    reader, writer = await asyncio.open_connection(HOST, url.port)
    try:
        writer.write(request)
        head, _, body = (await asyncio.wait_for(reader.read(-1), 120.0)).partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body
    finally:
        writer.close()


async def _leave(on: Field, url: httpx.URL, call: Call, *, half: bool) -> bool:
    request = _request(on, url, call)
    reader, writer = await asyncio.open_connection(HOST, url.port)
    writer.write(request[:-20] if half else request)
    await writer.drain()
    await asyncio.sleep(0.05 if half else 0.002)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
    return not reader.at_eof()


async def _descriptors(on: Field) -> int:
    return psutil.Process(on.process("order-intake-api").pid).num_fds()


async def _back_to(on: Field, before: int, within_s: float = 30.0) -> float:
    """When the intake API has no more open files than before, give or take what the load of now needs; the monotonic time."""
    deadline = time.monotonic() + within_s
    while (now := await _descriptors(on)) > before + 20:
        if time.monotonic() > deadline:
            raise Broken(f"the intake API had {before} open files and has {now}")
        await asyncio.sleep(0.05)
    return time.monotonic()


TRIALS = (
    Trial("30", "webhooks forged, stale, large, repeated, in disorder, late", "I8", webhooks, 2.0, ground=LINKED),
    Trial("31a", f"{PARALLEL} parallel POSTs with one key", "I6, I10", one_key, BASELINE_S, short=True, ground=DOUBLED),
    Trial(
        "31b", f"{GONE} clients gone in the middle of a POST", "I6, I10", gone, BASELINE_S, short=True, ground=DOUBLED
    ),
)
