"""One SMTP connection that stays open (RFC 5321) and sends commands together where the server allows it (RFC 2920): a
message then costs one round trip, and the next one's envelope travels with the end of this one."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from notifier.mime import Mail
from notifier.settings import NotifierSettings


class ConnectionLost(Exception):
    """The server went away, or said that it will. `begun`: a message was given to it and not answered."""

    def __init__(self, why: str, *, begun: bool = False) -> None:
        super().__init__(why)
        self.begun = begun


class Refused(Exception):
    """The server said no. `final`: it will say no again."""

    def __init__(self, code: int, text: str, *, final: bool) -> None:
        super().__init__(f"{code} {text}")
        self.code, self.final = code, final


@dataclass(frozen=True, slots=True)
class Reply:
    code: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.lines)

    @property
    def good(self) -> bool:
        return 200 <= self.code < 400

    def demand(self) -> Reply:
        """This reply, or `Refused` for now: what is wrong before a message is said is not the message's fault."""
        if not self.good:
            raise Refused(self.code, self.text, final=False)
        return self


class Connection:
    """An open, greeted and, where asked for, encrypted and authenticated connection."""

    def __init__(self, settings: NotifierSettings) -> None:
        self._settings = settings
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._offers: dict[str, str] = {}
        self._dirty = False  # a transaction was begun and refused: RSET before the next

    @property
    def open(self) -> bool:
        return self._writer is not None and not self._writer.is_closing() and not self._reader.at_eof()

    async def connect(self) -> None:
        """Raises `Refused`, `ConnectionLost` or `OSError`, of which running out of time is one."""
        asked = self._settings
        try:
            async with asyncio.timeout(asked.smtp_timeout_s):
                self._reader, self._writer = await asyncio.open_connection(asked.smtp_host, asked.smtp_port)
                (await self._reply()).demand()
                await self._greet()
                if asked.smtp_starttls:
                    (await self._command("STARTTLS")).demand()
                    await self._writer.start_tls(ssl.create_default_context(), server_hostname=asked.smtp_host)
                    await self._greet()
                if asked.smtp_user:
                    await self._log_in(asked.smtp_user, asked.smtp_password or "")
        except BaseException:
            self.close()
            raise
        self._dirty = False

    async def _greet(self) -> None:
        reply = (await self._command(f"EHLO {self._settings.message_domain}")).demand()
        offers = (line.partition(" ") for line in reply.lines[1:])
        self._offers = {name.upper(): rest.upper() for name, _, rest in offers}

    async def _log_in(self, user: str, password: str) -> None:
        if "PLAIN" in self._offers.get("AUTH", "").split():
            secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
            (await self._command(f"AUTH PLAIN {secret}")).demand()
            return
        (await self._command("AUTH LOGIN")).demand()
        for word in (user, password):
            (await self._command(base64.b64encode(word.encode()).decode())).demand()

    async def _command(self, line: str) -> Reply:
        self._write(line.encode() + b"\r\n")
        return await self._reply()

    def _write(self, raw: bytes) -> None:
        if self._writer is None or self._writer.is_closing():
            raise ConnectionLost("the connection is closed")
        self._writer.write(raw)

    async def _reply(self) -> Reply:
        lines: list[str] = []
        while True:
            line = await self._reader.readline()
            if not line.endswith(b"\n") or not line[:3].isdigit():
                raise ConnectionLost("the server hung up" if not line else f"the server said {line[:80]!r}")
            lines.append(line[4:].decode("utf-8", "replace").strip())
            if line[3:4] != b"-":
                if line[:3] == b"421":
                    raise ConnectionLost(f"421 {' '.join(lines)}")
                return Reply(int(line[:3]), tuple(lines))

    async def send(self, mails: Sequence[Mail], outcomes: list[Exception | None]) -> None:
        """Send messages one after the other. `outcomes` grows by one for each that was answered, in order: None when the
        server took it, else `Refused`. Raises `ConnectionLost`; the connection is closed then."""
        rest = b""  # the content of the message before: it travels with the next envelope
        try:
            for mail in mails:
                if mail.utf8 and "SMTPUTF8" not in self._offers:
                    rest = await self._finish(rest, outcomes)
                    outcomes.append(Refused(553, "the server takes no international addresses", final=True))
                    continue
                reset, self._dirty = self._dirty, False
                replies = await self._exchange([rest] * bool(rest) + [b"RSET\r\n"] * reset + _envelope(mail))
                if rest:
                    outcomes.append(_outcome(replies[0]))
                    rest = b""
                envelope = replies[-3:]
                refusal = next((_refusal(n, reply, mail) for n, reply in enumerate(envelope) if not reply.good), None)
                if refusal is None:
                    rest = mail.content.replace(b"\r\n.", b"\r\n..") + b".\r\n"
                    continue
                if envelope[2].good:  # it would take a message for nobody: let it be empty
                    await self._exchange([b".\r\n"])
                self._dirty = True
                outcomes.append(refusal)
            await self._finish(rest, outcomes)
        except (ConnectionLost, OSError) as error:
            self.close()
            raise ConnectionLost(f"{type(error).__name__}: {error}", begun=bool(rest)) from error
        except BaseException:
            self.close()
            raise

    async def _finish(self, rest: bytes, outcomes: list[Exception | None]) -> bytes:
        """Give the server the content that is still to be given. Nothing is, afterwards."""
        if rest:
            outcomes.append(_outcome((await self._exchange([rest]))[0]))
        return b""

    async def _exchange(self, commands: Sequence[bytes]) -> list[Reply]:
        """Give commands, together if the server takes them so, and read a reply to each."""
        async with asyncio.timeout(self._settings.smtp_timeout_s):
            if "PIPELINING" in self._offers:
                self._write(b"".join(commands))
                return [await self._reply() for _ in commands]
            replies = []
            for command in commands:
                self._write(command)
                replies.append(await self._reply())
            return replies

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _envelope(mail: Mail) -> list[bytes]:
    utf8 = " SMTPUTF8" if mail.utf8 else ""
    return [f"MAIL FROM:<{mail.sender}>{utf8}\r\n".encode(), f"RCPT TO:<{mail.recipient}>\r\n".encode(), b"DATA\r\n"]


def _outcome(reply: Reply) -> Refused | None:
    return None if reply.good else Refused(reply.code, reply.text, final=reply.code >= 500)


def _refusal(number: int, reply: Reply, mail: Mail) -> Refused:
    """Why MAIL (0), RCPT (1) or DATA (2) was refused. A refused sender is our mistake, not the message's: it is tried
    again when it was corrected."""
    ours = number == 0 and not mail.utf8
    return Refused(reply.code, reply.text, final=reply.code >= 500 and not ours)
