"""Posting many orders at once: one JSON object per line, one verdict per line."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from expedite_chassis import Caller, EngineDep, FieldProblem, Problem, RawBody, RuntimeDep
from expedite_chassis.errors import describe
from expedite_chassis.leisure import leisurely
from expedite_chassis.problems import internal, unavailable
from expedite_chassis.validation import field_problems
from expedite_messaging import Engine, KeyParked, Transient, Tx
from order_intake.adapters.native import NativeOrder
from order_intake.adapters.plain import PlainOrder, read_plain
from order_intake.api.orders import Intake, Writer, asked, base_url_of, ready_intake
from order_intake.domain.order import State
from order_intake.placing import Placed, PlaceRequest, place_all
from order_intake.settings import policy

router = APIRouter(tags=["orders"])
log = structlog.get_logger("expedite.intake")
NDJSON = "application/x-ndjson"
BULK_LIMIT = 64 * 1024 * 1024
_CHUNK = 250  # lines of one transaction: enough to share its cost, few enough that other requests get their turn
_AHEAD = 2  # chunks at work at once: one is read and decided while the database writes the one before

Verdict = dict[str, Any]


@router.post(
    "/orders/bulk",
    response_class=StreamingResponse,
    responses={200: {"content": {NDJSON: {"schema": {"type": "string"}}}, "description": "One verdict per line"}},
    openapi_extra={"requestBody": {"content": {NDJSON: {"schema": {"$ref": "#/components/schemas/NativeOrder"}}}}},
)
async def post_orders(
    request: Request, raw: RawBody, engine: EngineDep, runtime: RuntimeDep, caller: Writer
) -> StreamingResponse:
    """Take in many orders, one JSON object per line, each with a `reference` that makes repeating it safe. Answers one
    verdict per line, in order, as chunks are done, then a summary. One bad line never fails another; after a broken
    connection the same body may be sent again."""
    intake = await ready_intake(request)
    running: set[asyncio.Task[list[Verdict]]] = runtime.shared("bulk", set)
    bulk = _Bulk(engine, intake, caller, base_url_of(request), running)
    return StreamingResponse(bulk.verdicts(raw), media_type=NDJSON)


@dataclass
class _Line:
    """One line on its way: asked for when it could be read, and its verdict as soon as there is one."""

    number: int
    reference: str | None = None
    request: PlaceRequest | None = None
    verdict: Verdict = field(default_factory=dict)


@dataclass
class _Bulk:
    """One bulk request. Each chunk is a task of its own, kept in `running`: a client that goes away cancels nothing that
    has begun, and nothing more begins."""

    engine: Engine
    intake: Intake
    caller: Caller
    base_url: str
    running: set[asyncio.Task[list[Verdict]]]

    async def verdicts(self, raw: bytes) -> AsyncIterator[bytes]:
        """The answer, piece by piece."""
        counts = Counter({"lines": 0, "accepted": 0, "held": 0, "replayed": 0, "refused": 0})
        ahead: deque[asyncio.Task[list[Verdict]]] = deque()
        turn = asyncio.Event()
        turn.set()
        for chunk in _chunks(raw):
            after = asyncio.Event()
            ahead.append(self._begin(chunk, turn, after))
            turn = after
            if len(ahead) == _AHEAD:
                yield _told(await asyncio.shield(ahead.popleft()), counts)
        while ahead:
            yield _told(await asyncio.shield(ahead.popleft()), counts)
        yield orjson.dumps({"summary": counts}) + b"\n"

    def _begin(
        self, chunk: list[tuple[int, bytes]], turn: asyncio.Event, after: asyncio.Event
    ) -> asyncio.Task[list[Verdict]]:
        task = asyncio.create_task(self._take(chunk, turn, after))
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        return task

    async def _take(self, chunk: list[tuple[int, bytes]], turn: asyncio.Event, after: asyncio.Event) -> list[Verdict]:
        """The verdicts of a chunk. It locks its claims after the chunk before it (`turn`), so that of two lines with one
        reference the first wins; `after` lets the next one do so. Single orders of others go first."""
        with leisurely():
            try:
                lines = [self._read(number, line) for number, line in chunk]
                await turn.wait()
                await self._settle([line for line in lines if line.request], after)
                return [line.verdict for line in lines]
            finally:
                after.set()

    def _read(self, number: int, text: bytes) -> _Line:
        line = _Line(number)
        try:
            order = parse(text)
            line.reference = order.reference
            if order.reference is None:
                message = "Give each line a reference of its own; it makes repeating the line safe."
                raise Problem(
                    422, "invalid", errors=[FieldProblem(pointer="/reference", code="missing", message=message)]
                )
            line.request = asked(order, self.caller, self.base_url)
        except Problem as problem:
            line.verdict = _refused(line, problem)
        return line

    async def _settle(self, lines: Sequence[_Line], locked: asyncio.Event) -> None:
        """Take all lines in with one transaction. When that fails for another reason than the database being away, each
        goes its own way through the group commit, which finds the one that is to blame."""
        requests = [line.request for line in lines if line.request]

        async def work(tx: Tx) -> list[Placed | Problem]:
            locked.set()
            return await place_all(tx, requests, policy())

        found: Sequence[Placed | Problem | BaseException]
        try:
            locks = [key for request in requests for key in request.locks]
            found = await self.engine.transact(locks, work) if requests else ()
        except Transient as away:
            found = [away] * len(requests)
        except Exception as error:
            log.warning("a chunk of orders is taken in line by line", error=type(error).__name__)
            found = await asyncio.gather(*(self.intake.submit(r) for r in requests), return_exceptions=True)
        for line, outcome in zip(lines, found, strict=True):
            line.verdict = _verdict(line, outcome)


def _verdict(line: _Line, outcome: Placed | Problem | BaseException) -> Verdict:
    """What became of one line."""
    if isinstance(outcome, Placed):
        replayed = not outcome.fresh
        return {"line": line.number, "reference": line.reference, "status": 202, "replayed": replayed, **outcome.said}
    if isinstance(outcome, Problem):
        return _refused(line, outcome)
    if isinstance(outcome, KeyParked | Transient):
        away = unavailable(outcome).document()
        return {"line": line.number, "reference": line.reference, "status": 503, "problem": away}
    log.error("an order could not be taken in", **describe(outcome))
    return _refused(line, internal())


def _refused(line: _Line, problem: Problem) -> Verdict:
    found: Verdict = {"line": line.number, "status": problem.status_code, "problem": problem.document()}
    return found | ({"reference": line.reference} if line.reference else {})


def _told(verdicts: Sequence[Verdict], counts: Counter[str]) -> bytes:
    """Verdicts as lines; counted."""
    counts["lines"] += len(verdicts)
    for verdict in verdicts:
        counts["refused" if "problem" in verdict else "replayed" if verdict["replayed"] else "accepted"] += 1
        counts["held"] += verdict.get("state") == State.HELD
    return b"".join([orjson.dumps(verdict, option=orjson.OPT_APPEND_NEWLINE) for verdict in verdicts])


def _chunks(raw: bytes) -> Iterator[list[tuple[int, bytes]]]:
    """Numbered lines in chunks, cut off the body as they are needed: a large body is not held twice."""
    chunk: list[tuple[int, bytes]] = []
    start, number = 0, 0
    while start < len(raw):
        end = raw.find(b"\n", start)
        end = len(raw) if end < 0 else end
        number += 1
        line = raw[start:end]
        start = end + 1
        if line.strip():
            chunk.append((number, line))
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def parse(line: bytes) -> NativeOrder | PlainOrder:
    """The order of a line; raises `Problem`."""
    if plain := read_plain(line):
        return plain
    # Read as a single order is, to take what it would take and name what is wrong in the same words.
    try:
        value = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Problem(400, "malformed-json", detail="The line is not one JSON object.") from None
    try:
        return NativeOrder.model_validate(value)
    except ValidationError as error:
        details = [{**detail, "loc": ("body", *detail["loc"])} for detail in error.errors()]
        raise Problem(422, "invalid", errors=[FieldProblem(**f) for f in field_problems(details, value)]) from None


def _refuse(word: str) -> None:
    raise ValueError(word)
