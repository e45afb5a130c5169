"""A request that is repeated under its Idempotency-Key does its work once and gets its first answer again.

The record is a row of the service's own database, written in the transaction of the work itself: whatever happens to the
connection, the row says whether the work happened. Records are locked by key, so that two requests with one key wait for
each other. Work that fails leaves no record, and a retry decides anew.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from fastapi import Depends, Request
from msgspec import field
from starlette.responses import Response

from expedite_chassis.auth import Caller, require
from expedite_chassis.problems import Problem
from expedite_events import Value
from expedite_messaging import Book, Collection, Column, Tx

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
_PRINTABLE = re.compile(r"[\x20-\x7e]{16,255}")


class Answer(Value):
    """A response that can be stored: repeated byte for byte."""

    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, value: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """An answer with a JSON body."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
        return cls(status=status, body=text, headers={"Content-Type": "application/json", **(headers or {})})

    def response(self, *, replayed: bool = False) -> Response:
        extra = {REPLAYED: "true"} if replayed else {}
        return Response(self.body.encode(), status_code=self.status, headers={**self.headers, **extra})


class IdempotencyRecord(Value):
    """What one client asked under one key and what it was answered; without an answer the work is not done."""

    client: str
    key: str
    request_hash: str | None = None
    answer: Answer | None = None
    created_at: datetime | None = None


def idempotency_collection(metadata: sa.MetaData) -> Collection[IdempotencyRecord]:
    """The service's `idempotency` table. Rows are locked when loaded: load them before other shared rows."""
    return Collection(
        "idempotency",
        IdempotencyRecord,
        metadata=metadata,
        key=("client", "key"),
        columns=(Column("created_at", sa.DateTime(timezone=True), index=True),),
        new=lambda client, key: IdempotencyRecord(client=client, key=key),
        lock=True,
    )


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request as idempotency sees it. `digest` covers method, path and the raw body."""

    caller: Caller
    key: str
    digest: str

    @property
    def id(self) -> tuple[str, str]:
        return (self.caller.client, self.key)


def checked_key(text: str | None) -> str:
    """The key of the header, or 400: missing, or not 16 to 255 printable characters. Quotes around it (the header is a
    structured field in the draft standard) are not part of it."""
    if text is None or not text.strip():
        raise Problem(400, "idempotency-key-missing", detail=f"Send the header {HEADER} with 16 to 255 characters.")
    key = text.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not _PRINTABLE.fullmatch(key):
        raise Problem(400, "idempotency-key-malformed", detail=f"{HEADER} takes 16 to 255 printable ASCII characters.")
    return key


def digest_of(method: str, path: str, body: bytes) -> str:
    """SHA-256 over method, path and the raw body; lengths keep the parts apart."""
    head = json.dumps([method.upper(), path]).encode()
    return hashlib.sha256(len(head).to_bytes(4, "big") + head + body).hexdigest()


def keyed(*scopes: str) -> Callable[..., Awaitable[KeyedRequest]]:
    """A dependency like `require(*scopes)` that also demands an Idempotency-Key."""
    authorised = require(*scopes)

    async def keyed_request(request: Request, caller: Caller = Depends(authorised)) -> KeyedRequest:
        key = checked_key(request.headers.get(HEADER))
        return KeyedRequest(caller, key, digest_of(request.method, request.scope["path"], await request.body()))

    return keyed_request


class IdempotencyBook:
    """The records of the requests of one transaction: one request, or all of a group."""

    def __init__(self, tx: Tx, book: Book[IdempotencyRecord]) -> None:
        self._tx, self._book = tx, book

    def earlier(self, request: KeyedRequest) -> Answer | None:
        """The answer this request got before (also from the same group); None when it is new. Raises the 422 problem
        when the key belongs to a request with other content."""
        record = self._book[request.id]
        if record.answer is None:
            return None
        if record.request_hash != request.digest:
            raise Problem(422, "idempotency-key-reused", detail=f"Use a new {HEADER} for a new request.")
        return record.answer

    def remember(self, request: KeyedRequest, answer: Answer) -> Answer:
        """Store what a new request is answered."""
        client, key = request.id
        record = IdempotencyRecord(
            client=client, key=key, request_hash=request.digest, answer=answer, created_at=self._tx.now
        )
        self._book.put(record)
        return answer


async def open_idempotency(
    tx: Tx, collection: Collection[IdempotencyRecord], requests: Iterable[KeyedRequest]
) -> IdempotencyBook:
    """Load and lock the records of these requests."""
    return IdempotencyBook(tx, await tx.load(collection, [request.id for request in requests]))
