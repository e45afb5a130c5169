"""The audit's checks of events and messages pass on a sound house (see `test_audit_checks`) and are seen red on one that was
broken in one place (issue 3.8)."""

from __future__ import annotations

import mailbox
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from expedite_events.ids import uuid7
from expedite_local.audit.finding import Finding
from expedite_local.home import Home
from expedite_messaging import RawRecord
from expedite_messaging.bundles import Bundle, Emitted, packed

Damaged = Callable[..., Any]


def reds(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if not finding.good}


def record_of(records: list[RawRecord], topic: str, n: int = 0) -> RawRecord:
    return [r for r in records if r.topic == topic][n]


def with_header(record: RawRecord, name: str, value: str) -> RawRecord:
    return replace(record, headers=tuple((k, value.encode() if k == name else v) for k, v in record.headers))


# -- events (I4, I5)


async def test_an_event_that_never_reached_its_topic(house: Any) -> None:
    """I4: no loss."""
    lost = record_of(house.records, "Packed")
    found = await house.check(records=[r for r in house.records if r is not lost])
    assert reds(found) == {"events"}
    assert f"of fulfillment is on no topic (event {lost.event_id})" in found["events"].detail


async def test_an_event_nobody_decided(house: Any) -> None:
    """I4: no ghosts, neither foreign records nor ids without a ledger row."""
    first = record_of(house.records, "Packed")
    ghost = replace(with_header(first, "ce_id", str(uuid7())), offset=900)
    poison = RawRecord("Packed", b"x", b"not json", (), 0, 901)
    found = await house.check(records=[*house.records, ghost, poison])
    assert not found["events"].good
    assert f"Packed[0]@900 is in no ledger of fulfillment (event {ghost.event_id})" in found["events"].detail
    assert "Packed[0]@901 is nobody's event" in found["events"].detail


async def test_an_event_under_another_key_than_it_was_decided_for(house: Any) -> None:
    """I4: the id alone does not make an event."""
    first = record_of(house.records, "Packed")
    found = await house.check(records=[replace(r, key=b"someone-else") if r is first else r for r in house.records])
    assert reds(found) == {"events"}
    assert "in the ledger of fulfillment" in found["events"].detail


async def test_an_event_somebody_never_took_in(house: Any, damaged: Damaged) -> None:
    """I4: every hearer of the catalogue has every id."""
    missed = record_of(house.records, "Shipped").event_id
    url = await damaged("prioritizer", f"DELETE FROM inbox WHERE event_id = '{missed}'")
    found = await house.check(prioritizer=url)
    assert reds(found) == {"events"}
    assert f"prioritizer never took in Shipped[0]@0 (event {missed})" in found["events"].detail


async def test_an_event_left_in_the_outbox(house: Any, damaged: Damaged) -> None:
    """I4, I10: at rest the outboxes are empty."""
    event_id = uuid7()
    headers = b"ce_id\0" + str(event_id).encode()
    body = packed(Bundle(1, 0, [Emitted(0, "CancelRequested.express", "x", headers, b"{}")]))
    left = f"INSERT INTO outbox_express (id, shard, events, body) VALUES (1, 0, 1, '\\x{body.hex()}')"
    found = await house.check(order_intake=await damaged("order-intake", left))
    assert reds(found) == {"events"}
    assert f"waits in the outbox of order-intake (event {event_id})" in found["events"].detail


async def test_events_of_one_key_in_the_wrong_order(house: Any) -> None:
    """I5: first occurrences come in the order of their commits."""
    key = house.orders["closed"].encode()
    mine = [r for r in house.records if r.topic == "OrderState" and r.key == key][:2]
    swapped = {
        id(mine[0]): replace(mine[1], offset=mine[0].offset),
        id(mine[1]): replace(mine[0], offset=mine[1].offset),
    }
    found = await house.check(records=[swapped.get(id(r), r) for r in house.records])
    assert reds(found) == {"order of events"}
    assert f"of {house.orders['closed']} came after" in found["order of events"].detail


async def test_redeliveries_are_told_and_no_fault(house: Any) -> None:
    """I4: a record that came twice under its id is the outbox's promise at work."""
    twice = [replace(r, offset=1000 + n) for n, r in enumerate(house.records[-3:])]
    found = await house.check(records=[*house.records, *twice])
    assert not reds(found)
    assert "3 redeliveries, all recognised by id" in found["events"].detail


# -- messages (I3, G5)


@pytest.fixture
def other_mail(house: Any, tmp_path: Path) -> Home:
    """A copy of the house's mail that may be changed."""
    shutil.copytree(house.home.mail, tmp_path / "mail")
    return Home(tmp_path)


def mailbox_of(home: Home) -> mailbox.mbox:
    """All that was mailed, brought together in one file."""
    first, *rest = sorted(home.mail.glob("*.mbox"))
    for path in rest:
        with first.open("ab") as whole:
            whole.write(path.read_bytes())
        path.unlink()
    return mailbox.mbox(first)


def a_mail(box: mailbox.mbox, kind: str) -> str:
    """The place of the first message of a kind."""
    return next(key for key, mail in box.items() if mail["X-Expedite-Kind"] == kind)


async def test_a_mail_that_arrived_twice(house: Any, other_mail: Home, damaged: Damaged) -> None:
    """G5: a second copy is a fault unless its effect was attempted again."""
    with closing(mailbox_of(other_mail)) as box:
        box.add(box.get_bytes(a_mail(box, "shipped")))
    found = await house.check(home=other_mail)
    assert reds(found) == {"messages"}
    assert "arrived 2 times in 1 attempts" in found["messages"].detail
    url = await damaged("notifier", "UPDATE effect SET attempts = 2")
    found = await house.check(home=other_mail, notifier=url)
    assert not reds(found)
    assert "1 arrived again after another attempt" in found["messages"].detail


async def test_a_mail_that_never_arrived(house: Any, other_mail: Home) -> None:
    """G5: sent means sent."""
    with closing(mailbox_of(other_mail)) as box:
        box.remove(a_mail(box, "receipt"))
    found = await house.check(home=other_mail)
    assert reds(found) == {"messages"}
    assert "counts as sent but never arrived" in found["messages"].detail


async def test_a_mail_nobody_decided(house: Any, other_mail: Home) -> None:
    """G5: nothing is mailed behind the ledger's back."""
    with closing(mailbox_of(other_mail)) as box:
        box.add("Message-ID: <stray@expedite.example>\n\nhello")
    found = await house.check(home=other_mail)
    assert reds(found) == {"messages"}
    assert "stray arrived but nobody decided to send it" in found["messages"].detail


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("INSERT INTO message SELECT 'again', status, decided_at, jsonb_set(doc::jsonb, '{{message_id}}', "
         "'\"again\"') FROM message WHERE message_id LIKE '{closed}.shipped.%'", "says what"),
        ("UPDATE message SET status = 'queued', doc = jsonb_set(doc::jsonb, '{{status}}', '\"queued\"') "
         "WHERE message_id LIKE '{closed}.shipped.%'", "was never sent"),
    ],
)  # fmt: skip
async def test_a_message_told_twice_or_never(house: Any, damaged: Damaged, statement: str, says: str) -> None:
    """I3: one message per order, kind, occasion, audience and recipient."""
    found = await house.check(notifier=await damaged("notifier", statement.format(**house.orders)))
    assert reds(found) == {"messages"}
    assert says in found["messages"].detail


async def test_a_message_that_was_not_announced(house: Any) -> None:
    """G5: each sent message has its CustomerNotified."""
    lost = record_of(house.records, "CustomerNotified")
    found = await house.check(records=[r for r in house.records if r is not lost])
    assert reds(found) == {"events", "messages"}
    assert "was sent but no CustomerNotified says so" in found["messages"].detail
