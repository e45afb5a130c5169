"""Between a request and a decision: which order an id belongs to, what a code stands for, how a refusal is answered."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from fastapi import Request

from expedite_chassis import Caller, FieldProblem, Problem, require
from expedite_chassis.auth import offering
from expedite_events import PersonChanged
from expedite_messaging import Tx
from fulfillment.bodies import ScanBody
from fulfillment.domain.copies import Barcode
from fulfillment.domain.floor import Scan
from fulfillment.domain.model import FulfilmentOrder, Refused
from fulfillment.store import BARCODES, PEOPLE, PRODUCTS
from fulfillment.views import Products

T = TypeVar("T")

_ORDER_OF = re.compile(r"(?P<order>.{1,64}?)-(F\d{1,9}(-B\d{1,9})?|T\d{1,9})")

_STATUS = {
    "unknown-fulfilment-order": 404,
    "unknown-transfer": 404,
    "unknown-put-back": 404,
    "unknown-code": 422,
    "wrong-item": 422,
    "wrong-quantity": 422,
    "unknown-line": 422,
}  # every other refusal is a conflict with the present state: 409
_TITLES = {
    "unknown-code": "Unknown code",
    "wrong-item": "Wrong item",
    "wrong-quantity": "Wrong quantity",
    "unknown-line": "No such line",
    "held": "The order is held",
    "cancelled": "Cancelled",
    "claimed": "Somebody works on it",
    "too-late": "Too late",
    "not-picked": "Not picked yet",
    "not-dispatched": "Not dispatched yet",
    "other-warehouse": "Work of another warehouse",
    "unknown-fulfilment-order": "Unknown fulfilment order",
    "unknown-transfer": "Unknown transfer",
    "unknown-put-back": "Unknown put-back",
}


def order_of(container_id: str) -> str:
    """The order of a fulfilment order, put-back or transfer: ids are made from it. An id of another shape becomes an
    order nobody knows, and is answered as unknown."""
    found = _ORDER_OF.fullmatch(container_id)
    return found["order"] if found else container_id[:64]


def problem(refused: Refused, pointer: Callable[[int], str] = lambda i: f"/lines/{i}") -> Problem:
    """A refusal as the API answers it: the entry of the request that is wrong, what was expected, what to do."""
    code = refused.code
    errors = (
        [FieldProblem(pointer=pointer(refused.index), code=code, message=refused.detail)]
        if refused.index is not None
        else []
    )
    extra = {"expected": refused.expected} if refused.expected is not None else None
    return Problem(_STATUS.get(code, 409), code, _TITLES.get(code), detail=refused.detail, errors=errors, extra=extra)


_identify = require()


async def reader(request: Request) -> Caller:
    """The caller, if they may look: everyone inside, and crews."""
    caller = await _identify(request)
    if not (caller.may("read") or caller.may("floor:work")):
        raise Problem(403, "missing-scope", detail="This needs the scope read or floor:work.")
    return caller


offering(reader, ("read",), ("floor:work",))


def refuse_impostor(caller: Caller, by: Sequence[str], pointer: Callable[[int], str] = lambda _: "/by") -> None:
    """A person signs with their own name; only machines name the person in front of them. 403 `not-you` otherwise."""
    if caller.person_id is None:
        return
    wrong = next((i for i, name in enumerate(by) if name != caller.person_id), None)
    if wrong is not None:
        raise Problem(
            403,
            "not-you",
            "That is not you",
            detail=f"You are signed in as {caller.person_id}; work is signed with your own name.",
            errors=[FieldProblem(pointer=pointer(wrong), code="not-you", message=f"Send {caller.person_id}.")],
        )


async def refuse_inactive(tx: Tx, by: str) -> None:
    """Somebody who left does not work any more: 422 `inactive-person`. Names nobody registered (conveyors) may."""
    person = (await tx.load(PEOPLE, [by])).get(by)
    if person is not None and not person.active:
        raise Problem(
            422,
            "inactive-person",
            "This person does not work here any more",
            errors=[
                FieldProblem(pointer="/by", code="inactive-person", message=f"{by} is not active; name who works.")
            ],
        )


async def resolve(tx: Tx, scans: Sequence[ScanBody], work: FulfilmentOrder) -> list[Scan]:
    """What was scanned, as SKUs."""
    codes = {s.code for s in scans}
    known = Known(await tx.glance(BARCODES, codes), await tx.glance(PRODUCTS, codes))
    return read_codes(scans, known, work)


class Known(NamedTuple):
    """What codes may stand for."""

    barcodes: Mapping[str, Barcode]
    products: Products


def read_codes(scans: Sequence[ScanBody], known: Known, work: FulfilmentOrder) -> list[Scan]:
    """What was scanned, as SKUs. A code is a barcode, or the SKU itself as labels on shelves have it."""
    found: list[Scan] = []
    for scan in scans:
        code = scan.code
        barcode = known.barcodes.get(code)
        sku = barcode.sku if barcode is not None else None
        if sku is None and (code in known.products or any(g.sku == code for g in work.goods)):
            sku = code
        found.append(Scan(code, sku, scan.quantity, scan.scan_id))
    return found


async def products_of(tx: Tx, skus: Iterable[str]) -> Products:
    """The copies of these products, as far as we know them."""
    return await tx.glance(PRODUCTS, skus)


async def people(tx: Tx) -> dict[str, PersonChanged]:
    """Everybody we know by id."""
    return {p.person_id: p for p in await tx.find(PEOPLE)}


async def answered(work: Callable[[], Awaitable[T]], pointer: Callable[[int], str] = lambda i: f"/lines/{i}") -> T:
    """Run a write; a refusal of the domain becomes its problem."""
    try:
        return await work()
    except Refused as refused:
        raise problem(refused, pointer) from None


Json = dict[str, Any]
