"""One message per order, kind, occasion, audience, recipient (G5, I3): decided once, sent once, announced once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from expedite_local.audit.databases import CHUNK, Snapshot
from expedite_local.audit.finding import Look
from notifier.domain.telling import EMAIL
from notifier.store import MESSAGES, Message

_MESSAGE_ID = re.compile(rb"message-id:\s*<?([^@>\s]+)", re.IGNORECASE)
_ATTEMPTS = "SELECT subject, attempts FROM effect WHERE kind = $1 AND subject = ANY($2::text[])"


def mailed(folder: Path) -> Counter[str] | None:
    """How often each message arrived in the mboxes of a folder, by the local part of its Message-ID; None when there is no
    such folder. Only heads are looked into: parsing every body would take longer than the rest of the audit."""
    if not folder.exists():
        return None
    found: Counter[str] = Counter()
    for path in sorted(folder.glob("*.mbox")):
        with path.open("rb") as stream:
            name, in_head = "", False
            for number, line in enumerate(stream, 1):
                if line.startswith(b"From "):  # in a text such a line has a mark
                    name, in_head = f"(no Message-ID: {path.name} line {number})", True
                elif in_head and not line.strip():
                    found[name] += 1
                    in_head = False
                elif in_head and (match := _MESSAGE_ID.match(line)):
                    name = match.group(1).decode("ascii", "replace")
    return found


async def messages(
    shot: Snapshot, arrived: Mapping[str, int] | None, notified: Mapping[str, list[str]], *, rest: bool
) -> Look:
    """Compare the notifier's rows with what arrived at the mail server and what was announced."""
    look = Look("messages", "messages")
    known: dict[str, str] = {}  # message id -> status
    said: dict[tuple[str, ...], str] = {}
    after = ""
    while True:
        page = await shot.find(MESSAGES, {"message_id__gt": after}, order_by=("message_id",), limit=CHUNK)
        for message in page:
            known[message.message_id] = message.status
            _row(look, message, said, arrived, notified, rest=rest)
        if len(page) < CHUNK:
            break
        after = page[-1].message_id
    look.count = len(known)
    if arrived is not None:
        await _copies(look, shot, {name: n for name, n in arrived.items() if n > 1 and known.get(name) == "sent"})
    _strangers(look, known, arrived or {}, notified, rest=rest)
    if arrived is None:
        look.note("there is no mail here: what arrived was not looked at")
    failed = sum(status == "failed" for status in known.values())
    if failed:
        look.note(f"{failed:,} were refused by the mail server for good")
    return look


def _row(
    look: Look,
    message: Message,
    said: dict[tuple[str, ...], str],
    arrived: Mapping[str, int] | None,
    notified: Mapping[str, list[str]],
    *,
    rest: bool,
) -> None:
    name = message.message_id
    occasion = (message.order_id, message.kind, message.occasion, message.audience, message.to)
    first = said.setdefault(occasion, name)
    if first != name:
        look.wrong(f"{name} says what {first} says: {' '.join(occasion[:4])}")
    if message.status == "queued" and rest:
        look.wrong(f"{name} was never sent")
    if message.status != "sent":
        return
    if arrived is not None and name not in arrived:
        look.wrong(f"{name} counts as sent but never arrived")
    announced = notified.get(name, [])
    if not announced and rest:
        look.wrong(f"{name} was sent but no CustomerNotified says so")
    elif len(announced) > 1:
        look.wrong(f"{name} was announced {len(announced)} times (events {', '.join(announced[:3])})")


async def _copies(look: Look, shot: Snapshot, copies: Mapping[str, int]) -> None:
    """A message sent again after a crash is recognisable by its Message-ID and no fault; the effect, not the message,
    knows every attempt: the result of another one may have come home first."""
    if not copies:
        return
    attempts = {row["subject"]: row["attempts"] for row in await shot.rows(_ATTEMPTS, EMAIL, list(copies))}
    again = {name: n for name, n in copies.items() if n <= attempts.get(name, 1)}
    for name in copies.keys() - again.keys():
        look.wrong(f"{name} arrived {copies[name]} times in {attempts.get(name, 1)} attempts")
    if again:
        look.note(f"{len(again):,} arrived again after another attempt, under the same Message-ID")


def _strangers(
    look: Look, known: Mapping[str, str], arrived: Mapping[str, int], notified: Mapping[str, list[str]], *, rest: bool
) -> None:
    """What arrived or was announced without a row that says it was sent."""
    for name in _unknown(arrived, known):
        look.wrong(f"{name} arrived but nobody decided to send it")
    for name in _unknown(notified, known):
        look.wrong(f"{name} was announced but nobody decided to send it (event {notified[name][0]})")
    if rest:
        for name, events in notified.items():
            if known.get(name) not in (None, "sent"):
                look.wrong(f"{name} was announced but counts as {known[name]} (event {events[0]})")


def _unknown(names: Iterable[str], known: Mapping[str, str]) -> list[str]:
    return sorted(name for name in names if name not in known)
