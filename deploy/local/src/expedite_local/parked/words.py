"""Parked events in words, safe for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

REASON_WIDTH = 60


def safe(text: object) -> str:
    """A text without characters that could steer a terminal: what is parked may come from anybody."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def short(text: str | None) -> str:
    """The beginning of a reason."""
    words = safe(text or "the event before it was dropped: retry")
    return words if len(words) <= REASON_WIDTH else words[: REASON_WIDTH - 1] + "…"


def moment(text: str | None, now: datetime | None = None) -> str:
    """A time as people compare it: how long ago, or in how long."""
    if text is None:
        return "-"
    seconds = (datetime.fromisoformat(text) - (now or datetime.now(UTC))).total_seconds()
    size, unit = next(
        (n, u) for n, u in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")) if abs(seconds) >= n or n == 1
    )
    return f"in {seconds / size:.0f} {unit}" if seconds > 0 else f"{-seconds / size:.0f} {unit} ago"


def columns(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An aligned table."""
    cells = [tuple(head), *(tuple(safe(cell) for cell in row) for row in rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(head))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def keys(found: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """The list of keys that wait."""
    head = ("KEY", "SERVICE", "FIRST EVENT", "REASON", "BEHIND", "TRIED", "SINCE", "NEXT TRY")
    return columns(
        head,
        (
            (
                item["key"], service, item["topic"], short(item["reason"]), item["behind"], item["attempts"],
                moment(item["since"]), moment(item["next_try"]) if item["next_try"] else "by you",
            )
            for service, item in found
        ),
    )  # fmt: skip


def dropped(found: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """The list of dropped events."""
    return columns(
        ("EVENT", "KEY", "SERVICE", "TOPIC", "DROPPED", "BY", "WHY"),
        (
            (i["event_id"], i["key"], s, i["topic"], moment(i["dropped_at"]), i["dropped_by"], i["why"])
            for s, i in found
        ),
    )


def history(found: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """The audit trail."""
    return columns(
        ("AT", "SERVICE", "KEY", "DID", "EVENT", "BY", "WHY", "OUTCOME"),
        (
            (
                i["at"][:19], s, i["key"], i["action"], (i["event_id"] or "-")[:13],
                f"{i['person']} ({i['client']})" if i["person"] else i["client"], i["why"] or "-",
                i["outcome"] or f"{(i['before'] or '')[:8]} -> {(i['after'] or '')[:8]}",
            )
            for s, i in found
        ),
    )  # fmt: skip


def event(item: dict[str, Any]) -> str:
    """One parked event with everything about it."""
    reason = item["reason"] or ("waits behind an earlier one" if not item["attempts"] else "")
    facts = [
        ("event", item["event_id"]), ("topic", item["topic"]), ("reason", reason), ("trouble", item["trouble"]),
        ("tried", f"{item['attempts']} times, parked {moment(item['parked_at'])}"),
        ("next try", moment(item["next_try"]) if item["next_try"] else None),
        ("repaired", item["repaired"] and f"entry {item['repaired']} of the audit trail"),
    ]  # fmt: skip
    lines = [f"  {name:<9} {safe(text)}" for name, text in facts if text]
    lines += [f"  {safe(name)}: {safe(text)}" for name, text in item["headers"].items()]
    if "original" in item:
        lines.append(f"  before its first edit: {safe(next(iter(item['original'].values())))}")
    if item["value"] is not None:
        return "\n".join((*lines, *(f"  {safe(line)}" for line in pretty(item["value"]).split("\n"))))
    if "raw" in item:
        ((kind, text),) = item["raw"].items()
        return "\n".join((*lines, f"  value ({kind}): {safe(text)}"))
    return "\n".join((*lines, f"  value: {item['bytes']} bytes that are no JSON; --reveal shows them"))


def pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
