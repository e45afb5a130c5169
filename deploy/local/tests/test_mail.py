"""The local mail server keeps what a sender of today says, and what it keeps a mail reader reads."""

from __future__ import annotations

import asyncio
import mailbox
import smtplib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from expedite_local.mail import Keeper, Session

Talk = Callable[[bytes], "asyncio.Future[bytes]"]


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    keeper = Keeper(tmp_path / "mail")
    server = await asyncio.get_running_loop().create_server(lambda: Session(keeper), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    keeper.close()


def kept(tmp_path: Path) -> list[mailbox.mboxMessage]:
    return [mail for path in sorted((tmp_path / "mail").glob("*.mbox")) for mail in mailbox.mbox(path, create=False)]


async def test_the_standard_library_delivers_to_it(port: int, tmp_path: Path) -> None:
    """G5: dots, "From " lines and two messages on one connection."""

    def deliver() -> None:
        with smtplib.SMTP("127.0.0.1", port) as smtp:
            smtp.sendmail("a@x.test", ["b@y.test"], "Message-ID: <1@x>\n\n.\n..two\nFrom me\n>From you\n")
            smtp.sendmail("a@x.test", ["b@y.test"], "Message-ID: <2@x>\n\nlast\n")

    await asyncio.to_thread(deliver)
    first, second = kept(tmp_path)
    assert (first["Message-ID"], second["Message-ID"]) == ("<1@x>", "<2@x>")
    assert first.get_payload() == ".\n..two\n>From me\n>>From you\n"  # as mboxrd keeps them


async def say(port: int, *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(0.01)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


def codes(answer: bytes) -> list[bytes]:
    return [line[:3] for line in answer.splitlines() if line[3:4] == b" "]


async def test_commands_may_come_together_and_a_message_in_pieces(port: int, tmp_path: Path) -> None:
    """RFC 2920: the next envelope travels with the end of the message before."""
    envelope = b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n"
    answer = await say(
        port, b"EHLO x\r\n" + envelope, b"Message-ID: <1@x>\r\n\r\nhel", b"lo\r\n.", b"\r\n" + envelope,
        b"Message-ID: <2@x>\r\n\r\n..\r\n.\r\nQUIT\r\n",
    )  # fmt: skip
    assert codes(answer) == [b"220", b"250", b"250", b"250", b"354", b"250", b"250", b"250", b"354", b"250", b"221"]
    assert b"PIPELINING" in answer
    assert [mail.get_payload() for mail in kept(tmp_path)] == ["hello\n", ".\n"]


async def test_what_makes_no_sense_is_refused_and_the_next_message_is_taken(port: int, tmp_path: Path) -> None:
    answer = await say(
        port, b"DATA\r\nRCPT TO:<b@y.test>\r\nMAIL FROM:nobody\r\nFOO\r\nMAIL FROM:<a@x.test>\r\nMAIL FROM:<a@x.test>\r\nRSET\r\n"
        b"MAIL FROM:<>\r\nRCPT TO:<b@y.test>\r\nDATA\r\nSubject: x\r\n\r\n.\r\nNOOP\r\nQUIT\r\n",
    )  # fmt: skip
    assert codes(answer) == [
        b"220", b"503", b"503", b"501", b"502", b"250", b"503", b"250", b"250", b"250", b"354", b"250", b"250", b"221",
    ]  # fmt: skip
    assert [mail["Subject"] for mail in kept(tmp_path)] == ["x"]


async def test_a_disk_that_is_full_is_told(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G5: what is not kept was not taken; the sender tries again."""
    import os

    real, full = os.write, [True]
    monkeypatch.setattr("expedite_local.mail.os.write", lambda f, b: real(f, b[:5] if full.pop() else b))
    full[:] = [False, True]
    mail = b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n"
    answer = await say(port, mail, mail + b"QUIT\r\n")
    assert codes(answer) == [b"220", b"250", b"250", b"354", b"451", b"250", b"250", b"354", b"250", b"221"]
    assert [mail["Subject"] for mail in kept(tmp_path)] == ["x"]
