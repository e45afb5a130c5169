"""Exceptions as log fields that hold no personal data.

pydantic repeats the input in its texts and database drivers repeat parameters, so of those only the shape is told."""

from __future__ import annotations

import traceback
from typing import Any

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

_TEXT = 500
_FRAMES = 25


def message_of(error: BaseException) -> str:
    """What may be logged of an exception's text."""
    if isinstance(error, ValidationError):
        fields = [
            f"{'.'.join(str(part) for part in detail['loc'])}: {detail['type']}"
            for detail in error.errors(include_input=False, include_url=False, include_context=False)[:10]
        ]
        return f"{error.title}: {'; '.join(fields)}"
    if isinstance(error, SQLAlchemyError):
        original = getattr(error, "orig", None)
        state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
        return " ".join(str(part) for part in (type(original).__name__ if original else "", state or "") if part)
    return str(error)[:_TEXT]


def describe(error: BaseException) -> dict[str, Any]:
    """Log fields: type, text and where it happened, with what caused it."""
    fields: dict[str, Any] = {
        "error": type(error).__name__,
        "error_text": message_of(error),
        "frames": [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)][-_FRAMES:],
    }
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        fields["caused_by"] = f"{type(cause).__name__}: {message_of(cause)}"
    if isinstance(error, BaseExceptionGroup):
        fields["parts"] = [f"{type(part).__name__}: {message_of(part)}" for part in error.exceptions[:10]]
    return fields
