"""Copies of master data that stay in this process, parsed.

Bulk requests need hundreds of products each, and the same ones again and again. A copy is at most `KEPT_S` old: master
data comes by event and is always a little late, so a moment more changes nothing that anybody could rely on. What this
process itself learns is seen at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar
from weakref import WeakKeyDictionary

from fastapi import Depends
from pydantic import BaseModel

from expedite_chassis import EngineDep
from expedite_messaging import Collection, Engine, Tx

S = TypeVar("S", bound=BaseModel)
KEPT_S = 2.0


class Masters:
    """What one database said about its master data a moment ago; also which keys it does not know."""

    generation = 0  # of all: raised when this process learns something

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Any]] = {}
        self._until, self._of = 0.0, -1

    async def load(self, tx: Tx, collection: Collection[S], keys: Iterable[str]) -> dict[str, S | None]:
        """The documents of these keys and of others; None for a key without one."""
        now = time.monotonic()
        if now >= self._until or self._of != Masters.generation:
            self._rows, self._until, self._of = {}, now + KEPT_S, Masters.generation
        known: dict[str, S | None] = self._rows.setdefault(collection.name, {})
        missing = {key for key in keys if key not in known}
        if missing:
            book = await tx.load(collection, missing)
            for key in missing:
                known[key] = book.get(key)
        return known


def learned() -> None:
    """This process wrote master data: copies from before are not used any more."""
    Masters.generation += 1


_of_engine: WeakKeyDictionary[Engine, Masters] = WeakKeyDictionary()


def _masters(engine: EngineDep) -> Masters:
    return _of_engine.setdefault(engine, Masters())


MastersDep = Annotated[Masters, Depends(_masters)]
