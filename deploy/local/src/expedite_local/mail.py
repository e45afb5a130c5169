"""A real SMTP server for a local system: every message the notifier sends is kept and can be looked at.

python -m expedite_local.mail --port 8025 --folder .expedite/mail

It speaks what senders of today speak (RFC 5321, 2920 pipelining, 6531 international addresses) and appends each message
to an mbox of the hour, `2026-11-25T15.mbox`, which mail readers open: `mutt -Rf FILE`. A file per message would cost more
than all else about it.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import re
import signal
import time
from pathlib import Path

_PATH = re.compile(rb"(?:MAIL FROM|RCPT TO):\s*<([^<>\s]*)>", re.IGNORECASE)
_FROM = re.compile(rb"^(>*From )", re.MULTILINE)
_LARGEST = 32 * 1024 * 1024
_GREETING = b"220 expedite.example takes mail\r\n"
_OFFERS = b"250-expedite.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE %d\r\n" % _LARGEST


class Keeper:
    """Appends messages to the mbox of the hour, each with one write: a message is in it whole or not at all."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._hour, self._file = folder, "", -1

    def keep(self, content: bytes, sender: bytes) -> None:
        """Keep one message; with the end of this call it survives the end of this process."""
        now = time.gmtime()
        hour = time.strftime("%Y-%m-%dT%H", now)
        if hour != self._hour:
            self.close()
            self._file = os.open(self._folder / f"{hour}.mbox", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._hour = hour
        # mboxrd: a line of a message that looks like the beginning of one gets a mark, which readers take off.
        body = content.replace(b"\r\n", b"\n").rstrip(b"\n")
        if b"From " in body:
            body = _FROM.sub(rb">\1", body)
        head = b"From %s %s\n" % (sender or b"MAILER-DAEMON", time.asctime(now).encode())
        whole = head + body + b"\n\n"
        written = os.write(self._file, whole)
        if written < len(whole):  # the disk is full: leave no half
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._hour, self._file = "", -1


class Session(asyncio.Protocol):
    """One connection: commands and messages in, replies out, together when they came together."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._transport: asyncio.Transport
        self._came = bytearray()
        self._sender: bytes | None = None
        self._recipients = 0
        self._in_data = False
        self._leaving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(_GREETING)

    def data_received(self, data: bytes) -> None:
        self._came += data
        replies = bytearray()
        while (reply := self._next()) is not None:
            replies += reply
        if replies:
            self._transport.write(bytes(replies))
        if self._leaving:
            self._transport.close()
        elif len(self._came) > _LARGEST:
            self._transport.write(b"552 too large\r\n")
            self._transport.close()

    def _next(self) -> bytes | None:
        """The reply to the next thing that has come whole; None when nothing has."""
        if self._in_data:
            if self._came.startswith(b".\r\n"):  # an empty message: the end of the line before was that of DATA
                end, length = 0, 3
            elif (end := self._came.find(b"\r\n.\r\n")) >= 0:
                end, length = end + 2, 3
            else:
                return None
            content = bytes(self._came[:end])
            del self._came[: end + length]
            return self._message(content)
        end = self._came.find(b"\r\n")
        if end < 0:
            return None
        line = bytes(self._came[:end])
        del self._came[: end + 2]
        return self._command(line)

    def _message(self, content: bytes) -> bytes:
        sender = self._sender or b""
        self._reset()
        stuffed = content[1:] if content.startswith(b"..") else content
        try:
            self._keeper.keep(stuffed.replace(b"\r\n..", b"\r\n."), sender)
        except OSError as error:
            return b"451 it cannot be kept now: %s\r\n" % (error.strerror or "").encode()
        return b"250 kept\r\n"

    def _reset(self) -> None:
        self._sender, self._recipients, self._in_data = None, 0, False

    def _command(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"MAIL" or verb == b"RCPT":
            return self._path(verb, line)
        if verb == b"DATA":
            if not self._recipients:
                return b"503 to whom?\r\n"
            self._in_data = True
            return b"354 go on, end with a dot\r\n"
        if verb in (b"EHLO", b"HELO"):
            self._reset()
            return _OFFERS if verb == b"EHLO" else b"250 expedite.example\r\n"
        if verb == b"RSET":
            self._reset()
        if verb in (b"RSET", b"NOOP"):
            return b"250 fine\r\n"
        if verb == b"QUIT":
            self._leaving = True
            return b"221 bye\r\n"
        return b"502 not here\r\n"

    def _path(self, verb: bytes, line: bytes) -> bytes:
        match = _PATH.match(line)
        if match is None:
            return b"501 which address?\r\n"
        if verb == b"MAIL":
            if self._sender is not None:
                return b"503 one after the other\r\n"
            self._sender = match.group(1)
        else:
            if self._sender is None:
                return b"503 from whom?\r\n"
            self._recipients += 1
        return b"250 fine\r\n"


async def serve(port: int, folder: Path, host: str = "127.0.0.1") -> None:
    """Take mail until SIGTERM or SIGINT."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    keeper = Keeper(folder)
    server = await loop.create_server(lambda: Session(keeper), host, port)
    try:
        await stop.wait()
    finally:
        server.close()
        keeper.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="expedite-mail", description="Keeps the mail of a local system.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    asyncio.run(serve(args.port, args.folder))


if __name__ == "__main__":
    main()
