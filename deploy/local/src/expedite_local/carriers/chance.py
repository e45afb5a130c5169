"""Seeded chance without state: the same question always has the same answer, also after a restart."""

from __future__ import annotations

import hashlib


def digest(*parts: object) -> bytes:
    """Sixteen bytes."""
    return hashlib.blake2b("\x1f".join([str(part) for part in parts]).encode(), digest_size=16).digest()


def draw(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts only."""
    return int.from_bytes(digest(*parts)[:7], "big") / 2**56


def short_hash(*parts: object) -> str:
    """Twelve hexadecimal digits."""
    return digest(*parts)[:6].hex()


def digits(count: int, drawn: bytes) -> str:
    """A decimal number of `count` digits of a digest."""
    return str(int.from_bytes(drawn, "big") % 10**count).zfill(count)
