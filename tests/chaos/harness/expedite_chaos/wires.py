"""What links understand of the protocols they carry: commits of PostgreSQL, addresses that Kafka's broker tells."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal

from expedite_chaos.proxy import Cut, Link

Moment = Literal["before", "during", "after"]
_START_UP, _SSL, _GSS, _CANCEL = 196_608, 80_877_103, 80_877_104, 80_877_102
_METADATA, _FIND_COORDINATOR, _DESCRIBE_CLUSTER = 3, 10, 60


class Commits:
    """When commits passing a link are cut: each `every`th while `moment` is set.

    before: the server never sees it. during: it was passed on, the connection breaks at once; the server may or may not
    get to read it. after: the server has answered, and nobody hears the answer. A transaction that only read counts too.
    """

    def __init__(self, every: int = 1) -> None:
        self.moment: Moment | None = None
        self.every, self.seen = every, 0

    def wire(self, link: Link) -> CommitWire:
        return CommitWire(link, self)

    def strikes(self) -> Moment | None:
        """One more commit came by: what happens to it."""
        if self.moment is None:
            return None
        self.seen += 1
        return self.moment if self.seen % self.every == 0 else None


class CommitWire:
    """Follows one connection of PostgreSQL's protocol 3, whether commits go as simple queries (alone or last in a message)
    or as prepared statements. An encrypted connection is passed on unseen."""

    def __init__(self, link: Link, commits: Commits) -> None:
        self._link, self._commits = link, commits
        self._asked, self._answered = bytearray(), bytearray()
        self._starting, self._encrypted, self._ssl_answers = True, False, 0
        self._statements: dict[bytes, bool] = {}  # prepared: name -> is a commit
        self._portals: dict[bytes, bool] = {}
        self._doomed = False  # the answer to a commit is not passed on

    def up(self, data: bytes) -> bytes:
        if self._encrypted:
            return data
        self._asked += data
        for kind, body in self._requests():
            if not self._commits_with(kind, body):
                continue
            moment = self._commits.strikes()
            if moment is None:
                continue
            self._link.did[f"commit cut {moment}"] += 1
            if moment == "before":
                raise Cut
            if moment == "during":
                raise Cut(data)
            self._doomed = True
        return data

    def down(self, data: bytes) -> bytes:
        if self._encrypted:
            return data
        self._answered += data
        while self._ssl_answers and self._answered:
            self._ssl_answers -= 1
            if self._answered[0] == ord("S"):
                self._encrypted = True
                return data
            del self._answered[0]
        for kind, body in _messages(self._answered):
            if self._doomed and kind == b"C" and body.startswith(b"COMMIT"):
                raise Cut
        return b"" if self._doomed else data

    def _requests(self) -> Iterator[tuple[bytes, bytes]]:
        while self._starting and len(self._asked) >= 8:
            length, code = struct.unpack_from(">ii", self._asked)
            if len(self._asked) < length:
                return
            del self._asked[:length]
            if code in (_SSL, _GSS):
                self._ssl_answers += 1
            elif code != _CANCEL:
                self._starting = False
        if not self._starting:
            yield from _messages(self._asked)

    def _commits_with(self, kind: bytes, body: bytes) -> bool:
        if kind == b"Q":
            return _is_commit(body.split(b"\0")[0])
        if kind == b"P":
            name, text = body.split(b"\0")[:2]
            self._statements[name] = _is_commit(text)
        elif kind == b"B":
            portal, statement = body.split(b"\0", 2)[:2]
            self._portals[portal] = self._statements.get(statement, False)
        elif kind == b"E":
            return self._portals.get(body.split(b"\0")[0], False)
        return False


def _messages(buffer: bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Whole messages (type, body), taken from the buffer."""
    while len(buffer) >= 5:
        length = struct.unpack_from(">i", buffer, 1)[0]
        if len(buffer) < 1 + length:
            return
        kind, body = bytes(buffer[:1]), bytes(buffer[5 : 1 + length])
        del buffer[: 1 + length]
        yield kind, body


def _is_commit(text: bytes) -> bool:
    last = text.strip().rstrip(b";").rsplit(b";", 1)[-1]
    return last.strip().upper() in (b"COMMIT", b"END", b"COMMIT TRANSACTION")


class BrokerWire:
    """Follows one connection of Kafka's protocol. The broker tells clients its own address; where it stands in an answer,
    the link's is put in its place, so that clients come back the same way."""

    def __init__(self, link: Link) -> None:
        assert link.target is not None
        host, port = link.target
        self._true = host.encode() + struct.pack(">i", port)
        self._ours = host.encode() + struct.pack(">i", link.port)
        self._asked, self._answered = bytearray(), bytearray()
        self._passing_up = self._passing_down = 0  # bytes of the present frame that nobody needs to look at
        self._telling: set[int] = set()  # correlation ids of requests whose answers tell addresses

    def up(self, data: bytes) -> bytes:
        self._asked += data
        while self._asked:
            if self._passing_up:
                self._passing_up -= _drop(self._asked, self._passing_up)
                continue
            if len(self._asked) < 12:
                break
            size, api, _, correlation = struct.unpack_from(">ihhi", self._asked)
            if api in (_METADATA, _FIND_COORDINATOR, _DESCRIBE_CLUSTER):
                self._telling.add(correlation)
            self._passing_up = 4 + size
        return data

    def down(self, data: bytes) -> bytes:
        self._answered += data
        passed = bytearray()
        while self._answered:
            if self._passing_down:
                part = self._answered[: self._passing_down]
                self._passing_down -= _drop(self._answered, self._passing_down)
                passed += part
                continue
            if len(self._answered) < 8:
                break
            size, correlation = struct.unpack_from(">ii", self._answered)
            if correlation not in self._telling:
                self._passing_down = 4 + size
                continue
            if len(self._answered) < 4 + size:
                break
            self._telling.discard(correlation)
            passed += self._answered[: 4 + size].replace(self._true, self._ours)
            del self._answered[: 4 + size]
        return bytes(passed)


def _drop(buffer: bytearray, most: int) -> int:
    count = min(most, len(buffer))
    del buffer[:count]
    return count
