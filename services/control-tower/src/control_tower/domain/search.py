"""What an order is found by: its customer's name, its tags and its tracking numbers.

A term is a phrase that begins at a word and goes on to the end of the text, so that whoever types "jansen", "mia jansen"
or the beginning of either finds "Mia Jansen" by the beginning of a term, which an index answers whatever the number of
orders. In Chinese, Japanese and Korean every character begins a word.
"""

from __future__ import annotations

import re
from itertools import islice

from control_tower.domain.card import Card

LONGEST = 80  # characters of a term, and of what can be searched
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\s\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def normal(text: str) -> str:
    """How terms are written: lower case, one blank between words."""
    return " ".join(text.lower().split())[:LONGEST]


def phrases(text: str) -> set[str]:
    """The terms of a text, at most eight."""
    plain = normal(text)
    return {plain[word.start() :] for word in islice(_WORD.finditer(plain), 8)}


def _names(card: Card) -> set[str]:
    return set().union(*[phrases(text) for text in (card.customer, *card.tags) if text])


def _tracking(card: Card) -> set[str]:
    return {normal(p.tracking_number) for p in card.parcels.values() if p.tracking_number}


def new_terms(before: Card, after: Card) -> set[str]:
    """What a card is found by, besides its number, that it was not before."""
    found: set[str] = set()
    if after.customer != before.customer or after.tags != before.tags:
        found |= _names(after) - _names(before)
    if after.parcels is not before.parcels:
        found |= _tracking(after) - _tracking(before)
    return found
