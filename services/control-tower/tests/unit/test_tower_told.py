"""What pages keep of each event, and what is said of it when somebody reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tower_kit import NOW, Story, Tower

from control_tower.domain.say import say
from control_tower.domain.told import kept, said
from control_tower.store import PAGES, Page
from expedite_events import OrderEvent, Row, checked, heard_by, to_json

ORDER = "20261123-EC-000001"
EXAMPLES = Path(__file__).resolve().parents[4] / "contracts" / "examples"
ROWS = [row for row in heard_by("control-tower") if issubclass(row.event, OrderEvent)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.topic)
def test_what_is_kept_of_an_event_says_the_same_as_the_event(row: Row) -> None:
    """H3, I5: sentences are not stored; they are said of what is, which holds nothing personal."""
    example = json.loads((EXAMPLES / f"{row.topic}.json").read_text(encoding="utf-8"))["value"]
    event = checked(row.event, example)
    data = json.loads(to_json(kept(event)))
    assert said(row.topic, data) == say(event)
    assert not {"order_id", "customer", "goods"} & data.keys() and "customer" not in data.get("brief", {})


async def test_a_page_that_was_written_with_its_sentence_is_read_as_it_is(tower: Tower) -> None:
    """H3: as pages once were."""
    entry = {
        "event_id": "01a21b1f-db05-8170-bf58-267977e9f4eb", "topic": "CustomerNotified", "service": "notifier", "at": NOW,
        "sequence": 1, "causation_id": "01a21b1f-db05-8b33-95c6-5c58a13f7733",
        "correlation_id": "01a21b1f-db05-77d6-9961-706e4ead7023", "said": "told by pigeon",
        "data": {"message_id": "m", "kind": "receipt", "occasion": ORDER, "language": "en", "sent_at": NOW.isoformat()},
    }  # fmt: skip
    page = checked(Page, {"order_id": ORDER, "event_id": entry["event_id"], "entries": [entry]})
    await tower.hears(Story(ORDER).received())
    await tower.engine.transact([ORDER], lambda tx: _add(tx, page))
    told = {e["topic"]: e for e in (await tower.asks(f"/orders/{ORDER}"))["timeline"]}
    assert told["CustomerNotified"]["said"] == "told by pigeon" and told["CustomerNotified"]["lane"] == "standard"
    assert told["CustomerNotified"]["data"]["audience"] == "customer"
    assert told["OrderReceived"]["said"] == "verified: 2 lines, 3 pieces, from web"


async def _add(tx, page):  # type: ignore[no-untyped-def]
    tx.add(PAGES, page)
