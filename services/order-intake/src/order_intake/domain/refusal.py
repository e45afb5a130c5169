"""The answer "no" to a person: a stable code, a sentence, and the field it is about."""

from __future__ import annotations


class Refused(Exception):
    """What was asked cannot be done in the order's present state. `pointer` names the field when one is wrong."""

    def __init__(self, code: str, message: str, pointer: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.pointer = code, message, pointer
