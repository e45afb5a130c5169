"""Sales channels: set up by planners, read by everyone."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from expedite_chassis import Caller, EngineDep, Price, require, storable
from expedite_events import plain
from expedite_messaging import Tx
from order_intake.api.access import any_of
from order_intake.api.shown import Channels, shown
from order_intake.domain.channel import CHANNEL_ID, Channel, Format
from order_intake.store import CHANNELS

router = APIRouter(tags=["channels"])
Named = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(storable)]


class ChannelBody(BaseModel):
    """What a channel is: `code` is the middle of its order numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]{1,5}$")]
    format: Format = Format.NATIVE
    owner: Named = "operators"
    urgent_methods: Annotated[tuple[Named, ...], Field(max_length=100)] = ()
    high_value_limit: Annotated[Price, Field(gt=0)] | None = None


@router.put("/channels/{channel_id}", response_model=None, responses=shown(Channel))
async def put_channel(
    channel_id: Annotated[str, Path(pattern=CHANNEL_ID)],
    body: ChannelBody,
    engine: EngineDep,
    _: Annotated[Caller, Depends(require("master:write"))],
) -> dict[str, Any]:
    """Set up or change a channel. Orders already taken in keep their number and owner."""
    channel = Channel(id=channel_id, **body.model_dump())

    async def work(tx: Tx) -> None:
        (await tx.load(CHANNELS, [channel_id])).put(channel)

    await engine.transact([f"channel|{channel_id}"], work)
    shown: dict[str, Any] = plain(channel)
    return shown


@router.get("/channels", response_model=None, responses=shown(Channels))
async def list_channels(
    engine: EngineDep,
    caller: Annotated[Caller, Depends(any_of("read", "orders:read", "orders:write", "master:write"))],
) -> dict[str, Any]:
    """All channels that the caller acts for."""
    found = await engine.read(lambda tx: tx.find(CHANNELS, order_by=("id",)))
    return {"items": plain([channel for channel in found if caller.serves(channel.id)]), "next": None}
