"""Cells of tables that a spreadsheet may open: what people wrote stays what they wrote, and is never a formula."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER = frozenset("0123456789.")


def cell(value: object) -> str:
    """A value as the text of a CSV cell. Text that a spreadsheet would calculate (OWASP, CSV injection) gets an apostrophe in
    front; numbers of ours, negative ones too, are left as they are.

    >>> cell("=1+1"), cell(-3), cell("-3.50"), cell(None)
    ("'=1+1", '-3', '-3.50', '')
    """
    if value is None:
        return ""
    text = str(value)
    if not text.startswith(_FORMULA):
        return text
    if text[0] in "+-" and text[1:] and set(text[1:]) <= _NUMBER and text.count(".") <= 1:
        return text
    return "'" + text
