"""What route functions ask for."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, NoReturn, cast

from fastapi import Depends, Request

from expedite_chassis import tracing
from expedite_chassis.inputs import refuse_unstorable, refuse_unstorable_parameters, suspect
from expedite_chassis.problems import Problem
from expedite_chassis.spec import Runtime
from expedite_messaging import Engine

MAX_DEPTH = 64  # of a JSON body; what is deeper could exhaust the stack of whoever writes it out again


# Dependencies are coroutines even where they wait for nothing: the framework runs plain functions in a thread each.
async def _engine(request: Request) -> Engine:
    return cast(Engine, request.app.state.engine)


async def _runtime(request: Request) -> Runtime:
    return cast(Runtime, request.app.state.runtime)


async def _raw_body(request: Request) -> bytes:
    return await request.body()


EngineDep = Annotated[Engine, Depends(_engine)]
RuntimeDep = Annotated[Runtime, Depends(_runtime)]
RawBody = Annotated[bytes, Depends(_raw_body)]
"""The bytes as they were sent: what signatures are checked over, before any parsing."""


async def every_request(request: Request) -> None:
    """Runs before every route: log lines carry the order of the path; numbers JSON does not have and text that cannot be
    stored are refused."""
    order_id = request.path_params.get("order_id")
    if isinstance(order_id, str):
        tracing.name_order(order_id)
    refuse_unstorable_parameters(request)
    # The body was parsed before dependencies run; only one that may hold something odd is looked at again.
    if hasattr(request, "_json"):
        body = await request.body()
        if (
            b"\x00" in body
        ):  # UTF-16 or UTF-32: Python's parser takes them, what is looked for below is not in their bytes
            raise Problem(400, "malformed-json", detail="Send the body in UTF-8.")
        # Python's parser takes NaN and Infinity and makes an infinity of 1e999; none of them can be stored as JSON.
        # To parse a body once more takes a quarter of what it takes to search it for them.
        json.loads(body, parse_constant=_refuse, parse_float=_finite)
        if suspect(body):
            refuse_unstorable(await request.json())
        if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _deeper(await request.json(), MAX_DEPTH):
            raise Problem(400, "malformed-json", detail=f"The body is nested deeper than {MAX_DEPTH} levels.")


def _deeper(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [c for v in level for c in (v.values() if type(v) is dict else v) if type(c) is dict or type(c) is list]
        if not level:
            return False
    return True


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _refuse(word: str) -> NoReturn:
    raise Problem(400, "malformed-json", detail="NaN, Infinity and numbers beyond 1e308 are not accepted.")
