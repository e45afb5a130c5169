"""Every problem a client can meet, by code: the code is the stable end of the `type` URI `/problems/<code>`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class ProblemType:
    """What a problem means and what to do about it: the page behind its `type` URI."""

    code: str
    status: int
    title: str
    meaning: str
    remedy: str


_TYPES: dict[str, ProblemType] = {}


def register_problem(problem_type: ProblemType) -> ProblemType:
    """Add a problem to the pages. A service registers its own codes when it is imported. A code has one status
    everywhere (ValueError); two services may explain it in their own words, each on its own pages, and where tests load
    several services into one process the first explanation stands."""
    if not _CODE.fullmatch(problem_type.code):
        raise ValueError(f"problem code {problem_type.code!r} must be lower-case words joined by hyphens")
    known = _TYPES.setdefault(problem_type.code, problem_type)
    if known.status != problem_type.status:
        raise ValueError(f"problem code {problem_type.code!r} already has the status {known.status}")
    return problem_type


_RAISED: dict[str, ProblemType] = {}


def note_raised(code: str, status: int, title: str) -> None:
    """Remember a code that was answered without being registered, so that its `type` URI leads somewhere all the same."""
    if code not in _TYPES and _CODE.fullmatch(code) and len(_RAISED) < 1000:
        see = "See `detail` and `errors` of the answer."
        _RAISED.setdefault(code, ProblemType(code, status, title, see, see))


def problem_type(code: str) -> ProblemType | None:
    """What a code means; None for a code nobody registered or answered."""
    return _TYPES.get(code) or _RAISED.get(code)


def problem_types() -> tuple[ProblemType, ...]:
    """All problems, by code."""
    return tuple(_TYPES[code] for code in sorted(_TYPES))


for _known in (
    ProblemType("bad-request", 400, "The request cannot be understood",
                "The request line, a header or the framing of the body is broken.", "Send a well-formed request."),
    ProblemType("malformed-json", 400, "The body is not valid JSON",
                "The body could not be read as JSON, or it holds NaN or Infinity.",
                "Check the body with a JSON parser at the position named; send UTF-8."),
    ProblemType("idempotency-key-missing", 400, "An Idempotency-Key is needed",
                "Without a key a repeated request could do its work twice.",
                "Send a new random Idempotency-Key with each new request and the same one with each retry of it."),
    ProblemType("idempotency-key-malformed", 400, "The Idempotency-Key is not usable",
                "The key is too short, too long or holds characters that are not printable ASCII.",
                "Send 16 to 255 printable ASCII characters, such as a UUID."),
    ProblemType("unauthenticated", 401, "Who are you?",
                "The request carries no key or token, or one that is unknown or has expired.",
                "Send `Authorization: Bearer <key or token>` or `X-Api-Key: <key>`; log in again when a token expired."),
    ProblemType("bad-signature", 401, "The signature is not valid",
                "The signature does not fit the body, is missing or is too old.",
                "Sign the raw bytes of the body with the secret agreed for this endpoint; check your clock."),
    ProblemType("missing-scope", 403, "This identity may not do that",
                "The key or token lacks a scope that this operation needs; the scope is named.",
                "Use an identity with that scope, or ask for it to be granted."),
    ProblemType("not-for-channels", 403, "This is not for clients of single channels",
                "What is shown or changed here belongs to all channels.",
                "Use the routes of order-intake; they show what belongs to your channels."),
    ProblemType("not-found", 404, "Nothing is here",
                "No resource has this address.", "Check the address against /openapi.json."),
    ProblemType("unknown-order", 404, "No such order",
                "No order with this number is known here.",
                "Check the number. An order accepted a moment ago may not have arrived at this service yet."),
    ProblemType("unknown-link", 404, "This link is not valid",
                "The signed link was changed, cut off or made for another purpose.",
                "Use the link of the newest message about your order."),
    ProblemType("not-parked", 404, "Nothing is parked under this key",
                "The key was repaired already, or it never needed to be.", "See /admin/parked for what waits."),
    ProblemType("not-dropped", 404, "No such event was dropped",
                "The event was restored already, or nobody dropped it.", "See /admin/dropped for what was."),
    ProblemType("method-not-allowed", 405, "This address has no such method",
                "The resource exists but does not answer this method; `Allow` names those it does.",
                "Use a method named in `Allow`."),
    ProblemType("parked", 409, "This order waits for repair",
                "An event of this order could not be processed and waits for an operator; nothing may change until then.",
                "Try again after the event was decided; an operator finds it under /admin/parked."),
    ProblemType("too-late", 409, "It is too late for that",
                "What was asked would have been possible earlier; the reason is named.", "See the order's present state."),
    ProblemType("too-slow", 408, "The request came too slowly",
                "Its headers or its body were not complete in time.",
                "Send the request again over a better connection, or a smaller one."),
    ProblemType("conflict", 409, "That contradicts the present state",
                "The resource is in a state that does not allow this.", "Read the resource again and decide anew."),
    ProblemType("changed-meanwhile", 412, "Somebody changed it in between",
                "What you looked at is not what is there now.", "Look at it again and decide anew."),
    ProblemType("body-too-large", 413, "The body is too large",
                "The body is larger than this endpoint accepts; the limit is named.", "Send less at a time."),
    ProblemType("unsupported-media-type", 415, "This media type is not accepted",
                "The endpoint cannot read bodies of this Content-Type.", "Send `Content-Type: application/json`."),
    ProblemType("invalid", 422, "Some fields are not acceptable",
                "The request is well-formed but fields break their rules; each is named by a JSON pointer.",
                "Correct the fields named in `errors` and send the request again."),
    ProblemType("idempotency-key-reused", 422, "This Idempotency-Key was used for another request",
                "The key belongs to an earlier request with other content.",
                "Use a new key for a new request; repeat a request only with exactly the same body."),
    ProblemType("precondition-required", 428, "Say what you looked at",
                "A change that two people might make at once needs `If-Match` with the tag of what was looked at.",
                "Send the `tag` of the event in `If-Match`."),
    ProblemType("too-many-requests", 429, "Too many requests",
                "The client sends faster than it may.", "Wait as long as `Retry-After` says."),
    ProblemType("headers-too-large", 431, "The headers are too large",
                "There are too many headers or they are too long.", "Send fewer and shorter headers."),
    ProblemType("internal", 500, "Something went wrong here",
                "The service met an error of its own. Nothing about it is told here; the trace id finds it in the logs.",
                "Try again with the same Idempotency-Key; report the trace id if it stays."),
    ProblemType("crowded", 503, "Too many requests wait here already",
                "The service takes in what it can; this request was not taken, nothing was changed.",
                "Try again after `Retry-After` seconds, with the same Idempotency-Key or reference."),
    ProblemType("unavailable", 503, "Not possible at the moment",
                "Something this service needs is away; nothing was changed.", "Try again after `Retry-After` seconds."),
):  # fmt: skip
    register_problem(_known)

BY_STATUS = {
    400: "bad-request", 401: "unauthenticated", 403: "missing-scope", 404: "not-found", 405: "method-not-allowed",
    408: "too-slow", 409: "conflict", 412: "changed-meanwhile", 413: "body-too-large", 415: "unsupported-media-type",
    422: "invalid", 428: "precondition-required", 429: "too-many-requests", 431: "headers-too-large", 500: "internal",
    503: "unavailable",
}  # fmt: skip
"""The code of a bare HTTP error that carries none."""
