"""Bulk intake: lines are read as single orders are, and a client that goes away tears nothing."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from expedite_chassis.testing import app, key_of
from expedite_messaging.memory import MemorySession
from order_intake.adapters import native as models
from order_intake.adapters import plain
from order_intake.adapters.native import NativeOrder
from order_intake.adapters.plain import PlainOrder, read_plain
from order_intake.api.bulk import parse
from order_intake.domain.verify import email_of
from order_intake.main import spec
from order_intake.testing import World, native

CHUNK = 250


def lines(count: int) -> bytes:
    """Orders of people who share nothing."""
    customer = native()["customer"]
    orders = [native(reference=str(n), customer={**customer, "name": f"Ada {n}x"}) for n in range(count)]
    return b"\n".join(json.dumps(order).encode() for order in orders)


class Connection:
    """A client of the app that reads the answer until `gone` is set."""

    def __init__(self, world: World, body: bytes) -> None:
        self.app, self.body, self.gone = app(spec, world.engine), body, asyncio.Event()
        self.sent: list[bytes] = []
        self.first = asyncio.Event()

    async def post(self) -> None:
        asked = False

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": self.body, "more_body": False}
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message.get("body"):
                self.sent.append(message["body"])
                self.first.set()
                await asyncio.sleep(60)  # it does not read on

        headers = [(b"host", b"test"), (b"authorization", f"Bearer {key_of('test')}".encode())]
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
            "scheme": "http", "path": "/orders/bulk", "raw_path": b"/orders/bulk", "query_string": b"", "root_path": "",
            "headers": headers, "client": ("127.0.0.1", 1), "server": ("test", 80),
        }  # fmt: skip
        await self.app(scope, receive, send)  # type: ignore[arg-type]


async def test_a_client_that_goes_away_tears_no_chunk(world: World) -> None:
    """A1: what has begun is done whole, nothing more begins, and sending the body again completes it."""
    body = lines(4 * CHUNK)
    connection = Connection(world, body)
    posting = asyncio.create_task(connection.post())
    await connection.first.wait()
    connection.gone.set()
    await posting
    for _ in range(50):
        await asyncio.sleep(0)
    taken = len(world.orders)
    assert taken % CHUNK == 0
    assert 0 < taken < 4 * CHUNK
    async with world.client() as api:
        answer = await api.post("/orders/bulk", content=body)
    summary = json.loads(answer.text.splitlines()[-1])["summary"]
    assert summary == {"lines": 4 * CHUNK, "accepted": 4 * CHUNK - taken, "held": 0, "replayed": taken, "refused": 0}
    assert len(world.orders) == 4 * CHUNK


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="no classes of the processor here")
async def test_chunks_give_way_and_a_client_that_reads_slowly_does_not_prolong_it(world: World) -> None:
    """B4: urgent orders wait for nobody, also where many others come in at once."""
    before, seen = os.sched_getscheduler(0), set[int]()

    def read(line: bytes) -> NativeOrder | PlainOrder:
        seen.add(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK)
        return parse(line)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("order_intake.api.bulk.parse", read)
        connection = Connection(world, lines(4 * CHUNK))
        posting = asyncio.create_task(connection.post())
        await connection.first.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        assert 0 < len(world.orders) < 4 * CHUNK  # it has read one piece and stands still
        assert seen == {os.SCHED_BATCH}
        assert os.sched_getscheduler(0) == before
        connection.gone.set()
        await posting


async def test_of_two_lines_with_one_reference_the_first_wins_across_chunks(world: World) -> None:
    """A6: chunks are worked on side by side; their claims are taken in order."""
    first, other = lines(1), json.dumps(native(reference="0", note="something else")).encode()
    body = b"\n".join([first, lines(3 * CHUNK).split(b"\n", 1)[1], other])
    async with world.client() as api:
        *verdicts, last = [json.loads(v) for v in (await api.post("/orders/bulk", content=body)).text.splitlines()]
    assert [v["line"] for v in verdicts] == list(range(1, 3 * CHUNK + 2))
    assert (verdicts[0]["status"], verdicts[-1]["status"]) == (202, 422)
    assert verdicts[-1]["problem"]["type"] == "/problems/reference-reused"
    assert last["summary"]["refused"] == 1


async def test_a_line_that_breaks_its_chunk_fails_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A1: what cannot be written is found among its chunk; the other lines are taken in."""
    add = MemorySession.add

    async def broken(self: MemorySession, collection: Any, states: Any) -> None:
        if any(getattr(state, "client", "") and state.content.reference == "3" for state in states):
            raise LookupError("no place for it")
        await add(self, collection, states)

    monkeypatch.setattr(MemorySession, "add", broken)
    async with world.client() as api:
        *verdicts, last = [json.loads(v) for v in (await api.post("/orders/bulk", content=lines(8))).text.splitlines()]
    assert [v["status"] for v in verdicts] == [202, 202, 202, 500, 202, 202, 202, 202]
    assert (verdicts[3]["reference"], verdicts[3]["problem"]["type"]) == ("3", "/problems/internal")
    assert last["summary"]["refused"] == 1
    assert sorted(order.content.reference or "" for order in world.orders) == ["0", "1", "2", "4", "5", "6", "7"]


VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**10), 10**10), st.floats(), st.text(max_size=8),
    st.sampled_from(["web", "1.50", "1e5", "paid", "2026-11-23T10:00:00Z", "2026-11-23", "\x00", "\ud800", "NaN"]),
)  # fmt: skip
FIELDS = st.sampled_from([*NativeOrder.model_fields, "nmae"])
TEXTS = st.sampled_from(["", " ", "Ada", "é", '\u2028\x7f\\"/\t', "x" * 200, "x" * 201])
AMOUNTS = st.sampled_from(
    ["0", "-0", "1.50", "-2.5", "01.50", "0.0001", "9999999999.9999", "1.50\n", "1e1", ".5", 3, 2.5]
)
TIMES = st.sampled_from([
    "2026-11-23T10:00:00Z", "2026-11-23T10:00:00.5+00:00", "2026-11-23 10:00:00.123456-05:30", "2026-11-23T10:00Z",
    "2026-11-23T10:00:00.1234567Z", "2026-11-23T10:00:00", "0001-01-01T00:00:00+01:00", "9999-12-31T23:00:00-05:00",
    "1969-12-31T23:59:59Z", "2199-12-31T23:59:59Z", "2200-01-01T00:00:00Z",
])  # fmt: skip
MADE = {
    "line1": TEXTS, "line2": TEXTS, "city": TEXTS, "region": TEXTS, "postcode": TEXTS, "country": TEXTS,
    "name": TEXTS, "email": st.one_of(TEXTS, st.just("x" * 320), st.just("x" * 321)), "phone": TEXTS, "language": TEXTS,
    "company": TEXTS, "level": TEXTS, "sku": TEXTS, "quantity": st.sampled_from([1, 0, -(10**9), 10**9, 10**9 + 1, 1.0]),
    "unit_price": AMOUNTS, "custom": st.booleans(), "channel": st.sampled_from(["web", "w-1", "Web", "web\n", ""]),
    "reference": TEXTS, "placed_at": TIMES, "currency": TEXTS, "total": AMOUNTS,
    "payment_state": st.sampled_from(["paid", "authorized", "unpaid", "owed"]), "tags": st.lists(TEXTS, max_size=2),
    "shipping_method": TEXTS, "carrier_preference": TEXTS, "partial_shipment": st.booleans(), "promise_by": TIMES,
    "note": TEXTS, "test": st.booleans(),
}  # fmt: skip


def some_of(model: Any, **parts: Any) -> Any:
    """Objects with some of a model's fields, each of a value that nearly fits."""
    return st.fixed_dictionaries({}, optional={name: (MADE | parts)[name] for name in model.model_fields})


ORDERS = some_of(
    NativeOrder,
    customer=some_of(models.NativeCustomer, ship_to=some_of(models.NativeAddress)),
    lines=st.lists(some_of(models.NativeLine), max_size=2),
)


def verdict(read: Any, line: bytes) -> Any:
    try:
        order = read(line)
        return order.channel, order.reference, order.placed_at, order.content(), order.fingerprint
    except (ValidationError, ValueError):
        return "refused"
    except Exception as error:
        return "refused" if type(error).__name__ == "Problem" else error


def as_a_single_order_is(line: bytes) -> NativeOrder:
    def refuse(word: str) -> None:
        raise ValueError(word)

    return NativeOrder.model_validate(json.loads(line, parse_constant=refuse))


@given(st.one_of(ORDERS, st.dictionaries(FIELDS, st.one_of(VALUES, st.lists(VALUES, max_size=2)), max_size=4)))
def test_a_line_is_read_as_a_single_order_is(fields: dict[str, Any]) -> None:
    """A1: the fast way of reading accepts exactly what the plain way accepts, and finds the same order in it."""
    for line in (
        json.dumps({"channel": "web", **fields}),
        json.dumps({"channel": "web", **fields}, ensure_ascii=False),
    ):
        raw = line.encode("utf-8", "surrogatepass")
        assert verdict(parse, raw) == verdict(as_a_single_order_is, raw)


def test_the_usual_line_is_read_at_once() -> None:
    """A1: what shops post is plain, and what is read so has the fields of the model, in its order."""
    order = native(reference="1", placed_at="2026-11-23T10:00:00.123Z", note="Größe 38", tags=["urgent"])
    assert isinstance(read_plain(json.dumps(order).encode()), PlainOrder)
    for name in ("Address", "Customer", "Line", "Order"):
        model, read = getattr(models, f"Native{name}"), getattr(plain, f"Plain{name}")
        assert read.__struct_fields__ == tuple(model.model_fields)


@given(
    st.one_of(
        st.emails(),
        st.from_regex(r"[a-zA-Z0-9.+_-]{1,8}@[a-zA-Z0-9.-]{1,12}", fullmatch=True),
        st.sampled_from([
            "Postmaster@Example.COM", "a@localhost", "a@b.test", "a..b@example.com", ".a@example.com", "a@-b.com",
            "a@xn--bcher-kva.example", "a@example.com.", "a@[127.0.0.1]", "ä@example.com", "a@ä.example", "a b@c.de",
            f"{'a' * 64}@example.com", f"{'a' * 65}@example.com", f"a@{'b' * 63}.com", f"a@{'b.' * 130}com", "a@b", "@b.c",
        ]),
    )
)  # fmt: skip
def test_an_address_is_judged_as_the_library_judges_it(email: str) -> None:
    """A3: looking at the domain alone changes no verdict and no normal form."""
    try:
        expected = validate_email(email, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError:
        expected = None
    assert email_of(email) == expected
