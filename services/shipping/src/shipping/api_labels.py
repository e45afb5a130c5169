"""Labels for printers and people. The page of a label is fetched from its carrier when somebody asks for it, and kept."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from expedite_chassis import Caller, EngineDep, Problem, RuntimeDep, require
from expedite_messaging import Engine, GaveUp, Tx
from shipping.carriers import CarrierApi, CarrierAway
from shipping.domain.state import Label
from shipping.problems import unknown_parcel
from shipping.store import LABELS, LabelFile, load_parcel
from shipping.views import Id

router = APIRouter()
Crew = Annotated[Caller, Depends(require("floor:work"))]


def _file(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}, "description": "The label"}
    }


@router.get("/parcels/{parcel_id}/label.zpl", response_class=Response, responses=_file("application/zpl"))
async def label_zpl(parcel_id: Id, engine: EngineDep, caller: Crew) -> Response:
    """The label for the printer, exactly as bought from the carrier (F2)."""
    _, file = await _label(engine, parcel_id)
    if file.zpl is None:
        raise Problem(404, "no-label", detail=f"The carrier sold no ZPL label for parcel {parcel_id}.")
    return Response(file.zpl, media_type="application/zpl")


@router.get("/parcels/{parcel_id}/label.pdf", response_class=Response, responses=_file("application/pdf"))
async def label_pdf(parcel_id: Id, engine: EngineDep, runtime: RuntimeDep, caller: Crew) -> Response:
    """The label as a page, exactly as bought from the carrier (F2)."""
    label, file = await _label(engine, parcel_id)
    if file.pdf_base64 is None:
        if file.pdf_url is None:
            raise Problem(404, "no-label", detail=f"The carrier sold no PDF label for parcel {parcel_id}.")
        api = runtime.shared("shipping.carriers", lambda: CarrierApi(runtime.http, runtime.secrets))
        file = await _fetched(engine, api, label, file, file.pdf_url)
    return Response(base64.b64decode(file.pdf_base64 or ""), media_type="application/pdf")


async def _fetched(engine: Engine, api: CarrierApi, label: Label, file: LabelFile, pdf_url: str) -> LabelFile:
    """The label with its page, kept from now on."""
    carrier = {"carrier_id": label.carrier_id, "base_url": label.base_url}
    try:
        page = await api.page(carrier, pdf_url)
    except CarrierAway as error:
        detail = (
            f"{label.carrier_id} does not send the page of the label now ({error}). Print the ZPL label, or try later."
        )
        raise Problem(503, "carrier-away", detail=detail) from None
    except GaveUp as error:
        raise Problem(404, "no-label", detail=f"{label.carrier_id} sends no page of this label: {error}.") from None
    whole = file.put(pdf_base64=base64.b64encode(page).decode())

    async def work(tx: Tx) -> None:
        (await tx.load(LABELS, [file.label_id])).put(whole)

    await engine.transact([f"label:{file.label_id}"], work)
    return whole


async def _label(engine: Engine, parcel_id: str) -> tuple[Label, LabelFile]:
    async def work(tx: Tx) -> tuple[Label, LabelFile] | None:
        found = await load_parcel(tx, parcel_id)
        if found is None:
            raise unknown_parcel(parcel_id)
        parcel = found[1]
        if parcel.label is None:
            return None
        file = (await tx.load(LABELS, [parcel.label.label_id])).get(parcel.label.label_id)
        return (parcel.label, file) if file else None

    found = await engine.read(work)
    if found is None:
        raise Problem(404, "no-label", detail=f"Parcel {parcel_id} has no label.")
    return found
