"""Places where a real service process dies as by `kill -9`, in the middle of what matters most.

The chaos tests put this folder on the path of the processes they start; the product knows nothing of it. A file
`<module>.<role>.<point>.<n>.armed` in $EXPEDITE_FAILPOINTS lets the next process of that role that passes the point die,
once: the file becomes `….bit`. Points:

    before-commit    a transaction is decided and written, not committed
    after-commit     it is committed, nobody was told
    before-offsets   a batch is committed, its offsets are not: Kafka delivers it again
    before-delete    the broker has the events, the outbox still holds them: the relay publishes them again
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

FOLDER = os.environ.get("EXPEDITE_FAILPOINTS")


def _arm(folder: Path, module: str, role: str) -> None:
    from expedite_messaging.kafka import LaneConsumer
    from expedite_messaging.postgres import PostgresEngine
    from expedite_messaging.relay import Relay

    def passing(point: str) -> None:
        for token in sorted(folder.glob(f"{module}.{role}.{point}.*.armed")):
            with suppress(FileNotFoundError):
                token.rename(token.with_suffix(".bit"))
                os.kill(os.getpid(), signal.SIGKILL)

    commit, deliver, send = PostgresEngine._commit, LaneConsumer._deliver, Relay._send

    async def committing(self: Any, raw: Any, session: Any) -> None:
        wrote = session.xact is not None
        if wrote:
            passing("before-commit")
        await commit(self, raw, session)
        if wrote:
            passing("after-commit")

    async def delivering(self: Any, records: Any, generation: int) -> bool:
        done = await deliver(self, records, generation)
        if done:
            passing("before-offsets")
        return done

    async def sending(self: Any, producer: Any, rows: Any) -> Any:
        acked, broken = await send(self, producer, rows)
        if acked:
            passing("before-delete")
        return acked, broken

    PostgresEngine._commit = committing  # type: ignore[method-assign]
    LaneConsumer._deliver = delivering  # type: ignore[method-assign]
    Relay._send = sending  # type: ignore[method-assign]


if FOLDER and "--role" in sys.orig_argv and "-m" in sys.orig_argv:
    words = sys.orig_argv
    _arm(Path(FOLDER), words[words.index("-m") + 1].split(".")[0], words[words.index("--role") + 1])
