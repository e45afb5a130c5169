"""A real SMTP server for a local system: every message the notifier sends is kept as a file and can be looked at.

python -m expedite_local.mail --port 8025 --folder .expedite/mail
"""

from __future__ import annotations

import argparse
import asyncio
import mailbox
import signal
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session


class Keeper:
    """Takes every message and keeps it in a Maildir before it says yes."""

    def __init__(self, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._box = mailbox.Maildir(folder, create=True)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep one message (aiosmtpd's hook)."""
        content = envelope.content
        raw = content if isinstance(content, bytes) else str(content).encode()
        await asyncio.to_thread(self._box.add, raw)
        return "250 kept"


async def serve(port: int, folder: Path, host: str = "127.0.0.1") -> None:
    """Take mail until SIGTERM or SIGINT."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    keeper = Keeper(folder)
    server = await loop.create_server(
        lambda: SMTP(keeper, hostname="expedite.example", enable_SMTPUTF8=True), host, port
    )
    async with server:
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="expedite-mail", description="Keeps the mail of a local system.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    asyncio.run(serve(args.port, args.folder))


if __name__ == "__main__":
    main()
