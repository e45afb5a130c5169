"""RFC 9457 problem details: the one shape of every error an API answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import HTTPException, RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import Response

from expedite_chassis import tracing
from expedite_chassis.problem_types import BY_STATUS, note_raised, problem_type
from expedite_chassis.validation import field_problems, media_type_refused
from expedite_messaging import Crowded, KeyParked, Transient

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1


class FieldProblem(BaseModel):
    """One field that is not acceptable. `pointer` is a JSON pointer into the body ("" is the whole body); `parameter`
    names a query, path, header or cookie value instead, and `location` says which of these."""

    model_config = ConfigDict(frozen=True)

    pointer: str | None = None
    code: str
    message: str
    parameter: str | None = None
    location: str | None = None


class Problem(HTTPException):
    """Raise to answer with a problem. `code` is the stable end of its `type` URI; `detail` is for people and must hold
    nothing the caller may not see; `extra` adds members to the document."""

    def __init__(
        self,
        status: int,
        code: str,
        title: str | None = None,
        *,
        detail: str | None = None,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status_code=status, detail=detail, headers=dict(headers or {}))
        known = problem_type(code)
        self.detail = detail or ""  # the framework would repeat the status phrase
        self.code = code
        self.title = title or (known.title if known else HTTPStatus(status).phrase)
        if known is None:
            note_raised(code, status, self.title)
        self.errors, self.extra = tuple(errors), dict(extra or {})

    def __str__(self) -> str:
        return f"{self.status_code} {self.code}"

    def document(self) -> dict[str, Any]:
        """The problem details, with the trace id that finds this request in the logs."""
        trace = tracing.current()
        body: dict[str, Any] = {
            **self.extra,
            "type": f"/problems/{self.code}",
            "title": self.title,
            "status": self.status_code,
        }
        if self.detail:
            body["detail"] = self.detail
        if trace:
            body |= {"instance": f"urn:trace:{trace.trace_id}", "trace_id": trace.trace_id}
        if request_id := tracing.request_id():
            body["request_id"] = request_id
        if self.errors:
            body["errors"] = [error.model_dump(exclude_none=True) for error in self.errors]
        return body

    def response(self) -> Response:
        return Response(
            # Names of fields come from the client: halves of surrogate pairs among them have no bytes.
            json.dumps(self.document(), ensure_ascii=False).encode(errors="replace"),
            status_code=self.status_code,
            headers={**(self.headers or {})},
            media_type=MEDIA_TYPE,
        )


def internal() -> Problem:
    """The answer to an error of our own: it says nothing of what happened."""
    return Problem(500, "internal")


def too_large(limit: int) -> Problem:
    """The answer to a body beyond `limit` bytes."""
    return Problem(
        413,
        "body-too-large",
        detail=f"At most {limit} bytes are accepted here.",
        headers={"Connection": "close"},
        extra={"limit": limit},
    )


def too_slow() -> Problem:
    """The answer to a body that does not come."""
    return Problem(408, "too-slow", headers={"Connection": "close"})


def unavailable(error: Exception | None = None, after_s: int = RETRY_AFTER_S) -> Problem:
    """The answer while something we need is away, or when `error` says so, while there is no place in the queue for it."""
    code = "crowded" if isinstance(error, Crowded) else "unavailable"
    return Problem(503, code, headers={"Retry-After": str(after_s)})


def parked(keys: Sequence[str]) -> Problem:
    """The answer to a write on parked keys."""
    return Problem(
        409,
        "parked",
        detail=f"Events of {', '.join(keys)} wait for repair; nothing may change until they were replayed.",
        extra={"keys": list(keys)},
    )


def from_http(error: StarletteHTTPException) -> Problem:
    """The problem behind a bare HTTP error. Its own detail is dropped: frameworks put internals there."""
    if isinstance(error, Problem):
        return error
    code = BY_STATUS.get(error.status_code)
    if code is None:
        code = "bad-request" if error.status_code < 500 else "internal"
    return Problem(error.status_code, code, headers=error.headers)


def install(app: FastAPI, methods_of: Callable[[str], Sequence[str]]) -> None:
    """Let every error of an app be answered as a problem; `methods_of` tells which methods an address answers."""

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, StarletteHTTPException)
        problem = from_http(error)
        if problem.status_code == 405:  # the framework names the methods of the first route that it met
            problem.headers = {"Allow": ", ".join(methods_of(request.scope["path"]))}
        return answer(request, problem)

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(request, from_validation(request, error))

    async def key_parked(request: Request, error: Exception) -> Response:
        assert isinstance(error, KeyParked)
        return answer(request, parked(error.keys))

    async def transient(request: Request, error: Exception) -> Response:
        return answer(request, unavailable(error))

    app.add_exception_handler(StarletteHTTPException, http)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(KeyParked, key_parked)
    app.add_exception_handler(Transient, transient)


def answer(request: Request, problem: Problem) -> Response:
    """The response of a problem; its code is left in the scope for the access log and the metrics."""
    request.scope["expedite_problem"] = problem.code
    return problem.response()


def from_validation(request: Request, error: RequestValidationError) -> Problem:
    """The problem behind FastAPI's validation error: 400 for what is no JSON, 415 for another media type, else 422 with
    one entry per field, none of which repeats what was sent."""
    details = error.errors()
    broken = next((d for d in details if d["type"] == "json_invalid"), None)
    if broken is not None:
        position = broken["loc"][-1]
        where = f"The body stops being JSON at character {position}." if isinstance(position, int) else None
        return Problem(400, "malformed-json", detail=where)
    if media_type_refused(request, details):
        return Problem(415, "unsupported-media-type", detail="Send the body as application/json.")
    return Problem(422, "invalid", errors=[FieldProblem(**f) for f in field_problems(details, error.body)])
