"""Confirmations as nearly all are written, read at once: to look through a call of 500 as through any body and to check it with
its model takes nine times as long.

`ConfirmationsBody` says what a call may be and names what is wrong with one. What is read here has the same fields, and the
model would have read it alike; all else (text beyond ASCII, with escapes or blanks beside its quotes, mistakes) is left to it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from msgspec import Meta, MsgspecError, Struct
from msgspec.json import Decoder
from pydantic import WrapValidator

from fulfillment.bodies import ConfirmationsBody

Code = Annotated[str, Meta(min_length=1, max_length=128)]


class _Strict(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class PlainScan(_Strict, frozen=True):
    scan_id: Annotated[str, Meta(min_length=8, max_length=64)]
    barcode: Code | None = None
    sku: Code | None = None
    quantity: Annotated[int, Meta(ge=1, le=100_000)] = 1

    def __post_init__(self) -> None:
        if (self.barcode is None) == (self.sku is None):
            raise ValueError("names its goods by neither, or by both")

    @property
    def code(self) -> str:
        return self.barcode or self.sku or ""


class PlainWrapped(_Strict, frozen=True):
    box: Annotated[str, Meta(min_length=1, max_length=40)] | None = None
    weight_g: Annotated[int, Meta(ge=0, le=5_000_000)] | None = None


class PlainConfirmation(_Strict, frozen=True):
    by: Annotated[str, Meta(min_length=1, max_length=64)]
    fulfilment_order_id: Annotated[str, Meta(min_length=1, max_length=100)]
    scans: Annotated[tuple[PlainScan, ...], Meta(max_length=500)] = ()
    pack: PlainWrapped | None = None

    def __post_init__(self) -> None:
        if not self.scans and self.pack is None:
            raise ValueError("confirms nothing")


class PlainConfirmations(_Strict, frozen=True):
    confirmations: Annotated[tuple[PlainConfirmation, ...], Meta(min_length=1, max_length=500)]


_decoder: Decoder[Any] = Decoder(PlainConfirmations)


def read_plain(body: bytes) -> PlainConfirmations | None:
    """The confirmations of a body; None when it is not written plainly, or is none."""
    if not body.isascii() or b"\\" in body or b'" ' in body or b' "' in body:
        return None
    try:
        read: PlainConfirmations = _decoder.decode(body)
    except MsgspecError:
        return None
    return read


class _PlainRequest(Request):
    async def json(self) -> Any:
        read = read_plain(await self.body())
        return await super().json() if read is None else read


class PlainRoute(APIRoute):
    """A route that takes `Confirmations`. What is read at once can hold nothing that the chassis looks for in other bodies."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handle = super().get_route_handler()

        async def read(request: Request) -> Response:
            return await handle(_PlainRequest(request.scope, request.receive))

        return read


Confirmations = Annotated[
    ConfirmationsBody, WrapValidator(lambda read, check: read if isinstance(read, PlainConfirmations) else check(read))
]
