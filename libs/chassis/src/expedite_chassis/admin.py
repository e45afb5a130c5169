"""Operators repair what is parked: look, edit, retry, drop, restore (I4, I5). Each change names who and why in the audit
trail of the service; personal data is masked unless somebody with the scope for it asks, which is noted too."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Annotated, Any, TypeVar
from uuid import UUID

import orjson
import structlog
from fastapi import APIRouter, Depends, Header, Path, Query, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from expedite_chassis.auth import Caller, require
from expedite_chassis.deps import EngineDep
from expedite_chassis.masking import masked, masks, unmasked
from expedite_chassis.openapi import also_answers
from expedite_chassis.problems import FieldProblem, Problem
from expedite_chassis.validation import field_problems
from expedite_events import Unreadable, row_of_topic
from expedite_events.contract import model_of
from expedite_events.envelope import Undecodable
from expedite_messaging import repair
from expedite_messaging.bundles import MAX_VALUE_BYTES
from expedite_messaging.repair import ChangedMeanwhile, NotParked, Repair, Waiting, Who

R = TypeVar("R")
REVEAL = "ops:reveal"
log = structlog.get_logger("expedite.admin")
router = APIRouter(tags=["admin"])
Operator = Annotated[Caller, Depends(require("ops"))]
Trusted = Annotated[Caller, Depends(require("ops", REVEAL))]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("only printable characters are accepted")
    return text


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("no key holds a NUL character")
    return text


Text = Annotated[str, AfterValidator(_printable), Field(max_length=500)]
Key = Annotated[str, AfterValidator(_storable), Query(max_length=1000)]
KeyPath = Annotated[str, Path(min_length=1, max_length=1000)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Entry = Annotated[int | None, Query(ge=1, lt=2**63)]
IfMatch = Annotated[str | None, Header(max_length=200, description="The `tag` of the event as it was looked at")]


class Reason(BaseModel):
    """Why somebody does this. `person`: on whose behalf a client acts, where it is not a person's own token."""

    model_config = ConfigDict(extra="forbid")

    why: Annotated[Text, Field(min_length=3)]
    person: Text = ""


class Retry(BaseModel):
    """Who asks for a retry, and why, if that is worth saying."""

    model_config = ConfigDict(extra="forbid")

    why: Text = ""
    person: Text = ""


class Edit(Reason):
    """The event's new value. Masks that are left in it keep what they hide. `headers`: attributes to set, by name."""

    value: Any
    headers: dict[Annotated[Text, Field(min_length=1)], Text] = Field(default_factory=dict, max_length=50)


@router.get("/admin/parked")
async def list_parked(engine: EngineDep, _: Operator, limit: Limit = 200, cursor: Key = "") -> Mapping[str, Any]:
    """Keys that wait, each by the event that must be decided first. `reason` null: the event before it was dropped, the
    next retry decides it. `next_try`: it is tried again by itself then; null: a person must act."""
    found = await repair.parked_keys(engine, cursor, limit)
    items = [
        {
            "key": one.key, "event_id": one.event_id, "topic": one.topic, "reason": one.reason, "behind": one.events - 1,
            "attempts": one.attempts, "since": one.since, "next_try": one.next_at,
        }
        for one in found
    ]  # fmt: skip
    return {"items": items, "next": found[-1].key if len(found) == limit else None}


@router.post("/admin/parked/{key:path}/retry")
async def retry_parked(
    key: KeyPath, engine: EngineDep, caller: Operator, body: Retry | None = None
) -> Mapping[str, Any]:
    """Decide again on a key's parked events, in order, on the state of now; stops at the first that fails again, and says
    which and why."""
    await _known(repair.waiting(engine, _key(key)))
    decided = await engine.replay(key, _who(caller, body or Retry()))
    left = await engine.read(lambda tx: repair.session_of(tx).waiting(key))
    head = left[0] if left else None
    stopped = head and {
        "event_id": head.event_id, "topic": head.record.topic, "reason": head.reason, "next_try": head.next_at
    }  # fmt: skip
    log.info("parked events retried", key=key, decided=decided, left=len(left), by=caller.client)
    return {"key": key, "decided": decided, "left": len(left), "still_parked": bool(left), "stopped_at": stopped}


@router.post("/admin/parked/{key:path}/reveal")
async def reveal_parked(key: KeyPath, body: Reason, engine: EngineDep, caller: Trusted) -> Mapping[str, Any]:
    """The events of a key with personal data and raw bytes, and what was there before an edit. Noted in the audit trail."""
    found, originals = await _known(repair.reveal(engine, _key(key), _who(caller, body)))
    events = [
        _shown(event) | {"value": _json(event.record.value), "raw": _raw(event.record.value)}
        | ({"original": _raw(originals[event.event_id].value)} if event.event_id in originals else {})
        for event in found
    ]  # fmt: skip
    return {"key": key, "events": events}


@router.put("/admin/parked/{key:path}/events/{event_id}", openapi_extra=also_answers(412, 428))
async def edit_parked(
    key: KeyPath,
    event_id: UUID,
    body: Edit,
    engine: EngineDep,
    caller: Operator,
    answer: Response,
    if_match: IfMatch = None,
) -> Mapping[str, Any]:
    """Replace the value of one parked event by one that its contract allows. The original is kept, the id stays."""
    tag = _tag(if_match)
    found = await _known(repair.waiting(engine, _key(key)))
    event = next((one for one in found if one.event_id == event_id), None)
    if event is None:
        raise Problem(404, "not-parked")
    raw = _checked(event, unmasked(body.value, _json(event.record.value)))
    try:
        edited = await _known(repair.edit(engine, key, event_id, tag, raw, _who(caller, body), body.headers))
    except Undecodable as error:  # the value is right, so its attributes are not
        wrong = FieldProblem(pointer="/headers", code="undecodable", message=str(error)[:300])
        raise Problem(422, "invalid", errors=[wrong]) from None
    log.info("parked event edited", key=key, event_id=str(event_id), by=caller.client)
    answer.headers["ETag"] = f'"{edited.tag}"'
    return {"key": edited.key, **_shown(edited)}


@router.post("/admin/parked/{key:path}/events/{event_id}/drop", openapi_extra=also_answers(412, 428))
async def drop_parked(
    key: KeyPath, event_id: UUID, body: Reason, engine: EngineDep, caller: Operator, if_match: IfMatch = None
) -> Mapping[str, Any]:
    """Take one event out of the queue of its key. It is kept under /admin/dropped and can be restored; those behind it go
    on at the next retry."""
    left = await _known(repair.drop(engine, _key(key), event_id, _tag(if_match), _who(caller, body)))
    log.info("parked event dropped", key=key, event_id=str(event_id), left=left, by=caller.client)
    return {"key": key, "event_id": event_id, "left": left}


@router.get("/admin/parked/{key:path}/events")
async def show_parked(key: KeyPath, engine: EngineDep, _: Operator) -> Mapping[str, Any]:
    """The events of a key in the order in which they will be decided; personal data is masked, raw bytes are not shown."""
    return {"key": key, "events": [_shown(event) for event in await _known(repair.waiting(engine, _key(key)))]}


@router.get("/admin/dropped")
async def list_dropped(engine: EngineDep, _: Operator, key: Key | None = None, limit: Limit = 200) -> Mapping[str, Any]:
    """Events that people dropped, the newest first."""
    items = [
        {"key": one.event.key, **_shown(one.event), "dropped_at": one.dropped_at, "dropped_by": one.dropped_by, "why": one.why}
        for one in await repair.dropped(engine, key, limit)
    ]  # fmt: skip
    return {"items": items, "next": None}


@router.post("/admin/dropped/{event_id}/restore")
async def restore_dropped(event_id: UUID, body: Reason, engine: EngineDep, caller: Operator) -> Mapping[str, Any]:
    """Park a dropped event again at its old place; the next retry decides it."""
    try:
        key = await repair.restore(engine, event_id, _who(caller, body))
    except NotParked:
        raise Problem(404, "not-dropped") from None
    log.info("dropped event restored", key=key, event_id=str(event_id), by=caller.client)
    return {"key": key, "event_id": event_id}


@router.get("/admin/repairs")
async def list_repairs(
    engine: EngineDep, _: Operator, key: Key | None = None, limit: Limit = 200, cursor: Entry = None
) -> Mapping[str, Any]:
    """The audit trail: who did what to parked events, when and why; the newest first."""
    found = await repair.history(engine, key, cursor, limit)
    return {"items": [_entry(one) for one in found], "next": found[-1].id if len(found) == limit else None}


async def _known(work: Awaitable[R]) -> R:
    try:
        return await work
    except NotParked:
        raise Problem(404, "not-parked") from None
    except ChangedMeanwhile:
        raise Problem(412, "changed-meanwhile") from None


def _key(key: str) -> str:
    if "\x00" in key:
        raise Problem(404, "not-parked")
    return key


def _who(caller: Caller, reason: Reason | Retry) -> Who:
    return Who(caller.client, caller.name if caller.person_id else reason.person, reason.why)


def _tag(if_match: str | None) -> str:
    if not if_match:
        raise Problem(428, "precondition-required")
    return if_match.strip().removeprefix("W/").strip('"')


def _checked(waiting: Waiting, value: Any) -> bytes:
    """The bytes of a value that the contract of its topic allows and that is about its key; each wrong field is named."""
    hidden = [_wrong(at, "masked", "This mask hides nothing; give the value") for at in masks(value)]
    if hidden:
        raise Problem(422, "invalid", errors=hidden)
    topic, key = waiting.record.topic, waiting.record.key
    try:
        row, raw = row_of_topic(topic), orjson.dumps(value)
        model_of(row.event).model_validate_json(raw)
        about = row.key_of(row.read(raw))
    except ValidationError as error:
        details = [{**detail, "loc": ("body", "value", *detail["loc"])} for detail in error.errors()]
        named = field_problems(details, {"value": value})
        raise Problem(422, "invalid", errors=[FieldProblem(**one) for one in named]) from None
    except (orjson.JSONEncodeError, KeyError, ValueError, Unreadable) as error:
        words = str(error) if isinstance(error, Unreadable) else type(error).__name__
        wrong = _wrong("", "unusable", f"This is no {topic}: {words}"[:300])
        raise Problem(422, "invalid", errors=[wrong]) from None
    if key and about != key.decode("utf-8", "replace"):
        place = f"/{row.key[0]}" if len(row.key) == 1 else ""
        raise Problem(
            422, "invalid", errors=[_wrong(place, "other-key", "The event must be about the key it waits under")]
        )
    if len(raw) >= MAX_VALUE_BYTES:
        wrong = _wrong("", "too-large", f"An event has less than {MAX_VALUE_BYTES} bytes")
        raise Problem(422, "invalid", errors=[wrong])
    return raw


def _wrong(at: str, code: str, message: str) -> FieldProblem:
    return FieldProblem(pointer=f"/value{at}", code=code, message=message)


def _shown(event: Waiting) -> dict[str, Any]:
    record = event.record
    return {
        "event_id": event.event_id, "topic": record.topic, "place": event.seq, "reason": event.reason, "attempts": event.attempts, "parked_at": event.at, "next_try": event.next_at,
        "trouble": event.trouble, "repaired": event.repaired, "tag": event.tag,
        "headers": {name: text.decode("utf-8", "backslashreplace") for name, text in record.headers},
        "value": masked(record.topic, _json(record.value)), "bytes": len(record.value or b""),
        "sha256": repair.digest(record.value),
    }  # fmt: skip


def _json(value: bytes | None) -> Any:
    """The JSON of a value; None when it is none."""
    try:
        return orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None


def _raw(value: bytes | None) -> dict[str, str]:
    """Bytes as text where they are text, as hexadecimal digits else."""
    try:
        return {"text": (value or b"").decode()}
    except UnicodeDecodeError:
        return {"hex": (value or b"").hex()}


def _entry(one: Repair) -> dict[str, Any]:
    return {
        "id": one.id, "at": one.at, "action": one.action, "key": one.key, "event_id": one.event_id, "topic": one.topic,
        "client": one.who.client, "person": one.who.person, "why": one.who.why, "outcome": one.outcome,
        "before": one.before, "after": one.after,
    }  # fmt: skip
