"""Which cards a list of the board shows, and in what order: each answered by one index of `store.CARDS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from control_tower.domain.card import RANKS, Card
from control_tower.domain.search import normal
from control_tower.store import CARDS, TERMS, Term
from expedite_messaging import Tx

ENDED = ("closed", "cancelled")
CANDIDATES = 300  # orders a search looks at, for each way of being found
_LAST = "\U0010ffff"
_NEVER = datetime.max.replace(tzinfo=UTC)

SORTS = {
    "urgency": ("tier_rank", "deadline", "order_id"),
    "promise": ("promise_by", "order_id"),
    "newest": ("-order_id",),
}


def _urgency(card: Card) -> tuple[Any, ...]:
    return (not card.is_open, card.tier_rank, card.deadline or _NEVER, card.order_id)


def _promise(card: Card) -> tuple[Any, ...]:
    return (not card.is_open, card.promise_by or _NEVER, card.order_id)


def _newest(card: Card) -> tuple[Any, ...]:
    return tuple(-ord(character) for character in card.order_id)


ORDERS: dict[str, Callable[[Card], tuple[Any, ...]]] = {"urgency": _urgency, "promise": _promise, "newest": _newest}
"""The sorts again, for cards at hand: open orders come first."""


def list_of(chosen: Mapping[str, str], order_by: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Conditions and order of a list. Ended orders are many and have no urgency any more: the last to end come first."""
    where: dict[str, Any] = dict(chosen)
    if "tier" in where:
        where["tier_rank"] = RANKS[where["tier"]]  # the index knows ranks
    if where.get("stage") in ENDED:
        where["ended"] = where.pop("stage")
        return where, ("-ended_at", "-order_id")
    return where | {"ended": None}, order_by


async def search(tx: Tx, text: str, chosen: Mapping[str, str]) -> list[Card]:
    """Cards whose number, or one of whose terms, begins with the text. Of very many the newest whose term is the very
    text, then the first that the index meets."""
    number, wanted = text.strip().upper(), normal(text)
    numbered = {"order_id__gte": number, "order_id__lt": number + _LAST}
    cards = await tx.find(CARDS, numbered, order_by=("-order_id",), limit=CANDIDATES)
    terms: list[Term] = await tx.find(TERMS, {"term": wanted}, order_by=("-order_id",), limit=CANDIDATES)
    if len(terms) < CANDIDATES:
        longer = {"term__gt": wanted, "term__lt": wanted + _LAST}
        terms += await tx.find(TERMS, longer, order_by=("term", "order_id"), limit=CANDIDATES - len(terms))
    known = {card.order_id for card in cards}
    cards += await tx.load(CARDS, {term.order_id for term in terms} - known)
    return [card for card in cards if all(getattr(card, name) == value for name, value in chosen.items())]
