"""The carriers' HTTP APIs: one request and what its answer means. `CarrierAway` is tried again, `GaveUp` ends.

The carrier protocol (what the demo carriers speak; real carriers get an adapter that speaks it):

    POST {base_url}/rates   {parcel_id, from, to, weight_g, box, handling, deliver_by}
         -> {"rates": [{quote_id, service, name, price, currency, transit_hours, insured, signature}],
             "holds_for": {weight_from_g, weight_to_g, postcodes}}
    POST {base_url}/labels  + Idempotency-Key {quote_id, service, reference, recipient, …, "formats": ["zpl"]}
         -> {label_id, tracking_number, tracking_url, cost, currency, zpl, pdf_url}
    POST {base_url}/labels/{label_id}/void -> 2xx
    GET  {pdf_url} -> the label as a page; asked for only when a person wants to see it

`holds_for` may be left out. With it the carrier says that its answer, quote ids included, is the same for every parcel
from there to the same country in the same box with the same handling and day, whose weight is within these bounds and
whose postcode begins with `postcodes` ("": all of the country): such parcels are bought on it for a while
(`SHIPPING_QUOTE_VALID_S`) without asking again.

The same in batches of up to 200, unless the carrier's record says `batch: false`; each request has its own answer:

    POST {base_url}/rates/batch   {"requests": [{…}]} -> {"results": [{"rates": […]} | {"error": {status, detail}}]}
    POST {base_url}/labels/batch  {"requests": [{"idempotency_key", …}]} -> {"results": [label | {"error": {…}}]}

Everything is sent with `Authorization: Bearer <carriers.<id>.api_key of the secrets file>`. A label's idempotency key is
the same for ever: asking again must answer with the same label.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NotRequired
from urllib.parse import quote

import httpx
import orjson
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from expedite_chassis.outgoing import AddressRefused
from expedite_messaging import GaveUp

BATCH_AT_MOST = 200
RATES_TIMEOUT_S = 8.0  # a carrier that is slower than this does not take part
LABEL_LIMIT = 150_000  # characters of one label format; larger ones would not fit an effect's result
PDF_LIMIT = 2_000_000  # bytes
FORMATS = ["zpl"]  # what a label printer needs; a page is fetched when somebody asks for it
_AGAIN = (408, 425, 429)


class CarrierAway(Exception):
    """The carrier did not answer usefully; trying again may help."""


class NotInBatches(Exception):
    """The carrier refused a batch as a whole: its requests are made one by one."""


class Rate(TypedDict):
    """A price as a carrier quotes it."""

    __pydantic_config__ = ConfigDict(extra="ignore")  # type: ignore[misc]

    quote_id: NotRequired[str | None]
    service: str
    name: str
    price: Annotated[float, Field(ge=0, le=1e9)]
    currency: Annotated[str, Field(min_length=3, max_length=3)]
    transit_hours: Annotated[float, Field(ge=0, le=24 * 120)]
    insured: NotRequired[bool]
    signature: NotRequired[bool]


class Holds(TypedDict):
    """For which other parcels an answer holds."""

    __pydantic_config__ = ConfigDict(extra="ignore")  # type: ignore[misc]

    weight_from_g: Annotated[int, Field(ge=0)]
    weight_to_g: Annotated[int, Field(ge=0)]
    postcodes: Annotated[str, Field(max_length=20)]


class Sold(TypedDict):
    """A label as a carrier sells it."""

    __pydantic_config__ = ConfigDict(extra="ignore")  # type: ignore[misc]

    label_id: Annotated[str, Field(min_length=1, max_length=128)]
    tracking_number: Annotated[str, Field(min_length=1, max_length=128)]
    tracking_url: NotRequired[str | None]
    cost: NotRequired[Annotated[float, Field(ge=0, le=1e9)] | None]
    currency: NotRequired[Annotated[str, Field(min_length=3, max_length=3)] | None]
    zpl: NotRequired[Annotated[str, Field(max_length=LABEL_LIMIT)] | None]
    pdf_base64: NotRequired[Annotated[str, Field(max_length=LABEL_LIMIT)] | None]
    pdf_url: NotRequired[Annotated[str, Field(max_length=2000)] | None]


_RATES = TypeAdapter(list[Rate]).validator.validate_python
_HOLDS = TypeAdapter(Holds).validator.validate_python
_SOLD = TypeAdapter(Sold).validator.validate_python
_WEB_ADDRESS = re.compile(r"https?://[^\s<>\"'\\\x00-\x20\x7f]{1,1990}", re.IGNORECASE).fullmatch


def rates_of(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rates of an answer as small JSON. Raises `GaveUp` when they are not understood."""
    try:
        rates: list[dict[str, Any]] = _RATES(answer.get("rates", []))
    except ValidationError as error:
        raise GaveUp(f"its rates are not understood: {error.error_count()} problem(s)") from None
    return rates


def holds_of(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """For which other parcels an answer holds; None when it does not say so, or not in words we understand."""
    try:
        holds: dict[str, Any] = _HOLDS(answer.get("holds_for"))
    except ValidationError:
        return None
    return holds


def together(every: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """For which parcels several answers hold all together; None when one of them holds for its own parcel only."""
    said = [holds for holds in every if holds is not None]
    if not said or len(said) < len(every):
        return None
    postcodes = max((holds["postcodes"] for holds in said), key=len)
    if not all(postcodes.startswith(holds["postcodes"]) for holds in said):
        return None
    low, high = max(h["weight_from_g"] for h in said), min(h["weight_to_g"] for h in said)
    return {"weight_from_g": low, "weight_to_g": high, "postcodes": postcodes}


def label_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The label of an answer as small JSON, without what it does not say. Raises `GaveUp` when it is not understood."""
    try:
        sold = _SOLD(answer)
    except ValidationError as error:
        raise GaveUp(f"its label is not understood: {error.error_count()} problem(s)") from None
    if not _WEB_ADDRESS(str(sold.get("tracking_url") or "")):
        sold.pop("tracking_url", None)  # customers click on it: what is no web address is not worth a label
    return {name: value for name, value in sold.items() if value is not None}


class CarrierApi:
    """HTTP to carriers, each with the key it gave us. A carrier is a mapping with `carrier_id` and `base_url`."""

    def __init__(self, http: httpx.AsyncClient, secrets: Mapping[str, Any]) -> None:
        self._http, self._keys = http, secrets.get("carriers", {})

    async def one(
        self, carrier: Mapping[str, Any], path: str, body: Mapping[str, Any], *, key: str = "", within_s: float = 20.0
    ) -> dict[str, Any]:
        """One request with its answer; `key` makes a repetition give the same. Raises `CarrierAway` or `GaveUp`."""
        response = await self._post(carrier, path, body, {"Idempotency-Key": key} if key else {}, within_s)
        _check(response.status_code, lambda: _reason(response), carrier["carrier_id"])
        value = _json(response)
        return value if isinstance(value, dict) else {}

    async def many(
        self, carrier: Mapping[str, Any], path: str, bodies: Sequence[Mapping[str, Any]], *, within_s: float = 20.0
    ) -> list[dict[str, Any] | Exception]:
        """A batch: one answer, or `CarrierAway` or `GaveUp`, for each request, in order. Raises `CarrierAway` or `GaveUp`
        when the whole was not answered, and `NotInBatches` when it was refused as a batch."""
        carrier_id = carrier["carrier_id"]
        response = await self._post(carrier, path, {"requests": bodies}, {}, within_s)
        # Also when the carrier has no batch API, or one odd request in it made it refuse the others.
        status = response.status_code
        if status == 501 or (400 <= status < 500 and status not in (401, 403, *_AGAIN)):
            raise NotInBatches
        _check(status, lambda: _reason(response), carrier_id)
        value = _json(response)
        results = value.get("results") if isinstance(value, dict) else None
        if not isinstance(results, list) or len(results) != len(bodies):
            raise CarrierAway(f"its answer does not have {len(bodies)} results")
        return [_item(result, carrier_id) for result in results]

    async def void(self, carrier: Mapping[str, Any], label_id: str) -> None:
        """Give a label back; giving it back twice is fine."""
        await self.one(carrier, f"/labels/{quote(label_id, safe='')}/void", {})

    async def page(self, carrier: Mapping[str, Any], pdf_url: str) -> bytes:
        """The PDF of a label: a path below `base_url` or an address on the same server, because our key goes with it.
        Raises `CarrierAway` or `GaveUp`."""
        try:
            base = httpx.URL(carrier["base_url"])
            url = httpx.URL(carrier["base_url"] + pdf_url) if pdf_url.startswith("/") else httpx.URL(pdf_url)
        except httpx.InvalidURL:
            raise GaveUp("the address of its label is no address") from None
        if (url.scheme, url.host, url.port) != (base.scheme, base.host, base.port):
            raise GaveUp("the address of its label is on another server")
        try:
            response = await self._http.get(url, headers=self._authorization(carrier), timeout=RATES_TIMEOUT_S)
        except AddressRefused as error:
            raise GaveUp(str(error)) from None
        except httpx.HTTPError as error:
            raise CarrierAway(f"no answer ({type(error).__name__})") from None
        _check(response.status_code, lambda: _reason(response), carrier["carrier_id"])
        if len(response.content) > PDF_LIMIT or not response.content.startswith(b"%PDF"):
            raise GaveUp("what it sent is not a PDF of reasonable size")
        return response.content

    def _authorization(self, carrier: Mapping[str, Any]) -> dict[str, str]:
        key = self._keys.get(carrier["carrier_id"], {}).get("api_key")
        return {"Authorization": f"Bearer {key}"} if key else {}

    async def _post(
        self,
        carrier: Mapping[str, Any],
        path: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str],
        within_s: float,
    ) -> httpx.Response:
        sent = {"Content-Type": "application/json", **self._authorization(carrier), **headers}
        try:
            return await self._http.post(
                carrier["base_url"] + path, content=orjson.dumps(body), headers=sent, timeout=within_s
            )
        except (AddressRefused, httpx.InvalidURL) as error:
            raise GaveUp(f"its address cannot be called: {error}") from None
        except httpx.HTTPError as error:
            raise CarrierAway(f"no answer ({type(error).__name__})") from None


def _json(response: httpx.Response) -> Any:
    try:
        return orjson.loads(response.content)
    except ValueError:
        raise CarrierAway("its answer is not JSON") from None


def _check(status: int, reason: Callable[[], str], carrier_id: str) -> None:
    """Raise what a status means."""
    if status in _AGAIN or status >= 500:
        raise CarrierAway(f"answered {status}")
    if status in (401, 403):
        raise GaveUp(f"it does not know our key: check carriers.{carrier_id}.api_key in the secrets file")
    if not 200 <= status < 300:
        raise GaveUp(f"answered {status}: {reason()}")


def _item(result: Any, carrier_id: str) -> dict[str, Any] | Exception:
    """One answer of a batch. What an error means is the same as outside a batch."""
    if not isinstance(result, dict):
        return CarrierAway("its answer is not an object")
    error = result.get("error")
    if error is None:
        return result
    told = error if isinstance(error, dict) else {"detail": error}
    status = told.get("status")
    try:
        _check(status if isinstance(status, int) and status >= 400 else 422, lambda: _words(told), carrier_id)
    except (CarrierAway, GaveUp) as meaning:
        return meaning
    return CarrierAway("answered nothing")


def _reason(response: httpx.Response) -> str:
    """What the carrier says about a refusal, shortened."""
    try:
        value = orjson.loads(response.content)
    except ValueError:
        return response.text[:200]
    return _words(value) if isinstance(value, dict) else str(value)[:200]


def _words(value: Mapping[str, Any]) -> str:
    return str(value.get("detail") or value.get("message") or value.get("title") or value)[:200]
